//! A network with its condition: what every objective of diffusion asks in the same way.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use halocast_core::Shard;

use crate::network::{Context, Dropout, Network, NetworkConfig, NetworkShape};
use crate::{Cond, CondSpec, Error, Parameters, Result};

/// A network and what it is conditioned on: parameters, or a field beside its input, or nothing.
///
/// A model that is trained with and without its condition (`droppable`) has one number more in it, which says whether the
/// condition is there: 1, or 0 with zeros for the condition.
pub(crate) struct Conditioned {
    network: Box<dyn Network>,
    model: &'static str,
    spec: CondSpec,
    droppable: bool,
    self_condition: bool,
    drops: bool,
}

/// What a network is asked with, beside its input and the time.
#[derive(Clone, Copy, Default)]
pub(crate) struct Question<'a> {
    pub(crate) cond: Option<&'a Cond>,
    /// Of each example, 1 where its condition is given and 0 where it is dropped; all ones where absent.
    pub(crate) kept: Option<&'a [f64]>,
    pub(crate) previous: Option<&'a Tensor>,
    pub(crate) dropout: Option<&'a Dropout>,
}

impl Conditioned {
    /// The network of `config` for events `[channel, ..size]`, with `outputs` channels and a conditioning field of
    /// `field`.
    pub(crate) fn new(
        model: &'static str,
        config: &NetworkConfig,
        size: &[usize],
        field: usize,
        outputs: usize,
        droppable: bool,
        vb: VarBuilder,
    ) -> Result<Self> {
        let refuse = |field: &str, expected: String, got: String| {
            Err(Error::Config { model, field: field.into(), expected, got })
        };
        let (multiple, parameters) = (config.side_multiple(), config.parameters());
        if !(1..=3).contains(&size.len()) || !size.iter().all(|s| *s > 0 && s.is_multiple_of(multiple)) {
            return refuse("size", format!("1 to 3 multiples of {multiple}"), format!("{size:?}"));
        }
        let spec = match (parameters, field) {
            (0, 0) => CondSpec::None,
            (n, 0) => CondSpec::Vector(n),
            (0, n) => CondSpec::Field(n),
            _ => {
                let got = format!("{parameters} and {field}");
                return refuse("parameters and channels of the field", "one of them 0".into(), got);
            }
        };
        if droppable && spec == CondSpec::None {
            return refuse("unconditional", "0 for a model without condition".into(), "more".into());
        }
        let more = |n: usize| if droppable && n > 0 { n + 1 } else { n };
        let shape = NetworkShape {
            axes: size.len(),
            side: size.first().copied().unwrap_or(0),
            channels: config.channels(),
            field: more(field),
            vector: more(parameters),
            outputs,
        };
        Ok(Self {
            network: config.build(&shape, vb)?,
            model,
            spec,
            droppable,
            self_condition: config.self_condition(),
            drops: config.drops(),
        })
    }

    pub(crate) fn network(&self) -> &dyn Network {
        self.network.as_ref()
    }

    pub(crate) fn spec(&self) -> CondSpec {
        self.spec
    }

    pub(crate) fn self_condition(&self) -> bool {
        self.self_condition
    }

    /// The masks of dropout of a batch; none, and no draw, for a network without.
    pub(crate) fn dropout(&self, shard: Shard, rng: &mut halocast_core::Rng) -> Option<Dropout> {
        self.drops.then(|| Dropout::new(shard.generators(rng)))
    }

    /// The network's answer for `x` `[batch, channel, ..]`.
    pub(crate) fn ask(&self, x: &Tensor, times: &[f64], question: Question<'_>) -> Result<Tensor> {
        let absent = self.droppable && question.cond.is_none();
        let tensor = match absent {
            true => None,
            false => self.spec.tensor(self.model, question.cond)?,
        };
        let ones = vec![if absent { 0.0 } else { 1.0 }; times.len()];
        let kept = question.kept.unwrap_or(&ones);
        let flag = |shape: &[usize]| -> Result<Tensor> {
            let rank: Vec<usize> = std::iter::once(times.len()).chain(shape.iter().map(|_| 1)).collect();
            let column = Tensor::from_slice(kept, rank, x.device())?.to_dtype(x.dtype())?;
            let shape: Vec<usize> = std::iter::once(times.len()).chain(shape.iter().copied()).collect();
            Ok(column.broadcast_as(shape)?.contiguous()?)
        };
        let with_flag = |shape: &[usize], channels: usize| -> Result<Tensor> {
            let flag = flag(shape)?;
            let rest = match tensor {
                Some(tensor) => tensor.to_dtype(x.dtype())?.broadcast_mul(&flag)?,
                None => {
                    let dims: Vec<usize> =
                        [times.len(), channels].into_iter().chain(shape.iter().skip(1).copied()).collect();
                    Tensor::zeros(dims, x.dtype(), x.device())?
                }
            };
            Ok(Tensor::cat(&[&rest, &flag], 1)?)
        };
        let sides: Vec<usize> = std::iter::once(1).chain(x.dims().iter().skip(2).copied()).collect();
        let plain = |tensor: Option<&Tensor>| tensor.map(|t| t.to_dtype(x.dtype())).transpose();
        let (vector, field) = match self.spec {
            CondSpec::Vector(n) if self.droppable => (Some(with_flag(&[1], n)?), None),
            CondSpec::Field(n) if self.droppable => (None, Some(with_flag(&sides, n)?)),
            CondSpec::Vector(_) => (plain(tensor)?, None),
            _ => (None, plain(tensor)?),
        };
        let joined = match &field {
            Some(field) if field.dims()[2..] != x.dims()[2..] || field.dim(0)? != x.dim(0)? => {
                let expected = format!("a field on the grid of {:?}", x.dims());
                let got = format!("{:?}", field.dims());
                return Err(Error::Condition { model: self.model, expected, got });
            }
            Some(field) => Tensor::cat(&[x, field], 1)?.contiguous()?,
            None => x.clone(),
        };
        let context =
            Context { vector: vector.as_ref(), previous: question.previous, dropout: question.dropout };
        self.network.forward(&joined, times, &context)
    }
}

/// Of each example of a batch, 1, or with probability `unconditional` 0; no draw where that is 0.
pub(crate) fn kept(unconditional: f64, shard: Shard, rng: &mut halocast_core::Rng) -> Option<Vec<f64>> {
    let draw = |rng: &mut halocast_core::Rng| f64::from(u8::from(rng.uniform() >= unconditional));
    (unconditional > 0.0).then(|| shard.generators(rng).iter_mut().map(draw).collect())
}

/// The numbers of a batch as a tensor of the model.
pub(crate) fn tensor(values: Vec<f32>, shape: &[usize], like: &Parameters) -> Result<Tensor> {
    Ok(Tensor::from_vec(values, shape, like.device())?.to_dtype(like.dtype())?)
}

/// One number for each example, to be multiplied with tensors `[batch, ..]` of as many axes as `like`.
pub(crate) fn column(values: impl Iterator<Item = f64>, like: &Tensor) -> Result<Tensor> {
    crate::batches::column(&values.collect::<Vec<_>>(), like)
}

//! What the models of pairs share: a network on the field under way and what it is made from.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use halocast_core::{Batch, Rng};

use crate::diffusion::Sampler;
use crate::unet::{UNet, UNetConfig};
use crate::{Cond, CondSpec, Error, Loss, Parameters, Result};

/// A U-Net F(x_t, t), or F(x_t, t; y) where its configuration gives it the channels of the condition.
pub(super) struct PairNetwork {
    pub(super) model: &'static str,
    pub(super) parameters: Parameters,
    network: UNet,
    channels: usize,
    size: [usize; 2],
    beside: bool,
}

impl PairNetwork {
    pub(super) fn build(
        model: &'static str,
        unet: &UNetConfig,
        size: [usize; 2],
        vb: VarBuilder,
        parameters: Parameters,
    ) -> Result<Self> {
        check_size(model, unet, size)?;
        let beside = unet.condition_channels;
        let checks = [
            ("unet.condition_channels", beside == 0 || beside == unet.channels, beside),
            ("unet.out_channels", unet.channels_out() == unet.channels, unet.out_channels),
        ];
        for (field, ok, got) in checks {
            if !ok {
                let expected = format!("0 or {}, the channels of the maps", unet.channels);
                return Err(Error::Config { model, field: field.into(), expected, got: got.to_string() });
            }
        }
        if unet.parameters > 0 {
            let (field, got) = ("unet.parameters".into(), unet.parameters.to_string());
            return Err(Error::Config { model, field, expected: "0".into(), got });
        }
        let network = UNet::new(unet, vb)?;
        Ok(Self { model, parameters, network, channels: unet.channels, size, beside: beside > 0 })
    }

    pub(super) fn event(&self) -> Vec<usize> {
        vec![self.channels, self.size[0], self.size[1]]
    }

    pub(super) fn condition(&self) -> CondSpec {
        CondSpec::Field(self.channels)
    }

    pub(super) fn device(&self) -> &Device {
        self.parameters.device()
    }

    /// The network at the time in [0, 1] of each event; its label is 1000 t.
    pub(super) fn predict(&self, x: &Tensor, t: &[f64], y: &Tensor) -> Result<Tensor> {
        let labels: Vec<f64> = t.iter().map(|t| 1000.0 * t).collect();
        let cond = self.beside.then(|| Cond::Field(y.clone()));
        self.network.forward_on(x, &labels, cond.as_ref())
    }

    /// The field of a condition, in the model's float type.
    pub(super) fn field(&self, cond: Option<&Cond>) -> Result<Tensor> {
        match self.condition().tensor(self.model, cond)? {
            Some(field) => Ok(field.to_dtype(self.parameters.dtype())?),
            None => Err(Error::Condition {
                model: self.model,
                expected: format!("{:?}", self.condition()),
                got: "none".into(),
            }),
        }
    }

    /// The fields of a batch and what they are made from.
    pub(super) fn of_batch(&self, batch: &Batch) -> Result<(Tensor, Tensor)> {
        let cond = self.condition().of_batch(self.model, batch, &self.parameters)?;
        Ok((fields(batch, &self.parameters)?, self.field(cond.as_ref())?))
    }

    /// Standard normal noise like the fields of a batch.
    pub(super) fn noise(&self, batch: &Batch, rng: &mut Rng) -> Result<Tensor> {
        noise_like(batch, &self.parameters, rng)
    }
}

/// The fields of a batch as a tensor.
pub(super) fn fields(batch: &Batch, like: &Parameters) -> Result<Tensor> {
    let values: Vec<f32> = batch.fields.iter().copied().collect();
    Ok(Tensor::from_vec(values, batch.fields.shape(), like.device())?.to_dtype(like.dtype())?)
}

/// Standard normal noise like the fields of a batch.
pub(super) fn noise_like(batch: &Batch, like: &Parameters, rng: &mut Rng) -> Result<Tensor> {
    let shape = batch.fields.shape();
    let values = batch.shard.normals(rng, shape[1..].iter().product());
    Ok(Tensor::from_vec(values, shape, like.device())?.to_dtype(like.dtype())?)
}

/// A uniform number for each example of a batch.
pub(super) fn uniforms(batch: &Batch, rng: &mut Rng) -> Vec<f64> {
    batch.shard.generators(rng).iter_mut().map(Rng::uniform).collect()
}

/// Checks the sides of maps.
pub(super) fn check_size(model: &'static str, unet: &UNetConfig, size: [usize; 2]) -> Result<()> {
    let multiple = unet.side_multiple();
    if size.iter().all(|s| *s > 0 && s % multiple == 0) {
        return Ok(());
    }
    let (expected, got) = (format!("multiples of {multiple}"), format!("{size:?}"));
    Err(Error::Config { model, field: "size".into(), expected, got })
}

/// A loss of one part.
pub(super) fn single(total: Tensor) -> Result<Loss> {
    let value = total.to_dtype(DType::F32)?.to_scalar::<f32>()?;
    Ok(Loss { total, parts: vec![("loss", value)] })
}

/// The number of steps that sampling options ask for, where they do.
pub(super) fn steps_asked(sampler: Sampler) -> Option<usize> {
    match sampler {
        Sampler::Ancestral { steps } => steps,
        Sampler::Ddim { steps, .. } => Some(steps),
        _ => None,
    }
}

/// The parts of the contract that a model of pairs takes from its network.
macro_rules! of_pair {
    () => {
        fn example(&self) -> crate::ExampleSpec {
            crate::ExampleSpec::new(&self.pair.event(), self.pair.condition())
        }

        fn parameters(&self) -> &crate::Parameters {
            &self.pair.parameters
        }

        fn device(&self) -> &candle_core::Device {
            self.pair.device()
        }
    };
}
pub(super) use of_pair;

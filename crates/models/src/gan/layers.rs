//! What the adversarial networks share: how weights begin, normalisation by name, dropout.

use candle_core::{Shape, Tensor};
use candle_nn::{Init, VarBuilder};
use halocast_core::Rng;
use halocast_kernels::nn::{BatchNorm, Conv2d, ConvTranspose2d, GroupNorm};
use halocast_kernels::{Activation, Conv2dSpec, activate, group_norm, instance_norm};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The slope of the leaky rectifiers of these networks.
pub(super) const LEAKY: Activation = Activation::LeakyRelu(0.2);
const EPS: f64 = 1e-5;

/// How the weights of convolutions begin.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initial {
    /// Normal with this standard deviation about 0, and about 1 those of batch normalisations; biases are 0. The papers
    /// of this family take 0.02.
    Normal(f64),
    /// Uniform within one over the square root of the fan-in, biases too.
    FanIn,
}

impl Default for Initial {
    fn default() -> Self {
        Self::Normal(0.02)
    }
}

impl Initial {
    pub(super) fn validate(self, model: &'static str) -> Result<()> {
        match self {
            Self::Normal(std) if !(std > 0.0 && std.is_finite()) => Err(Error::Config {
                model,
                field: "initial".into(),
                expected: "a positive standard deviation".into(),
                got: std.to_string(),
            }),
            _ => Ok(()),
        }
    }
}

/// How the channels of a layer are normalised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// By mean and variance over the batch and all pixels; by running averages of both when the model is not training.
    #[default]
    Batch,
    /// By mean and variance over the pixels of each channel of each example, without parameters.
    Instance,
    /// By mean and variance over channels and pixels of each example, with a gain and an offset for each channel.
    Layer,
    /// Not at all.
    None,
}

impl Norm {
    /// Whether a convolution before it has a bias in the reference implementation.
    pub(super) fn biased(self) -> bool {
        self == Self::Instance || self == Self::Layer
    }
}

/// A normalisation and the activation behind it.
#[derive(Clone)]
pub(super) struct NormLayer {
    kind: Kind,
    activation: Activation,
}

#[derive(Clone)]
enum Kind {
    Batch(BatchNorm),
    Instance,
    Layer(GroupNorm),
    None,
}

impl NormLayer {
    pub(super) fn new(
        norm: Norm,
        channels: usize,
        initial: Initial,
        activation: Activation,
        vb: VarBuilder,
    ) -> Result<Self> {
        let kind = match norm {
            Norm::Batch => {
                if let Initial::Normal(stdev) = initial {
                    // Whoever asks first says how it begins.
                    vb.get_with_hints(channels, "weight", Init::Randn { mean: 1.0, stdev })?;
                }
                Kind::Batch(BatchNorm::new(channels, EPS, 0.1, vb)?.with_activation(activation))
            }
            Norm::Instance => Kind::Instance,
            Norm::Layer => Kind::Layer(GroupNorm::new(1, channels, EPS, vb)?),
            Norm::None => Kind::None,
        };
        Ok(Self { kind, activation })
    }

    pub(super) fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let act = self.activation;
        Ok(match &self.kind {
            Kind::Batch(norm) => norm.forward(x, train)?,
            Kind::Instance => {
                several_pixels(x)?;
                instance_norm(x, None, EPS, act)?
            }
            Kind::Layer(norm) => group_norm(x, norm.weight(), norm.bias(), 1, EPS, act)?,
            Kind::None => activate(x, act)?,
        })
    }

    /// The derivative of `y = forward(x, train)` along `v`.
    ///
    /// With $\hat x = (x - \mu)/\sigma$ over the numbers of a group, that of $\hat x$ along $v$ is
    /// $(v - \langle v \rangle - \hat x \langle \hat x v \rangle) / \sigma$.
    pub(super) fn tangent(&self, x: &Tensor, v: &Tensor, y: &Tensor, train: bool) -> Result<Tensor> {
        let along = |groups: usize| -> Result<Tensor> {
            let rows = x.dims()[0] * groups;
            let flat = |t: &Tensor| t.contiguous()?.reshape((rows, t.elem_count() / rows));
            let (x, v) = (flat(x)?, flat(v)?);
            let centred = x.broadcast_sub(&x.mean_keepdim(1)?)?;
            let sigma = (centred.sqr()?.mean_keepdim(1)? + EPS)?.sqrt()?;
            let normal = centred.broadcast_div(&sigma)?;
            let parallel = normal.broadcast_mul(&(&normal * &v)?.mean_keepdim(1)?)?;
            let across = (v.broadcast_sub(&v.mean_keepdim(1)?)? - parallel)?;
            Ok(across.broadcast_div(&sigma)?.reshape(y.dims())?)
        };
        let channels = x.dims().get(1).copied().unwrap_or(1);
        let dv = match &self.kind {
            Kind::Batch(_) if train => {
                return Err(Error::Config {
                    model: "gradient penalty",
                    field: "norm".into(),
                    expected: "one that does not mix the examples of a batch".into(),
                    got: "batch".into(),
                });
            }
            Kind::Batch(norm) => {
                // Affine in x.
                let norm = norm.clone().with_activation(Activation::None);
                (norm.forward(v, false)? - norm.forward(&v.zeros_like()?, false)?)?
            }
            Kind::Instance => along(channels)?,
            Kind::Layer(norm) => along(1)?.broadcast_mul(&norm.weight().reshape((1, channels, 1, 1))?)?,
            Kind::None => v.clone(),
        };
        slopes(&dv, y, self.activation)
    }

    pub(super) fn mixes_examples(&self) -> bool {
        matches!(self.kind, Kind::Batch(_))
    }

    /// The layer with parameters that take no gradient; a batch normalisation stays as it is.
    pub(super) fn detached(&self) -> Result<Self> {
        let kind = match &self.kind {
            Kind::Layer(norm) => {
                let tensors = [("weight", norm.weight()), ("bias", norm.bias())];
                let tensors = tensors.map(|(name, tensor)| (name.to_owned(), tensor.detach())).into();
                let (dtype, device) = (norm.weight().dtype(), norm.weight().device());
                let vb = VarBuilder::from_tensors(tensors, dtype, device);
                Kind::Layer(GroupNorm::new(1, norm.weight().elem_count(), EPS, vb)?)
            }
            other => other.clone(),
        };
        Ok(Self { kind, activation: self.activation })
    }
}

/// `v` times the slope of the piecewise linear `activation` that gave `y`, whose sign is that of what it was given.
pub(super) fn slopes(v: &Tensor, y: &Tensor, activation: Activation) -> Result<Tensor> {
    let slope = match activation {
        Activation::None => return Ok(v.clone()),
        Activation::LeakyRelu(slope) => f64::from(slope),
        _ => 0.0,
    };
    let positive = y.detach().gt(0.0)?.to_dtype(v.dtype())?;
    Ok((v * positive.affine(1.0 - slope, slope)?)?)
}

/// An instance of one pixel has no variance: its normalised value is zero, whatever it was.
fn several_pixels(x: &Tensor) -> Result<()> {
    if x.dims().iter().skip(2).product::<usize>() > 1 {
        return Ok(());
    }
    Err(Error::Shape {
        operation: "instance normalisation",
        what: "x".into(),
        expected: "more than one pixel: a larger map, or fewer levels".into(),
        got: x.dims().to_vec(),
    })
}

fn parameters(
    shape: impl Into<Shape>,
    outputs: usize,
    std: f64,
    bias: bool,
    vb: &VarBuilder,
) -> Result<(Tensor, Option<Tensor>)> {
    let weight = vb.get_with_hints(shape, "weight", Init::Randn { mean: 0.0, stdev: std })?;
    let bias = bias.then(|| vb.get_with_hints(outputs, "bias", Init::Const(0.0))).transpose()?;
    Ok((weight, bias))
}

/// A convolution `[inputs, outputs]` with a square window.
pub(super) fn conv(
    [inputs, outputs]: [usize; 2],
    kernel: usize,
    spec: Conv2dSpec,
    bias: bool,
    initial: Initial,
    vb: VarBuilder,
) -> Result<Conv2d> {
    Ok(match initial {
        Initial::FanIn if bias => Conv2d::new(inputs, outputs, kernel, spec, vb)?,
        Initial::FanIn => Conv2d::new_no_bias(inputs, outputs, kernel, spec, vb)?,
        Initial::Normal(std) => {
            let (weight, bias) = parameters((outputs, inputs, kernel, kernel), outputs, std, bias, &vb)?;
            Conv2d::from_parts(weight, bias, spec)
        }
    })
}

/// A transposed convolution `[inputs, outputs]` with a square window.
pub(super) fn conv_transpose(
    [inputs, outputs]: [usize; 2],
    kernel: usize,
    spec: Conv2dSpec,
    bias: bool,
    initial: Initial,
    vb: VarBuilder,
) -> Result<ConvTranspose2d> {
    Ok(match initial {
        Initial::FanIn if bias => ConvTranspose2d::new(inputs, outputs, kernel, spec, vb)?,
        Initial::FanIn => ConvTranspose2d::new_no_bias(inputs, outputs, kernel, spec, vb)?,
        Initial::Normal(std) => {
            let (weight, bias) = parameters((inputs, outputs, kernel, kernel), outputs, std, bias, &vb)?;
            ConvTranspose2d::from_parts(weight, bias, spec)
        }
    })
}

/// Sets each number to zero with this probability and divides the others by what remains, by the generator of each
/// example; without generators nothing happens.
pub(super) fn dropout(x: &Tensor, probability: f64, noise: &mut Option<&mut [Rng]>) -> Result<Tensor> {
    let Some(generators) = noise.as_deref_mut().filter(|_| probability > 0.0) else { return Ok(x.clone()) };
    if generators.len() != x.dims()[0] {
        return Err(Error::Shape {
            operation: "dropout",
            what: "x".into(),
            expected: format!("[{}, ...], one example for each generator", generators.len()),
            got: x.dims().to_vec(),
        });
    }
    let each = x.elem_count() / generators.len().max(1);
    let mut mask = vec![0.0f32; x.elem_count()];
    for (row, generator) in mask.chunks_mut(each.max(1)).zip(generators.iter_mut()) {
        generator.fill_uniform(row);
    }
    let kept = (1.0 / (1.0 - probability)) as f32;
    mask.iter_mut().for_each(|u| *u = if f64::from(*u) < probability { 0.0 } else { kept });
    let mask = Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(x.dtype())?;
    Ok((x * mask)?)
}

/// Checks of a configuration: (field, whether it is usable, what is expected, what was found).
pub(super) fn check(model: &'static str, checks: &[(&str, bool, &str, String)]) -> Result<()> {
    match checks.iter().find(|(_, usable, ..)| !usable) {
        None => Ok(()),
        Some((field, _, expected, got)) => Err(Error::Config {
            model,
            field: (*field).to_owned(),
            expected: (*expected).to_owned(),
            got: got.clone(),
        }),
    }
}

//! Layers with the names, shapes and first values of Flax.

use candle_core::{DType, Tensor};
use candle_nn::{Init, VarBuilder};
use halocast_kernels::{Activation, layer_norm, linear, sigmoid};

use crate::Result;

/// A place in a tree of parameters, whose names are joined by `/`.
#[derive(Clone)]
pub(super) struct Scope<'a> {
    vb: VarBuilder<'a>,
    path: String,
}

impl<'a> Scope<'a> {
    pub(super) fn new(vb: VarBuilder<'a>, path: &str) -> Self {
        Self { vb, path: path.to_owned() }
    }

    pub(super) fn at(&self, name: impl std::fmt::Display) -> Self {
        Self { vb: self.vb.clone(), path: format!("{}/{name}", self.path) }
    }

    pub(super) fn get(&self, shape: impl Into<candle_core::Shape>, name: &str, init: Init) -> Result<Tensor> {
        Ok(self.vb.get_with_hints(shape, &format!("{}/{name}", self.path), init)?)
    }
}

/// How a kernel begins.
#[derive(Clone, Copy)]
pub(super) enum Kernel {
    /// Normal, of variance 1 / inputs.
    Lecun,
    /// Uniform, of variance 2 / (inputs + outputs).
    Xavier,
    /// Zeros.
    Zeros,
}

impl Kernel {
    fn init(self, inputs: usize, outputs: usize) -> Init {
        match self {
            Self::Lecun => Init::Randn { mean: 0.0, stdev: (1.0 / inputs as f64).sqrt() },
            Self::Xavier => {
                let bound = (6.0 / (inputs + outputs) as f64).sqrt();
                Init::Uniform { lo: -bound, up: bound }
            }
            Self::Zeros => Init::Const(0.0),
        }
    }
}

/// $y = x K + b$ with a kernel `[in, out]`, or `[in, heads, channels]` and `[heads, channels, out]` in attention.
pub(super) struct Dense {
    kernel: Tensor,
    bias: Tensor,
    sizes: (usize, usize),
}

impl Dense {
    pub(super) fn new(inputs: usize, outputs: usize, scope: &Scope) -> Result<Self> {
        Self::with(&[inputs], &[outputs], Kernel::Lecun, scope)
    }

    pub(super) fn with(inputs: &[usize], outputs: &[usize], kernel: Kernel, scope: &Scope) -> Result<Self> {
        let sizes = (inputs.iter().product(), outputs.iter().product());
        let shape = [inputs, outputs].concat();
        Ok(Self {
            kernel: scope.get(shape, "kernel", kernel.init(sizes.0, sizes.1))?,
            bias: scope.get(outputs.to_vec(), "bias", Init::Const(0.0))?,
            sizes,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let weight = self.kernel.reshape(self.sizes)?.t()?.contiguous()?;
        Ok(linear(x, &weight, Some(&self.bias.reshape(self.sizes.1)?))?)
    }
}

/// Dense layers with GELU between them.
pub(super) struct Mlp(Vec<Dense>);

impl Mlp {
    pub(super) fn new(inputs: usize, widths: &[usize], scope: &Scope) -> Result<Self> {
        let mut from = inputs;
        let mut layers = Vec::new();
        for (i, &to) in widths.iter().enumerate() {
            layers.push(Dense::new(from, to, &scope.at(format_args!("Dense_{i}")))?);
            from = to;
        }
        Ok(Self(layers))
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for (i, layer) in self.0.iter().enumerate() {
            x = layer.forward(&if i == 0 { x } else { gelu(&x)? })?;
        }
        Ok(x)
    }
}

/// Normalisation over the last axis, with a learned scale and bias.
pub(super) struct LayerNorm {
    scale: Tensor,
    bias: Tensor,
}

impl LayerNorm {
    pub(super) fn new(dim: usize, scope: &Scope) -> Result<Self> {
        let get = |name: &str, value: f64| scope.get(dim, name, Init::Const(value));
        Ok(Self { scale: get("scale", 1.0)?, bias: get("bias", 0.0)? })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(layer_norm(x, &self.scale, &self.bias, EPS, Activation::None)?)
    }
}

/// What Flax adds to the variance of a row.
pub(super) const EPS: f64 = 1e-6;

/// GELU by the hyperbolic tangent, Flax's default:
///
/// $$ \frac{x}{2} \Big( 1 + \tanh \sqrt{2 / \pi} (x + 0.044715 x^3) \Big) = x \, \sigma\big( 2 \sqrt{2 / \pi} (x + 0.044715 x^3) \big). $$
pub(super) fn gelu(x: &Tensor) -> Result<Tensor> {
    let c = 2.0 * std::f64::consts::FRAC_2_PI.sqrt();
    let inner = (x * x.sqr()?.affine(c * 0.044715, c)?)?;
    Ok((x * sigmoid(&inner)?)?)
}

/// The type of numbers that need double precision: that of `like` on a device that has none.
pub(super) fn wide(like: &Tensor) -> DType {
    if like.device().is_metal() { like.dtype() } else { DType::F64 }
}

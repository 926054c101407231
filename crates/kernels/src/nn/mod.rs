//! Layers: an operation with its parameters, named, shaped and initialised as in PyTorch.
//!
//! A layer takes its parameters from a [`VarBuilder`]: fresh ones from a variable map, or those
//! of a file. Fresh weights and biases are uniform in $\pm 1/\sqrt{\text{fan-in}}$ (Kaiming's uniform rule with
//! $a = \sqrt 5$, PyTorch's default). Candle's own generator on the CPU cannot be seeded: a program that is to be
//! reproducible passes a builder whose back end draws from its own generator.

mod batch_norm;
mod convolution;
mod dense;
mod normalization;

pub use batch_norm::BatchNorm;
pub use convolution::{Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d};
pub use dense::Linear;
pub use normalization::{GroupNorm, LayerNorm, RmsNorm};

use candle_core::{Shape, Tensor};
use candle_nn::{Init, VarBuilder};

use crate::Result;

/// A parameter that begins uniform in `+-1/sqrt(fan_in)`.
fn uniform(vb: &VarBuilder, name: &str, shape: impl Into<Shape>, fan_in: usize) -> Result<Tensor> {
    let bound = 1.0 / (fan_in.max(1) as f64).sqrt();
    Ok(vb.get_with_hints(shape, name, Init::Uniform { lo: -bound, up: bound })?)
}

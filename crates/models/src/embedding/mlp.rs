//! The multilayer perceptron, with or without residual connections.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use halocast_kernels::nn::Linear;
use halocast_kernels::{Activation, activate, add};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::sampling::check_config;

/// A multilayer perceptron.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MlpConfig {
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// Number of outputs.
    pub features: usize,
    /// What follows each hidden layer.
    pub activation: Activation,
    /// Whether a hidden layer of the width of its input is added to it.
    pub residual: bool,
}

impl Default for MlpConfig {
    fn default() -> Self {
        Self { hidden: vec![128, 128], features: 32, activation: Activation::Silu, residual: false }
    }
}

/// Linear layers with an activation between them:
///
/// $$ h_{i+1} = \phi(W_i h_i + b_i) \; [+ \, h_i], \qquad y = W_L h_L + b_L. $$
///
/// Its parameters are `0.weight`, `0.bias`, `1.weight`, ...
pub struct Mlp {
    layers: Vec<Linear>,
    activation: Activation,
    residual: bool,
}

impl Mlp {
    /// The network for vectors of `inputs` numbers.
    ///
    /// # Errors
    /// [`crate::Error::Config`] when a width is zero.
    pub fn new(config: &MlpConfig, inputs: usize, vb: VarBuilder) -> Result<Self> {
        let widths = [&[inputs], &config.hidden[..], &[config.features]].concat();
        check_config("MLP", [("widths", !widths.contains(&0), "at least 1", format!("{widths:?}"))])?;
        let layer = |(i, pair): (usize, &[usize])| Linear::new(pair[0], pair[1], vb.pp(i));
        let layers = widths.windows(2).enumerate().map(layer).collect::<halocast_kernels::Result<_>>()?;
        Ok(Self { layers, activation: config.activation, residual: config.residual })
    }

    /// The outputs `[n, feature]` of `x` `[n, input]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut h = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            let y = layer.forward(&h)?;
            h = match i + 1 < self.layers.len() {
                true if self.residual && y.dims() == h.dims() => add(&activate(&y, self.activation)?, &h)?,
                true => activate(&y, self.activation)?,
                false => y,
            };
        }
        Ok(h)
    }
}

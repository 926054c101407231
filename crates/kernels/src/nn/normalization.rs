//! The group-normalisation layer.

use candle_core::Tensor;
use candle_nn::{Init, Module, VarBuilder};

use crate::Result;
use crate::norm::{Activation, group_norm};

/// [`group_norm`] with a weight `[channels]` of ones and a bias `[channels]` of zeros.
///
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::{VarBuilder, VarMap};
/// use halocast_kernels::{Activation, nn};
/// let vars = VarMap::new();
/// let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
/// let layer = nn::GroupNorm::new(8, 32, 1e-5, vb)?.with_activation(Activation::Silu);
/// let x = Tensor::zeros((2, 32, 4, 4), DType::F32, &Device::Cpu)?;
/// assert_eq!(layer.forward(&x)?.dims(), x.dims());
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    groups: usize,
    eps: f64,
    activation: Activation,
}

impl GroupNorm {
    /// A layer without activation; PyTorch's `eps` is `1e-5`.
    ///
    /// # Errors
    /// Where the builder has no such parameters.
    pub fn new(groups: usize, channels: usize, eps: f64, vb: VarBuilder) -> Result<Self> {
        let weight = vb.get_with_hints(channels, "weight", Init::Const(1.0))?;
        let bias = vb.get_with_hints(channels, "bias", Init::Const(0.0))?;
        Ok(Self { weight, bias, groups, eps, activation: Activation::None })
    }

    /// The layer followed by an activation, in the same pass.
    pub fn with_activation(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// The weight.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The bias.
    pub fn bias(&self) -> &Tensor {
        &self.bias
    }

    /// Applies the layer.
    ///
    /// # Errors
    /// As [`group_norm`].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        group_norm(x, &self.weight, &self.bias, self.groups, self.eps, self.activation)
    }
}

impl Module for GroupNorm {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        Ok(self.forward(x)?)
    }
}

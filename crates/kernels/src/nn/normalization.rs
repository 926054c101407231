//! Normalisation layers.

use candle_core::{Shape, Tensor};
use candle_nn::{Init, Module, VarBuilder};

use crate::Result;
use crate::activation::Activation;
use crate::norm::group_norm;
use crate::row_norm::{layer_norm, rms_norm};

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

/// [`layer_norm`] over the last axes, with a weight of ones and a bias of zeros of their shape.
///
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::{VarBuilder, VarMap};
/// use halocast_kernels::nn;
/// let vars = VarMap::new();
/// let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
/// let layer = nn::LayerNorm::new(32, 1e-5, vb)?;
/// let x = Tensor::zeros((2, 7, 32), DType::F32, &Device::Cpu)?;
/// assert_eq!(layer.forward(&x)?.dims(), x.dims());
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
    activation: Activation,
}

impl LayerNorm {
    /// A layer without activation for inputs that end in `shape`; PyTorch's `eps` is `1e-5`.
    ///
    /// # Errors
    /// Where the builder has no such parameters.
    pub fn new(shape: impl Into<Shape>, eps: f64, vb: VarBuilder) -> Result<Self> {
        let shape = shape.into();
        let weight = vb.get_with_hints(shape.clone(), "weight", Init::Const(1.0))?;
        let bias = vb.get_with_hints(shape, "bias", Init::Const(0.0))?;
        Ok(Self { weight, bias, eps, activation: Activation::None })
    }

    /// The layer followed by an activation, in the same operation.
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
    /// As [`layer_norm`].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        layer_norm(x, &self.weight, &self.bias, self.eps, self.activation)
    }
}

impl Module for LayerNorm {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        Ok(self.forward(x)?)
    }
}

/// [`rms_norm`] over the last axes, with a weight of ones of their shape.
///
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::{VarBuilder, VarMap};
/// use halocast_kernels::nn;
/// let vars = VarMap::new();
/// let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
/// let layer = nn::RmsNorm::new(32, 1e-5, vb)?;
/// let x = Tensor::zeros((2, 7, 32), DType::F32, &Device::Cpu)?;
/// assert_eq!(layer.forward(&x)?.dims(), x.dims());
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RmsNorm {
    weight: Tensor,
    eps: f64,
    activation: Activation,
}

impl RmsNorm {
    /// A layer without activation for inputs that end in `shape`.
    ///
    /// # Errors
    /// Where the builder has no such parameter.
    pub fn new(shape: impl Into<Shape>, eps: f64, vb: VarBuilder) -> Result<Self> {
        let weight = vb.get_with_hints(shape, "weight", Init::Const(1.0))?;
        Ok(Self { weight, eps, activation: Activation::None })
    }

    /// The layer followed by an activation, in the same operation.
    pub fn with_activation(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// The weight.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// Applies the layer.
    ///
    /// # Errors
    /// As [`rms_norm`].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        rms_norm(x, &self.weight, self.eps, self.activation)
    }
}

impl Module for RmsNorm {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        Ok(self.forward(x)?)
    }
}

//! Convolution layers.

use candle_core::Tensor;
use candle_nn::{Module, VarBuilder};

use super::uniform;
use crate::Result;
use crate::conv::{Conv2dSpec, conv_transpose2d, conv2d};

/// [`conv2d`] with a weight `[out, in, kernel, kernel]` and a bias `[out]`.
///
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::{VarBuilder, VarMap};
/// use halocast_kernels::{Conv2dSpec, nn};
/// let vars = VarMap::new();
/// let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
/// let spec = Conv2dSpec { padding: 1, ..Default::default() };
/// let layer = nn::Conv2d::new(1, 8, 3, spec, vb.pp("first"))?;
/// let y = layer.forward(&Tensor::zeros((2, 1, 16, 16), DType::F32, &Device::Cpu)?)?;
/// assert_eq!(y.dims(), [2, 8, 16, 16]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Conv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    spec: Conv2dSpec,
}

impl Conv2d {
    /// A layer with bias.
    ///
    /// # Errors
    /// Where the builder has no such parameters.
    pub fn new(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        spec: Conv2dSpec,
        vb: VarBuilder,
    ) -> Result<Self> {
        let fan_in = inputs * kernel * kernel;
        let weight = uniform(&vb, "weight", (outputs, inputs, kernel, kernel), fan_in)?;
        let bias = Some(uniform(&vb, "bias", outputs, fan_in)?);
        Ok(Self { weight, bias, spec })
    }

    /// A layer without bias.
    ///
    /// # Errors
    /// Where the builder has no such parameter.
    pub fn new_no_bias(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        spec: Conv2dSpec,
        vb: VarBuilder,
    ) -> Result<Self> {
        let fan_in = inputs * kernel * kernel;
        let weight = uniform(&vb, "weight", (outputs, inputs, kernel, kernel), fan_in)?;
        Ok(Self { weight, bias: None, spec })
    }

    /// A layer of given parameters.
    pub fn from_parts(weight: Tensor, bias: Option<Tensor>, spec: Conv2dSpec) -> Self {
        Self { weight, bias, spec }
    }

    /// The weight.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The bias, if the layer has one.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// Applies the layer.
    ///
    /// # Errors
    /// As [`conv2d`].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        conv2d(x, &self.weight, self.bias.as_ref(), self.spec)
    }
}

impl Module for Conv2d {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        Ok(self.forward(x)?)
    }
}

/// [`conv_transpose2d`] with a weight `[in, out, kernel, kernel]` and a bias `[out]`.
///
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::{VarBuilder, VarMap};
/// use halocast_kernels::{Conv2dSpec, nn};
/// let vars = VarMap::new();
/// let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
/// let spec = Conv2dSpec { stride: 2, padding: 1, ..Default::default() };
/// let layer = nn::ConvTranspose2d::new(8, 4, 4, spec, vb)?;
/// let y = layer.forward(&Tensor::zeros((2, 8, 16, 16), DType::F32, &Device::Cpu)?)?;
/// assert_eq!(y.dims(), [2, 4, 32, 32]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ConvTranspose2d {
    weight: Tensor,
    bias: Option<Tensor>,
    spec: Conv2dSpec,
}

impl ConvTranspose2d {
    /// A layer with bias. As in PyTorch, the fan-in of the initialisation is that of the second axis,
    /// `outputs * kernel^2`.
    ///
    /// # Errors
    /// Where the builder has no such parameters.
    pub fn new(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        spec: Conv2dSpec,
        vb: VarBuilder,
    ) -> Result<Self> {
        let fan_in = outputs * kernel * kernel;
        let weight = uniform(&vb, "weight", (inputs, outputs, kernel, kernel), fan_in)?;
        let bias = Some(uniform(&vb, "bias", outputs, fan_in)?);
        Ok(Self { weight, bias, spec })
    }

    /// A layer without bias.
    ///
    /// # Errors
    /// Where the builder has no such parameter.
    pub fn new_no_bias(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        spec: Conv2dSpec,
        vb: VarBuilder,
    ) -> Result<Self> {
        let fan_in = outputs * kernel * kernel;
        let weight = uniform(&vb, "weight", (inputs, outputs, kernel, kernel), fan_in)?;
        Ok(Self { weight, bias: None, spec })
    }

    /// A layer of given parameters.
    pub fn from_parts(weight: Tensor, bias: Option<Tensor>, spec: Conv2dSpec) -> Self {
        Self { weight, bias, spec }
    }

    /// The weight.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The bias, if the layer has one.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// Applies the layer.
    ///
    /// # Errors
    /// As [`conv_transpose2d`].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        conv_transpose2d(x, &self.weight, self.bias.as_ref(), self.spec)
    }
}

impl Module for ConvTranspose2d {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        Ok(self.forward(x)?)
    }
}

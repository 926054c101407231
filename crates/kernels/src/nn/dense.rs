//! The linear layer.

use candle_core::Tensor;
use candle_nn::{Module, VarBuilder};

use super::uniform;
use crate::Result;
use crate::linear::linear;

/// [`linear`](crate::linear()) with a weight `[out, in]` and a bias `[out]`.
///
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::{VarBuilder, VarMap};
/// let vars = VarMap::new();
/// let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
/// let layer = halocast_kernels::nn::Linear::new(3, 5, vb)?;
/// assert_eq!(layer.forward(&Tensor::zeros((2, 7, 3), DType::F32, &Device::Cpu)?)?.dims(), [2, 7, 5]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// A layer with bias.
    ///
    /// # Errors
    /// Where the builder has no such parameters.
    pub fn new(inputs: usize, outputs: usize, vb: VarBuilder) -> Result<Self> {
        let weight = uniform(&vb, "weight", (outputs, inputs), inputs)?;
        let bias = Some(uniform(&vb, "bias", outputs, inputs)?);
        Ok(Self { weight, bias })
    }

    /// A layer without bias.
    ///
    /// # Errors
    /// Where the builder has no such parameter.
    pub fn new_no_bias(inputs: usize, outputs: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self { weight: uniform(&vb, "weight", (outputs, inputs), inputs)?, bias: None })
    }

    /// A layer of given parameters.
    pub fn from_parts(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
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
    /// As [`linear`](crate::linear()).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        linear(x, &self.weight, self.bias.as_ref())
    }
}

impl Module for Linear {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        Ok(self.forward(x)?)
    }
}

//! Convolution layers.

use candle_core::Tensor;
use candle_nn::{Module, VarBuilder};

use super::uniform;
use crate::conv::{ConvSpec, conv_transpose1d, conv_transpose2d, conv_transpose3d, conv1d, conv2d, conv3d};
use crate::{Error, Result};

/// A layer around an operation; `$shape` is that of its weight, whose second axis and window are the fan-in.
macro_rules! layer {
    ($(#[$doc:meta])* $layer:ident, $op:ident, $axes:literal, $shape:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $layer {
            weight: Tensor,
            bias: Option<Tensor>,
            spec: ConvSpec,
        }

        impl $layer {
            /// A layer with bias. As in PyTorch, the fan-in of the initialisation is what follows the weight's first
            /// axis.
            ///
            /// # Errors
            /// Where `spec.groups` divides not both numbers of channels, or the builder has no such parameters.
            pub fn new(
                inputs: usize,
                outputs: usize,
                kernel: usize,
                spec: ConvSpec,
                vb: VarBuilder,
            ) -> Result<Self> {
                let mut layer = Self::new_no_bias(inputs, outputs, kernel, spec, vb.clone())?;
                let fan_in = layer.weight.dims()[1..].iter().product();
                layer.bias = Some(uniform(&vb, "bias", outputs, fan_in)?);
                Ok(layer)
            }

            /// A layer without bias.
            ///
            /// # Errors
            /// As [`new`](Self::new).
            pub fn new_no_bias(
                inputs: usize,
                outputs: usize,
                kernel: usize,
                spec: ConvSpec,
                vb: VarBuilder,
            ) -> Result<Self> {
                let groups = spec.groups;
                if groups == 0 || !inputs.is_multiple_of(groups) || !outputs.is_multiple_of(groups) {
                    let expected = format!("a divisor of {inputs} inputs and {outputs} outputs");
                    return Err(Error::argument(stringify!($layer), "groups", expected, groups));
                }
                let channels: [usize; 2] = $shape(inputs, outputs, groups);
                let shape = [&channels[..], &[kernel; $axes]].concat();
                let fan_in = shape[1..].iter().product();
                Ok(Self { weight: uniform(&vb, "weight", shape, fan_in)?, bias: None, spec })
            }

            /// A layer of given parameters.
            pub fn from_parts(weight: Tensor, bias: Option<Tensor>, spec: ConvSpec) -> Self {
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
            #[doc = concat!("As [`", stringify!($op), "`].")]
            pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
                $op(x, &self.weight, self.bias.as_ref(), self.spec)
            }
        }

        impl Module for $layer {
            fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
                Ok(self.forward(x)?)
            }
        }
    };
}

layer! {
    /// [`conv1d`] with a weight `[out, in / groups, kernel]` and a bias `[out]`.
    ///
    /// # Example
    /// ```
    /// use candle_core::{DType, Device, Tensor};
    /// use candle_nn::{VarBuilder, VarMap};
    /// use halocast_kernels::{ConvSpec, nn};
    /// let vars = VarMap::new();
    /// let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    /// let spec = ConvSpec { padding: 1, ..Default::default() };
    /// let layer = nn::Conv1d::new(3, 8, 3, spec, vb)?;
    /// let y = layer.forward(&Tensor::zeros((2, 3, 16), DType::F32, &Device::Cpu)?)?;
    /// assert_eq!(y.dims(), [2, 8, 16]);
    /// # Ok::<(), halocast_kernels::Error>(())
    /// ```
    Conv1d, conv1d, 1, |inputs, outputs, groups| [outputs, inputs / groups]
}

layer! {
    /// [`conv2d`] with a weight `[out, in / groups, kernel, kernel]` and a bias `[out]`.
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
    Conv2d, conv2d, 2, |inputs, outputs, groups| [outputs, inputs / groups]
}

layer! {
    /// [`conv3d`] with a weight `[out, in / groups, kernel, kernel, kernel]` and a bias `[out]`.
    ///
    /// # Example
    /// ```
    /// use candle_core::{DType, Device, Tensor};
    /// use candle_nn::{VarBuilder, VarMap};
    /// use halocast_kernels::{ConvSpec, PadMode, nn};
    /// let vars = VarMap::new();
    /// let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    /// let spec = ConvSpec { padding: 1, pad_mode: PadMode::Circular, ..Default::default() };
    /// let layer = nn::Conv3d::new(1, 4, 3, spec, vb)?;
    /// let y = layer.forward(&Tensor::zeros((2, 1, 8, 8, 8), DType::F32, &Device::Cpu)?)?;
    /// assert_eq!(y.dims(), [2, 4, 8, 8, 8]);
    /// # Ok::<(), halocast_kernels::Error>(())
    /// ```
    Conv3d, conv3d, 3, |inputs, outputs, groups| [outputs, inputs / groups]
}

layer! {
    /// [`conv_transpose1d`] with a weight `[in, out / groups, kernel]` and a bias `[out]`.
    ///
    /// # Example
    /// ```
    /// use candle_core::{DType, Device, Tensor};
    /// use candle_nn::{VarBuilder, VarMap};
    /// use halocast_kernels::{ConvSpec, nn};
    /// let vars = VarMap::new();
    /// let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    /// let spec = ConvSpec { stride: 2, padding: 1, ..Default::default() };
    /// let layer = nn::ConvTranspose1d::new(8, 4, 4, spec, vb)?;
    /// let y = layer.forward(&Tensor::zeros((2, 8, 16), DType::F32, &Device::Cpu)?)?;
    /// assert_eq!(y.dims(), [2, 4, 32]);
    /// # Ok::<(), halocast_kernels::Error>(())
    /// ```
    ConvTranspose1d, conv_transpose1d, 1, |inputs, outputs, groups| [inputs, outputs / groups]
}

layer! {
    /// [`conv_transpose2d`] with a weight `[in, out / groups, kernel, kernel]` and a bias `[out]`.
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
    ConvTranspose2d, conv_transpose2d, 2, |inputs, outputs, groups| [inputs, outputs / groups]
}

layer! {
    /// [`conv_transpose3d`] with a weight `[in, out / groups, kernel, kernel, kernel]` and a bias `[out]`.
    ///
    /// # Example
    /// ```
    /// use candle_core::{DType, Device, Tensor};
    /// use candle_nn::{VarBuilder, VarMap};
    /// use halocast_kernels::{ConvSpec, nn};
    /// let vars = VarMap::new();
    /// let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    /// let spec = ConvSpec { stride: 2, padding: 1, ..Default::default() };
    /// let layer = nn::ConvTranspose3d::new(8, 4, 4, spec, vb)?;
    /// let y = layer.forward(&Tensor::zeros((1, 8, 4, 4, 4), DType::F32, &Device::Cpu)?)?;
    /// assert_eq!(y.dims(), [1, 4, 8, 8, 8]);
    /// # Ok::<(), halocast_kernels::Error>(())
    /// ```
    ConvTranspose3d, conv_transpose3d, 3, |inputs, outputs, groups| [inputs, outputs / groups]
}

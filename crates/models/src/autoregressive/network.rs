//! The network of a PixelCNN.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use halocast_kernels::nn::Linear;
use halocast_kernels::{add_channel, relu};

use super::{Mask, MaskedConv2d};
use crate::Result;

/// Masked convolutions with ReLU between them: the first of mask A, the others of mask B. What it gives at a pixel depends
/// on pixels before it alone.
///
/// Its parameters are named as in a sequence with activations between, `0.weight`, `2.weight`, ...; a vector of parameters
/// shifts the channels behind each layer but the last by linear maps `condition.0.weight`, ...
///
/// # Source
/// van den Oord, Kalchbrenner & Kavukcuoglu 2016, arXiv:1601.06759, table 1 without residual blocks; condition: van den
/// Oord et al. 2016, arXiv:1606.05328, equation 3.
///
/// # Differences
/// Plain masked convolutions have a blind spot to the upper right. Channels of a pixel do not see one another.
pub struct PixelCnnNet {
    layers: Vec<MaskedConv2d>,
    conditions: Vec<Linear>,
}

/// The sizes of a [`PixelCnnNet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetShape {
    /// Channels of the maps.
    pub inputs: usize,
    /// Channels of the layers between.
    pub hidden: usize,
    /// Channels of the output.
    pub outputs: usize,
    /// Window of the first layer, odd.
    pub first_kernel: usize,
    /// Window of the others, odd.
    pub kernel: usize,
    /// Hidden layers behind the first.
    pub layers: usize,
    /// Conditioning parameters; 0 for none.
    pub parameters: usize,
}

impl PixelCnnNet {
    /// The network of given sizes.
    ///
    /// # Errors
    /// When the builder has no such parameters.
    pub fn new(shape: &NetShape, vb: VarBuilder) -> Result<Self> {
        let NetShape { inputs, hidden, outputs, first_kernel, kernel, layers, parameters } = *shape;
        let mut all = vec![MaskedConv2d::new(Mask::A, inputs, hidden, first_kernel, vb.pp("0"))?];
        for i in 1..=layers + 1 {
            let to = if i <= layers { hidden } else { outputs };
            all.push(MaskedConv2d::new(Mask::B, hidden, to, kernel, vb.pp(2 * i))?);
        }
        let condition = |i: usize| Linear::new(parameters, hidden, vb.pp("condition").pp(i));
        let count = if parameters > 0 { layers + 1 } else { 0 };
        let conditions = (0..count).map(condition).collect::<halocast_kernels::Result<_>>()?;
        Ok(Self { layers: all, conditions })
    }

    /// The same network with [`MaskedConv2d::with_raw_gradients`].
    pub fn with_raw_gradients(self) -> Self {
        let layers = self.layers.into_iter().map(MaskedConv2d::with_raw_gradients).collect();
        Self { layers, ..self }
    }

    /// The output `[n, output, y, x]` of maps `[n, input, y, x]` under parameters `[n, parameter]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn forward(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<Tensor> {
        let mut h = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            if i > 0 {
                h = relu(&h)?;
            }
            h = layer.forward(&h)?;
            if let (Some(linear), Some(cond)) = (self.conditions.get(i), cond) {
                h = add_channel(&h, &linear.forward(cond)?)?;
            }
        }
        Ok(h)
    }
}

//! Convolutions that do not see the future.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use halocast_kernels::nn::Conv2d;
use halocast_kernels::{ConvSpec, conv2d};

use crate::Result;

/// What a masked convolution sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// Pixels before its own, row by row.
    A,
    /// These and its own.
    B,
}

impl Mask {
    /// The window `[kernel, kernel]`, row by row: one where it sees.
    pub fn window(self, kernel: usize) -> Vec<f64> {
        let centre = (kernel / 2) * kernel + kernel / 2;
        let end = if self == Self::A { centre } else { centre + 1 };
        (0..kernel * kernel).map(|at| f64::from(u8::from(at < end))).collect()
    }
}

/// A convolution of maps with a mask over its window, the same for all channels, padded by zeros to the same size.
///
/// # Source
/// van den Oord, Kalchbrenner & Kavukcuoglu 2016, arXiv:1601.06759, section 3.4; names and shapes as in
/// jzbontar/pixelcnn-pytorch.
///
/// # Differences
/// Weights under the mask have no gradient; in the reference they have one, which does nothing
/// ([`MaskedConv2d::with_raw_gradients`]).
pub struct MaskedConv2d {
    conv: Conv2d,
    mask: Tensor,
    spec: ConvSpec,
    raw: bool,
}

impl MaskedConv2d {
    /// A layer of an odd `kernel`.
    ///
    /// # Errors
    /// When the builder has no such parameters.
    pub fn new(mask: Mask, from: usize, to: usize, kernel: usize, vb: VarBuilder) -> Result<Self> {
        let spec = ConvSpec { padding: kernel / 2, ..Default::default() };
        let conv = Conv2d::new(from, to, kernel, spec, vb)?;
        let window = Tensor::from_vec(mask.window(kernel), (1, 1, kernel, kernel), conv.weight().device())?;
        let mask =
            window.to_dtype(conv.weight().dtype())?.broadcast_as(conv.weight().shape())?.contiguous()?;
        Ok(Self { conv, mask, spec, raw: false })
    }

    /// The same layer, whose weights under the mask have the gradient that they would have without it.
    pub fn with_raw_gradients(self) -> Self {
        Self { raw: true, ..self }
    }

    /// Applies the layer to maps `[n, channel, y, x]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let weight = self.conv.weight();
        let mut masked = (weight * &self.mask)?;
        if self.raw {
            masked = (weight + (masked - weight)?.detach())?;
        }
        Ok(conv2d(x, &masked, self.conv.bias(), self.spec)?)
    }
}

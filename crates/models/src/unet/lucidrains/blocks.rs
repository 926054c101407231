//! Normalisation, residual block and resampling.

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};
use halocast_kernels::nn::Linear;
use halocast_kernels::{Activation, ConvSpec, add, rms_norm, scale_shift_channel, silu, upsample_nearest};

use crate::Result;
use crate::network::{Context, Conv, space_to_depth};

/// What the layers of a network share.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub(super) axes: usize,
    pub(super) spec: ConvSpec,
    pub(super) time: usize,
    pub(super) dropout: f64,
}

/// x g sqrt(C) / |x| with the norm over the C channels of each pixel.
pub(super) struct ChannelNorm {
    gain: Tensor,
}

impl ChannelNorm {
    pub(super) fn new(axes: usize, channels: usize, vb: VarBuilder) -> Result<Self> {
        let shape: Vec<usize> = [1, channels].into_iter().chain(std::iter::repeat_n(1, axes)).collect();
        Ok(Self { gain: vb.get_with_hints(shape, "g", Init::Const(1.0))? })
    }

    pub(super) fn forward(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        let (dims, batch, channels) = (x.dims(), x.dim(0)?, x.dim(1)?);
        let rows = x.reshape((batch, channels, ()))?.transpose(1, 2)?.contiguous()?;
        // The reference bounds the norm from below by 1e-12.
        let rows = rms_norm(&rows, &self.gain.flatten_all()?, 1e-24 / channels as f64, activation)?;
        Ok(rows.transpose(1, 2)?.contiguous()?.reshape(dims)?)
    }
}

/// Convolution 3x3, normalisation, SiLU.
struct Block {
    proj: Conv,
    norm: ChannelNorm,
}

impl Block {
    fn new(from: usize, to: usize, layout: Layout, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            proj: Conv::new(layout.axes, from, to, 3, layout.spec, vb.pp("proj"))?,
            norm: ChannelNorm::new(layout.axes, to, vb.pp("norm"))?,
        })
    }

    fn forward(&self, x: &Tensor, modulation: Option<&Tensor>) -> Result<Tensor> {
        let x = self.proj.forward(x)?;
        let Some(modulation) = modulation else { return self.norm.forward(&x, Activation::Silu) };
        let x = self.norm.forward(&x, Activation::None)?;
        let (scale, shift) = halves(modulation)?;
        Ok(silu(&scale_shift_channel(&x, &scale, &shift)?)?)
    }
}

/// The two halves of the last axis of `[batch, 2 n]`.
fn halves(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let n = x.dim(1)? / 2;
    Ok((x.narrow(1, 0, n)?.contiguous()?, x.narrow(1, n, n)?.contiguous()?))
}

/// Two blocks with a residual connection; the embedding scales and shifts the channels of the first.
pub(super) struct ResidualBlock {
    mlp: Linear,
    block1: Block,
    block2: Block,
    res_conv: Option<Conv>,
    dropout: f64,
}

impl ResidualBlock {
    pub(super) fn new(from: usize, to: usize, layout: Layout, vb: VarBuilder) -> Result<Self> {
        let pointwise = ConvSpec::default();
        Ok(Self {
            mlp: Linear::new(layout.time, 2 * to, vb.pp("mlp.1"))?,
            block1: Block::new(from, to, layout, vb.pp("block1"))?,
            block2: Block::new(to, to, layout, vb.pp("block2"))?,
            res_conv: (from != to)
                .then(|| Conv::new(layout.axes, from, to, 1, pointwise, vb.pp("res_conv")))
                .transpose()?,
            dropout: layout.dropout,
        })
    }

    /// `embedding` is SiLU of the embedding of time and parameters, `[batch, time]`.
    pub(super) fn forward(&self, x: &Tensor, embedding: &Tensor, context: &Context<'_>) -> Result<Tensor> {
        let h = self.block1.forward(x, Some(&self.mlp.forward(embedding)?))?;
        let h = self.block2.forward(&context.drop(&h, self.dropout)?, None)?;
        match &self.res_conv {
            Some(conv) => Ok(add(&h, &conv.forward(x)?)?),
            None => Ok(add(&h, x)?),
        }
    }
}

/// To the next level, or a convolution at the last one.
pub(super) enum Resample {
    /// Blocks of 2 along each axis become channels, then a pointwise convolution.
    Down(Conv),
    /// Each pixel twice along each axis, then a 3x3 convolution.
    Up(Conv),
    Keep(Conv),
}

impl Resample {
    pub(super) fn down(from: usize, to: usize, last: bool, layout: Layout, vb: VarBuilder) -> Result<Self> {
        if last {
            return Ok(Self::Keep(Conv::new(layout.axes, from, to, 3, layout.spec, vb)?));
        }
        let inputs = from << layout.axes;
        Ok(Self::Down(Conv::new(layout.axes, inputs, to, 1, ConvSpec::default(), vb.pp("1"))?))
    }

    pub(super) fn up(from: usize, to: usize, last: bool, layout: Layout, vb: VarBuilder) -> Result<Self> {
        let vb = if last { vb } else { vb.pp("1") };
        let conv = Conv::new(layout.axes, from, to, 3, layout.spec, vb)?;
        Ok(if last { Self::Keep(conv) } else { Self::Up(conv) })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Down(conv) => conv.forward(&space_to_depth(x)?),
            Self::Up(conv) => conv.forward(&upsample_nearest(x, 2)?),
            Self::Keep(conv) => conv.forward(x),
        }
    }
}

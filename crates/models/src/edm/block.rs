//! The residual block with attention that both networks of EDM are made of.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use halocast_kernels::nn::{GroupNorm, Linear};
use halocast_kernels::{
    Activation, Conv2dSpec, PadMode, add, add_channel, attention_map, conv2d, scale_shift_channel, silu,
};

use super::layers::{Begin, Change, ResampleConv, norm};
use crate::Result;
use crate::network::Context;

/// What the blocks of a network share.
#[derive(Clone)]
pub(super) struct Style {
    pub(super) embedding: usize,
    /// Heads of attention; `None` for one of each 64 channels (none below).
    pub(super) heads: Option<usize>,
    pub(super) dropout: f64,
    /// What the sum of a residual connection is multiplied with.
    pub(super) skip_scale: f64,
    pub(super) eps: f64,
    pub(super) filter: Vec<f64>,
    /// Whether a skip that changes the resolution has a convolution though the channels stay.
    pub(super) resample_proj: bool,
    /// Whether the embedding scales and shifts, or only shifts.
    pub(super) adaptive_scale: bool,
    pub(super) padding: PadMode,
    pub(super) begin: Begin,
    /// Of the convolution at the end of a residual branch.
    pub(super) begin_last: Begin,
    pub(super) begin_attention: Begin,
}

/// Normalisation, SiLU, convolution with resampling; modulation by the embedding, SiLU, dropout, convolution; a residual
/// connection; attention with another one.
pub(super) struct Block {
    norm0: GroupNorm,
    conv0: ResampleConv,
    affine: Linear,
    norm1: GroupNorm,
    conv1: ResampleConv,
    skip: Option<ResampleConv>,
    attention: Option<Attention>,
    adaptive_scale: bool,
    skip_scale: f64,
    dropout: f64,
}

impl Block {
    pub(super) fn new(
        (from, to): (usize, usize),
        change: Change,
        attend: bool,
        style: &Style,
        vb: VarBuilder,
    ) -> Result<Self> {
        let resample = (change, style.filter.as_slice());
        let plain = (Change::None, style.filter.as_slice());
        let heads = if attend { style.heads.unwrap_or(to / 64) } else { 0 };
        let kernel = usize::from(style.resample_proj || from != to);
        let norm1 = norm(to, style.eps, vb.pp("norm1"))?;
        Ok(Self {
            norm0: norm(from, style.eps, vb.pp("norm0"))?.with_activation(Activation::Silu),
            conv0: ResampleConv::new((from, to), 3, resample, style.padding, style.begin, vb.pp("conv0"))?,
            affine: style.begin.linear(
                style.embedding,
                to * (1 + usize::from(style.adaptive_scale)),
                vb.pp("affine"),
            )?,
            norm1: if style.adaptive_scale { norm1 } else { norm1.with_activation(Activation::Silu) },
            conv1: ResampleConv::new((to, to), 3, plain, style.padding, style.begin_last, vb.pp("conv1"))?,
            skip: (from != to || change != Change::None)
                .then(|| {
                    let vb = vb.pp("skip");
                    ResampleConv::new((from, to), kernel, resample, style.padding, style.begin, vb)
                })
                .transpose()?,
            attention: (heads > 0).then(|| Attention::new(to, heads, style, vb.clone())).transpose()?,
            adaptive_scale: style.adaptive_scale,
            skip_scale: style.skip_scale,
            dropout: style.dropout,
        })
    }

    /// `embedding` `[batch, embedding]`.
    pub(super) fn forward(&self, x: &Tensor, embedding: &Tensor, context: &Context<'_>) -> Result<Tensor> {
        let h = self.conv0.forward(&self.norm0.forward(x)?)?;
        let modulation = self.affine.forward(embedding)?;
        let h = if self.adaptive_scale {
            let n = modulation.dim(1)? / 2;
            let (scale, shift) = (modulation.narrow(1, 0, n)?.contiguous()?, modulation.narrow(1, n, n)?);
            silu(&scale_shift_channel(&self.norm1.forward(&h)?, &scale, &shift.contiguous()?)?)?
        } else {
            self.norm1.forward(&add_channel(&h, &modulation)?)?
        };
        let h = self.conv1.forward(&context.drop(&h, self.dropout)?)?;
        let skip = self.skip.as_ref().map(|skip| skip.forward(x)).transpose()?;
        let x = scaled(add(&h, skip.as_ref().unwrap_or(x))?, self.skip_scale)?;
        match &self.attention {
            Some(attention) => scaled(attention.forward(&x)?, self.skip_scale),
            None => Ok(x),
        }
    }
}

fn scaled(x: Tensor, factor: f64) -> Result<Tensor> {
    if factor == 1.0 { Ok(x) } else { Ok((x * factor)?) }
}

/// Attention over pixels with its residual connection.
struct Attention {
    norm: GroupNorm,
    /// The rows of weight and bias are ordered by head, then channel, then query, key and value.
    qkv: (Tensor, Tensor),
    proj: ResampleConv,
    heads: usize,
}

impl Attention {
    fn new(channels: usize, heads: usize, style: &Style, vb: VarBuilder) -> Result<Self> {
        let plain = (Change::None, style.filter.as_slice());
        Ok(Self {
            norm: norm(channels, style.eps, vb.pp("norm2"))?,
            qkv: style.begin_attention.pointwise(channels, 3 * channels, vb.pp("qkv"))?,
            proj: ResampleConv::new(
                (channels, channels),
                1,
                plain,
                style.padding,
                style.begin_last,
                vb.pp("proj"),
            )?,
            heads,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = &self.qkv;
        let (all, channels) = (weight.dim(0)?, weight.dim(1)?);
        let each = channels / self.heads;
        // Queries of all heads first, then keys, then values.
        let order = |t: &Tensor, last: usize| -> Result<Tensor> {
            let t = t.reshape((self.heads, each, 3, last))?.permute((2, 0, 1, 3))?.contiguous()?;
            Ok(t.reshape((all, last))?)
        };
        let weight = order(weight, channels)?.reshape((all, channels, 1, 1))?;
        let bias = order(bias, 1)?.flatten_all()?;
        let qkv = conv2d(&self.norm.forward(x)?, &weight, Some(&bias), Conv2dSpec::default())?;
        let out = attention_map(&qkv, self.heads, (each as f64).powf(-0.5))?;
        Ok(add(&self.proj.forward(&out)?, x)?)
    }
}

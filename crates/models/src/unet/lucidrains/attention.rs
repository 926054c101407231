//! Attention over pixels with learned keys and values beside those of the field.

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};
use halocast_kernels::{Activation, ConvSpec, add, attention_map, linear_attention_map};

use super::blocks::ChannelNorm;
use crate::Result;
use crate::network::Conv;

/// Normalised attention with a residual connection.
pub(super) struct AttentionBlock {
    norm: ChannelNorm,
    /// Keys and values, `[2, heads, memory, d]` where attention is full, else `[2, heads, d, memory]`.
    memory: Tensor,
    to_qkv: Conv,
    to_out: Conv,
    /// Present in linear attention only, which normalises its output.
    out_norm: Option<ChannelNorm>,
    heads: usize,
    dim_head: usize,
}

impl AttentionBlock {
    pub(super) fn new(
        dim: usize,
        (heads, dim_head): (usize, usize),
        memory: usize,
        full: bool,
        axes: usize,
        vb: VarBuilder,
    ) -> Result<Self> {
        let hidden = heads * dim_head;
        let shape = if full { [2, heads, memory, dim_head] } else { [2, heads, dim_head, memory] };
        let normal = Init::Randn { mean: 0.0, stdev: 1.0 };
        let out = if full { vb.pp("to_out") } else { vb.pp("to_out.0") };
        Ok(Self {
            norm: ChannelNorm::new(axes, dim, vb.pp("norm"))?,
            memory: vb.get_with_hints(&shape, "mem_kv", normal)?,
            to_qkv: Conv::pointwise(axes, dim, 3 * hidden, vb.pp("to_qkv"))?,
            to_out: Conv::new(axes, hidden, dim, 1, ConvSpec::default(), out)?,
            out_norm: (!full).then(|| ChannelNorm::new(axes, dim, vb.pp("to_out.1"))).transpose()?,
            heads,
            dim_head,
        })
    }

    /// The memory stands behind the pixels as pixels of its own, whose queries are zero and whose output is left out.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let qkv = self.to_qkv.forward(&self.norm.forward(x, Activation::None)?)?;
        let (batch, channels) = (qkv.dim(0)?, qkv.dim(1)?);
        let qkv = qkv.reshape((batch, channels, ()))?;
        let pixels = qkv.dim(2)?;
        let memory =
            if self.out_norm.is_some() { self.memory.clone() } else { self.memory.transpose(2, 3)? };
        let memory = memory.contiguous()?.reshape((2 * channels / 3, ()))?;
        let queries = Tensor::zeros((channels / 3, memory.dim(1)?), memory.dtype(), memory.device())?;
        let memory = Tensor::cat(&[&queries, &memory], 0)?.unsqueeze(0)?;
        let memory = memory.broadcast_as((batch, channels, memory.dim(2)?))?.contiguous()?;
        let qkv = Tensor::cat(&[&qkv, &memory], 2)?.contiguous()?;

        let scale = (self.dim_head as f64).powf(-0.5);
        let out = match &self.out_norm {
            Some(_) => linear_attention_map(&qkv, self.heads, scale)?,
            None => attention_map(&qkv, self.heads, scale)?,
        };
        let shape: Vec<usize> =
            [batch, channels / 3].into_iter().chain(x.dims()[2..].iter().copied()).collect();
        let out = self.to_out.forward(&out.narrow(2, 0, pixels)?.contiguous()?.reshape(shape)?)?;
        let out = match &self.out_norm {
            Some(norm) => norm.forward(&out, Activation::None)?,
            None => out,
        };
        Ok(add(&out, x)?)
    }
}

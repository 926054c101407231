//! The blocks of the U-Net: residual block with time shift, attention with its normalisation.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use halocast_kernels::nn::{Conv2d, GroupNorm, Linear};
use halocast_kernels::{
    Activation, Conv2dSpec, PadMode, add, add_channel, attention_map, linear_attention_map,
};

use super::UNetConfig;
use crate::Result;

/// Convolution 3x3, group normalisation, SiLU.
struct Block {
    proj: Conv2d,
    norm: GroupNorm,
}

impl Block {
    fn new(from: usize, to: usize, groups: usize, padding: PadMode, vb: VarBuilder) -> Result<Self> {
        let spec = Conv2dSpec { stride: 1, padding: 1, pad_mode: padding, ..Default::default() };
        Ok(Self {
            proj: Conv2d::new(from, to, 3, spec, vb.pp("proj"))?,
            norm: GroupNorm::new(groups, to, 1e-5, vb.pp("norm"))?.with_activation(Activation::Silu),
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.norm.forward(&self.proj.forward(x)?)?)
    }
}

/// Two blocks with a residual connection; the time embedding shifts the channels between them.
pub(super) struct ResidualBlock {
    mlp: Option<Linear>,
    block1: Block,
    block2: Block,
    res_conv: Option<Conv2d>,
}

impl ResidualBlock {
    pub(super) fn new(
        from: usize,
        to: usize,
        time: Option<usize>,
        config: &UNetConfig,
        vb: VarBuilder,
    ) -> Result<Self> {
        let pointwise = Conv2dSpec::default();
        Ok(Self {
            mlp: time.map(|t| Linear::new(t, to, vb.pp("mlp.1"))).transpose()?,
            block1: Block::new(from, to, config.groups, config.padding, vb.pp("block1"))?,
            block2: Block::new(to, to, config.groups, config.padding, vb.pp("block2"))?,
            res_conv: (from != to)
                .then(|| Conv2d::new(from, to, 1, pointwise, vb.pp("res_conv")))
                .transpose()?,
        })
    }

    /// `time` is SiLU of the time embedding, `[batch, time]`.
    pub(super) fn forward(&self, x: &Tensor, time: &Tensor) -> Result<Tensor> {
        let mut h = self.block1.forward(x)?;
        if let Some(mlp) = &self.mlp {
            h = add_channel(&h, &mlp.forward(time)?)?;
        }
        let h = self.block2.forward(&h)?;
        match &self.res_conv {
            Some(conv) => Ok(add(&h, &conv.forward(x)?)?),
            None => Ok(add(&h, x)?),
        }
    }
}

/// Pre-normalised attention over pixels with a residual connection.
pub(super) struct AttentionBlock {
    norm: GroupNorm,
    to_qkv: Conv2d,
    to_out: Conv2d,
    /// Present in linear attention only, which normalises its output.
    out_norm: Option<GroupNorm>,
    heads: usize,
    dim_head: usize,
}

impl AttentionBlock {
    pub(super) fn new(dim: usize, linear: bool, config: &UNetConfig, vb: VarBuilder) -> Result<Self> {
        let hidden = config.heads * config.dim_head;
        let pointwise = Conv2dSpec::default();
        let inner = vb.pp("fn.fn");
        let out = if linear { inner.pp("to_out.0") } else { inner.pp("to_out") };
        Ok(Self {
            norm: GroupNorm::new(1, dim, 1e-5, vb.pp("fn.norm"))?,
            to_qkv: Conv2d::new_no_bias(dim, 3 * hidden, 1, pointwise, inner.pp("to_qkv"))?,
            to_out: Conv2d::new(hidden, dim, 1, pointwise, out)?,
            out_norm: linear.then(|| GroupNorm::new(1, dim, 1e-5, inner.pp("to_out.1"))).transpose()?,
            heads: config.heads,
            dim_head: config.dim_head,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let qkv = self.to_qkv.forward(&self.norm.forward(x)?)?;
        let scale = (self.dim_head as f64).powf(-0.5);
        let out = match &self.out_norm {
            Some(norm) => {
                norm.forward(&self.to_out.forward(&linear_attention_map(&qkv, self.heads, scale)?)?)?
            }
            None => self.to_out.forward(&attention_map(&qkv, self.heads, scale)?)?,
        };
        Ok(add(&out, x)?)
    }
}

//! The geometry-aware transformer: blocks of mixers and perceptrons.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use halocast_kernels::nn::LayerNorm;
use halocast_kernels::{Boundary, knn};

use super::layers::{Perceptron, norm};
use super::mixer::{Mixer, Role, Shape, add_scaled, scale};
use super::{DecoderConfig, EncoderConfig};
use crate::Result;

/// A normalised perceptron with a residual.
struct Feed {
    norm: LayerNorm,
    mlp: Perceptron,
    scale: Option<Tensor>,
}

impl Feed {
    fn new(shape: Shape, ratio: f64, vb: &VarBuilder) -> Result<Self> {
        Ok(Self {
            norm: norm(shape.dim, vb.pp("norm2"))?,
            mlp: Perceptron::block(shape.dim, ratio, shape.std, vb.pp("mlp"))?,
            scale: scale(shape.dim, shape.scale, vb.pp("ls2"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        add_scaled(x, &self.mlp.forward(&self.norm.forward(x)?)?, self.scale.as_ref())
    }
}

/// Blocks of tokens that see one another.
pub(super) struct Encoder {
    blocks: Vec<(Mixer, Feed)>,
    k: usize,
}

impl Encoder {
    pub(super) fn new(config: &EncoderConfig, std: f64, vb: VarBuilder) -> Result<Self> {
        let shape = Shape {
            dim: config.embed_dim,
            heads: config.num_heads,
            bias: config.qkv_bias,
            scale: config.init_values,
            std,
        };
        // In the state dict and not in the network.
        norm(config.embed_dim, vb.pp("norm"))?;
        let block = |(i, style): (usize, &_)| -> Result<(Mixer, Feed)> {
            let vb = vb.pp("blocks.blocks").pp(i);
            let feed = Feed::new(shape, config.mlp_ratio, &vb)?;
            Ok((Mixer::new(Role::Encoder, *style, config.combine_style, shape, vb)?, feed))
        };
        let blocks = config.block_style_list.iter().enumerate().map(block).collect::<Result<_>>()?;
        Ok(Self { blocks, k: config.k })
    }

    /// Of tokens `[b, n, c]` at `positions [b, n, 3]`.
    pub(super) fn forward(&self, tokens: &Tensor, positions: &Tensor) -> Result<Tensor> {
        let near = knn(positions, positions, self.k, &Boundary::Open)?.indices;
        let mut x = tokens.clone();
        for (mixer, feed) in &self.blocks {
            x = feed.forward(&mixer.forward(&x, &x, &near, 0)?)?;
        }
        Ok(x)
    }
}

/// Blocks of queries that see one another and the tokens.
pub(super) struct Decoder {
    blocks: Vec<(Mixer, Mixer, Feed)>,
    k: usize,
}

impl Decoder {
    pub(super) fn new(config: &DecoderConfig, std: f64, vb: VarBuilder) -> Result<Self> {
        let shape = Shape {
            dim: config.embed_dim,
            heads: config.num_heads,
            bias: config.qkv_bias,
            scale: config.init_values,
            std,
        };
        let styles = config.self_attn_block_style_list.iter().zip(&config.cross_attn_block_style_list);
        let block = |(i, (own, cross)): (usize, (&_, &_))| -> Result<(Mixer, Mixer, Feed)> {
            let vb = vb.pp("blocks.blocks").pp(i);
            let feed = Feed::new(shape, config.mlp_ratio, &vb)?;
            let own = Mixer::new(Role::Queries, *own, config.self_attn_combine_style, shape, vb.clone())?;
            let cross = Mixer::new(Role::Memory, *cross, config.cross_attn_combine_style, shape, vb)?;
            Ok((own, cross, feed))
        };
        Ok(Self { blocks: styles.enumerate().map(block).collect::<Result<_>>()?, k: config.k })
    }

    /// Of queries `[b, n, c]` at `at [b, n, 3]` that see tokens `[b, m, c]` at `memory_at [b, m, 3]`. The last `hidden`
    /// queries are seen by one another alone.
    pub(super) fn forward(
        &self,
        queries: &Tensor,
        at: &Tensor,
        memory: &Tensor,
        memory_at: &Tensor,
        hidden: usize,
    ) -> Result<Tensor> {
        let open = Boundary::Open;
        let seen = at.dims()[1] - hidden;
        let first = at.narrow(1, 0, seen)?.contiguous()?;
        let mut near = knn(&first, &first, self.k, &open)?.indices;
        if hidden > 0 {
            let last = at.narrow(1, seen, hidden)?.contiguous()?;
            near = Tensor::cat(&[near, knn(at, &last, self.k, &open)?.indices], 1)?;
        }
        let cross = knn(memory_at, at, self.k, &open)?.indices;
        let mut q = queries.clone();
        for (own, other, feed) in &self.blocks {
            q = own.forward(&q, &q, &near, hidden)?;
            q = feed.forward(&other.forward(&q, memory, &cross, 0)?)?;
        }
        Ok(q)
    }
}

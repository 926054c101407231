//! The part of a block that mixes points: attention over all, edge convolution over neighbours, or both.

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};
use halocast_kernels::nn::{LayerNorm, Linear};

use super::layers::{Attention, GraphAttention, dense, norm};
use super::{Block, Combine};
use crate::Result;

/// Whom a mixer sees, and the names of its parameters.
#[derive(Clone, Copy)]
pub(super) enum Role {
    /// The encoder's tokens, one another.
    Encoder,
    /// The decoder's queries, one another.
    Queries,
    /// The decoder's queries, the encoder's tokens.
    Memory,
}

/// What a mixer is made from.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) dim: usize,
    pub(super) heads: usize,
    pub(super) bias: bool,
    pub(super) scale: Option<f64>,
    pub(super) std: f64,
}

/// The normalisations before a branch, and the factor behind it.
struct Frame {
    of_queries: LayerNorm,
    of_memory: Option<LayerNorm>,
    scale: Option<Tensor>,
}

impl Frame {
    /// What a branch sees.
    fn enter(&self, x: &Tensor, memory: &Tensor) -> Result<(Tensor, Tensor)> {
        let q = self.of_queries.forward(x)?;
        let v = self.of_memory.as_ref().map(|norm| norm.forward(memory)).transpose()?;
        Ok((q.clone(), v.unwrap_or(q)))
    }

    /// Adds what a branch gives.
    fn leave(&self, x: &Tensor, f: &Tensor) -> Result<Tensor> {
        add_scaled(x, f, self.scale.as_ref())
    }
}

/// $x + \gamma f$.
pub(super) fn add_scaled(x: &Tensor, f: &Tensor, scale: Option<&Tensor>) -> Result<Tensor> {
    Ok(match scale {
        Some(scale) => halocast_kernels::add(x, &f.broadcast_mul(scale)?)?,
        None => halocast_kernels::add(x, f)?,
    })
}

/// A learned factor of a residual.
pub(super) fn scale(dim: usize, first: Option<f64>, vb: VarBuilder) -> Result<Option<Tensor>> {
    Ok(first.map(|v| vb.get_with_hints(dim, "gamma", Init::Const(v))).transpose()?)
}

pub(super) struct Mixer {
    attention: Option<Attention>,
    graph: Option<GraphAttention>,
    merge: Option<Linear>,
    frame: Frame,
    /// Of the second branch where one follows the other.
    second: Option<Frame>,
}

impl Mixer {
    pub(super) fn new(
        role: Role,
        style: Block,
        combine: Combine,
        shape: Shape,
        vb: VarBuilder,
    ) -> Result<Self> {
        let Shape { dim, heads, bias, std, .. } = shape;
        let (attention_name, graph_name, merge_name) = match role {
            Role::Encoder => ("attn", "local_attn", "merge_map"),
            Role::Queries => ("self_attn", "local_self_attn", "self_attn_merge_map"),
            Role::Memory => ("cross_attn", "local_cross_attn", "cross_attn_merge_map"),
        };
        let frame = |queries: &str, memory: Option<&str>, factor: &str| -> Result<Frame> {
            Ok(Frame {
                of_queries: norm(dim, vb.pp(queries))?,
                of_memory: memory.map(|name| norm(dim, vb.pp(name))).transpose()?,
                scale: scale(dim, shape.scale, vb.pp(factor))?,
            })
        };
        let both = style == Block::AttnGraph;
        let in_turn = both && combine == Combine::OneByOne;
        let (first, second) = match role {
            Role::Encoder | Role::Queries => {
                (frame("norm1", None, "ls1")?, in_turn.then(|| frame("norm3", None, "ls3")).transpose()?)
            }
            Role::Memory => (
                frame("norm_q", Some("norm_v"), "ls4")?,
                in_turn.then(|| frame("norm_q_2", Some("norm_v_2"), "ls5")).transpose()?,
            ),
        };
        let attention = match role {
            _ if style == Block::Graph => None,
            Role::Memory => Some(Attention::cross(dim, heads, bias, std, vb.pp(attention_name))?),
            _ => Some(Attention::own(dim, heads, bias, std, vb.pp(attention_name))?),
        };
        let graph =
            (style != Block::Attn).then(|| GraphAttention::new(dim, std, vb.pp(graph_name))).transpose()?;
        let merge =
            (both && !in_turn).then(|| dense(2 * dim, dim, true, std, vb.pp(merge_name))).transpose()?;
        Ok(Self { attention, graph, merge, frame: first, second })
    }

    /// Of `x [b, n, c]`, which sees `memory [b, m, c]` (itself where it is a mixer of one cloud) and the neighbours
    /// `indices [b, n, k]` there; the last `hidden` points are seen by one another alone.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        memory: &Tensor,
        indices: &Tensor,
        hidden: usize,
    ) -> Result<Tensor> {
        if let (Some(attention), Some(graph), Some(merge)) = (&self.attention, &self.graph, &self.merge) {
            let (q, v) = self.frame.enter(x, memory)?;
            let both = [attention.forward(&q, &v, hidden)?, graph.forward(&q, &v, indices)?];
            return self.frame.leave(x, &merge.forward(&Tensor::cat(&both, 2)?)?);
        }
        let mut x = x.clone();
        if let Some(attention) = &self.attention {
            let (q, v) = self.frame.enter(&x, memory)?;
            x = self.frame.leave(&x, &attention.forward(&q, &v, hidden)?)?;
        }
        if let Some(graph) = &self.graph {
            let frame = self.second.as_ref().unwrap_or(&self.frame);
            let (q, v) = frame.enter(&x, memory)?;
            x = frame.leave(&x, &graph.forward(&q, &v, indices)?)?;
        }
        Ok(x)
    }
}

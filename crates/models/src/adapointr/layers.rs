//! Layers that begin as in the paper, and attention of both kinds.

use candle_core::{Shape, Tensor};
use candle_nn::{Init, VarBuilder};
use halocast_kernels::nn::{LayerNorm, Linear};
use halocast_kernels::{attention, edge_max, gelu, leaky_relu, linear};

use crate::Result;

/// A linear layer with a weight from a normal distribution of deviation `std` and a bias of zeros.
pub(super) fn dense(inputs: usize, outputs: usize, bias: bool, std: f64, vb: VarBuilder) -> Result<Linear> {
    let weight = Init::Randn { mean: 0.0, stdev: std };
    let bias = bias.then(|| vb.get_with_hints(outputs, "bias", Init::Const(0.0))).transpose()?;
    Ok(Linear::from_parts(vb.get_with_hints((outputs, inputs), "weight", weight)?, bias))
}

/// The normalisation of a token.
pub(super) fn norm(dim: usize, vb: VarBuilder) -> Result<LayerNorm> {
    Ok(LayerNorm::new(Shape::from(dim), 1e-6, vb)?)
}

/// Linear layers with GELU between them, at the even places of a sequence.
pub(super) struct Perceptron(Vec<Linear>);

impl Perceptron {
    /// Of these widths.
    pub(super) fn new(widths: &[usize], std: f64, vb: VarBuilder) -> Result<Self> {
        let layer = |(i, w): (usize, &[usize])| dense(w[0], w[1], true, std, vb.pp(2 * i));
        Ok(Self(widths.windows(2).enumerate().map(layer).collect::<Result<_>>()?))
    }

    /// Two layers under the names `fc1` and `fc2`.
    pub(super) fn block(dim: usize, ratio: f64, std: f64, vb: VarBuilder) -> Result<Self> {
        let hidden = (dim as f64 * ratio) as usize;
        Ok(Self(vec![
            dense(dim, hidden, true, std, vb.pp("fc1"))?,
            dense(hidden, dim, true, std, vb.pp("fc2"))?,
        ]))
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for (i, layer) in self.0.iter().enumerate() {
            x = layer.forward(&if i == 0 { x } else { gelu(&x)? })?;
        }
        Ok(x)
    }
}

/// Attention over all points, of the tokens to themselves or to a memory.
pub(super) enum Attention {
    Own { qkv: Linear, proj: Linear, heads: usize },
    Cross { maps: [Linear; 3], proj: Linear, heads: usize },
}

impl Attention {
    pub(super) fn own(dim: usize, heads: usize, bias: bool, std: f64, vb: VarBuilder) -> Result<Self> {
        let qkv = dense(dim, 3 * dim, bias, std, vb.pp("qkv"))?;
        Ok(Self::Own { qkv, proj: dense(dim, dim, true, std, vb.pp("proj"))?, heads })
    }

    pub(super) fn cross(dim: usize, heads: usize, bias: bool, std: f64, vb: VarBuilder) -> Result<Self> {
        let map = |name: &str| dense(dim, dim, bias, std, vb.pp(name));
        let maps = [map("q_map")?, map("k_map")?, map("v_map")?];
        Ok(Self::Cross { maps, proj: dense(dim, dim, true, std, vb.pp("proj"))?, heads })
    }

    /// Of `x [b, n, c]` to `memory [b, m, c]`, or to itself. The last `hidden` points are seen by one another alone.
    pub(super) fn forward(&self, x: &Tensor, memory: &Tensor, hidden: usize) -> Result<Tensor> {
        let (b, n, c) = x.dims3()?;
        let (q, k, v, proj, heads) = match self {
            Self::Own { qkv, proj, heads } => {
                let qkv = qkv.forward(x)?;
                let part = |i: usize| qkv.narrow(2, i * c, c);
                (part(0)?, part(1)?, part(2)?, proj, *heads)
            }
            Self::Cross { maps, proj, heads } => {
                let [q, k, v] = maps;
                (q.forward(x)?, k.forward(memory)?, v.forward(memory)?, proj, *heads)
            }
        };
        let split = |t: &Tensor| -> Result<Tensor> {
            let m = t.dims()[1];
            Ok(t.contiguous()?.reshape((b, m, heads, c / heads))?.transpose(1, 2)?.contiguous()?)
        };
        let (q, k, v) = (split(&q)?, split(&k)?, split(&v)?);
        let scale = 1.0 / ((c / heads) as f64).sqrt();
        let seen = n - hidden;
        let out = if hidden == 0 {
            attention(&q, &k, &v, scale)?
        } else {
            let part = |t: &Tensor, from: usize, len: usize| -> Result<Tensor> {
                Ok(t.narrow(2, from, len)?.contiguous()?)
            };
            let first = attention(&part(&q, 0, seen)?, &part(&k, 0, seen)?, &part(&v, 0, seen)?, scale)?;
            let last = attention(&part(&q, seen, hidden)?, &k, &v, scale)?;
            Tensor::cat(&[first, last], 2)?
        };
        Ok(proj.forward(&out.transpose(1, 2)?.contiguous()?.reshape((b, n, c))?)?)
    }
}

/// The edge convolution $y_i = \max_j \mathrm{LeakyReLU}_{0.2}(W [v_j - q_i, q_i] + b)$ over chosen neighbours.
pub(super) struct GraphAttention {
    map: Linear,
    dim: usize,
}

impl GraphAttention {
    pub(super) fn new(dim: usize, std: f64, vb: VarBuilder) -> Result<Self> {
        Ok(Self { map: dense(2 * dim, dim, true, std, vb.pp("knn_map.0"))?, dim })
    }

    /// Of `q [b, n, c]` with neighbours `indices [b, n, k]` in `v [b, m, c]`.
    pub(super) fn forward(&self, q: &Tensor, v: &Tensor, indices: &Tensor) -> Result<Tensor> {
        // W [v - q, q] = W1 v + (W2 - W1) q; the activation increases, so it may follow the maximum.
        let of_edge = self.map.weight().narrow(1, 0, self.dim)?.contiguous()?;
        let of_query = (self.map.weight().narrow(1, self.dim, self.dim)? - &of_edge)?;
        let keys = linear(v, &of_edge, None)?;
        let queries = linear(q, &of_query, self.map.bias())?;
        Ok(leaky_relu(&edge_max(&keys, &queries, indices)?, 0.2)?)
    }
}

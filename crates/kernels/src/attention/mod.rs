//! Attention as single operations: the softmax kind, quadratic in the number of positions, and the linear kind.

mod block;
mod full;
mod linear;
mod mask;
mod softmax;

use candle_core::{Shape, Tensor};

pub use full::{AttentionSpec, attention, attention_map, attention_masked};
pub use linear::{linear_attention, linear_attention_map};

use crate::{Error, Result, device};
use block::View;
use mask::Mask;

/// The sizes of an attention: `q [.., n, d]`, `k [.., m, d]`, `v [.., m, e]` for each of `heads` (of all examples together).
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    heads: usize,
    n: usize,
    m: usize,
    d: usize,
    e: usize,
}

impl Sizes {
    fn new(op: &'static str, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Self> {
        let &[b, h, n, d] = q.dims() else { return Err(Error::shape(op, "q", "[b, heads, n, d]", q.dims())) };
        let m = k.dims().get(2).copied().unwrap_or(0);
        if k.dims() != [b, h, m, d] {
            return Err(Error::shape(op, "k", format!("[{b}, {h}, m, {d}]"), k.dims()));
        }
        let e = v.dims().get(3).copied().unwrap_or(0);
        if v.dims() != [b, h, m, e] {
            return Err(Error::shape(op, "v", format!("[{b}, {h}, {m}, e]"), v.dims()));
        }
        if b * h * n * m * d * e == 0 {
            return Err(Error::shape(op, "q", "not empty", q.dims()));
        }
        Ok(Self { batch: b, heads: b * h, n, m, d, e })
    }

    /// Of a map with the channels of queries, keys and values.
    fn of_map(op: &'static str, qkv: &Tensor, heads: usize) -> Result<Self> {
        let dims = qkv.dims();
        if dims.len() < 3 || qkv.elem_count() == 0 {
            return Err(Error::shape(op, "qkv", "[b, 3 heads d, ..] and not empty", dims));
        }
        if heads == 0 || !dims[1].is_multiple_of(3 * heads) {
            let expected = format!("a third of a divisor of {} channels", dims[1]);
            return Err(Error::argument(op, "heads", expected, heads));
        }
        let (n, d) = (dims[2..].iter().product(), dims[1] / (3 * heads));
        Ok(Self { batch: dims[0], heads: dims[0] * heads, n, m: n, d, e: d })
    }

    /// Whether a device has kernels for these sizes.
    fn on_device(&self, tensors: &[&Tensor]) -> bool {
        self.d.max(self.e) <= device::MOST_COMPONENTS && device::takes(tensors)
    }

    /// The layouts of `q`, `k`, `v` and the output, and the shape of the output: four axes each.
    fn rows(&self) -> ([View; 4], Shape) {
        let Self { batch, heads, n, m, d, e } = *self;
        let views = [View::rows(n, d), View::rows(m, d), View::rows(m, e), View::rows(n, e)];
        (views, (batch, heads / batch, n, e).into())
    }

    /// The same of a map.
    fn map(&self, qkv: &Tensor) -> ([View; 4], Shape) {
        let heads = self.heads / self.batch;
        let part = |part, parts| View::map(part, parts, heads, self.d, self.n);
        let mut shape = qkv.dims().to_vec();
        shape[1] /= 3;
        ([part(0, 3), part(1, 3), part(2, 3), part(0, 1)], shape.into())
    }
}

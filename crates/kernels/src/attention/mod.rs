//! Attention as single operations: the softmax kind, quadratic in the number of positions, and the linear kind.

mod linear;
mod linear_map;
mod softmax;

use candle_core::{Shape, Tensor};

pub use linear::linear_attention;
pub use linear_map::linear_attention_map;
pub use softmax::attention;

use crate::{Error, Result};

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

    /// The shape of the output.
    fn output(&self) -> Shape {
        (self.batch, self.heads / self.batch, self.n, self.e).into()
    }
}

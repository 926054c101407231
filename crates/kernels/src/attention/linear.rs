//! Linear attention: softmax of queries and keys apart, so that the cost is linear in the number of positions.

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use super::Sizes;
use super::softmax::{softmax_rows, softmax_rows_gradient};
use crate::autograd::{self, Gradient, Op};
use crate::gemm::{Matrix, product};
use crate::memory::{Output, on_cpu, with_scratch};
use crate::simd::Level;
use crate::{Error, Result, reference};

/// $o = s \, \mathrm{softmax}_d(q) \left( \mathrm{softmax}_n(k)^\mathsf{T} v \right)$: the softmax of the queries is over
/// their components, that of the keys over the positions.
///
/// `q`, `k [b, heads, n, d]`, `v [b, heads, n, e]` give `[b, heads, n, e]`. Cost `O(n d e)`.
///
/// # Source
/// Shen et al. 2021, arXiv:1812.01243, eq. 5 with softmax normalisation; `scale` ($d^{-1/2}$) as in the denoising
/// diffusion U-Nets of the field.
///
/// # Errors
/// Where a shape does not fit, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// let q = Tensor::zeros((1, 1, 2, 2), DType::F32, &Device::Cpu)?;
/// let v = Tensor::new(&[[[[1.0f32], [3.0]]]], &Device::Cpu)?;
/// let o = halocast_kernels::linear_attention(&q, &q, &v, 1.0)?;
/// assert_eq!(o.flatten_all()?.to_vec1::<f32>()?, [2.0, 2.0]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn linear_attention(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64) -> Result<Tensor> {
    const OP: &str = "linear_attention";
    let sizes = Sizes::new(OP, q, k, v)?;
    if sizes.m != sizes.n {
        return Err(Error::shape(OP, "k", format!("of {} positions", sizes.n), k.dims()));
    }
    if !on_cpu(&[q, k, v]) {
        return reference::linear_attention(q, k, v, scale);
    }
    let op = LinearAttention { sizes, scale: scale as f32 };
    Ok(autograd::apply(op, &[q, k, v])?)
}

struct LinearAttention {
    sizes: Sizes,
    scale: f32,
}

impl LinearAttention {
    /// Softmax of the rows of `q [n, d]`.
    fn queries(&self, level: Level, q: &[f32], p: &mut [f32]) {
        p.copy_from_slice(q);
        softmax_rows(level, p, self.sizes.d, 1.0);
    }

    /// Softmax over the positions of `k [n, d]`, transposed: `[d, n]`.
    fn keys(&self, level: Level, k: &[f32], p: &mut [f32]) {
        let Sizes { n, d, .. } = self.sizes;
        transpose(k, n, d, p);
        softmax_rows(level, p, n, 1.0);
    }

    fn attend(&self, q: &[f32], k: &[f32], v: &[f32]) -> Vec<f32> {
        let level = Level::current();
        let Sizes { heads, n, d, e, .. } = self.sizes;
        let mut o = Output::new(heads * n * e);
        let out = o.shared();
        (0..heads).into_par_iter().for_each(|head| {
            let part = head * n * d..(head + 1) * n * d;
            let v = Matrix::rows(v[head * n * e..].as_ptr(), e);
            with_scratch(2 * n * d + d * e, |scratch| {
                let (pq, rest) = scratch.split_at_mut(n * d);
                let (pk, context) = rest.split_at_mut(n * d);
                self.queries(level, &q[part.clone()], pq);
                self.keys(level, &k[part], pk);
                // SAFETY: `[d, n] x [n, e]`, then `[n, d] x [d, e]` into this head's output.
                unsafe {
                    product((d, e, n), Matrix::rows(pk.as_ptr(), n), v, context.as_mut_ptr(), e, false);
                    context.iter_mut().for_each(|c| *c *= self.scale);
                    let (pq, context) = (Matrix::rows(pq.as_ptr(), d), Matrix::rows(context.as_ptr(), e));
                    product((n, e, d), pq, context, out.at(head * n * e), e, false);
                }
            });
        });
        // SAFETY: every head wrote its part.
        unsafe { o.finish() }
    }

    fn pull_back(&self, q: &[f32], k: &[f32], v: &[f32], d_o: &[f32]) -> [Vec<f32>; 3] {
        let level = Level::current();
        let Sizes { heads, n, d, e, .. } = self.sizes;
        let mut outputs = [Output::new(q.len()), Output::new(k.len()), Output::new(v.len())];
        let [dq, dk, dv] = &mut outputs;
        let (dq, dk, dv) = (dq.shared(), dk.shared(), dv.shared());
        (0..heads).into_par_iter().for_each(|head| {
            let part = head * n * d..(head + 1) * n * d;
            let v = Matrix::rows(v[head * n * e..].as_ptr(), e);
            let d_o = Matrix::rows(d_o[head * n * e..].as_ptr(), e);
            with_scratch(3 * n * d + 2 * d * e, |scratch| {
                let (pq, rest) = scratch.split_at_mut(n * d);
                let (pk, rest) = rest.split_at_mut(n * d);
                let (dpk, rest) = rest.split_at_mut(n * d);
                let (context, dcontext) = rest.split_at_mut(d * e);
                self.queries(level, &q[part.clone()], pq);
                self.keys(level, &k[part.clone()], pk);
                let (pqm, pkm) = (Matrix::rows(pq.as_ptr(), d), Matrix::rows(pk.as_ptr(), n));
                let (cm, dcm) = (Matrix::rows(context.as_ptr(), e), Matrix::rows(dcontext.as_ptr(), e));
                // SAFETY: this head's gradients are written by this task alone.
                let dq = unsafe { dq.slice(part.start, n * d) };
                // SAFETY: as above.
                let dk = unsafe { dk.slice(part.start, n * d) };
                // SAFETY: shapes `[d, n] x [n, e]`, `[d, n] x [n, e]`, `[n, d] x [d, e]`, `[n, e] x [e, d]`,
                // `[d, e] x [e, n]`.
                unsafe {
                    product((d, e, n), pkm, v, context.as_mut_ptr(), e, false);
                    product((d, e, n), pqm.t(), d_o, dcontext.as_mut_ptr(), e, false);
                    // Both with the scale of the output.
                    context.iter_mut().chain(dcontext.iter_mut()).for_each(|c| *c *= self.scale);
                    product((n, e, d), pkm.t(), dcm, dv.at(head * n * e), e, false);
                    product((n, d, e), d_o, cm.t(), dq.as_mut_ptr(), d, false);
                    product((d, n, e), dcm, v.t(), dpk.as_mut_ptr(), n, false);
                }
                softmax_rows_gradient(level, pq, dq, d, 1.0);
                softmax_rows_gradient(level, pk, dpk, n, 1.0);
                transpose(dpk, d, n, dk);
            });
        });
        // SAFETY: every head wrote its part of the three gradients.
        outputs.map(|o| unsafe { o.finish() })
    }
}

/// `b [columns, rows]` is the transpose of `a [rows, columns]`.
fn transpose(a: &[f32], rows: usize, columns: usize, b: &mut [f32]) {
    const TILE: usize = 16;
    for i0 in (0..rows).step_by(TILE) {
        for j0 in (0..columns).step_by(TILE) {
            for j in j0..(j0 + TILE).min(columns) {
                for i in i0..(i0 + TILE).min(rows) {
                    b[j * rows + i] = a[i * columns + j];
                }
            }
        }
    }
}

impl Op for LinearAttention {
    fn name(&self) -> &'static str {
        "linear_attention"
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let &[q, k, v] = inputs else { candle_core::bail!("linear_attention takes three inputs") };
        Ok((self.attend(q, k, v), self.sizes.output()))
    }

    fn backward(&self, inputs: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let &[q, k, v] = inputs else { candle_core::bail!("linear_attention takes three inputs") };
        Ok(self.pull_back(q, k, v, dy).map(Gradient::Values).into())
    }
}

//! Softmax attention: one operation with an explicit gradient, a block of queries at a time.

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use super::Sizes;
use crate::autograd::{self, Gradient, Op};
use crate::gemm::{Matrix, product};
use crate::memory::{Output, on_cpu, with_scratch};
use crate::simd::math::{SUM_LANES, exp, fold};
use crate::simd::{Level, fma, multiversion};
use crate::{Result, reference};

/// Numbers of the score matrix that a task holds at once.
const SCORES: usize = 64 * 1024;

/// Scaled dot-product attention, $o = \mathrm{softmax}(s \, q k^\mathsf{T}) v$ with the softmax over the keys.
///
/// `q [b, heads, n, d]`, `k [b, heads, m, d]`, `v [b, heads, m, e]` give `[b, heads, n, e]`. Nothing of size `n m` is
/// kept: the gradient computes the scores again, a block of queries at a time. Cost `O(n m (d + e))`.
///
/// # Source
/// Vaswani et al. 2017, arXiv:1706.03762, eq. 1 (there `scale` is $1/\sqrt d$).
///
/// # Errors
/// Where a shape does not fit, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// let q = Tensor::zeros((1, 1, 1, 2), DType::F32, &Device::Cpu)?;
/// let v = Tensor::new(&[[[[1.0f32, 2.0], [3.0, 6.0]]]], &Device::Cpu)?;
/// // Equal scores: the mean of the values.
/// let o = halocast_kernels::attention(&q, &v, &v, 0.5)?;
/// assert_eq!(o.flatten_all()?.to_vec1::<f32>()?, [2.0, 4.0]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64) -> Result<Tensor> {
    let sizes = Sizes::new("attention", q, k, v)?;
    if !on_cpu(&[q, k, v]) {
        return reference::attention(q, k, v, scale);
    }
    let op = Attention { sizes, scale: scale as f32 };
    Ok(autograd::apply(op, &[q, k, v])?)
}

struct Attention {
    sizes: Sizes,
    scale: f32,
}

impl Attention {
    /// Queries of one block.
    fn block(&self) -> usize {
        (SCORES / self.sizes.m).clamp(1, self.sizes.n)
    }

    /// `p = softmax(scale q k^T)` for `rows` queries.
    fn weights(&self, level: Level, q: &[f32], k: &[f32], rows: usize, p: &mut [f32]) {
        let Sizes { m, d, .. } = self.sizes;
        // SAFETY: `[rows, d] x [d, m]` into `[rows, m]`.
        unsafe {
            let (q, k) = (Matrix::rows(q.as_ptr(), d), Matrix::rows(k.as_ptr(), d).t());
            product((rows, m, d), q, k, p.as_mut_ptr(), m, false);
        }
        softmax_rows(level, p, m, self.scale);
    }

    fn attend(&self, q: &[f32], k: &[f32], v: &[f32]) -> Vec<f32> {
        let level = Level::current();
        let Sizes { heads, n, m, d, e, .. } = self.sizes;
        let (block, mut o) = (self.block(), Output::new(heads * n * e));
        let blocks = n.div_ceil(block);
        let out = o.shared();
        (0..heads * blocks).into_par_iter().for_each(|task| {
            let (head, first) = (task / blocks, (task % blocks) * block);
            let rows = block.min(n - first);
            let q = &q[(head * n + first) * d..][..rows * d];
            let (k, v) = (&k[head * m * d..][..m * d], &v[head * m * e..][..m * e]);
            with_scratch(rows * m, |p| {
                self.weights(level, q, k, rows, p);
                // SAFETY: `[rows, m] x [m, e]` into this task's rows of the output.
                unsafe {
                    let (p, v) = (Matrix::rows(p.as_ptr(), m), Matrix::rows(v.as_ptr(), e));
                    product((rows, e, m), p, v, out.at((head * n + first) * e), e, false);
                }
            });
        });
        // SAFETY: the tasks cover the rows of every head.
        unsafe { o.finish() }
    }

    fn pull_back(&self, q: &[f32], k: &[f32], v: &[f32], d_o: &[f32]) -> [Vec<f32>; 3] {
        let level = Level::current();
        let Sizes { heads, n, m, d, e, .. } = self.sizes;
        let block = self.block();
        let mut outputs = [Output::new(q.len()), Output::new(k.len()), Output::new(v.len())];
        let [dq, dk, dv] = &mut outputs;
        let (dq, dk, dv) = (dq.shared(), dk.shared(), dv.shared());
        (0..heads).into_par_iter().for_each(|head| {
            let (k, v) = (&k[head * m * d..][..m * d], &v[head * m * e..][..m * e]);
            with_scratch(2 * block * m, |scratch| {
                for first in (0..n).step_by(block) {
                    let rows = block.min(n - first);
                    let (p, ds) = scratch.split_at_mut(block * m);
                    let (p, ds) = (&mut p[..rows * m], &mut ds[..rows * m]);
                    let q = &q[(head * n + first) * d..][..rows * d];
                    let d_o = Matrix::rows(d_o[(head * n + first) * e..].as_ptr(), e);
                    let add = first > 0;
                    self.weights(level, q, k, rows, p);
                    let (pm, dsm) = (Matrix::rows(p.as_ptr(), m), Matrix::rows(ds.as_ptr(), m));
                    // SAFETY: shapes as in the comments; this head's gradients are written by this task alone.
                    unsafe {
                        // dv [m, e] += p^T do; dp [rows, m] = do v^T.
                        product((m, e, rows), pm.t(), d_o, dv.at(head * m * e), e, add);
                        let v = Matrix::rows(v.as_ptr(), e).t();
                        product((rows, m, e), d_o, v, ds.as_mut_ptr(), m, false);
                    }
                    softmax_rows_gradient(level, p, ds, m, self.scale);
                    // SAFETY: as above.
                    unsafe {
                        // dq [rows, d] = ds k; dk [m, d] += ds^T q.
                        let (qm, k) = (Matrix::rows(q.as_ptr(), d), Matrix::rows(k.as_ptr(), d));
                        product((rows, d, m), dsm, k, dq.at((head * n + first) * d), d, false);
                        product((m, d, rows), dsm.t(), qm, dk.at(head * m * d), d, add);
                    }
                }
            });
        });
        // SAFETY: every head wrote its part of the three gradients.
        outputs.map(|o| unsafe { o.finish() })
    }
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let &[q, k, v] = inputs else { candle_core::bail!("attention takes three inputs") };
        Ok((self.attend(q, k, v), self.sizes.output()))
    }

    fn backward(&self, inputs: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let &[q, k, v] = inputs else { candle_core::bail!("attention takes three inputs") };
        Ok(self.pull_back(q, k, v, dy).map(Gradient::Values).into())
    }
}

multiversion! {
    /// `p = softmax(scale p)` for each row of `width` numbers.
    pub(super) fn softmax_rows(p: &mut [f32], width: usize, scale: f32) {
        for row in p.chunks_exact_mut(width) {
            // Short rows would leave most of the lanes of a long sum empty.
            if width < 4 * SUM_LANES {
                softmax_row::<FMA, 16>(row, scale);
            } else {
                softmax_row::<FMA, SUM_LANES>(row, scale);
            }
        }
    }
}

#[inline(always)]
fn softmax_row<const FMA: bool, const N: usize>(p: &mut [f32], scale: f32) {
    // The largest of the scaled scores, whatever the sign of the scale.
    let mut lanes = [f32::NEG_INFINITY; N];
    let (chunks, rest) = p.as_chunks_mut::<N>();
    for chunk in chunks.iter_mut() {
        for (p, most) in chunk.iter_mut().zip(&mut lanes) {
            *p *= scale;
            *most = if *p > *most { *p } else { *most };
        }
    }
    for (p, most) in rest.iter_mut().zip(&mut lanes) {
        *p *= scale;
        *most = if *p > *most { *p } else { *most };
    }
    let most = lanes.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    let mut lanes = [0.0; N];
    for chunk in chunks.iter_mut() {
        for (p, total) in chunk.iter_mut().zip(&mut lanes) {
            *p = exp::<FMA>(*p - most);
            *total += *p;
        }
    }
    for (p, total) in rest.iter_mut().zip(&mut lanes) {
        *p = exp::<FMA>(*p - most);
        *total += *p;
    }
    let factor = 1.0 / fold(lanes);
    p.iter_mut().for_each(|p| *p *= factor);
}

multiversion! {
    /// `d = scale p (d - sum(p d))` for each row of `width` numbers.
    pub(super) fn softmax_rows_gradient(p: &[f32], d: &mut [f32], width: usize, scale: f32) {
        for (p, d) in p.chunks_exact(width).zip(d.chunks_exact_mut(width)) {
            let mean = if width < 4 * SUM_LANES { dot::<FMA, 16>(p, d) } else { dot::<FMA, SUM_LANES>(p, d) };
            for (p, d) in p.iter().zip(d) {
                *d = scale * p * (*d - mean);
            }
        }
    }
}

#[inline(always)]
fn dot<const FMA: bool, const N: usize>(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; N];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<N>(), b.as_chunks::<N>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..N {
            lanes[lane] = fma::<FMA>(a[lane], b[lane], lanes[lane]);
        }
    }
    for ((a, b), lane) in a_rest.iter().zip(b_rest).zip(&mut lanes) {
        *lane = fma::<FMA>(*a, *b, *lane);
    }
    fold(lanes)
}

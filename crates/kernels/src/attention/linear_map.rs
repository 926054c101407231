//! Linear attention of maps: queries, keys and values as the channels of one map, as a convolution gives them.

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use super::softmax::{softmax_rows, softmax_rows_gradient};
use crate::autograd::{self, Gradient, Op};
use crate::gemm::{Matrix, product};
use crate::memory::{Output, on_cpu, with_scratch};
use crate::simd::math::exp;
use crate::simd::{Level, fma, multiversion};
use crate::{Error, Result, reference};

/// [`linear_attention`](crate::linear_attention) without moving axes: `qkv [b, 3 heads d, ..]` holds the channels of all
/// queries, then keys, then values, head by head; the result is `[b, heads d, ..]`.
///
/// $$ o_{e x} = s \sum_d \mathrm{softmax}_d(q_{d x}) \sum_{x'} \mathrm{softmax}_{x'}(k_{d x'}) \, v_{e x'} $$
///
/// # Source
/// As [`linear_attention`](crate::linear_attention).
///
/// # Errors
/// Where `3 heads` does not divide the channels, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// let qkv = Tensor::ones((2, 3 * 4 * 8, 16, 16), DType::F32, &Device::Cpu)?;
/// let o = halocast_kernels::linear_attention_map(&qkv, 4, 1.0)?;
/// assert_eq!(o.dims(), [2, 4 * 8, 16, 16]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn linear_attention_map(qkv: &Tensor, heads: usize, scale: f64) -> Result<Tensor> {
    const OP: &str = "linear_attention_map";
    let dims = qkv.dims();
    if dims.len() < 3 || qkv.elem_count() == 0 {
        return Err(Error::shape(OP, "qkv", "[b, 3 heads d, ..] and not empty", dims));
    }
    if heads == 0 || !dims[1].is_multiple_of(3 * heads) {
        return Err(Error::argument(
            OP,
            "heads",
            format!("a third of a divisor of {} channels", dims[1]),
            heads,
        ));
    }
    if !on_cpu(&[qkv]) {
        return reference::linear_attention_map(qkv, heads, scale);
    }
    let n = dims[2..].iter().product();
    let mut shape = dims.to_vec();
    shape[1] /= 3;
    let (batch, d, scale) = (dims[0], dims[1] / (3 * heads), scale as f32);
    let op = LinearAttentionMap { batch, heads, d, n, scale, shape: shape.into() };
    Ok(autograd::apply(op, &[qkv])?)
}

struct LinearAttentionMap {
    batch: usize,
    heads: usize,
    d: usize,
    n: usize,
    scale: f32,
    shape: Shape,
}

impl LinearAttentionMap {
    /// Where queries, keys and values of a head begin, and their size.
    fn parts(&self, head: usize) -> ([usize; 3], usize) {
        let (image, head) = (head / self.heads, head % self.heads);
        let size = self.d * self.n;
        ([0, 1, 2].map(|part| ((image * 3 + part) * self.heads + head) * size), size)
    }

    fn attend(&self, qkv: &[f32]) -> Vec<f32> {
        let level = Level::current();
        let Self { d, n, .. } = *self;
        let mut o = Output::new(qkv.len() / 3);
        let out = o.shared();
        (0..self.batch * self.heads).into_par_iter().for_each(|head| {
            let ([q, k, v], size) = self.parts(head);
            with_scratch(size + d * d, |scratch| {
                let (p, context) = scratch.split_at_mut(size);
                p.copy_from_slice(&qkv[k..k + size]);
                softmax_rows(level, p, n, 1.0);
                let v = Matrix::rows(qkv[v..].as_ptr(), n).t();
                // SAFETY: `[d, n] x [n, d]`.
                unsafe { product((d, d, n), Matrix::rows(p.as_ptr(), n), v, context.as_mut_ptr(), d, false) };
                context.iter_mut().for_each(|c| *c *= self.scale);
                softmax_columns(level, &qkv[q..q + size], p, n);
                let context = Matrix::rows(context.as_ptr(), d).t();
                // SAFETY: `[d, d] x [d, n]` into this head's output.
                unsafe {
                    product((d, n, d), context, Matrix::rows(p.as_ptr(), n), out.at(head * size), n, false)
                };
            });
        });
        // SAFETY: every head wrote its part.
        unsafe { o.finish() }
    }

    fn pull_back(&self, qkv: &[f32], d_o: &[f32]) -> Vec<f32> {
        let level = Level::current();
        let Self { d, n, .. } = *self;
        let mut dqkv = Output::new(qkv.len());
        let out = dqkv.shared();
        (0..self.batch * self.heads).into_par_iter().for_each(|head| {
            let ([q, k, v], size) = self.parts(head);
            // SAFETY: the three parts belong to this head alone.
            let (dq, dk) = unsafe { (out.slice(q, size), out.slice(k, size)) };
            let d_o = Matrix::rows(d_o[head * size..].as_ptr(), n);
            let values = Matrix::rows(qkv[v..].as_ptr(), n);
            with_scratch(2 * size + 2 * d * d, |scratch| {
                let (pq, rest) = scratch.split_at_mut(size);
                let (pk, rest) = rest.split_at_mut(size);
                let (context, dcontext) = rest.split_at_mut(d * d);
                pk.copy_from_slice(&qkv[k..k + size]);
                softmax_rows(level, pk, n, 1.0);
                softmax_columns(level, &qkv[q..q + size], pq, n);
                let (pqm, pkm) = (Matrix::rows(pq.as_ptr(), n), Matrix::rows(pk.as_ptr(), n));
                let (cm, dcm) = (Matrix::rows(context.as_ptr(), d), Matrix::rows(dcontext.as_ptr(), d));
                // SAFETY: twice `[d, n] x [n, d]`, then `[d, d] x [d, n]` three times, into this head's parts.
                unsafe {
                    product((d, d, n), pkm, values.t(), context.as_mut_ptr(), d, false);
                    product((d, d, n), pqm, d_o.t(), dcontext.as_mut_ptr(), d, false);
                    // Both with the scale of the output.
                    context.iter_mut().chain(dcontext.iter_mut()).for_each(|c| *c *= self.scale);
                    product((d, n, d), dcm.t(), pkm, out.at(v), n, false);
                    product((d, n, d), cm, d_o, dq.as_mut_ptr(), n, false);
                    product((d, n, d), dcm, values, dk.as_mut_ptr(), n, false);
                }
                softmax_columns_gradient(level, pq, dq, n);
                softmax_rows_gradient(level, pk, dk, n, 1.0);
            });
        });
        // SAFETY: the heads cover the three parts.
        unsafe { dqkv.finish() }
    }
}

impl Op for LinearAttentionMap {
    fn name(&self) -> &'static str {
        "linear_attention_map"
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        Ok((self.attend(inputs[0]), self.shape.clone()))
    }

    fn backward(&self, inputs: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        Ok(vec![Gradient::Values(self.pull_back(inputs[0], dy))])
    }
}

/// Columns that are handled at a time.
const COLUMNS: usize = 64;

multiversion! {
    /// `p [.., n] = softmax(x [.., n])` over the rows of each column.
    fn softmax_columns(x: &[f32], p: &mut [f32], n: usize) {
        for first in (0..n).step_by(COLUMNS) {
            let width = COLUMNS.min(n - first);
            let (mut most, mut total) = ([f32::NEG_INFINITY; COLUMNS], [0.0; COLUMNS]);
            for x in x.chunks_exact(n) {
                for (most, x) in most.iter_mut().zip(&x[first..first + width]) {
                    *most = if *x > *most { *x } else { *most };
                }
            }
            for (x, p) in x.chunks_exact(n).zip(p.chunks_exact_mut(n)) {
                let (x, p) = (&x[first..first + width], &mut p[first..first + width]);
                for ((x, p), (most, total)) in x.iter().zip(p).zip(most.iter().zip(&mut total)) {
                    *p = exp::<FMA>(x - most);
                    *total += *p;
                }
            }
            for total in &mut total {
                *total = 1.0 / *total;
            }
            for p in p.chunks_exact_mut(n) {
                for (p, factor) in p[first..first + width].iter_mut().zip(&total) {
                    *p *= factor;
                }
            }
        }
    }
}

multiversion! {
    /// `d = p (d - sum(p d))` over the rows of each column.
    fn softmax_columns_gradient(p: &[f32], d: &mut [f32], n: usize) {
        for first in (0..n).step_by(COLUMNS) {
            let width = COLUMNS.min(n - first);
            let mut mean = [0.0; COLUMNS];
            for (p, d) in p.chunks_exact(n).zip(d.chunks_exact(n)) {
                let (p, d) = (&p[first..first + width], &d[first..first + width]);
                for ((p, d), mean) in p.iter().zip(d).zip(&mut mean) {
                    *mean = fma::<FMA>(*p, *d, *mean);
                }
            }
            for (p, d) in p.chunks_exact(n).zip(d.chunks_exact_mut(n)) {
                let (p, d) = (&p[first..first + width], &mut d[first..first + width]);
                for ((p, d), mean) in p.iter().zip(d).zip(&mean) {
                    *d = p * (*d - mean);
                }
            }
        }
    }
}

//! Linear attention: softmax of queries and keys apart, so that the cost is linear in the number of positions.

use std::sync::OnceLock;

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use super::Sizes;
use super::block::{View, WIDTH, multiply, padded, split};
use crate::autograd::{self, Gradient, Op};
use crate::gemm::Matrix;
use crate::memory::{Output, Shared, on_cpu, with_scratch};
use crate::simd::math::{exp, fold};
use crate::simd::{Level, fma, multiversion};
use crate::{Error, Result, device, reference};

/// Parts of work to make where there are fewer heads.
const TASKS: usize = 16;

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
        if device::takes(&[q, k, v]) {
            return Ok(device::linear_attention(q, k, v, scale)?);
        }
        return reference::linear_attention(q, k, v, scale);
    }
    let (views, shape) = sizes.rows();
    let op = LinearAttention { sizes, scale: scale as f32, views, shape, kept: OnceLock::new() };
    Ok(autograd::apply(op, &[q, k, v])?)
}

/// [`linear_attention`] without moving axes: `qkv [b, 3 heads d, ..]` holds the channels of all queries, then keys, then
/// values, head by head; the result is `[b, heads d, ..]`.
///
/// $$ o_{e x} = s \sum_d \mathrm{softmax}_d(q_{d x}) \sum_{x'} \mathrm{softmax}_{x'}(k_{d x'}) \, v_{e x'} $$
///
/// # Source
/// As [`linear_attention`].
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
    let sizes = Sizes::of_map("linear_attention_map", qkv, heads)?;
    if !on_cpu(&[qkv]) {
        if device::takes(&[qkv]) {
            return Ok(device::of_map(qkv, heads, |q, k, v| device::linear_attention(q, k, v, scale))?);
        }
        return reference::linear_attention_map(qkv, heads, scale);
    }
    let (views, shape) = sizes.map(qkv);
    let op = LinearAttention { sizes, scale: scale as f32, views, shape, kept: OnceLock::new() };
    Ok(autograd::apply(op, &[qkv])?)
}

/// The operation, for any layout of its tensors: three inputs, or one that holds all three.
struct LinearAttention {
    sizes: Sizes,
    scale: f32,
    /// Of `q`, `k`, `v` and the output.
    views: [View; 4],
    shape: Shape,
    /// Of each head what [`LinearAttention::context`] gives, from the forward pass.
    kept: OnceLock<Vec<f32>>,
}

impl LinearAttention {
    /// Groups of blocks of positions that a head is divided into, and its blocks.
    fn groups(&self) -> (usize, usize) {
        let blocks = self.sizes.n.div_ceil(WIDTH);
        (TASKS.div_ceil(self.sizes.heads).min(blocks), blocks)
    }

    /// Runs `body(head, first position, positions, sums)` for every block; gives the sums of the groups, of `size` numbers
    /// each. They begin as `start`.
    fn blocks(
        &self,
        size: usize,
        start: f32,
        body: impl Fn(usize, usize, usize, &mut [f32]) + Sync,
    ) -> Vec<f32> {
        let (groups, blocks) = self.groups();
        let mut sums = vec![start; self.sizes.heads * groups * size.max(1)];
        sums.par_chunks_mut(size.max(1)).enumerate().for_each(|(task, sums)| {
            let (head, group) = (task / groups, task % groups);
            for block in group * blocks / groups..(group + 1) * blocks / groups {
                let first = block * WIDTH;
                body(head, first, WIDTH.min(self.sizes.n - first), &mut sums[..size]);
            }
        });
        sums
    }

    /// Of each head `softmax(k)^T v [d, padded(e)]`, then the largest key and the reciprocal sum of each channel.
    fn context(&self, level: Level, k: &[f32], v: &[f32]) -> Vec<f32> {
        let Sizes { d, e, .. } = self.sizes;
        let [_, view_k, view_v, _] = self.views;
        let ep = padded(e);
        let size = d * (ep + 2);
        let sizes = [d, ep].map(|rows| rows * WIDTH);
        // The largest keys begin at minus infinity; the sums are made zero by the first block.
        let parts = self.blocks(size, f32::NEG_INFINITY, |head, first, count, sums| {
            let (context, softmax) = sums.split_at_mut(d * ep);
            let (most, total) = softmax.split_at_mut(d);
            with_scratch(sizes.iter().sum(), |scratch| {
                let [keys, values] = split(scratch, sizes);
                // SAFETY: the positions exist; `[d, count] x [count, ep]`.
                unsafe {
                    view_k.pack(level, k[view_k.at(head, first)..].as_ptr(), count, keys);
                    let values =
                        view_v.pack_rows(level, v[view_v.at(head, first)..].as_ptr(), (count, e), values);
                    absorb(level, keys, count, most, total, context);
                    let keys = Matrix::rows(keys.as_ptr(), WIDTH);
                    multiply(level, (d, ep, count), keys, values, context.as_mut_ptr(), ep, true);
                }
            });
        });
        let mut all = vec![0.0; self.sizes.heads * size];
        let groups = self.groups().0;
        for (all, parts) in all.chunks_exact_mut(size).zip(parts.chunks_exact(groups * size)) {
            let (context, softmax) = all.split_at_mut(d * ep);
            for c in 0..d {
                let most = parts
                    .chunks_exact(size)
                    .map(|p| p[d * ep + c])
                    .fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
                let mut total = 0.0;
                let row = &mut context[c * ep..][..ep];
                for part in parts.chunks_exact(size) {
                    let factor = (part[d * ep + c] - most).exp();
                    total += factor * part[d * ep + d + c];
                    row.iter_mut().zip(&part[c * ep..]).for_each(|(sum, x)| *sum += factor * x);
                }
                row.iter_mut().for_each(|sum| *sum /= total);
                (softmax[c], softmax[d + c]) = (most, 1.0 / total);
            }
        }
        all
    }

    fn attend(&self, [q, k, v]: [&[f32]; 3]) -> Vec<f32> {
        let level = Level::current();
        let Sizes { heads, n, d, e, .. } = self.sizes;
        let [view_q, .., view_o] = self.views;
        let size = d * (padded(e) + 2);
        let context = self.context(level, k, v);
        let mut o = Output::new(heads * n * e);
        let out = o.shared();
        let sizes = [d, e].map(|rows| rows * WIDTH);
        self.blocks(0, 0.0, |head, first, count, _| {
            with_scratch(sizes.iter().sum(), |scratch| {
                let [queries, room] = split(scratch, sizes);
                let context = &context[head * size..][..d * padded(e)];
                // SAFETY: the positions exist, and this task alone writes them.
                unsafe {
                    view_q.pack(level, q[view_q.at(head, first)..].as_ptr(), count, queries);
                    softmax(level, queries, self.scale);
                    let o = out.at(view_o.at(head, first));
                    view_o.contract(level, (context, queries), o, (count, e), room);
                }
            });
        });
        let _ = self.kept.set(context);
        // SAFETY: the blocks cover the positions of every head.
        unsafe { o.finish() }
    }

    fn pull_back(&self, [q, k, v]: [&[f32]; 3], d_o: &[f32], together: bool) -> Vec<Vec<f32>> {
        let level = Level::current();
        let Sizes { heads, n, d, e, .. } = self.sizes;
        let lengths = [heads * n * d, heads * n * d, heads * n * e];
        let mut outputs: Vec<Output> = match together {
            true => vec![Output::new(lengths.iter().sum())],
            false => lengths.map(Output::new).into(),
        };
        let shared: Vec<_> = outputs.iter_mut().map(Output::shared).collect();
        let [dq, dk, dv] = if together { [shared[0]; 3] } else { [shared[0], shared[1], shared[2]] };
        let again;
        let context = match self.kept.get() {
            Some(context) => context,
            None => {
                again = self.context(level, k, v);
                &again
            }
        };
        let dcontext = self.pull_back_queries(level, q, d_o, context, dq);
        self.pull_back_keys(level, k, v, (context, &dcontext), dk, dv);
        // SAFETY: the blocks cover the positions of every head, and both functions write all of theirs.
        outputs.into_iter().map(|o| unsafe { o.finish() }).collect()
    }

    /// Writes the gradient of the queries; gives that of the context, `[d, padded(e)]` of each head.
    fn pull_back_queries(
        &self,
        level: Level,
        q: &[f32],
        d_o: &[f32],
        context: &[f32],
        dq: Shared,
    ) -> Vec<f32> {
        let Sizes { d, e, .. } = self.sizes;
        let [view_q, .., view_o] = self.views;
        let ep = padded(e);
        let sizes = [d, e, ep, d].map(|rows| rows * WIDTH);
        let parts = self.blocks(d * ep, 0.0, |head, first, count, sums| {
            with_scratch(sizes.iter().sum(), |scratch| {
                let [queries, grads, grads_rows, dqs] = split(scratch, sizes);
                let context = Matrix::rows(context[head * d * (ep + 2)..].as_ptr(), ep);
                let (at_q, at_o) = (view_q.at(head, first), view_o.at(head, first));
                // SAFETY: the positions exist, and this task alone writes them; `[d, count] x [count, ep]` and
                // `[d, e] x [e, WIDTH]`.
                unsafe {
                    view_q.pack(level, q[at_q..].as_ptr(), count, queries);
                    view_o.pack(level, d_o[at_o..].as_ptr(), count, grads);
                    let rows = view_o.pack_rows(level, d_o[at_o..].as_ptr(), (count, e), grads_rows);
                    softmax(level, queries, 1.0);
                    let p = Matrix::rows(queries.as_ptr(), WIDTH);
                    multiply(level, (d, ep, count), p, rows, sums.as_mut_ptr(), ep, true);
                    let grads = Matrix::rows(grads.as_ptr(), WIDTH);
                    multiply(level, (d, WIDTH, e), context, grads, dqs.as_mut_ptr(), WIDTH, false);
                    softmax_gradient(level, queries, dqs, self.scale);
                    view_q.unpack(level, dqs, dq.at(at_q), count);
                }
            });
        });
        let groups = self.groups().0;
        let mut dcontext = vec![0.0; self.sizes.heads * d * ep];
        for (sum, parts) in dcontext.chunks_exact_mut(d * ep).zip(parts.chunks_exact(groups * d * ep)) {
            for part in parts.chunks_exact(d * ep) {
                sum.iter_mut().zip(part).for_each(|(sum, x)| *sum += self.scale * x);
            }
        }
        dcontext
    }

    /// Writes the gradients of keys and values.
    fn pull_back_keys(
        &self,
        level: Level,
        k: &[f32],
        v: &[f32],
        (context, dcontext): (&[f32], &[f32]),
        dk: Shared,
        dv: Shared,
    ) {
        let Sizes { d, e, .. } = self.sizes;
        let [_, view_k, view_v, _] = self.views;
        let ep = padded(e);
        // The mean over positions of the gradient that the softmax takes away is a sum over the context.
        let means: Vec<f32> = context
            .chunks_exact(d * (ep + 2))
            .zip(dcontext.chunks_exact(d * ep))
            .flat_map(|(c, dc)| c[..d * ep].chunks_exact(ep).zip(dc.chunks_exact(ep)))
            .map(|(c, dc)| c.iter().zip(dc).map(|(c, dc)| c * dc).sum())
            .collect();
        let sizes = [d, e, d, e].map(|rows| rows * WIDTH);
        self.blocks(0, 0.0, |head, first, count, _| {
            with_scratch(sizes.iter().sum(), |scratch| {
                let [keys, values, dks, room] = split(scratch, sizes);
                let dcontext = &dcontext[head * d * ep..][..d * ep];
                let constants = &context[head * d * (ep + 2) + d * ep..][..2 * d];
                let (at_k, at_v) = (view_k.at(head, first), view_v.at(head, first));
                // SAFETY: the positions exist, and this task alone writes them; `[d, e] x [e, WIDTH]`.
                unsafe {
                    view_k.pack(level, k[at_k..].as_ptr(), count, keys);
                    view_v.pack(level, v[at_v..].as_ptr(), count, values);
                    weights(level, keys, constants);
                    view_v.contract(level, (dcontext, keys), dv.at(at_v), (count, e), room);
                    let (dc, values) =
                        (Matrix::rows(dcontext.as_ptr(), ep), Matrix::rows(values.as_ptr(), WIDTH));
                    multiply(level, (d, WIDTH, e), dc, values, dks.as_mut_ptr(), WIDTH, false);
                    key_gradient(level, keys, dks, &means[head * d..][..d]);
                    view_k.unpack(level, dks, dk.at(at_k), count);
                }
            });
        });
    }
}

/// The three inputs, which may be parts of one tensor.
fn parts<'a>(inputs: &[&'a [f32]]) -> candle_core::Result<[&'a [f32]; 3]> {
    match *inputs {
        [q, k, v] => Ok([q, k, v]),
        [all] => Ok([all; 3]),
        _ => candle_core::bail!("linear_attention takes one input or three"),
    }
}

impl Op for LinearAttention {
    fn name(&self) -> &'static str {
        "linear_attention"
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        Ok((self.attend(parts(inputs)?), self.shape.clone()))
    }

    fn backward(&self, inputs: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let gradients = self.pull_back(parts(inputs)?, dy, inputs.len() == 1);
        Ok(gradients.into_iter().map(Gradient::Values).collect())
    }
}

multiversion! {
    /// Takes `count` keys into a running softmax over positions: `keys [d, WIDTH]` become `e^(key - most)`, and what was
    /// summed before is brought to the new largest key of its channel.
    fn absorb(keys: &mut [f32], count: usize, most: &mut [f32], total: &mut [f32], context: &mut [f32]) {
        const LANES: usize = 16;
        let row = context.len() / most.len();
        let channels = most.iter_mut().zip(total).zip(context.chunks_exact_mut(row));
        for (keys, ((most, total), context)) in keys.as_chunks_mut::<WIDTH>().0.iter_mut().zip(channels) {
            keys[count..].fill(f32::NEG_INFINITY);
            let mut lanes = [f32::NEG_INFINITY; LANES];
            for chunk in keys.as_chunks::<LANES>().0 {
                for lane in 0..LANES {
                    lanes[lane] = if chunk[lane] > lanes[lane] { chunk[lane] } else { lanes[lane] };
                }
            }
            let new = lanes.iter().fold(*most, |a, &b| if b > a { b } else { a });
            if new != *most {
                // Nothing was summed before the first block.
                let first = *most == f32::NEG_INFINITY;
                let factor = exp::<FMA>(*most - new);
                *total = if first { 0.0 } else { *total * factor };
                for c in context.iter_mut() {
                    *c = if first { 0.0 } else { *c * factor };
                }
                *most = new;
            }
            let mut lanes = [0.0; LANES];
            for chunk in keys.as_chunks_mut::<LANES>().0 {
                for lane in 0..LANES {
                    chunk[lane] = exp::<FMA>(chunk[lane] - new);
                    lanes[lane] += chunk[lane];
                }
            }
            *total += fold(lanes);
        }
    }
}

multiversion! {
    /// `p = scale softmax(x)` over the rows of each lane.
    fn softmax(p: &mut [f32], scale: f32) {
        let rows = p.as_chunks_mut::<WIDTH>().0;
        let (mut most, mut total) = ([f32::NEG_INFINITY; WIDTH], [0.0; WIDTH]);
        for p in rows.iter() {
            for lane in 0..WIDTH {
                most[lane] = if p[lane] > most[lane] { p[lane] } else { most[lane] };
            }
        }
        for p in rows.iter_mut() {
            for lane in 0..WIDTH {
                p[lane] = exp::<FMA>(p[lane] - most[lane]);
                total[lane] += p[lane];
            }
        }
        for total in &mut total {
            *total = scale / *total;
        }
        for p in rows {
            for lane in 0..WIDTH {
                p[lane] *= total[lane];
            }
        }
    }
}

multiversion! {
    /// `d = scale p (d - sum(p d))` over the rows of each lane.
    fn softmax_gradient(p: &[f32], d: &mut [f32], scale: f32) {
        let mut mean = [0.0; WIDTH];
        for (p, d) in p.as_chunks::<WIDTH>().0.iter().zip(d.as_chunks::<WIDTH>().0) {
            for lane in 0..WIDTH {
                mean[lane] = fma::<FMA>(p[lane], d[lane], mean[lane]);
            }
        }
        for (p, d) in p.as_chunks::<WIDTH>().0.iter().zip(d.as_chunks_mut::<WIDTH>().0) {
            for lane in 0..WIDTH {
                d[lane] = scale * p[lane] * (d[lane] - mean[lane]);
            }
        }
    }
}

multiversion! {
    /// Keys become their weights: `constants` are the largest key and the reciprocal sum of each channel.
    fn weights(keys: &mut [f32], constants: &[f32]) {
        let (most, factor) = constants.split_at(constants.len() / 2);
        for (keys, (most, factor)) in keys.as_chunks_mut::<WIDTH>().0.iter_mut().zip(most.iter().zip(factor)) {
            for key in keys {
                *key = exp::<FMA>(*key - most) * factor;
            }
        }
    }
}

multiversion! {
    /// `d = p (d - mean)` with the mean of each row.
    fn key_gradient(p: &[f32], d: &mut [f32], means: &[f32]) {
        let rows = p.as_chunks::<WIDTH>().0.iter().zip(d.as_chunks_mut::<WIDTH>().0);
        for ((p, d), mean) in rows.zip(means) {
            for lane in 0..WIDTH {
                d[lane] = p[lane] * (d[lane] - mean);
            }
        }
    }
}

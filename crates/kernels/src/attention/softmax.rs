//! Softmax attention: a block of queries against a block of keys at a time, with a running softmax.

use std::sync::OnceLock;

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use super::block::{View, WIDTH, multiply, padded, split};
use super::{Mask, Sizes};
use crate::autograd::{Gradient, Op};
use crate::gemm::Matrix;
use crate::memory::{Output, with_scratch};
use crate::simd::math::exp;
use crate::simd::{Level, fma, multiversion};

/// Keys whose gradients are summed at a time: bounds the memory of the partial sums.
const KEYS: usize = 2048;
/// Heads that are handled at a time, for the same reason.
const HEADS: usize = 64;
/// Parts of work to make where there are fewer heads.
const TASKS: usize = 16;

/// The operation, for any layout of its tensors: three inputs, or one that holds all three.
pub(super) struct Attention {
    pub(super) sizes: Sizes,
    pub(super) scale: f32,
    pub(super) mask: Mask,
    /// Of `q`, `k`, `v` and the output.
    pub(super) views: [View; 4],
    pub(super) shape: Shape,
    /// What the gradient needs of the forward pass, where there will be a gradient.
    pub(super) kept: Option<OnceLock<Kept>>,
}

/// The output, and for each query its largest score and the reciprocal of its sum.
#[derive(Clone)]
pub(super) struct Kept {
    output: Vec<f32>,
    softmax: Vec<f32>,
}

/// The three inputs, which may be parts of one tensor.
fn parts<'a>(inputs: &[&'a [f32]]) -> candle_core::Result<[&'a [f32]; 3]> {
    match *inputs {
        [q, k, v] => Ok([q, k, v]),
        [all] => Ok([all; 3]),
        _ => candle_core::bail!("attention takes one input or three"),
    }
}

impl Attention {
    fn attend(&self, [q, k, v]: [&[f32]; 3]) -> Kept {
        let level = Level::current();
        let Sizes { heads, n, m, d, e, .. } = self.sizes;
        let [view_q, view_k, view_v, view_o] = self.views;
        let blocks = n.div_ceil(WIDTH);
        let (mut output, mut softmax) = (Output::new(heads * n * e), vec![0.0; heads * blocks * 2 * WIDTH]);
        let out = output.shared();
        softmax.par_chunks_mut(2 * WIDTH).enumerate().for_each(|(task, softmax)| {
            let (head, first) = (task / blocks, task % blocks * WIDTH);
            let count = WIDTH.min(n - first);
            let (most, total) = softmax.split_at_mut(WIDTH);
            most.fill(f32::NEG_INFINITY);
            let sizes = [d, e, WIDTH, d.max(e)].map(|rows| rows * WIDTH);
            with_scratch(sizes.iter().sum(), |scratch| {
                let [queries, o, scores, room] = split(scratch, sizes);
                // SAFETY: the positions of this block of queries exist.
                unsafe { view_q.pack(level, q[view_q.at(head, first)..].as_ptr(), count, queries) };
                queries.iter_mut().for_each(|q| *q *= self.scale);
                o.fill(0.0);
                for key in (0..m).step_by(WIDTH) {
                    let keys = WIDTH.min(m - key);
                    if !self.mask.any(head, key, keys, first + count) {
                        continue;
                    }
                    let scores = &mut scores[..keys * WIDTH];
                    // SAFETY: `[keys, d] x [d, WIDTH]`, then `[e, keys] x [keys, WIDTH]`.
                    unsafe {
                        let block = view_k.matrix(k[view_k.at(head, key)..].as_ptr(), (keys, d), room);
                        let queries = Matrix::rows(queries.as_ptr(), WIDTH);
                        multiply(level, (keys, WIDTH, d), block, queries, scores.as_mut_ptr(), WIDTH, false);
                    }
                    self.mask.apply(scores, head, key, first);
                    absorb(level, scores, most, total, o);
                    // SAFETY: as above.
                    unsafe {
                        let block = view_v.matrix(v[view_v.at(head, key)..].as_ptr(), (keys, e), room);
                        let scores = Matrix::rows(scores.as_ptr(), WIDTH);
                        multiply(level, (e, WIDTH, keys), block.t(), scores, o.as_mut_ptr(), WIDTH, true);
                    }
                }
                divide(level, o, most, total);
                // SAFETY: this task alone writes these positions of the output.
                unsafe { view_o.unpack(level, o, out.at(view_o.at(head, first)), count) };
            });
        });
        // SAFETY: the blocks cover the queries of every head.
        Kept { output: unsafe { output.finish() }, softmax }
    }

    fn pull_back(&self, inputs: [&[f32]; 3], d_o: &[f32], together: bool) -> Vec<Vec<f32>> {
        let level = Level::current();
        let Sizes { heads, n, m, d, e, .. } = self.sizes;
        let again;
        let kept = match self.kept.as_ref().and_then(OnceLock::get) {
            Some(kept) => kept,
            None => {
                again = self.attend(inputs);
                &again
            }
        };
        let lengths = [heads * n * d, heads * m * d, heads * m * e];
        let mut outputs: Vec<Output> = match together {
            true => vec![Output::new(lengths.iter().sum())],
            false => lengths.map(Output::new).into(),
        };
        let shared: Vec<_> = outputs.iter_mut().map(Output::shared).collect();
        let [out_q, out_k, out_v] = if together { [shared[0]; 3] } else { [shared[0], shared[1], shared[2]] };
        let blocks = n.div_ceil(WIDTH);
        // Groups of blocks of queries, each with its own sums over queries.
        let groups = TASKS.div_ceil(heads).min(blocks);
        for head0 in (0..heads).step_by(HEADS) {
            let round = HEADS.min(heads - head0);
            for key0 in (0..m).step_by(KEYS) {
                let keys = KEYS.min(m - key0);
                let size = keys * (padded(d) + padded(e));
                with_scratch(round * groups * size, |sums| {
                    sums.par_chunks_mut(size).enumerate().for_each(|(task, sums)| {
                        let (head, group) = (head0 + task / groups, task % groups);
                        sums.fill(0.0);
                        for block in group * blocks / groups..(group + 1) * blocks / groups {
                            let part = Part { head, first: block * WIDTH, key0, keys };
                            // SAFETY: this task alone writes the gradients of these queries.
                            unsafe { self.queries(level, part, inputs, d_o, kept, out_q, sums) };
                        }
                    });
                    sums.par_chunks_mut(groups * size).enumerate().for_each(|(head, sums)| {
                        let head = head0 + head;
                        let (total, rest) = sums.split_at_mut(size);
                        for other in rest.chunks_exact(size) {
                            total.iter_mut().zip(other).for_each(|(t, o)| *t += o);
                        }
                        let (dk, dv) = total.split_at(keys * padded(d));
                        let [_, view_k, view_v, _] = self.views;
                        // SAFETY: this task alone writes the gradients of these keys and values.
                        unsafe {
                            view_k.unpack_rows(level, dk, out_k.at(view_k.at(head, key0)), (keys, d));
                            view_v.unpack_rows(level, dv, out_v.at(view_v.at(head, key0)), (keys, e));
                        }
                    });
                });
            }
        }
        // SAFETY: every query, key and value of every head got its gradient.
        outputs.into_iter().map(|o| unsafe { o.finish() }).collect()
    }

    /// What one block of queries and some keys contribute to all three gradients.
    ///
    /// # Safety
    /// Nobody else touches the gradients of these queries.
    unsafe fn queries(
        &self,
        level: Level,
        Part { head, first, key0, keys }: Part,
        [q, k, v]: [&[f32]; 3],
        d_o: &[f32],
        kept: &Kept,
        dq: crate::memory::Shared,
        sums: &mut [f32],
    ) {
        let Sizes { n, d, e, .. } = self.sizes;
        let [view_q, view_k, view_v, view_o] = self.views;
        let count = WIDTH.min(n - first);
        let (dp, ep) = (padded(d), padded(e));
        let (dk, dv) = sums.split_at_mut(keys * dp);
        let softmax = &kept.softmax[(head * n.div_ceil(WIDTH) + first / WIDTH) * 2 * WIDTH..][..2 * WIDTH];
        let sizes = [d, e, d, dp, ep, WIDTH, WIDTH, d, e, 1].map(|rows| rows * WIDTH);
        with_scratch(sizes.iter().sum(), |scratch| {
            let [queries, grads, dqs, queries_rows, grads_rows, p, ds, room_k, room_v, mean] =
                split(scratch, sizes);
            let (at_q, at_o) = (view_q.at(head, first), view_o.at(head, first));
            // SAFETY: the positions of this block of queries exist; the scratch has room for them.
            let (queries_rows, grads_rows) = unsafe {
                view_o.pack(level, kept.output[at_o..].as_ptr(), count, room_v);
                view_o.pack(level, d_o[at_o..].as_ptr(), count, grads);
                column_products(level, room_v, grads, mean);
                view_q.pack(level, q[at_q..].as_ptr(), count, queries);
                (
                    view_q.pack_rows(level, q[at_q..].as_ptr(), (count, d), queries_rows),
                    view_o.pack_rows(level, d_o[at_o..].as_ptr(), (count, e), grads_rows),
                )
            };
            queries.iter_mut().for_each(|q| *q *= self.scale);
            if key0 == 0 {
                dqs.fill(0.0);
            } else {
                // SAFETY: the gradients of these queries by earlier keys were written by this head and group.
                unsafe { view_q.pack(level, dq.at(at_q), count, dqs) };
            }
            for start in (0..keys).step_by(WIDTH) {
                let (key, width) = (key0 + start, WIDTH.min(keys - start));
                if !self.mask.any(head, key, width, first + count) {
                    continue;
                }
                let (p, ds) = (&mut p[..width * WIDTH], &mut ds[..width * WIDTH]);
                // SAFETY: `[width, d] x [d, WIDTH]` and `[width, e] x [e, WIDTH]`.
                let block = unsafe {
                    let block = view_k.matrix(k[view_k.at(head, key)..].as_ptr(), (width, d), room_k);
                    let values = view_v.matrix(v[view_v.at(head, key)..].as_ptr(), (width, e), room_v);
                    let queries = Matrix::rows(queries.as_ptr(), WIDTH);
                    let grads = Matrix::rows(grads.as_ptr(), WIDTH);
                    multiply(level, (width, WIDTH, d), block, queries, p.as_mut_ptr(), WIDTH, false);
                    multiply(level, (width, WIDTH, e), values, grads, ds.as_mut_ptr(), WIDTH, false);
                    block
                };
                self.mask.apply(p, head, key, first);
                score_gradients(level, p, ds, softmax, mean, self.scale);
                // SAFETY: `[width, count] x [count, e]`, `[width, count] x [count, d]`, `[d, width] x [width, WIDTH]`.
                unsafe {
                    let (p, ds) = (Matrix::rows(p.as_ptr(), WIDTH), Matrix::rows(ds.as_ptr(), WIDTH));
                    let dv = dv.as_mut_ptr().add(start * ep);
                    let dk = dk.as_mut_ptr().add(start * dp);
                    multiply(level, (width, ep, count), p, grads_rows, dv, ep, true);
                    multiply(level, (width, dp, count), ds, queries_rows, dk, dp, true);
                    multiply(level, (d, WIDTH, width), block.t(), ds, dqs.as_mut_ptr(), WIDTH, true);
                }
            }
            // SAFETY: as above.
            unsafe { view_q.unpack(level, dqs, dq.at(at_q), count) };
        });
    }
}

/// A block of queries of a head, and the keys it meets.
#[derive(Clone, Copy)]
struct Part {
    head: usize,
    first: usize,
    key0: usize,
    keys: usize,
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let kept = self.attend(parts(inputs)?);
        if let Some(slot) = &self.kept {
            let output = kept.output.clone();
            let _ = slot.set(kept);
            return Ok((output, self.shape.clone()));
        }
        Ok((kept.output, self.shape.clone()))
    }

    fn backward(&self, inputs: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let gradients = self.pull_back(parts(inputs)?, dy, inputs.len() == 1);
        Ok(gradients.into_iter().map(Gradient::Values).collect())
    }
}

/// Whether an operation on these tensors will be asked for gradients.
pub(super) fn slot<T>(inputs: &[&Tensor]) -> Option<OnceLock<T>> {
    inputs.iter().any(|x| x.track_op()).then(OnceLock::new)
}

multiversion! {
    /// Takes the scores of some keys into a running softmax of each lane: `scores` become `e^(score - most)`, and
    /// what was summed before is brought to the new largest score.
    fn absorb(scores: &mut [f32], most: &mut [f32], total: &mut [f32], o: &mut [f32]) {
        let (Some(most), Some(total)) = (most.first_chunk_mut(), total.first_chunk_mut()) else { return };
        let (most, total): (&mut [f32; WIDTH], &mut [f32; WIDTH]) = (most, total);
        let mut new = *most;
        for scores in scores.as_chunks::<WIDTH>().0 {
            for lane in 0..WIDTH {
                new[lane] = if scores[lane] > new[lane] { scores[lane] } else { new[lane] };
            }
        }
        // Lanes whose keys are all masked so far.
        let mut reference = new;
        for lane in &mut reference {
            *lane = if *lane == f32::NEG_INFINITY { 0.0 } else { *lane };
        }
        if *most != new {
            let mut factor = [0.0; WIDTH];
            for lane in 0..WIDTH {
                factor[lane] = if most[lane] == f32::NEG_INFINITY { 0.0 } else { exp::<FMA>(most[lane] - reference[lane]) };
                total[lane] *= factor[lane];
            }
            for o in o.as_chunks_mut::<WIDTH>().0 {
                for lane in 0..WIDTH {
                    o[lane] *= factor[lane];
                }
            }
            *most = new;
        }
        let mut sum = [0.0; WIDTH];
        for scores in scores.as_chunks_mut::<WIDTH>().0 {
            for lane in 0..WIDTH {
                let p = exp::<FMA>(scores[lane] - reference[lane]);
                scores[lane] = if scores[lane] == f32::NEG_INFINITY { 0.0 } else { p };
                sum[lane] += scores[lane];
            }
        }
        for lane in 0..WIDTH {
            total[lane] += sum[lane];
        }
    }
}

multiversion! {
    /// Ends a running softmax: `o` is divided by the sums, which become their reciprocals. A lane without keys gives
    /// zeros.
    fn divide(o: &mut [f32], most: &mut [f32], total: &mut [f32]) {
        for (most, total) in most.iter_mut().zip(total.iter_mut()) {
            if *most == f32::NEG_INFINITY {
                (*most, *total) = (0.0, 0.0);
            } else {
                *total = 1.0 / *total;
            }
        }
        for o in o.chunks_exact_mut(WIDTH) {
            for (o, factor) in o.iter_mut().zip(total.iter()) {
                *o *= factor;
            }
        }
    }
}

multiversion! {
    /// Scores become weights `p`, and gradients of weights those of scores, `scale p (dp - mean)`.
    fn score_gradients(p: &mut [f32], dp: &mut [f32], softmax: &[f32], mean: &[f32], scale: f32) {
        let (most, factor) = softmax.split_at(WIDTH);
        let (Some(most), Some(factor)) = (most.first_chunk::<WIDTH>(), factor.first_chunk::<WIDTH>()) else { return };
        let Some(mean) = mean.first_chunk::<WIDTH>() else { return };
        for (p, dp) in p.as_chunks_mut::<WIDTH>().0.iter_mut().zip(dp.as_chunks_mut::<WIDTH>().0) {
            for lane in 0..WIDTH {
                let weight = exp::<FMA>(p[lane] - most[lane]) * factor[lane];
                p[lane] = if p[lane] == f32::NEG_INFINITY { 0.0 } else { weight };
                dp[lane] = scale * p[lane] * (dp[lane] - mean[lane]);
            }
        }
    }
}

multiversion! {
    /// The sum over rows of the products in each lane.
    fn column_products(a: &[f32], b: &[f32], sums: &mut [f32]) {
        let mut lanes = [0.0; WIDTH];
        for (a, b) in a.as_chunks::<WIDTH>().0.iter().zip(b.as_chunks::<WIDTH>().0) {
            for lane in 0..WIDTH {
                lanes[lane] = fma::<FMA>(a[lane], b[lane], lanes[lane]);
            }
        }
        sums.copy_from_slice(&lanes);
    }
}

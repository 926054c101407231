//! The gradient of a convolution of any kernel and stride with respect to its weights.
//!
//! With the input split into phases (see [`direct`](super::direct)), the gradient of a tap is the inner product of the
//! output's gradient with a displaced run of a phase. Blocks of four output channels by four taps are summed in
//! vectors along the runs, and across lanes at the end.

use rayon::prelude::*;

use super::direct::{PART, SLACK, band_rows, shifts, split};
use super::geometry::Geometry;
use super::sums::sum_parts;
use crate::memory::{Output, with_scratch};
use crate::simd::Level;
use crate::simd::vector::{Kernel, Simd, dispatch};

/// Rows and columns of a block of the gradient.
const SIDE: usize = 4;
/// Parts of the batch whose gradients are summed apart.
const SUMS: usize = 8;

/// `dW [co, ci, kh, kw]` of `y = conv(x, w)`.
pub(super) fn backward_weight(x: &[f32], dy: &[f32], g: &Geometry) -> Vec<f32> {
    let level = Level::current();
    let s = g.spec.stride;
    let (reach_y, reach_x) = ((g.kh - 1) / s, (g.kw - 1) / s);
    let pitch = g.ow + reach_x;
    let rows = band_rows(g);
    let bands = g.oh.div_ceil(rows);
    let plane = (rows + reach_y) * pitch;
    let run = (rows * pitch).next_multiple_of(SLACK);
    let mut shifts = shifts(g, plane, pitch);
    let taps = shifts.len();
    shifts.resize(taps.next_multiple_of(SIDE), 0);
    // Of one band of one image; the padding rows of the gradient stay zero.
    let x_size = g.ci * s * s * plane + reach_x + SLACK;
    let y_size = g.co.next_multiple_of(SIDE) * run;
    let pieces = g.n * bands;
    let batch = (2 * PART / (x_size + y_size)).clamp(1, pieces.max(1));
    let sums = pieces.clamp(1, SUMS);
    let blocks = g.co.div_ceil(SIDE);
    let parts = blocks.min(SUMS.div_ceil(sums));
    let size = g.co * taps;
    let mut partial = Output::new(sums * size);
    let out = partial.shared();
    (0..sums * parts).into_par_iter().for_each(|task| {
        let (sum, part) = (task / parts, task % parts);
        let pieces = sum * pieces / sums..(sum + 1) * pieces / sums;
        let blocks = part * blocks / parts..(part + 1) * blocks / parts;
        let channels = blocks.start * SIDE..(blocks.end * SIDE).min(g.co);
        // SAFETY: each task writes its own rows of its own sum.
        let dw = unsafe { out.slice(sum * size + channels.start * taps, channels.len() * taps) };
        dw.fill(0.0);
        with_scratch(batch * (x_size + y_size), |scratch| {
            let (phases, gradients) = scratch.split_at_mut(batch * x_size);
            gradients.fill(0.0);
            let mut first = pieces.start;
            while first < pieces.end {
                let count = batch.min(pieces.end - first);
                for i in 0..count {
                    let (image, row) = ((first + i) / bands, (first + i) % bands * rows);
                    let rows = rows.min(g.oh - row);
                    let x = &x[image * g.ci * g.in_plane()..][..g.ci * g.in_plane()];
                    let phases = &mut phases[i * x_size..][..x_size];
                    // What is multiplied by the zeros of the gradient must be finite.
                    phases[x_size - reach_x - SLACK..].fill(0.0);
                    split(x, g, row, rows + reach_y, pitch, plane, phases);
                    for (c, gradient) in channels.clone().zip(gradients[i * y_size..].chunks_exact_mut(run)) {
                        let dy = &dy[(image * g.co + c) * g.out_plane() + row * g.ow..][..rows * g.ow];
                        for (dy, gradient) in dy.chunks_exact(g.ow).zip(gradient.chunks_exact_mut(pitch)) {
                            gradient[..g.ow].copy_from_slice(dy);
                        }
                        gradient[rows * pitch..].fill(0.0);
                    }
                }
                let sizes = (x_size, y_size);
                dispatch(level, Blocks { phases, gradients, sizes, count, shifts: &shifts, run, taps, dw });
                first += count;
            }
        });
    });
    // SAFETY: the tasks cover the rows of every sum.
    let mut dw = unsafe { partial.finish() };
    sum_parts(&mut dw, size);
    dw
}

/// Adds to `dw [channels, taps]` what `count` pieces give.
struct Blocks<'a> {
    phases: &'a [f32],
    gradients: &'a [f32],
    /// Distances between the pieces of both.
    sizes: (usize, usize),
    count: usize,
    shifts: &'a [usize],
    run: usize,
    taps: usize,
    dw: &'a mut [f32],
}

impl Kernel for Blocks<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { phases, gradients, sizes, count, shifts, run, taps, dw } = self;
        let mut square = [[0.0f32; 256]; 2];
        for (o, dw) in dw.chunks_mut(SIDE * taps).enumerate() {
            for (k, shifts) in shifts.as_chunks::<SIDE>().0.iter().enumerate() {
                let mut sums = [0.0f32; SIDE * SIDE];
                // SAFETY: a piece has `SIDE` rows of gradients a block, zeros where there is no channel, and `SLACK`
                // numbers beyond the last displaced run; the rest is the kernel's contract.
                unsafe {
                    let mut acc = [[S::splat(0.0); SIDE]; SIDE];
                    for piece in 0..count {
                        let x = phases.as_ptr().add(piece * sizes.0);
                        let y = gradients.as_ptr().add(piece * sizes.1 + o * SIDE * run);
                        let mut at = 0;
                        while at < run {
                            let mut row = [S::splat(0.0); SIDE];
                            for j in 0..SIDE {
                                row[j] = S::load(x.add(shifts[j] + at));
                            }
                            for i in 0..SIDE {
                                let y = S::load(y.add(i * run + at));
                                for j in 0..SIDE {
                                    acc[i][j] = S::fma(y, row[j], acc[i][j]);
                                }
                            }
                            at += S::LANES;
                        }
                    }
                    for i in 0..SIDE {
                        for j in 0..SIDE {
                            S::store(square[0].as_mut_ptr().add((i * SIDE + j) * S::LANES), acc[i][j]);
                        }
                    }
                    // Sixteen sums over lanes at once, by transposing.
                    let mut first = 0;
                    while first < SIDE * SIDE {
                        let (from, to) = (square[0].as_ptr().add(first * S::LANES), square[1].as_mut_ptr());
                        S::transpose(from, S::LANES, to, S::LANES);
                        let mut total = S::load(to);
                        for lane in 1..S::LANES {
                            total = S::add(total, S::load(to.add(lane * S::LANES)));
                        }
                        S::store(sums.as_mut_ptr().add(first), total);
                        first += S::LANES;
                    }
                }
                for (dw, sums) in dw.chunks_exact_mut(taps).zip(sums.chunks_exact(SIDE)) {
                    for (dw, sum) in dw[k * SIDE..].iter_mut().zip(sums) {
                        *dw += sum;
                    }
                }
            }
        }
    }
}

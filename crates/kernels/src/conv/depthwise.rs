//! Convolution of each channel by itself.
//!
//! A channel is copied with what lies beyond its edges written out; then each row of outputs is a sum of displaced
//! rows, held in registers over all taps. The gradients are the same two loops: with respect to the input, of the
//! output's gradient between zeros with the kernel reversed; with respect to the kernel, inner products of displaced
//! rows. A stride is an output's gradient with zeros between.

use rayon::prelude::*;

use super::geometry::source;
use super::sizes::Sizes;
use super::sums::sum_parts;
use crate::memory::{Output, with_scratch};
use crate::simd::Level;
use crate::simd::math::fold;

/// Outputs of a row that registers hold.
const BLOCK: usize = 32;

/// `y = conv(x, w) + b`.
pub(super) fn forward(x: &[f32], w: &[f32], b: Option<&[f32]>, s: &Sizes) -> Vec<f32> {
    let level = Level::current();
    let (padded, window, volume) = (Volume::padded(s), s.window(), s.out_volume());
    let multiplier = s.co / s.groups;
    let size = multiplier * volume;
    let mut y = Output::new(s.n * s.groups * size);
    let out = y.shared();
    let pitch = padded.size[2].next_multiple_of(BLOCK);
    x.par_chunks_exact(s.in_volume()).enumerate().for_each(|(i, x)| {
        let c = i % s.groups;
        // SAFETY: each task writes the outputs of its own channel.
        let y = unsafe { out.slice(i * size, size) };
        with_scratch(padded.room() + pitch, |scratch| {
            let (image, sums) = scratch.split_at_mut(padded.room());
            padded.fill(x, s, image);
            for (j, y) in y.chunks_exact_mut(volume).enumerate() {
                let channel = c * multiplier + j;
                let (w, b) = (&w[channel * window..][..window], b.map_or(0.0, |b| b[channel]));
                for (row, y) in y.chunks_exact_mut(s.out[2]).enumerate() {
                    let (z, line) = (row / s.out[1] * s.stride[0], row % s.out[1] * s.stride[1]);
                    let rows = padded.from(z, line);
                    if s.stride[2] == 1 {
                        correlate(level, &image[rows..], padded.pitches(), w, s.kernel, b, y);
                    } else {
                        let sums = &mut sums[..(s.out[2] - 1) * s.stride[2] + 1];
                        correlate(level, &image[rows..], padded.pitches(), w, s.kernel, b, sums);
                        for (y, sum) in y.iter_mut().zip(sums.iter().step_by(s.stride[2])) {
                            *y = *sum;
                        }
                    }
                }
            }
        });
    });
    // SAFETY: the channels cover the output.
    unsafe { y.finish() }
}

/// `dx` of `y = conv(x, w)`, plus a bias for each channel of `dx`.
pub(super) fn backward_input(dy: &[f32], w: &[f32], b: Option<&[f32]>, s: &Sizes) -> Vec<f32> {
    let level = Level::current();
    let (padded, spread, window, volume) = (Volume::padded(s), Volume::spread(s), s.window(), s.out_volume());
    let multiplier = s.co / s.groups;
    let mut dx = Output::new(s.n * s.groups * s.in_volume());
    let out = dx.shared();
    let length = padded.size[2];
    (0..s.n * s.groups).into_par_iter().for_each(|i| {
        let c = i % s.groups;
        // SAFETY: each task writes its own channel.
        let dx = unsafe { out.slice(i * s.in_volume(), s.in_volume()) };
        dx.fill(b.map_or(0.0, |b| b[c]));
        with_scratch(spread.room() + length, |scratch| {
            let (image, sums) = scratch.split_at_mut(spread.room());
            for j in 0..multiplier {
                spread.dilate(&dy[(i * multiplier + j) * volume..][..volume], s, image);
                let mut reversed = w[(c * multiplier + j) * window..][..window].to_vec();
                reversed.reverse();
                for z in 0..padded.size[0] {
                    let Some(depth) = source(z, s.padding[0], s.size[0], s.mode) else { continue };
                    for line in 0..padded.size[1] {
                        let Some(row) = source(line, s.padding[1], s.size[1], s.mode) else { continue };
                        let rows = &image[spread.from(z, line)..];
                        correlate(level, rows, spread.pitches(), &reversed, s.kernel, 0.0, sums);
                        let dx = &mut dx[(depth * s.size[1] + row) * s.size[2]..][..s.size[2]];
                        let (start, end) = (s.padding[2], s.padding[2] + s.size[2]);
                        for (dx, sum) in dx.iter_mut().zip(&sums[start..end]) {
                            *dx += sum;
                        }
                        for at in (0..start).chain(end..length) {
                            if let Some(x) = source(at, start, s.size[2], s.mode) {
                                dx[x] += sums[at];
                            }
                        }
                    }
                }
            }
        });
    });
    // SAFETY: the channels cover the input.
    unsafe { dx.finish() }
}

/// `dW` of `y = conv(x, w)`.
pub(super) fn backward_weight(x: &[f32], dy: &[f32], s: &Sizes) -> Vec<f32> {
    let level = Level::current();
    let (padded, window, volume) = (Volume::padded(s), s.window(), s.out_volume());
    let multiplier = s.co / s.groups;
    let size = multiplier * window;
    // Rows of gradients with zeros between them and to a multiple of a block.
    let length = (s.out[2] - 1) * s.stride[2] + 1;
    let pitch = length.next_multiple_of(BLOCK);
    let rows = s.out[0] * s.out[1];
    let mut parts = vec![0.0; s.n.max(1) * s.groups * size];
    parts.par_chunks_exact_mut(size).zip(x.par_chunks_exact(s.in_volume())).enumerate().for_each(
        |(i, (dw, x))| {
            with_scratch(padded.room() + rows * pitch, |scratch| {
                let (image, gradients) = scratch.split_at_mut(padded.room());
                padded.fill(x, s, image);
                gradients.fill(0.0);
                for (j, dw) in dw.chunks_exact_mut(window).enumerate() {
                    let dy = dy[(i * multiplier + j) * volume..][..volume].chunks_exact(s.out[2]);
                    for (dy, row) in dy.zip(gradients.chunks_exact_mut(pitch)) {
                        for (dy, value) in dy.iter().zip(row.iter_mut().step_by(s.stride[2])) {
                            *value = *dy;
                        }
                    }
                    for (tap, dw) in dw.iter_mut().enumerate() {
                        let (kz, ky, kx) = (
                            tap / (s.kernel[1] * s.kernel[2]),
                            tap / s.kernel[2] % s.kernel[1],
                            tap % s.kernel[2],
                        );
                        let first = padded.from(kz, ky) + kx;
                        let steps = [s.stride[0] * padded.pitches()[0], s.stride[1] * padded.pitches()[1]];
                        *dw = inner(level, gradients, pitch, s.out[1], &image[first..], steps);
                    }
                }
            });
        },
    );
    sum_parts(&mut parts, s.groups * size);
    parts
}

/// A channel with room around it: sides and the length of a row in memory.
struct Volume {
    size: [usize; 3],
}

impl Volume {
    /// The input with its padding.
    fn padded(s: &Sizes) -> Self {
        Self { size: std::array::from_fn(|i| s.size[i] + 2 * s.padding[i]) }
    }

    /// The gradient of the output, `stride` apart, so that a reversed kernel gives the padded input's.
    fn spread(s: &Sizes) -> Self {
        Self { size: std::array::from_fn(|i| s.size[i] + 2 * s.padding[i] + s.kernel[i] - 1) }
    }

    /// Numbers of memory: a block may be read from any place.
    fn room(&self) -> usize {
        self.size.iter().product::<usize>() + 2 * BLOCK
    }

    fn pitches(&self) -> [usize; 2] {
        [self.size[1] * self.size[2], self.size[2]]
    }

    fn from(&self, z: usize, y: usize) -> usize {
        (z * self.size[1] + y) * self.size[2]
    }

    /// Writes out a channel and what lies beyond its edges.
    fn fill(&self, x: &[f32], s: &Sizes, image: &mut [f32]) {
        let (start, end) = (s.padding[2], s.padding[2] + s.size[2]);
        for (i, row) in image.chunks_exact_mut(self.size[2]).take(self.size[0] * self.size[1]).enumerate() {
            let z = source(i / self.size[1], s.padding[0], s.size[0], s.mode);
            let y = source(i % self.size[1], s.padding[1], s.size[1], s.mode);
            let (Some(z), Some(y)) = (z, y) else {
                row.fill(0.0);
                continue;
            };
            let x = &x[(z * s.size[1] + y) * s.size[2]..][..s.size[2]];
            row[start..end].copy_from_slice(x);
            for at in (0..start).chain(end..row.len()) {
                row[at] = source(at, start, s.size[2], s.mode).map_or(0.0, |at| x[at]);
            }
        }
        image[self.size.iter().product::<usize>()..].fill(0.0);
    }

    /// Writes out a gradient of the output, `stride` apart.
    fn dilate(&self, dy: &[f32], s: &Sizes, image: &mut [f32]) {
        image.fill(0.0);
        for (i, dy) in dy.chunks_exact(s.out[2]).enumerate() {
            let z = i / s.out[1] * s.stride[0] + s.kernel[0] - 1;
            let y = i % s.out[1] * s.stride[1] + s.kernel[1] - 1;
            let row = image[self.from(z, y) + s.kernel[2] - 1..].iter_mut().step_by(s.stride[2]);
            for (value, dy) in row.zip(dy) {
                *value = *dy;
            }
        }
    }
}

crate::simd::multiversion! {
    /// `y_i = b + sum_k w_k x_{i + k}` over kernel planes and rows `pitches` apart; reads a block beyond the last.
    fn correlate(
        x: &[f32],
        pitches: [usize; 2],
        w: &[f32],
        kernel: [usize; 3],
        b: f32,
        y: &mut [f32],
    ) {
        let [_, kh, kw] = kernel;
        let mut at = 0;
        while at < y.len() {
            let mut acc = [b; BLOCK];
            for (row, w) in w.chunks_exact(kw).enumerate() {
                let start = row / kh * pitches[0] + row % kh * pitches[1] + at;
                let x = &x[start..start + BLOCK + kw - 1];
                for (x, &w) in x.windows(BLOCK).zip(w) {
                    for lane in 0..BLOCK {
                        acc[lane] = crate::simd::fma::<FMA>(w, x[lane], acc[lane]);
                    }
                }
            }
            let length = BLOCK.min(y.len() - at);
            y[at..at + length].copy_from_slice(&acc[..length]);
            at += length;
        }
    }
}

crate::simd::multiversion! {
    /// The sum of products of rows of gradients, `pitch` long and `lines` a plane, with rows `steps` apart.
    fn inner(gradients: &[f32], pitch: usize, lines: usize, x: &[f32], steps: [usize; 2]) -> f32 {
        let mut acc = [0.0; BLOCK];
        for (row, gradients) in gradients.chunks_exact(pitch).enumerate() {
            let start = row / lines * steps[0] + row % lines * steps[1];
            for (block, gradients) in gradients.as_chunks::<BLOCK>().0.iter().enumerate() {
                let x = &x[start + block * BLOCK..][..BLOCK];
                for lane in 0..BLOCK {
                    acc[lane] = crate::simd::fma::<FMA>(gradients[lane], x[lane], acc[lane]);
                }
            }
        }
        fold(acc)
    }
}

//! Convolution of any kernel, stride and padding: gather the taps into a matrix, then multiply.
//!
//! For an image, `col [ci kh kw, oh ow]` holds the input under every tap of every output. Then `y = W col`,
//! `dcol = W^T dy` (summed back into `dx`) and `dW = dy col^T`. A task takes part of the rows of an image, or part of
//! its channels, small enough for `col` to stay in the cache.

use rayon::prelude::*;

use super::geometry::Geometry;
use crate::gemm::{Matrix, product};
use crate::memory::{Output, with_scratch};

/// Numbers of a part of `col`: half a megabyte, so that it stays in the second-level cache.
const PART: usize = 128 * 1024;
/// Images whose weight gradients are summed by one task: parts do not depend on the number of threads.
const WEIGHT_PARTS: usize = 8;

/// `y = conv(x, w) + b`.
pub(crate) fn forward(x: &[f32], w: &[f32], b: Option<&[f32]>, g: &Geometry) -> Vec<f32> {
    let (taps, plane) = (g.taps(), g.out_plane());
    let mut y = Output::new(g.n * g.co * plane);
    let out = y.shared();
    let rows = (PART / (taps * g.ow)).clamp(1, g.oh).max(64usize.div_ceil(g.ow)).min(g.oh);
    let bands = g.oh.div_ceil(rows);
    (0..g.n * bands).into_par_iter().for_each(|task| {
        let (image, first) = (task / bands, (task % bands) * rows);
        let rows = rows.min(g.oh - first);
        let columns = rows * g.ow;
        let x = &x[image * g.ci * g.in_plane()..][..g.ci * g.in_plane()];
        let start = image * g.co * plane + first * g.ow;
        if let Some(b) = b {
            for (channel, &b) in b.iter().enumerate() {
                // SAFETY: rows `first..first + rows` of this image's planes are written by this task alone.
                unsafe { out.slice(start + channel * plane, columns) }.fill(b);
            }
        }
        let multiply = |col: Matrix| {
            // SAFETY: `w` is `[co, taps]`, `col` is `[taps, columns]`, the output rows are this task's.
            unsafe {
                let w = Matrix::rows(w.as_ptr(), taps);
                product((g.co, columns, taps), w, col, out.at(start), plane, b.is_some());
            }
        };
        if g.pointwise() {
            multiply(Matrix::rows(x[first * g.ow..].as_ptr(), plane));
        } else {
            with_scratch(taps * columns, |col| {
                gather(x, g, 0..g.ci, first..first + rows, col);
                multiply(Matrix::rows(col.as_ptr(), columns));
            });
        }
    });
    // SAFETY: the tasks cover every row of every plane.
    unsafe { y.finish() }
}

/// `dx` of `y = conv(x, w)`, plus a bias for each channel of `dx`: also the transposed convolution.
pub(crate) fn backward_input(dy: &[f32], w: &[f32], b: Option<&[f32]>, g: &Geometry) -> Vec<f32> {
    let (taps, plane) = (g.taps(), g.out_plane());
    let mut dx = Output::new(g.n * g.ci * g.in_plane());
    let out = dx.shared();
    let window = g.kh * g.kw;
    let channels = channels_per_part(g);
    let parts = g.ci.div_ceil(channels);
    (0..g.n * parts).into_par_iter().for_each(|task| {
        let (image, first) = (task / parts, (task % parts) * channels);
        let channels = channels.min(g.ci - first);
        let dy = Matrix::rows(dy[image * g.co * plane..].as_ptr(), plane);
        // The rows of W^T that belong to these channels.
        let w = Matrix::rows(w[first * window..].as_ptr(), taps).t();
        let start = (image * g.ci + first) * g.in_plane();
        // SAFETY: these channels of this image are written by this task alone.
        let dx = unsafe { out.slice(start, channels * g.in_plane()) };
        for (c, dx) in dx.chunks_exact_mut(g.in_plane()).enumerate() {
            dx.fill(b.map_or(0.0, |b| b[first + c]));
        }
        let size = (channels * window, plane, g.co);
        if g.pointwise() {
            // SAFETY: sizes as above; with one tap `col` is `dx` itself.
            unsafe { product(size, w, dy, dx.as_mut_ptr(), plane, true) };
        } else {
            with_scratch(channels * window * plane, |col| {
                // SAFETY: `col` has `channels * window` rows of `plane` numbers.
                unsafe { product(size, w, dy, col.as_mut_ptr(), plane, false) };
                scatter_add(col, g, dx);
            });
        }
    });
    // SAFETY: the tasks cover every channel of every image.
    unsafe { dx.finish() }
}

/// `dW` of `y = conv(x, w)`.
pub(crate) fn backward_weight(x: &[f32], dy: &[f32], g: &Geometry) -> Vec<f32> {
    let (taps, plane) = (g.taps(), g.out_plane());
    let window = g.kh * g.kw;
    let channels = channels_per_part(g);
    let parts = g.ci.div_ceil(channels);
    let sums = g.n.clamp(1, WEIGHT_PARTS);
    let size = g.co * taps;
    let mut partial = Output::new(sums * size);
    let out = partial.shared();
    (0..sums * parts).into_par_iter().for_each(|task| {
        let (sum, first) = (task / parts, (task % parts) * channels);
        let channels = channels.min(g.ci - first);
        let (start, width) = (sum * size + first * window, channels * window);
        let images = sum * g.n / sums..(sum + 1) * g.n / sums;
        if images.is_empty() {
            for channel in 0..g.co {
                // SAFETY: these columns of this partial sum are this task's.
                unsafe { out.slice(start + channel * taps, width) }.fill(0.0);
            }
        }
        for image in images.clone() {
            let add = image > images.start;
            let x = &x[(image * g.ci + first) * g.in_plane()..][..channels * g.in_plane()];
            let dy = Matrix::rows(dy[image * g.co * plane..].as_ptr(), plane);
            let multiply = |col: Matrix| {
                // SAFETY: `dy` is `[co, plane]`, `col^T` is `[plane, width]`; the columns are this task's.
                unsafe { product((g.co, width, plane), dy, col.t(), out.at(start), taps, add) };
            };
            if g.pointwise() {
                multiply(Matrix::rows(x.as_ptr(), plane));
            } else {
                with_scratch(width * plane, |col| {
                    gather(x, g, 0..channels, 0..g.oh, col);
                    multiply(Matrix::rows(col.as_ptr(), plane));
                });
            }
        }
    });
    // SAFETY: the tasks cover every column of every partial sum.
    let mut dw = unsafe { partial.finish() };
    sum_parts(&mut dw, size);
    dw
}

/// Adds the parts of length `size` to the first, in order, and keeps that.
pub(crate) fn sum_parts(parts: &mut Vec<f32>, size: usize) {
    let (total, rest) = parts.split_at_mut(size);
    const CHUNK: usize = 16 * 1024;
    total.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, total)| {
        for part in rest.chunks_exact(size) {
            for (t, p) in total.iter_mut().zip(&part[chunk * CHUNK..]) {
                *t += p;
            }
        }
    });
    parts.truncate(size);
}

/// Sums over images and pixels of `y [n, c, plane]`: the gradient of a bias.
pub(crate) fn channel_sums(y: &[f32], n: usize, c: usize, plane: usize) -> Vec<f32> {
    let level = crate::simd::Level::current();
    let mut sums = vec![0.0; c];
    sums.par_iter_mut().with_min_len(8).enumerate().for_each(|(channel, total)| {
        *total = (0..n).map(|image| sum(level, &y[(image * c + channel) * plane..][..plane])).sum();
    });
    sums
}

crate::simd::multiversion! {
    /// The sum of a slice, in lanes.
    pub(crate) fn sum(x: &[f32]) -> f32 {
        let _ = FMA;
        let mut lanes = [0.0; crate::simd::math::SUM_LANES];
        let (chunks, rest) = x.as_chunks::<{ crate::simd::math::SUM_LANES }>();
        for chunk in chunks {
            for (lane, v) in lanes.iter_mut().zip(chunk) {
                *lane += v;
            }
        }
        crate::simd::math::fold(lanes) + rest.iter().sum::<f32>()
    }
}

/// Channels whose part of `col` fits the cache.
fn channels_per_part(g: &Geometry) -> usize {
    (2 * PART / (g.kh * g.kw * g.out_plane())).clamp(1, g.ci)
}

/// Fills `col [channels kh kw, rows ow]` from `x [.., h, w]`.
fn gather(
    x: &[f32],
    g: &Geometry,
    channels: std::ops::Range<usize>,
    rows: std::ops::Range<usize>,
    col: &mut [f32],
) {
    let columns = rows.len() * g.ow;
    let mut lines = col.chunks_exact_mut(columns);
    for channel in channels {
        let x = &x[channel * g.in_plane()..][..g.in_plane()];
        for ky in 0..g.kh {
            for kx in 0..g.kw {
                let Some(line) = lines.next() else { return };
                for (out, oy) in line.chunks_exact_mut(g.ow).zip(rows.clone()) {
                    match g.row(oy, ky) {
                        Some(iy) => gather_row(&x[iy * g.w..][..g.w], g, kx, out),
                        None => out.fill(0.0),
                    }
                }
            }
        }
    }
}

fn gather_row(x: &[f32], g: &Geometry, kx: usize, out: &mut [f32]) {
    let (start, end) = g.inside(kx);
    for ox in (0..start).chain(end..g.ow) {
        out[ox] = g.column(ox, kx).map_or(0.0, |ix| x[ix]);
    }
    if start == end {
        return;
    }
    let first = start * g.spec.stride + kx - g.spec.padding;
    let out = &mut out[start..end];
    match g.spec.stride {
        1 => out.copy_from_slice(&x[first..first + out.len()]),
        2 => {
            for (out, x) in out.iter_mut().zip(x[first..].chunks(2)) {
                *out = x[0];
            }
        }
        stride => {
            for (out, x) in out.iter_mut().zip(x[first..].iter().step_by(stride)) {
                *out = *x;
            }
        }
    }
}

/// Adds `col [channels kh kw, oh ow]` to the pixels of `dx [channels, h, w]` that its taps read.
fn scatter_add(col: &[f32], g: &Geometry, dx: &mut [f32]) {
    let mut lines = col.chunks_exact(g.out_plane());
    for dx in dx.chunks_exact_mut(g.in_plane()) {
        for ky in 0..g.kh {
            for kx in 0..g.kw {
                let Some(line) = lines.next() else { return };
                for (oy, row) in line.chunks_exact(g.ow).enumerate() {
                    if let Some(iy) = g.row(oy, ky) {
                        scatter_row(row, g, kx, &mut dx[iy * g.w..][..g.w]);
                    }
                }
            }
        }
    }
}

fn scatter_row(row: &[f32], g: &Geometry, kx: usize, dx: &mut [f32]) {
    let (start, end) = g.inside(kx);
    for ox in (0..start).chain(end..g.ow) {
        if let Some(ix) = g.column(ox, kx) {
            dx[ix] += row[ox];
        }
    }
    if start == end {
        return;
    }
    let first = start * g.spec.stride + kx - g.spec.padding;
    for (dx, row) in dx[first..].iter_mut().step_by(g.spec.stride).zip(&row[start..end]) {
        *dx += row;
    }
}

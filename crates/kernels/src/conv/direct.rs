//! Convolution of any kernel and stride without a matrix of taps.
//!
//! A padded plane is split into `stride^2` phases: phase `(p, q)` holds the pixels `(s Y + p, s X + q)`. A tap then reads
//! a run of one phase, displaced by a constant, for a run of outputs; with rows of one length on both sides the runs
//! even continue over the ends of rows (the outputs there are dropped). So the product takes its operand straight from
//! the phases through a table of displacements, one for each tap and channel. The gradient with respect to the input
//! is the same with the roles exchanged, phase by phase.

use rayon::prelude::*;

use super::geometry::Geometry;
use crate::memory::{Output, with_scratch};
use crate::simd::Level;
use crate::simd::vector::{Kernel, Simd, dispatch};

/// Output channels of a panel of weights.
const PANEL: usize = 8;
/// Numbers of phases of a part of an image: half a megabyte, so that they stay in the second-level cache.
pub(super) const PART: usize = 128 * 1024;
/// Numbers that products may touch beyond the end of a run: two of the longest vectors.
pub(super) const SLACK: usize = 32;

/// `y = conv(x, w) + b`.
pub(super) fn forward(x: &[f32], w: &[f32], b: Option<&[f32]>, g: &Geometry) -> Vec<f32> {
    let level = Level::current();
    let s = g.spec.stride;
    let (reach_y, reach_x) = ((g.kh - 1) / s, (g.kw - 1) / s);
    let pitch = g.ow + reach_x;
    let rows = band_rows(g);
    let bands = g.oh.div_ceil(rows);
    let plane = (rows + reach_y) * pitch;
    let shifts = shifts(g, plane, pitch);
    let weights = panels(g.co, g.taps(), |o, k| w[o * g.taps() + k]);
    let mut y = Output::new(g.n * g.co * g.out_plane());
    let out = y.shared();
    let run = (rows * pitch).next_multiple_of(SLACK);
    let sums = g.co.next_multiple_of(PANEL) * run;
    (0..g.n * bands).into_par_iter().for_each(|task| {
        let (image, first) = (task / bands, (task % bands) * rows);
        let rows = rows.min(g.oh - first);
        let x = &x[image * g.ci * g.in_plane()..][..g.ci * g.in_plane()];
        let size = g.ci * s * s * plane + reach_x + SLACK;
        with_scratch(size + sums, |scratch| {
            let (phases, sums) = scratch.split_at_mut(size);
            split(x, g, first, rows + reach_y, pitch, plane, phases);
            let length = rows * pitch;
            dispatch(level, Products { phases, shifts: &shifts, weights: &weights, length, sums, run });
            for channel in 0..g.co {
                let bias = b.map_or(0.0, |b| b[channel]);
                let start = (image * g.co + channel) * g.out_plane() + first * g.ow;
                // SAFETY: each task writes its own rows of its image.
                let y = unsafe { out.slice(start, rows * g.ow) };
                let sums = sums[channel * run..].chunks_exact(pitch);
                for (y, sums) in y.chunks_exact_mut(g.ow).zip(sums) {
                    for (y, sum) in y.iter_mut().zip(sums) {
                        *y = sum + bias;
                    }
                }
            }
        });
    });
    // SAFETY: the tasks cover the rows of every plane.
    unsafe { y.finish() }
}

/// `dx` of `y = conv(x, w)`, plus a bias for each channel of `dx`.
pub(super) fn backward_input(dy: &[f32], w: &[f32], b: Option<&[f32]>, g: &Geometry) -> Vec<f32> {
    let level = Level::current();
    let s = g.spec.stride;
    let (reach_y, reach_x) = ((g.kh - 1) / s, (g.kw - 1) / s);
    let pitch = g.ow + reach_x;
    // The gradient between rows of zeros, each row with zeros behind it.
    let plane = (g.oh + 2 * reach_y) * pitch;
    let phases: Vec<Phase> = (0..s * s).map(|i| Phase::new(g, w, i / s, i % s, plane, pitch)).collect();
    let length = (g.oh + reach_y) * pitch;
    let run = length.next_multiple_of(SLACK);
    // Parts of the channels, where there are few images.
    let panel_count = g.ci.div_ceil(PANEL);
    let parts = panel_count.min(8usize.div_ceil(g.n.max(1)));
    let mut dx = Output::new(g.n * g.ci * g.in_plane());
    let out = dx.shared();
    (0..g.n * parts).into_par_iter().for_each(|task| {
        let (image, part) = (task / parts, task % parts);
        let panels = part * panel_count / parts..(part + 1) * panel_count / parts;
        let channels = panels.start * PANEL..(panels.end * PANEL).min(g.ci);
        let dy = &dy[image * g.co * g.out_plane()..][..g.co * g.out_plane()];
        let (size, sums) = (reach_x + g.co * plane + SLACK, panels.len() * PANEL * run);
        // SAFETY: each task writes its own channels of its image.
        let dx = unsafe {
            out.slice((image * g.ci + channels.start) * g.in_plane(), channels.len() * g.in_plane())
        };
        for (c, dx) in channels.clone().zip(dx.chunks_exact_mut(g.in_plane())) {
            dx.fill(b.map_or(0.0, |b| b[c]));
        }
        with_scratch(size + sums, |scratch| {
            let (padded, sums) = scratch.split_at_mut(size);
            padded.fill(0.0);
            for (dy, padded) in dy.chunks_exact(g.out_plane()).zip(padded[reach_x..].chunks_exact_mut(plane))
            {
                let rows = padded[reach_y * pitch..].chunks_exact_mut(pitch);
                for (dy, row) in dy.chunks_exact(g.ow).zip(rows) {
                    row[..g.ow].copy_from_slice(dy);
                }
            }
            for (i, phase) in phases.iter().enumerate() {
                let Phase { shifts, weights } = phase;
                if shifts.is_empty() {
                    continue;
                }
                let panel = PANEL * shifts.len();
                let weights = &weights[panels.start * panel..panels.end * panel];
                dispatch(level, Products { phases: padded, shifts, weights, length, sums, run });
                for (dx, sums) in dx.chunks_exact_mut(g.in_plane()).zip(sums.chunks_exact(run)) {
                    merge(&sums[..length], g, i / s, i % s, pitch, dx);
                }
            }
        });
    });
    // SAFETY: the tasks cover the channels of every image.
    unsafe { dx.finish() }
}

/// What the pixels of one phase of the input receive: displacements into the gradient, and weights.
struct Phase {
    shifts: Vec<usize>,
    weights: Vec<f32>,
}

impl Phase {
    fn new(g: &Geometry, w: &[f32], py: usize, px: usize, plane: usize, pitch: usize) -> Self {
        let s = g.spec.stride;
        let (reach_y, reach_x) = ((g.kh - 1) / s, (g.kw - 1) / s);
        let (mut shifts, mut taps) = (vec![], vec![]);
        for o in 0..g.co {
            for ky in (py..g.kh).step_by(s) {
                for kx in (px..g.kw).step_by(s) {
                    shifts.push(reach_x + o * plane + (reach_y - ky / s) * pitch - kx / s);
                    taps.push((o * g.taps(), ky * g.kw + kx));
                }
            }
        }
        let window = g.kh * g.kw;
        let weights = panels(g.ci, taps.len(), |c, k| w[taps[k].0 + c * window + taps[k].1]);
        Self { shifts, weights }
    }
}

/// Output rows of a part of an image: bands of nearly equal height whose phases stay in the cache.
pub(super) fn band_rows(g: &Geometry) -> usize {
    let s = g.spec.stride;
    let (reach_y, reach_x) = ((g.kh - 1) / s, (g.kw - 1) / s);
    let most = PART / (g.ci * s * s * (g.ow + reach_x));
    let rows = most.saturating_sub(reach_y).clamp(4.min(g.oh), g.oh);
    g.oh.div_ceil(g.oh.div_ceil(rows))
}

/// Where each tap reads, `[ci kh kw]`, relative to the position of the output.
pub(super) fn shifts(g: &Geometry, plane: usize, pitch: usize) -> Vec<usize> {
    let s = g.spec.stride;
    let mut shifts = Vec::with_capacity(g.taps());
    for c in 0..g.ci {
        for ky in 0..g.kh {
            for kx in 0..g.kw {
                let phase = (c * s + ky % s) * s + kx % s;
                shifts.push(phase * plane + (ky / s) * pitch + kx / s);
            }
        }
    }
    shifts
}

/// Weights as `[panel][k][PANEL]`, with zeros for the rows beyond `rows`.
fn panels(rows: usize, depth: usize, weight: impl Fn(usize, usize) -> f32 + Sync) -> Vec<f32> {
    let mut all = vec![0.0; rows.next_multiple_of(PANEL) * depth];
    all.par_chunks_mut((PANEL * depth).max(1)).enumerate().for_each(|(panel, part)| {
        for lane in 0..PANEL.min(rows - panel * PANEL) {
            for k in 0..depth {
                part[k * PANEL + lane] = weight(panel * PANEL + lane, k);
            }
        }
    });
    all
}

/// Fills `phases [ci][s][s][plane]` with `rows` rows of `pitch` pixels of the padded input from padded row `s first` on,
/// and zeros to the end of each plane.
pub(super) fn split(
    x: &[f32],
    g: &Geometry,
    first: usize,
    rows: usize,
    pitch: usize,
    plane: usize,
    phases: &mut [f32],
) {
    let s = g.spec.stride;
    let mut planes = phases.chunks_exact_mut(plane);
    for x in x.chunks_exact(g.in_plane()) {
        for py in 0..s {
            for px in 0..s {
                let Some(out) = planes.next() else { return };
                out[rows * pitch..].fill(0.0);
                for (row, out) in (first..first + rows).zip(out.chunks_exact_mut(pitch)) {
                    match g.row(row, py) {
                        Some(y) => split_row(&x[y * g.w..][..g.w], g, px, out),
                        None => out.fill(0.0),
                    }
                }
            }
        }
    }
}

fn split_row(x: &[f32], g: &Geometry, px: usize, out: &mut [f32]) {
    let s = g.spec.stride;
    let (start, end) = inside(g, px, out.len());
    for i in (0..start).chain(end..out.len()) {
        // Beyond the padding only dropped outputs read.
        let padded = i * s + px;
        let within = padded < g.w + 2 * g.spec.padding;
        out[i] = g.column(i, px).filter(|_| within).map_or(0.0, |x_| x[x_]);
    }
    if start == end {
        return;
    }
    let x = &x[start * s + px - g.spec.padding..];
    let out = &mut out[start..end];
    match s {
        1 => out.copy_from_slice(&x[..out.len()]),
        2 => {
            let (pairs, rest) = x.as_chunks::<2>();
            let length = out.len().min(pairs.len());
            for (out, pair) in out.iter_mut().zip(pairs) {
                *out = pair[0];
            }
            if let (Some(out), Some(last)) = (out.get_mut(length), rest.first()) {
                *out = *last;
            }
        }
        _ => {
            for (out, x) in out.iter_mut().zip(x.iter().step_by(s)) {
                *out = *x;
            }
        }
    }
}

/// The positions `[start, end)` of a row of phase `px` whose pixels lie in the plane.
fn inside(g: &Geometry, px: usize, length: usize) -> (usize, usize) {
    let (s, padding) = (g.spec.stride, g.spec.padding);
    let start = padding.saturating_sub(px).div_ceil(s).min(length);
    let end = (g.w + padding).saturating_sub(px).div_ceil(s);
    (start, end.clamp(start, length))
}

/// Adds the sums of phase `(py, px)` to the pixels they belong to.
fn merge(sums: &[f32], g: &Geometry, py: usize, px: usize, pitch: usize, dx: &mut [f32]) {
    let s = g.spec.stride;
    let (start, end) = inside(g, px, pitch);
    for (row, sums) in sums.chunks_exact(pitch).enumerate() {
        let Some(y) = g.row(row, py) else { continue };
        let dx = &mut dx[y * g.w..][..g.w];
        for i in (0..start).chain(end..pitch) {
            if let Some(x) = g.column(i, px) {
                dx[x] += sums[i];
            }
        }
        if start < end {
            let dx = &mut dx[start * s + px - g.spec.padding..];
            for (dx, sum) in dx.iter_mut().step_by(s).zip(&sums[start..end]) {
                *dx += sum;
            }
        }
    }
}

/// `sums [panels][PANEL][run]`: for each output channel and position `t` of `length`, the sum over `k` of its weight
/// times `phases[t + shifts[k]]`.
struct Products<'a> {
    phases: &'a [f32],
    shifts: &'a [usize],
    weights: &'a [f32],
    length: usize,
    sums: &'a mut [f32],
    run: usize,
}

impl Kernel for Products<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { phases, shifts, weights, length, sums, run } = self;
        let mut at = 0;
        while at < length {
            for (panel, weights) in weights.chunks_exact(PANEL * shifts.len()).enumerate() {
                let mut row = 0;
                while row < PANEL {
                    // SAFETY: `phases` has `SLACK` numbers beyond the last displaced run, `run` is a multiple of two vectors, a
                    // panel has `PANEL` rows, and `S::ROWS` divides that.
                    unsafe {
                        let (x, a) = (phases.as_ptr().add(at), weights.as_ptr().add(row));
                        let c = sums.as_mut_ptr().add((panel * PANEL + row) * run + at);
                        if S::ROWS == 8 {
                            multiply::<S, 8>(x, shifts, a, c, run);
                        } else {
                            multiply::<S, 4>(x, shifts, a, c, run);
                        }
                    }
                    row += S::ROWS;
                }
            }
            at += 2 * S::LANES;
        }
    }
}

/// `R` rows of two vectors.
///
/// # Safety
/// All of `x + shift` are valid for two vectors, `a` for `PANEL` numbers a shift, `c` for `R` rows; the machine has the
/// instructions of `S`.
#[inline(always)]
unsafe fn multiply<S: Simd, const R: usize>(
    x: *const f32,
    shifts: &[usize],
    a: *const f32,
    c: *mut f32,
    run: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = [[S::splat(0.0); 2]; R];
        let mut a = a;
        for &shift in shifts {
            let x = x.add(shift);
            let (x0, x1) = (S::load(x), S::load(x.add(S::LANES)));
            for r in 0..R {
                let factor = S::splat(*a.add(r));
                acc[r][0] = S::fma(factor, x0, acc[r][0]);
                acc[r][1] = S::fma(factor, x1, acc[r][1]);
            }
            a = a.add(PANEL);
        }
        for r in 0..R {
            S::store(c.add(r * run), acc[r][0]);
            S::store(c.add(r * run + S::LANES), acc[r][1]);
        }
    }
}

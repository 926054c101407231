//! Convolution of any kernel and stride without a matrix of taps.
//!
//! A padded plane is split into `stride^2` phases: phase `(p, q)` holds the pixels `(s Y + p, s X + q)`. A tap then reads
//! a run of one phase, displaced by a constant, for a run of outputs; with rows of one length on both sides the runs
//! even continue over the ends of rows (the outputs there are dropped). So the product takes its operand straight from
//! the phases through a table of displacements, one for each tap and channel. The gradient with respect to the input
//! is the same with the roles exchanged, phase by phase.

use std::ops::Range;

use rayon::prelude::*;

use super::geometry::Geometry;
use crate::memory::{Output, with_scratch};
use crate::simd::Level;
use crate::simd::vector::{Kernel, Simd, dispatch};

/// Channels of a panel: as many rows of weights as the longest vectors have registers for.
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
    let mut y = Output::new(g.n * g.co * g.out_plane());
    let out = y.shared();
    let run = (rows * pitch).next_multiple_of(SLACK);
    let parts = parts(g.n * bands, g.co);
    (0..g.n * bands * parts).into_par_iter().for_each(|task| {
        let (piece, part) = (task / parts, task % parts);
        let (image, first) = (piece / bands, (piece % bands) * rows);
        let rows = rows.min(g.oh - first);
        let x = &x[image * g.ci * g.in_plane()..][..g.ci * g.in_plane()];
        let channels = channels(part, parts, g.co);
        let size = g.ci * s * s * plane + reach_x + SLACK;
        with_scratch(size + channels.len().next_multiple_of(PANEL) * run, |scratch| {
            let (phases, sums) = scratch.split_at_mut(size);
            split(x, g, first, rows + reach_y, pitch, plane, phases);
            let length = rows * pitch;
            let weights = Weights { w, row: g.taps(), rows: channels.clone(), taps: None };
            Products { phases, shifts: &shifts, weights, length, sums, run }.compute(level);
            for (channel, sums) in channels.zip(sums.chunks_exact(run)) {
                let bias = b.map_or(0.0, |b| b[channel]);
                let start = (image * g.co + channel) * g.out_plane() + first * g.ow;
                // SAFETY: each task writes its own rows of its channels of its image.
                let y = unsafe { out.slice(start, rows * g.ow) };
                for (y, sums) in y.chunks_exact_mut(g.ow).zip(sums.chunks_exact(pitch)) {
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
    let phases: Vec<Phase> = (0..s * s).map(|i| Phase::new(g, i / s, i % s, plane, pitch)).collect();
    let length = (g.oh + reach_y) * pitch;
    let run = length.next_multiple_of(SLACK);
    let parts = parts(g.n, g.ci);
    let mut dx = Output::new(g.n * g.ci * g.in_plane());
    let out = dx.shared();
    (0..g.n * parts).into_par_iter().for_each(|task| {
        let (image, part) = (task / parts, task % parts);
        let channels = channels(part, parts, g.ci);
        let dy = &dy[image * g.co * g.out_plane()..][..g.co * g.out_plane()];
        let size = reach_x + g.co * plane + SLACK;
        // SAFETY: each task writes its own channels of its image.
        let dx = unsafe {
            out.slice((image * g.ci + channels.start) * g.in_plane(), channels.len() * g.in_plane())
        };
        for (c, dx) in channels.clone().zip(dx.chunks_exact_mut(g.in_plane())) {
            dx.fill(b.map_or(0.0, |b| b[c]));
        }
        with_scratch(size + channels.len().next_multiple_of(PANEL) * run, |scratch| {
            let (padded, sums) = scratch.split_at_mut(size);
            padded.fill(0.0);
            for (dy, padded) in dy.chunks_exact(g.out_plane()).zip(padded[reach_x..].chunks_exact_mut(plane))
            {
                let rows = padded[reach_y * pitch..].chunks_exact_mut(pitch);
                for (dy, row) in dy.chunks_exact(g.ow).zip(rows) {
                    row[..g.ow].copy_from_slice(dy);
                }
            }
            for (i, Phase { shifts, taps }) in phases.iter().enumerate() {
                if shifts.is_empty() {
                    continue;
                }
                let weights = Weights { w, row: g.kh * g.kw, rows: channels.clone(), taps: Some(taps) };
                Products { phases: padded, shifts, weights, length, sums, run }.compute(level);
                for (dx, sums) in dx.chunks_exact_mut(g.in_plane()).zip(sums.chunks_exact(run)) {
                    merge(&sums[..length], g, i / s, i % s, pitch, dx);
                }
            }
        });
    });
    // SAFETY: the tasks cover the channels of every image.
    unsafe { dx.finish() }
}

/// Into how many parts the channels are cut, where there are few pieces of images.
fn parts(pieces: usize, channels: usize) -> usize {
    let tasks = 2 * rayon::current_num_threads();
    channels.div_ceil(PANEL).min(tasks.div_ceil(pieces.max(1)))
}

/// The channels of a part: whole panels.
fn channels(part: usize, parts: usize, channels: usize) -> Range<usize> {
    let panels = channels.div_ceil(PANEL);
    let cut = |part: usize| (part * panels / parts * PANEL).min(channels);
    cut(part)..cut(part + 1)
}

/// What the pixels of one phase of the input receive: displacements into the gradient, and where the weights are.
struct Phase {
    shifts: Vec<usize>,
    taps: Vec<usize>,
}

impl Phase {
    fn new(g: &Geometry, py: usize, px: usize, plane: usize, pitch: usize) -> Self {
        let s = g.spec.stride;
        let (reach_y, reach_x) = ((g.kh - 1) / s, (g.kw - 1) / s);
        let (mut shifts, mut taps) = (vec![], vec![]);
        for o in 0..g.co {
            for ky in (py..g.kh).step_by(s) {
                for kx in (px..g.kw).step_by(s) {
                    shifts.push(reach_x + o * plane + (reach_y - ky / s) * pitch - kx / s);
                    taps.push(o * g.taps() + ky * g.kw + kx);
                }
            }
        }
        Self { shifts, taps }
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

/// The weight of row `r` and tap `k` is `w[r row + k]`, or `w[r row + taps[k]]`.
struct Weights<'a> {
    w: &'a [f32],
    row: usize,
    rows: Range<usize>,
    taps: Option<&'a [usize]>,
}

impl Weights<'_> {
    fn panels(&self) -> usize {
        self.rows.len().div_ceil(PANEL)
    }

    /// Where the weights of a row lie; rows beyond the last repeat it.
    fn start(&self, row: usize) -> usize {
        (self.rows.start + row).min(self.rows.end - 1) * self.row
    }

    /// Copies the weights of some panels to `[panel][tap][PANEL]`.
    fn pack(&self, taps: &[usize], panels: Range<usize>, packed: &mut [f32]) {
        for (panel, packed) in panels.zip(packed.chunks_exact_mut(PANEL * taps.len())) {
            let starts: [usize; PANEL] = std::array::from_fn(|lane| self.start(panel * PANEL + lane));
            for (&tap, packed) in taps.iter().zip(packed.as_chunks_mut::<PANEL>().0) {
                *packed = starts.map(|start| self.w[start + tap]);
            }
        }
    }
}

/// `sums [rows padded][run]`: for each row of weights and position `t` of `length`, the sum over `k` of its weight times
/// `phases[t + shifts[k]]`. `phases` has [`SLACK`] numbers beyond the last displaced run, `run` is a multiple of two
/// vectors, `sums` has [`PANEL`] rows for every panel.
struct Products<'a> {
    phases: &'a [f32],
    shifts: &'a [usize],
    weights: Weights<'a>,
    length: usize,
    sums: &'a mut [f32],
    run: usize,
}

impl Products<'_> {
    fn compute(self, level: Level) {
        // What is larger is read once, and the other stays in the cache.
        let once = self.weights.rows.len() * self.shifts.len() > self.phases.len();
        let together = if once { 1 } else { self.weights.panels() };
        let packed = if self.weights.taps.is_some() { together * PANEL * self.shifts.len() } else { 0 };
        with_scratch(packed, |packed| dispatch(level, Panels { products: self, together, packed }));
    }
}

/// [`Products`] of so many panels together.
struct Panels<'a, 'b> {
    products: Products<'a>,
    together: usize,
    packed: &'b mut [f32],
}

impl Kernel for Panels<'_, '_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { products: Products { phases, shifts, weights, length, sums, run }, together, packed } =
            self;
        let all = weights.panels();
        for first in (0..all).step_by(together) {
            let panels = first..(first + together).min(all);
            if let Some(taps) = weights.taps {
                weights.pack(taps, panels.clone(), packed);
            }
            let mut at = 0;
            while at < length {
                for row in (panels.start * PANEL..panels.end * PANEL).step_by(S::ROWS) {
                    let mut a = [weights.w.as_ptr(); PANEL];
                    for (r, a) in a.iter_mut().enumerate() {
                        // SAFETY: the row lies in the weights, or in their packed panel.
                        *a = unsafe {
                            match weights.taps {
                                None => a.add(weights.start(row + r)),
                                Some(_) => {
                                    let (panel, lane) = (row / PANEL - first, (row + r) % PANEL);
                                    packed.as_ptr().add(panel * PANEL * shifts.len() + lane)
                                }
                            }
                        };
                    }
                    let step = if weights.taps.is_some() { PANEL } else { 1 };
                    // SAFETY: what `Products` says of its parts.
                    unsafe {
                        let (x, c) = (phases.as_ptr().add(at), sums.as_mut_ptr().add(row * run + at));
                        if S::ROWS == 8 {
                            multiply::<S, 8>(x, shifts, a, step, c, run);
                        } else {
                            let [a, b, d, e, ..] = a;
                            multiply::<S, 4>(x, shifts, [a, b, d, e], step, c, run);
                        }
                    }
                }
                at += 2 * S::LANES;
            }
        }
    }
}

/// `R` rows of two vectors, whose weights of one tap and the next are `step` apart.
///
/// # Safety
/// All of `x + shift` are valid for two vectors, the weights at every tap, `c` for `R` rows; the machine has the
/// instructions of `S`.
#[inline(always)]
unsafe fn multiply<S: Simd, const R: usize>(
    x: *const f32,
    shifts: &[usize],
    weights: [*const f32; R],
    step: usize,
    c: *mut f32,
    run: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = [[S::splat(0.0); 2]; R];
        let mut tap = 0;
        for &shift in shifts {
            let x = x.add(shift);
            let (x0, x1) = (S::load(x), S::load(x.add(S::LANES)));
            for r in 0..R {
                let factor = S::splat(*weights[r].add(tap));
                acc[r][0] = S::fma(factor, x0, acc[r][0]);
                acc[r][1] = S::fma(factor, x1, acc[r][1]);
            }
            tap += step;
        }
        for (r, acc) in acc.iter().enumerate() {
            S::store(c.add(r * run), acc[0]);
            S::store(c.add(r * run + S::LANES), acc[1]);
        }
    }
}

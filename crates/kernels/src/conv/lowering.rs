//! Convolutions over one or three axes, in groups, or between mirrors, as two-dimensional ones.
//!
//! The input is copied into images that a two-dimensional convolution takes: of a cube, one image for each plane of the
//! output, whose channels are the planes that the kernel reaches there; of a line, one image of one row for each
//! segment; and in any case each group apart. Reflected pixels, and those beyond the ends of lines, are written out.
//! The gradient goes back the same way.

use rayon::prelude::*;

use super::geometry::{ConvSpec, Geometry, PadMode, source};
use super::planar;
use super::sizes::Sizes;
use crate::memory::{Output, Shared};

/// Outputs of a segment of a line, about.
const SEGMENT: usize = 256;

/// `y = conv(x, w) + b`.
pub(super) fn forward(x: &[f32], w: &[f32], b: Option<&[f32]>, s: &Sizes) -> Vec<f32> {
    let l = Lowering::new(s);
    let images = l.gather(x);
    let parts = l.groups(|group| {
        let b = b.map(|b| &b[group * l.g.co..][..l.g.co]);
        planar::forward(l.images(&images, group), l.weights(w, group), b, &l.g)
    });
    l.place(parts)
}

/// `dx` of `y = conv(x, w)`, plus a bias for each channel of `dx`.
pub(super) fn backward_input(dy: &[f32], w: &[f32], b: Option<&[f32]>, s: &Sizes) -> Vec<f32> {
    let l = Lowering::new(s);
    let parts =
        l.groups(|group| planar::backward_input(&l.extract(dy, group), l.weights(w, group), None, &l.g));
    l.distribute(&parts, b)
}

/// `dW` of `y = conv(x, w)`.
pub(super) fn backward_weight(x: &[f32], dy: &[f32], s: &Sizes) -> Vec<f32> {
    let l = Lowering::new(s);
    let images = l.gather(x);
    l.groups(|group| planar::backward_weight(l.images(&images, group), &l.extract(dy, group), &l.g)).concat()
}

/// Where the padded positions of an axis lie.
struct Axis {
    size: usize,
    padding: usize,
    map: Vec<Option<usize>>,
}

impl Axis {
    fn new(length: usize, padding: usize, size: usize, mode: PadMode) -> Self {
        let end = size + 2 * padding;
        let map = (0..length).map(|at| source(at, padding, size, mode).filter(|_| at < end)).collect();
        Self { size, padding, map }
    }

    /// The part of the `length` positions from `first` on that is a run of the axis itself.
    fn inside(&self, first: usize, length: usize) -> (usize, usize) {
        let start = self.padding.saturating_sub(first).min(length);
        (start, (self.padding + self.size).saturating_sub(first).clamp(start, length))
    }

    fn copy(&self, first: usize, row: &[f32], out: &mut [f32]) {
        let (start, end) = self.inside(first, out.len());
        for i in (0..start).chain(end..out.len()) {
            out[i] = self.map[first + i].map_or(0.0, |at| row[at]);
        }
        if start < end {
            out[start..end].copy_from_slice(&row[first + start - self.padding..][..end - start]);
        }
    }

    fn add(&self, first: usize, values: &[f32], row: &mut [f32]) {
        let (start, end) = self.inside(first, values.len());
        for i in (0..start).chain(end..values.len()) {
            if let Some(at) = self.map[first + i] {
                row[at] += values[i];
            }
        }
        if start < end {
            for (sum, value) in row[first + start - self.padding..].iter_mut().zip(&values[start..end]) {
                *sum += value;
            }
        }
    }
}

struct Lowering<'a> {
    s: &'a Sizes,
    /// Of the convolution of one group's images.
    g: Geometry,
    /// Images of an example.
    count: usize,
    /// Padded columns from one image of an example to the next: segments of a line follow one another.
    advance: usize,
    depth: Axis,
    rows: Axis,
    columns: Axis,
}

impl<'a> Lowering<'a> {
    fn new(s: &'a Sizes) -> Self {
        let [od, oh, ow] = s.out;
        let [kd, kh, kw] = s.kernel;
        let (ci, co) = (s.ci / s.groups * kd, s.co / s.groups);
        let stride = s.stride[2];
        let line = s.axes == 1;
        let explicit = line || s.mode == PadMode::Reflect;
        let segments = if line { ow.div_ceil(SEGMENT) } else { 1 };
        let ow = ow.div_ceil(segments);
        let padding = if explicit { s.padding } else { [s.padding[0], 0, 0] };
        let (h, w) = (s.size[1] + 2 * padding[1], s.size[2] + 2 * padding[2]);
        let w = if line { (ow - 1) * stride + kw } else { w };
        let axis = |i: usize, length: usize| Axis::new(length, padding[i], s.size[i], s.mode);
        let advance = if line { ow * stride } else { 0 };
        let spec = ConvSpec {
            stride,
            padding: if explicit { 0 } else { s.padding[2] },
            pad_mode: if explicit { PadMode::Zeros } else { s.mode },
            ..Default::default()
        };
        let count = if line { segments } else { od };
        Self {
            s,
            g: Geometry { n: s.n * count, ci, h, w, co, kh, kw, oh, ow, spec },
            count,
            advance,
            depth: axis(0, (od - 1) * s.stride[0] + kd),
            rows: axis(1, h),
            columns: axis(2, (segments - 1) * advance + w),
        }
    }

    fn groups<R>(&self, part: impl FnMut(usize) -> R) -> Vec<R> {
        (0..self.s.groups).map(part).collect()
    }

    /// One group's images among all.
    fn images<'b>(&self, images: &'b [f32], group: usize) -> &'b [f32] {
        let size = self.g.n * self.g.ci * self.g.in_plane();
        &images[group * size..][..size]
    }

    fn weights<'b>(&self, w: &'b [f32], group: usize) -> &'b [f32] {
        let size = self.g.co * self.g.taps();
        &w[group * size..][..size]
    }

    /// The planes `(image, channel of the group, depth of the plane)` that input channel `c` is copied to.
    fn planes(&self, c: usize) -> impl Iterator<Item = (usize, usize, Option<usize>)> {
        let [kd, ..] = self.s.kernel;
        let per_group = self.s.ci / self.s.groups;
        let flat = self.s.axes < 3;
        (0..self.count).flat_map(move |z| {
            (0..kd).map(move |k| {
                let at = if flat { 0 } else { z * self.s.stride[0] + k };
                (z, c % per_group * kd + k, self.depth.map[at])
            })
        })
    }

    /// Images `[groups, n, count, ci, h, w]` of `x [n, channels, d, h, w]`.
    fn gather(&self, x: &[f32]) -> Vec<f32> {
        let (s, g) = (self.s, &self.g);
        let plane = g.in_plane();
        let mut images = Output::new(s.groups * g.n * g.ci * plane);
        let out = images.shared();
        x.par_chunks_exact(s.in_volume()).enumerate().for_each(|(i, x)| {
            let (example, c) = (i / s.ci, i % s.ci);
            let first = (c / (s.ci / s.groups)) * g.n + example * self.count;
            for (z, channel, depth) in self.planes(c) {
                // SAFETY: each task writes the planes of its own channel of its own example.
                let image = unsafe { out.slice(((first + z) * g.ci + channel) * plane, plane) };
                let Some(depth) = depth else {
                    image.fill(0.0);
                    continue;
                };
                let x = &x[depth * s.size[1] * s.size[2]..][..s.size[1] * s.size[2]];
                for (row, source) in image.chunks_exact_mut(g.w).zip(&self.rows.map) {
                    match source {
                        Some(y) => self.columns.copy(z * self.advance, &x[y * s.size[2]..][..s.size[2]], row),
                        None => row.fill(0.0),
                    }
                }
            }
        });
        // SAFETY: the channels cover the images.
        unsafe { images.finish() }
    }

    /// The adjoint of [`gather`](Self::gather), plus a bias for each channel.
    fn distribute(&self, groups: &[Vec<f32>], b: Option<&[f32]>) -> Vec<f32> {
        let (s, g) = (self.s, &self.g);
        let plane = g.in_plane();
        let mut dx = Output::new(s.n * s.ci * s.in_volume());
        let out = dx.shared();
        (0..s.n * s.ci).into_par_iter().for_each(|i| {
            let (example, c) = (i / s.ci, i % s.ci);
            // SAFETY: each task writes its own channel of its own example.
            let dx = unsafe { out.slice(i * s.in_volume(), s.in_volume()) };
            dx.fill(b.map_or(0.0, |b| b[c]));
            let images = &groups[c / (s.ci / s.groups)][example * self.count * g.ci * plane..];
            for (z, channel, depth) in self.planes(c) {
                let Some(depth) = depth else { continue };
                let dx = &mut dx[depth * s.size[1] * s.size[2]..][..s.size[1] * s.size[2]];
                let image = &images[(z * g.ci + channel) * plane..][..plane];
                for (row, target) in image.chunks_exact(g.w).zip(&self.rows.map) {
                    if let Some(y) = target {
                        self.columns.add(z * self.advance, row, &mut dx[y * s.size[2]..][..s.size[2]]);
                    }
                }
            }
        });
        // SAFETY: the channels cover the input.
        unsafe { dx.finish() }
    }

    /// Output `[n, channels, ..]` of the groups' `[n, count, co, oh, ow]`; what a last segment has too much is dropped.
    fn place(&self, mut groups: Vec<Vec<f32>>) -> Vec<f32> {
        let (s, g) = (self.s, &self.g);
        if s.groups == 1 && self.count == 1 {
            return groups.swap_remove(0);
        }
        let (plane, volume) = (g.out_plane(), s.out_volume());
        let mut y = Output::new(s.n * s.co * volume);
        let out: Shared = y.shared();
        (0..s.n * s.co).into_par_iter().for_each(|i| {
            let (example, c) = (i / s.co, i % s.co);
            // SAFETY: each task writes its own channel of its own example.
            let y = unsafe { out.slice(i * volume, volume) };
            let from = &groups[c / g.co][example * self.count * g.co * plane..];
            for (z, y) in y.chunks_mut(plane).enumerate() {
                y.copy_from_slice(&from[(z * g.co + c % g.co) * plane..][..y.len()]);
            }
        });
        // SAFETY: the channels cover the output.
        unsafe { y.finish() }
    }

    /// The adjoint of [`place`](Self::place), of one group.
    fn extract(&self, dy: &[f32], group: usize) -> Vec<f32> {
        let (s, g) = (self.s, &self.g);
        let (plane, volume) = (g.out_plane(), s.out_volume());
        let mut part = Output::new(g.n * g.co * plane);
        let out = part.shared();
        (0..g.n * g.co).into_par_iter().for_each(|i| {
            let (image, c) = (i / g.co, i % g.co);
            let (example, z) = (image / self.count, image % self.count);
            // SAFETY: each task writes its own plane.
            let part = unsafe { out.slice(i * plane, plane) };
            let dy = &dy[(example * s.co + group * g.co + c) * volume..][..volume];
            let dy = &dy[z * plane..volume.min((z + 1) * plane)];
            part[..dy.len()].copy_from_slice(dy);
            part[dy.len()..].fill(0.0);
        });
        // SAFETY: the planes cover the part.
        unsafe { part.finish() }
    }
}

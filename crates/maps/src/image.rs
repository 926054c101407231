//! Where particles land on an image: its frame, and a deposit that is the same at any number of threads.

use std::ops::Range;

use ndarray::Array3;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::assign::{Scheme, Weights, wrapped};
use crate::kernel::{Place, Quadrant};
use crate::smooth::Profile;
use crate::strips::Strips;
use crate::{Error, Kernel, Result};

/// How the mass of a particle is laid on the pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// All in the pixel that holds the particle.
    Ngp,
    /// Cloud in cell, about pixel centres.
    Cic,
    /// Triangular-shaped cloud.
    Tsc,
    /// Piecewise cubic spline.
    Pcs,
    /// A uniform sphere of the particle's radius, as the CAMELS maps.
    Sphere,
    /// The cubic spline of the particle's radius.
    #[default]
    Sph,
    /// The two-dimensional Wendland C2 kernel of the particle's radius, as swiftsimio.
    Wendland,
    /// The column of the three-dimensional Wendland C2 kernel.
    WendlandC2,
    /// The column of the three-dimensional Wendland C4 kernel.
    WendlandC4,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Ngp,
        Self::Cic,
        Self::Tsc,
        Self::Pcs,
        Self::Sphere,
        Self::Sph,
        Self::Wendland,
        Self::WendlandC2,
        Self::WendlandC4,
    ];

    /// Whether it needs a radius for every particle.
    pub fn needs_radii(self) -> bool {
        self.kernel().is_some()
    }

    pub(crate) fn kernel(self) -> Option<Kernel> {
        match self {
            Self::Sphere => Some(Kernel::UniformSphere),
            Self::Sph => Some(Kernel::CubicSpline),
            Self::Wendland => Some(Kernel::PlanarWendlandC2),
            Self::WendlandC2 => Some(Kernel::WendlandC2),
            Self::WendlandC4 => Some(Kernel::WendlandC4),
            Self::Ngp | Self::Cic | Self::Tsc | Self::Pcs => None,
        }
    }

    pub(crate) fn scheme(self) -> Scheme {
        match self {
            Self::Cic => Scheme::Cic,
            Self::Tsc => Scheme::Tsc,
            Self::Pcs => Scheme::Pcs,
            _ => Scheme::Ngp,
        }
    }
}

/// The masses of particles.
#[derive(Clone, Copy, Debug)]
pub enum Masses<'a> {
    /// All the same.
    Equal(f64),
    /// One for each particle.
    Each(&'a [f64]),
}

impl Masses<'_> {
    pub(crate) fn of(&self, i: usize) -> f64 {
        match self {
            Self::Equal(mass) => *mass,
            Self::Each(masses) => masses[i],
        }
    }

    pub(crate) fn check(&self, operation: &'static str, particles: usize) -> Result<()> {
        let bad = match self {
            Self::Equal(mass) if !mass.is_finite() => Some((0, *mass)),
            Self::Equal(_) => None,
            Self::Each(masses) if masses.len() != particles => {
                let (what, got) = ("the masses", masses.len());
                return Err(Error::Length { operation, what, expected: particles, got });
            }
            Self::Each(masses) => masses.par_iter().copied().enumerate().find_first(|(_, m)| !m.is_finite()),
        };
        match bad {
            None => Ok(()),
            Some((i, mass)) => {
                let (what, got) = (format!("mass of particle {i}"), mass.to_string());
                Err(Error::Value { operation, what, expected: "finite", got })
            }
        }
    }
}

/// The pixels of an image: where its corner lies, how large they are, whether opposite sides meet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Frame {
    /// Pixels `[y, x]`.
    pub(crate) shape: [usize; 2],
    /// The corner, `[y, x]`.
    pub(crate) origin: [f64; 2],
    /// The side lengths, `[y, x]`.
    pub(crate) extent: [f64; 2],
    pub(crate) periodic: bool,
}

impl Frame {
    fn pixel(&self) -> [f64; 2] {
        [self.extent[0] / self.shape[0] as f64, self.extent[1] / self.shape[1] as f64]
    }

    fn check(&self, operation: &'static str) -> Result<()> {
        if self.shape.contains(&0) {
            let (what, got) = ("the number of pixels".into(), format!("{:?}", self.shape));
            return Err(Error::Value { operation, what, expected: "at least 1 along each axis", got });
        }
        for side in self.extent {
            if !(side.is_finite() && side > 0.0) {
                let (what, got) = ("side of the image".into(), side.to_string());
                return Err(Error::Value { operation, what, expected: "finite and positive", got });
            }
        }
        Ok(())
    }
}

/// One particle as an image sees it.
#[derive(Clone, Copy)]
pub(crate) struct Dot {
    /// Which of several images, if any.
    pub(crate) image: Option<usize>,
    /// Position `[y, x]` in the frame's unit of length.
    pub(crate) at: [f64; 2],
    pub(crate) mass: f64,
    pub(crate) radius: f64,
}

/// Mass per pixel of `images` images, `[image, y, x]`, of the particles that `dot` gives for `0 .. count`.
///
/// Every strip of rows is summed by one thread, in float64 and in the order of the particles, straight into the images: the sums are the
/// same at any number of threads, and no thread has an image of its own.
pub(crate) fn deposit(
    operation: &'static str,
    frame: &Frame,
    images: usize,
    method: Method,
    count: usize,
    dot: impl Fn(usize) -> Dot + Sync,
) -> Result<Array3<f64>> {
    frame.check(operation)?;
    let dots = |i: usize| -> Option<(usize, String, &'static str, f64)> {
        let dot = dot(i);
        if let Some(x) = dot.at.into_iter().find(|x| !x.is_finite()) {
            return Some((i, format!("position of particle {i}"), "finite", x));
        }
        if method.needs_radii() {
            // Beyond this a kernel is flat over the whole image and only costs time.
            let limit = 4.0 * frame.extent[0].max(frame.extent[1]);
            let (what, r) = (format!("radius of particle {i}"), dot.radius);
            if !(r >= 0.0 && (r <= limit || !frame.periodic) && r.is_finite()) {
                return Some((i, what, "finite, not negative, at most 4 sides of a periodic image", r));
            }
        }
        None
    };
    if let Some((_, what, expected, got)) = (0..count).into_par_iter().find_map_first(dots) {
        return Err(Error::Value { operation, what, expected, got: got.to_string() });
    }
    let [ny, nx] = frame.shape;
    let template = Brush::new(frame, method);
    // One over the sum of the weights of each kernel of many pixels, over all its pixels.
    let scale: Vec<f64> = match template.profile {
        None => Vec::new(),
        Some(profile) => (0..count)
            .into_par_iter()
            .map_init(Vec::new, |scratch, i| template.wide_scale(profile, &dot(i), scratch))
            .collect(),
    };
    let mut sums = vec![0.0; images * ny * nx];
    for (image, sums) in sums.chunks_mut(ny * nx).enumerate() {
        let here = |i: usize| Some(dot(i)).filter(|dot| dot.image == Some(image));
        let strips = Strips::new(ny, count, |i| template.rows_of(&here(i)?));
        let height = strips.height();
        sums.par_chunks_mut(height * nx).enumerate().for_each(|(strip, sums)| {
            let start = strip * height;
            let mut brush = Brush { rows: start..start + sums.len() / nx, ..Brush::new(frame, method) };
            for i in strips.particles(strip) {
                brush.lay(sums, &dot(i), scale.get(i).copied().unwrap_or(0.0));
            }
        });
    }
    Array3::from_shape_vec((images, ny, nx), sums).map_err(|e| Error::Value {
        operation,
        what: "the number of images".into(),
        expected: "one that fits in memory",
        got: e.to_string(),
    })
}

/// Lays particles on one strip of rows; holds the scratch space that saves an allocation for each.
struct Brush<'a> {
    frame: &'a Frame,
    scale: [f64; 2],
    scheme: Scheme,
    table: Option<&'static Quadrant>,
    profile: Option<&'static Profile>,
    wide: f64,
    arch: pulp::Arch,
    rows: Range<usize>,
    places: Vec<Place>,
    lines: [Vec<f64>; 2],
    weights: Vec<f32>,
}

/// Radius in pixels from which the weight of a pixel follows from the profile at its centre instead of the integral over it. Pixels
/// that are not square are sampled alone. The sphere's rim is too steep for that until its table is no finer than the pixels.
fn wide(method: Method, frame: &Frame) -> f64 {
    let [y, x] = frame.pixel();
    match method {
        Method::Sphere => 256.0,
        _ if (y / x - 1.0).abs() >= 1e-9 => 64.0,
        Method::WendlandC4 => 8.0,
        _ => 6.0,
    }
}

impl<'a> Brush<'a> {
    fn new(frame: &'a Frame, method: Method) -> Self {
        Self {
            frame,
            scale: frame.pixel().map(|p| 1.0 / p),
            scheme: method.scheme(),
            table: method.kernel().map(Kernel::quadrant),
            profile: method.kernel().map(Profile::of),
            wide: wide(method, frame),
            arch: pulp::Arch::new(),
            rows: 0..0,
            places: Vec::new(),
            lines: [Vec::new(), Vec::new()],
            weights: Vec::new(),
        }
    }

    /// Position and radius in pixels, `[y, x]`.
    fn in_pixels(&self, dot: &Dot) -> ([f64; 2], [f64; 2]) {
        let at = [0, 1].map(|i| (dot.at[i] - self.frame.origin[i]) * self.scale[i]);
        (at, [dot.radius * self.scale[0], dot.radius * self.scale[1]])
    }

    /// The signed rows that a particle touches; none outside an open image.
    fn rows_of(&self, dot: &Dot) -> Option<(i64, i64)> {
        let (at, radius) = self.in_pixels(dot);
        let (first, last) = match self.table {
            None => Weights::new(self.scheme, at[0] - 0.5).reach(),
            Some(_) => self.range(0, at[0], radius[0]),
        };
        let clipped = match self.frame.periodic {
            true => (first, last),
            false => (first.max(0), last.min(self.frame.shape[0] as i64 - 1)),
        };
        (clipped.0 <= clipped.1).then_some(clipped)
    }

    /// Lays one particle; `wide` is the scale of its samples, or zero.
    fn lay(&mut self, strip: &mut [f64], dot: &Dot, wide: f64) {
        let (at, radius) = self.in_pixels(dot);
        match (self.table, self.profile) {
            (Some(_), Some(profile)) if wide > 0.0 => {
                self.wide(profile, strip, at, radius, dot.mass * wide);
            }
            (Some(table), _) => self.kernel(table, strip, at, radius, dot.mass),
            _ => self.scheme(strip, at, dot.mass),
        }
    }

    /// Where a row begins in the strip, if it is one of its rows.
    fn row(&self, y: i64) -> Option<usize> {
        let y = wrapped(y, self.frame.shape[0]);
        self.rows.contains(&y).then(|| (y - self.rows.start) * self.frame.shape[1])
    }

    fn scheme(&self, strip: &mut [f64], at: [f64; 2], mass: f64) {
        let [ny, nx] = self.frame.shape;
        let inside = |i: i64, n: usize| self.frame.periodic || (0..n as i64).contains(&i);
        // Pixel centres lie at half-integers.
        let [wy, wx] = at.map(|p| Weights::new(self.scheme, p - 0.5));
        for (i, y) in wy.iter().filter(|(i, _)| inside(*i, ny)) {
            let Some(row) = self.row(i) else { continue };
            for (j, x) in wx.iter().filter(|(j, _)| inside(*j, nx)) {
                strip[row + wrapped(j, nx)] += mass * y * x;
            }
        }
    }

    /// The signed pixels that a kernel touches, cut to an open image.
    fn range(&self, axis: usize, at: f64, radius: f64) -> (i64, i64) {
        let (first, last) = ((at - radius).floor() as i64, (at + radius).floor() as i64);
        if self.frame.periodic {
            return (first, last);
        }
        (first.max(0), last.min(self.frame.shape[axis] as i64 - 1))
    }

    /// The exact mass of the kernel in each pixel, from its quadrant table.
    fn kernel(&mut self, table: &Quadrant, strip: &mut [f64], at: [f64; 2], radius: [f64; 2], mass: f64) {
        let nx = self.frame.shape[1];
        let ((y0, y1), (x0, x1)) = (self.range(0, at[0], radius[0]), self.range(1, at[1], radius[1]));
        if y0 > y1 || x0 > x1 {
            return;
        }
        let inside = |at: f64, r: f64, first: i64, last: i64| {
            first == last && at - r >= first as f64 && at + r <= (first + 1) as f64
        };
        if inside(at[0], radius[0], y0, y1) && inside(at[1], radius[1], x0, x1) {
            if let Some(row) = self.row(y0) {
                strip[row + wrapped(x0, nx)] += mass;
            }
            return;
        }
        let per_radius = radius.map(|r| 1.0 / r);
        let edge = |i: i64, axis: usize| Quadrant::place((i as f64 - at[axis]) * per_radius[axis]);
        self.places.clear();
        self.places.extend((x0..=x1 + 1).map(|i| edge(i, 1)));
        let width = self.places.len();
        self.lines.iter_mut().for_each(|line| line.resize(width.max(line.len()), 0.0));
        let start = wrapped(x0, nx);
        let mut made = None;
        for y in y0..=y1 {
            let Some(row) = self.row(y) else { continue };
            let [above, below] = &mut self.lines;
            match made {
                Some(last) if last == y => std::mem::swap(above, below),
                _ => table.line(edge(y, 0), &self.places, above),
            }
            table.line(edge(y + 1, 0), &self.places, below);
            made = Some(y + 1);
            let row = &mut strip[row..row + nx];
            let mut before = below[0] - above[0];
            let mut add = |row: &mut [f64], first: usize| {
                for (i, pixel) in row.iter_mut().enumerate() {
                    let here = below[first + i + 1] - above[first + i + 1];
                    // Rounding must leave no pixel below zero.
                    *pixel += mass * (here - before).max(0.0);
                    before = here;
                }
            };
            // The part up to the image's edge, and what is beyond it, which may go around more than once.
            let mut done = 0;
            let mut column = start;
            while done < width - 1 {
                let count = (width - 1 - done).min(nx - column);
                add(&mut row[column..column + count], done);
                (done, column) = (done + count, 0);
            }
        }
    }

    /// One over the sum of the weights of a kernel of many pixels, also those outside an open image; else zero.
    fn wide_scale(&self, profile: &Profile, dot: &Dot, scratch: &mut Vec<f32>) -> f64 {
        let (at, radius) = self.in_pixels(dot);
        if radius[0].min(radius[1]) < self.wide {
            return 0.0;
        }
        1.0 / self.arch.dispatch(|| profile.sum(at, radius, scratch))
    }

    /// A kernel of many pixels, its weights times `mass`, on the rows of this strip.
    fn wide(&mut self, profile: &Profile, strip: &mut [f64], at: [f64; 2], radius: [f64; 2], mass: f64) {
        let [ny, nx] = self.frame.shape;
        let (first, last) = self.range(0, at[0], radius[0]);
        let (rows, periodic, arch) = (self.rows.clone(), self.frame.periodic, self.arch);
        let scratch = &mut self.weights;
        arch.dispatch(|| {
            // The images of the strip that the kernel reaches.
            let turns =
                if periodic { first.div_euclid(ny as i64)..=last.div_euclid(ny as i64) } else { 0..=0 };
            for turn in turns {
                let offset = turn * ny as i64;
                let from = first.max(offset + rows.start as i64);
                let to = last.min(offset + rows.end as i64 - 1);
                profile.rows(at, radius, (from, to), scratch, |y, x, weights, count| {
                    let row = (y - offset - rows.start as i64) as usize * nx;
                    add(&mut strip[row..row + nx], x, &weights[..count], mass, periodic);
                });
            }
        });
    }
}

/// Adds weights times `mass` to a row from the signed pixel `x` on, around a periodic one or cut at the edges of an open one.
#[inline(always)]
fn add(row: &mut [f64], x: i64, mut weights: &[f32], mass: f64, periodic: bool) {
    let nx = row.len();
    let mut column = if periodic {
        wrapped(x, nx)
    } else {
        let skipped = usize::try_from(-x).unwrap_or(0).min(weights.len());
        weights = &weights[skipped..];
        let start = usize::try_from(x).unwrap_or(0).min(nx);
        weights = &weights[..weights.len().min(nx - start)];
        start
    };
    while !weights.is_empty() {
        let (here, rest) = weights.split_at(weights.len().min(nx - column));
        let pixels = &mut row[column..column + here.len()];
        pixels.iter_mut().zip(here).for_each(|(pixel, w)| *pixel += mass * f64::from(*w));
        (weights, column) = (rest, 0);
    }
}

//! Where particles land on an image: its frame, and a deposit that is the same at any number of threads.

use std::ops::Range;

use ndarray::Array3;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::assign::{Scheme, Weights, wrapped};
use crate::kernel::{Place, Quadrant};
use crate::smooth::{Profile, Sum};
use crate::strips::Strips;
use crate::tiles::{self, BLOCK, Cut, Placed, REACH, Sorted};
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
/// Kernels of moderate radius are laid on [tiles](crate::tiles), all else by strips of rows: every strip is summed by one thread,
/// in float64 and in the order of the particles, straight into the images. The sums are the same at any number of threads, and no
/// thread has an image of its own.
pub(crate) fn deposit(
    operation: &'static str,
    frame: &Frame,
    images: usize,
    method: Method,
    count: usize,
    dot: impl Fn(usize) -> Dot + Sync,
) -> Result<Array3<f64>> {
    frame.check(operation)?;
    let [ny, nx] = frame.shape;
    let mut all = Array3::zeros((images, ny, nx));
    let cut = Cut::new(frame.shape, frame.periodic);
    for (image, mut out) in all.outer_iter_mut().enumerate() {
        let sort = |block: usize| sort(operation, frame, &cut, method, image, block, count, &dot);
        let sorted: Vec<(Sorted, Vec<Dot>)> =
            (0..count.div_ceil(BLOCK)).into_par_iter().map(sort).collect::<Result<_>>()?;
        let (tiles, others): (Vec<_>, Vec<_>) = sorted.into_iter().unzip();
        if let Some(kernel) = method.kernel() {
            let brush = tiles::Brush {
                arch: pulp::Arch::new(),
                table: kernel.quadrant(),
                profile: Profile::of(kernel),
                wide: wide(method, frame),
                across: frame.pixel()[0] / frame.pixel()[1],
            };
            out.assign(&cut.lay(&tiles, &brush));
        }
        drop(tiles);
        let others: Vec<Dot> = others.into_iter().flatten().collect();
        if let Some(sums) = out.as_slice_mut().filter(|_| !others.is_empty()) {
            strips(frame, method, &others, sums);
        }
    }
    Ok(all)
}

/// Checks and sorts the particles of a block that one image sees: those of each tile, and those that are laid by strips. The first that is bad is the error of the first block that has one.
fn sort(
    operation: &'static str,
    frame: &Frame,
    cut: &Cut,
    method: Method,
    image: usize,
    block: usize,
    count: usize,
    dot: &impl Fn(usize) -> Dot,
) -> Result<(Sorted, Vec<Dot>)> {
    let value = |what: String, expected, got: f64| {
        Err(Error::Value { operation, what, expected, got: got.to_string() })
    };
    // Beyond this a kernel is flat over the whole image and only costs time.
    let limit = if frame.periodic { 4.0 * frame.extent[0].max(frame.extent[1]) } else { f64::MAX };
    let per_pixel = frame.pixel().map(|p| 1.0 / p);
    let is_kernel = method.needs_radii();
    let (mut found, mut others) =
        (Vec::with_capacity(if is_kernel { BLOCK.min(count) } else { 0 }), Vec::new());
    for i in block * BLOCK..((block + 1) * BLOCK).min(count) {
        let dot = dot(i);
        if let Some(x) = dot.at.into_iter().find(|x| !x.is_finite()) {
            return value(format!("position of particle {i}"), "finite", x);
        }
        if is_kernel && !(dot.radius >= 0.0 && dot.radius <= limit) {
            let expected = "finite, not negative, at most 4 sides of a periodic image";
            return value(format!("radius of particle {i}"), expected, dot.radius);
        }
        if dot.image != Some(image) {
            continue;
        }
        let radius = per_pixel.map(|s| dot.radius * s);
        if !is_kernel || radius[0].max(radius[1]) >= REACH {
            others.push(dot);
            continue;
        }
        let at = [0, 1].map(|a| (dot.at[a] - frame.origin[a]) * per_pixel[a]);
        let mut placed = Placed { at, radius: radius[0], mass: dot.mass };
        if let Some(tile) = cut.tile_of(&mut placed, radius) {
            found.push((tile as u32, placed));
        }
    }
    Ok((Sorted::new(cut.number(), &found), others))
}

/// Lays particles by strips of rows.
fn strips(frame: &Frame, method: Method, dots: &[Dot], sums: &mut [f64]) {
    let [ny, nx] = frame.shape;
    let template = Brush::new(frame, method);
    // One over the sum of the weights of each kernel of many pixels, over all its pixels.
    let scale: Vec<f64> = match template.profile {
        None => Vec::new(),
        Some(profile) => dots
            .par_iter()
            .map_init(Vec::new, |scratch, dot| template.wide_scale(profile, dot, scratch))
            .collect(),
    };
    let strips = Strips::new(ny, dots.len(), |i| template.rows_of(&dots[i]));
    let height = strips.height();
    sums.par_chunks_mut(height * nx).enumerate().for_each(|(strip, sums)| {
        let start = strip * height;
        let mut brush = Brush { rows: start..start + sums.len() / nx, ..Brush::new(frame, method) };
        for i in strips.particles(strip) {
            brush.lay(sums, &dots[i], scale.get(i).copied().unwrap_or(0.0));
        }
    });
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
            None => Weights::reach(self.scheme, at[0] - 0.5),
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
        1.0 / self.arch.dispatch(Sum { profile, at, radius, scratch })
    }

    /// A kernel of many pixels, its weights times `mass`, on the rows of this strip.
    fn wide(&mut self, profile: &Profile, strip: &mut [f64], at: [f64; 2], radius: [f64; 2], mass: f64) {
        let [ny, nx] = self.frame.shape;
        let (first, last) = self.range(0, at[0], radius[0]);
        let (rows, periodic, arch) = (self.rows.clone(), self.frame.periodic, self.arch);
        // The images of the strip that the kernel reaches.
        let turns = if periodic { first.div_euclid(ny as i64)..=last.div_euclid(ny as i64) } else { 0..=0 };
        for turn in turns {
            let offset = turn * ny as i64 + rows.start as i64;
            let range = (first.max(offset), last.min(offset + rows.len() as i64 - 1));
            let scratch = &mut self.weights;
            let strip = &mut *strip;
            arch.dispatch(Wide { profile, at, radius, range, offset, nx, mass, periodic, scratch, strip });
        }
    }
}

/// A kernel of many pixels on rows of a strip that begins with the row `offset`.
struct Wide<'a> {
    profile: &'a Profile,
    at: [f64; 2],
    radius: [f64; 2],
    range: (i64, i64),
    offset: i64,
    nx: usize,
    mass: f64,
    periodic: bool,
    scratch: &'a mut Vec<f32>,
    strip: &'a mut [f64],
}

impl Wide<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { profile, at, radius, range, offset, nx, mass, periodic, scratch, strip } = self;
        profile.rows::<FUSED>(at, radius, range, scratch, |y, x, from, to, weights| {
            let row = (y - offset) as usize * nx;
            // What is beyond the kernel is 0.
            add(&mut strip[row..row + nx], x, &weights[from..to], mass, periodic);
        });
    }
}

impl pulp::WithSimd for Wide<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        if S::IS_SCALAR { self.run::<false>() } else { self.run::<true>() }
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

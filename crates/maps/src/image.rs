//! Where particles land on an image: its frame, and a deposit that is the same at any number of threads.

use ndarray::Array3;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::assign::{Scheme, Weights};
use crate::kernel::{Place, Quadrant};
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
    /// The two-dimensional Wendland C2 kernel of the particle's radius.
    Wendland,
}

impl Method {
    /// Whether it needs a radius for every particle.
    pub fn needs_radii(self) -> bool {
        self.kernel().is_some()
    }

    pub(crate) fn kernel(self) -> Option<Kernel> {
        match self {
            Self::Sphere => Some(Kernel::UniformSphere),
            Self::Sph => Some(Kernel::CubicSpline),
            Self::Wendland => Some(Kernel::WendlandC2),
            Self::Ngp | Self::Cic | Self::Tsc | Self::Pcs => None,
        }
    }

    fn scheme(self) -> Scheme {
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
/// The particles are cut into blocks whose number depends on their count and on the images alone; every block fills
/// images of its own, in order, and these are added in order: the sums are the same at any number of threads.
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
    let pixels = frame.shape[0] * frame.shape[1];
    let stack = images * pixels;
    // At most 16 blocks, and at most 256 MiB of images.
    let blocks = (count / 8192).clamp(1, 16).min((1 << 25) / stack.max(1)).max(1);
    let size = count.div_ceil(blocks).max(1);
    let fill = |block: usize| {
        let mut sums = vec![0.0; stack];
        let mut brush = Brush::new(frame, method);
        for i in block * size..((block + 1) * size).min(count) {
            let dot = dot(i);
            if let Some(image) = dot.image {
                brush.lay(&mut sums[image * pixels..(image + 1) * pixels], &dot);
            }
        }
        sums
    };
    let parts: Vec<Vec<f64>> = (0..blocks).into_par_iter().map(fill).collect();
    let mut sums = vec![0.0; stack];
    sums.par_chunks_mut(4096).enumerate().for_each(|(c, out)| {
        for part in &parts {
            out.iter_mut().zip(&part[c * 4096..]).for_each(|(o, v)| *o += v);
        }
    });
    let [ny, nx] = frame.shape;
    Array3::from_shape_vec((images, ny, nx), sums).map_err(|e| Error::Value {
        operation,
        what: "the number of images".into(),
        expected: "one that fits in memory",
        got: e.to_string(),
    })
}

/// Lays particles on one image; holds the scratch space that saves an allocation for each.
struct Brush<'a> {
    frame: &'a Frame,
    scale: [f64; 2],
    scheme: Scheme,
    table: Option<&'static Quadrant>,
    wide: f64,
    places: Vec<Place>,
    lines: [Vec<f64>; 2],
}

/// Radius in pixels from which a kernel is sampled at pixel centres instead of integrated over pixels. The sphere's rim is
/// too steep for samples until its table is no finer than the pixels.
fn wide(method: Method) -> f64 {
    if method == Method::Sphere { 256.0 } else { 64.0 }
}

impl<'a> Brush<'a> {
    fn new(frame: &'a Frame, method: Method) -> Self {
        Self {
            frame,
            scale: frame.pixel().map(|p| 1.0 / p),
            scheme: method.scheme(),
            table: method.kernel().map(Kernel::quadrant),
            wide: wide(method),
            places: Vec::new(),
            lines: [Vec::new(), Vec::new()],
        }
    }

    fn lay(&mut self, image: &mut [f64], dot: &Dot) {
        let at = [0, 1].map(|i| (dot.at[i] - self.frame.origin[i]) * self.scale[i]);
        let radius = [dot.radius * self.scale[0], dot.radius * self.scale[1]];
        match self.table {
            None => self.scheme(image, at, dot.mass),
            Some(table) if radius[0].min(radius[1]) >= self.wide => {
                self.wide(table, image, at, radius, dot.mass)
            }
            Some(table) => self.kernel(table, image, at, radius, dot.mass),
        }
    }

    fn scheme(&self, image: &mut [f64], at: [f64; 2], mass: f64) {
        let nx = self.frame.shape[1];
        // Pixel centres lie at half-integers.
        let [wy, wx] = at.map(|p| Weights::new(self.scheme, p - 0.5));
        for (i, y) in wy.iter() {
            let Some(row) = self.index(0, i) else { continue };
            for (j, x) in wx.iter() {
                if let Some(column) = self.index(1, j) {
                    image[row * nx + column] += mass * y * x;
                }
            }
        }
    }

    /// The pixel of a signed index; none outside an open image.
    fn index(&self, axis: usize, i: i64) -> Option<usize> {
        let n = self.frame.shape[axis] as i64;
        if (0..n).contains(&i) {
            Some(i as usize)
        } else {
            self.frame.periodic.then(|| i.rem_euclid(n) as usize)
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
    fn kernel(&mut self, table: &Quadrant, image: &mut [f64], at: [f64; 2], radius: [f64; 2], mass: f64) {
        let nx = self.frame.shape[1];
        let ((y0, y1), (x0, x1)) = (self.range(0, at[0], radius[0]), self.range(1, at[1], radius[1]));
        if y0 > y1 || x0 > x1 {
            return;
        }
        let inside = |at: f64, r: f64, first: i64, last: i64| {
            first == last && at - r >= first as f64 && at + r <= (first + 1) as f64
        };
        if inside(at[0], radius[0], y0, y1) && inside(at[1], radius[1], x0, x1) {
            if let (Some(y), Some(x)) = (self.index(0, y0), self.index(1, x0)) {
                image[y * nx + x] += mass;
            }
            return;
        }
        let edge = |i: i64, axis: usize| Quadrant::place((i as f64 - at[axis]) / radius[axis]);
        self.places.clear();
        self.places.extend((x0..=x1 + 1).map(|i| edge(i, 1)));
        let width = self.places.len();
        self.lines.iter_mut().for_each(|line| line.resize(width.max(line.len()), 0.0));
        let [above, below] = &mut self.lines;
        table.line(edge(y0, 0), &self.places, above);
        let start = x0.rem_euclid(nx as i64) as usize;
        for y in y0..=y1 {
            table.line(edge(y + 1, 0), &self.places, below);
            let row = y.rem_euclid(self.frame.shape[0] as i64) as usize;
            let row = &mut image[row * nx..(row + 1) * nx];
            let mut column = start;
            for i in 0..width - 1 {
                row[column] += mass * ((below[i + 1] - below[i]) - (above[i + 1] - above[i]));
                column = if column + 1 == nx { 0 } else { column + 1 };
            }
            std::mem::swap(above, below);
        }
    }

    /// The kernel at pixel centres, normalised over all its pixels, also those outside an open image.
    fn wide(&mut self, table: &Quadrant, image: &mut [f64], at: [f64; 2], radius: [f64; 2], mass: f64) {
        let nx = self.frame.shape[1];
        let squared = |i: i64, axis: usize| ((i as f64 + 0.5 - at[axis]) / radius[axis]).powi(2);
        let whole = |axis: usize| {
            let (at, r) = (at[axis], radius[axis]);
            (at - r).floor() as i64..=(at + r).floor() as i64
        };
        let sum: f64 = whole(0)
            .map(|y| {
                let dy = squared(y, 0);
                whole(1).map(|x| table.sample(dy + squared(x, 1))).sum::<f64>()
            })
            .sum();
        let ((y0, y1), (x0, x1)) = (self.range(0, at[0], radius[0]), self.range(1, at[1], radius[1]));
        for y in y0..=y1 {
            let dy = squared(y, 0);
            let row = y.rem_euclid(self.frame.shape[0] as i64) as usize;
            let mut column = x0.rem_euclid(nx as i64) as usize;
            for x in x0..=x1 {
                image[row * nx + column] += mass / sum * table.sample(dy + squared(x, 1));
                column = if column + 1 == nx { 0 } else { column + 1 };
            }
        }
    }
}

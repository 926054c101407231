//! Density cubes of particles: mesh assignment, spheres and SPH kernels in three dimensions.

use halocast_core::{Cube, Unit};
use ndarray::Array3;
use rayon::prelude::*;

use crate::assign::{Weights, wrapped};
use crate::ball::Ball;
use crate::kernel::Quadrant;
use crate::octant::{CELLS, Octant};
use crate::strips::Strips;
use crate::{Error, Kernel, Masses, Method, Result};

const OPERATION: &str = "projection to a cube";

/// How a kernel's mass in a cell is found.
#[derive(Clone, Copy)]
enum Shape {
    /// In closed form.
    Ball,
    /// From a table of its integral, below this radius in cells; above it from the density at the cell's centre and its Laplacian.
    Smooth { kernel: Kernel, table: &'static Octant, wide: f64 },
}

impl Shape {
    /// None for a kernel that lives in the plane.
    fn new(kernel: Kernel, cubic_cells: bool) -> Option<Self> {
        if kernel == Kernel::UniformSphere {
            return Some(Self::Ball);
        }
        // The mean over a cube is f + h^2/24 Laplacian(f) + O(h^4); cells that are no cubes are sampled alone.
        let wide = match kernel {
            _ if !cubic_cells => 40.0,
            Kernel::WendlandC4 => 10.0,
            _ => 8.0,
        };
        Octant::of(kernel).map(|table| Self::Smooth { kernel, table, wide })
    }
}

/// The cells of a cube: where its corner lies, how large they are, whether opposite faces meet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Volume {
    /// Cells along `[x, y, z]`.
    pub shape: [usize; 3],
    /// The lower corner, `[x, y, z]`, in Mpc/h.
    pub origin: [f64; 3],
    /// The sides, `[x, y, z]`, in Mpc/h.
    pub sides: [f64; 3],
    /// Whether opposite faces meet. In an open volume only the part of each kernel inside it is laid down.
    pub periodic: bool,
}

impl Volume {
    /// A whole periodic box of side `side` Mpc/h on `grid`^3 cells.
    pub fn periodic_box(grid: usize, side: f64) -> Self {
        Self { shape: [grid; 3], origin: [0.0; 3], sides: [side; 3], periodic: true }
    }
}

/// The density of particles in (Msun/h) / (Mpc/h)^3, from positions in Mpc/h and masses in Msun/h.
///
/// Every method conserves mass at any ratio of radius to cell. A sphere's mass in a cell is its volume in closed form; that of another
/// kernel is a difference of its tabulated integral over boxes, or for kernels of eight cells or more (ten for Wendland C4) the
/// mean over the cell by the density and its Laplacian at the centre, normalised. `radii` are radii of support. Memory: the cube
/// in f32 and a strip of planes in f64 a thread. O(cells in kernels).
///
/// ```
/// use halocast_maps::{Masses, Method, Volume, project_cube};
/// let volume = Volume::periodic_box(8, 4.0);
/// let cube = project_cube("Mgas", &[[0.1, 2.0, 3.9]], Masses::Equal(5.0), Some(&[0.8]), &volume, Method::Sph)?;
/// let mass = cube.values.iter().map(|&v| f64::from(v)).sum::<f64>() * 0.125;
/// assert!((mass - 5.0).abs() < 1e-6);
/// # Ok::<(), halocast_maps::Error>(())
/// ```
///
/// # Errors
/// [`Error::Length`] for masses or radii of another number; [`Error::Value`] for [`Method::Wendland`], which lives in the
/// plane, an absurd volume, radii that a method needs and are not given, or a number that is not finite, naming the particle.
pub fn project_cube<T: Copy + Into<f64> + Sync>(
    field: &str,
    positions: &[[T; 3]],
    masses: Masses<'_>,
    radii: Option<&[f64]>,
    volume: &Volume,
    method: Method,
) -> Result<Cube> {
    let shape_of_kernel = check(positions, masses, radii, volume, method)?;
    let Volume { shape: [nx, ny, nz], origin, sides, periodic } = *volume;
    let shape = [nx, ny, nz];
    let per_cell: [f64; 3] = std::array::from_fn(|a| shape[a] as f64 / sides[a]);
    let at = |i: usize| -> [f64; 3] {
        let p: [f64; 3] = positions[i].map(Into::into);
        std::array::from_fn(|a| (p[a] - origin[a]) * per_cell[a])
    };
    let radius = |i: usize| -> [f64; 3] { per_cell.map(|s| radii.map_or(0.0, |r| r[i]) * s) };
    let grid = Grid { shape, periodic };
    let scheme = method.scheme();
    // One over the sum of the weights of each kernel of many cells, over all its cells.
    let scale: Vec<f64> = match shape_of_kernel {
        Some(Shape::Smooth { kernel, wide, .. }) => (0..positions.len())
            .into_par_iter()
            .map(|i| {
                let radius = radius(i);
                if radius.iter().all(|r| *r >= wide) { 1.0 / sample_sum(kernel, at(i), radius) } else { 0.0 }
            })
            .collect(),
        _ => Vec::new(),
    };
    let reach = |i: usize| {
        let planes = match shape_of_kernel {
            None => Weights::reach(scheme, at(i)[0] - 0.5),
            Some(_) => ((at(i)[0] - radius(i)[0]).floor() as i64, (at(i)[0] + radius(i)[0]).floor() as i64),
        };
        grid.clip(0, planes)
    };
    let strips = Strips::new(nx, positions.len(), reach);
    let height = strips.height();
    let per_volume = per_cell.iter().product::<f64>();
    let mut out = vec![0f32; nx * ny * nz];
    out.par_chunks_mut(height * ny * nz).enumerate().for_each(|(strip, out)| {
        let start = strip * height;
        let mut brush = Brush {
            grid,
            planes: start..start + out.len() / (ny * nz),
            sums: vec![0.0; out.len()],
            ..Default::default()
        };
        for i in strips.particles(strip) {
            let (at, radius, mass) = (at(i), radius(i), masses.of(i));
            match shape_of_kernel {
                None => brush.scheme(at.map(|p| Weights::new(scheme, p - 0.5)), mass),
                Some(Shape::Smooth { kernel, .. }) if scale[i] > 0.0 => {
                    brush.wide(kernel, at, radius, mass * scale[i]);
                }
                Some(Shape::Smooth { table, .. }) => brush.kernel(Some(table), at, radius, mass),
                Some(Shape::Ball) => brush.kernel(None, at, radius, mass),
            }
        }
        out.iter_mut().zip(brush.sums).for_each(|(o, s)| *o = (s * per_volume) as f32);
    });
    let values = Array3::from_shape_vec((nx, ny, nz), out)
        .map_err(|e| value("the shape".into(), "one that fits in memory", e.to_string()))?;
    let length_unit = Unit::mpc_h();
    let cgs = Unit::msun_h().to_cgs / length_unit.to_cgs.powi(3);
    let unit = Unit::new("(Msun/h)/(Mpc/h)^3", cgs, -3.0, 2.0);
    Ok(Cube { values, extent: sides, length_unit, unit, field: field.to_owned(), periodic })
}

fn value(what: String, expected: &'static str, got: String) -> Error {
    Error::Value { operation: OPERATION, what, expected, got }
}

fn check<T: Copy + Into<f64> + Sync>(
    positions: &[[T; 3]],
    masses: Masses<'_>,
    radii: Option<&[f64]>,
    volume: &Volume,
    method: Method,
) -> Result<Option<Shape>> {
    if volume.shape.contains(&0) {
        let got = format!("{:?}", volume.shape);
        return Err(value("the number of cells".into(), "at least 1 along each axis", got));
    }
    if let Some(side) = volume.sides.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
        return Err(value("side of the volume".into(), "finite and positive", side.to_string()));
    }
    masses.check(OPERATION, positions.len())?;
    let finite = |p: &[T; 3]| p.iter().all(|&x| x.into().is_finite());
    if let Some(i) = positions.par_iter().position_first(|p| !finite(p)) {
        let got = format!("{:?}", positions[i].map(Into::into));
        return Err(value(format!("position of particle {i}"), "finite", got));
    }
    if !method.needs_radii() {
        return Ok(None);
    }
    let cell: [f64; 3] = std::array::from_fn(|a| volume.sides[a] / volume.shape[a] as f64);
    let cubic = cell.iter().all(|c| (c / cell[0] - 1.0).abs() < 1e-9);
    let shape = method.kernel().and_then(|kernel| Shape::new(kernel, cubic)).ok_or_else(|| {
        value("the method".into(), "one whose kernel lives in space", format!("{method:?}"))
    })?;
    let Some(radii) = radii else {
        return Err(value("the particles' radii".into(), "given, for a method with a kernel", "none".into()));
    };
    if radii.len() != positions.len() {
        let (what, expected, got) = ("the radii", positions.len(), radii.len());
        return Err(Error::Length { operation: OPERATION, what, expected, got });
    }
    // Beyond this a kernel is flat over the whole box and only costs time.
    let limit = 2.0 * volume.sides.iter().fold(0.0f64, |m, s| m.max(*s));
    let good = |r: f64| r.is_finite() && r >= 0.0 && (r <= limit || !volume.periodic);
    if let Some(i) = radii.par_iter().position_first(|r| !good(*r)) {
        let expected = "finite, not negative, at most 2 sides of a periodic volume";
        return Err(value(format!("radius of particle {i}"), expected, radii[i].to_string()));
    }
    Ok(Some(shape))
}

#[derive(Clone, Copy, Default)]
struct Grid {
    shape: [usize; 3],
    periodic: bool,
}

impl Grid {
    /// The cells of a range along an axis that are in the grid; all of them in a periodic one.
    fn clip(&self, axis: usize, (first, last): (i64, i64)) -> Option<(i64, i64)> {
        if self.periodic {
            return Some((first, last));
        }
        let range = (first.max(0), last.min(self.shape[axis] as i64 - 1));
        (range.0 <= range.1).then_some(range)
    }

    /// The same for the cells a kernel touches.
    fn range(&self, axis: usize, at: f64, radius: f64) -> Option<(i64, i64)> {
        self.clip(axis, ((at - radius).floor() as i64, (at + radius).floor() as i64))
    }
}

/// Lays particles on one strip of planes.
#[derive(Default)]
struct Brush {
    grid: Grid,
    planes: std::ops::Range<usize>,
    sums: Vec<f64>,
    places: [Vec<crate::kernel::Place>; 2],
    ball: Ball,
    faces: [Vec<f64>; 2],
}

impl Brush {
    /// Where a plane begins in the strip, if it is one of its planes.
    fn plane(&self, x: i64) -> Option<usize> {
        let x = wrapped(x, self.grid.shape[0]);
        self.planes.contains(&x).then(|| (x - self.planes.start) * self.grid.shape[1] * self.grid.shape[2])
    }

    fn scheme(&mut self, [wx, wy, wz]: [Weights; 3], mass: f64) {
        let [nx, ny, nz] = self.grid.shape;
        let inside = |i: i64, n: usize| self.grid.periodic || (0..n as i64).contains(&i);
        for (x, a) in wx.iter().filter(|(x, _)| inside(*x, nx)) {
            let Some(plane) = self.plane(x) else { continue };
            for (y, b) in wy.iter().filter(|(y, _)| inside(*y, ny)) {
                let row = plane + wrapped(y, ny) * nz;
                for (z, c) in wz.iter().filter(|(z, _)| inside(*z, nz)) {
                    self.sums[row + wrapped(z, nz)] += mass * a * b * c;
                }
            }
        }
    }

    /// The mass of the kernel in each cell, a difference of its integral over boxes: from its table, or a ball's in closed form.
    fn kernel(&mut self, table: Option<&Octant>, at: [f64; 3], radius: [f64; 3], mass: f64) {
        let [_, ny, nz] = self.grid.shape;
        let range = |axis: usize| self.grid.range(axis, at[axis], radius[axis]);
        let (Some(xs), Some(ys), Some(zs)) = (range(0), range(1), range(2)) else { return };
        let whole = |axis: usize, (first, last): (i64, i64)| {
            let (low, high) = (at[axis] - radius[axis], at[axis] + radius[axis]);
            first == last && low >= first as f64 && high <= (first + 1) as f64
        };
        if whole(0, xs) && whole(1, ys) && whole(2, zs) {
            if let Some(plane) = self.plane(xs.0) {
                self.sums[plane + wrapped(ys.0, ny) * nz + wrapped(zs.0, nz)] += mass;
            }
            return;
        }
        let distance = |i: i64, axis: usize| (i as f64 - at[axis]) / radius[axis];
        let edge = |i: i64, axis: usize| Quadrant::place_on(distance(i, axis), CELLS);
        for (places, (axis, (first, last))) in self.places.iter_mut().zip([(1, ys), (2, zs)]) {
            places.clear();
            places.extend((first..=last + 1).map(|i| edge(i, axis)));
        }
        if table.is_none() {
            let along =
                |axis: usize, (first, last): (i64, i64)| (first..=last + 1).map(move |i| distance(i, axis));
            self.ball.place([along(0, xs), along(1, ys), along(2, zs)]);
        }
        let width = self.places[1].len();
        let mut made = None;
        for x in xs.0..=xs.1 {
            let Some(plane) = self.plane(x) else { continue };
            let (places, ball) = (&self.places, &self.ball);
            let face = |x: i64, out: &mut Vec<f64>| match table {
                Some(table) => table.plane(edge(x, 0), &places[0], &places[1], out),
                None => ball.plane((x - xs.0) as usize, out),
            };
            let [near, far] = &mut self.faces;
            match made {
                Some(last) if last == x => std::mem::swap(near, far),
                _ => face(x, near),
            }
            face(x + 1, far);
            made = Some(x + 1);
            for (j, y) in (ys.0..=ys.1).enumerate() {
                let row = plane + wrapped(y, ny) * nz;
                let row = &mut self.sums[row..row + nz];
                let [near, far] = [&self.faces[0], &self.faces[1]].map(|face| {
                    let line = &face[j * width..(j + 2) * width];
                    line.split_at(width)
                });
                let mut column = wrapped(zs.0, nz);
                for k in 0..width - 1 {
                    let square =
                        |(low, high): (&[f64], &[f64])| (high[k + 1] - high[k]) - (low[k + 1] - low[k]);
                    // Rounding must leave no cell below zero.
                    row[column] += mass * (square(far) - square(near)).max(0.0);
                    column = if column + 1 == nz { 0 } else { column + 1 };
                }
            }
        }
    }

    /// A kernel of many cells, times `mass`.
    fn wide(&mut self, kernel: Kernel, at: [f64; 3], radius: [f64; 3], mass: f64) {
        let [_, ny, nz] = self.grid.shape;
        let range = |axis: usize| self.grid.range(axis, at[axis], radius[axis]);
        let (Some(xs), Some(ys), Some(zs)) = (range(0), range(1), range(2)) else { return };
        for x in xs.0..=xs.1 {
            let Some(plane) = self.plane(x) else { continue };
            for y in ys.0..=ys.1 {
                let row = plane + wrapped(y, ny) * nz;
                for z in zs.0..=zs.1 {
                    self.sums[row + wrapped(z, nz)] += mass * sample(kernel, [x, y, z], at, radius);
                }
            }
        }
    }
}

/// The mean density of a kernel of unit radius over a cell, by the value and the Laplacian at its centre; of cells that are no cubes
/// the value.
fn sample(kernel: Kernel, cell: [i64; 3], at: [f64; 3], radius: [f64; 3]) -> f64 {
    let u: [f64; 3] = std::array::from_fn(|a| (cell[a] as f64 + 0.5 - at[a]) / radius[a]);
    let q = u.iter().map(|u| u * u).sum::<f64>().sqrt();
    let cubic = radius.iter().all(|r| (r / radius[0] - 1.0).abs() < 1e-9);
    let curved = if cubic { kernel.density_laplacian(q) / (24.0 * radius[0] * radius[0]) } else { 0.0 };
    (kernel.density(q).unwrap_or(0.0) + curved).max(0.0)
}

fn sample_sum(kernel: Kernel, at: [f64; 3], radius: [f64; 3]) -> f64 {
    let range = |a: usize| (at[a] - radius[a]).floor() as i64..=(at[a] + radius[a]).floor() as i64;
    let mut sum = 0.0;
    for x in range(0) {
        for y in range(1) {
            for z in range(2) {
                sum += sample(kernel, [x, y, z], at, radius);
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests;

//! Density cubes of particles: mesh assignment, spheres and SPH kernels in three dimensions.

use halocast_core::{Cube, Unit};
use ndarray::Array3;
use rayon::prelude::*;

use crate::assign::{Weights, wrapped};
use crate::kernel::Quadrant;
use crate::octant::{CELLS, Octant, SPHERE, half_space};
use crate::strips::Strips;
use crate::{Error, Kernel, Masses, Method, Result};

const OPERATION: &str = "projection to a cube";

/// Radius in cells from which a kernel is sampled at cell centres instead of integrated over cells.
const WIDE: f64 = 40.0;

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
/// Every method conserves mass at any ratio of radius to cell: the kernel's mass in a cell is a difference of its tabulated
/// integral over boxes. Kernels of 40 cells or more in radius are sampled at cell centres and normalised; of such spheres the
/// cells at the rim get the share that the tangent plane leaves them. `radii` are radii of support. Memory: the cube in f32
/// and a strip of planes in f64 a thread. O(cells in kernels).
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
    let table = check(positions, masses, radii, volume, method)?;
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
    let is_wide = |r: [f64; 3]| table.is_some() && r.iter().all(|r| *r >= WIDE);
    let kernel = method.kernel().unwrap_or_default();
    // One over the sum of the samples of each wide kernel, over all its cells.
    let scale: Vec<f64> = match table {
        None => Vec::new(),
        Some(_) => (0..positions.len())
            .into_par_iter()
            .map(|i| if is_wide(radius(i)) { 1.0 / sample_sum(kernel, at(i), radius(i)) } else { 0.0 })
            .collect(),
    };
    let reach = |i: usize| {
        let planes = match table {
            None => Weights::new(scheme, at(i)[0] - 0.5).reach(),
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
            match table {
                None => brush.scheme(at.map(|p| Weights::new(scheme, p - 0.5)), mass),
                Some(_) if scale[i] > 0.0 => brush.wide(kernel, at, radius, mass * scale[i]),
                Some(table) => brush.kernel(table, at, radius, mass),
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
) -> Result<Option<&'static Octant>> {
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
    let table = Octant::of(method).ok_or_else(|| {
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
    Ok(Some(table))
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

    /// The exact mass of the kernel in each cell, from its octant table.
    fn kernel(&mut self, table: &Octant, at: [f64; 3], radius: [f64; 3], mass: f64) {
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
        let edge = |i: i64, axis: usize| Quadrant::place_on((i as f64 - at[axis]) / radius[axis], CELLS);
        for (places, (axis, (first, last))) in self.places.iter_mut().zip([(1, ys), (2, zs)]) {
            places.clear();
            places.extend((first..=last + 1).map(|i| edge(i, axis)));
        }
        let width = self.places[1].len();
        let mut made = None;
        for x in xs.0..=xs.1 {
            let Some(plane) = self.plane(x) else { continue };
            let [near, far] = &mut self.faces;
            match made {
                Some(last) if last == x => std::mem::swap(near, far),
                _ => table.plane(edge(x, 0), &self.places[0], &self.places[1], near),
            }
            table.plane(edge(x + 1, 0), &self.places[0], &self.places[1], far);
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

    /// The kernel at cell centres, times `mass`.
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

/// The density of a kernel of unit radius at a cell's centre; at the rim of a sphere the mean over the cell.
fn sample(kernel: Kernel, cell: [i64; 3], at: [f64; 3], radius: [f64; 3]) -> f64 {
    let u: [f64; 3] = std::array::from_fn(|a| (cell[a] as f64 + 0.5 - at[a]) / radius[a]);
    let q = u.iter().map(|u| u * u).sum::<f64>().sqrt();
    if kernel != Kernel::UniformSphere {
        return kernel.density(q).unwrap_or(0.0);
    }
    let gradient: [f64; 3] = std::array::from_fn(|a| u[a] / (q.max(f64::MIN_POSITIVE) * radius[a]));
    let steepness = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
    // No point of a cell is farther than this from its centre.
    if (1.0 - q).abs() > 0.87 * steepness {
        return if q < 1.0 { SPHERE } else { 0.0 };
    }
    SPHERE * half_space((1.0 - q) / steepness, gradient.map(|g| g / steepness))
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

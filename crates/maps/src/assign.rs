//! Mass assignment to a grid in two and three dimensions: NGP, CIC, TSC, PCS.

use ndarray::{Array2, Array3};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::layers::{self, Plane};
use crate::strips::Strips;
use crate::{Error, Masses, Result};

/// The shape of the cloud that a particle is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Nearest grid point: one cell.
    Ngp,
    /// Cloud in cell: two cells an axis.
    #[default]
    Cic,
    /// Triangular-shaped cloud: three cells an axis.
    Tsc,
    /// Piecewise cubic spline: four cells an axis.
    Pcs,
}

/// Where the values of a grid of n cells over a side L sit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Centring {
    /// At (i + 1/2) L / n: a value belongs to a cell, as the pixels of maps do.
    #[default]
    Cell,
    /// At i L / n, as in Pylians. The spectrum differs by a phase alone.
    Node,
}

impl Centring {
    /// The position of the first point in units of the spacing.
    pub(crate) fn offset(self) -> f64 {
        match self {
            Self::Cell => 0.5,
            Self::Node => 0.0,
        }
    }
}

/// The largest whole number that is not above `p`, without a call of the mathematics library where it is not huge.
#[inline(always)]
pub(crate) fn floor(p: f64) -> (i64, f64) {
    if p.abs() < 1e15 {
        let (whole, near) = (p as i64, (p as i64) as f64);
        if near > p { (whole - 1, near - 1.0) } else { (whole, near) }
    } else {
        (p.floor() as i64, p.floor())
    }
}

/// The weights of one axis: up to four neighbouring grid points and what each gets.
#[derive(Clone, Copy)]
pub(crate) struct Weights {
    first: i64,
    count: usize,
    weight: [f64; 4],
}

impl Weights {
    /// Of the position `p` in units of the grid, whose points lie at integers.
    #[inline(always)]
    pub(crate) fn new(scheme: Scheme, p: f64) -> Self {
        match scheme {
            Scheme::Ngp => Self { first: floor(p + 0.5).0, count: 1, weight: [1.0, 0.0, 0.0, 0.0] },
            Scheme::Cic => {
                let (first, below) = floor(p);
                let u = p - below;
                Self { first, count: 2, weight: [1.0 - u, u, 0.0, 0.0] }
            }
            Scheme::Tsc => {
                let (nearest, below) = floor(p + 0.5);
                let u = p - below;
                let weight = [0.5 * (0.5 - u).powi(2), 0.75 - u * u, 0.5 * (0.5 + u).powi(2), 0.0];
                Self { first: nearest.saturating_sub(1), count: 3, weight }
            }
            Scheme::Pcs => {
                let (first, below) = floor(p);
                let (u, v) = (p - below, 1.0 - (p - below));
                let near = |s: f64| (4.0 - 6.0 * s * s + 3.0 * s.powi(3)) / 6.0;
                let weight = [v.powi(3) / 6.0, near(u), near(v), u.powi(3) / 6.0];
                Self { first: first.saturating_sub(1), count: 4, weight }
            }
        }
    }

    /// The first and the last point of the position `p`.
    #[inline]
    pub(crate) fn reach(scheme: Scheme, p: f64) -> (i64, i64) {
        let (before, count) = match scheme {
            Scheme::Ngp => (floor(p + 0.5).0, 1),
            Scheme::Cic => (floor(p).0, 2),
            Scheme::Tsc => (floor(p + 0.5).0.saturating_sub(1), 3),
            Scheme::Pcs => (floor(p).0.saturating_sub(1), 4),
        };
        (before, before.saturating_add(count - 1))
    }

    /// The n-th point and its weight.
    #[inline(always)]
    pub(crate) fn nth(&self, n: usize) -> (i64, f64) {
        (self.first + n as i64, self.weight[n])
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, f64)> + '_ {
        (0..self.count).map(|i| (self.first + i as i64, self.weight[i]))
    }
}

/// Mass on a periodic grid `[x, y]` of `shape` points over a square of side `side`, from positions `[x, y]`.
///
/// Sums are in float64 and the same at any number of threads: in the order of the particles or, where these outnumber the cells,
/// in that order within equal shares of them, which are added in theirs. O(particles + cells).
///
/// ```
/// use halocast_maps::{Centring, Masses, Scheme, assign_2d};
/// // Half way between two cell centres along x, on one along y.
/// let grid = assign_2d(&[[2.0, 0.5]], Masses::Equal(4.0), [4, 4], 4.0, Scheme::Cic, Centring::Cell)?;
/// assert_eq!((grid[[1, 0]], grid[[2, 0]]), (2.0, 2.0));
/// # Ok::<(), halocast_maps::Error>(())
/// ```
///
/// # Errors
/// [`Error::Length`] for masses of another number; [`Error::Value`] for an empty grid, an absurd side, or a position or
/// mass that is not finite, naming the particle.
pub fn assign_2d<T: Copy + Into<f64> + Sync>(
    positions: &[[T; 2]],
    masses: Masses<'_>,
    shape: [usize; 2],
    side: f64,
    scheme: Scheme,
    centring: Centring,
) -> Result<Array2<f32>> {
    let at = |i: usize| [positions[i][0].into(), positions[i][1].into(), 0.0];
    let grid = [shape[0], shape[1], 1];
    check(positions.len(), masses, grid, side)?;
    let layers = layers::number(positions.len(), shape[0] * shape[1]);
    let values = if layers > 1 {
        let plane = Plane { shape, scale: shape.map(|n| n as f64 / side), scheme, centring };
        match plane.assign(positions, masses, layers) {
            Some(values) => values,
            None => return check_positions(positions.len(), at).map(|()| Array2::zeros(shape)),
        }
    } else {
        assign(positions.len(), at, masses, grid, [side, side, f64::INFINITY], scheme, centring)?
    };
    into_shape(Array2::from_shape_vec((shape[0], shape[1]), values))
}

/// Mass on a periodic grid `[x, y, z]` of `shape` points over a cube of side `side`; as [`assign_2d`].
///
/// # Errors
/// As [`assign_2d`].
pub fn assign_3d<T: Copy + Into<f64> + Sync>(
    positions: &[[T; 3]],
    masses: Masses<'_>,
    shape: [usize; 3],
    side: f64,
    scheme: Scheme,
    centring: Centring,
) -> Result<Array3<f32>> {
    let at = |i: usize| positions[i].map(Into::into);
    check(positions.len(), masses, shape, side)?;
    let values = assign(positions.len(), at, masses, shape, [side; 3], scheme, centring)?;
    into_shape(Array3::from_shape_vec((shape[0], shape[1], shape[2]), values))
}

fn into_shape<A>(array: std::result::Result<A, ndarray::ShapeError>) -> Result<A> {
    array.map_err(|e| Error::Value {
        operation: OPERATION,
        what: "the shape".into(),
        expected: "one that fits in memory",
        got: e.to_string(),
    })
}

const OPERATION: &str = "mass assignment";

/// The index of a signed index on a periodic axis; most lie inside, and a division is dear.
#[inline]
pub(crate) fn wrapped(i: i64, n: usize) -> usize {
    if (i as u64) < n as u64 { i as usize } else { i.rem_euclid(n as i64) as usize }
}

fn value<T>(what: String, expected: &'static str, got: String) -> Result<T> {
    Err(Error::Value { operation: OPERATION, what, expected, got })
}

fn check(count: usize, masses: Masses<'_>, shape: [usize; 3], side: f64) -> Result<()> {
    if shape.contains(&0) {
        return value("the number of cells".into(), "at least 1 along each axis", format!("{shape:?}"));
    }
    if !(side.is_finite() && side > 0.0) {
        return value("side of the box".into(), "finite and positive", side.to_string());
    }
    masses.check(OPERATION, count)
}

/// Names the first particle whose position is not finite, if there is one.
fn check_positions(count: usize, at: impl Fn(usize) -> [f64; 3] + Sync) -> Result<()> {
    let bad = (0..count).into_par_iter().find_first(|&i| at(i).iter().any(|x| !x.is_finite()));
    bad.map_or(Ok(()), |i| value(format!("position of particle {i}"), "finite", format!("{:?}", at(i))))
}

/// Every strip of whole planes along x is summed by one thread in the order of the particles, in float64.
///
/// A side of infinity means that the axis is not there.
fn assign(
    count: usize,
    at: impl Fn(usize) -> [f64; 3] + Sync,
    masses: Masses<'_>,
    shape: [usize; 3],
    side: [f64; 3],
    scheme: Scheme,
    centring: Centring,
) -> Result<Vec<f32>> {
    check_positions(count, &at)?;
    let [nx, ny, nz] = shape;
    let scale: [f64; 3] = std::array::from_fn(|i| shape[i] as f64 / side[i]);
    let flat = !side[2].is_finite();
    let one = Weights { first: 0, count: 1, weight: [1.0, 0.0, 0.0, 0.0] };
    let offset = centring.offset();
    let strips = Strips::new(nx, count, |i| Some(Weights::reach(scheme, at(i)[0] * scale[0] - offset)));
    let height = strips.height();
    let mut out = vec![0f32; nx * ny * nz];
    out.par_chunks_mut(height * ny * nz).enumerate().for_each(|(strip, out)| {
        let mut sums = vec![0f64; out.len()];
        let planes = strip * height..strip * height + out.len() / (ny * nz);
        for i in strips.particles(strip) {
            let (place, mass) = (at(i), masses.of(i));
            let along = |axis: usize| Weights::new(scheme, place[axis] * scale[axis] - offset);
            let (wx, wy, wz) = (along(0), along(1), if flat { one } else { along(2) });
            for (x, weight_x) in wx.iter() {
                let x = wrapped(x, nx);
                if !planes.contains(&x) {
                    continue;
                }
                for (y, weight_y) in wy.iter() {
                    let row = ((x - planes.start) * ny + wrapped(y, ny)) * nz;
                    let weight = mass * weight_x * weight_y;
                    for (z, weight_z) in wz.iter() {
                        sums[row + wrapped(z, nz)] += weight * weight_z;
                    }
                }
            }
        }
        out.iter_mut().zip(sums).for_each(|(o, s)| *o = s as f32);
    });
    Ok(out)
}

#[cfg(test)]
mod tests {
    use halocast_core::Rng;

    use super::*;

    const ALL: [Scheme; 4] = [Scheme::Ngp, Scheme::Cic, Scheme::Tsc, Scheme::Pcs];

    fn points(count: usize, side: f64) -> Vec<[f64; 3]> {
        let mut rng = Rng::new(1);
        (0..count).map(|_| std::array::from_fn(|_| side * (2.0 * rng.uniform() - 0.5))).collect()
    }

    #[test]
    fn weights_sum_to_one_and_keep_the_centre_of_mass() {
        for scheme in ALL {
            for p in [-3.7, -0.5, 0.0, 0.25, 0.5, 0.999, 12.3] {
                let w = Weights::new(scheme, p);
                assert!((w.iter().map(|(_, w)| w).sum::<f64>() - 1.0).abs() < 1e-14);
                let centre: f64 = w.iter().map(|(i, w)| i as f64 * w).sum();
                let limit = if scheme == Scheme::Ngp { 0.5 } else { 1e-12 };
                assert!((centre - p).abs() <= limit, "{scheme:?} {p} {centre}");
            }
        }
    }

    #[test]
    fn a_uniform_lattice_is_uniform() {
        // Eight particles a cell at quarter points.
        let lattice: Vec<[f64; 3]> = (0..12 * 12 * 12)
            .map(|i| [i / 144, i / 12 % 12, i % 12].map(|c| (c as f64 + 0.5) / 12.0))
            .collect();
        for scheme in ALL {
            let grid = assign_3d(&lattice, Masses::Equal(1.0), [6; 3], 1.0, scheme, Centring::Cell).unwrap();
            assert!(grid.iter().all(|v| (v - 8.0).abs() < 1e-5), "{scheme:?}");
        }
    }

    #[test]
    fn mass_is_conserved_and_does_not_depend_on_threads() {
        let positions = points(70_000, 3.0);
        let masses: Vec<f64> = (0..positions.len()).map(|i| 1.0 + (i % 7) as f64).collect();
        let total: f64 = masses.iter().sum();
        for scheme in ALL {
            let run = || {
                assign_3d(&positions, Masses::Each(&masses), [40, 17, 9], 3.0, scheme, Centring::Node)
                    .unwrap()
            };
            let grid = run();
            assert!((grid.iter().map(|&v| f64::from(v)).sum::<f64>() / total - 1.0).abs() < 1e-8);
            let single = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
            assert_eq!(grid, single.install(run));
        }
    }

    #[test]
    fn a_shift_by_a_cell_moves_the_grid() {
        let positions = points(500, 2.0);
        let moved: Vec<[f64; 3]> = positions.iter().map(|p| [p[0] + 0.25, p[1], p[2] - 0.5]).collect();
        for scheme in ALL {
            let one = |p: &[[f64; 3]]| {
                assign_3d(p, Masses::Equal(1.0), [8; 3], 2.0, scheme, Centring::Cell).unwrap()
            };
            let (a, b) = (one(&positions), one(&moved));
            for ((x, y, z), v) in a.indexed_iter() {
                assert!((v - b[[(x + 1) % 8, y, (z + 6) % 8]]).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn a_plane_is_the_sum_of_the_cube() {
        let positions = points(300, 1.0);
        let flat: Vec<[f64; 2]> = positions.iter().map(|p| [p[0], p[1]]).collect();
        for scheme in ALL {
            let cube =
                assign_3d(&positions, Masses::Equal(1.0), [10; 3], 1.0, scheme, Centring::Node).unwrap();
            let plane = assign_2d(&flat, Masses::Equal(1.0), [10; 2], 1.0, scheme, Centring::Node).unwrap();
            let sum = cube.sum_axis(ndarray::Axis(2));
            assert!(sum.iter().zip(&plane).all(|(a, b)| (a - b).abs() < 1e-4));
        }
    }

    #[test]
    fn bad_input_is_named() {
        let assign = |p: [f64; 3], n: usize, side: f64| {
            assign_3d(&[[0.0; 3], p], Masses::Equal(1.0), [n; 3], side, Scheme::Cic, Centring::Cell)
        };
        assert!(assign([f64::NAN, 0.0, 0.0], 4, 1.0).unwrap_err().to_string().contains("particle 1"));
        assert!(assign([0.0; 3], 0, 1.0).is_err());
        assert!(assign([0.0; 3], 4, -1.0).is_err());
        let short =
            assign_2d(&[[0.0f32; 2]; 3], Masses::Each(&[1.0]), [4; 2], 1.0, Scheme::Ngp, Centring::Cell);
        assert!(short.unwrap_err().to_string().contains("masses has 1 entries, expected 3"));
    }
}

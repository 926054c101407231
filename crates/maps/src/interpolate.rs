//! The value of a mesh at points between its own: mass assignment run backwards.

use ndarray::{ArrayView2, ArrayView3};
use rayon::prelude::*;

use crate::assign::{Weights, wrapped};
use crate::{Centring, Error, Result, Scheme};

const OPERATION: &str = "interpolation";

/// The values of a periodic mesh `[x, y, z]` over a cube of side `side` at positions: at each the mean of the nearby mesh
/// points with the weights by which [`assign_3d`](crate::assign_3d) would give a particle there to them. O(points).
///
/// ```
/// use halocast_maps::{Centring, Scheme, interpolate_3d};
/// use ndarray::Array3;
/// let mesh = Array3::from_shape_fn((4, 4, 4), |(x, _, _)| x as f32);
/// let values = interpolate_3d(mesh.view(), &[[1.75, 0.0, 0.0]], 4.0, Scheme::Cic, Centring::Node)?;
/// assert_eq!(values, [1.75]);
/// # Ok::<(), halocast_maps::Error>(())
/// ```
///
/// # Errors
/// [`Error::Value`] for an empty mesh, an absurd side, or a position that is not finite, naming the point.
pub fn interpolate_3d<T: Copy + Into<f64> + Sync>(
    mesh: ArrayView3<'_, f32>,
    positions: &[[T; 3]],
    side: f64,
    scheme: Scheme,
    centring: Centring,
) -> Result<Vec<f64>> {
    let shape = mesh.dim();
    let shape = [shape.0, shape.1, shape.2];
    gather(positions, shape, side, scheme, centring, |[x, y, z]| f64::from(mesh[[x, y, z]]))
}

/// The same for a mesh `[x, y]` over a square.
///
/// # Errors
/// As [`interpolate_3d`].
pub fn interpolate_2d<T: Copy + Into<f64> + Sync>(
    mesh: ArrayView2<'_, f32>,
    positions: &[[T; 2]],
    side: f64,
    scheme: Scheme,
    centring: Centring,
) -> Result<Vec<f64>> {
    let shape = mesh.dim();
    gather(positions, [shape.0, shape.1], side, scheme, centring, |[x, y]| f64::from(mesh[[x, y]]))
}

fn gather<T: Copy + Into<f64> + Sync, const D: usize>(
    positions: &[[T; D]],
    shape: [usize; D],
    side: f64,
    scheme: Scheme,
    centring: Centring,
    mesh: impl Fn([usize; D]) -> f64 + Sync,
) -> Result<Vec<f64>> {
    let value =
        |what: String, expected, got: String| Error::Value { operation: OPERATION, what, expected, got };
    if shape.contains(&0) {
        let got = format!("{shape:?}");
        return Err(value("the number of cells".into(), "at least 1 along each axis", got));
    }
    if !(side.is_finite() && side > 0.0) {
        return Err(value("side of the box".into(), "finite and positive", side.to_string()));
    }
    let finite = |p: &[T; D]| p.iter().all(|&x| x.into().is_finite());
    if let Some(i) = positions.par_iter().position_first(|p| !finite(p)) {
        let got = format!("{:?}", positions[i].map(Into::into));
        return Err(value(format!("position of point {i}"), "finite", got));
    }
    let at = |p: &[T; D]| {
        let weights: [Weights; D] = std::array::from_fn(|a| {
            Weights::new(scheme, p[a].into() * shape[a] as f64 / side - centring.offset())
        });
        // Every combination of the neighbours along each axis.
        let counts = weights.map(|w| w.iter().count());
        let mut sum = 0.0;
        for combination in 0..counts.iter().product::<usize>() {
            let (mut rest, mut weight, mut cell) = (combination, 1.0, [0; D]);
            for a in 0..D {
                let (i, w) = weights[a].nth(rest % counts[a]);
                (weight, cell[a], rest) = (weight * w, wrapped(i, shape[a]), rest / counts[a]);
            }
            sum += weight * mesh(cell);
        }
        sum
    };
    Ok(positions.par_iter().map(at).collect())
}

#[cfg(test)]
mod tests {
    use halocast_core::Rng;
    use ndarray::Array3;

    use super::*;
    use crate::{Masses, assign_2d, assign_3d};

    #[test]
    fn it_is_the_transpose_of_assignment() {
        // sum_i m_i f(x_i) = sum_cells f(cell) m(cell).
        let mut rng = Rng::new(1);
        let positions: Vec<[f64; 3]> = (0..200).map(|_| std::array::from_fn(|_| rng.uniform())).collect();
        let masses: Vec<f64> = (0..200).map(|_| rng.uniform()).collect();
        let mesh = Array3::from_shape_fn((7, 5, 6), |_| rng.uniform() as f32);
        let plane = mesh.index_axis(ndarray::Axis(2), 1).to_owned();
        let flat: Vec<[f64; 2]> = positions.iter().map(|p| [p[0], p[1]]).collect();
        for scheme in [Scheme::Ngp, Scheme::Cic, Scheme::Tsc, Scheme::Pcs] {
            for centring in [Centring::Cell, Centring::Node] {
                let each = Masses::Each(&masses);
                let dot = |values: &[f64]| values.iter().zip(&masses).map(|(v, m)| v * m).sum::<f64>();
                let grid = assign_3d(&positions, each, [7, 5, 6], 1.0, scheme, centring).unwrap();
                let there: f64 = grid.iter().zip(&mesh).map(|(g, f)| f64::from(g * f)).sum();
                let here = dot(&interpolate_3d(mesh.view(), &positions, 1.0, scheme, centring).unwrap());
                assert!((there / here - 1.0).abs() < 1e-5, "{scheme:?} {there} {here}");
                let grid = assign_2d(&flat, each, [7, 5], 1.0, scheme, centring).unwrap();
                let there: f64 = grid.iter().zip(&plane).map(|(g, f)| f64::from(g * f)).sum();
                let here = dot(&interpolate_2d(plane.view(), &flat, 1.0, scheme, centring).unwrap());
                assert!((there / here - 1.0).abs() < 1e-5, "{scheme:?} {there} {here}");
            }
        }
    }

    #[test]
    fn bad_input_is_named() {
        let mesh = Array3::<f32>::zeros((2, 2, 2));
        let run = |p: f64, side: f64| {
            interpolate_3d(mesh.view(), &[[0.0; 3], [p, 0.0, 0.0]], side, Scheme::Cic, Centring::Cell)
                .map_err(|e| e.to_string())
                .unwrap_err()
        };
        assert!(run(f64::INFINITY, 1.0).contains("point 1"));
        assert!(run(0.0, f64::NAN).contains("side"));
    }
}

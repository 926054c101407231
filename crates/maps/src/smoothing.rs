//! Smoothing lengths: the distance to the k-th neighbour.

use std::num::NonZero;

use kiddo::{ImmutableKdTree, SquaredEuclidean};
use ndarray::Array2;
use rayon::prelude::*;

use crate::{Error, Result};

const OPERATION: &str = "smoothing lengths";

/// The distance of every particle to its `k`-th nearest neighbour, itself not counted: with k = 32 the radius that the
/// CAMELS maps give to particles without a density. With `box_side` the box is periodic and positions are first
/// brought into it. Parallel; O(N log N).
///
/// ```
/// use halocast_maps::smoothing_lengths;
/// let row: Vec<[f64; 3]> = (0..10).map(|i| [i as f64, 0.0, 0.0]).collect();
/// assert_eq!(smoothing_lengths(&row, 2, None)?[0], 2.0);
/// assert_eq!(smoothing_lengths(&row, 2, Some(10.0))?[0], 1.0);
/// # Ok::<(), halocast_maps::Error>(())
/// ```
///
/// # Errors
/// [`Error::Value`] for k = 0, fewer than k + 1 particles, an absurd side, or a position that is not finite, naming the
/// particle; [`Error::Tree`] when the tree cannot be built.
pub fn smoothing_lengths<T: Copy + Into<f64> + Sync>(
    positions: &[[T; 3]],
    k: usize,
    box_side: Option<f64>,
) -> Result<Vec<f64>> {
    let neighbours = Neighbours::new(positions, k, box_side)?;
    let mut lengths = vec![0.0; positions.len()];
    // Neighbours in space are neighbours in the tree: in this order its leaves stay in the cache.
    let order = neighbours.order();
    let found: Vec<(u32, f64)> =
        order.par_iter().map(|&i| (i, neighbours.of(i as usize, k).pop().unwrap_or(0.0))).collect();
    found.into_iter().for_each(|(i, length)| lengths[i as usize] = length);
    Ok(lengths)
}

/// The distances `[particle, k]` of every particle to several of its neighbours, `ks` being their numbers.
///
/// # Errors
/// As [`smoothing_lengths`].
pub fn neighbour_distances<T: Copy + Into<f64> + Sync>(
    positions: &[[T; 3]],
    ks: &[usize],
    box_side: Option<f64>,
) -> Result<Array2<f64>> {
    let most = ks.iter().copied().max().unwrap_or(0);
    let least = ks.iter().copied().min().unwrap_or(0);
    let neighbours = Neighbours::new(positions, if least == 0 { 0 } else { most }, box_side)?;
    let mut out = Array2::zeros((positions.len(), ks.len()));
    let rows: Vec<_> = out.rows_mut().into_iter().collect();
    rows.into_par_iter().enumerate().for_each(|(i, mut row)| {
        let distances = neighbours.of(i, most);
        row.iter_mut().zip(ks).for_each(|(out, &k)| *out = distances.get(k).copied().unwrap_or(f64::NAN));
    });
    Ok(out)
}

struct Neighbours {
    points: Vec<[f64; 3]>,
    tree: ImmutableKdTree<f64, 3>,
    side: Option<f64>,
}

impl Neighbours {
    fn new<T: Copy + Into<f64> + Sync>(
        positions: &[[T; 3]],
        k: usize,
        box_side: Option<f64>,
    ) -> Result<Self> {
        let value = |what: String, expected, got: String| {
            Err(Error::Value { operation: OPERATION, what, expected, got })
        };
        if k == 0 {
            return value("the number of the neighbour".into(), "at least 1", "0".into());
        }
        if positions.len() <= k {
            let expected = "more than the number of the neighbour";
            return value("the number of particles".into(), expected, positions.len().to_string());
        }
        if positions.len() > u32::MAX as usize {
            return value("the number of particles".into(), "below 2^32", positions.len().to_string());
        }
        let wrap = box_side.map(halocast_core::PeriodicBox::new).transpose()?;
        let points: Vec<[f64; 3]> =
            positions.par_iter().map(|p| p.map(|x| wrap.map_or(x.into(), |b| b.wrap(x.into())))).collect();
        if let Some(i) = points.par_iter().position_first(|p| p.iter().any(|x| !x.is_finite())) {
            let got = format!("{:?}", positions[i].map(Into::into));
            return value(format!("position of particle {i}"), "finite", got);
        }
        let tree = ImmutableKdTree::new_from_slice(&points)
            .map_err(|e| Error::Tree { operation: OPERATION, reason: format!("{e:?}") })?;
        Ok(Self { points, tree, side: box_side })
    }

    /// Sorted distances to the particle itself and its `k` nearest neighbours.
    fn of(&self, i: usize, k: usize) -> Vec<f64> {
        let point = &self.points[i];
        let count = NonZero::new(k + 1).unwrap_or(NonZero::<usize>::MIN);
        let open = self.tree.query(point).nearest_n::<SquaredEuclidean<f64>>(count).execute();
        let farthest = open.last().map_or(f64::INFINITY, |n| n.distance.sqrt());
        let distances = match self.side {
            // Images matter only where the search reaches a face of the box.
            Some(side) if point.iter().any(|&x| x < farthest || side - x < farthest) => self
                .tree
                .query(point)
                .periodic_boundary_condition(&[side; 3])
                .nearest_n::<SquaredEuclidean<f64>>(count)
                .execute(),
            _ => open,
        };
        distances.iter().map(|n| n.distance.sqrt()).collect()
    }

    /// The particles along a Morton curve of 2^10 cells an axis.
    fn order(&self) -> Vec<u32> {
        let (mut low, mut high) = ([f64::INFINITY; 3], [f64::NEG_INFINITY; 3]);
        for p in &self.points {
            for a in 0..3 {
                (low[a], high[a]) = (low[a].min(p[a]), high[a].max(p[a]));
            }
        }
        let spread = |mut v: u32| {
            v = (v | v << 16) & 0x0300_00FF;
            v = (v | v << 8) & 0x0300_F00F;
            v = (v | v << 4) & 0x030C_30C3;
            (v | v << 2) & 0x0924_9249
        };
        let key = |p: &[f64; 3]| {
            let cell =
                |a: usize| ((p[a] - low[a]) / (high[a] - low[a]).max(f64::MIN_POSITIVE) * 1023.0) as u32;
            spread(cell(0)) << 2 | spread(cell(1)) << 1 | spread(cell(2))
        };
        let mut order: Vec<(u32, u32)> =
            self.points.par_iter().enumerate().map(|(i, p)| (key(p), i as u32)).collect();
        order.par_sort_unstable();
        order.into_iter().map(|(_, i)| i).collect()
    }
}

#[cfg(test)]
mod tests {
    use halocast_core::{PeriodicBox, Rng};

    use super::*;

    #[test]
    fn agrees_with_brute_force() {
        let mut rng = Rng::new(2);
        let points: Vec<[f64; 3]> = (0..300).map(|_| std::array::from_fn(|_| rng.uniform())).collect();
        let cube = PeriodicBox::new(1.0).unwrap();
        for periodic in [false, true] {
            let found = smoothing_lengths(&points, 32, periodic.then_some(1.0)).unwrap();
            for (i, p) in points.iter().enumerate() {
                let mut all: Vec<f64> = points
                    .iter()
                    .map(|q| match periodic {
                        true => cube.distance(*p, *q),
                        false => (0..3).map(|a| (p[a] - q[a]).powi(2)).sum::<f64>().sqrt(),
                    })
                    .collect();
                all.sort_by(f64::total_cmp);
                assert!((found[i] - all[32]).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn particles_at_one_place_have_no_distance() {
        let points = vec![[0.25f32; 3]; 200];
        match smoothing_lengths(&points, 8, Some(1.0)) {
            Ok(lengths) => assert!(lengths.iter().all(|&l| l == 0.0)),
            Err(error) => assert!(matches!(error, Error::Tree { .. }), "{error}"),
        }
    }

    #[test]
    fn bad_input_is_named() {
        let points = vec![[0.1, 0.2, 0.3], [f64::NAN, 0.0, 0.0], [0.5; 3]];
        assert!(smoothing_lengths(&points, 1, None).unwrap_err().to_string().contains("particle 1"));
        assert!(smoothing_lengths(&points, 3, None).is_err());
        assert!(smoothing_lengths(&points, 0, None).is_err());
        assert!(smoothing_lengths(&points[..1], 1, Some(-1.0)).is_err());
    }
}

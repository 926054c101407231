//! Betti numbers of the excursion sets of maps: components and holes.

use halocast_core::Map;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::minkowski::pixel_counts;

/// The Betti numbers of the sets {f >= nu} of one map, pixels joined at sides and corners.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BettiNumbers {
    /// The thresholds nu.
    pub thresholds: Vec<f64>,
    /// beta_0, the number of components.
    pub components: Vec<u64>,
    /// beta_1, the number of independent loops: holes, and on a torus also ways around it.
    pub holes: Vec<u64>,
}

/// The Betti numbers of a map at every threshold; opposite sides meet where the map is periodic. Components are counted by
/// joining pixels from the highest down, loops follow from the Euler characteristic chi = beta_0 - beta_1 + beta_2 (beta_2 is
/// one for the whole torus alone). O(pixels log pixels).
///
/// ```
/// use halocast_core::Map;
/// use halocast_stats::betti_numbers;
/// use ndarray::Array2;
///
/// // A ring of eight pixels.
/// let ring = |(y, x): (usize, usize)| f32::from(y.abs_diff(3).max(x.abs_diff(3)) == 1);
/// let found = betti_numbers(&Map::square("ring", Array2::from_shape_fn((7, 7), ring), 1.0), &[0.5])?;
/// assert_eq!((found.components, found.holes), (vec![1], vec![1]));
/// # Ok::<(), halocast_stats::Error>(())
/// ```
///
/// # Source
/// Park et al. 2013; Feldbrugge et al. 2019.
///
/// # Errors
/// As [`pixel_counts`].
pub fn betti_numbers(map: &Map, thresholds: &[f64]) -> Result<BettiNumbers> {
    let counts = pixel_counts(map, thresholds, map.periodic)?;
    let components = components(map, thresholds);
    let pixels = map.values.len() as i64;
    let holes = (0..thresholds.len())
        .map(|i| {
            let whole = i64::from(map.periodic && counts.area[i] == pixels);
            (components[i] as i64 + whole - counts.euler_8[i]).max(0) as u64
        })
        .collect();
    Ok(BettiNumbers { thresholds: thresholds.to_vec(), components, holes })
}

/// Union-find over pixels in falling order.
fn components(map: &Map, thresholds: &[f64]) -> Vec<u64> {
    let [ny, nx] = map.shape();
    let values: Vec<f64> = map.values.iter().map(|&v| f64::from(v)).collect();
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|&a, &b| values[b].total_cmp(&values[a]).then(a.cmp(&b)));
    let mut asked: Vec<usize> = (0..thresholds.len()).collect();
    asked.sort_by(|&a, &b| thresholds[b].total_cmp(&thresholds[a]));

    const ABSENT: usize = usize::MAX;
    let mut parent = vec![ABSENT; values.len()];
    let (mut found, mut count, mut next) = (vec![0; thresholds.len()], 0u64, 0);
    for i in asked {
        while next < order.len() && values[order[next]] >= thresholds[i] {
            let pixel = order[next];
            next += 1;
            parent[pixel] = pixel;
            count += 1;
            let (y, x) = ((pixel / nx) as i64, (pixel % nx) as i64);
            for (dy, dx) in [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)] {
                let (mut v, mut u) = (y + dy, x + dx);
                if map.periodic {
                    (v, u) = (v.rem_euclid(ny as i64), u.rem_euclid(nx as i64));
                } else if v < 0 || u < 0 || v >= ny as i64 || u >= nx as i64 {
                    continue;
                }
                let other = v as usize * nx + u as usize;
                if parent[other] != ABSENT {
                    let (a, b) = (root(&mut parent, pixel), root(&mut parent, other));
                    if a != b {
                        parent[a] = b;
                        count -= 1;
                    }
                }
            }
        }
        found[i] = count;
    }
    found
}

/// The root of a pixel's tree; the path to it is halved.
fn root(parent: &mut [usize], mut i: usize) -> usize {
    while parent[i] != i {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    i
}

#[cfg(test)]
mod tests {
    use halocast_core::Rng;
    use ndarray::Array2;

    use super::*;

    #[test]
    fn components_and_holes_are_those_of_a_flood() {
        let values = Array2::from_shape_vec((20, 20), Rng::new(1).normals(400)).unwrap();
        let mut map = Map::square("noise", values, 1.0);
        map.periodic = false;
        let thresholds = [-3.9, -1.0, 0.0, 0.4, 1.5, 9.0];
        let found = betti_numbers(&map, &thresholds).unwrap();
        for (i, &nu) in thresholds.iter().enumerate() {
            let set = |v: f32| f64::from(v) >= nu;
            assert_eq!(found.components[i], flood(&map, &set, true), "components at {nu}");
            // Holes of an open image: 4-connected pieces of the complement that do not touch the rim.
            let padded = Array2::from_shape_fn((22, 22), |(y, x)| {
                if (1..21).contains(&y) && (1..21).contains(&x) {
                    map.values[[y - 1, x - 1]]
                } else {
                    f32::MIN
                }
            });
            let padded = Map { values: padded, ..map.clone() };
            assert_eq!(found.holes[i] + 1, flood(&padded, &|v| !set(v), false), "holes at {nu}");
        }
    }

    /// Pieces by flooding, eight or four neighbours.
    fn flood(map: &Map, inside: &dyn Fn(f32) -> bool, diagonal: bool) -> u64 {
        let [ny, nx] = map.shape();
        let mut seen = Array2::from_elem((ny, nx), false);
        let mut pieces = 0;
        for start in 0..ny * nx {
            let mut stack = vec![(start / nx, start % nx)];
            if seen[stack[0]] || !inside(map.values[stack[0]]) {
                continue;
            }
            pieces += 1;
            while let Some((y, x)) = stack.pop() {
                if std::mem::replace(&mut seen[[y, x]], true) {
                    continue;
                }
                for v in y.saturating_sub(1)..=(y + 1).min(ny - 1) {
                    for u in x.saturating_sub(1)..=(x + 1).min(nx - 1) {
                        let near = diagonal || v == y || u == x;
                        if near && !seen[[v, u]] && inside(map.values[[v, u]]) {
                            stack.push((v, u));
                        }
                    }
                }
            }
        }
        pieces
    }

    #[test]
    fn the_torus_has_two_loops() {
        let map = Map::square("full", Array2::ones((6, 5)), 1.0);
        let found = betti_numbers(&map, &[0.5, 1.5]).unwrap();
        assert_eq!((found.components, found.holes), (vec![1, 0], vec![2, 0]));
        let mut band = Map::square("band", Array2::zeros((6, 5)), 1.0);
        band.values.row_mut(2).fill(1.0);
        let found = betti_numbers(&band, &[1.0]).unwrap();
        assert_eq!((found.components, found.holes), (vec![1], vec![1]));
    }
}

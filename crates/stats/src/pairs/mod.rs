//! Pairs of points: counts and correlation functions of clouds, exact, in periodic and open space.

mod columns;
mod correlation;
mod redshift;
mod tally;

use halocast_core::{Cloud, PeriodicBox};
use serde::{Deserialize, Serialize};

use crate::{Bins, Error, Result};
pub(crate) use columns::checked;
use columns::{Columns, Reach};
pub use correlation::{
    AnisotropicCorrelation, CorrelationFunction, ProjectedCorrelation, anisotropic_correlation,
    correlation_function, landy_szalay, projected_correlation,
};
pub use redshift::to_redshift_space;
use tally::{Nearer, Separations};

/// The number of pairs in each bin of separation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairCounts {
    /// Bins of separation; bin i holds `edge_i <= r < edge_(i+1)`.
    pub bins: Bins,
    /// Ordered pairs: every pair of one cloud counts twice.
    pub pairs: Vec<u64>,
}

/// The positions of a cloud in float64, and its periodic box.
///
/// # Errors
/// [`Error::Value`] for an absurd box.
pub fn cloud_points(cloud: &Cloud) -> Result<(Vec<[f64; 3]>, Option<PeriodicBox>)> {
    let points = cloud.positions.outer_iter().map(|p| [p[0], p[1], p[2]].map(f64::from)).collect();
    let periodic = cloud.box_side.map(PeriodicBox::new).transpose();
    match periodic {
        Ok(periodic) => Ok((points, periodic)),
        Err(source) => Err(Error::Map { operation: "points of a cloud", index: 0, source }),
    }
}

/// The pairs of one cloud by separation. A point is no pair with itself, at whatever edges.
///
/// Points are sorted into columns of a third of the largest separation, and along each; runs of neighbours are compared
/// with all edges at once. O(N log N + candidates), the candidates about twice the pairs within the largest separation.
/// The arithmetic is that of the definition in float64: counts are exact.
///
/// ```
/// use halocast_core::PeriodicBox;
/// use halocast_stats::{Bins, pair_counts};
///
/// let points = [[0.5, 5.0, 5.0], [9.5, 5.0, 5.0], [0.5, 7.0, 5.0]];
/// let bins = Bins::new(vec![0.5, 1.5, 2.1])?;
/// assert_eq!(pair_counts(&points, None, &bins)?.pairs, [0, 2]);
/// // The first two are neighbours across the face of a periodic box.
/// assert_eq!(pair_counts(&points, Some(PeriodicBox::new(10.0)?), &bins)?.pairs, [2, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// The convention is that of `Corrfunc.theory.DD` (Sinha & Garrison 2020) with `autocorr=1`.
///
/// # Differences
/// A bin that starts at zero holds no pairs of a point with itself.
///
/// # Errors
/// [`Error::TooFew`] for no points; [`Error::Value`] for a position that is not finite, a negative edge, or a largest
/// separation beyond half the periodic box.
pub fn pair_counts(points: &[[f64; 3]], periodic: Option<PeriodicBox>, bins: &Bins) -> Result<PairCounts> {
    let operation = "pair counts";
    let points = checked(operation, "the points", points, periodic)?;
    let largest = check_separations(operation, bins, periodic)?;
    let reach = Reach::Sphere(largest);
    let columns = Columns::new(&points, &[], periodic, reach);
    let tallies = columns.pairs(reach, || Nearer::new(bins.edges()));
    Ok(PairCounts { bins: bins.clone(), pairs: in_bins(tallies, 2) })
}

/// The pairs of a point of `a` and one of `b` by separation, each counted once.
///
/// # Errors
/// As [`pair_counts`].
pub fn cross_pair_counts(
    a: &[[f64; 3]],
    b: &[[f64; 3]],
    periodic: Option<PeriodicBox>,
    bins: &Bins,
) -> Result<PairCounts> {
    let operation = "cross pair counts";
    let (a, b) = (checked(operation, "cloud a", a, periodic)?, checked(operation, "cloud b", b, periodic)?);
    let largest = check_separations(operation, bins, periodic)?;
    let reach = Reach::Sphere(largest);
    let columns = [Columns::new(&a, &b, periodic, reach), Columns::new(&b, &a, periodic, reach)];
    let tallies = columns[0].pairs_with(&columns[1], reach, || Nearer::new(bins.edges()));
    Ok(PairCounts { bins: bins.clone(), pairs: in_bins(tallies, 1) })
}

/// The mean separation of the pairs in each bin; NaN in a bin without pairs. One pair at a time: some five times the
/// work of [`pair_counts`].
///
/// # Errors
/// As [`pair_counts`].
pub fn mean_separations(points: &[[f64; 3]], periodic: Option<PeriodicBox>, bins: &Bins) -> Result<Vec<f64>> {
    let operation = "mean separations";
    let points = checked(operation, "the points", points, periodic)?;
    let reach = Reach::Sphere(check_separations(operation, bins, periodic)?);
    let tallies = Columns::new(&points, &[], periodic, reach).pairs(reach, || Separations::new(bins.edges()));
    let (mut sums, mut pairs) = (vec![0.0; bins.count()], vec![0u64; bins.count()]);
    for tally in tallies {
        sums.iter_mut().zip(tally.sums).for_each(|(a, b)| *a += b);
        pairs.iter_mut().zip(tally.pairs).for_each(|(a, b)| *a += b);
    }
    Ok(sums.iter().zip(&pairs).map(|(sum, &n)| sum / n as f64).collect())
}

/// The largest edge.
fn check_separations(operation: &'static str, bins: &Bins, periodic: Option<PeriodicBox>) -> Result<f64> {
    let (first, last) = (bins.edges()[0], bins.edges()[bins.count()]);
    if first < 0.0 {
        let (what, expected) = ("the first edge".into(), "not negative".into());
        return Err(Error::Value { operation, what, expected, got: first.to_string() });
    }
    check_reach(operation, "the last edge", last, periodic)
}

fn check_reach(
    operation: &'static str,
    what: &str,
    largest: f64,
    periodic: Option<PeriodicBox>,
) -> Result<f64> {
    match periodic {
        Some(b) if largest > 0.5 * b.side() => Err(Error::Value {
            operation,
            what: what.into(),
            expected: format!("at most half the periodic box of side {}", b.side()),
            got: largest.to_string(),
        }),
        _ => Ok(largest),
    }
}

fn in_bins(tallies: Vec<Nearer>, times: u64) -> Vec<u64> {
    let edges = tallies.first().map_or(1, |t| t.below.len());
    let mut below = vec![0u64; edges];
    for tally in tallies {
        below.iter_mut().zip(tally.below).for_each(|(a, b)| *a += b);
    }
    below.windows(2).map(|w| times * (w[1] - w[0])).collect()
}

#[cfg(test)]
mod tests {
    use halocast_core::{Rng, Unit};

    use super::*;

    pub(super) fn scattered(count: usize, side: f64, seed: u64) -> Vec<[f64; 3]> {
        let mut rng = Rng::new(seed);
        // Half of them in a clump, so that columns differ.
        let mut point = |i: usize| {
            let spread = if i.is_multiple_of(2) { 1.0 } else { 0.1 };
            [0; 3].map(|_| side * spread * rng.uniform())
        };
        (0..count).map(&mut point).collect()
    }

    fn brute(a: &[[f64; 3]], b: &[[f64; 3]], periodic: Option<PeriodicBox>, bins: &Bins) -> Vec<u64> {
        let mut pairs = vec![0; bins.count()];
        for p in a {
            for q in b.iter().filter(|q| !std::ptr::eq(*q, p)) {
                let d: f64 = (0..3)
                    .map(|i| periodic.map_or(p[i] - q[i], |b| b.separation(p[i] - q[i])).powi(2))
                    .sum::<f64>()
                    .sqrt();
                let bin = bins.edges().partition_point(|&e| e <= d);
                if bin > 0 && bin <= bins.count() {
                    pairs[bin - 1] += 1;
                }
            }
        }
        pairs
    }

    #[test]
    fn counts_are_those_of_all_pairs_one_by_one() {
        let side = 7.0;
        let (a, b) = (scattered(400, side, 1), scattered(300, side, 2));
        for periodic in [None, Some(PeriodicBox::new(side).unwrap())] {
            for bins in [
                Bins::logarithmic(0.01, 3.5, 12).unwrap(),
                Bins::linear(0.0, 0.4, 7).unwrap(),
                Bins::new(vec![2.0, 3.5]).unwrap(),
            ] {
                assert_eq!(pair_counts(&a, periodic, &bins).unwrap().pairs, brute(&a, &a, periodic, &bins));
                let cross = cross_pair_counts(&a, &b, periodic, &bins).unwrap().pairs;
                assert_eq!(cross, brute(&a, &b, periodic, &bins));
                assert_eq!(cross, cross_pair_counts(&b, &a, periodic, &bins).unwrap().pairs);
            }
        }
    }

    #[test]
    fn flat_and_tiny_clouds_have_their_pairs() {
        let bins = Bins::linear(0.0, 2.0, 4).unwrap();
        let one = [[1.0, 2.0, 3.0]];
        assert_eq!(pair_counts(&one, None, &bins).unwrap().pairs, [0; 4]);
        assert_eq!(pair_counts(&[one[0], one[0]], None, &bins).unwrap().pairs, [2, 0, 0, 0]);
        let line: Vec<[f64; 3]> = (0..5).map(|i| [f64::from(i), 0.0, 0.0]).collect();
        assert_eq!(pair_counts(&line, None, &bins).unwrap().pairs, [0, 0, 8, 0]);
        let corner = Some(PeriodicBox::new(4.0).unwrap());
        assert_eq!(pair_counts(&[[0.0; 3], [4.0; 3]], corner, &bins).unwrap().pairs, [2, 0, 0, 0]);
    }

    #[test]
    fn mean_separations_lie_where_the_pairs_do() {
        let points = [[0.0; 3], [1.0, 0.0, 0.0], [0.0, 3.0, 0.0]];
        let bins = Bins::new(vec![0.5, 2.0, 4.0, 5.0]).unwrap();
        let mean = mean_separations(&points, None, &bins).unwrap();
        assert_eq!(mean[0], 1.0);
        assert!((mean[1] - (3.0 + 10f64.sqrt()) / 2.0).abs() < 1e-12 && mean[2].is_nan());
    }

    #[test]
    fn bad_clouds_are_named() {
        let bins = Bins::linear(0.0, 2.0, 4).unwrap();
        let nan = [[0.0; 3], [0.0, f64::NAN, 0.0]];
        let told = |e: Error| e.to_string();
        assert!(told(pair_counts(&nan, None, &bins).unwrap_err()).contains("point 1"));
        assert!(pair_counts(&[], None, &bins).is_err());
        let tight = PeriodicBox::new(3.0).unwrap();
        assert!(told(pair_counts(&[[0.0; 3]], Some(tight), &bins).unwrap_err()).contains("half"));
        let negative = Bins::linear(-1.0, 1.0, 2).unwrap();
        assert!(pair_counts(&[[0.0; 3]], None, &negative).is_err());
        let cloud = Cloud::new(ndarray::Array2::zeros((2, 3)), Unit::mpc_h(), Some(-1.0)).unwrap();
        assert!(cloud_points(&cloud).is_err());
    }
}

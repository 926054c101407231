//! Distances by pairs of members: the energy distance and the maximum mean discrepancy.

use ndarray::ArrayView2;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{check_pair, squared};
use crate::{Error, Result};

/// The sum of `f` of all squared distances of a row of `a` and one of `b`, and of the pairs of a row with its own place.
fn sums(a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>, f: impl Fn(f64) -> f64 + Sync) -> f64 {
    let row = |i: usize| b.outer_iter().map(|q| f(squared(a.row(i), q))).sum::<f64>();
    // Rows by themselves and added in order: the same at any number of threads.
    (0..a.nrows()).into_par_iter().map(row).collect::<Vec<f64>>().iter().sum()
}

/// The energy distance 2 E|X - Y| - E|X - X'| - E|Y - Y'|, over all pairs with those of a member with itself: never
/// negative, zero for one ensemble against itself. O(n m d).
///
/// # Source
/// Szekely & Rizzo 2013; in one dimension it is twice the integral of (F_a - F_b)^2.
///
/// # Errors
/// [`Error::TooFew`] for fewer than two members; [`Error::Mismatch`] for other features; [`Error::Value`] for a number that is
/// not finite.
pub fn energy_distance(a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>) -> Result<f64> {
    check_pair("energy distance", a, b)?;
    let (n, m) = (a.nrows() as f64, b.nrows() as f64);
    let [ab, aa, bb] = [(a, b), (a, a), (b, b)].map(|(a, b)| sums(a, b, f64::sqrt));
    Ok((2.0 * ab / (n * m) - aa / (n * n) - bb / (m * m)).max(0.0))
}

/// The squared maximum mean discrepancy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MaximumMeanDiscrepancy {
    /// Without the pairs of a member with itself: zero on average for equal distributions, sometimes below.
    pub unbiased: f64,
    /// With them: never negative.
    pub biased: f64,
}

/// MMD^2 = E k(X, X') + E k(Y, Y') - 2 E k(X, Y) with the Gaussian kernel k = exp(-d^2 / (2 bandwidth^2)). O(n m d).
///
/// # Source
/// Gretton et al. 2012.
///
/// # Errors
/// As [`energy_distance`]; [`Error::Value`] for a bandwidth that is not positive.
pub fn maximum_mean_discrepancy(
    a: ArrayView2<'_, f64>,
    b: ArrayView2<'_, f64>,
    bandwidth: f64,
) -> Result<MaximumMeanDiscrepancy> {
    let operation = "maximum mean discrepancy";
    check_pair(operation, a, b)?;
    if !(bandwidth.is_finite() && bandwidth > 0.0) {
        let (what, expected) = ("the bandwidth".into(), "finite and positive".into());
        return Err(Error::Value { operation, what, expected, got: bandwidth.to_string() });
    }
    let kernel = |d2: f64| (-0.5 * d2 / (bandwidth * bandwidth)).exp();
    let (n, m) = (a.nrows() as f64, b.nrows() as f64);
    let [ab, aa, bb] = [(a, b), (a, a), (b, b)].map(|(a, b)| sums(a, b, kernel));
    // A member with itself has k = 1.
    let unbiased = (aa - n) / (n * (n - 1.0)) + (bb - m) / (m * (m - 1.0)) - 2.0 * ab / (n * m);
    Ok(MaximumMeanDiscrepancy { unbiased, biased: aa / (n * n) + bb / (m * m) - 2.0 * ab / (n * m) })
}

/// The median distance between members of both ensembles together, a usual bandwidth.
///
/// # Errors
/// As [`energy_distance`].
pub fn median_distance(a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>) -> Result<f64> {
    check_pair("median distance", a, b)?;
    let all: Vec<_> = a.outer_iter().chain(b.outer_iter()).collect();
    let row = |i: usize| all[..i].iter().map(|q| squared(all[i], *q)).collect::<Vec<f64>>();
    let mut distances: Vec<f64> = (1..all.len()).into_par_iter().flat_map_iter(row).collect();
    let middle = distances.len() / 2;
    Ok(distances.select_nth_unstable_by(middle, f64::total_cmp).1.sqrt())
}

#[cfg(test)]
mod tests {
    use halocast_core::Rng;
    use ndarray::Array2;

    use super::*;

    fn normal(n: usize, d: usize, shift: f64, seed: u64) -> Array2<f64> {
        let mut rng = Rng::new(seed);
        Array2::from_shape_fn((n, d), |_| shift + rng.normal())
    }

    #[test]
    fn one_dimension_is_the_area_between_the_distributions() {
        let (a, b) = (normal(60, 1, 0.0, 1), normal(45, 1, 0.7, 2));
        let mut all: Vec<f64> = a.iter().chain(&b).copied().collect();
        all.sort_unstable_by(f64::total_cmp);
        let share = |v: &Array2<f64>, x: f64| v.iter().filter(|y| **y <= x).count() as f64 / v.len() as f64;
        let area: f64 =
            all.windows(2).map(|w| (share(&a, w[0]) - share(&b, w[0])).powi(2) * (w[1] - w[0])).sum();
        assert!((energy_distance(a.view(), b.view()).unwrap() - 2.0 * area).abs() < 1e-12);
        assert!(energy_distance(a.view(), a.view()).unwrap() < 1e-12);
    }

    #[test]
    fn discrepancies_grow_with_the_shift() {
        let a = normal(100, 4, 0.0, 1);
        let width = median_distance(a.view(), a.view()).unwrap();
        assert!((width / 8f64.sqrt() - 1.0).abs() < 0.2, "{width}");
        let found: Vec<f64> = [0.0, 0.3, 1.0]
            .iter()
            .map(|&s| {
                maximum_mean_discrepancy(a.view(), normal(100, 4, s, 2).view(), width).unwrap().unbiased
            })
            .collect();
        assert!(found[0].abs() < 0.01 && found[1] > found[0] && found[2] > found[1] + 0.05, "{found:?}");
        assert!(maximum_mean_discrepancy(a.view(), a.view(), 0.0).is_err());
        assert!(energy_distance(a.view(), normal(5, 3, 0.0, 1).view()).is_err());
    }
}

//! Covariances of the mean of an ensemble, and the chi-squared distance of two ensembles.

use std::collections::BTreeMap;

use halocast_core::Rng;
use ndarray::{Array1, Array2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use crate::special::f_tail;
use crate::{Error, Result};

/// How the covariance of an ensemble's mean is estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resampling {
    /// Leaving out one member at a time: the sample covariance over n, exactly. Where members belong together, as maps of one
    /// simulation do, take [`group_means`] first: then whole groups are left out.
    #[default]
    Jackknife,
    /// Drawing members with replacement, this many times.
    Bootstrap {
        /// The number of draws.
        draws: usize,
        /// Their seed.
        seed: u64,
    },
}

/// The covariance `[bin, bin]` of the mean over members of `values`, `[member, bin]`.
///
/// # Errors
/// [`Error::TooFew`] for fewer than two members or draws; [`Error::Value`] for a number that is not finite.
pub fn mean_covariance(values: ArrayView2<'_, f64>, resampling: Resampling) -> Result<Array2<f64>> {
    let operation = "covariance";
    check(operation, "the ensemble", values)?;
    let (n, bins) = values.dim();
    let mean = |rows: &mut dyn Iterator<Item = usize>| {
        let (mut sum, mut count) = (Array1::<f64>::zeros(bins), 0usize);
        rows.for_each(|i| {
            sum += &values.row(i);
            count += 1;
        });
        sum / count.max(1) as f64
    };
    let (means, scale) = match resampling {
        Resampling::Jackknife => {
            let total = values.sum_axis(Axis(0));
            let means = values.outer_iter().map(|row| (&total - &row) / (n - 1) as f64).collect::<Vec<_>>();
            (means, (n - 1) as f64 / n as f64)
        }
        Resampling::Bootstrap { draws, seed } => {
            if draws < 2 {
                let (what, expected) = ("the bootstrap's draws".into(), 2);
                return Err(Error::TooFew { operation, what, expected, got: draws });
            }
            let key = Rng::new(seed).split_named("bootstrap");
            let draw = |i: usize| {
                let mut rng = key.split(i as u64);
                mean(&mut (0..n).map(|_| rng.below(n)))
            };
            ((0..draws).map(draw).collect(), 1.0 / (draws - 1) as f64)
        }
    };
    let centre = means.iter().fold(Array1::zeros(bins), |sum: Array1<f64>, m| sum + m) / means.len() as f64;
    let mut covariance = Array2::zeros((bins, bins));
    for m in &means {
        let d = m - &centre;
        for i in 0..bins {
            for j in 0..bins {
                covariance[[i, j]] += scale * d[i] * d[j];
            }
        }
    }
    Ok(covariance)
}

/// The mean over the members of each group, `[group, bin]`, in rising order of the groups' numbers: members of one simulation or
/// region of the sky are not independent, and resampled one by one make errors too small.
///
/// ```
/// use halocast_stats::group_means;
/// let values = ndarray::array![[1.0], [3.0], [10.0]];
/// assert_eq!(group_means(values.view(), &[7, 7, 2])?, ndarray::array![[10.0], [2.0]]);
/// # Ok::<(), halocast_stats::Error>(())
/// ```
///
/// # Errors
/// [`Error::Mismatch`] when there are not as many groups as members; [`Error::TooFew`] and [`Error::Value`] as
/// [`mean_covariance`].
pub fn group_means(values: ArrayView2<'_, f64>, groups: &[usize]) -> Result<Array2<f64>> {
    let operation = "means of groups";
    check(operation, "the ensemble", values)?;
    if groups.len() != values.nrows() {
        let (what, expected) = ("the number of groups' members".into(), values.nrows().to_string());
        return Err(Error::Mismatch { operation, what, expected, got: groups.len().to_string() });
    }
    let mut rows: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    groups.iter().enumerate().for_each(|(i, group)| rows.entry(*group).or_default().push(i));
    let mut means = Array2::zeros((rows.len(), values.ncols()));
    for (mut mean, members) in means.rows_mut().into_iter().zip(rows.values()) {
        members.iter().for_each(|&i| mean += &values.row(i));
        mean /= members.len() as f64;
    }
    Ok(means)
}

/// The difference of two ensembles' means in units of its covariance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChiSquared {
    /// Delta^T C^-1 Delta with the covariance C of the difference: Hotelling's T^2.
    pub chi_squared: f64,
    /// The number of bins.
    pub bins: usize,
    /// The expectation of two ensembles of one distribution, with what the estimated inverse adds: p (nu) / (nu - p - 1),
    /// nu = n + m - 2.
    pub expected: f64,
    /// The probability that ensembles of one Gaussian distribution differ by more.
    pub p_value: f64,
}

/// Chi-squared of two ensembles `[member, bin]`: the covariances of the two means, added. The p-value is Hotelling's, for a
/// covariance that was itself estimated from n + m members.
///
/// ```
/// use halocast_core::Rng;
/// use halocast_stats::{Resampling, chi_squared};
/// use ndarray::Array2;
///
/// let mut rng = Rng::new(1);
/// let mut draw = |shift: f64| Array2::from_shape_fn((100, 5), |_| shift + rng.normal());
/// let (a, b, c) = (draw(0.0), draw(0.0), draw(0.5));
/// assert!(chi_squared(a.view(), b.view(), Resampling::Jackknife)?.p_value > 0.01);
/// assert!(chi_squared(a.view(), c.view(), Resampling::Jackknife)?.p_value < 1e-4);
/// # Ok::<(), halocast_stats::Error>(())
/// ```
///
/// # Source
/// Hotelling 1931; Hartlap, Simon & Schneider 2007 for the bias of an inverse, which the F distribution contains.
///
/// # Errors
/// As [`mean_covariance`]; [`Error::Mismatch`] for other bins; [`Error::TooFew`] when n + m is below bins + 3;
/// [`Error::Value`] for a covariance that cannot be inverted, as of bins that are constant or repeat one another.
pub fn chi_squared(
    truth: ArrayView2<'_, f64>,
    samples: ArrayView2<'_, f64>,
    resampling: Resampling,
) -> Result<ChiSquared> {
    let operation = "chi-squared";
    let bins = truth.ncols();
    if bins != samples.ncols() {
        let (what, expected) = ("the samples' number of bins".into(), bins.to_string());
        return Err(Error::Mismatch { operation, what, expected, got: samples.ncols().to_string() });
    }
    let members = truth.nrows() + samples.nrows();
    if members < bins + 3 {
        let what = format!("both ensembles, for a covariance of {bins} bins,");
        return Err(Error::TooFew { operation, what, expected: bins + 3, got: members });
    }
    let covariance = mean_covariance(truth, resampling)? + mean_covariance(samples, resampling)?;
    let mean = |values: ArrayView2<'_, f64>| values.sum_axis(Axis(0)) / values.nrows() as f64;
    let difference = mean(samples) - mean(truth);
    let Some(chi_squared) = quadratic_form(&covariance, &difference) else {
        let (what, expected) = ("the covariance".into(), "invertible: bins that vary on their own".into());
        return Err(Error::Value { operation, what, expected, got: "singular".into() });
    };
    let (p, nu) = (bins as f64, members as f64 - 2.0);
    let f = (nu - p + 1.0) / (nu * p) * chi_squared;
    let expected = if nu > p + 1.0 { p * nu / (nu - p - 1.0) } else { f64::INFINITY };
    Ok(ChiSquared { chi_squared, bins, expected, p_value: f_tail(f, p, nu - p + 1.0) })
}

/// d^T C^-1 d by Cholesky's factors of the correlation matrix; `None` for a matrix that is not positive.
fn quadratic_form(covariance: &Array2<f64>, d: &Array1<f64>) -> Option<f64> {
    let n = d.len();
    let scale: Vec<f64> = (0..n).map(|i| covariance[[i, i]].sqrt()).collect();
    if scale.iter().any(|s| s.is_nan() || *s <= 0.0) {
        return None;
    }
    let mut factor = Array2::<f64>::zeros((n, n));
    let mut y = vec![0.0; n];
    for i in 0..n {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|k| factor[[i, k]] * factor[[j, k]]).sum();
            let rest = covariance[[i, j]] / (scale[i] * scale[j]) - sum;
            if i == j {
                if rest < 1e-12 {
                    return None;
                }
                factor[[i, i]] = rest.sqrt();
            } else {
                factor[[i, j]] = rest / factor[[j, j]];
            }
        }
        let sum: f64 = (0..i).map(|k| factor[[i, k]] * y[k]).sum();
        y[i] = (d[i] / scale[i] - sum) / factor[[i, i]];
    }
    Some(y.iter().map(|v| v * v).sum())
}

pub(crate) fn check(operation: &'static str, what: &str, values: ArrayView2<'_, f64>) -> Result<()> {
    if values.nrows() < 2 || values.ncols() == 0 {
        let got = if values.ncols() == 0 { 0 } else { values.nrows() };
        return Err(Error::TooFew { operation, what: what.into(), expected: 2, got });
    }
    match values.indexed_iter().find(|(_, v)| !v.is_finite()) {
        None => Ok(()),
        Some(((i, j), v)) => {
            let (what, expected) = (format!("number {j} of member {i} of {what}"), "finite".into());
            Err(Error::Value { operation, what, expected, got: v.to_string() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn correlated(n: usize, rng: &mut Rng) -> Array2<f64> {
        let mut values = Array2::zeros((n, 3));
        for mut row in values.rows_mut() {
            let [a, b, c]: [f64; 3] = std::array::from_fn(|_| rng.normal());
            (row[0], row[1], row[2]) = (a, 0.8 * a + 0.6 * b, 10.0 * c);
        }
        values
    }

    #[test]
    fn both_resamplings_estimate_one_covariance() {
        let values = correlated(50, &mut Rng::new(1));
        let jackknife = mean_covariance(values.view(), Resampling::Jackknife).unwrap();
        let mean = values.mean_axis(Axis(0)).unwrap();
        for i in 0..3 {
            for j in 0..3 {
                let sum: f64 = values.outer_iter().map(|r| (r[i] - mean[i]) * (r[j] - mean[j])).sum();
                assert!((jackknife[[i, j]] - sum / (49.0 * 50.0)).abs() < 1e-12);
            }
        }
        let bootstrap =
            mean_covariance(values.view(), Resampling::Bootstrap { draws: 4000, seed: 2 }).unwrap();
        for i in 0..3 {
            assert!((bootstrap[[i, i]] / jackknife[[i, i]] - 1.0).abs() < 0.1);
        }
    }

    #[test]
    fn equal_ensembles_have_even_p_values_and_the_expected_chi_squared() {
        let mut rng = Rng::new(3);
        let found: Vec<ChiSquared> = (0..400)
            .map(|_| {
                let (a, b) = (correlated(20, &mut rng), correlated(20, &mut rng));
                chi_squared(a.view(), b.view(), Resampling::Jackknife).unwrap()
            })
            .collect();
        let mean = found.iter().map(|f| f.chi_squared).sum::<f64>() / 400.0;
        assert!((mean / found[0].expected - 1.0).abs() < 0.15, "{mean} {}", found[0].expected);
        let below = |p: f64| found.iter().filter(|f| f.p_value < p).count() as f64 / 400.0;
        assert!((below(0.5) - 0.5).abs() < 0.1 && (below(0.1) - 0.1).abs() < 0.06);
    }

    #[test]
    fn groups_are_left_out_whole() {
        // Four members a group that share a common part: the error of the mean is that part's.
        let (groups, each) = (60, 4);
        let mut rng = Rng::new(5);
        let common: Vec<f64> = (0..groups).map(|_| rng.normal()).collect();
        let values =
            Array2::from_shape_fn((groups * each, 1), |(i, _)| common[i / each] + 0.1 * rng.normal());
        let of: Vec<usize> = (0..groups * each).map(|i| i / each).collect();
        let means = group_means(values.view(), &of).unwrap();
        let found = mean_covariance(means.view(), Resampling::Jackknife).unwrap()[[0, 0]];
        // By hand: the scatter of the means of all but one group.
        let left_out: Vec<f64> = (0..groups)
            .map(|g| {
                let rest =
                    values.column(0).iter().zip(&of).filter(|(_, o)| **o != g).map(|(v, _)| *v).sum::<f64>();
                rest / ((groups - 1) * each) as f64
            })
            .collect();
        let mean = left_out.iter().sum::<f64>() / groups as f64;
        let by_hand =
            left_out.iter().map(|v| (v - mean).powi(2)).sum::<f64>() * (groups - 1) as f64 / groups as f64;
        assert!((found / by_hand - 1.0).abs() < 1e-10);
        let single = mean_covariance(values.view(), Resampling::Jackknife).unwrap()[[0, 0]];
        assert!(found > 2.0 * single, "{found} {single}");
        assert!(group_means(values.view(), &of[1..]).is_err());
    }

    #[test]
    fn too_few_members_and_repeated_bins_are_told() {
        let few = Array2::from_shape_fn((3, 9), |(i, j)| (i * j) as f64);
        let told =
            |a: &Array2<f64>| chi_squared(a.view(), a.view(), Resampling::Jackknife).unwrap_err().to_string();
        assert!(told(&few).contains("12"), "{}", told(&few));
        let twice = Array2::from_shape_fn((30, 2), |(i, _)| (i * i % 7) as f64);
        assert!(told(&twice).contains("singular"));
        let nan = Array2::from_elem((5, 1), f64::NAN);
        assert!(
            mean_covariance(nan.view(), Resampling::Jackknife).unwrap_err().to_string().contains("member 0")
        );
    }
}

//! Whether posteriors mean what they say: ranks, coverage of intervals, TARP.

use halocast_core::Rng;
use ndarray::{ArrayView2, ArrayView3};
use serde::{Deserialize, Serialize};

use crate::special::kolmogorov_tail;
use crate::{Error, Result};

/// The ranks of true parameters among posterior draws, for one parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RankHistogram {
    /// The rank of the truth of each case: how many of the draws are below it, 0 to the number of draws.
    pub ranks: Vec<usize>,
    /// The number of draws a case.
    pub draws: usize,
    /// Cases in equal bins of rank: flat for a calibrated posterior, a hump for one too wide, a trough for one too narrow.
    pub histogram: Vec<u64>,
    /// The probability that a calibrated posterior's ranks deviate more from uniform (Kolmogorov-Smirnov).
    pub p_value: f64,
}

/// The expected against the found coverage of credible regions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// Nominal probabilities.
    pub level: Vec<f64>,
    /// The fraction of cases whose truth lies in its credible region of that probability. Below the level: overconfident.
    pub found: Vec<f64>,
    /// The binomial error sqrt(level (1 - level) / cases).
    pub error: Vec<f64>,
}

impl Coverage {
    /// The mean of found - level: negative when regions are too small.
    pub fn bias(&self) -> f64 {
        let each = self.found.iter().zip(&self.level).map(|(f, l)| f - l);
        each.sum::<f64>() / self.level.len().max(1) as f64
    }

    /// The largest |found - level| in units of its error.
    pub fn worst(&self) -> f64 {
        let each = self.found.iter().zip(&self.level).zip(&self.error);
        each.map(|((f, l), e)| (f - l).abs() / e).fold(0.0, f64::max)
    }
}

/// The rank histogram of parameter `parameter` in `bins` bins: draws `[case, draw, parameter]`, truths
/// `[case, parameter]`. A tie counts by a coin.
///
/// # Source
/// Talts et al. 2018, simulation-based calibration.
///
/// # Errors
/// [`Error::TooFew`] for no cases, draws or bins; [`Error::Mismatch`]; [`Error::Value`] for a number that is not finite or a
/// parameter that does not exist.
pub fn rank_histogram(
    draws: ArrayView3<'_, f64>,
    truths: ArrayView2<'_, f64>,
    parameter: usize,
    bins: usize,
    rng: &mut Rng,
) -> Result<RankHistogram> {
    let operation = "rank histogram";
    let (cases, count, parameters) = check(operation, draws, truths)?;
    if parameter >= parameters {
        let (what, expected) = ("the parameter".into(), format!("below {parameters}"));
        return Err(Error::Value { operation, what, expected, got: parameter.to_string() });
    }
    if bins == 0 {
        return Err(Error::TooFew { operation, what: "the bins".into(), expected: 1, got: 0 });
    }
    let ranks: Vec<usize> = (0..cases)
        .map(|case| {
            let truth = truths[[case, parameter]];
            let one = |draw: usize, coin: bool| {
                let value = draws[[case, draw, parameter]];
                value < truth || (value == truth && coin)
            };
            (0..count).filter(|&d| one(d, rng.uniform() < 0.5)).count()
        })
        .collect();
    let mut histogram = vec![0; bins];
    ranks.iter().for_each(|r| histogram[r * bins / (count + 1)] += 1);
    // A rank is a whole number: spread evenly over its own step it is uniform.
    let mut levels: Vec<f64> =
        ranks.iter().map(|&r| (r as f64 + rng.uniform()) / (count + 1) as f64).collect();
    levels.sort_unstable_by(f64::total_cmp);
    let n = cases as f64;
    let deviation = levels
        .iter()
        .enumerate()
        .map(|(i, u)| ((i as f64 + 1.0) / n - u).max(u - i as f64 / n))
        .fold(0.0, f64::max);
    let scaled = deviation * (n.sqrt() + 0.12 + 0.11 / n.sqrt());
    Ok(RankHistogram { ranks, draws: count, histogram, p_value: kolmogorov_tail(scaled) })
}

/// The coverage of central credible intervals of one parameter at `levels`: a truth is inside when |2 u - 1| <= level, u the
/// fraction of draws below it.
///
/// # Errors
/// As [`rank_histogram`]; [`Error::Value`] for a level outside (0, 1).
pub fn interval_coverage(
    draws: ArrayView3<'_, f64>,
    truths: ArrayView2<'_, f64>,
    parameter: usize,
    levels: &[f64],
    rng: &mut Rng,
) -> Result<Coverage> {
    let found = rank_histogram(draws, truths, parameter, 1, rng)?;
    let credible: Vec<f64> = found
        .ranks
        .iter()
        .map(|&r| (2.0 * (r as f64 + rng.uniform()) / (found.draws + 1) as f64 - 1.0).abs())
        .collect();
    covered("interval coverage", &credible, levels)
}

/// Tests of accuracy with random points: for each case a random reference point, and the fraction of draws nearer to it than the
/// truth is. Its distribution is uniform if, and for all references only if, the posterior is the right one, in all
/// parameters together. Parameters are first scaled to the range of all truths, the references are uniform in it.
///
/// # Source
/// Lemos et al. 2023.
///
/// # Errors
/// As [`interval_coverage`].
pub fn tarp(
    draws: ArrayView3<'_, f64>,
    truths: ArrayView2<'_, f64>,
    levels: &[f64],
    rng: &mut Rng,
) -> Result<Coverage> {
    let operation = "TARP";
    let (cases, count, parameters) = check(operation, draws, truths)?;
    let scale: Vec<(f64, f64)> = (0..parameters)
        .map(|p| {
            let column = truths.column(p);
            let ends =
                column.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |e, &v| (e.0.min(v), e.1.max(v)));
            (ends.0, if ends.1 > ends.0 { ends.1 - ends.0 } else { 1.0 })
        })
        .collect();
    let credible: Vec<f64> = (0..cases)
        .map(|case| {
            let reference: Vec<f64> = (0..parameters).map(|_| rng.uniform()).collect();
            let distance = |value: &dyn Fn(usize) -> f64| -> f64 {
                let scaled = |p: usize| (value(p) - scale[p].0) / scale[p].1 - reference[p];
                (0..parameters).map(|p| scaled(p).powi(2)).sum()
            };
            let truth = distance(&|p| truths[[case, p]]);
            let nearer = (0..count).filter(|&d| distance(&|p| draws[[case, d, p]]) < truth).count();
            (nearer as f64 + rng.uniform()) / (count + 1) as f64
        })
        .collect();
    covered(operation, &credible, levels)
}

fn covered(operation: &'static str, credible: &[f64], levels: &[f64]) -> Result<Coverage> {
    if let Some(level) = levels.iter().find(|l| !(**l > 0.0 && **l < 1.0)) {
        let (what, expected) = ("a level".into(), "between 0 and 1".into());
        return Err(Error::Value { operation, what, expected, got: level.to_string() });
    }
    let n = credible.len() as f64;
    Ok(Coverage {
        level: levels.to_vec(),
        found: levels.iter().map(|l| credible.iter().filter(|c| *c <= l).count() as f64 / n).collect(),
        error: levels.iter().map(|l| (l * (1.0 - l) / n).sqrt()).collect(),
    })
}

fn check(
    operation: &'static str,
    draws: ArrayView3<'_, f64>,
    truths: ArrayView2<'_, f64>,
) -> Result<(usize, usize, usize)> {
    let (cases, count, parameters) = draws.dim();
    for (what, got) in [("the cases", cases), ("the draws", count), ("the parameters", parameters)] {
        if got == 0 {
            return Err(Error::TooFew { operation, what: what.into(), expected: 1, got });
        }
    }
    if truths.dim() != (cases, parameters) {
        let (what, expected) = ("the shape of the truths".into(), format!("[{cases}, {parameters}]"));
        return Err(Error::Mismatch { operation, what, expected, got: format!("{:?}", truths.shape()) });
    }
    match draws.iter().chain(truths.iter()).find(|v| !v.is_finite()) {
        Some(v) => {
            let (what, expected) = ("a draw or truth".into(), "finite".into());
            Err(Error::Value { operation, what, expected, got: v.to_string() })
        }
        None => Ok((cases, count, parameters)),
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, Array3};

    use super::*;

    /// Truths and draws of a Gaussian posterior, the draws `spread` times too wide and shifted.
    fn posterior(spread: f64, shift: f64, seed: u64) -> (Array3<f64>, Array2<f64>) {
        let mut rng = Rng::new(seed);
        let (cases, count) = (400, 60);
        let centres = Array2::from_shape_fn((cases, 2), |_| 3.0 * rng.normal());
        let truths = centres.mapv(|c| c + rng.normal());
        let draws = Array3::from_shape_fn((cases, count, 2), |(i, _, p)| {
            centres[[i, p]] + shift + spread * rng.normal()
        });
        (draws, truths)
    }

    const LEVELS: [f64; 4] = [0.2, 0.5, 0.68, 0.9];

    #[test]
    fn the_right_posterior_is_calibrated() {
        let (draws, truths) = posterior(1.0, 0.0, 1);
        let mut rng = Rng::new(2);
        let ranks = rank_histogram(draws.view(), truths.view(), 1, 10, &mut rng).unwrap();
        assert!(ranks.p_value > 0.01 && ranks.histogram.iter().sum::<u64>() == 400);
        assert!(interval_coverage(draws.view(), truths.view(), 0, &LEVELS, &mut rng).unwrap().worst() < 4.0);
        let found = tarp(draws.view(), truths.view(), &LEVELS, &mut rng).unwrap();
        assert!(found.worst() < 4.0 && found.bias().abs() < 0.06, "{found:?}");
    }

    #[test]
    fn wrong_posteriors_show_how() {
        let mut rng = Rng::new(3);
        let (draws, truths) = posterior(0.4, 0.0, 1);
        let narrow = interval_coverage(draws.view(), truths.view(), 0, &LEVELS, &mut rng).unwrap();
        assert!(narrow.bias() < -0.1);
        let ranks = rank_histogram(draws.view(), truths.view(), 0, 4, &mut rng).unwrap();
        assert!(ranks.p_value < 1e-3 && ranks.histogram[0] + ranks.histogram[3] > 250);
        let (draws, truths) = posterior(3.0, 0.0, 1);
        assert!(interval_coverage(draws.view(), truths.view(), 0, &LEVELS, &mut rng).unwrap().bias() > 0.1);
        let (draws, truths) = posterior(1.0, 1.5, 1);
        assert!(tarp(draws.view(), truths.view(), &LEVELS, &mut rng).unwrap().worst() > 4.0);
    }

    #[test]
    fn absurd_input_is_refused() {
        let (draws, truths) = posterior(1.0, 0.0, 1);
        let mut rng = Rng::new(3);
        let few = truths.slice(ndarray::s![..5, ..]);
        assert!(tarp(draws.view(), few, &LEVELS, &mut rng).is_err());
        assert!(tarp(draws.view(), truths.view(), &[1.0], &mut rng).is_err());
        assert!(rank_histogram(draws.view(), truths.view(), 2, 5, &mut rng).is_err());
        assert!(
            rank_histogram(Array3::zeros((0, 3, 1)).view(), Array2::zeros((0, 1)).view(), 0, 5, &mut rng)
                .is_err()
        );
        let mut bad = draws.clone();
        bad[[3, 2, 1]] = f64::NAN;
        assert!(tarp(bad.view(), truths.view(), &LEVELS, &mut rng).is_err());
    }
}

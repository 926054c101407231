//! Judging samples by the truth: spectra, Minkowski functionals, pixel distributions.

use halocast_core::{Comparison, Map, Metric, Rng};
use ndarray::Axis;
use serde::{Deserialize, Serialize};

use crate::{
    Bins, Error, MinkowskiConvention, MinkowskiFunctionals, PowerConvention, PowerSpectra, Result, ensemble,
    kolmogorov_smirnov, minkowski_functionals, pixel_pdf, power_spectra, quantiles, wasserstein,
};

/// The mean over bins of `|<P_samples> / <P_truth> - 1|`, over the bins that lie below Nyquist with both edges
/// ([`PowerSpectra::below_nyquist`]; for Pylians' bins of an n x n map j = 1 ..= n/2 - 1). Every bin has the same weight.
///
/// # Errors
/// [`Error::Mismatch`] when the two have different bins; [`Error::Value`] when no bin lies below Nyquist or the truth
/// has no power in one.
pub fn mean_abs_fractional(truth: &PowerSpectra, samples: &PowerSpectra) -> Result<f64> {
    let operation = "fractional difference of power";
    let same = truth.k.len() == samples.k.len()
        && truth.k.iter().zip(&samples.k).all(|(a, b)| (a - b).abs() <= 1e-9 * a.abs());
    if !same {
        let describe = |s: &PowerSpectra| format!("{} bins from k = {:?}", s.k.len(), s.k.first());
        let what = "the samples' spectrum".into();
        return Err(Error::Mismatch { operation, what, expected: describe(truth), got: describe(samples) });
    }
    fractional(&truth.below_nyquist(), &truth.mean(), &samples.mean())
}

fn fractional(bins: &[usize], truth: &[f64], samples: &[f64]) -> Result<f64> {
    let operation = "fractional difference of power";
    if bins.is_empty() {
        let (what, expected) = ("the bins below Nyquist".into(), 1);
        return Err(Error::TooFew { operation, what, expected, got: 0 });
    }
    if let Some(&j) = bins.iter().find(|&&j| truth[j] <= 0.0) {
        let (what, expected) = (format!("the truth's mean power in bin {j}"), "positive".into());
        return Err(Error::Value { operation, what, expected, got: truth[j].to_string() });
    }
    Ok(bins.iter().map(|&j| (samples[j] / truth[j] - 1.0).abs()).sum::<f64>() / bins.len() as f64)
}

/// The floor of [`mean_abs_fractional`]: the same number between two random halves of the truth, averaged over
/// `halvings` halvings.
///
/// Two halves of n/2 members differ by noise of variance 4/n per member's variance, n samples and n members of truth by
/// 2/n: a perfect ensemble as large as the truth scores this number divided by sqrt 2. Members that are correlated (slabs
/// of one universe) make every such floor too low; shuffle whole universes for one that is not.
///
/// # Errors
/// [`Error::TooFew`] for fewer than two members or no halvings.
pub fn split_half(truth: &PowerSpectra, halvings: usize, rng: &mut Rng) -> Result<f64> {
    let operation = "split half";
    let members = truth.power.nrows();
    for (what, expected, got) in [("the truth", 2, members), ("the halvings", 1, halvings)] {
        if got < expected {
            return Err(Error::TooFew { operation, what: what.into(), expected, got });
        }
    }
    let bins = truth.below_nyquist();
    let mut order: Vec<usize> = (0..members).collect();
    let mut sum = 0.0;
    for _ in 0..halvings {
        rng.shuffle(&mut order);
        let half = |range: &[usize]| ensemble::mean(truth.power.select(Axis(0), range).view());
        let (first, second) = (half(&order[..members / 2]), half(&order[members / 2..]));
        sum += fractional(&bins, &first, &second)?;
    }
    Ok(sum / halvings as f64)
}

/// The power spectra of two ensembles; the score is [`mean_abs_fractional`]: 0 is perfect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PowerDistance {
    /// The convention of the spectra.
    pub convention: PowerConvention,
}

impl Metric for PowerDistance {
    fn name(&self) -> &str {
        "power spectrum"
    }

    fn compare(&self, truth: &[Map], samples: &[Map]) -> halocast_core::Result<Comparison> {
        ensemble::check_pair("power spectrum", ("the truth", truth), ("the samples", samples))?;
        let (truth, samples) =
            (power_spectra(truth, self.convention)?, power_spectra(samples, self.convention)?);
        let score = mean_abs_fractional(&truth, &samples)?;
        Ok(Comparison { name: self.name().into(), truth: truth.curve(), samples: samples.curve(), score })
    }
}

/// How much of the samples' Minkowski functionals lies within the truth's scatter.
#[derive(Clone, Debug, PartialEq)]
pub struct MinkowskiInside {
    /// The truth's functionals.
    pub truth: MinkowskiFunctionals,
    /// The samples' functionals.
    pub samples: MinkowskiFunctionals,
    /// For M0, M1, M2: the fraction of thresholds where the samples' mean lies inside the truth's mean +- one standard
    /// deviation of one map.
    pub fraction: [f64; 3],
}

impl MinkowskiInside {
    /// The smallest of the three fractions.
    pub fn minimum(&self) -> f64 {
        self.fraction.iter().copied().fold(1.0, f64::min)
    }
}

/// [`MinkowskiInside`] at `thresholds` equally spaced thresholds between the truth's 1st and 99th pixel percentile.
///
/// ```
/// use halocast_core::{Map, Rng};
/// use halocast_stats::{MinkowskiConvention, minkowski_inside};
/// use ndarray::Array2;
///
/// let mut rng = Rng::new(1);
/// let mut noise = |scale: f32| {
///     let values = Array2::from_shape_fn((32, 32), |_| scale * rng.normal() as f32);
///     Map::square("noise", values, 1.0)
/// };
/// let truth: Vec<Map> = (0..20).map(|_| noise(1.0)).collect();
/// let good: Vec<Map> = (0..20).map(|_| noise(1.0)).collect();
/// let bad: Vec<Map> = (0..20).map(|_| noise(1.5)).collect();
/// let inside = |samples| minkowski_inside(&truth, samples, 50, MinkowskiConvention::Quantimpy);
/// assert!(inside(&good)?.minimum() > 0.9);
/// assert!(inside(&bad)?.minimum() < 0.3);
/// # Ok::<(), halocast_stats::Error>(())
/// ```
///
/// # Errors
/// [`Error::TooFew`] for fewer than two maps of truth, no samples, or fewer than two thresholds;
/// [`Error::Mismatch`]; [`Error::Map`] naming a pixel that is not finite.
pub fn minkowski_inside(
    truth: &[Map],
    samples: &[Map],
    thresholds: usize,
    convention: MinkowskiConvention,
) -> Result<MinkowskiInside> {
    let operation = "Minkowski functionals";
    ensemble::check_pair(operation, ("the truth", truth), ("the samples", samples))?;
    for (what, got) in [("the truth", truth.len()), ("the thresholds", thresholds)] {
        if got < 2 {
            return Err(Error::TooFew { operation, what: what.into(), expected: 2, got });
        }
    }
    let ends = quantiles(truth, &[0.01, 0.99])?;
    let step = (ends[1] - ends[0]) / (thresholds - 1) as f64;
    let thresholds: Vec<f64> = (0..thresholds).map(|i| ends[0] + step * i as f64).collect();
    let truth = minkowski_functionals(truth, &thresholds, convention)?;
    let samples = minkowski_functionals(samples, &thresholds, convention)?;
    let (mean, std, found) = (truth.mean(), truth.std(), samples.mean());
    let fraction = std::array::from_fn(|f| {
        let inside = |&i: &usize| (found[f][i] - mean[f][i]).abs() <= std[f][i];
        (0..thresholds.len()).filter(inside).count() as f64 / thresholds.len() as f64
    });
    Ok(MinkowskiInside { truth, samples, fraction })
}

/// One Minkowski functional of two ensembles; the score is its fraction of [`minkowski_inside`]: 1 is perfect.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MinkowskiAgreement {
    /// Which functional, 0 to 2.
    pub functional: usize,
    /// The number of thresholds.
    pub thresholds: usize,
    /// The estimator.
    pub convention: MinkowskiConvention,
}

impl MinkowskiAgreement {
    /// M0, M1 and M2 at 50 thresholds in QuantImPy's convention.
    pub fn all() -> [Self; 3] {
        let convention = MinkowskiConvention::Quantimpy;
        std::array::from_fn(|functional| Self { functional, thresholds: 50, convention })
    }
}

impl Metric for MinkowskiAgreement {
    fn name(&self) -> &str {
        ["Minkowski M0", "Minkowski M1", "Minkowski M2"][self.functional.min(2)]
    }

    fn compare(&self, truth: &[Map], samples: &[Map]) -> halocast_core::Result<Comparison> {
        let both = minkowski_inside(truth, samples, self.thresholds, self.convention)?;
        let functional = self.functional.min(2);
        Ok(Comparison {
            name: self.name().into(),
            truth: both.truth.curve(functional),
            samples: both.samples.curve(functional),
            score: both.fraction[functional],
        })
    }
}

/// The distribution of pixels, all maps of an ensemble together. The curves are densities in shared bins; the score is a
/// distance of the unbinned pixels: 0 is perfect.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PixelDistance {
    /// The distance.
    pub distance: PixelDistanceKind,
    /// The number of equal bins of the curves, from the smallest to the largest pixel of both ensembles.
    pub bins: usize,
}

/// Which distance of two distributions of pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PixelDistanceKind {
    /// Wasserstein-1, in units of the truth's standard deviation over pixels.
    #[default]
    Wasserstein,
    /// The Kolmogorov-Smirnov statistic.
    KolmogorovSmirnov,
}

impl Default for PixelDistance {
    fn default() -> Self {
        Self { distance: PixelDistanceKind::default(), bins: 50 }
    }
}

impl Metric for PixelDistance {
    fn name(&self) -> &str {
        match self.distance {
            PixelDistanceKind::Wasserstein => "pixels, Wasserstein",
            PixelDistanceKind::KolmogorovSmirnov => "pixels, Kolmogorov-Smirnov",
        }
    }

    fn compare(&self, truth: &[Map], samples: &[Map]) -> halocast_core::Result<Comparison> {
        ensemble::check_pair("pixel distance", ("the truth", truth), ("the samples", samples))?;
        let pixels = |maps: &[Map]| -> Vec<f64> {
            maps.iter().flat_map(|m| m.values.iter().map(|&v| f64::from(v))).collect()
        };
        let (a, b) = (pixels(truth), pixels(samples));
        let score = match self.distance {
            PixelDistanceKind::KolmogorovSmirnov => kolmogorov_smirnov(&a, &b)?,
            PixelDistanceKind::Wasserstein => {
                let n = a.len() as f64;
                let mean = a.iter().sum::<f64>() / n;
                let sigma = (a.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
                if sigma <= 0.0 {
                    Err(Error::Value {
                        operation: "pixel distance",
                        what: "the truth's standard deviation".into(),
                        expected: "positive".into(),
                        got: sigma.to_string(),
                    })?;
                }
                wasserstein(&a, &b, 1.0)? / sigma
            }
        };
        let range =
            |v: &[f64]| v.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |r, &v| (r.0.min(v), r.1.max(v)));
        let (ra, rb) = (range(&a), range(&b));
        let bins = Bins::linear(ra.0.min(rb.0), ra.1.max(rb.1), self.bins)?;
        let (truth, samples) = (pixel_pdf(truth, &bins)?.curve(), pixel_pdf(samples, &bins)?.curve());
        Ok(Comparison { name: self.name().into(), truth, samples, score })
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    fn noise(count: usize, scale: f32, seed: u64) -> Vec<Map> {
        let mut rng = Rng::new(seed);
        (0..count)
            .map(|_| {
                let values = Array2::from_shape_fn((16, 16), |_| scale * rng.normal() as f32);
                Map::square("noise", values, 1.0)
            })
            .collect()
    }

    fn spectra(maps: &[Map]) -> PowerSpectra {
        power_spectra(maps, PowerConvention::pylians()).unwrap()
    }

    #[test]
    fn a_factor_in_amplitude_is_its_square_in_power() {
        let truth = noise(5, 1.0, 1);
        let louder: Vec<Map> = truth.iter().map(|m| m.map_values(|v| 2.0 * v)).collect();
        assert!((mean_abs_fractional(&spectra(&truth), &spectra(&louder)).unwrap() - 3.0).abs() < 1e-9);
    }

    #[test]
    fn halves_differ_by_sqrt_two_more_than_equal_ensembles() {
        let halves = split_half(&spectra(&noise(200, 1.0, 1)), 200, &mut Rng::new(7)).unwrap();
        let mut equal = 0.0;
        for seed in 0..40 {
            let pair = [noise(200, 1.0, 100 + seed), noise(200, 1.0, 200 + seed)];
            equal += mean_abs_fractional(&spectra(&pair[0]), &spectra(&pair[1])).unwrap() / 40.0;
        }
        assert!((halves / equal / 2f64.sqrt() - 1.0).abs() < 0.2, "{halves} {equal}");
    }

    #[test]
    fn every_metric_prefers_the_right_ensemble() {
        let (truth, right, wrong) = (noise(20, 1.0, 1), noise(20, 1.0, 2), noise(20, 1.4, 3));
        let mut metrics: Vec<(Box<dyn Metric>, f64)> = vec![
            (Box::new(PowerDistance::default()), -1.0),
            (Box::new(PixelDistance::default()), -1.0),
            (Box::new(PixelDistance { distance: PixelDistanceKind::KolmogorovSmirnov, bins: 10 }), -1.0),
        ];
        metrics.extend(MinkowskiAgreement::all().map(|m| (Box::new(m) as Box<dyn Metric>, 1.0)));
        for (metric, sign) in metrics {
            let right = metric.compare(&truth, &right).unwrap();
            let wrong = metric.compare(&truth, &wrong).unwrap();
            assert!(sign * right.score > sign * wrong.score, "{}", metric.name());
            assert_eq!(right.truth.x, right.samples.x);
            assert_eq!(metric.compare(&truth, &truth).unwrap().score, sign.max(0.0), "{}", metric.name());
            assert!(metric.compare(&truth, &[]).is_err());
            assert!(metric.compare(&[], &truth).is_err());
        }
    }
}

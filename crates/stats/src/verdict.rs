//! Where samples fail: the bins of every statistic in which two means differ by more than chance, in one sentence.

use std::fmt;

use halocast_core::{Comparison, Curve};
use ndarray::{ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use crate::{Error, Result, covariance};

/// What one statistic says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The statistic's name.
    pub statistic: String,
    /// What its abscissa is, with unit.
    pub x_label: String,
    /// The number of bins that could be judged: those with scatter.
    pub judged: usize,
    /// How many of them differ beyond the limit.
    pub outside: usize,
    /// The run of neighbouring bins beyond the limit, of one sign, with the largest deviation: its first and last
    /// abscissa. `None` where nothing is outside.
    pub range: Option<[f64; 2]>,
    /// The mean over that run of samples / truth - 1; NaN where the truth is not positive, or nothing is outside.
    pub fractional: f64,
    /// The largest deviation of all judged bins, in standard errors of the difference, with its sign.
    pub deviation: f64,
}

/// Which statistics of samples differ from those of the truth, and where. [`Display`](fmt::Display) is one sentence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// One finding a statistic, in the order of the comparisons.
    pub findings: Vec<Finding>,
    /// The limit on a bin's deviation: exceeded by chance in one of a hundred whole verdicts, whatever the correlations of the
    /// bins (Bonferroni).
    pub limit: f64,
    /// The numbers of members, truth and samples.
    pub members: [usize; 2],
}

impl Verdict {
    /// Judges comparisons of `members` maps of truth and samples. A bin's deviation is
    /// (m_s - m_t) / sqrt(s_t^2 / n_t + s_s^2 / n_s) with the means and scatters of the curves; bins without scatter, or
    /// that are not finite, are not judged.
    ///
    /// ```
    /// use halocast_core::{Map, Metric, Rng};
    /// use halocast_stats::{PixelDistance, PowerDistance, Verdict};
    /// use ndarray::Array2;
    ///
    /// let mut rng = Rng::new(1);
    /// let mut noise = |scale: f32| -> Vec<Map> {
    ///     let mut map = || Array2::from_shape_fn((16, 16), |_| scale * rng.normal() as f32);
    ///     (0..50).map(|_| Map::square("noise", map(), 1.0)).collect()
    /// };
    /// let (truth, good, bad) = (noise(1.0), noise(1.0), noise(1.3));
    /// let judge = |samples: &[Map]| -> Result<Verdict, halocast_core::Error> {
    ///     let found = [PowerDistance::default().compare(&truth, samples)?, PixelDistance::default().compare(&truth, samples)?];
    ///     Ok(Verdict::new(&found, [50, 50])?)
    /// };
    /// assert!(judge(&good)?.passes());
    /// assert!(judge(&bad)?.to_string().contains("power spectrum"));
    /// # Ok::<(), halocast_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TooFew`] for fewer than two members of either, or no comparisons: without scatter nothing is judged.
    pub fn new(comparisons: &[Comparison], members: [usize; 2]) -> Result<Self> {
        let operation = "verdict";
        for (what, expected, got) in [
            ("the truth", 2, members[0]),
            ("the samples", 2, members[1]),
            ("the comparisons", 1, comparisons.len()),
        ] {
            if got < expected {
                return Err(Error::TooFew { operation, what: what.into(), expected, got });
            }
        }
        let deviations: Vec<Vec<f64>> =
            comparisons.iter().map(|c| deviations(&c.truth, &c.samples, members)).collect();
        let judged: usize = deviations.iter().flatten().filter(|d| !d.is_nan()).count();
        let limit = normal_quantile(0.01 / judged.max(1) as f64);
        let findings = comparisons.iter().zip(&deviations).map(|(c, d)| finding(c, d, limit)).collect();
        Ok(Self { findings, limit, members })
    }

    /// Whether no statistic differs beyond the limit.
    pub fn passes(&self) -> bool {
        self.findings.iter().all(|f| f.outside == 0)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [truth, samples] = self.members;
        let mut failing: Vec<&Finding> = self.findings.iter().filter(|f| f.outside > 0).collect();
        failing.sort_by(|a, b| b.deviation.abs().total_cmp(&a.deviation.abs()));
        if failing.is_empty() {
            let names: Vec<&str> = self.findings.iter().map(|f| f.statistic.as_str()).collect();
            return write!(
                f,
                "{samples} samples agree with {truth} of the truth within {:.1} sigma in every bin of: {}.",
                self.limit,
                names.join(", ")
            );
        }
        write!(f, "The samples fail in ")?;
        for (i, finding) in failing.iter().enumerate() {
            if i > 0 {
                write!(f, "; ")?;
            }
            write!(f, "{}", finding.statistic)?;
            if let Some([first, last]) = finding.range {
                let label = finding.x_label.as_str();
                if first == last {
                    write!(f, " at {label} = {first:.3}")?;
                } else {
                    write!(f, " from {label} = {first:.3} to {last:.3}")?;
                }
            }
            if finding.fractional.is_finite() {
                let word = if finding.fractional < 0.0 { "low" } else { "high" };
                write!(f, ", {:.1} % too {word}", 100.0 * finding.fractional.abs())?;
            }
            let bins = format!("{} of {} bins", finding.outside, finding.judged);
            match finding.deviation.abs() < 1e6 {
                true => write!(f, " ({:+.1} sigma; {bins})", finding.deviation)?,
                false => write!(f, " (beyond any scatter; {bins})")?,
            }
        }
        let good: Vec<&str> =
            self.findings.iter().filter(|f| f.outside == 0).map(|f| f.statistic.as_str()).collect();
        if !good.is_empty() {
            write!(f, "; they agree in {}", good.join(", "))?;
        }
        write!(f, ".")
    }
}

/// In standard errors of the difference; NaN where a bin cannot be judged.
fn deviations(truth: &Curve, samples: &Curve, members: [usize; 2]) -> Vec<f64> {
    let [n, m] = members.map(|n| n as f64);
    let bins = truth.mean.len().min(samples.mean.len());
    (0..bins)
        .map(|i| {
            let error = (truth.std[i].powi(2) / n + samples.std[i].powi(2) / m).sqrt();
            let deviation = (samples.mean[i] - truth.mean[i]) / error;
            // A difference without any scatter is beyond every limit: not a matter of chance.
            if deviation.is_infinite() { f64::MAX.copysign(deviation) } else { deviation }
        })
        .collect()
}

fn finding(comparison: &Comparison, deviations: &[f64], limit: f64) -> Finding {
    let (truth, samples) = (&comparison.truth, &comparison.samples);
    let outside = |i: usize| deviations[i].abs() > limit;
    let worst = (0..deviations.len())
        .filter(|&i| !deviations[i].is_nan())
        .max_by(|&a, &b| deviations[a].abs().total_cmp(&deviations[b].abs()));
    let mut found = Finding {
        statistic: comparison.name.clone(),
        x_label: truth.x_label.clone(),
        judged: deviations.iter().filter(|d| !d.is_nan()).count(),
        outside: (0..deviations.len()).filter(|&i| outside(i)).count(),
        range: None,
        fractional: f64::NAN,
        deviation: worst.map_or(0.0, |i| deviations[i]),
    };
    if let Some(worst) = worst.filter(|&i| outside(i)) {
        let alike = |i: usize| outside(i) && deviations[i].signum() == deviations[worst].signum();
        let first = (0..=worst).rev().take_while(|&i| alike(i)).last().unwrap_or(worst);
        let last = (worst..deviations.len()).take_while(|&i| alike(i)).last().unwrap_or(worst);
        found.range = Some([truth.x[first], truth.x[last]]);
        if (first..=last).all(|i| truth.mean[i] > 0.0) {
            let ratios = (first..=last).map(|i| samples.mean[i] / truth.mean[i] - 1.0);
            found.fractional = ratios.sum::<f64>() / (last - first + 1) as f64;
        }
    }
    found
}

/// The deviation that a normal number exceeds in size with probability `p`.
fn normal_quantile(p: f64) -> f64 {
    let (mut low, mut high) = (0.0, 40.0);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if crate::minkowski::erfc(middle / std::f64::consts::SQRT_2) > p {
            low = middle
        } else {
            high = middle
        }
    }
    low
}

/// How far samples stay within the scatter of the truth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// The fraction of bins where the samples' mean lies between the truth's quantiles.
    pub mean_inside: f64,
    /// The fraction of all members and bins of the samples between them: `nominal` for equal distributions.
    pub members_inside: f64,
    /// The probability between the quantiles.
    pub nominal: f64,
    /// The two quantiles in each bin.
    pub band: Vec<[f64; 2]>,
}

/// Whether samples `[member, bin]` stay in the central band of probability `nominal` (0.68 for one sigma) of the truth's
/// members, quantiles interpolated between order statistics.
///
/// # Errors
/// [`Error::TooFew`] for fewer than two members; [`Error::Mismatch`] for other bins; [`Error::Value`] for a number that is not finite or
/// a probability outside (0, 1).
pub fn envelope(truth: ArrayView2<'_, f64>, samples: ArrayView2<'_, f64>, nominal: f64) -> Result<Envelope> {
    let operation = "envelope";
    covariance::check(operation, "the truth", truth)?;
    covariance::check(operation, "the samples", samples)?;
    if truth.ncols() != samples.ncols() {
        let (what, expected) = ("the samples' number of bins".into(), truth.ncols().to_string());
        return Err(Error::Mismatch { operation, what, expected, got: samples.ncols().to_string() });
    }
    if !(nominal > 0.0 && nominal < 1.0) {
        let (what, expected) = ("the probability".into(), "between 0 and 1".into());
        return Err(Error::Value { operation, what, expected, got: nominal.to_string() });
    }
    let quantile = |sorted: &[f64], p: f64| {
        let at = p * (sorted.len() - 1) as f64;
        let (low, part) = (at.floor() as usize, at.fract());
        sorted[low] + part * (sorted[(low + 1).min(sorted.len() - 1)] - sorted[low])
    };
    let band: Vec<[f64; 2]> = truth
        .axis_iter(Axis(1))
        .map(|column| {
            let mut sorted = column.to_vec();
            sorted.sort_unstable_by(f64::total_cmp);
            [0.5 - 0.5 * nominal, 0.5 + 0.5 * nominal].map(|p| quantile(&sorted, p))
        })
        .collect();
    let inside = |bin: usize, v: f64| (band[bin][0]..=band[bin][1]).contains(&v);
    let means = samples.sum_axis(Axis(0)) / samples.nrows() as f64;
    let (bins, members) = (band.len() as f64, samples.len() as f64);
    let mean_inside = means.iter().enumerate().filter(|(i, v)| inside(*i, **v)).count() as f64 / bins;
    let members_inside =
        samples.indexed_iter().filter(|((_, j), v)| inside(*j, **v)).count() as f64 / members;
    Ok(Envelope { mean_inside, members_inside, nominal, band })
}

#[cfg(test)]
mod tests {
    use halocast_core::Rng;
    use ndarray::Array2;

    use super::*;

    fn curve(mean: Vec<f64>, std: f64) -> Curve {
        let x = (0..mean.len()).map(|i| i as f64).collect();
        Curve { x, std: vec![std; mean.len()], mean, x_label: "k [h/Mpc]".into(), y_label: "P".into() }
    }

    #[test]
    fn the_sentence_names_statistic_place_size_and_sign() {
        let truth = curve(vec![1.0; 6], 0.1);
        let samples = curve(vec![1.0, 1.01, 0.8, 0.7, 1.0, 1.2], 0.1);
        let comparison = Comparison { name: "power".into(), truth: truth.clone(), samples, score: 0.0 };
        let fine = Comparison { name: "pixels".into(), truth: truth.clone(), samples: truth, score: 0.0 };
        let found = Verdict::new(&[fine.clone(), comparison], [50, 50]).unwrap();
        assert_eq!(found.findings[1].range, Some([2.0, 3.0]));
        assert_eq!(found.findings[1].outside, 3);
        let text = found.to_string();
        for part in
            ["power from k [h/Mpc] = 2.000 to 3.000", "25.0 % too low", "-15.0 sigma", "agree in pixels"]
        {
            assert!(text.contains(part), "{text}");
        }
        assert!(Verdict::new(std::slice::from_ref(&fine), [50, 50]).unwrap().to_string().contains("agree"));
        assert!(Verdict::new(&[fine], [1, 50]).is_err());
        assert!(Verdict::new(&[], [5, 50]).is_err());
    }

    #[test]
    fn bins_without_scatter_are_judged_only_when_they_differ() {
        let (truth, mut samples) = (curve(vec![1.0; 3], 0.0), curve(vec![1.0; 3], 0.0));
        samples.mean[1] = 2.0;
        let comparison = Comparison { name: "a".into(), truth, samples, score: 0.0 };
        let found = &Verdict::new(&[comparison], [5, 5]).unwrap().findings[0];
        assert_eq!((found.judged, found.outside), (1, 1));
    }

    #[test]
    fn chance_alone_seldom_fails() {
        let mut rng = Rng::new(4);
        let mut failed = 0;
        for _ in 0..200 {
            let mut draw = || {
                let mut mean = vec![0.0; 30];
                let n = 40;
                for v in &mut mean {
                    *v = 10.0 + rng.normal() / f64::from(n).sqrt();
                }
                curve(mean, 1.0)
            };
            let comparison = Comparison { name: "a".into(), truth: draw(), samples: draw(), score: 0.0 };
            failed += usize::from(!Verdict::new(&[comparison], [40, 40]).unwrap().passes());
        }
        assert!(failed <= 8, "{failed} of 200");
        assert!((normal_quantile(0.05) - 1.959_963_984_5).abs() < 1e-8);
    }

    #[test]
    fn envelopes_hold_their_share() {
        let mut rng = Rng::new(5);
        let mut draw = |scale: f64| Array2::from_shape_fn((400, 20), |_| scale * rng.normal());
        let (truth, same, wide) = (draw(1.0), draw(1.0), draw(3.0));
        let found = envelope(truth.view(), same.view(), 0.68).unwrap();
        assert!((found.members_inside - 0.68).abs() < 0.03 && found.mean_inside == 1.0);
        assert!(envelope(truth.view(), wide.view(), 0.68).unwrap().members_inside < 0.35);
        assert!(envelope(truth.view(), same.view(), 1.0).is_err());
        assert!(envelope(truth.view(), Array2::zeros((5, 3)).view(), 0.5).is_err());
    }
}

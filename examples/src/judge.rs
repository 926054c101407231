//! Two ensembles of maps side by side: every statistic, and one verdict.

use std::collections::BTreeMap;

use anyhow::Result;
use halocast::core::{Comparison, Curve, Map, Metric, Rng};
use halocast::stats::{
    MinkowskiAgreement, MinkowskiConvention, PixelDistance, PowerDistance, PowerSpectra, Symmetries,
    memorisation, minkowski_functionals, power_spectra, quantiles, split_half,
};
use ndarray::Array2;
use serde::Serialize;

/// The curves of two ensembles side by side.
#[derive(Serialize)]
pub struct Curves {
    /// Power spectra.
    pub power: Comparison,
    /// Pixel distributions.
    pub pdf: Comparison,
    /// Minkowski functionals M0, M1, M2.
    pub minkowski: [Comparison; 3],
}

impl Curves {
    /// The curves of two ensembles; the thresholds of the Minkowski functionals are 50 between the 1st and 99th pixel
    /// percentiles of the first.
    ///
    /// # Errors
    /// When an ensemble is empty or the maps differ in shape.
    pub fn new(first: &[Map], second: &[Map]) -> Result<Self> {
        let minkowski = if first.len() < 2 { single(first, second)? } else { agreement(first, second)? };
        // Beyond the Nyquist wavenumber, in the corners of the Fourier square, nothing is judged.
        let metric = PowerDistance::default();
        let bins = power_spectra(first, metric.convention)?.below_nyquist();
        let power = metric.compare(first, second)?;
        let power = Comparison {
            truth: select(&power.truth, &bins),
            samples: select(&power.samples, &bins),
            ..power
        };
        Ok(Self { power, pdf: PixelDistance::default().compare(first, second)?, minkowski })
    }
}

/// The statistics of samples beside those of the truth.
#[derive(Serialize)]
pub struct Verdict {
    /// Mean over the bins of k_F below Nyquist of |<P_samples> / <P_truth> - 1|.
    pub pk_mean_abs_frac: f64,
    /// The same number between random halves of the truth, averaged over 32 halvings, whole simulations (regions of the
    /// sky) on one side: halves have half the maps, so two ensembles of the truth's size differ by 1/sqrt(2) of it.
    pub pk_split_half: f64,
    /// The smallest, over the three functionals, of the fractions in `minkowski_inside_each`.
    pub minkowski_inside: f64,
    /// For each Minkowski functional, the fraction of 50 thresholds at which the samples' mean lies within one standard
    /// deviation (of one map) of the truth's.
    pub minkowski_inside_each: [f64; 3],
    /// Wasserstein-1 distance of the pixel distributions, in units of the truth's pixel standard deviation.
    pub pdf_wasserstein: f64,
    /// The curves behind the numbers.
    pub curves: Curves,
}

/// Compares `samples` to `truth`; `groups` is the simulation, or the region of the sky, of each map of the truth.
///
/// # Errors
/// When an ensemble is too small or the maps differ in shape.
pub fn judge(truth: &[Map], groups: &[usize], samples: &[Map]) -> Result<Verdict> {
    let curves = Curves::new(truth, samples)?;
    let spectra = power_spectra(truth, PowerDistance::default().convention)?;
    let inside = [0, 1, 2].map(|i: usize| curves.minkowski[i].score);
    Ok(Verdict {
        pk_mean_abs_frac: curves.power.score,
        pk_split_half: split_half(&by_group(&spectra, groups), 32, &mut Rng::new(0))?,
        minkowski_inside: inside.into_iter().fold(1.0, f64::min),
        minkowski_inside_each: inside,
        pdf_wasserstein: curves.pdf.score,
        curves,
    })
}

impl Verdict {
    /// One number to choose a checkpoint by: smaller is better. The fractional error of the power spectrum, and a
    /// penalty for thresholds outside the truth's envelope.
    pub fn score(&self) -> f64 {
        let outside = self.minkowski_inside_each.iter().map(|f| 1.0 - f).sum::<f64>() / 3.0;
        self.pk_mean_abs_frac + self.pdf_wasserstein + 0.5 * outside
    }

    /// Whether samples and truth agree by the house rule: power to 15 %, Minkowski functionals inside the envelope at
    /// 90 % of the thresholds.
    pub fn agrees(&self) -> bool {
        self.pk_mean_abs_frac <= 0.15 && self.minkowski_inside >= 0.9
    }
}

/// How near samples come to the training maps.
#[derive(Serialize)]
pub struct Novelty {
    /// Median distance of samples to their nearest training map over that of held-out maps: 1 is as new as the truth.
    pub nearest_ratio: f64,
    /// The fraction of samples nearer to a training map than any held-out map is.
    pub nearest_suspicious: f64,
    /// Median root-mean-square distance of the samples to their nearest training map.
    pub nearest_samples: f64,
    /// The same of held-out maps.
    pub nearest_held_out: f64,
}

/// Looks for samples that repeat a training map, up to reflections, rotations and (periodic maps) shifts.
///
/// # Errors
/// When an ensemble is empty or the maps differ in shape.
pub fn novelty(training: &[Map], held_out: &[Map], samples: &[Map]) -> Result<Novelty> {
    let periodic = training.iter().all(|m| m.periodic);
    let found = memorisation(training, held_out, samples, Symmetries { dihedral: true, shifts: periodic })?;
    let median = |nearest: &[halocast::stats::Nearest]| {
        let mut distances: Vec<f64> = nearest.iter().map(|n| n.distance).collect();
        distances.sort_unstable_by(f64::total_cmp);
        distances.get(distances.len() / 2).copied().unwrap_or(f64::NAN)
    };
    Ok(Novelty {
        nearest_ratio: found.ratio(),
        nearest_suspicious: found.suspicious(),
        nearest_samples: median(&found.samples),
        nearest_held_out: median(&found.held_out),
    })
}

fn agreement(first: &[Map], second: &[Map]) -> Result<[Comparison; 3]> {
    let [m0, m1, m2] = MinkowskiAgreement::all().map(|metric| metric.compare(first, second));
    Ok([m0?, m1?, m2?])
}

/// The functionals of single maps: without scatter there is no agreement to speak of.
fn single(first: &[Map], second: &[Map]) -> Result<[Comparison; 3]> {
    let ends = quantiles(first, &[0.01, 0.99])?;
    let thresholds: Vec<f64> = (0..50).map(|i| ends[0] + (ends[1] - ends[0]) * f64::from(i) / 49.0).collect();
    let convention = MinkowskiConvention::default();
    let a = minkowski_functionals(first, &thresholds, convention)?;
    let b = minkowski_functionals(second, &thresholds, convention)?;
    Ok(std::array::from_fn(|i| Comparison {
        name: format!("Minkowski M{i}"),
        truth: a.curve(i),
        samples: b.curve(i),
        score: f64::NAN,
    }))
}

/// The mean spectrum of each group: maps of one simulation are not independent, and are not torn apart.
fn by_group(spectra: &PowerSpectra, groups: &[usize]) -> PowerSpectra {
    let mut rows: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    groups.iter().enumerate().for_each(|(i, group)| rows.entry(*group).or_default().push(i));
    let mut power = Array2::zeros((rows.len(), spectra.k.len()));
    for (mut mean, members) in power.rows_mut().into_iter().zip(rows.values()) {
        members.iter().for_each(|&i| mean += &spectra.power.row(i));
        mean /= members.len() as f64;
    }
    PowerSpectra { power, ..spectra.clone() }
}

fn select(curve: &Curve, bins: &[usize]) -> Curve {
    let pick = |values: &[f64]| bins.iter().map(|&i| values[i]).collect();
    Curve { x: pick(&curve.x), mean: pick(&curve.mean), std: pick(&curve.std), ..curve.clone() }
}

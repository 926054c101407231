//! One number for each way in which two ensembles of maps can differ.

use anyhow::Result;
use halocast::core::{Map, Rng};
use halocast::stats::{
    ChiSquared, Fidelity, MaximumMeanDiscrepancy, PowerConvention, Resampling, chi_squared, energy_distance,
    envelope, fidelity, frechet_distance, maximum_mean_discrepancy, median_distance, power_spectra,
    sliced_wasserstein,
};
use ndarray::Array2;
use serde::Serialize;

use crate::judge::Verdict;

/// The numbers of an evaluation. Features are the logarithms of the power in at most eight bins of wavenumber below Nyquist,
/// standardised by the truth.
#[derive(Serialize)]
pub struct Numbers {
    /// Mean over bins below Nyquist of |<P_samples> / <P_truth> - 1|.
    pub pk_mean_abs_frac: f64,
    /// The same between random halves of the truth.
    pub pk_split_half: f64,
    /// Of each Minkowski functional, the fraction of thresholds with the mean inside the truth's scatter.
    pub minkowski_inside: [f64; 3],
    /// Wasserstein-1 of the pixels, in their standard deviations.
    pub pdf_wasserstein: f64,
    /// The fraction of samples and features inside the truth's central 68 %.
    pub envelope_68: f64,
    /// Chi-squared of the mean features; `None` where there are too few maps for their covariance.
    pub chi_squared: Option<ChiSquared>,
    /// Energy distance of the features.
    pub energy_distance: f64,
    /// Squared maximum mean discrepancy, the bandwidth the median distance.
    pub mmd: MaximumMeanDiscrepancy,
    /// Sliced Wasserstein-2 distance over 100 directions.
    pub sliced_wasserstein: f64,
    /// Squared Frechet distance of the features.
    pub frechet_distance: f64,
    /// Precision, recall, density and coverage with k = 5, or fewer where there are few maps.
    pub fidelity: Fidelity,
}

impl Numbers {
    /// The numbers of two ensembles whose curves were judged before.
    ///
    /// # Errors
    /// When an ensemble has fewer than two maps.
    pub fn new(truth: &[Map], samples: &[Map], judged: &Verdict, seed: u64) -> Result<Self> {
        let (a, b) = features(truth, samples)?;
        let bandwidth = median_distance(a.view(), b.view())?.max(f64::MIN_POSITIVE);
        let k = 5.min(truth.len().min(samples.len()) - 1);
        let mut rng = Rng::new(seed).split_named("sliced Wasserstein");
        Ok(Self {
            pk_mean_abs_frac: judged.pk_mean_abs_frac,
            pk_split_half: judged.pk_split_half,
            minkowski_inside: judged.minkowski_inside_each,
            pdf_wasserstein: judged.pdf_wasserstein,
            envelope_68: envelope(a.view(), b.view(), 0.68)?.members_inside,
            chi_squared: chi_squared(a.view(), b.view(), Resampling::Jackknife).ok(),
            energy_distance: energy_distance(a.view(), b.view())?,
            mmd: maximum_mean_discrepancy(a.view(), b.view(), bandwidth)?,
            sliced_wasserstein: sliced_wasserstein(a.view(), b.view(), 100, 2.0, &mut rng)?,
            frechet_distance: frechet_distance(a.view(), b.view())?,
            fidelity: fidelity(a.view(), b.view(), k)?,
        })
    }

    /// What, value, meaning.
    pub fn rows(&self) -> Vec<Vec<String>> {
        let row = |a: &str, b: String, c: &str| vec![a.to_owned(), b, c.to_owned()];
        let [m0, m1, m2] = self.minkowski_inside;
        let f = self.fidelity;
        let mut rows = vec![
            row("P(k), mean |samples / truth - 1|", format!("{:.4}", self.pk_mean_abs_frac), "0 is perfect"),
            row(
                "the same between halves of the truth",
                format!("{:.4}", self.pk_split_half),
                "the floor, times sqrt 2",
            ),
            row("Minkowski inside the scatter, M0 M1 M2", format!("{m0:.2} {m1:.2} {m2:.2}"), "1 is perfect"),
            row(
                "pixels, Wasserstein-1",
                format!("{:.4}", self.pdf_wasserstein),
                "in pixel standard deviations",
            ),
            row("features inside the truth's 68 %", format!("{:.3}", self.envelope_68), "0.68 is right"),
        ];
        if let Some(chi) = &self.chi_squared {
            let meaning = format!("{} bins, {:.1} expected, p = {:.2e}", chi.bins, chi.expected, chi.p_value);
            rows.push(row("chi-squared of ln P", format!("{:.2}", chi.chi_squared), &meaning));
        }
        rows.extend([
            row("energy distance", format!("{:.4}", self.energy_distance), "of ln P; 0 is perfect"),
            row("MMD^2, unbiased", format!("{:.5}", self.mmd.unbiased), "0 on average when equal"),
            row("sliced Wasserstein-2", format!("{:.4}", self.sliced_wasserstein), "in standard deviations"),
            row("Frechet distance", format!("{:.4}", self.frechet_distance), "squared"),
            row("precision, recall", format!("{:.2} {:.2}", f.precision, f.recall), "1 is perfect"),
            row("density, coverage", format!("{:.2} {:.2}", f.density, f.coverage), "1 is perfect"),
        ]);
        rows
    }
}

fn features(truth: &[Map], samples: &[Map]) -> Result<(Array2<f64>, Array2<f64>)> {
    let convention = PowerConvention::pylians();
    let (a, b) = (power_spectra(truth, convention)?, power_spectra(samples, convention)?);
    let bins = a.below_nyquist();
    let wide = bins.len().clamp(1, 8);
    // Bins of equal ratio in number: the first ones alone, the last ones together.
    let group = |i: usize| ((i as f64 + 1.0).ln() / (bins.len() as f64 + 1.0).ln() * wide as f64) as usize;
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); wide];
    bins.iter().enumerate().for_each(|(i, &bin)| members[group(i).min(wide - 1)].push(bin));
    members.retain(|m| !m.is_empty());
    let table = |power: &Array2<f64>| {
        Array2::from_shape_fn((power.nrows(), members.len()), |(i, j)| {
            let mean = members[j].iter().map(|&bin| power[[i, bin]]).sum::<f64>() / members[j].len() as f64;
            mean.max(f64::MIN_POSITIVE).ln()
        })
    };
    let (mut a, mut b) = (table(&a.power), table(&b.power));
    for j in 0..members.len() {
        let n = a.nrows() as f64;
        let mean = a.column(j).sum() / n;
        let std = (a.column(j).iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
        let scale = if std > 0.0 { std } else { 1.0 };
        for table in [&mut a, &mut b] {
            table.column_mut(j).mapv_inplace(|v| (v - mean) / scale);
        }
    }
    Ok((a, b))
}

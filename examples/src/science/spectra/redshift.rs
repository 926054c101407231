//! The redshift of a spectrum by a conditional flow.

use anyhow::{Result, bail};
use halocast::core::Rng;
use halocast::models::{Cond, Model, SampleOptions};
use halocast::stats::{interval_coverage, rank_histogram};
use ndarray::{Array2, Array3, Axis, s};
use serde::{Deserialize, Serialize};

use super::data::Spectra;
use super::{SpectraOptions, by_rows, tensor};
use crate::console::say;
use crate::science::study::{to_array, trained};
use crate::train::{DataConfig, Examples, RunConfig};

/// Draws of the posterior of each spectrum.
const DRAWS: usize = 100;
/// Unseen spectra whose posterior is drawn.
const CASES: usize = 200;

/// A real spectrum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RealRedshift {
    /// Its file.
    pub file: String,
    /// The survey's redshift.
    pub redshift: f64,
    /// Mean and standard deviation of the posterior; none where the spectrum does not cover the wavelengths.
    pub posterior: Option<[f64; 2]>,
}

/// What a conditional flow says of redshifts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Redshifts {
    /// Unseen spectra.
    pub cases: usize,
    /// Root mean square of (mean of the posterior - z) / (1 + z), and the median of its absolute value over 0.6745.
    pub error: [f64; 2],
    /// The standard deviation of redshifts, over 1 + z: what one has without a spectrum.
    pub prior: f64,
    /// The share of truths in the central 68 and 95 %.
    pub coverage: [f64; 2],
    /// Probability of ranks as uneven as these, were the posteriors right.
    pub rank_p: f64,
    /// Real spectra.
    pub real: Vec<RealRedshift>,
    /// Seconds of training.
    pub train_s: f64,
}

impl Redshifts {
    /// As text in Markdown.
    pub fn table(&self) -> String {
        let mut text = format!(
            "\nRedshifts of {} unseen spectra: rms {:.4}, by the median {:.4} (without a spectrum {:.4}) in (1 + z); {:.2} and \
             {:.2} of truths in 68 and 95 %; ranks p = {:.2}\n",
            self.cases,
            self.error[0],
            self.error[1],
            self.prior,
            self.coverage[0],
            self.coverage[1],
            self.rank_p
        );
        if !self.real.is_empty() {
            text += "\n| real spectrum | z of the survey | posterior |\n|---|---|---|\n";
        }
        for real in &self.real {
            let posterior =
                real.posterior.map_or("wavelengths not covered".into(), |[m, s]| format!("{m:.4} +- {s:.4}"));
            text += &format!("| {} | {:.4} | {posterior} |\n", real.file, real.redshift);
        }
        text
    }
}

/// Trains the flow, and holds it against unseen and real spectra.
pub(super) fn infer(set: &Spectra, options: &SpectraOptions) -> Result<Redshifts> {
    let path = options.configs.join("posterior.toml");
    let mut config = RunConfig::read(&path, &options.changes)?;
    config.data = DataConfig::Arrays(set.labelled());
    config.train.seed = options.seed;
    let examples = Examples::new(&config.data, options.seed)?;
    let found = trained("posterior", &config, &examples, &options.out.join("posterior"), &options.device)?;
    let Model::Posterior(_) = &found.model else { bail!("{}: expected a posterior", path.display()) };
    let Some(model) = found.model.generative() else { bail!("a posterior that draws nothing") };
    let axis = &examples.scales.parameters[0].transform;
    let width = set.train.ncols();
    // Draws of the redshift of rows, [row, draw].
    let draws = |rows: Array2<f32>| -> Result<Array2<f64>> {
        let mut rng = Rng::new(options.seed).split_named("redshifts");
        let (n, repeated) = (
            rows.nrows(),
            Array2::from_shape_fn((rows.nrows() * DRAWS, width), |(i, p)| rows[[i / DRAWS, p]]),
        );
        let cond = Cond::Vector(tensor(repeated.view(), &[width], &options.device)?);
        let drawn = model.sample(
            n * DRAWS,
            Some(&cond),
            &SampleOptions { batch: 4096, ..Default::default() },
            &mut rng,
        )?;
        let first = by_rows(&to_array(&drawn)?)?.column(0).mapv(|v| f64::from(axis.inverse(v)));
        Ok(first.into_shape_with_order((n, DRAWS))?)
    };
    let cases = set.test.nrows().min(CASES);
    let found_draws = draws(set.test.slice(s![..cases, ..]).to_owned())?;
    let batch = examples.test.batch(&(0..cases).collect::<Vec<_>>(), &mut Rng::new(0))?;
    let Some(labels) = batch.parameters else { bail!("a set without labels") };
    let truths: Vec<f64> = labels.column(0).iter().map(|&v| f64::from(axis.inverse(v))).collect();
    let means = found_draws.mean_axis(Axis(1)).unwrap_or_default();
    let mut errors: Vec<f64> = means.iter().zip(&truths).map(|(m, z)| (m - z) / (1.0 + z)).collect();
    let rms = |v: &[f64]| (v.iter().map(|e| e * e).sum::<f64>() / v.len() as f64).sqrt();
    let mean = truths.iter().sum::<f64>() / truths.len() as f64;
    let prior = rms(&truths.iter().map(|z| (z - mean) / (1.0 + z)).collect::<Vec<_>>());
    let root = rms(&errors);
    errors.iter_mut().for_each(|e| *e = e.abs());
    errors.sort_unstable_by(f64::total_cmp);
    let drawn: Array3<f64> = found_draws.insert_axis(Axis(2));
    let truths = Array2::from_shape_vec((cases, 1), truths)?;
    let mut rng = Rng::new(options.seed).split_named("calibration");
    let covered = interval_coverage(drawn.view(), truths.view(), 0, &[0.68, 0.95], &mut rng)?;
    let ranks = rank_histogram(drawn.view(), truths.view(), 0, 10, &mut rng)?;

    let mut real = Vec::new();
    for path in &options.sdss {
        let spectrum = set.real(path)?;
        let file = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let Some((row, redshift)) = spectrum else {
            say(format!("{file}: does not cover the wavelengths of the set"));
            let redshift = halocast::data::read_sdss_spectrum(path)?.redshift;
            real.push(RealRedshift { file, redshift, posterior: None });
            continue;
        };
        let drawn = draws(Array2::from_shape_vec((1, width), row)?)?;
        let posterior = [drawn.mean().unwrap_or(f64::NAN), drawn.std(0.0)];
        real.push(RealRedshift { file, redshift, posterior: Some(posterior) });
    }
    Ok(Redshifts {
        cases,
        error: [root, errors[errors.len() / 2] / 0.6745],
        prior,
        coverage: [covered.found[0], covered.found[1]],
        rank_p: ranks.p_value,
        real,
        train_s: found.seconds,
    })
}

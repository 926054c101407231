//! The generative models of a lecture on one set of galaxy spectra: its table, measured instead of drawn.

mod data;
mod figures;
mod latent;
mod redshift;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use halocast::core::Rng;
use halocast::models::{Model, SampleOptions};
use halocast::stats::{fidelity, frechet_distance, wasserstein};
use ndarray::{Array2, ArrayD, ArrayView2, Axis, s};
use serde::{Deserialize, Serialize};

use self::data::{PIXELS, Spectra};
use self::figures::Figures;
use self::latent::Latents;
pub use self::redshift::{RealRedshift, Redshifts};
use super::gaussian::Gaussian;
use super::study::{sampler, to_array, trained};
use crate::console::peak_rss_mb;
use crate::train::{DataConfig, Examples, RunConfig};

/// The models, by the names of their files.
const MODELS: [&str; 4] = ["autoencoder", "vae", "flow", "diffusion"];
/// Spectra drawn of each.
const SAMPLES: usize = 500;
/// Broad bands that samples are compared in.
const BANDS: usize = 24;

/// What is run, and where.
pub struct SpectraOptions {
    /// The folder of configurations.
    pub configs: PathBuf,
    /// Changes to all of them.
    pub changes: Vec<String>,
    /// Mock spectra to make.
    pub count: usize,
    /// Files of the Sloan Digital Sky Survey, `spec-*.fits`, whose redshift is inferred.
    pub sdss: Vec<PathBuf>,
    /// Where everything lies.
    pub out: PathBuf,
    /// The seed.
    pub seed: u64,
    /// The device.
    pub device: Device,
}

/// What one model comes to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpectraRow {
    /// The model.
    pub model: String,
    /// Samples that were no finite numbers, and are left out.
    pub lost: usize,
    /// Numbers of its latent space; those of the spectrum where it is as large.
    pub latent: usize,
    /// Frechet distance of samples and unseen spectra in 24 broad bands of standardised flux.
    pub frechet: f64,
    /// Share of samples among the true ones, and of true ones among samples.
    pub precision_recall: [f64; 2],
    /// Wasserstein-1 distance of the distributions of a pixel, averaged over pixels, in standard deviations.
    pub pixels: f64,
    /// ln p of unseen spectra in nats a pixel, where the model has a density or a bound of one.
    pub log_prob: Option<f64>,
    /// Whether that is exact.
    pub exact: bool,
    /// Root mean square error of reconstructed unseen spectra, in standard deviations.
    pub reconstruction: Option<f64>,
    /// Share of unseen spectra that two means of the latent space put right, red or blue.
    pub purity: Option<f64>,
    /// Seconds of training.
    pub train_s: f64,
    /// Milliseconds a sample.
    pub sample_ms: f64,
    /// Numbers in its weights.
    pub parameters: usize,
}

/// The outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpectraFound {
    /// Spectra to learn from, and never seen.
    pub spectra: [usize; 2],
    /// The models; first a Gaussian of full covariance, last the distance of two halves of the unseen spectra.
    pub rows: Vec<SpectraRow>,
    /// What a conditional flow says of redshifts.
    pub redshifts: Redshifts,
    /// Largest resident memory in MB.
    pub peak_mb: Option<f64>,
}

impl SpectraFound {
    /// The outcome as tables in Markdown.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{} spectra to learn from, {} unseen\n\n\
             | model | latent | Frechet | precision, recall | pixels W1 | ln p, nats/pixel | rms of reconstruction | \
             red from blue | training s | ms/sample | parameters |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
            self.spectra[0], self.spectra[1]
        );
        let maybe = |v: Option<f64>| v.map_or("-".into(), |v| format!("{v:.3}"));
        for r in &self.rows {
            let lost = if r.lost > 0 { format!(" ({} samples lost)", r.lost) } else { String::new() };
            let bound = if r.log_prob.is_some() && !r.exact { "> " } else { "" };
            text += &format!(
                "| {}{lost} | {} | {:.3} | {:.2}, {:.2} | {:.3} | {bound}{} | {} | {} | {:.0} | {:.2} | {} |\n",
                r.model,
                r.latent,
                r.frechet,
                r.precision_recall[0],
                r.precision_recall[1],
                r.pixels,
                maybe(r.log_prob),
                maybe(r.reconstruction),
                maybe(r.purity),
                r.train_s,
                r.sample_ms,
                r.parameters
            );
        }
        text + &self.redshifts.table()
    }
}

/// Makes spectra, trains every model on them, and compares what they draw.
///
/// # Errors
/// When a configuration is of another kind, a file cannot be read, or the disk refuses.
pub fn spectra(options: &SpectraOptions) -> Result<SpectraFound> {
    let set = Spectra::make(options.count, options.seed, &options.out)?;
    let (train, test) = (set.train.view(), set.test.view());
    let mut rows = vec![gaussian_row(train, test, options.seed)?];
    let mut figures = Figures::new(&set);
    for name in MODELS {
        let path = options.configs.join(format!("{name}.toml"));
        let mut config = RunConfig::read(&path, &options.changes)?;
        let DataConfig::Arrays(data) = &mut config.data else {
            bail!("{}: expected data of the kind arrays", path.display());
        };
        // Networks along the wavelength take a channel, the others a vector.
        let channel = data.fields.ends_with("spectra-channel.npy");
        *data = set.config(channel);
        config.train.seed = options.seed;
        let examples = Examples::new(&config.data, options.seed)?;
        let found = trained(name, &config, &examples, &options.out.join(name), &options.device)?;
        let mut rng = Rng::new(options.seed).split_named(name);
        let sampling = SampleOptions { sampler: sampler(&config)?, ..Default::default() };
        let latents = Latents::of(&found.model, train, &options.device)?;
        let start = Instant::now();
        let drawn = match (found.model.generative(), &latents) {
            (Some(model), _) => by_rows(&to_array(&model.sample(SAMPLES, None, &sampling, &mut rng)?)?)?,
            // An autoencoder draws nothing: a Gaussian of its latents does.
            (None, Some(latents)) => latents.draw(SAMPLES, &mut rng)?,
            (None, None) => bail!("{}: a model that draws no samples", path.display()),
        };
        let sample_ms = start.elapsed().as_secs_f64() * 1e3 / SAMPLES as f64;
        let mut row = compared(name, drawn.view(), test)?;
        (row.log_prob, row.exact) = likelihood(&found.model, test, &options.device, &mut rng)?;
        (row.train_s, row.sample_ms, row.parameters) = (found.seconds, sample_ms, found.parameters);
        if let Some(latents) = &latents {
            row.latent = latents.width();
            row.reconstruction = Some(latents.reconstruction(test)?);
            row.purity = Some(latents.purity(test, &set.red)?);
            figures.traversal(name, &latents.traversal()?);
        }
        figures.samples(name, &drawn);
        rows.push(row);
    }
    rows.push(compared(
        "spectra of the training set",
        train.slice(s![..SAMPLES.min(train.nrows()), ..]),
        test,
    )?);
    figures.save(&options.out)?;
    let redshifts = redshift::infer(&set, options)?;
    Ok(SpectraFound { spectra: [train.nrows(), test.nrows()], rows, redshifts, peak_mb: peak_rss_mb() })
}

/// An array of events with each as a row.
fn by_rows(values: &ArrayD<f32>) -> Result<Array2<f32>> {
    let n = values.shape().first().copied().unwrap_or(0);
    let width = values.len() / n.max(1);
    Ok(values.as_standard_layout().into_owned().into_shape_with_order((n, width))?)
}

/// Broad-band fluxes of spectra, the features that samples are compared by.
fn bands(rows: ArrayView2<'_, f32>) -> Array2<f64> {
    let wide = PIXELS / BANDS;
    Array2::from_shape_fn((rows.nrows(), BANDS), |(i, b)| {
        (0..wide).map(|k| f64::from(rows[[i, b * wide + k]])).sum::<f64>() / wide as f64
    })
}

/// How samples compare with unseen spectra.
fn compared(name: &str, drawn: ArrayView2<'_, f32>, test: ArrayView2<'_, f32>) -> Result<SpectraRow> {
    // An inverse of a flow may leave the floating-point numbers: such samples are counted, and cannot be compared.
    let finite: Vec<usize> =
        (0..drawn.nrows()).filter(|&i| drawn.row(i).iter().all(|v| v.is_finite())).collect();
    ensure!(finite.len() > 2 * BANDS, "{name}: {} of {} samples are finite", finite.len(), drawn.nrows());
    let lost = drawn.nrows() - finite.len();
    let drawn = drawn.select(Axis(0), &finite);
    let drawn = drawn.view();
    let (a, b) = (bands(test), bands(drawn));
    let shared = fidelity(a.view(), b.view(), 5)?;
    let column = |rows: ArrayView2<'_, f32>, i: usize| {
        rows.column(i).iter().map(|&v| f64::from(v)).collect::<Vec<_>>()
    };
    let pixels = (0..PIXELS)
        .map(|i| Ok(wasserstein(&column(test, i), &column(drawn, i), 1.0)?))
        .collect::<Result<Vec<f64>>>()?;
    Ok(SpectraRow {
        model: name.into(),
        lost,
        latent: PIXELS,
        frechet: frechet_distance(a.view(), b.view())?,
        precision_recall: [shared.precision, shared.recall],
        pixels: pixels.iter().sum::<f64>() / PIXELS as f64,
        log_prob: None,
        exact: false,
        reconstruction: None,
        purity: None,
        train_s: 0.0,
        sample_ms: 0.0,
        parameters: 0,
    })
}

/// The Gaussian of full covariance.
fn gaussian_row(train: ArrayView2<'_, f32>, test: ArrayView2<'_, f32>, seed: u64) -> Result<SpectraRow> {
    let start = Instant::now();
    let fit = Gaussian::fit(train.mapv(f64::from).view())?;
    let train_s = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let drawn = fit.sample(SAMPLES, &mut Rng::new(seed).split_named("gaussian"));
    let sample_ms = start.elapsed().as_secs_f64() * 1e3 / SAMPLES as f64;
    let log_prob = fit.log_prob(test.mapv(f64::from).view());
    let mean = log_prob.iter().sum::<f64>() / (log_prob.len() * PIXELS) as f64;
    let row = compared("Gaussian, full covariance", drawn.mapv(|v| v as f32).view(), test)?;
    let parameters = PIXELS + PIXELS * (PIXELS + 1) / 2;
    Ok(SpectraRow { log_prob: Some(mean), exact: true, train_s, sample_ms, parameters, ..row })
}

/// ln p of unseen spectra in nats a pixel, and whether it is exact.
fn likelihood(
    model: &Model,
    test: ArrayView2<'_, f32>,
    device: &Device,
    rng: &mut Rng,
) -> Result<(Option<f64>, bool)> {
    let few = test.slice(s![..test.nrows().min(256), ..]);
    let shape = model.trainable().example().fields;
    let x = tensor(few, &shape, device)?;
    let (values, exact) = match (model.log_prob(), model.bound()) {
        (Some(model), _) => (model.log_prob(&x, None, rng)?, true),
        (None, Some(model)) => (model.bound(&x, None, 16, rng)?, false),
        (None, None) => return Ok((None, false)),
    };
    let values: Vec<f64> = values.to_dtype(DType::F64)?.to_vec1()?;
    Ok((Some(values.iter().sum::<f64>() / (values.len() * PIXELS) as f64), exact))
}

/// Rows as events of a shape.
fn tensor(rows: ArrayView2<'_, f32>, event: &[usize], device: &Device) -> Result<Tensor> {
    let mut shape = vec![rows.nrows()];
    shape.extend(event);
    Ok(Tensor::from_vec(rows.iter().copied().collect::<Vec<_>>(), shape, device)?)
}

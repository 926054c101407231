//! One row: train, sample the test set, judge.

use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::{DType, Tensor};
use halocast::core::{Batch, Dataset, Map, Rng, write_whole};
use halocast::models::{Cond, CondSpec, Model, SampleOptions};
use halocast::stats::{PowerConvention, cross_spectrum, paired_errors};
use ndarray::{Array2, ArrayD, Axis};
use serde::{Deserialize, Serialize};

use super::ZooOptions;
use crate::console::{bar, peak_rss_mb};
use crate::judge::judge;
use crate::picture::{Picture, Scale};
use crate::train::{DataConfig, Examples, RunConfig, TrainOptions, train};

/// What a model came to on its task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The name of the configuration, or of the baseline.
    pub name: String,
    /// What it learned: fields, and what from.
    pub task: String,
    /// Scalars in the model.
    pub parameters: Option<usize>,
    /// Steps of training.
    pub steps: Option<u64>,
    /// Seconds of training.
    pub train_s: Option<f64>,
    /// Seconds a sample.
    pub sample_s: Option<f64>,
    /// Evaluations of the network a sample, where they were counted.
    pub evaluations: Option<u64>,
    /// Mean over k of |P_samples / P_truth - 1|.
    pub pk_error: Option<f64>,
    /// The same between halves of the truth.
    pub pk_split_half: Option<f64>,
    /// Wasserstein-1 distance of pixels, in their standard deviations.
    pub pdf: Option<f64>,
    /// Fraction of thresholds at which each Minkowski functional lies in the truth's scatter, the least of three.
    pub minkowski: Option<f64>,
    /// Mean correlation coefficient r(k) with the truth, below half the Nyquist wavenumber.
    pub coherence: Option<f64>,
    /// Peak signal-to-noise ratio in dB.
    pub psnr: Option<f64>,
    /// Structural similarity.
    pub ssim: Option<f64>,
    /// ln p of the test set, or a bound of it, in nats a dimension.
    pub log_prob: Option<f64>,
    /// Its standard error.
    pub log_prob_error: Option<f64>,
    /// Largest resident memory in MB.
    pub peak_mb: Option<f64>,
}

/// What the numbers of a row depend on.
#[derive(PartialEq, Serialize, Deserialize)]
struct Kept {
    version: String,
    config: serde_json::Value,
    maps: usize,
    row: Row,
}

/// Makes a row, or finds it where it was made of the same configuration.
pub(super) fn row(name: &str, config: &RunConfig, options: &ZooOptions) -> Result<Row> {
    let folder = options.out.join(name);
    let path = folder.join("row.json");
    let recipe = serde_json::to_value(config)?;
    let version = env!("CARGO_PKG_VERSION").to_owned();
    if let Ok(text) = std::fs::read_to_string(&path) {
        let kept: Kept = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        if kept.config == recipe && kept.version == version && kept.maps == options.maps {
            return Ok(kept.row);
        }
    }
    let examples = Examples::new(&config.data, config.train.seed)?;
    let run = TrainOptions { out: folder.join("run"), device: options.device.clone(), show: false };
    let trained = train(config, &examples, &run)?;
    let (_, model) = Model::load(&trained.checkpoint, &options.device)?;
    let mut row = Row {
        name: name.to_owned(),
        task: task(&config.data),
        parameters: Some(trained.parameters),
        steps: Some(trained.step),
        train_s: Some(trained.seconds),
        ..Row::default()
    };
    let truth = test_batch(&examples, options.maps)?;
    likelihood(&model, &truth, config.train.seed, &mut row)?;
    if let Some(generative) = model.generative() {
        let n = truth.fields.shape()[0];
        let sampler = match &config.sampler {
            Some(value) => serde_json::from_value(value.clone()).context("sampler")?,
            None => Default::default(),
        };
        let progress = bar("sampling", 0);
        let evaluations = std::sync::atomic::AtomicU64::new(0);
        let tick = |done: u64, total: u64| {
            progress.set_length(total);
            progress.set_position(done);
            evaluations.store(total, std::sync::atomic::Ordering::Relaxed);
        };
        let batch = 32.min(n);
        let sampling = SampleOptions { sampler, batch, progress: &tick, ..Default::default() };
        let given = condition(generative.condition(), &truth, &options.device)?;
        let mut rng = Rng::new(config.train.seed).split_named("test samples");
        let start = Instant::now();
        let drawn = generative.sample(n, given.as_ref(), &sampling, &mut rng)?;
        row.sample_s = Some(start.elapsed().as_secs_f64() / n as f64);
        progress.finish();
        let evaluations = evaluations.into_inner();
        row.evaluations = Some(evaluations / n.div_ceil(batch) as u64).filter(|e| *e > 0);
        let values = drawn.flatten_all()?.to_vec1::<f32>()?;
        let drawn = ArrayD::from_shape_vec(ndarray::IxDyn(drawn.dims()), values)?;
        if drawn.ndim() == 4 {
            let maps = maps(&drawn, &examples)?;
            compare(&maps, &truth, &examples, &mut row)?;
            pictures(&folder, &maps, &truth, &examples)?;
        }
    }
    row.peak_mb = peak_rss_mb();
    let kept = Kept { version, config: recipe, maps: options.maps, row: row.clone() };
    write_whole(&path, |w| Ok(serde_json::to_writer_pretty(w, &kept)?))?;
    Ok(row)
}

/// What is learned, in words.
pub(super) fn task(data: &DataConfig) -> String {
    match data {
        DataConfig::Maps(maps) => {
            let fields = maps.fields.join("+");
            match (maps.condition.as_slice(), maps.parameters.len()) {
                ([], 0) => fields,
                ([], n) => format!("{fields} given {n} parameters"),
                (from, _) => format!("{} to {fields}", from.join("+")),
            }
        }
        DataConfig::Arrays(arrays) => {
            arrays.fields.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
        }
    }
}

/// Evenly chosen examples of the test set, with all that belongs to them.
pub(super) fn test_batch(examples: &Examples, most: usize) -> Result<Batch> {
    let count = examples.test.len();
    let n = most.min(count);
    let indices: Vec<usize> = (0..n).map(|i| i * count / n).collect();
    Ok(examples.test.batch(&indices, &mut Rng::new(0))?)
}

fn condition(spec: CondSpec, truth: &Batch, device: &candle_core::Device) -> Result<Option<Cond>> {
    let tensor = |values: Vec<f32>, shape: &[usize]| Tensor::from_vec(values, shape, device);
    Ok(match (spec, &truth.parameters, &truth.condition) {
        (CondSpec::Vector(_), Some(p), _) => {
            Some(Cond::Vector(tensor(p.iter().copied().collect(), p.shape())?))
        }
        (CondSpec::Field(_), _, Some(c)) => {
            Some(Cond::Field(tensor(c.iter().copied().collect(), c.shape())?))
        }
        (CondSpec::Set(_), _, Some(c)) => Some(Cond::Set(tensor(c.iter().copied().collect(), c.shape())?)),
        _ => None,
    })
}

/// ln p, or a bound, of the test set, in nats a dimension.
fn likelihood(model: &Model, truth: &Batch, seed: u64, row: &mut Row) -> Result<()> {
    let (log_prob, bound) = (model.log_prob(), model.bound());
    if log_prob.is_none() && bound.is_none() {
        return Ok(());
    }
    let device = model.trainable().device().clone();
    let shape = truth.fields.shape().to_vec();
    let x = Tensor::from_vec(truth.fields.iter().copied().collect::<Vec<f32>>(), shape.as_slice(), &device)?;
    let spec = model.generative().map_or(CondSpec::None, |g| g.condition());
    let given = condition(spec, truth, &device)?;
    let mut rng = Rng::new(seed).split_named("likelihood");
    let nats = match (log_prob, bound) {
        (Some(exact), _) => exact.log_prob(&x, given.as_ref(), &mut rng)?,
        (None, Some(bound)) => bound.bound(&x, given.as_ref(), 16, &mut rng)?,
        (None, None) => return Ok(()),
    };
    let dimensions = shape[1..].iter().product::<usize>() as f64;
    let each: Vec<f64> = nats.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    let each: Vec<f64> = each.into_iter().map(|v| v / dimensions).collect();
    let n = each.len() as f64;
    let mean = each.iter().sum::<f64>() / n;
    let variance = each.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    row.log_prob = Some(mean);
    row.log_prob_error = Some((variance / n).sqrt());
    Ok(())
}

/// The first channel of fields as maps of the logarithm (or what else the scaling made of them).
pub(super) fn maps(fields: &ArrayD<f32>, examples: &Examples) -> Result<Vec<Map>> {
    let side = examples.scales.box_side.unwrap_or(1.0);
    let name = examples.scales.fields.first().map(|axis| axis.name.clone()).unwrap_or_default();
    let map = |example: ndarray::ArrayViewD<'_, f32>| -> Result<Map> {
        let plane: Array2<f32> = example.index_axis(Axis(0), 0).to_owned().into_dimensionality()?;
        Ok(Map::square(&name, plane, side))
    };
    fields.axis_iter(Axis(0)).map(map).collect()
}

/// Fills in what maps are judged by.
pub(super) fn compare(samples: &[Map], truth: &Batch, examples: &Examples, row: &mut Row) -> Result<()> {
    let paired = truth.condition.is_some();
    let truth = maps(&truth.fields, examples)?;
    let groups: Vec<usize> = (0..truth.len()).collect();
    let verdict = judge(&truth, &groups, samples)?;
    row.pk_error = Some(verdict.pk_mean_abs_frac);
    row.pk_split_half = Some(verdict.pk_split_half);
    row.pdf = Some(verdict.pdf_wasserstein);
    row.minkowski = Some(verdict.minkowski_inside);
    if paired {
        let errors = paired_errors(&truth, samples, None)?;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        row.psnr = Some(mean(&errors.psnr));
        row.ssim = Some(mean(&errors.ssim));
        let mut sum = 0.0;
        for (a, b) in truth.iter().zip(samples) {
            let coherence = cross_spectrum(a, b, PowerConvention::default())?.coherence();
            let quarter = a.shape()[0] / 4;
            let below: Vec<f64> = coherence.into_iter().take(quarter).filter(|r| r.is_finite()).collect();
            sum += mean(&below);
        }
        row.coherence = Some(sum / truth.len() as f64);
    }
    Ok(())
}

/// Eight samples, above the truth, below what they were made from.
fn pictures(folder: &std::path::Path, samples: &[Map], truth: &Batch, examples: &Examples) -> Result<()> {
    let n = 8.min(samples.len());
    let pick = |maps: Vec<Map>| -> Vec<Map> {
        let count = maps.len();
        (0..n).map(|i| maps[i * count / n].clone()).collect()
    };
    let mut shown = Vec::new();
    if let Some(condition) = &truth.condition {
        shown.extend(pick(maps(condition, examples)?));
    }
    shown.extend(pick(samples.to_vec()));
    shown.extend(pick(maps(&truth.fields, examples)?));
    let scale = Scale::covering(&shown);
    Picture::grid(&shown.iter().collect::<Vec<_>>(), n, 3, scale).save(&folder.join("samples.png"))
}

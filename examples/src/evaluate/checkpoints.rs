//! The checkpoints of a run, ranked by how well their samples agree with the truth: the training loss cannot tell.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use halocast::core::{Map, Rng};
use halocast::data::Transform;
use halocast::models::{Model, SampleOptions};
use halocast::train::Checkpoints;
use ndarray::Array2;
use serde::Serialize;

use super::{Options, evaluate};
use crate::console::bar;
use crate::judge::judge;

/// A checkpoint and what its samples are like.
#[derive(Serialize)]
pub struct Ranked {
    /// The optimiser step.
    pub step: u64,
    /// The file.
    pub file: String,
    /// The mean training loss before it.
    pub loss: Option<f64>,
    /// Smaller is better: the fractional error of P(k), the pixels' Wasserstein distance, and half the mean fraction of Minkowski
    /// thresholds outside the truth's scatter.
    pub score: f64,
    /// The verdict on its samples.
    pub sentence: String,
}

/// Samples every checkpoint of the run in `folder` and ranks them, best first.
///
/// # Errors
/// When there are none, one cannot be read, or its maps are not those of the truth.
pub(super) fn rank(folder: &Path, truth: &[Map], options: &Options) -> Result<Vec<Ranked>> {
    let kept = Checkpoints::read(folder)?.kept;
    ensure!(!kept.is_empty(), "{}: it holds no checkpoints of a run", folder.display());
    ensure!(options.draws >= 2, "--draws is {}, expected at least 2", options.draws);
    let groups: Vec<usize> = (0..truth.len()).collect();
    let mut ranked = Vec::new();
    for record in kept {
        let path = folder.join(&record.file);
        let samples = draw(&path, truth, options).with_context(|| path.display().to_string())?;
        ranked.push(Ranked {
            step: record.step,
            file: record.file,
            loss: record.loss,
            score: judge(truth, &groups, &samples)?.score(),
            sentence: evaluate(truth, &samples, options.seed)?.sentence,
        });
    }
    ranked.sort_by(|a, b| a.score.total_cmp(&b.score).then(a.step.cmp(&b.step)));
    Ok(ranked)
}

fn draw(path: &Path, truth: &[Map], options: &Options) -> Result<Vec<Map>> {
    let (header, model) = Model::load(path, &options.device)?;
    let transform: Transform = match header.extra.get("transform") {
        Some(value) => serde_json::from_value(value.clone()).context("the checkpoint's transform")?,
        None => Transform::default(),
    };
    let progress = bar(&format!("step {}", header.step), 1);
    let tick = |done: u64, total: u64| {
        progress.set_length(total);
        progress.set_position(done);
    };
    let sampling = SampleOptions { progress: &tick, ..SampleOptions::default() };
    let mut rng = Rng::new(options.seed).split_named("samples").split(header.step);
    let generative = model.generative().context("this model draws no samples")?;
    let tensor = generative.sample(options.draws, None, &sampling, &mut rng)?;
    progress.finish();
    let [ny, nx] = truth[0].shape();
    ensure!(
        tensor.dims() == [options.draws, 1, ny, nx],
        "its samples have the shape {:?}, expected maps of {ny} x {nx} pixels as the truth",
        tensor.dims()
    );
    let values = tensor.flatten_all()?.to_vec1::<f32>()?;
    let maps = values.chunks_exact(ny * nx).map(|v| {
        let map = Map { values: Array2::from_shape_vec((ny, nx), v.to_vec())?, ..truth[0].clone() };
        Ok(transform.inverse_map(&map, truth[0].unit.clone()))
    });
    maps.collect()
}

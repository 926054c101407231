//! What the studies share: a model trained where it is not there yet, a map of values, a mean with its error.

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use halocast::core::Map;
use halocast::models::Model;
use halocast::models::diffusion::Sampler;
use ndarray::{Array2, ArrayD, Axis, IxDyn};

use crate::console::say;
use crate::train::{Examples, RunConfig, TrainOptions, train};

/// A trained model, and what it took.
pub(super) struct Trained {
    pub model: Model,
    /// The steps that it learned for.
    pub step: u64,
    /// Seconds of training.
    pub seconds: f64,
    /// Numbers in its weights.
    pub parameters: usize,
}

/// Trains the model of a configuration in a folder, or takes the one that is there.
pub(super) fn trained(
    name: &str,
    config: &RunConfig,
    examples: &Examples,
    folder: &Path,
    device: &Device,
) -> Result<Trained> {
    say(format!("== {name}"));
    let run = TrainOptions { out: folder.to_path_buf(), device: device.clone(), show: false };
    let done = train(config, examples, &run)?;
    let (_, model) = Model::load(&done.checkpoint, device)?;
    Ok(Trained { model, step: done.step, seconds: done.seconds, parameters: done.parameters })
}

/// The sampler that a configuration names, or the model's own.
pub(super) fn sampler(config: &RunConfig) -> Result<Sampler> {
    match &config.sampler {
        Some(value) => serde_json::from_value(value.clone()).context("sampler"),
        None => Ok(Sampler::default()),
    }
}

/// Maps as a tensor `[n, 1, y, x]`.
pub(super) fn to_tensor<'a>(maps: impl IntoIterator<Item = &'a Map>, device: &Device) -> Result<Tensor> {
    let mut shape = [0, 1, 0, 0];
    let mut flat: Vec<f32> = Vec::new();
    for map in maps {
        [shape[2], shape[3]] = map.shape();
        shape[0] += 1;
        flat.extend(map.values.iter());
    }
    Ok(Tensor::from_vec(flat, shape.as_slice(), device)?)
}

/// The numbers of a tensor.
pub(super) fn to_array(tensor: &Tensor) -> Result<ArrayD<f32>> {
    let values = tensor.flatten_all()?.to_vec1::<f32>()?;
    Ok(ArrayD::from_shape_vec(IxDyn(tensor.dims()), values)?)
}

/// The first channels of `[n, channel, y, x]`, each value through `f`.
pub(super) fn to_maps(
    values: &ArrayD<f32>,
    name: &str,
    side: f64,
    f: impl Fn(f32) -> f32,
) -> Result<Vec<Map>> {
    let plane = |event: ndarray::ArrayViewD<'_, f32>| -> Result<Map> {
        let plane: Array2<f32> = event.index_axis(Axis(0), 0).to_owned().into_dimensionality()?;
        Ok(Map::square(name, plane.mapv(&f), side))
    };
    values.axis_iter(Axis(0)).map(plane).collect()
}

/// The mean and its standard error.
pub(super) fn mean_error(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let n = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / n;
    let variance = values.map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    (mean, (variance / n).sqrt())
}

//! New events from a checkpoint, in the units of its data.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};
use halocast::core::{Progress, Rng};
use halocast::data::{read_npy_f32, write_npy};
use halocast::models::diffusion::Sampler;
use halocast::models::{Cond, CondSpec, Generative, Model, SampleOptions};
use ndarray::{ArrayD, Axis, IxDyn};

use super::Scales;

/// What to draw.
pub struct SampleRequest {
    /// The file to draw from.
    pub checkpoint: PathBuf,
    /// The number of events.
    pub n: usize,
    /// What they are conditioned on, in its own units: `.npy`, one row for all, or one for each.
    pub condition: Option<PathBuf>,
    /// The sampler by name, in place of its default.
    pub sampler: Option<String>,
    /// Its number of steps.
    pub steps: Option<usize>,
    /// The most events drawn at once.
    pub batch: usize,
    /// The seed.
    pub seed: u64,
    /// The device.
    pub device: Device,
}

/// A sampler of a name, such as `ddim` or `dpm_solver`, with a number of steps.
///
/// # Errors
/// When there is no such sampler, or it needs a number of steps.
pub fn sampler(name: Option<&str>, steps: Option<usize>) -> Result<Sampler> {
    let name = match (name, steps) {
        (Some(name), _) => name.replace('-', "_"),
        (None, None) => return Ok(Sampler::default()),
        (None, Some(_)) => "ancestral".into(),
    };
    let mut value = serde_json::json!({ "kind": name });
    if let Some(steps) = steps {
        value["steps"] = steps.into();
    }
    if name == "ddim" {
        value["eta"] = 0.0.into();
    }
    serde_json::from_value(value).map_err(|e| anyhow::anyhow!("--sampler {name}: {e}"))
}

/// Draws from a checkpoint and writes `[n, ..]` in the units of its data; single channels lose their axis.
///
/// # Errors
/// When the checkpoint cannot be read, its model draws no samples, or the condition does not fit.
pub fn sample_to_file(request: &SampleRequest, out: &Path, progress: &Progress<'_>) -> Result<Vec<usize>> {
    ensure!(request.n > 0, "--n is 0, expected at least 1");
    let (header, model) = Model::load(&request.checkpoint, &request.device)?;
    let generative = model
        .generative()
        .with_context(|| format!("{}: this model draws no samples", request.checkpoint.display()))?;
    let scales: Option<Scales> = match header.extra.get("data") {
        Some(value) => {
            Some(serde_json::from_value(value.clone()).context("what the checkpoint says of its data")?)
        }
        None => None,
    };
    let cond = condition(generative, request, scales.as_ref())?;
    let options = SampleOptions {
        sampler: sampler(request.sampler.as_deref(), request.steps)?,
        batch: request.batch,
        progress,
        ..Default::default()
    };
    let mut rng = Rng::new(request.seed).split_named("samples");
    let mut values = draw(generative, request.n, cond.as_ref(), &options, &mut rng)?;
    if let Some(scales) = &scales {
        Scales::apply(&scales.fields, scales.last, &mut values, false)?;
        if !scales.last && values.ndim() > 2 && values.shape()[1] == 1 {
            values = values.index_axis_move(Axis(1), 0);
        }
    }
    write_npy(out, &values)?;
    Ok(values.shape().to_vec())
}

/// Draws events in the model's own normalised space.
pub(super) fn draw(
    model: &dyn Generative,
    n: usize,
    cond: Option<&Cond>,
    options: &SampleOptions<'_>,
    rng: &mut Rng,
) -> Result<ArrayD<f32>> {
    let tensor = model.sample(n, cond, options, rng)?;
    let values = tensor.flatten_all()?.to_vec1::<f32>()?;
    Ok(ArrayD::from_shape_vec(IxDyn(tensor.dims()), values)?)
}

/// The condition of a file, brought to the model.
fn condition(
    model: &dyn Generative,
    request: &SampleRequest,
    scales: Option<&Scales>,
) -> Result<Option<Cond>> {
    let spec = model.condition();
    let path = match (&request.condition, spec) {
        (None, CondSpec::None) => return Ok(None),
        (None, spec) => bail!("this model takes a condition, {spec:?}: --condition FILE"),
        (Some(path), CondSpec::None) => bail!("{}: this model takes no condition", path.display()),
        (Some(path), _) => path,
    };
    let mut values = read_npy_f32(path)?;
    let event = model.event_shape();
    let rank = match spec {
        CondSpec::Vector(_) => 2,
        CondSpec::Field(channels) => {
            // Maps of one channel come without its axis.
            if channels == 1 && values.ndim() == event.len() {
                values.insert_axis_inplace(Axis(1));
            } else if values.ndim() + 1 == event.len() {
                values.insert_axis_inplace(Axis(0));
                values.insert_axis_inplace(Axis(0));
            }
            event.len() + 1
        }
        _ => 3,
    };
    if values.ndim() + 1 == rank {
        values.insert_axis_inplace(Axis(0));
    }
    let rows = values.shape().first().copied().unwrap_or(0);
    ensure!(
        values.ndim() == rank && (rows == 1 || rows == request.n),
        "{}: an array of shape {:?}, expected 1 or {} rows of {spec:?}",
        path.display(),
        values.shape(),
        request.n
    );
    if let Some(scales) = scales {
        let (axes, last) = match spec {
            CondSpec::Vector(_) => (&scales.parameters, true),
            _ => (&scales.condition, scales.last),
        };
        Scales::apply(axes, last, &mut values, true).with_context(|| path.display().to_string())?;
    }
    cond(spec, &values, request.n, &request.device).map(Some)
}

/// Values `[1 or n, ..]` as a condition of `n` events.
pub(super) fn cond(spec: CondSpec, values: &ArrayD<f32>, n: usize, device: &Device) -> Result<Cond> {
    let mut shape = values.shape().to_vec();
    let flat: Vec<f32> = values.iter().copied().collect();
    let mut tensor = Tensor::from_vec(flat, shape.as_slice(), device)?;
    if shape[0] != n {
        shape[0] = n;
        tensor = tensor.broadcast_as(shape)?.contiguous()?;
    }
    Ok(match spec {
        CondSpec::Vector(_) => Cond::Vector(tensor),
        CondSpec::Set(_) => Cond::Set(tensor),
        _ => Cond::Field(tensor),
    })
}

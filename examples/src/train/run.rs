//! One run: data, model, steps, checkpoints, pictures of what it can do so far.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use halocast::core::{Dataset, Map, Rng};
use halocast::models::latent::LatentDiffusion;
use halocast::models::{CondSpec, Configured, Model, ModelConfig, SampleOptions};
use halocast::train::{Ended, Event, StepRecord, Trainer};
use ndarray::{Array2, ArrayD, Axis};

use super::draw::{cond, draw};
use super::{Examples, RunConfig};
use crate::console::{Interrupt, Interrupted, bar, say};
use crate::picture::{Picture, Scale};

/// Where and on what a run runs.
pub struct TrainOptions {
    /// The folder of the run; one that was stopped goes on from there.
    pub out: PathBuf,
    /// The device.
    pub device: Device,
    /// Whether samples are drawn at checkpoints.
    pub show: bool,
}

/// What a run came to.
pub struct Trained {
    /// The last checkpoint.
    pub checkpoint: PathBuf,
    /// Steps taken in all.
    pub step: u64,
    /// Scalars in the model.
    pub parameters: usize,
    /// The losses of every step.
    pub losses: Vec<StepRecord>,
    /// Seconds of all calls that were taken for it.
    pub seconds: f64,
}

/// Trains, or goes on where a run in the folder was stopped.
///
/// # Errors
/// When data and model do not fit, something is no number, or the disk refuses; [`Interrupted`] after a signal.
pub fn train(config: &RunConfig, examples: &Examples, options: &TrainOptions) -> Result<Trained> {
    say(&examples.description);
    let model_config = measured(config, examples, &options.device)?;
    let model = model_config.build(config.train.seed, &options.device)?;
    let parameters = model.trainable().parameters().count();
    let extra = serde_json::json!({
        "data": examples.scales,
        // For programs that judge maps of one field.
        "transform": examples.scales.fields.first().map(|axis| &axis.transform),
    });
    let interrupt = Interrupt::install()?;
    let set = examples.train.as_ref();
    let mut trainer =
        Trainer::new(model.trainable(), &model_config, set, &config.train, &options.out, extra)?
            .with_stop(interrupt.stop());
    say(format!(
        "{parameters} parameters, {} examples to train on, from step {}",
        examples.train.len(),
        trainer.step()
    ));
    let steps = bar("training", config.train.iterations);
    steps.set_position(trainer.step());
    let mut smooth = None;
    let mut drawn = Ok(());
    let mut show = |event: Event<'_>| match event {
        Event::Step { record, pace } => {
            let loss = smooth.map_or(record.loss, |s: f32| 0.98 * s + 0.02 * record.loss);
            smooth = Some(loss);
            steps.set_message(format!("loss {loss:.4}, {:.1} examples/s", pace.examples_per_second));
            steps.set_position(record.step);
        }
        Event::Checkpoint { step, path } if options.show && drawn.is_ok() => {
            drawn = picture(config, examples, options, step, path);
        }
        _ => {}
    };
    let ended = interrupt.during(|| trainer.run(&mut show))?;
    drawn?;
    if let Ended::Stopped { step, state } = ended {
        steps.abandon();
        let line = format!(
            "stopped after step {step}, saved in {}: the same command goes on from there",
            state.display()
        );
        return Err(Interrupted(line).into());
    }
    steps.finish();
    let step = trainer.step();
    Ok(Trained {
        checkpoint: trainer.checkpoint_path(step),
        step,
        parameters,
        losses: trainer.losses()?,
        seconds: trainer.ledger().step_s(),
    })
}

/// The configuration of the model with what is measured on the training set where it does not say: the scale of latents.
fn measured(config: &RunConfig, examples: &Examples, device: &Device) -> Result<ModelConfig> {
    let mut model = config.model.clone();
    if let ModelConfig::LatentDiffusion(latent) = &mut model
        && latent.scale.is_none()
    {
        let count = examples.train.len();
        let n = 256.min(count);
        let indices: Vec<usize> = (0..n).map(|i| i * count / n).collect();
        let mut rng = Rng::new(config.train.seed).split_named("scale of latents");
        let batch = examples.train.batch(&indices, &mut rng)?;
        let scale = LatentDiffusion::new(latent, config.train.seed, device)?.scale_of(&batch)?;
        say(format!("latents are multiplied by {scale:.4}"));
        latent.scale = Some(scale);
    }
    Ok(model)
}

/// Eight samples of a checkpoint, of maps: under the conditions they were made from, where there are some, above the truth.
fn picture(
    config: &RunConfig,
    examples: &Examples,
    options: &TrainOptions,
    step: u64,
    checkpoint: &Path,
) -> Result<()> {
    let (_, model) = Model::load(checkpoint, &options.device)?;
    let Some(generative) = model.generative() else { return Ok(()) };
    let event = generative.event_shape();
    if event.len() != 3 || event[1] < 4 {
        return Ok(());
    }
    let n = 8.min(examples.validation.len());
    let indices: Vec<usize> = (0..n).map(|i| i * examples.validation.len() / n).collect();
    let truth = examples.validation.batch(&indices, &mut Rng::new(0))?;
    let spec = generative.condition();
    let given = match (spec, &truth.parameters, &truth.condition) {
        (CondSpec::Vector(_), Some(p), _) => Some(p.clone().into_dyn()),
        (CondSpec::Field(_), _, Some(c)) => Some(c.clone()),
        _ => None,
    };
    let condition = given.as_ref().map(|values| cond(spec, values, n, &options.device)).transpose()?;
    let sampler = match &config.sampler {
        Some(value) => serde_json::from_value(value.clone()).context("sampler")?,
        None => Default::default(),
    };
    let sampling = SampleOptions { sampler, batch: n, ..Default::default() };
    let mut rng = Rng::new(config.train.seed).split_named("samples").split(step);
    let samples = draw(generative, n, condition.as_ref(), &sampling, &mut rng)?;
    let rows = |values: &ArrayD<f32>| -> Result<Vec<Map>> {
        values
            .axis_iter(Axis(0))
            .map(|example| {
                let first = example.index_axis(Axis(0), 0);
                let plane: Array2<f32> = first.to_owned().into_dimensionality()?;
                Ok(Map::square("sample", plane, 1.0))
            })
            .collect()
    };
    let mut shown = match (spec, &truth.condition) {
        (CondSpec::Field(_), Some(condition)) => rows(condition)?,
        _ => vec![],
    };
    let drawn = rows(&samples)?;
    ensure!(
        drawn.iter().all(|map| map.values.iter().all(|v| v.is_finite())),
        "step {step}: a sample is not finite"
    );
    shown.extend(drawn);
    shown.extend(rows(&truth.fields)?);
    let scale = Scale::covering(&shown);
    Picture::grid(&shown.iter().collect::<Vec<_>>(), n, 2, scale)
        .save(&options.out.join(format!("samples-{step:08}.png")))
}

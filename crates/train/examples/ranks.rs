//! Trains a small diffusion model on random waves, on as many ranks as `mpirun` or `srun` starts: the program of `.ci/mpi`.
//!
//! `ranks FOLDER ITERATIONS [sgd|adam] [PAUSE_MS]`, or `ranks compare FOLDER FOLDER SUFFIX|loss TOLERANCE`: the relative
//! difference (L2) of the saved tensors whose names end so, or the largest of any step's loss.

#![allow(clippy::print_stdout, clippy::print_stderr)] // a program speaks

use std::path::Path;
use std::time::Duration;

use candle_core::Device;
use halocast_core::{Batch, Dataset, Rng};
use halocast_models::diffusion::DdpmConfig;
use halocast_models::unet::UNetConfig;
use halocast_models::{ModelConfig, load_checkpoint};
use halocast_train::{Collective, Event, LossLog, OptimizerConfig, Rule, SgdConfig, TrainConfig, Trainer};
use ndarray::{ArrayD, Axis};

struct Waves(ArrayD<f32>);

impl Dataset for Waves {
    fn len(&self) -> usize {
        self.0.shape()[0]
    }

    fn event_shape(&self) -> Vec<usize> {
        self.0.shape()[1..].to_vec()
    }

    fn batch(&self, indices: &[usize], rng: &mut Rng) -> halocast_core::Result<Batch> {
        let sign = if rng.uniform() < 0.5 { -1.0 } else { 1.0 };
        Ok(Batch::new(self.0.select(Axis(0), indices) * sign, None))
    }
}

/// How far two runs are apart.
fn compare(a: &str, b: &str, what: &str) -> Result<f64, Box<dyn std::error::Error>> {
    if what == "loss" {
        let read = |folder: &str| LossLog::read(&Path::new(folder).join("losses.jsonl"));
        let (a, b) = (read(a)?, read(b)?);
        if a.len() != b.len() {
            return Err(format!("{} steps and {}", a.len(), b.len()).into());
        }
        let apart = a.iter().zip(&b).map(|(a, b)| f64::from((a.loss - b.loss).abs() / a.loss));
        return Ok(apart.fold(0.0, f64::max));
    }
    let read = |folder: &str| {
        load_checkpoint::<serde_json::Value>(&Path::new(folder).join("state.safetensors"), &Device::Cpu)
    };
    let (a, b) = (read(a)?.1, read(b)?.1);
    let (mut squares, mut apart) = (0.0, 0.0);
    for (name, tensor) in a.iter().filter(|(name, _)| name.ends_with(what)) {
        let other = b.get(name).ok_or_else(|| format!("{name} is absent"))?;
        squares += f64::from(tensor.sqr()?.sum_all()?.to_scalar::<f32>()?);
        apart += f64::from((tensor - other)?.sqr()?.sum_all()?.to_scalar::<f32>()?);
    }
    Ok((apart / squares).sqrt())
}

fn train(collective: &dyn Collective) -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, iterations, rest @ ..] = &arguments[..] else {
        return Err("usage: ranks FOLDER ITERATIONS [sgd|adam] [PAUSE_MS]".into());
    };
    let rule = match rest.first().map(String::as_str) {
        Some("sgd") => Rule::Sgd(SgdConfig { momentum: 0.9, ..Default::default() }),
        _ => Rule::default(),
    };
    let pause = Duration::from_millis(rest.get(1).map_or(Ok(0), |ms| ms.parse())?);
    let wave = |i: usize, y: usize, x: usize| (0.4 * i as f32 + 0.8 * (x + 2 * y) as f32).sin();
    let waves = Waves(ArrayD::from_shape_fn(vec![12, 1, 8, 8], |at| wave(at[0], at[2], at[3])));
    let unet =
        UNetConfig { dim: 8, dim_mults: vec![1, 2], groups: 4, heads: 2, dim_head: 4, ..Default::default() };
    let model_config =
        ModelConfig::Ddpm(DdpmConfig { unet, size: vec![8, 8], timesteps: 50, ..Default::default() });
    let config = TrainConfig {
        batch: 8,
        iterations: iterations.parse()?,
        optimizer: OptimizerConfig { rule, learning_rate: 1e-2, ..Default::default() },
        checkpoint_every: 5,
        seed: 3,
        ..Default::default()
    };
    let model = model_config.build(config.seed, &Device::Cpu)?;
    let trainer =
        Trainer::new(model.trainable(), &model_config, &waves, &config, folder, serde_json::Value::Null)?;
    let mut trainer = trainer.with_collective(collective)?;
    println!(
        "rank {} of {} at step {}, process {}",
        collective.rank(),
        collective.size(),
        trainer.step(),
        std::process::id()
    );
    trainer.run(&mut |event| {
        if let Event::Step { .. } = event {
            std::thread::sleep(pause);
        }
    })?;
    Ok(())
}

/// Whether this was a comparison, which needs no other rank.
fn compared() -> Result<bool, Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [command, a, b, what, tolerance] = &arguments[..] else { return Ok(false) };
    if command != "compare" {
        return Ok(false);
    }
    let (apart, most) = (compare(a, b, what)?, tolerance.parse::<f64>()?);
    println!("{what}: {apart:.1e} apart, at most {most:.0e}");
    if apart <= most { Ok(true) } else { Err("too far apart".into()) }
}

#[cfg(feature = "mpi")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    if compared()? {
        return Ok(());
    }
    let mpi = halocast_train::Mpi::new()?;
    if let Err(error) = train(&mpi) {
        // Said before all end: the other ranks may wait for this one.
        eprintln!("rank {}: {error}", mpi.rank());
        mpi.abort(1);
    }
    Ok(())
}

#[cfg(not(feature = "mpi"))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    if compared()? {
        return Ok(());
    }
    train(&halocast_train::Local)
}

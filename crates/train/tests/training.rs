//! Training as a whole: the loss falls, a stopped run goes on to the same bytes, faults are named.

#![allow(clippy::unwrap_used, clippy::panic)] // a helper of a test fails as the test does

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use halocast_core::{Batch, Dataset, Result, Rng};
use halocast_models::ModelConfig;
use halocast_models::diffusion::DdpmConfig;
use halocast_models::unet::UNetConfig;
use halocast_train::{Error, Event, LearningRate, TrainConfig, Trainer};
use ndarray::{ArrayD, Axis};

/// Smooth random waves, augmented by a random sign.
struct Waves(ArrayD<f32>);

impl Waves {
    fn new(n: usize) -> Self {
        let mut rng = Rng::new(1);
        let phases: Vec<f64> = (0..n).map(|_| rng.uniform()).collect();
        let wave = |i: usize, y: usize, x: usize| {
            (std::f64::consts::TAU * (phases[i] + (x + 2 * y) as f64 / 8.0)).sin() as f32
        };
        Self(ArrayD::from_shape_fn(vec![n, 1, 8, 8], |at| wave(at[0], at[2], at[3])))
    }
}

impl Dataset for Waves {
    fn len(&self) -> usize {
        self.0.shape()[0]
    }

    fn event_shape(&self) -> Vec<usize> {
        self.0.shape()[1..].to_vec()
    }

    fn batch(&self, indices: &[usize], rng: &mut Rng) -> Result<Batch> {
        let sign = if rng.uniform() < 0.5 { -1.0 } else { 1.0 };
        Ok(Batch::new(self.0.select(Axis(0), indices) * sign, None))
    }
}

fn model_config() -> ModelConfig {
    let unet =
        UNetConfig { dim: 8, dim_mults: vec![1, 2], groups: 4, heads: 2, dim_head: 4, ..Default::default() };
    ModelConfig::Ddpm(DdpmConfig { unet, size: [8, 8], timesteps: 50, ..Default::default() })
}

fn train_config(iterations: u64) -> TrainConfig {
    TrainConfig {
        batch: 5,
        iterations,
        learning_rate: 3e-3,
        schedule: LearningRate::Constant,
        clip: Some(1.0),
        ema: Some(0.9),
        checkpoint_every: 4,
        seed: 3,
        ..Default::default()
    }
}

fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("halocast-train-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    path
}

/// Trains in `folder` to the end, or until `stop` steps were taken in this call.
fn train(folder: &Path, config: &TrainConfig, stop: Option<u64>) -> halocast_train::Result<PathBuf> {
    let model_config = model_config();
    let model = model_config.build(config.seed, &Device::Cpu)?;
    let waves = Waves::new(12);
    let mut trainer =
        Trainer::new(model.trainable(), &model_config, &waves, config, folder, serde_json::Value::Null)?;
    let last = stop.map_or(u64::MAX, |s| trainer.step() + s);
    // A panic in the callback is as sudden as a kill, in one process.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        trainer.run(&mut |event| {
            if let Event::Step(record) = event {
                assert!(record.step < last, "stopped");
            }
        })
    }))
    .unwrap_or_else(|_| Ok(PathBuf::new()))
}

#[test]
fn the_loss_falls() {
    let folder = folder("falls");
    train(&folder, &train_config(120), None).unwrap();
    let losses = halocast_train::LossLog::read(&folder.join("losses.jsonl")).unwrap();
    assert_eq!(losses.len(), 120);
    let mean = |range: &[halocast_train::StepRecord]| {
        range.iter().map(|r| f64::from(r.loss)).sum::<f64>() / range.len() as f64
    };
    let (first, last) = (mean(&losses[..20]), mean(&losses[100..]));
    assert!(last < 0.5 * first, "{first} -> {last}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn stopped_anywhere_it_ends_in_the_same_bytes_and_the_same_log() {
    let config = train_config(18);
    let (whole, broken) = (folder("whole"), folder("broken"));
    let last = train(&whole, &config, None).unwrap();
    for stop in [1, 3, 5, 2, 9] {
        train(&broken, &config, Some(stop)).unwrap();
    }
    train(&broken, &config, None).unwrap();
    for name in [last.file_name().unwrap(), "state.safetensors".as_ref(), "losses.jsonl".as_ref()] {
        assert!(
            fs::read(whole.join(name)).unwrap() == fs::read(broken.join(name)).unwrap(),
            "{name:?} differs"
        );
    }
    // A log that a crash cut in the middle of a line is mended.
    let log = broken.join("losses.jsonl");
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, &bytes[..bytes.len() - 7]).unwrap();
    train(&broken, &config, None).unwrap();
    assert_eq!(halocast_train::LossLog::read(&log).unwrap().len(), 17);
    fs::remove_dir_all(whole).unwrap();
    fs::remove_dir_all(broken).unwrap();
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let train_on = |threads: usize| {
        let folder = folder(&format!("threads-{threads}"));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let last = pool.install(|| train(&folder, &train_config(6), None)).unwrap();
        let bytes = fs::read(last).unwrap();
        fs::remove_dir_all(folder).unwrap();
        bytes
    };
    assert!(train_on(1) == train_on(3));
}

#[test]
fn another_run_in_the_folder_is_refused() {
    let folder = folder("other");
    train(&folder, &train_config(4), None).unwrap();
    let other = TrainConfig { learning_rate: 1e-4, ..train_config(4) };
    let error = train(&folder, &other, None).unwrap_err();
    assert!(matches!(error, Error::Resume { .. }), "{error}");
    // A longer run of the same making goes on.
    assert!(train(&folder, &train_config(8), None).unwrap().ends_with("checkpoint-00000008.safetensors"));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn another_data_set_of_the_same_size_is_refused() {
    let folder = folder("data");
    train(&folder, &train_config(4), None).unwrap();
    let model_config = model_config();
    let model = model_config.build(3, &Device::Cpu).unwrap();
    let mut other = Waves::new(12);
    other.0[[11, 0, 3, 3]] += 1e-3;
    let resumed = Trainer::new(
        model.trainable(),
        &model_config,
        &other,
        &train_config(8),
        &folder,
        serde_json::Value::Null,
    );
    let message = resumed.err().map(|e| e.to_string()).unwrap();
    assert!(message.contains("the hash of the data"), "{message}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_loss_that_is_no_number_stops_the_run() {
    let folder = folder("diverged");
    let config = TrainConfig { learning_rate: 1e30, clip: None, ..train_config(20) };
    let error = train(&folder, &config, None).unwrap_err();
    assert!(matches!(error, Error::Diverged { .. } | Error::GradientNotFinite { .. }), "{error}");
    fs::remove_dir_all(folder).unwrap();
}

//! What the tests of training share: a small model, small data, a decoder of event files.

#![allow(dead_code, clippy::unwrap_used, clippy::panic)] // not every test uses all; a helper of a test fails as it does

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use halocast_core::{Batch, Dataset, Result, Rng};
use halocast_models::diffusion::DdpmConfig;
use halocast_models::unet::UNetConfig;
use halocast_models::{Model, ModelConfig};
use halocast_train::{OptimizerConfig, TrainConfig, Trainer};
use ndarray::{ArrayD, Axis};

/// Smooth random waves, augmented by a random sign.
pub(crate) struct Waves(pub(crate) ArrayD<f32>);

impl Waves {
    pub(crate) fn new(n: usize) -> Self {
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

pub(crate) fn model_config() -> ModelConfig {
    let unet =
        UNetConfig { dim: 8, dim_mults: vec![1, 2], groups: 4, heads: 2, dim_head: 4, ..Default::default() };
    ModelConfig::Ddpm(DdpmConfig { unet, size: vec![8, 8], timesteps: 50, ..Default::default() })
}

pub(crate) fn model(config: &TrainConfig) -> Model {
    model_config().build(config.seed, &Device::Cpu).unwrap()
}

pub(crate) fn train_config(iterations: u64) -> TrainConfig {
    TrainConfig {
        batch: 5,
        iterations,
        optimizer: OptimizerConfig { learning_rate: 3e-3, clip: Some(1.0), ..Default::default() },
        ema: vec![0.9, 0.99],
        checkpoint_every: 4,
        seed: 3,
        ..Default::default()
    }
}

pub(crate) fn trainer<'a>(
    model: &'a Model,
    waves: &'a Waves,
    folder: &Path,
    config: &TrainConfig,
) -> halocast_train::Result<Trainer<'a>> {
    Trainer::new(model.trainable(), &model_config(), waves, config, folder, serde_json::Value::Null)
}

/// An empty folder of this name.
pub(crate) fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("halocast-train-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    path
}

/// The files of two runs that must agree: all but clocks and meters.
pub(crate) fn assert_same_run(a: &Path, b: &Path) {
    let files = |folder: &Path| -> BTreeMap<String, Vec<u8>> {
        let clocks = ["timing.jsonl", "ledger.json", "events.out.tfevents.halocast"];
        fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
            .filter(|(name, _)| !clocks.contains(&name.as_str()))
            .map(|(name, path)| (name, fs::read(path).unwrap()))
            .collect()
    };
    let (a, b) = (files(a), files(b));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    a.iter().for_each(|(name, bytes)| assert!(*bytes == b[name], "{name} differs"));
}

/// A field of a Protocol Buffers message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Number(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    Bytes(Vec<u8>),
}

/// All fields of a message, by number.
pub(crate) fn message(mut bytes: &[u8]) -> Vec<(u64, Value)> {
    fn number(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for i in 0.. {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value += u64::from(byte % 128) << (7 * i);
            if byte < 128 {
                break;
            }
        }
        value
    }
    fn take(bytes: &mut &[u8], n: usize) -> Vec<u8> {
        let (head, tail) = bytes.split_at(n);
        *bytes = tail;
        head.to_vec()
    }
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let key = number(&mut bytes);
        let value = match key % 8 {
            0 => Value::Number(number(&mut bytes)),
            1 => Value::Fixed64(take(&mut bytes, 8).try_into().unwrap()),
            2 => {
                let n = number(&mut bytes) as usize;
                Value::Bytes(take(&mut bytes, n))
            }
            5 => Value::Fixed32(take(&mut bytes, 4).try_into().unwrap()),
            wire => panic!("wire type {wire}"),
        };
        out.push((key / 8, value));
    }
    out
}

/// The events of a file; every checksum is compared, by a division bit by bit.
pub(crate) fn events(path: &Path) -> Vec<Vec<(u64, Value)>> {
    let checked = |data: &[u8], stored: &[u8]| {
        let mut crc = !0u32;
        for bit in data.iter().flat_map(|byte| (0..8).map(move |i| u32::from(byte >> i & 1))) {
            let odd = (crc ^ bit) & 1;
            crc = (crc >> 1) ^ (odd * 0x82F6_3B78);
        }
        let crc = !crc;
        let masked = crc.rotate_right(15).wrapping_add(0xA282_EAD8);
        assert_eq!(stored, masked.to_le_bytes(), "checksum");
    };
    let bytes = fs::read(path).unwrap();
    let (mut at, mut out) = (0, Vec::new());
    while at < bytes.len() {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        checked(&bytes[at..at + 8], &bytes[at + 8..at + 12]);
        let data = &bytes[at + 12..at + 12 + length];
        checked(data, &bytes[at + 12 + length..at + 16 + length]);
        out.push(message(data));
        at += 16 + length;
    }
    out
}

/// The step of an event.
pub(crate) fn step(event: &[(u64, Value)]) -> u64 {
    match event.iter().find(|(field, _)| *field == 2) {
        Some((_, Value::Number(step))) => *step,
        _ => 0,
    }
}

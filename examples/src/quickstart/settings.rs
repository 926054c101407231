//! What the program runs with: the small configuration for two cores, the full one for a large machine.

use std::path::PathBuf;

use candle_core::Device;
use halocast::data::Step;
use halocast::kernels::PadMode;
use halocast::models::diffusion::{DdpmConfig, LossKind, Objective, Sampler, Schedule, TimeSampling};
use halocast::models::unet::{Attention, UNetConfig};
use halocast::train::{LearningRate, OptimizerConfig, TrainConfig};
use serde::Serialize;

use crate::truth::MockConfig;

/// The command line.
pub struct Options {
    /// Maps to train on; none for the embedded universe.
    pub maps: Vec<PathBuf>,
    /// Side of the box of CAMELS maps in Mpc/h, in place of CAMELS' own.
    pub box_size: Option<f64>,
    /// The paper's configuration.
    pub full: bool,
    /// Where everything is written.
    pub out: PathBuf,
    /// Where the numbers are written as JSON.
    pub json: Option<PathBuf>,
    /// The seed.
    pub seed: u64,
    /// The device.
    pub device: Device,
    /// Training iterations in place of the configuration's.
    pub iterations: Option<u64>,
    /// Universes in place of the configuration's.
    pub universes: Option<usize>,
    /// Samples in place of the configuration's.
    pub samples: Option<usize>,
}

/// Every number of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// The embedded universes, when no maps are given.
    pub mock: MockConfig,
    /// Fractions of the simulations to train on, to choose the checkpoint by, to judge by.
    pub split: [f64; 3],
    /// How maps are brought to the range of the model.
    pub scaling: Step,
    /// The model.
    pub model: DdpmConfig,
    /// Its training.
    pub train: TrainConfig,
    /// How maps are sampled.
    pub sampler: Sampler,
    /// Number of maps judged.
    pub samples: usize,
    /// Number of last checkpoints among which the validation maps choose.
    pub candidates: usize,
    /// Number of maps sampled from each of them.
    pub candidate_samples: usize,
}

impl Settings {
    /// The settings of a command line, for maps that are periodic or not.
    pub fn new(options: &Options) -> Self {
        let mut settings = if options.full { Self::full() } else { Self::small() };
        settings.train.seed = options.seed;
        if let Some(iterations) = options.iterations {
            settings.train.iterations = iterations;
            settings.train.checkpoint_every = (iterations / 10).clamp(1, settings.train.checkpoint_every);
        }
        settings.mock.universes = options.universes.unwrap_or(settings.mock.universes);
        settings.samples = options.samples.unwrap_or(settings.samples);
        settings.candidate_samples = settings.candidate_samples.min(settings.samples);
        settings
    }

    /// The settings for maps whose edges do not meet.
    pub fn open(mut self) -> Self {
        self.model.unet.padding = PadMode::Zeros;
        self
    }

    /// For two cores and fifteen minutes: a network a hundredth of the paper's, trained for a thousandth of its work.
    fn small() -> Self {
        let unet = UNetConfig {
            dim: 24,
            dim_mults: vec![1, 2, 4],
            attention: Attention::Middle,
            padding: PadMode::Circular,
            ..Default::default()
        };
        Self {
            mock: MockConfig::default(),
            split: [0.55, 0.2, 0.25],
            scaling: Step::Standardise,
            model: DdpmConfig {
                unet,
                timesteps: 1000,
                schedule: Schedule::Cosine,
                objective: Objective::Velocity,
                loss: LossKind::L2,
                times: TimeSampling::Stratified,
                ..Default::default()
            },
            train: TrainConfig {
                batch: 16,
                iterations: 900,
                optimizer: OptimizerConfig {
                    learning_rate: 2e-3,
                    schedule: LearningRate::Cosine,
                    warmup: 50,
                    clip: Some(1.0),
                    ..Default::default()
                },
                ema: vec![0.99],
                checkpoint_every: 150,
                ..Default::default()
            },
            sampler: Sampler::DpmSolver { steps: 30 },
            samples: 128,
            candidates: 3,
            candidate_samples: 96,
        }
    }

    /// The configuration of Mudur & Finkbeiner 2022 for 64x64 maps: the defaults of the library, the last ten
    /// checkpoints compared with a hundred samples each. Random shifts of periodic maps are ours.
    fn full() -> Self {
        Self {
            mock: MockConfig { universes: 200, ..Default::default() },
            split: [0.6, 0.2, 0.2],
            scaling: Step::MinMax,
            model: DdpmConfig::default(),
            train: TrainConfig::default(),
            sampler: Sampler::Ancestral { steps: None },
            samples: 100,
            candidates: 10,
            candidate_samples: 100,
        }
    }
}

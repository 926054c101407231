//! # halocast-train
//!
//! Trains any [`halocast_models::Trainable`] on any [`halocast_core::Dataset`]: Adam with clipping and a moving average
//! ([`Optimizer`]), a loss log, checkpoints that rebuild their own model, and runs that resume to the same bits after
//! being killed at any moment ([`Trainer`]).
//!
//! ```no_run
//! use candle_core::Device;
//! use halocast_models::ModelConfig;
//! use halocast_models::diffusion::DdpmConfig;
//! use halocast_train::{Event, TrainConfig, Trainer};
//! # fn maps() -> Box<dyn halocast_core::Dataset> { unimplemented!() }
//!
//! let dataset = maps();
//! let config = ModelConfig::Ddpm(DdpmConfig::default());
//! let train = TrainConfig { iterations: 1000, ..Default::default() };
//! let model = config.build(train.seed, &Device::Cpu)?;
//! let mut trainer = Trainer::new(model.trainable(), &config, &*dataset, &train, "run", serde_json::Value::Null)?;
//! let last = trainer.run(&mut |event| {
//!     if let Event::Step(record) = event {
//!         // Draw a progress bar.
//!         let _ = record.loss;
//!     }
//! })?;
//! # let _ = last;
//! # Ok::<(), halocast_train::Error>(())
//! ```
//!
//! # Features
//!
//! `cuda`, `cudnn`, `metal`: as in `halocast-models`.

mod config;
mod error;
mod log;
mod optimizer;
mod trainer;

pub use config::{LearningRate, TrainConfig};
pub use error::{Error, Result};
pub use log::{LossLog, StepRecord};
pub use optimizer::Optimizer;
pub use trainer::{Event, Trainer};

//! # halocast-train
//!
//! One loop trains every [`halocast_models::Trainable`] on every [`halocast_core::Dataset`]: [`Trainer`].
//!
//! ```
//! use candle_core::Device;
//! use halocast_core::{Batch, Dataset, Rng};
//! use halocast_models::{ExampleSpec, Loss, Parameters, Trainable};
//! use halocast_train::{Ended, Event, OptimizerConfig, TrainConfig, Trainer};
//! use ndarray::{ArrayD, Axis};
//!
//! /// Numbers about 3.
//! struct Numbers(ArrayD<f32>);
//!
//! impl Dataset for Numbers {
//!     fn len(&self) -> usize {
//!         self.0.len()
//!     }
//!     fn event_shape(&self) -> Vec<usize> {
//!         vec![]
//!     }
//!     fn batch(&self, indices: &[usize], _: &mut Rng) -> halocast_core::Result<Batch> {
//!         Ok(Batch::new(self.0.select(Axis(0), indices), None))
//!     }
//! }
//!
//! /// Their mean, as the number of the least mean square distance.
//! struct Mean(Parameters);
//!
//! impl Trainable for Mean {
//!     fn example(&self) -> ExampleSpec {
//!         ExampleSpec { fields: vec![], ..Default::default() }
//!     }
//!     fn parameters(&self) -> &Parameters {
//!         &self.0
//!     }
//!     fn device(&self) -> &Device {
//!         &Device::Cpu
//!     }
//!     fn loss(&self, _: usize, batch: &Batch, _: &mut Rng) -> halocast_models::Result<Loss> {
//!         let mean = self.0.builder().get((), "mean")?;
//!         let x = candle_core::Tensor::from_iter(batch.fields.iter().copied(), &Device::Cpu)?;
//!         Ok(Loss { total: x.broadcast_sub(&mean)?.sqr()?.mean_all()?, parts: vec![] })
//!     }
//! }
//!
//! let model = Mean(Parameters::new(1, &Device::Cpu));
//! model.0.builder().get((), "mean")?;
//! let numbers = Numbers(ArrayD::from_shape_fn(vec![64], |i| 3.0 + (i[0] as f32).sin() / 10.0));
//! let optimizer = OptimizerConfig { learning_rate: 0.1, ..Default::default() };
//! let config = TrainConfig { batch: 16, iterations: 200, optimizer, ema: vec![0.9], ..Default::default() };
//! # let folder = std::env::temp_dir().join(format!("halocast-train-doc-{}", std::process::id()));
//! let mut trainer = Trainer::new(&model, &"mean", &numbers, &config, &folder, serde_json::Value::Null)?;
//! let ended = trainer.run(&mut |event| {
//!     if let Event::Step { record, pace } = event {
//!         // Draw a bar: the loss, the time that remains.
//!         let _ = (record.loss, pace.remaining);
//!     }
//! })?;
//! assert!(matches!(ended, Ended::Finished { .. }));
//! let mean = trainer.weights().average(Some(0.9))?[0].1.to_scalar::<f32>()?;
//! assert!((mean - 3.0).abs() < 0.05);
//! # std::fs::remove_dir_all(folder).ok();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a run is
//!
//! A run lives in a folder ([`Trainer`] lists its files) and is a function of the model, its seed, the data and the
//! [`TrainConfig`]. It may be killed at any moment, even while a checkpoint is written or the disk is full: the next
//! [`Trainer`] in the folder goes on from the last saved state to the same bits, and no line of a log is lost or doubled.
//! A [`Stop`] ends it after the step it is at, with its state saved: a program sets it on Ctrl-C.
//!
//! * **Phases.** A model may take several losses in turn, each for parameters of its own ([`Trainable::trains`]): the
//!   discriminator and the generator of an adversarial model. Each has its [`OptimizerConfig`], with a
//!   [`repeat`](OptimizerConfig::repeat) of its own.
//! * **Optimisers.** Adam, AdamW and SGD with momentum ([`Rule`]); a warm-up and a schedule ([`LearningRate`]); clipping
//!   by norm and by value; gradients averaged over parts of a batch ([`TrainConfig::accumulate`]).
//! * **Averages.** Moving averages of several decays at once ([`Weights`]), each with its checkpoint.
//! * **Checkpoints** rebuild their own model ([`halocast_models::Model::load`]). The last few stay, every k-th, and the
//!   best by training loss and by the caller's judge ([`Trainer::with_judge`], [`Checkpoints`]).
//! * **Logs** as JSON lines ([`StepRecord`], [`TimingRecord`]) and for TensorBoard ([`EventFile`]); time, memory and
//!   energy in the [`Ledger`].
//! * **No numbers that are none.** A loss or gradient that is not finite ends the run before it does harm, and its batch
//!   is kept ([`BadBatch`]).
//! * **Ranks** that share the batch of each step and sum their gradients ([`Trainer::with_collective`], [`Collective`]):
//!   every draw is keyed by its example's place in the batch, so a run is the same up to rounding on any number of them.
//!
//! [`Trainable::trains`]: halocast_models::Trainable::trains
//!
//! # Features
//!
//! `cuda`, `cudnn`, `metal`: as in `halocast-models`. `mpi`: ranks under MPI, which must be installed with its compiler
//! wrapper and libclang. `nccl`: sums between CUDA devices.

mod checkpoints;
mod collective;
mod config;
mod crc32c;
mod error;
mod gradients;
mod guard;
mod ledger;
mod log;
mod optimizer;
mod order;
mod schedule;
mod step;
mod stop;
mod tensorboard;
mod trainer;
mod weights;

pub use checkpoints::{CheckpointRecord, Checkpoints};
#[cfg(feature = "mpi")]
pub use collective::Mpi;
#[cfg(feature = "nccl")]
pub use collective::Nccl;
pub use collective::{Collective, Local, Threads};
pub use config::{AdamConfig, OptimizerConfig, Rule, SgdConfig, TrainConfig};
pub use error::{Error, Result};
pub use gradients::Gradients;
pub use guard::{BadBatch, Place};
pub use ledger::{EnergyMeter, Ledger, Pace, Part};
pub use log::{Line, Log, LossLog, StepRecord, TimingRecord};
pub use optimizer::Optimizer;
pub use schedule::LearningRate;
pub use stop::Stop;
pub use tensorboard::EventFile;
pub use trainer::{Ended, Event, Judge, Trainer};
pub use weights::Weights;

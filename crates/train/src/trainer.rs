//! The training loop: batches, steps, checkpoints; killed at any moment, it resumes to the same bits.

use std::path::{Path, PathBuf};

use candle_core::Device;
use halocast_core::{Dataset, Rng, Shard};
use halocast_models::{CheckpointHeader, ModelConfig, Trainable, load_checkpoint, save_checkpoint};
use serde::{Deserialize, Serialize};

use crate::log::LossLog;
use crate::{Error, Optimizer, Result, StepRecord, TrainConfig};

/// What the loop tells its caller.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A step was taken.
    Step(StepRecord),
    /// A checkpoint to sample from was written.
    Checkpoint {
        /// The step it holds.
        step: u64,
        /// The file.
        path: &'a Path,
    },
}

/// The header of the file a run is resumed from.
#[derive(Debug, Serialize, Deserialize)]
struct RunState {
    model: ModelConfig,
    train: TrainConfig,
    examples: usize,
    /// A hash of the examples: another data set of the same size is another run.
    data: u64,
    extra: serde_json::Value,
    step: u64,
}

/// A training run in a folder.
///
/// The folder holds `losses.jsonl`, `checkpoint-NNNNNNNN.safetensors` every `checkpoint_every` steps and at the end, and
/// `state.safetensors`, from which a run that was stopped goes on. The batch, augmentation and noise of a step are
/// functions of the seed and the step's number alone, and files are written whole or not at all, so a run that was
/// killed and resumed ends in the same bytes as one that was not.
pub struct Trainer<'a> {
    model: &'a dyn Trainable,
    dataset: &'a dyn Dataset,
    header: CheckpointHeader,
    config: TrainConfig,
    folder: PathBuf,
    optimizer: Optimizer,
    data: u64,
    step: u64,
}

impl<'a> Trainer<'a> {
    /// A run in `folder`, resumed where it stands if it was begun before. `extra` goes into the header of every
    /// checkpoint: the data transform, for one.
    ///
    /// # Errors
    /// [`Error::Config`] when the configuration is absurd or the data set empty; [`Error::Resume`] when the folder holds
    /// a run of another model, configuration or data set.
    pub fn new(
        model: &'a dyn Trainable,
        model_config: &ModelConfig,
        dataset: &'a dyn Dataset,
        config: &TrainConfig,
        folder: impl Into<PathBuf>,
        extra: serde_json::Value,
    ) -> Result<Self> {
        config.validate()?;
        if dataset.is_empty() {
            let (expected, got) = ("at least one example".to_owned(), "none".to_owned());
            return Err(Error::Config { field: "data set", expected, got });
        }
        let mut trainer = Self {
            model,
            dataset,
            header: CheckpointHeader { extra, ..CheckpointHeader::new(model_config.clone(), config.seed, 0) },
            config: config.clone(),
            folder: folder.into(),
            optimizer: Optimizer::new(model.parameters(), config)?,
            data: fingerprint(dataset)?,
            step: 0,
        };
        if trainer.state_path().exists() {
            trainer.resume()?;
        }
        Ok(trainer)
    }

    /// The number of steps taken.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The file of the checkpoint of a step.
    pub fn checkpoint_path(&self, step: u64) -> PathBuf {
        self.folder.join(format!("checkpoint-{step:08}.safetensors"))
    }

    /// The loss log, whole lines only.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read.
    pub fn losses(&self) -> Result<Vec<StepRecord>> {
        LossLog::read(&self.log_path())
    }

    /// Trains to the end and returns the last checkpoint's path.
    ///
    /// # Errors
    /// [`Error::Diverged`] when the loss is no longer finite; errors of the model, the data set and the disk.
    pub fn run(&mut self, on_event: &mut dyn FnMut(Event<'_>)) -> Result<PathBuf> {
        let root = Rng::new(self.config.seed);
        let mut order = Order::new(root.split_named("order"), self.dataset.len());
        let steps = root.split_named("steps");
        let mut log = LossLog::open(&self.log_path(), self.step)?;
        while self.step < self.config.iterations {
            let step = self.step + 1;
            let mut rng = steps.split(step);
            let indices = order.batch(self.step, self.config.batch);
            let batch = Shard::whole(indices.len()).batch(self.dataset, &indices, &mut rng)?;
            let record = self.train_step(step, &batch, &mut rng)?;
            log.push(&record)?;
            self.step = step;
            on_event(Event::Step(record));
            if step.is_multiple_of(self.config.checkpoint_every) || step == self.config.iterations {
                log.flush()?;
                let path = self.save()?;
                on_event(Event::Checkpoint { step, path: &path });
            }
        }
        Ok(self.checkpoint_path(self.step))
    }

    fn train_step(&mut self, step: u64, batch: &halocast_core::Batch, rng: &mut Rng) -> Result<StepRecord> {
        let mut record = StepRecord {
            step,
            loss: 0.0,
            gradient_norm: 0.0,
            learning_rate: self.config.learning_rate_at(step),
        };
        for phase in 0..self.model.phases() {
            let (loss, tape) = halocast_kernels::record(|| self.model.loss(phase, batch, rng))?;
            let value = loss.total.to_scalar::<f32>()?;
            if !value.is_finite() {
                return Err(Error::Diverged { step, loss: value });
            }
            let gradients = tape.backward(&loss.total)?;
            record.gradient_norm = self.optimizer.step(&gradients, &self.config, step)?;
            record.loss += value;
        }
        Ok(record)
    }

    /// Writes the checkpoint, then the state: if a crash falls between them, the step is taken again and its checkpoint
    /// overwritten by the same bytes.
    fn save(&self) -> Result<PathBuf> {
        let path = self.checkpoint_path(self.step);
        let header = CheckpointHeader { step: self.step, ..self.header.clone() };
        save_checkpoint(&path, &header, &self.optimizer.averaged()?)?;
        let state = RunState {
            model: self.header.config.clone(),
            train: self.config.clone(),
            examples: self.dataset.len(),
            data: self.data,
            extra: self.header.extra.clone(),
            step: self.step,
        };
        save_checkpoint(self.state_path(), &state, &self.optimizer.state()?)?;
        Ok(path)
    }

    fn resume(&mut self) -> Result<()> {
        let path = self.state_path();
        let (state, tensors) = load_checkpoint::<RunState>(&path, &Device::Cpu)?;
        let differs = |what, found: String, expected: String| Error::Resume {
            path: path.clone(),
            what,
            found,
            expected,
        };
        // More iterations than before are welcome where the schedule does not depend on them, and how often checkpoints
        // are written changes nothing.
        let mut train = TrainConfig { checkpoint_every: self.config.checkpoint_every, ..state.train.clone() };
        if train.schedule == crate::LearningRate::Constant {
            train.iterations = self.config.iterations;
        }
        if state.model != self.header.config {
            let (found, expected) = (format!("{:?}", state.model), format!("{:?}", self.header.config));
            return Err(differs("the model", found, expected));
        }
        if train != self.config {
            let (found, expected) = (format!("{:?}", state.train), format!("{:?}", self.config));
            return Err(differs("the training configuration", found, expected));
        }
        if state.examples != self.dataset.len() {
            let (found, expected) = (state.examples.to_string(), self.dataset.len().to_string());
            return Err(differs("the number of examples", found, expected));
        }
        if state.data != self.data {
            let (found, expected) = (format!("{:016x}", state.data), format!("{:016x}", self.data));
            return Err(differs("the hash of the data", found, expected));
        }
        if state.extra != self.header.extra {
            let (found, expected) = (state.extra.to_string(), self.header.extra.to_string());
            return Err(differs("the extra header", found, expected));
        }
        self.optimizer.restore(&tensors)?;
        self.step = state.step;
        tracing::info!(step = self.step, path = %path.display(), "resumed");
        Ok(())
    }

    fn state_path(&self) -> PathBuf {
        self.folder.join("state.safetensors")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("losses.jsonl")
    }
}

/// FNV-1a over the bits of up to 256 examples spread over the data set, as its own augmentation gives them.
fn fingerprint(dataset: &dyn Dataset) -> Result<u64> {
    let shown = dataset.len().min(256);
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for i in 0..shown {
        let batch = dataset.batch(&[i * dataset.len() / shown], &mut Rng::new(0))?;
        for value in batch.fields.iter().chain(batch.parameters.iter().flatten()) {
            hash = (hash ^ u64::from(value.to_bits())).wrapping_mul(0x100_0000_01b3);
        }
    }
    Ok(hash)
}

/// The order of examples: every epoch a permutation that depends on the seed and the epoch alone.
struct Order {
    rng: Rng,
    epoch: Option<u64>,
    permutation: Vec<usize>,
}

impl Order {
    fn new(rng: Rng, examples: usize) -> Self {
        Self { rng, epoch: None, permutation: (0..examples).collect() }
    }

    /// The indices of the batch of step `step`, counted from 0.
    fn batch(&mut self, step: u64, size: usize) -> Vec<usize> {
        let examples = self.permutation.len() as u64;
        let first = step * size as u64;
        (first..first + size as u64)
            .map(|i| {
                self.load(i / examples);
                self.permutation[(i % examples) as usize]
            })
            .collect()
    }

    fn load(&mut self, epoch: u64) {
        if self.epoch != Some(epoch) {
            self.permutation.sort_unstable();
            self.rng.split(epoch).shuffle(&mut self.permutation);
            self.epoch = Some(epoch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_holds_every_example_once_wherever_it_is_entered() {
        let mut order = Order::new(Rng::new(1), 10);
        let all: Vec<usize> = (0..10).flat_map(|s| order.batch(s, 3)).collect();
        for epoch in all.chunks(10) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        }
        assert_eq!(Order::new(Rng::new(1), 10).batch(7, 3), all[21..24]);
        assert_ne!(all[..10], all[10..20]);
    }
}

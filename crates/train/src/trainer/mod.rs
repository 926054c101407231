//! The training loop: batches, steps, checkpoints; stopped at any moment, it resumes to the same bits.

mod event;
mod saving;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use candle_core::Tensor;
use halocast_core::Dataset;
use halocast_models::Trainable;
use serde::Serialize;

pub use event::{Ended, Event};
use saving::checkpoint_name;

use crate::checkpoints::Checkpoints;
use crate::collective::{Collective, any, error, together};
use crate::ledger::{Clock, EnergyMeter, Ledger, Pace, Part, memory_mb};
use crate::order::fingerprint;
use crate::step::Stepper;
use crate::{Error, EventFile, Log, LossLog, Result, StepRecord, Stop, TimingRecord, TrainConfig, Weights};

/// Judges a checkpoint, given its step and its file: the less, the better.
pub type Judge<'a> =
    dyn FnMut(u64, &Path) -> std::result::Result<f64, Box<dyn std::error::Error + Send + Sync>> + 'a;

/// A training run in a folder.
///
/// | file | what |
/// |---|---|
/// | `checkpoint-NNNNNNNN.safetensors` | the model, every `checkpoint_every` steps and at the end |
/// | `checkpoint-NNNNNNNN.ema-D.safetensors` | the same with each other moving average |
/// | `checkpoints.json` | which checkpoints there are, and the best: [`Checkpoints`] |
/// | `state.safetensors` | what a run that was stopped goes on from |
/// | `losses.jsonl` | a [`StepRecord`] a line |
/// | `timing.jsonl`, `ledger.json` | a [`TimingRecord`] a line; the [`Ledger`] |
/// | `events.out.tfevents.halocast` | the same for TensorBoard |
///
/// The batch, augmentation and noise of a step are functions of the seed and the step's number alone, and files are
/// written whole or not at all, so a run that was killed and resumed ends in the same bytes as one that was not; clocks
/// and meters (the last two rows) are the exception.
pub struct Trainer<'a> {
    stepper: Stepper<'a>,
    model: serde_json::Value,
    extra: serde_json::Value,
    folder: PathBuf,
    data: u64,
    step: u64,
    stop: Stop,
    judge: Option<Box<Judge<'a>>>,
}

/// What is open while steps are taken.
struct Books {
    /// The first rank keeps the logs.
    logs: Option<(LossLog, Log<TimingRecord>)>,
    board: Option<EventFile>,
    meter: Option<EnergyMeter>,
    clock: Clock,
    flushed: Instant,
}

impl<'a> Trainer<'a> {
    /// A run in `folder`, resumed where it stands if it was begun before. `model_config` rebuilds the model from a
    /// checkpoint: a [`halocast_models::ModelConfig`] for models of the zoo, any serialised value for others. `extra`
    /// goes into the header of every checkpoint: the data transform, for one.
    ///
    /// # Errors
    /// [`Error::Config`] when the configuration is absurd or the data set empty; [`Error::Resume`] when the folder holds
    /// a run of another model, configuration or data set.
    pub fn new(
        model: &'a dyn Trainable,
        model_config: &impl Serialize,
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
        let description = serde_json::to_value(model_config).map_err(|e| Error::Config {
            field: "model",
            expected: "a configuration that is JSON".into(),
            got: e.to_string(),
        })?;
        let folder = folder.into();
        let mut trainer = Self {
            stepper: Stepper::new(model, dataset, config, folder.join("bad-batch.safetensors"))?,
            model: description,
            extra,
            data: fingerprint(dataset)?,
            step: 0,
            stop: Stop::default(),
            judge: None,
            folder,
        };
        if trainer.state_path().exists() {
            trainer.resume()?;
        }
        Ok(trainer)
    }

    /// The same run, shared by the ranks of `collective`: each takes its part of every batch, and all take the same step,
    /// with the mean gradient of the whole batch. Every rank calls [`Trainer::new`] with the same arguments and a model of
    /// the same seed, and then this.
    ///
    /// The first rank alone writes to the folder, which the others must see. The files do not know how many ranks there
    /// were, so a run may be resumed on another number of them. A rank that fails ends all, after the last whole step. All
    /// events come to every rank.
    ///
    /// # Errors
    /// [`Error::Config`] when a batch has no example for some part of some rank; [`Error::Collective`] when the ranks do
    /// not stand at the same step of the same run.
    pub fn with_collective(mut self, collective: &'a dyn Collective) -> Result<Self> {
        let config = &self.stepper.config;
        let least = collective.size() * config.accumulate;
        if config.batch < least {
            let expected =
                format!("at least {least}: one for each part of each of {} ranks", collective.size());
            return Err(Error::Config { field: "batch", expected, got: config.batch.to_string() });
        }
        let weights = self.stepper.weights.state()?;
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        for (_, tensor) in &weights {
            for value in tensor.flatten_all()?.to_vec1::<f32>()? {
                hash = (hash ^ u64::from(value.to_bits())).wrapping_mul(0x100_0000_01b3);
            }
        }
        let own = format!(
            "step {}, data {:016x}, parameters {hash:016x}, {}, {:?}",
            self.step, self.data, self.model, config
        );
        let mut first = own.clone().into_bytes();
        collective.broadcast(&mut first, 0)?;
        let same = first == own.as_bytes();
        let differs = || {
            let first = String::from_utf8_lossy(&first);
            error(collective, "start of the run", format!("rank 0 is at {first}; this rank at {own}"))
        };
        together(collective, "start of the run", if same { Ok(()) } else { Err(differs()) })?;
        if collective.rank() > 0 {
            let name = format!("bad-batch.rank-{}.safetensors", collective.rank());
            self.stepper.bad_batch = self.folder.join(name);
        }
        self.stepper.collective = collective;
        Ok(self)
    }

    /// The same run, which ends after the step at which `stop` is set.
    pub fn with_stop(mut self, stop: &Stop) -> Self {
        self.stop = stop.clone();
        self
    }

    /// The same run, whose checkpoints are judged as they are written: by the statistics of samples, for one. The judge
    /// must give the same checkpoint the same score.
    pub fn with_judge(
        mut self,
        judge: impl FnMut(u64, &Path) -> std::result::Result<f64, Box<dyn std::error::Error + Send + Sync>> + 'a,
    ) -> Self {
        self.judge = Some(Box::new(judge));
        self
    }

    /// The number of steps taken.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The parameters and their averages.
    pub fn weights(&self) -> &Weights {
        &self.stepper.weights
    }

    /// What the run has cost so far.
    pub fn ledger(&self) -> &Ledger {
        &self.stepper.ledger
    }

    /// The file of the checkpoint of a step.
    pub fn checkpoint_path(&self, step: u64) -> PathBuf {
        self.folder.join(checkpoint_name(step, None))
    }

    /// The checkpoints of the run.
    ///
    /// # Errors
    /// [`Error::File`] when their index cannot be read.
    pub fn checkpoints(&self) -> Result<Checkpoints> {
        Checkpoints::read(&self.folder)
    }

    /// The loss log, whole lines only.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read.
    pub fn losses(&self) -> Result<Vec<StepRecord>> {
        LossLog::read(&self.log_path())
    }

    /// Trains to the end, or until it is asked to stop.
    ///
    /// # Errors
    /// [`Error::Diverged`] and [`Error::GradientNotFinite`] when something is no number; errors of the model, the data
    /// set, the judge and the disk. What was saved before stands.
    pub fn run(&mut self, on_event: &mut dyn FnMut(Event<'_>)) -> Result<Ended> {
        let collective = self.stepper.collective;
        let mut books = together(collective, "logs", self.open_books())?;
        let config = self.stepper.config.clone();
        while self.step < config.iterations {
            if any(collective, self.stop.is_set())? {
                let saved = if self.writes() { self.save_state(&mut books) } else { Ok(()) };
                together(collective, "state", saved)?;
                return Ok(Ended::Stopped { step: self.step, state: self.state_path() });
            }
            let start = Instant::now();
            let step = self.step + 1;
            let record = self.stepper.take(step)?;
            self.step = step;
            let pace = self.tell(&mut books, &record, start.elapsed());
            let pace = together(collective, "log", pace)?;
            let start = Instant::now();
            on_event(Event::Step { record: &record, pace });
            let last = step == config.iterations;
            if config.sample_every.is_some_and(|n| step.is_multiple_of(n)) {
                let weights = self.sampled()?;
                on_event(Event::Sample { step, weights: &weights, board: books.board.as_mut() });
            }
            self.stepper.ledger.add(Part::Caller, start.elapsed());
            if step.is_multiple_of(config.checkpoint_every) || last {
                let path = self.checkpoint_path(step);
                let saved = if self.writes() { self.save(&mut books, &path) } else { Ok(()) };
                together(collective, "checkpoint", saved)?;
                on_event(Event::Checkpoint { step, path: &path });
            }
        }
        Ok(Ended::Finished { checkpoint: self.checkpoint_path(self.step) })
    }

    /// Whether this rank writes to the folder.
    fn writes(&self) -> bool {
        self.stepper.collective.rank() == 0
    }

    /// Opens the logs at the step where the run stands.
    fn open_books(&self) -> Result<Books> {
        let logs = || -> Result<_> {
            let timing = Log::open(&self.folder.join("timing.jsonl"), self.step)?;
            Ok((Log::open(&self.log_path(), self.step)?, timing))
        };
        let board = || EventFile::open(&self.folder.join("events.out.tfevents.halocast"), self.step);
        Ok(Books {
            logs: self.writes().then(logs).transpose()?,
            board: (self.writes() && self.stepper.config.tensorboard).then(board).transpose()?,
            meter: EnergyMeter::open(),
            clock: Clock::default(),
            flushed: Instant::now(),
        })
    }

    /// Writes a step to every log.
    fn tell(&mut self, books: &mut Books, record: &StepRecord, took: Duration) -> Result<Pace> {
        let (step, examples) = (record.step, self.stepper.examples());
        let left = self.stepper.config.iterations - step;
        let pace = books.clock.tick(took.as_secs_f64(), examples, left);
        let timing = TimingRecord {
            step,
            seconds: took.as_secs_f64(),
            examples_per_second: examples as f64 / took.as_secs_f64().max(1e-9),
            resident_mb: memory_mb("VmRSS:"),
        };
        if let Some((losses, times)) = &mut books.logs {
            losses.push(record)?;
            times.push(&timing)?;
        }
        if let Some(board) = &mut books.board {
            let mut values = vec![
                ("loss", record.loss),
                ("gradient_norm", record.gradient_norm as f32),
                ("learning_rate", record.learning_rate as f32),
                ("examples_per_second", timing.examples_per_second as f32),
            ];
            values.extend(record.parts.iter().map(|(name, &value)| (name.as_str(), value as f32)));
            board.scalars(step, &values)?;
        }
        if books.flushed.elapsed() > FLUSH {
            books.flush()?;
        }
        Ok(pace)
    }

    /// The decay of the average that a checkpoint holds; `None` for the parameters themselves.
    fn sampled_decay(&self) -> Option<f64> {
        self.stepper.config.sample_from.or(self.stepper.config.ema.first().copied())
    }

    fn sampled(&self) -> Result<Vec<(String, Tensor)>> {
        self.stepper.weights.average(self.sampled_decay())
    }

    fn state_path(&self) -> PathBuf {
        self.folder.join("state.safetensors")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("losses.jsonl")
    }
}

/// Logs come to the disk at least this often, for those who watch.
const FLUSH: Duration = Duration::from_secs(5);

impl Books {
    fn flush(&mut self) -> Result<()> {
        if let Some((losses, timing)) = &mut self.logs {
            losses.flush()?;
            timing.flush()?;
        }
        self.board.as_mut().map_or(Ok(()), EventFile::flush)?;
        self.flushed = Instant::now();
        Ok(())
    }
}

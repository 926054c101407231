//! The training loop: batches, steps, checkpoints; stopped at any moment, it resumes to the same bits.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use halocast_core::Dataset;
use halocast_models::{Trainable, load_checkpoint, save_checkpoint};
use serde::{Deserialize, Serialize};

use crate::checkpoints::{CheckpointRecord, Checkpoints};
use crate::collective::{Collective, any, error, together};
use crate::ledger::{Clock, EnergyMeter, Ledger, Pace, Part, memory_mb};
use crate::order::fingerprint;
use crate::step::Stepper;
use crate::{Error, EventFile, Log, LossLog, Result, StepRecord, Stop, TimingRecord, TrainConfig, Weights};

/// What the loop tells its caller.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A step was taken.
    Step {
        /// What the log holds of it.
        record: &'a StepRecord,
        /// How fast the run is.
        pace: Pace,
    },
    /// The time to draw samples has come: see [`TrainConfig::sample_every`]. All randomness of the caller is its own, and
    /// the run does not depend on it.
    Sample {
        /// The step.
        step: u64,
        /// The parameters that a checkpoint of this step would hold.
        weights: &'a [(String, Tensor)],
        /// Where images go.
        board: Option<&'a mut EventFile>,
    },
    /// A checkpoint to sample from was written.
    Checkpoint {
        /// The step it holds.
        step: u64,
        /// The file.
        path: &'a Path,
    },
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All steps were taken.
    Finished {
        /// The last checkpoint.
        checkpoint: PathBuf,
    },
    /// It was asked to [`Stop`]; another [`Trainer`] in the same folder goes on.
    Stopped {
        /// The number of steps taken.
        step: u64,
        /// The saved state.
        state: PathBuf,
    },
}

/// Judges a checkpoint, given its step and its file: the less, the better.
pub type Judge<'a> =
    dyn FnMut(u64, &Path) -> std::result::Result<f64, Box<dyn std::error::Error + Send + Sync>> + 'a;

/// The header of a checkpoint, as [`halocast_models::CheckpointHeader`] reads it.
#[derive(Serialize)]
struct Header<'a> {
    config: &'a serde_json::Value,
    version: &'a str,
    seed: u64,
    step: u64,
    extra: &'a serde_json::Value,
}

/// The header of the file a run is resumed from.
#[derive(Debug, Serialize, Deserialize)]
struct RunState {
    model: serde_json::Value,
    train: TrainConfig,
    examples: usize,
    /// A hash of the examples: another data set of the same size is another run.
    data: u64,
    extra: serde_json::Value,
    step: u64,
}

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

    /// Writes the checkpoint, the index, then the state: if a crash falls between them, the step is taken again and all
    /// are overwritten by the same bytes. What is superfluous goes last.
    fn save(&mut self, books: &mut Books, path: &Path) -> Result<()> {
        let start = Instant::now();
        let others = self.save_models(path)?;
        self.stepper.ledger.add(Part::Checkpoint, start.elapsed());

        let start = Instant::now();
        let score = self.judge.as_mut().map(|judge| judge(self.step, path)).transpose();
        let score = score.map_err(|source| Error::Score { step: self.step, source })?;
        self.stepper.ledger.add(Part::Caller, start.elapsed());

        let start = Instant::now();
        books.flush()?;
        let mut checkpoints = self.checkpoints()?;
        let config = &self.stepper.config;
        let record = CheckpointRecord {
            step: self.step,
            file: checkpoint_name(self.step, None),
            others,
            loss: self.mean_loss_since(checkpoints.last_before(self.step))?,
            score: score.filter(|score| score.is_finite()),
        };
        checkpoints.push(record, config.keep_last, config.keep_every);
        checkpoints.write(&self.folder)?;
        self.stepper.ledger.add(Part::Checkpoint, start.elapsed());
        self.save_state(books)?;
        checkpoints.purge(&self.folder)
    }

    /// Writes a file for every average; returns the names of those that are not the checkpoint itself.
    fn save_models(&self, path: &Path) -> Result<Vec<String>> {
        let header = Header {
            config: &self.model,
            version: env!("CARGO_PKG_VERSION"),
            seed: self.stepper.config.seed,
            step: self.step,
            extra: &self.extra,
        };
        save_checkpoint(path, &header, &self.sampled()?)?;
        let sampled = self.sampled_decay();
        let mut others = Vec::new();
        for &decay in self.stepper.config.ema.iter().filter(|&&decay| Some(decay) != sampled) {
            let name = checkpoint_name(self.step, Some(decay));
            let average = self.stepper.weights.average(Some(decay))?;
            save_checkpoint(self.folder.join(&name), &header, &average)?;
            others.push(name);
        }
        Ok(others)
    }

    /// Writes what a later run goes on from.
    fn save_state(&mut self, books: &mut Books) -> Result<()> {
        let start = Instant::now();
        books.flush()?;
        let state = RunState {
            model: self.model.clone(),
            train: self.stepper.config.clone(),
            examples: self.stepper.dataset.len(),
            data: self.data,
            extra: self.extra.clone(),
            step: self.step,
        };
        let mut tensors = self.stepper.weights.state()?;
        for optimizer in &self.stepper.optimizers {
            tensors.extend(optimizer.state()?);
        }
        save_checkpoint(self.state_path(), &state, &tensors)?;
        let ledger = &mut self.stepper.ledger;
        ledger.look(books.meter.as_mut());
        ledger.add(Part::Checkpoint, start.elapsed());
        halocast_core::write_whole(self.folder.join("ledger.json"), |w| {
            Ok(serde_json::to_writer_pretty(w, &self.stepper.ledger)?)
        })?;
        Ok(())
    }

    fn resume(&mut self) -> Result<()> {
        let path = self.state_path();
        let (state, tensors) = load_checkpoint::<RunState>(&path, &Device::Cpu)?;
        let stepper = &mut self.stepper;
        let differ = [
            ("the model", state.model != self.model, [state.model.to_string(), self.model.to_string()]),
            (
                "the training configuration",
                state.train.essence() != stepper.config.essence(),
                [format!("{:?}", state.train), format!("{:?}", stepper.config)],
            ),
            (
                "the number of examples",
                state.examples != stepper.dataset.len(),
                [state.examples.to_string(), stepper.dataset.len().to_string()],
            ),
            (
                "the hash of the data",
                state.data != self.data,
                [format!("{:016x}", state.data), format!("{:016x}", self.data)],
            ),
            (
                "the extra header",
                state.extra != self.extra,
                [state.extra.to_string(), self.extra.to_string()],
            ),
        ];
        if let Some((what, _, [found, expected])) = differ.into_iter().find(|(_, differs, _)| *differs) {
            return Err(Error::Resume { path, what, found, expected });
        }
        stepper.weights.restore(&tensors)?;
        stepper.optimizers.iter_mut().try_for_each(|optimizer| optimizer.restore(&tensors))?;
        // A ledger is a courtesy: one that cannot be read begins anew.
        let ledger = std::fs::read(self.folder.join("ledger.json")).ok();
        stepper.ledger = ledger.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        self.step = state.step;
        self.checkpoints()?.purge(&self.folder)?;
        tracing::info!(step = self.step, path = %path.display(), "resumed");
        Ok(())
    }

    /// The decay of the average that a checkpoint holds; `None` for the parameters themselves.
    fn sampled_decay(&self) -> Option<f64> {
        self.stepper.config.sample_from.or(self.stepper.config.ema.first().copied())
    }

    fn sampled(&self) -> Result<Vec<(String, Tensor)>> {
        self.stepper.weights.average(self.sampled_decay())
    }

    /// The mean of the logged losses after step `since`.
    fn mean_loss_since(&self, since: u64) -> Result<Option<f64>> {
        let losses: Vec<f64> =
            self.losses()?.iter().filter(|r| r.step > since).map(|r| f64::from(r.loss)).collect();
        Ok((!losses.is_empty()).then(|| losses.iter().sum::<f64>() / losses.len() as f64))
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

fn checkpoint_name(step: u64, decay: Option<f64>) -> String {
    let which = decay.map_or(String::new(), |decay| format!(".ema-{decay}"));
    format!("checkpoint-{step:08}{which}.safetensors")
}

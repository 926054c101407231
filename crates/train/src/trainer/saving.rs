//! What a run leaves on the disk, and how it goes on from there.

use std::path::Path;
use std::time::Instant;

use candle_core::Device;
use halocast_models::{load_checkpoint, save_checkpoint};
use serde::{Deserialize, Serialize};

use super::{Books, Trainer};
use crate::checkpoints::CheckpointRecord;
use crate::ledger::Part;
use crate::{Error, Result, TrainConfig};

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

impl Trainer<'_> {
    /// Writes the checkpoint, the index, then the state: if a crash falls between them, the step is taken again and all
    /// are overwritten by the same bytes. What is superfluous goes last.
    pub(super) fn save(&mut self, books: &mut Books, path: &Path) -> Result<()> {
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
    pub(super) fn save_state(&mut self, books: &mut Books) -> Result<()> {
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

    pub(super) fn resume(&mut self) -> Result<()> {
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

    /// The mean of the logged losses after step `since`.
    fn mean_loss_since(&self, since: u64) -> Result<Option<f64>> {
        let losses: Vec<f64> =
            self.losses()?.iter().filter(|r| r.step > since).map(|r| f64::from(r.loss)).collect();
        Ok((!losses.is_empty()).then(|| losses.iter().sum::<f64>() / losses.len() as f64))
    }
}

/// The file of a step, of one average if it is not the one sampled from.
pub(super) fn checkpoint_name(step: u64, decay: Option<f64>) -> String {
    let which = decay.map_or(String::new(), |decay| format!(".ema-{decay}"));
    format!("checkpoint-{step:08}{which}.safetensors")
}

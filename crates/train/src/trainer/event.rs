//! What the loop tells its caller, and how it ends.

use std::path::{Path, PathBuf};

use candle_core::Tensor;

use crate::ledger::Pace;
use crate::{EventFile, StepRecord};
#[cfg(doc)]
use crate::{Stop, TrainConfig, Trainer};

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

//! The errors of this crate.

use std::path::PathBuf;

/// The result of this crate's operations.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong in training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration asks for something impossible.
    #[error("training: {field} is {got}, expected {expected}")]
    Config {
        /// The field of the configuration.
        field: &'static str,
        /// Its domain, in words.
        expected: String,
        /// The value found.
        got: String,
    },
    /// The loss is no longer a number.
    #[error(
        "training: the loss of phase {phase:?} is {loss} at step {step}; its batch is in {batch}; \
         lower the learning rate or look at the data"
    )]
    Diverged {
        /// The step.
        step: u64,
        /// The name of the phase.
        phase: String,
        /// The loss.
        loss: f32,
        /// The file of the batch: see [`BadBatch`](crate::BadBatch).
        batch: PathBuf,
    },
    /// The gradient is no longer a number.
    #[error(
        "training: the norm of the gradient is {norm}, first for {parameter:?}, at step {step}; its batch is in {batch}; \
         lower the learning rate or look at the data"
    )]
    GradientNotFinite {
        /// The step.
        step: u64,
        /// The norm.
        norm: f64,
        /// The first parameter whose gradient is no number.
        parameter: String,
        /// The file of the batch: see [`BadBatch`](crate::BadBatch).
        batch: PathBuf,
    },
    /// The caller's judge of checkpoints failed.
    #[error("cannot judge the checkpoint of step {step}: {source}")]
    Score {
        /// The step.
        step: u64,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The loss does not depend on a parameter.
    #[error("training: parameter {parameter:?} has no gradient")]
    NoGradient {
        /// The parameter's name.
        parameter: String,
    },
    /// A run to resume is of another making.
    #[error("cannot resume {path}: {what} was {found}, now {expected}")]
    Resume {
        /// The state file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// What the file says.
        found: String,
        /// What this run says.
        expected: String,
    },
    /// Ranks cannot work together.
    #[error("{operation} on rank {rank} of {size}: {reason}")]
    Collective {
        /// What was attempted.
        operation: &'static str,
        /// The rank that says so.
        rank: usize,
        /// The number of ranks.
        size: usize,
        /// Why.
        reason: String,
    },
    /// A file of the run cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A core type refused something.
    #[error(transparent)]
    Core(#[from] halocast_core::Error),
    /// A kernel refused its input.
    #[error(transparent)]
    Kernels(#[from] halocast_kernels::Error),
    /// The model failed.
    #[error(transparent)]
    Model(#[from] halocast_models::Error),
    /// Candle failed.
    #[error("tensor operation failed: {0}")]
    Candle(#[from] candle_core::Error),
}

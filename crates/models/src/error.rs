//! The errors of this crate.

use std::path::PathBuf;

/// The result of this crate's operations.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong with a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration asks for something impossible.
    #[error("{model}: {field} is {got}, expected {expected}")]
    Config {
        /// The model.
        model: &'static str,
        /// The field of its configuration.
        field: String,
        /// Its domain, in words.
        expected: String,
        /// The value found.
        got: String,
    },
    /// A tensor has another shape than the model takes.
    #[error("{operation}: {what} has shape {got:?}, expected {expected}")]
    Shape {
        /// What was attempted.
        operation: &'static str,
        /// The tensor at fault.
        what: String,
        /// The shape asked for, in words.
        expected: String,
        /// The shape found.
        got: Vec<usize>,
    },
    /// A condition is absent, superfluous or of the wrong kind.
    #[error("{model} takes {expected} as condition, got {got}")]
    Condition {
        /// The model.
        model: &'static str,
        /// What it takes.
        expected: String,
        /// What it was given.
        got: String,
    },
    /// A checkpoint cannot be read or does not fit its own configuration.
    #[error("checkpoint {path}: {reason}")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file could not be written.
    #[error(transparent)]
    Core(#[from] halocast_core::Error),
    /// A layer refused its input.
    #[error(transparent)]
    Kernels(#[from] halocast_kernels::Error),
    /// Candle failed.
    #[error("tensor operation failed: {0}")]
    Candle(#[from] candle_core::Error),
}

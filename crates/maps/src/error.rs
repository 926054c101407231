//! The errors of this crate.

/// The result of this crate's operations.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong on the way from particles to maps.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two arrays that belong together have different lengths.
    #[error("{operation}: {what} has {got} entries, expected {expected}")]
    Length {
        /// What was attempted.
        operation: &'static str,
        /// The array at fault.
        what: &'static str,
        /// The number of particles.
        expected: usize,
        /// The length found.
        got: usize,
    },
    /// A number is outside its domain.
    #[error("{operation}: {what} is {got}, expected {expected}")]
    Value {
        /// What was attempted.
        operation: &'static str,
        /// The quantity at fault.
        what: String,
        /// Its domain, in words.
        expected: &'static str,
        /// The value found.
        got: String,
    },
    /// The tree of neighbours could not be built.
    #[error("{operation}: {reason}")]
    Tree {
        /// What was attempted.
        operation: &'static str,
        /// Why it could not.
        reason: String,
    },
    /// Candle failed.
    #[cfg(feature = "candle")]
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// An operation on tensors failed.
    #[cfg(feature = "candle")]
    #[error(transparent)]
    Kernels(#[from] halocast_kernels::Error),
    /// A species, a field or a unit of the snapshot was refused by the core types.
    #[error(transparent)]
    Core(#[from] halocast_core::Error),
}

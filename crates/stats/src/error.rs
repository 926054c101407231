//! The errors of this crate.

/// The result of this crate's operations.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong with a statistic.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing to take a statistic of.
    #[error("{operation}: {what} has {got} members, expected at least {expected}")]
    TooFew {
        /// What was attempted.
        operation: &'static str,
        /// The ensemble at fault.
        what: String,
        /// How many it needs.
        expected: usize,
        /// How many there are.
        got: usize,
    },
    /// Two members of an ensemble, or two ensembles, differ in shape or size.
    #[error("{operation}: {what} is {got}, expected {expected}")]
    Mismatch {
        /// What was attempted.
        operation: &'static str,
        /// The member at fault.
        what: String,
        /// What the others are.
        expected: String,
        /// What it is.
        got: String,
    },
    /// A number is outside its domain.
    #[error("{operation}: {what} is {got}, expected {expected}")]
    Value {
        /// What was attempted.
        operation: &'static str,
        /// The quantity at fault.
        what: String,
        /// Its domain, in words.
        expected: String,
        /// The value found.
        got: String,
    },
    /// A map or cube was refused by the core types.
    #[error("{operation}: map {index}: {source}")]
    Map {
        /// What was attempted.
        operation: &'static str,
        /// Its place in the ensemble.
        index: usize,
        /// Why.
        source: halocast_core::Error,
    },
    /// An operation on tensors failed.
    #[cfg(feature = "candle")]
    #[error("{operation}: {source}")]
    Tensor {
        /// What was attempted.
        operation: &'static str,
        /// Why.
        source: Box<candle_core::Error>,
    },
}

/// [`Metric`](halocast_core::Metric) speaks the errors of core; nothing but the variant's name is lost.
impl From<Error> for halocast_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::TooFew { operation, what, expected, got } => Self::Value {
                operation,
                what: format!("the number of members of {what}"),
                expected: format!("at least {expected}"),
                got: got.to_string(),
            },
            Error::Mismatch { operation, what, expected, got }
            | Error::Value { operation, what, expected, got } => {
                Self::Value { operation, what, expected, got }
            }
            Error::Map { source, .. } => source,
            #[cfg(feature = "candle")]
            Error::Tensor { operation, source } => Self::Value {
                operation,
                what: "an operation on tensors".into(),
                expected: "one that Candle can do".into(),
                got: source.to_string(),
            },
        }
    }
}

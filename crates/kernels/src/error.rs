//! What can go wrong in an operation: a wrong shape, a wrong argument, or an error of Candle itself.

/// The error of every public function of this crate.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tensor has the wrong shape.
    #[error("{op}: {tensor} must be {expected}, got {got:?}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// Which of its tensors.
        tensor: &'static str,
        /// The shape it should have, in words.
        expected: String,
        /// The shape it has.
        got: Vec<usize>,
    },
    /// An argument that is not a tensor is out of range.
    #[error("{op}: {argument} must be {expected}, got {got}")]
    Argument {
        /// The operation.
        op: &'static str,
        /// Which of its arguments.
        argument: &'static str,
        /// What it should be, in words.
        expected: String,
        /// What it is.
        got: String,
    },
    /// Candle failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// `Result` with the [`enum@Error`] of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Candle(source) => source,
            other => candle_core::Error::wrap(other),
        }
    }
}

impl Error {
    pub(crate) fn shape(
        op: &'static str,
        tensor: &'static str,
        expected: impl Into<String>,
        got: &[usize],
    ) -> Self {
        Self::Shape { op, tensor, expected: expected.into(), got: got.to_vec() }
    }

    pub(crate) fn argument(
        op: &'static str,
        argument: &'static str,
        expected: impl Into<String>,
        got: impl std::fmt::Display,
    ) -> Self {
        Self::Argument { op, argument, expected: expected.into(), got: got.to_string() }
    }
}

//! The errors of this crate.

/// The result of this crate's operations.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong when a universe is asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A number of the configuration is outside its domain.
    #[error("{operation}: {field} is {got}, expected {expected}")]
    Config {
        /// What was attempted.
        operation: &'static str,
        /// The field of the configuration at fault.
        field: &'static str,
        /// Its domain, in words.
        expected: String,
        /// The value found.
        got: String,
    },
    /// The cosmology is outside its domain.
    #[error("{operation}: {source}")]
    Cosmology {
        /// What was attempted.
        operation: &'static str,
        /// Which parameter, and why.
        source: halocast_core::Error,
    },
    /// The particles do not fit a snapshot.
    #[error("snapshot of a universe: {source}")]
    Snapshot {
        /// Why.
        source: halocast_core::Error,
    },
}

/// Fails with [`Error::Config`] unless `ok`.
pub(crate) fn require(
    ok: bool,
    operation: &'static str,
    field: &'static str,
    expected: impl Into<String>,
    got: impl std::fmt::Display,
) -> Result<()> {
    if ok {
        return Ok(());
    }
    Err(Error::Config { operation, field, expected: expected.into(), got: got.to_string() })
}

//! The errors of this crate.

/// The result of this crate's operations.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong with core types.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An array has another shape than its use asks for.
    #[error("{operation}: {what} has shape {got:?}, expected {expected}")]
    Shape {
        /// What was attempted.
        operation: &'static str,
        /// The array at fault.
        what: String,
        /// The shape asked for, in words.
        expected: String,
        /// The shape found.
        got: Vec<usize>,
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
    /// A particle set has no such field.
    #[error("{species} has no field {field:?}; it has: {available}")]
    AbsentField {
        /// The particle species.
        species: String,
        /// The field asked for.
        field: String,
        /// The fields that exist.
        available: String,
    },
    /// A snapshot has no such species.
    #[error("the snapshot has no particles of type {species}; it has: {available}")]
    AbsentSpecies {
        /// The species asked for.
        species: String,
        /// The species that exist.
        available: String,
    },
    /// A file could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

//! The programs of `docs/science`: each asks one question of the papers it names, and prints the answer in numbers.

mod arguments;
pub mod dust;
pub mod emulator;
mod gaussian;
mod smoothing;
pub mod spectra;
mod study;

pub use arguments::StudyArguments;

//! The stages of the program `quickstart`.

mod settings;
mod snapshot;
mod training;

pub use settings::{Options, Settings};
pub use snapshot::snapshot;
pub use training::train_and_judge;

//! The programs `train` and `sample`: any model of the zoo on any data set, and new events from a checkpoint.

mod clouds;
mod config;
mod data;
mod draw;
mod maps;
mod run;

pub use clouds::CloudsConfig;
pub use config::{ArraysConfig, DataConfig, MapsConfig, RunConfig};
pub use data::{Axis, Examples, Scales};
pub use draw::{SampleRequest, sample_to_file, sampler};
pub use run::{TrainOptions, train};

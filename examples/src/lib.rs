//! What the programs of halocast share: bars and tables, charts, pictures, reports. Plotting lives here and nowhere else.

pub mod benchmark;
pub mod chart;
pub mod console;
pub mod evaluate;
pub mod judge;
pub mod make_dataset;
pub mod picture;
pub mod project;
pub mod quickstart;
pub mod report;
pub mod science;
pub mod summarize;
pub mod toml_file;
pub mod train;
pub mod truth;
pub mod zoo;

//! Training sets of many simulations: mock universes to maps and cubes in the layout of the CAMELS Multifield Dataset.

mod config;
mod fields;
mod run;
mod shards;

pub use config::{DatasetConfig, Format, SetKind};
pub use fields::{FIELDS, Radii, field_cube, field_maps};
pub use run::{Report, make};

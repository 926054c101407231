//! Training sets: mock universes to maps and cubes in the layout of the CAMELS Multifield Dataset, and galaxies, mock or of a
//! simulation, to images in the layout of skais-mapper.

mod config;
mod fields;
mod galaxies;
mod galaxy_config;
mod parts;
mod run;
mod shards;
mod share;

pub use config::{DatasetConfig, Format, SetKind};
pub use fields::{FIELDS, Radii, field_cube, field_maps};
pub use galaxies::make_galaxies;
pub use galaxy_config::{Domain, GalaxySetConfig, Source, Views};
pub use run::{Report, make};
pub use share::Share;

use std::path::Path;

use anyhow::Result;

use crate::toml_file::read_toml;

/// What a file of configuration asks for.
pub enum SetConfig {
    /// Simulations.
    Simulations(Box<DatasetConfig>),
    /// Galaxies: the file says `kind = "galaxies"`.
    Galaxies(Box<GalaxySetConfig>),
}

impl SetConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it cannot be read, is not of either form, or asks for something absurd.
    pub fn read(path: &Path) -> Result<Self> {
        let galaxies = read_toml::<toml::Table>(path)?.contains_key("kind");
        Ok(match galaxies {
            true => Self::Galaxies(Box::new(GalaxySetConfig::read(path)?)),
            false => Self::Simulations(Box::new(DatasetConfig::read(path)?)),
        })
    }
}

//! What set of galaxies to make: a file in TOML.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use halocast::core::Species;
use halocast::maps::fields::{FieldOptions, Quantity};
use halocast::maps::{Method, Selection};
use halocast::mock::Population;
use serde::{Deserialize, Serialize};

use crate::toml_file::read_toml;

/// The word that a file of this form begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Galaxies.
    #[default]
    Galaxies,
}

/// What an image shows, by the names of skais-mapper's groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Domain {
    /// Dark matter.
    #[serde(rename = "dm")]
    DarkMatter,
    /// Stars.
    #[serde(rename = "star")]
    Stars,
    /// Gas.
    #[serde(rename = "gas")]
    Gas,
    /// Atomic hydrogen.
    #[serde(rename = "hi")]
    Hydrogen,
    /// Brightness temperature of the 21 cm line.
    #[serde(rename = "hi/21cm")]
    Brightness,
    /// Temperature of the gas.
    #[serde(rename = "temp")]
    Temperature,
    /// Magnetic field strength.
    #[serde(rename = "bfield")]
    MagneticField,
}

impl Domain {
    /// All seven.
    pub const ALL: [Self; 7] = [
        Self::DarkMatter,
        Self::Stars,
        Self::Gas,
        Self::Hydrogen,
        Self::Brightness,
        Self::Temperature,
        Self::MagneticField,
    ];

    /// The group of the file.
    pub fn group(self) -> &'static str {
        match self {
            Self::DarkMatter => "dm",
            Self::Stars => "star",
            Self::Gas => "gas",
            Self::Hydrogen => "hi",
            Self::Brightness => "hi/21cm",
            Self::Temperature => "temp",
            Self::MagneticField => "bfield",
        }
    }

    /// The quantity that is projected.
    pub fn quantity(self) -> Quantity {
        match self {
            Self::DarkMatter => Quantity::DarkMatter,
            Self::Stars => Quantity::Stars,
            Self::Gas => Quantity::Gas,
            Self::Hydrogen => Quantity::Hi,
            Self::Brightness => Quantity::Brightness21cm,
            Self::Temperature => Quantity::Temperature,
            Self::MagneticField => Quantity::MagneticField,
        }
    }

    /// The species whose particles it is of.
    pub fn species(self) -> Species {
        match self {
            Self::DarkMatter => Species::DarkMatter,
            Self::Stars => Species::Stars,
            _ => Species::Gas,
        }
    }
}

/// From where a galaxy is seen: the same for all its domains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Views {
    /// As it lies, and by skais-mapper's three pairs of angles: up to four views.
    #[default]
    Skais,
    /// As it lies, and turned uniformly on SO(3).
    Uniform,
}

/// A simulation whose subhalos are the galaxies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Source {
    /// The snapshot; beside the configuration when relative.
    pub snapshot: PathBuf,
    /// Its group catalogue.
    pub groups: PathBuf,
    /// Whether files may be missing.
    pub allow_missing: bool,
    /// Which subhalos.
    pub selection: Selection,
}

/// A set of galaxies. What a file leaves out takes its default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GalaxySetConfig {
    /// `galaxies`.
    pub kind: Kind,
    /// Number of galaxies; of a simulation the first so many that are selected.
    pub galaxies: usize,
    /// Views of each.
    pub views: usize,
    /// How the views are chosen.
    pub rotations: Views,
    /// What is shown.
    pub domains: Vec<Domain>,
    /// Pixels a side.
    pub grid: usize,
    /// Half the side of an image and of the depth, in half-mass radii of `aperture_species`.
    pub aperture: f64,
    /// Whose half-mass radius: gas, dark_matter or stars.
    pub aperture_species: Species,
    /// How mass is laid on pixels.
    pub method: Method,
    /// The neighbour whose distance is the radius of particles without a density.
    pub neighbours: usize,
    /// Conventions of the fields.
    pub fields: FieldOptions,
    /// Name of the simulation and number of the snapshot in the names of files and images.
    pub suite: String,
    /// The number of the snapshot.
    pub snapshot: u64,
    /// Galaxies in one file.
    pub shard: usize,
    /// Shares of the galaxies to train on, to validate and to test.
    pub split: [f64; 3],
    /// Seed of everything random.
    pub seed: u64,
    /// Where to write; beside the configuration when relative.
    pub out: PathBuf,
    /// The mock galaxies; its seed is replaced.
    pub population: Population,
    /// A simulation, in place of mock galaxies.
    pub source: Option<Source>,
}

impl Default for GalaxySetConfig {
    /// Four views of seven domains of 200 mock galaxies, half a half-mass radius of the dark matter to each side.
    fn default() -> Self {
        Self {
            kind: Kind::Galaxies,
            galaxies: 200,
            views: 4,
            rotations: Views::Skais,
            domains: Domain::ALL.to_vec(),
            grid: 128,
            aperture: 0.5,
            aperture_species: Species::DarkMatter,
            method: Method::Sphere,
            neighbours: 16,
            fields: FieldOptions::default(),
            suite: "mock".into(),
            snapshot: 99,
            shard: 100,
            split: [0.8, 0.1, 0.1],
            seed: 1,
            out: "galaxies".into(),
            population: Population::default(),
            source: None,
        }
    }
}

impl GalaxySetConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it cannot be read, is not of this form, or asks for something absurd.
    pub fn read(path: &Path) -> Result<Self> {
        let mut config: Self = read_toml(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut paths = vec![&mut config.out];
        if let Some(source) = &mut config.source {
            paths.extend([&mut source.snapshot, &mut source.groups]);
        }
        for path in paths.into_iter().filter(|p| p.is_relative()) {
            *path = folder.join(&*path);
        }
        config.validate().with_context(|| path.display().to_string())?;
        Ok(config)
    }

    /// Checks every field.
    ///
    /// # Errors
    /// Naming the first that is outside its domain.
    pub fn validate(&self) -> Result<()> {
        let views = if self.rotations == Views::Skais { 4 } else { 1000 };
        for (name, value, limit) in [
            ("galaxies", self.galaxies, 1_000_000),
            ("views", self.views, views),
            ("grid", self.grid, 8192),
            ("neighbours", self.neighbours, 1000),
            ("shard", self.shard, 100_000),
        ] {
            if !(1..=limit).contains(&value) {
                bail!("{name} is {value}, expected 1 to {limit}");
            }
        }
        if !(self.aperture > 0.0 && self.aperture.is_finite()) {
            bail!("aperture is {}, expected half-mass radii above 0", self.aperture);
        }
        if self.domains.is_empty() {
            bail!("domains is empty, expected some of dm star gas hi hi/21cm temp bfield");
        }
        if let Some((i, domain)) =
            self.domains.iter().enumerate().find(|(i, d)| self.domains[..*i].contains(d))
        {
            bail!("domains has {:?} twice, the second time in place {i}", domain.group());
        }
        let odd = |c: char| !(c.is_ascii_alphanumeric() || c == '-');
        if self.suite.is_empty() || self.suite.contains(odd) {
            bail!("suite is {:?}, expected letters, digits and -", self.suite);
        }
        if self.source.is_none() {
            self.population().galaxy(0).context("population")?;
        }
        Ok(())
    }

    /// The mock galaxies, with the seed of the set.
    pub fn population(&self) -> Population {
        Population { seed: self.seed, ..self.population }
    }
}

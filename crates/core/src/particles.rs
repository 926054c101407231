//! Particles of several species, and the snapshot they make.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Cosmology, Error, Field, FieldValues, PeriodicBox, Result, Table, Unit};

/// The particle types of Gadget- and Arepo-type files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Species {
    /// Gas cells, type 0.
    Gas = 0,
    /// Dark matter, type 1.
    DarkMatter = 1,
    /// Low-resolution dark matter of zoom simulations, type 2.
    LowResolutionDarkMatter = 2,
    /// Monte-Carlo tracers, type 3.
    Tracers = 3,
    /// Stars and wind, type 4.
    Stars = 4,
    /// Black holes, type 5.
    BlackHoles = 5,
}

impl Species {
    /// All six, in the order of their numbers.
    pub const ALL: [Species; 6] = [
        Species::Gas,
        Species::DarkMatter,
        Species::LowResolutionDarkMatter,
        Species::Tracers,
        Species::Stars,
        Species::BlackHoles,
    ];

    /// The type number, 0 to 5.
    pub fn number(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Species {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Species::Gas => "gas",
            Species::DarkMatter => "dark matter",
            Species::LowResolutionDarkMatter => "low-resolution dark matter",
            Species::Tracers => "tracers",
            Species::Stars => "stars",
            Species::BlackHoles => "black holes",
        };
        write!(f, "{name} (PartType{})", self.number())
    }
}

/// The particles of one species.
///
/// Fields go by the names of IllustrisTNG files: `Coordinates`, `Velocities`, `Masses`, `ParticleIDs`, `Density`, ...
#[derive(Clone, Debug, PartialEq)]
pub struct ParticleSet {
    species: Species,
    table: Table,
}

impl ParticleSet {
    /// A set of `len` particles without fields.
    pub fn new(species: Species, len: usize) -> Self {
        Self { species, table: Table::new(species.to_string(), len) }
    }

    /// The species.
    pub fn species(&self) -> Species {
        self.species
    }

    /// The number of particles.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Adds or replaces a field.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when the first axis is not the number of particles.
    pub fn insert(&mut self, name: impl Into<String>, values: FieldValues, unit: Unit) -> Result<()> {
        self.table.insert(name, values, unit)
    }

    /// The fields by name.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &Field)> {
        self.table.fields()
    }

    /// A field.
    ///
    /// # Errors
    /// [`Error::AbsentField`](crate::Error::AbsentField) listing the fields there are.
    pub fn field(&self, name: &str) -> Result<&Field> {
        self.table.field(name)
    }

    /// A vector field as rows of three, in the unit it is stored with.
    ///
    /// # Errors
    /// [`Error::AbsentField`](crate::Error::AbsentField); [`Error::Shape`](crate::Error::Shape) when the field is not
    /// `[particle, 3]`.
    pub fn vectors(&self, name: &str) -> Result<Vec<[f64; 3]>> {
        self.table.vectors(name)
    }

    /// A scalar field, in the unit it is stored with.
    ///
    /// # Errors
    /// [`Error::AbsentField`](crate::Error::AbsentField); [`Error::Shape`](crate::Error::Shape) when the field is not
    /// `[particle]`.
    pub fn scalars(&self, name: &str) -> Result<Vec<f64>> {
        self.table.scalars(name)
    }
}

/// What a snapshot says of itself. Lengths and masses are in the units of IllustrisTNG files unless a field says
/// otherwise: comoving kpc/h and 10^10 Msun/h.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Side of the periodic box in comoving kpc/h.
    pub box_size: f64,
    /// Scale factor.
    pub time: f64,
    /// Redshift, 1/a - 1.
    pub redshift: f64,
    /// Cosmology; what a file does not state is taken from IllustrisTNG's.
    pub cosmology: Cosmology,
    /// Mass of the particles of each type that have one mass, in 10^10 Msun/h; 0 where a `Masses` field holds it.
    pub mass_table: [f64; 6],
    /// The number of particles of each type that the whole snapshot promises.
    pub promised: [u64; 6],
    /// Whether it is a mock: painted by recipes, not the outcome of a simulation. The mark goes with what is written and read.
    #[serde(default)]
    pub mock: bool,
}

/// Particles of several species at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The header.
    pub header: Header,
    /// The particle sets by species.
    pub sets: BTreeMap<Species, ParticleSet>,
    /// What was missing when it was read, one line each; empty for a whole snapshot.
    pub warnings: Vec<String>,
}

impl Snapshot {
    /// The particles of a species.
    ///
    /// # Errors
    /// [`Error::AbsentSpecies`] listing the species there are.
    pub fn set(&self, species: Species) -> Result<&ParticleSet> {
        self.sets.get(&species).ok_or_else(|| Error::AbsentSpecies {
            species: species.to_string(),
            available: self.sets.keys().map(Species::to_string).collect::<Vec<_>>().join(", "),
        })
    }

    /// The masses of a species in the unit of its `Masses` field, or from the mass table in 10^10 Msun/h.
    ///
    /// # Errors
    /// [`Error::AbsentSpecies`]; [`Error::AbsentField`] when neither gives a mass.
    pub fn masses(&self, species: Species) -> Result<Vec<f64>> {
        let set = self.set(species)?;
        let tabulated = self.header.mass_table[species.number()];
        if tabulated > 0.0 && set.field("Masses").is_err() {
            return Ok(vec![tabulated; set.len()]);
        }
        set.scalars("Masses")
    }

    /// The periodic box, in comoving kpc/h.
    ///
    /// # Errors
    /// [`Error::Value`] when the header's size is absurd.
    pub fn periodic_box(&self) -> Result<PeriodicBox> {
        PeriodicBox::new(self.header.box_size)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2};

    use super::*;

    #[test]
    fn a_field_of_another_length_is_refused() {
        let mut set = ParticleSet::new(Species::Gas, 3);
        let bad = FieldValues::F32(Array1::zeros(4).into_dyn());
        let message = set.insert("Masses", bad, Unit::msun_h_1e10()).unwrap_err().to_string();
        assert!(
            message.contains("Masses") && message.contains("[3, ...]") && message.contains("[4]"),
            "{message}"
        );
    }

    #[test]
    fn an_absent_field_lists_those_there_are() {
        let mut set = ParticleSet::new(Species::Stars, 2);
        set.insert("Coordinates", FieldValues::F64(Array2::zeros((2, 3)).into_dyn()), Unit::kpc_h()).unwrap();
        let message = set.scalars("Masses").unwrap_err().to_string();
        assert!(message.contains("Masses") && message.contains("Coordinates"), "{message}");
        assert!(set.scalars("Coordinates").is_err());
        assert_eq!(set.vectors("Coordinates").unwrap(), vec![[0.0; 3]; 2]);
    }
}

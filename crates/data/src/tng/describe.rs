//! What is in a snapshot or a group catalogue, without reading it through.

use std::fmt;
use std::path::{Path, PathBuf};

use halocast_core::{Header, Species, Unit};
use serde::{Deserialize, Serialize};

use super::groups::GroupSurvey;
use super::snapshot::{ReadOptions, Survey, group_name};
use super::units;
use crate::Result;

/// A snapshot at a glance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotDescription {
    /// The folder or file.
    pub path: PathBuf,
    /// The files found and expected.
    pub chunks: [u64; 2],
    /// The numbers of the files that are missing.
    pub missing_chunks: Vec<u64>,
    /// The numbers of the files without a particle.
    pub empty_chunks: Vec<u64>,
    /// The header.
    pub header: Header,
    /// The particle types that are stored or promised.
    pub species: Vec<SpeciesDescription>,
    /// One line for all that is missing or assumed.
    pub warnings: Vec<String>,
}

/// A particle type at a glance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpeciesDescription {
    /// The type.
    pub species: Species,
    /// Particles in the files.
    pub stored: u64,
    /// Particles that the header promises.
    pub promised: u64,
    /// The mass of each in 10^10 Msun/h, when they share one.
    pub mass: Option<f64>,
    /// The fields.
    pub fields: Vec<FieldDescription>,
}

/// A field at a glance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldDescription {
    /// The name.
    pub name: String,
    /// The type of its numbers.
    pub dtype: String,
    /// Its shape over all files.
    pub shape: Vec<usize>,
    /// Its unit.
    pub unit: Unit,
}

/// Describes the snapshot at `path`, which is as for [`read_snapshot`](crate::read_snapshot). What is missing is part
/// of the description, not an error.
///
/// # Errors
/// As [`read_snapshot`](crate::read_snapshot), but for what is missing.
pub fn describe_snapshot(path: impl AsRef<Path>, options: &ReadOptions) -> Result<SnapshotDescription> {
    let survey = Survey::new(path.as_ref(), options)?;
    let header = survey.first.header.clone();
    let mut species = Vec::new();
    for kind in Species::ALL {
        let n = kind.number();
        let (stored, promised) = (survey.stored[n], header.promised[n]);
        let mut fields = Vec::new();
        if let Some(chunk) = survey.files.iter().find(|c| c.rows[n] > 0) {
            let file = chunk.file()?;
            for name in file.datasets(&group_name(kind))? {
                let dataset = format!("{}/{name}", group_name(kind));
                let info = file.info(&dataset)?;
                let mut shape = info.shape;
                if let Some(first) = shape.first_mut() {
                    *first = stored as usize;
                }
                let unit = units::read_in(&name, &file.attributes(&dataset)?, survey.first.system);
                fields.push(FieldDescription { name, dtype: info.dtype.to_string(), shape, unit });
            }
        }
        if stored > 0 || promised > 0 {
            let mass = Some(header.mass_table[n]).filter(|m| *m > 0.0);
            species.push(SpeciesDescription { species: kind, stored, promised, mass, fields });
        }
    }
    let mut warnings = survey.first.defaults.clone();
    if survey.incomplete.is_something() {
        warnings.extend(survey.incomplete.lines());
    }
    let empty = survey.files.iter().filter(|chunk| chunk.rows == [0; 6]);
    Ok(SnapshotDescription {
        path: survey.chunks.path.clone(),
        chunks: [survey.incomplete.chunks_found, survey.incomplete.chunks_expected],
        missing_chunks: survey.incomplete.missing.clone(),
        empty_chunks: empty.map(|chunk| chunk.number).collect(),
        header,
        species,
        warnings,
    })
}

/// A group catalogue at a glance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupsDescription {
    /// The folder or file.
    pub path: PathBuf,
    /// The files found and expected.
    pub chunks: [u64; 2],
    /// The numbers of the files that are missing.
    pub missing_chunks: Vec<u64>,
    /// The header.
    pub header: Header,
    /// Groups and subhalos.
    pub tables: Vec<TableDescription>,
    /// One line for all that is missing or assumed.
    pub warnings: Vec<String>,
}

/// A table of a catalogue at a glance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableDescription {
    /// `Group` or `Subhalo`.
    pub name: String,
    /// Rows in the files.
    pub stored: u64,
    /// Rows that the header promises.
    pub promised: u64,
    /// The fields.
    pub fields: Vec<FieldDescription>,
}

/// Describes the group catalogue at `path`, which is as for [`read_groups`](crate::read_groups). What is missing is part
/// of the description, not an error.
///
/// # Errors
/// As [`read_groups`](crate::read_groups), but for what is missing.
pub fn describe_groups(path: impl AsRef<Path>, options: &ReadOptions) -> Result<GroupsDescription> {
    let survey = GroupSurvey::new(path.as_ref(), options)?;
    let mut tables = Vec::new();
    for (t, name) in ["Group", "Subhalo"].into_iter().enumerate() {
        let mut fields = Vec::new();
        for name in survey.names(t)? {
            let (shape, dtype, unit) = survey.describe(t, &name)?;
            fields.push(FieldDescription { name, dtype: dtype.to_string(), shape, unit });
        }
        let (stored, promised) = (survey.stored[t], survey.promised[t]);
        tables.push(TableDescription { name: name.into(), stored, promised, fields });
    }
    let mut warnings = survey.first.defaults.clone();
    if survey.incomplete.is_something() {
        warnings.extend(survey.incomplete.lines());
    }
    Ok(GroupsDescription {
        path: survey.incomplete.path.clone(),
        chunks: [survey.incomplete.chunks_found, survey.incomplete.chunks_expected],
        missing_chunks: survey.incomplete.missing.clone(),
        header: survey.first.header,
        tables,
        warnings,
    })
}

fn write_header(f: &mut fmt::Formatter<'_>, header: &Header) -> fmt::Result {
    let cosmology = &header.cosmology;
    if header.mock {
        writeln!(f, "  mock       painted by recipes, not the outcome of a simulation")?;
    }
    writeln!(f, "  box        {} ckpc/h", header.box_size)?;
    writeln!(f, "  time       a = {}, z = {:.4}", header.time, header.redshift)?;
    writeln!(
        f,
        "  cosmology  Omega_m = {}, Omega_b = {}, h = {}",
        cosmology.omega_m, cosmology.omega_b, cosmology.h
    )
}

fn write_fields(f: &mut fmt::Formatter<'_>, fields: &[FieldDescription]) -> fmt::Result {
    for field in fields {
        let unit = if field.unit.label.is_empty() { "-" } else { &field.unit.label };
        let shape = format!("{:?}", field.shape);
        writeln!(f, "    {:<26} {:<5} {shape:<14} {unit}", field.name, field.dtype)?;
    }
    Ok(())
}

impl fmt::Display for GroupsDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: group catalogue in the IllustrisTNG layout (HDF5)", self.path.display())?;
        let [found, expected] = self.chunks;
        let missing = match &self.missing_chunks[..] {
            [] => String::new(),
            few if few.len() <= 12 => format!(", missing {few:?}"),
            many => format!(", missing {} from {} to {}", many.len(), many[0], many[many.len() - 1]),
        };
        writeln!(f, "  files      {found} of {expected}{missing}")?;
        write_header(f, &self.header)?;
        for table in &self.tables {
            writeln!(f, "  {}: {} stored, {} promised", table.name, table.stored, table.promised)?;
            write_fields(f, &table.fields)?;
        }
        self.warnings.iter().try_for_each(|warning| writeln!(f, "  warning: {warning}"))
    }
}

impl fmt::Display for SnapshotDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: snapshot in the IllustrisTNG layout (HDF5)", self.path.display())?;
        let [found, expected] = self.chunks;
        write!(f, "  files      {found} of {expected}")?;
        if !self.missing_chunks.is_empty() {
            write!(f, ", missing {:?}", self.missing_chunks)?;
        }
        if !self.empty_chunks.is_empty() {
            write!(f, ", without particles {:?}", self.empty_chunks)?;
        }
        writeln!(f)?;
        write_header(f, &self.header)?;
        for kind in &self.species {
            let mass = kind.mass.map_or(String::new(), |m| format!(", each {m} x 1e10 Msun/h"));
            writeln!(f, "  {}: {} stored, {} promised{mass}", kind.species, kind.stored, kind.promised)?;
            write_fields(f, &kind.fields)?;
        }
        for warning in &self.warnings {
            writeln!(f, "  warning: {warning}")?;
        }
        Ok(())
    }
}

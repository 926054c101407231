//! Writing a snapshot in the layout of IllustrisTNG.

use std::path::{Path, PathBuf};

use halocast_core::{FieldValues, Snapshot, Species};
use ndarray::{ArrayD, Axis, Slice};

use super::header::maker;
use super::snapshot::group_name;
use super::units::{self, UNIT_LENGTH, UNIT_MASS, UNIT_VELOCITY};
use crate::hdf5::{Attribute, Hdf5Write, Storage, create_hdf5};
use crate::{Error, Result};

/// Fields that the files of the data release give no unit; the reader's table knows them.
const UNIT_IS_UNDERSTOOD: [&str; 6] =
    ["MagneticField", "EnergyDissipation", "Machnumber", "GFM_MetalsTagged", "TracerID", "ParentID"];

/// How to write a snapshot or a catalogue.
#[derive(Clone, Debug, PartialEq)]
pub struct WriteOptions {
    /// The number of the snapshot.
    pub number: u64,
    /// The number of files.
    pub chunks: u64,
    /// How the datasets lie in the files.
    pub storage: Storage,
    /// Further entries of `/Parameters`.
    pub parameters: Vec<(String, Attribute)>,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { number: 99, chunks: 1, storage: Storage::Contiguous, parameters: Vec::new() }
    }
}

/// Writes a snapshot as `FOLDER/snapdir_NNN/snap_NNN.C.hdf5`, and returns the paths of the files.
///
/// Each file holds an equal share of every species, with the attributes that the files of the data release have. The
/// header's totals are what is written, not what the snapshot was promised when it was read. Each file is written whole
/// or not at all; the first chunk is written last, so that a folder with chunk 0 is complete.
///
/// # Errors
/// [`Error::Hdf5`]; [`Error::Core`] when a file cannot be moved to its place; [`Error::Invalid`] for no chunks.
pub fn write_snapshot(
    folder: impl AsRef<Path>,
    snapshot: &Snapshot,
    options: &WriteOptions,
) -> Result<Vec<PathBuf>> {
    let folder = folder.as_ref().join(format!("snapdir_{:03}", options.number));
    if options.chunks == 0 {
        return Err(Error::invalid(&folder, "number of chunks", "at least 1", "0"));
    }
    let mut paths = Vec::new();
    for chunk in (0..options.chunks).rev() {
        let path = folder.join(format!("snap_{:03}.{chunk}.hdf5", options.number));
        write_chunk(&path, snapshot, options, chunk)?;
        paths.push(path);
    }
    paths.reverse();
    Ok(paths)
}

/// The particles of a species that lie in a chunk.
fn share(len: usize, chunk: u64, chunks: u64) -> std::ops::Range<usize> {
    let cut = |c: u64| (len as u128 * u128::from(c) / u128::from(chunks)) as usize;
    cut(chunk)..cut(chunk + 1)
}

fn write_chunk(path: &Path, snapshot: &Snapshot, options: &WriteOptions, chunk: u64) -> Result<()> {
    let mut total = [0u64; 6];
    let mut here = [0u64; 6];
    for (species, set) in &snapshot.sets {
        total[species.number()] = set.len() as u64;
        here[species.number()] = share(set.len(), chunk, options.chunks).len() as u64;
    }
    let mut file = create_hdf5(path)?;
    write_header(&mut *file, snapshot, options, total, here)?;
    for (species, set) in &snapshot.sets {
        if here[species.number()] > 0 {
            write_species(
                &mut *file,
                *species,
                set,
                share(set.len(), chunk, options.chunks),
                options.storage,
            )?;
        }
    }
    file.finish()
}

fn write_species(
    file: &mut dyn Hdf5Write,
    species: Species,
    set: &halocast_core::ParticleSet,
    rows: std::ops::Range<usize>,
    storage: Storage,
) -> Result<()> {
    let group = group_name(species);
    file.create_group(&group)?;
    for (name, field) in set.fields() {
        let dataset = format!("{group}/{name}");
        file.write_dataset(&dataset, &take(&field.values, rows.clone()), storage)?;
        if UNIT_IS_UNDERSTOOD.contains(&name) && units::is_known(name, &field.unit) {
            continue;
        }
        for (key, value) in units::write(name, &field.unit) {
            file.set_attribute(&dataset, key, &value)?;
        }
    }
    Ok(())
}

pub(super) fn take(values: &FieldValues, rows: std::ops::Range<usize>) -> FieldValues {
    fn part<T: Clone>(array: &ArrayD<T>, rows: std::ops::Range<usize>) -> ArrayD<T> {
        array.slice_axis(Axis(0), Slice::from(rows)).to_owned()
    }
    match values {
        FieldValues::F32(v) => FieldValues::F32(part(v, rows)),
        FieldValues::F64(v) => FieldValues::F64(part(v, rows)),
        FieldValues::I64(v) => FieldValues::I64(part(v, rows)),
        FieldValues::U64(v) => FieldValues::U64(part(v, rows)),
        other => other.clone(),
    }
}

fn write_header(
    file: &mut dyn Hdf5Write,
    snapshot: &Snapshot,
    options: &WriteOptions,
    total: [u64; 6],
    here: [u64; 6],
) -> Result<()> {
    let (header, cosmology) = (&snapshot.header, &snapshot.header.cosmology);
    let low = total.map(|n| n as u32).to_vec();
    let high = total.map(|n| (n >> 32) as u32).to_vec();
    let flag = |set: bool| Attribute::integer(i32::from(set));
    let has = |species: Species, field: &str| {
        snapshot.sets.get(&species).is_some_and(|set| set.field(field).is_ok())
    };
    let units = [
        ("UnitLength_in_cm", Attribute::number(UNIT_LENGTH)),
        ("UnitMass_in_g", Attribute::number(UNIT_MASS)),
        ("UnitVelocity_in_cm_per_s", Attribute::number(UNIT_VELOCITY)),
    ];
    file.create_group("Header")?;
    let entries = [
        ("BoxSize", Attribute::number(header.box_size)),
        ("Composition_vector_length", Attribute::integer(0)),
        ("Flag_Cooling", flag(total[0] > 0)),
        ("Flag_DoublePrecision", Attribute::integer(0)),
        ("Flag_Feedback", flag(total[5] > 0)),
        ("Flag_Metals", flag(has(Species::Gas, "GFM_Metals"))),
        ("Flag_Sfr", flag(has(Species::Gas, "StarFormationRate"))),
        ("Flag_StellarAge", flag(has(Species::Stars, "GFM_StellarFormationTime"))),
        ("Git_commit", maker(header)),
        ("Git_date", Attribute::text("unknown")),
        ("HubbleParam", Attribute::number(cosmology.h)),
        ("MassTable", Attribute::F64(header.mass_table.to_vec())),
        ("NumFilesPerSnapshot", Attribute::integer(i32::try_from(options.chunks).unwrap_or(i32::MAX))),
        ("NumPart_ThisFile", Attribute::I32(here.map(|n| n as i32).to_vec())),
        ("NumPart_Total", Attribute::U32(low)),
        ("NumPart_Total_HighWord", Attribute::U32(high)),
        ("Omega0", Attribute::number(cosmology.omega_m)),
        ("OmegaBaryon", Attribute::number(cosmology.omega_b)),
        ("OmegaLambda", Attribute::number(cosmology.omega_lambda())),
        ("Redshift", Attribute::number(header.redshift)),
        ("Time", Attribute::number(header.time)),
    ];
    for (name, value) in entries.iter().chain(&units) {
        file.set_attribute("Header", name, value)?;
    }
    // What a reader may look for: the box is periodic, there are six types, identifiers have 64 bits.
    file.create_group("Config")?;
    for name in ["PERIODIC", "LONGIDS"] {
        file.set_attribute("Config", name, &Attribute::text(""))?;
    }
    file.set_attribute("Config", "NTYPES", &Attribute::number(6.0))?;
    file.create_group("Parameters")?;
    let parameters = [
        ("BoxSize", Attribute::number(header.box_size)),
        ("ComovingIntegrationOn", Attribute::integer(1)),
        ("HubbleParam", Attribute::number(cosmology.h)),
        ("NumFilesPerSnapshot", Attribute::integer(i32::try_from(options.chunks).unwrap_or(i32::MAX))),
        ("Omega0", Attribute::number(cosmology.omega_m)),
        ("OmegaBaryon", Attribute::number(cosmology.omega_b)),
        ("OmegaLambda", Attribute::number(cosmology.omega_lambda())),
        ("PeriodicBoundariesOn", Attribute::integer(1)),
    ];
    for (name, value) in parameters.iter().chain(&units) {
        file.set_attribute("Parameters", name, value)?;
    }
    for (name, value) in &options.parameters {
        file.set_attribute("Parameters", name, value)?;
    }
    Ok(())
}

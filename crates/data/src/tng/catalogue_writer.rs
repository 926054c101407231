//! Writing a group catalogue in the layout of IllustrisTNG.

use std::ops::Range;
use std::path::{Path, PathBuf};

use halocast_core::{FieldValues, GroupCatalogue, Table};
use ndarray::Ix1;

use super::header::maker;
use super::units::{UNIT_LENGTH, UNIT_MASS, UNIT_VELOCITY};
use super::writer::{WriteOptions, take};
use crate::hdf5::{Attribute, Hdf5Write, Narrow, create_hdf5};
use crate::{Error, Result};

/// Writes a catalogue as `FOLDER/groups_NNN/fof_subhalo_tab_NNN.C.hdf5`, and returns the paths of the files.
///
/// Each file holds an equal share of the groups, with all of their subhalos, as those of the data release; datasets carry no
/// attributes there, and integers are 32-bit, but for identifiers; `SubhaloFlag` is a boolean enumeration. A file without
/// groups has the groups `Group` and `Subhalo` without datasets. Each file is written whole or not at all; the first chunk is
/// written last.
///
/// # Errors
/// [`Error::Hdf5`]; [`Error::Core`] when a file cannot be moved to its place or `GroupNsubs` is absent; [`Error::Invalid`] for
/// no chunks, when `GroupNsubs` does not count the subhalos, or an integer needs more than 32 bits.
pub fn write_catalogue(
    folder: impl AsRef<Path>,
    catalogue: &GroupCatalogue,
    options: &WriteOptions,
) -> Result<Vec<PathBuf>> {
    let folder = folder.as_ref().join(format!("groups_{:03}", options.number));
    if options.chunks == 0 {
        return Err(Error::invalid(&folder, "number of chunks", "at least 1", "0"));
    }
    let shares = shares(&folder, catalogue, options.chunks)?;
    let mut paths = Vec::new();
    for (chunk, share) in shares.iter().enumerate().rev() {
        let path = folder.join(format!("fof_subhalo_tab_{:03}.{chunk}.hdf5", options.number));
        write_chunk(&path, catalogue, options, share)?;
        paths.push(path);
    }
    paths.reverse();
    Ok(paths)
}

/// The groups and the subhalos of one file.
type Share = [Range<usize>; 2];

fn shares(folder: &Path, catalogue: &GroupCatalogue, chunks: u64) -> Result<Vec<Share>> {
    let groups = catalogue.groups.len();
    let counts = if groups == 0 { Vec::new() } else { catalogue.groups.scalars("GroupNsubs")? };
    let mut ends = vec![0usize];
    for count in &counts {
        ends.push(ends[ends.len() - 1] + *count as usize);
    }
    let (counted, stored) = (ends[ends.len() - 1], catalogue.subhalos.len());
    if counted != stored {
        let expected = format!("a sum of {stored}, the number of subhalos");
        return Err(Error::invalid(folder, "GroupNsubs", expected, counted.to_string()));
    }
    let cut = |c: u64| (groups as u128 * u128::from(c) / u128::from(chunks)) as usize;
    Ok((0..chunks)
        .map(|c| {
            let own = cut(c)..cut(c + 1);
            let subhalos = ends[own.start]..ends[own.end];
            [own, subhalos]
        })
        .collect())
}

fn write_chunk(path: &Path, catalogue: &GroupCatalogue, options: &WriteOptions, share: &Share) -> Result<()> {
    let mut file = create_hdf5(path)?;
    write_header(&mut *file, path, catalogue, options, share)?;
    let tables = [("Group", &catalogue.groups), ("Subhalo", &catalogue.subhalos)];
    for ((name, table), rows) in tables.into_iter().zip(share) {
        file.create_group(name)?;
        if !rows.is_empty() {
            write_table(&mut *file, name, table, rows.clone(), options)?;
        }
    }
    file.create_group("IDs")?;
    file.finish()
}

fn write_table(
    file: &mut dyn Hdf5Write,
    group: &str,
    table: &Table,
    rows: Range<usize>,
    options: &WriteOptions,
) -> Result<()> {
    for (name, field) in table.fields() {
        let dataset = format!("{group}/{name}");
        let values = take(&field.values, rows.clone());
        match &values {
            FieldValues::I64(_) => {
                let kind = if name == "SubhaloFlag" { Narrow::Bool } else { Narrow::I32 };
                file.write_narrow(&dataset, &values, kind, options.storage)?;
            }
            _ => file.write_dataset(&dataset, &values, options.storage)?,
        }
    }
    Ok(())
}

fn write_header(
    file: &mut dyn Hdf5Write,
    path: &Path,
    catalogue: &GroupCatalogue,
    options: &WriteOptions,
    share: &Share,
) -> Result<()> {
    let (header, cosmology) = (&catalogue.header, &catalogue.header.cosmology);
    let count = |what: &str, n: usize| {
        let small = i32::try_from(n);
        small.map(Attribute::integer).map_err(|_| Error::invalid(path, what, "below 2^31", n.to_string()))
    };
    let lengths = match catalogue.groups.field("GroupLen") {
        Ok(field) => {
            field.values.to_f64().into_dimensionality::<Ix1>().map(|v| v.to_vec()).unwrap_or_default()
        }
        Err(_) => Vec::new(),
    };
    let members = |rows: Range<usize>| lengths.get(rows).map_or(0.0, |l| l.iter().sum::<f64>()) as i64;
    let [groups, subhalos] = share;
    let entries = [
        ("BoxSize", Attribute::number(header.box_size)),
        ("FlagDoubleprecision", Attribute::integer(0)),
        ("Git_commit", maker(header)),
        ("Git_date", Attribute::text("unknown")),
        ("HubbleParam", Attribute::number(cosmology.h)),
        ("Ngroups_ThisFile", count("groups", groups.len())?),
        ("Ngroups_Total", count("groups", catalogue.groups.len())?),
        ("Nids_ThisFile", Attribute::integer(i32::try_from(members(groups.clone())).unwrap_or(i32::MAX))),
        ("Nids_Total", Attribute::I64(vec![members(0..lengths.len())])),
        ("Nsubgroups_ThisFile", count("subhalos", subhalos.len())?),
        ("Nsubgroups_Total", count("subhalos", catalogue.subhalos.len())?),
        ("NumFiles", Attribute::integer(i32::try_from(options.chunks).unwrap_or(i32::MAX))),
        ("Omega0", Attribute::number(cosmology.omega_m)),
        ("OmegaLambda", Attribute::number(cosmology.omega_lambda())),
        ("Redshift", Attribute::number(header.redshift)),
        ("Time", Attribute::number(header.time)),
    ];
    file.create_group("Header")?;
    for (name, value) in &entries {
        file.set_attribute("Header", name, value)?;
    }
    file.create_group("Config")?;
    for name in ["FOF", "SUBFIND", "PERIODIC", "LONGIDS"] {
        file.set_attribute("Config", name, &Attribute::text(""))?;
    }
    file.set_attribute("Config", "NTYPES", &Attribute::number(6.0))?;
    file.create_group("Parameters")?;
    let parameters = [
        ("BoxSize", Attribute::number(header.box_size)),
        ("HubbleParam", Attribute::number(cosmology.h)),
        ("Omega0", Attribute::number(cosmology.omega_m)),
        ("OmegaBaryon", Attribute::number(cosmology.omega_b)),
        ("OmegaLambda", Attribute::number(cosmology.omega_lambda())),
        ("UnitLength_in_cm", Attribute::number(UNIT_LENGTH)),
        ("UnitMass_in_g", Attribute::number(UNIT_MASS)),
        ("UnitVelocity_in_cm_per_s", Attribute::number(UNIT_VELOCITY)),
    ];
    for (name, value) in &parameters {
        file.set_attribute("Parameters", name, value)?;
    }
    for (name, value) in &options.parameters {
        file.set_attribute("Parameters", name, value)?;
    }
    Ok(())
}

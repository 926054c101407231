//! What is in a file or folder, whatever its format.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use halocast_core::{Header, Species};

use crate::fits_table::FitsValues;
use crate::gadget::{GadgetOptions, is_gadget, read_gadget};
use crate::hdf5::{Attribute, DatasetInfo, Hdf5Read, open_hdf5};
use crate::tng::{GroupsDescription, ReadOptions, SnapshotDescription, describe_groups, describe_snapshot};
use crate::{
    CMD_PARAMETERS, CmdName, Error, FitsHeader, GridName, NpyFile, NpzFile, Result, read_fits_headers,
    read_params, read_text_table,
};

/// Files of a folder that are described.
const FOLDER_LIMIT: usize = 1000;
/// Groups within groups that are followed.
const DEPTH_LIMIT: usize = 16;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "format", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Description {
    /// A snapshot.
    Snapshot(SnapshotDescription),
    /// A group catalogue.
    Groups(GroupsDescription),
    /// A binary snapshot of Gadget-1 or Gadget-2, which does not tell its units.
    Gadget {
        /// The file.
        path: PathBuf,
        /// The header.
        header: Header,
        /// Particles and fields by species.
        species: BTreeMap<Species, (usize, Vec<String>)>,
        /// What is missing or not read, one line each.
        warnings: Vec<String>,
    },
    /// Any other HDF5 file.
    Hdf5(Hdf5Description),
    /// An array.
    Npy(NpyDescription),
    /// An archive of arrays.
    Npz {
        /// The file.
        path: PathBuf,
        /// Its arrays; those that cannot be read have an empty shape and say why in place of their type.
        arrays: Vec<ColumnDescription>,
    },
    /// A FITS file.
    Fits {
        /// Its units.
        units: Vec<FitsUnitDescription>,
    },
    /// A file of simulation parameters.
    Parameters {
        /// The file.
        path: PathBuf,
        /// The number of simulations.
        simulations: usize,
        /// Smallest and largest value of each parameter, by name.
        ranges: BTreeMap<String, [f64; 2]>,
    },
    /// A table of numbers as text.
    Table {
        /// The file.
        path: PathBuf,
        /// The number of rows.
        rows: usize,
        /// The titles of its columns, or their numbers.
        columns: Vec<String>,
    },
    /// A folder of other files.
    Folder {
        /// The folder.
        path: PathBuf,
        /// The files in it that are known.
        files: Vec<Description>,
        /// The number of entries that are not.
        others: usize,
    },
}

/// An HDF5 file at a glance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hdf5Description {
    /// The file.
    pub path: PathBuf,
    /// Its groups and datasets, in the order of the tree; the root has an empty name.
    pub objects: Vec<Hdf5Object>,
}

/// A group or dataset at a glance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hdf5Object {
    /// Its path.
    pub name: String,
    /// Shape and type, for a dataset.
    pub dataset: Option<DatasetInfo>,
    /// Its attributes.
    pub attributes: BTreeMap<String, Attribute>,
}

/// A unit of a FITS file at a glance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FitsUnitDescription {
    /// The header.
    pub header: FitsHeader,
    /// The columns, for a binary table.
    pub columns: Vec<ColumnDescription>,
}

/// A column of a table, or an array of an archive, at a glance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnDescription {
    /// Its name.
    pub name: String,
    /// The type of its values.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its unit, as the file gives it.
    pub unit: Option<String>,
}

/// An array file at a glance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NpyDescription {
    /// The file.
    pub path: PathBuf,
    /// The type of its numbers.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// What its name says, when it is a file of CAMELS maps.
    pub maps: Option<String>,
}

/// Describes a file or folder by what is in it, not by its name.
///
/// # Errors
/// [`Error::Read`]; [`Error::NotFound`] when nothing is known to be in it; the errors of its format.
pub fn describe(path: impl AsRef<Path>) -> Result<Description> {
    let path = path.as_ref();
    let metadata = std::fs::metadata(path).map_err(Error::read(path))?;
    if metadata.is_dir() {
        return match describe_snapshot(path, &ReadOptions::default()) {
            Err(Error::NotFound { .. }) => match describe_groups(path, &ReadOptions::default()) {
                Err(Error::NotFound { .. }) => describe_folder(path),
                other => other.map(Description::Groups),
            },
            other => other.map(Description::Snapshot),
        };
    }
    let mut start = Vec::new();
    let file = File::open(path).map_err(Error::read(path))?;
    file.take(4096).read_to_end(&mut start).map_err(Error::read(path))?;
    if start.starts_with(b"\x93NUMPY") {
        let file = NpyFile::open(path)?;
        let name = CmdName::parse(path).or_else(|| GridName::parse(path).map(|name| name.of));
        let maps = name.map(|n| format!("{} of {} {}, z = {}", n.prefix, n.suite, n.set, n.redshift));
        let (dtype, shape) = (file.dtype().to_string(), file.shape().to_vec());
        return Ok(Description::Npy(NpyDescription { path: path.to_path_buf(), dtype, shape, maps }));
    }
    if start.starts_with(b"SIMPLE  =") {
        return describe_fits(path);
    }
    if start.starts_with(b"PK\x03\x04") {
        return describe_npz(path);
    }
    if start.starts_with(b"\x89HDF\r\n\x1a\n") || extension_is(path, &["hdf5", "h5"]) {
        return describe_hdf5(path);
    }
    if is_gadget(&start) {
        let snapshot = read_gadget(path, &GadgetOptions { allow_missing: true, ..Default::default() })?;
        let fields =
            |set: &halocast_core::ParticleSet| set.fields().map(|(name, _)| name.to_owned()).collect();
        let species = snapshot.sets.iter().map(|(s, set)| (*s, (set.len(), fields(set)))).collect();
        let (path, header) = (path.to_path_buf(), snapshot.header);
        return Ok(Description::Gadget { path, header, species, warnings: snapshot.warnings });
    }
    if !start.contains(&0) && !start.is_empty() {
        return describe_text(path);
    }
    Err(unknown(path))
}

fn unknown(path: &Path) -> Error {
    let expected = "known format in it (HDF5, npy, npz, FITS, Gadget, tables of numbers)".to_owned();
    Error::NotFound { path: path.to_path_buf(), expected }
}

fn describe_hdf5(path: &Path) -> Result<Description> {
    let file = open_hdf5(path)?;
    let groups = file.groups("")?;
    let has = |name: &str| groups.iter().any(|g| g == name);
    if has("Header") && groups.iter().any(|g| g.starts_with("PartType")) {
        return describe_snapshot(path, &ReadOptions::default()).map(Description::Snapshot);
    }
    if has("Group") && has("Subhalo") && has("Header") {
        return describe_groups(path, &ReadOptions::default()).map(Description::Groups);
    }
    let mut objects = Vec::new();
    walk(&*file, "", 0, &mut objects)?;
    Ok(Description::Hdf5(Hdf5Description { path: path.to_path_buf(), objects }))
}

fn describe_fits(path: &Path) -> Result<Description> {
    let mut units = Vec::new();
    for header in read_fits_headers(path)? {
        let mut columns = Vec::new();
        if header.value("XTENSION").is_some_and(|x| x.trim() == "BINTABLE") {
            // Tables of one name are told apart by their place.
            let table = crate::fits_table::read_table(header.clone())?;
            for column in table.columns {
                let (dtype, shape) = match &column.values {
                    FitsValues::Numbers(values) => (number_type(values), values.shape().to_vec()),
                    FitsValues::Text(texts) => ("text".to_owned(), vec![texts.len()]),
                    FitsValues::Other(form) => (format!("TFORM {form}"), vec![table.rows]),
                };
                columns.push(ColumnDescription { name: column.name, dtype, shape, unit: column.unit });
            }
        }
        units.push(FitsUnitDescription { header, columns });
    }
    Ok(Description::Fits { units })
}

fn number_type(values: &halocast_core::FieldValues) -> String {
    use halocast_core::FieldValues::{F32, F64, I64, U64};
    match values {
        F32(_) => "f32",
        F64(_) => "f64",
        I64(_) => "i64",
        U64(_) => "u64",
        _ => "numbers",
    }
    .to_owned()
}

fn describe_npz(path: &Path) -> Result<Description> {
    let file = NpzFile::open(path)?;
    let describe = |name: &str| {
        let (dtype, shape) = match file.info(name) {
            Ok((dtype, shape)) => (dtype.to_string(), shape),
            Err(error) => (format!("not read: {error}"), Vec::new()),
        };
        ColumnDescription { name: name.to_owned(), dtype, shape, unit: None }
    };
    let arrays = file.names().into_iter().map(describe).collect();
    Ok(Description::Npz { path: path.to_path_buf(), arrays })
}

fn describe_text(path: &Path) -> Result<Description> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let is_params = ["params_", "CosmoAstroSeed_"].iter().any(|prefix| name.starts_with(prefix));
    if is_params {
        let params = read_params(path)?;
        let range = |column: usize| {
            let values = params.values.column(column);
            let extreme = |f: fn(f64, f64) -> f64, from: f64| values.iter().copied().fold(from, f);
            [extreme(f64::min, f64::INFINITY), extreme(f64::max, f64::NEG_INFINITY)]
        };
        let ranges =
            CMD_PARAMETERS.iter().enumerate().map(|(i, name)| ((*name).to_owned(), range(i))).collect();
        return Ok(Description::Parameters { path: path.to_path_buf(), simulations: params.len(), ranges });
    }
    let Ok(table) = read_text_table(path) else {
        return Err(unknown(path));
    };
    let numbered = || (1..=table.values.ncols()).map(|i| format!("column {i}")).collect();
    let columns = table.names.clone().unwrap_or_else(numbered);
    Ok(Description::Table { path: path.to_path_buf(), rows: table.len(), columns })
}

fn extension_is(path: &Path, extensions: &[&str]) -> bool {
    path.extension().and_then(|e| e.to_str()).is_some_and(|e| extensions.contains(&e))
}

fn describe_folder(path: &Path) -> Result<Description> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path).map_err(Error::read(path))? {
        entries.push(entry.map_err(Error::read(path))?.path());
    }
    entries.sort();
    let (mut files, mut others) = (Vec::new(), 0);
    for entry in &entries {
        match if entry.is_file() && files.len() < FOLDER_LIMIT { describe(entry).ok() } else { None } {
            Some(description) => files.push(description),
            None => others += 1,
        }
    }
    if files.is_empty() {
        let expected = "snapshot and no file of a known format".to_owned();
        return Err(Error::NotFound { path: path.to_path_buf(), expected });
    }
    Ok(Description::Folder { path: path.to_path_buf(), files, others })
}

fn walk(file: &dyn Hdf5Read, group: &str, depth: usize, objects: &mut Vec<Hdf5Object>) -> Result<()> {
    let child = |name: &String| if group.is_empty() { name.clone() } else { format!("{group}/{name}") };
    objects.push(Hdf5Object { name: group.to_owned(), dataset: None, attributes: file.attributes(group)? });
    for name in file.datasets(group)?.iter().map(child) {
        let (dataset, attributes) = (Some(file.info(&name)?), file.attributes(&name)?);
        objects.push(Hdf5Object { name, dataset, attributes });
    }
    if depth < DEPTH_LIMIT {
        for name in file.groups(group)?.iter().map(child) {
            walk(file, &name, depth + 1, objects)?;
        }
    }
    Ok(())
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snapshot(snapshot) => write!(f, "{snapshot}"),
            Self::Groups(groups) => write!(f, "{groups}"),
            Self::Gadget { path, header, species, warnings } => {
                writeln!(f, "{}: binary Gadget snapshot, units unknown", path.display())?;
                writeln!(f, "  time       a = {}, z = {:.4}", header.time, header.redshift)?;
                writeln!(
                    f,
                    "  cosmology  Omega_m = {}, h = {}",
                    header.cosmology.omega_m, header.cosmology.h
                )?;
                for (species, (count, fields)) in species {
                    let promised = header.promised[species.number()];
                    writeln!(f, "  {species}: {count} stored, {promised} promised: {}", fields.join(", "))?;
                }
                warnings.iter().try_for_each(|warning| writeln!(f, "  warning: {warning}"))
            }
            Self::Npz { path, arrays } => {
                writeln!(f, "{}: npz archive of {} arrays", path.display(), arrays.len())?;
                arrays.iter().try_for_each(|array| write!(f, "{array}"))
            }
            Self::Table { path, rows, columns } => {
                writeln!(f, "{}: table of numbers as text, {rows} rows", path.display())?;
                writeln!(f, "  columns    {}", columns.join(", "))
            }
            Self::Hdf5(file) => write!(f, "{file}"),
            Self::Npy(NpyDescription { path, dtype, shape, maps }) => {
                writeln!(f, "{}: npy array {shape:?} of {dtype}", path.display())?;
                maps.as_ref().map_or(Ok(()), |maps| writeln!(f, "  maps       {maps}"))
            }
            Self::Fits { units } => {
                for FitsUnitDescription { header: unit, columns } in units {
                    let kind = unit.value("XTENSION").unwrap_or("primary");
                    let path = unit.path.display();
                    writeln!(
                        f,
                        "{path}: FITS unit {} ({kind}) {:?} of {} bits",
                        unit.unit, unit.shape, unit.bitpix
                    )?;
                    columns.iter().try_for_each(|column| write!(f, "{column}"))?;
                    // The keywords of a table tell of its columns again.
                    let shown = |key: &str| !["", "COMMENT", "HISTORY"].contains(&key) && columns.is_empty();
                    for card in unit.cards.iter().filter(|c| shown(&c.key)) {
                        writeln!(f, "  {:<8}   {}", card.key, card.value)?;
                    }
                }
                Ok(())
            }
            Self::Parameters { path, simulations, ranges } => {
                writeln!(f, "{}: CAMELS parameters of {simulations} simulations", path.display())?;
                for name in CMD_PARAMETERS {
                    if let Some([low, high]) = ranges.get(name) {
                        writeln!(f, "  {name:<10} {low} to {high}")?;
                    }
                }
                Ok(())
            }
            Self::Folder { path, files, others } => {
                writeln!(f, "{}: {} known files, {others} other entries", path.display(), files.len())?;
                files.iter().try_for_each(|file| write!(f, "{file}"))
            }
        }
    }
}

impl fmt::Display for ColumnDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = self.unit.as_deref().unwrap_or("-");
        writeln!(f, "    {:<26} {:<5} {:<14} {unit}", self.name, self.dtype, format!("{:?}", self.shape))
    }
}

impl fmt::Display for Hdf5Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: HDF5", self.path.display())?;
        for object in &self.objects {
            match &object.dataset {
                Some(info) => {
                    writeln!(f, "  /{:<36} {:<5} {:?}", object.name, info.dtype.to_string(), info.shape)?
                }
                None => {
                    writeln!(f, "  /{}", object.name)?;
                    for (name, value) in &object.attributes {
                        writeln!(f, "    {name} = {value}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

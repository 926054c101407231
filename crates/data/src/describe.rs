//! What is in a file or folder, whatever its format.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::hdf5::{Attribute, DatasetInfo, Hdf5Read, open_hdf5};
use crate::tng::{ReadOptions, SnapshotDescription, describe_snapshot};
use crate::{CmdName, Error, FitsHeader, NpyFile, Result, read_fits_headers, read_params};

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
    /// Any other HDF5 file.
    Hdf5(Hdf5Description),
    /// An array.
    Npy(NpyDescription),
    /// A FITS file.
    Fits {
        /// The headers of its units.
        units: Vec<FitsHeader>,
    },
    /// A file of simulation parameters.
    Parameters {
        /// The file.
        path: PathBuf,
        /// The number of simulations.
        simulations: usize,
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
            Err(Error::NotFound { .. }) => describe_folder(path),
            other => other.map(Description::Snapshot),
        };
    }
    let mut start = Vec::new();
    let file = File::open(path).map_err(Error::read(path))?;
    file.take(4096).read_to_end(&mut start).map_err(Error::read(path))?;
    if start.starts_with(b"\x93NUMPY") {
        let file = NpyFile::open(path)?;
        let maps = CmdName::parse(path)
            .map(|n| format!("{} of {} {}, z = {}", n.prefix, n.suite, n.set, n.redshift));
        let (dtype, shape) = (file.dtype().to_string(), file.shape().to_vec());
        return Ok(Description::Npy(NpyDescription { path: path.to_path_buf(), dtype, shape, maps }));
    }
    if start.starts_with(b"SIMPLE  =") {
        return Ok(Description::Fits { units: read_fits_headers(path)? });
    }
    if start.starts_with(b"\x89HDF\r\n\x1a\n") || extension_is(path, &["hdf5", "h5"]) {
        let file = open_hdf5(path)?;
        let groups = file.groups("")?;
        if groups.iter().any(|g| g == "Header") && groups.iter().any(|g| g.starts_with("PartType")) {
            return describe_snapshot(path, &ReadOptions::default()).map(Description::Snapshot);
        }
        let mut objects = Vec::new();
        walk(&*file, "", 0, &mut objects)?;
        return Ok(Description::Hdf5(Hdf5Description { path: path.to_path_buf(), objects }));
    }
    if extension_is(path, &["txt"]) && std::str::from_utf8(&start).is_ok() {
        let simulations = read_params(path)?.len();
        return Ok(Description::Parameters { path: path.to_path_buf(), simulations });
    }
    let expected = "known format in it (HDF5, npy, FITS, CAMELS parameters)".to_owned();
    Err(Error::NotFound { path: path.to_path_buf(), expected })
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
            Self::Hdf5(file) => write!(f, "{file}"),
            Self::Npy(NpyDescription { path, dtype, shape, maps }) => {
                writeln!(f, "{}: npy array {shape:?} of {dtype}", path.display())?;
                maps.as_ref().map_or(Ok(()), |maps| writeln!(f, "  maps       {maps}"))
            }
            Self::Fits { units } => {
                for unit in units {
                    let kind = unit.value("XTENSION").unwrap_or("primary");
                    let path = unit.path.display();
                    writeln!(
                        f,
                        "{path}: FITS unit {} ({kind}) {:?} of {} bits",
                        unit.unit, unit.shape, unit.bitpix
                    )?;
                    for card in unit
                        .cards
                        .iter()
                        .filter(|c| !c.key.is_empty() && c.key != "COMMENT" && c.key != "HISTORY")
                    {
                        writeln!(f, "  {:<8}   {}", card.key, card.value)?;
                    }
                }
                Ok(())
            }
            Self::Parameters { path, simulations } => {
                writeln!(f, "{}: CAMELS parameters of {simulations} simulations", path.display())
            }
            Self::Folder { path, files, others } => {
                writeln!(f, "{}: {} known files, {others} other entries", path.display(), files.len())?;
                files.iter().try_for_each(|file| write!(f, "{file}"))
            }
        }
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

//! The place and size of one subhalo of a group catalogue.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use halocast::data::open_hdf5;

/// In the units of the catalogue, ckpc/h.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) position: [f64; 3],
    pub(super) half_mass_radius: f64,
}

/// Looks a subhalo up by its number over all files of a catalogue.
pub(super) fn find(snapshot: &Path, groups: Option<&Path>, id: usize, species: usize) -> Result<Found> {
    let folder = match groups {
        Some(path) => path.to_path_buf(),
        None => beside(snapshot)?,
    };
    let mut first = 0;
    let files = files(&folder)?;
    for file in &files {
        let opened = open_hdf5(file)?;
        if !opened.groups("")?.iter().any(|g| g == "Subhalo") {
            continue;
        }
        let datasets = opened.datasets("Subhalo")?;
        if !datasets.iter().any(|d| d == "SubhaloPos") {
            continue;
        }
        let rows = opened.info("Subhalo/SubhaloPos")?.rows();
        if id < first + rows {
            let row = |name: &str| -> Result<Vec<f64>> {
                let values = opened.read_rows(&format!("Subhalo/{name}"), id - first..id - first + 1)?;
                Ok(values.to_f64().into_iter().collect())
            };
            let (position, radii) = (row("SubhaloPos")?, row("SubhaloHalfmassRadType")?);
            let position = <[f64; 3]>::try_from(position)
                .map_err(|got| anyhow::anyhow!("{}: SubhaloPos has {} columns", file.display(), got.len()))?;
            let half_mass_radius = *radii.get(species).with_context(|| {
                format!("{}: SubhaloHalfmassRadType has no type {species}", file.display())
            })?;
            return Ok(Found { position, half_mass_radius });
        }
        first += rows;
    }
    bail!("{}: no subhalo {id}; the files there hold {first}", folder.display())
}

/// The catalogue beside a snapshot: `groups_NNN` beside `snapdir_NNN`.
fn beside(snapshot: &Path) -> Result<PathBuf> {
    let folder = if snapshot.is_dir() { Some(snapshot) } else { snapshot.parent() };
    let name = folder.and_then(Path::file_name).and_then(|n| n.to_str()).unwrap_or_default();
    let number = name.trim_start_matches("snapdir_");
    let groups = folder.and_then(Path::parent).map(|p| p.join(format!("groups_{number}")));
    match groups {
        Some(path) if number != name && path.is_dir() => Ok(path),
        _ => bail!("{}: no group catalogue beside it; name it by --groups", snapshot.display()),
    }
}

/// The files of a catalogue in the order of their numbers, which must be whole.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let number = |p: &Path| -> Option<usize> {
        let stem = p.file_name()?.to_str()?.strip_suffix(".hdf5")?;
        stem.rsplit('.').next()?.parse().ok()
    };
    let entries = std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut files: Vec<(usize, PathBuf)> =
        entries.filter_map(|e| e.ok()).filter_map(|e| Some((number(&e.path())?, e.path()))).collect();
    files.sort();
    ensure!(!files.is_empty(), "{}: found no files of a group catalogue", path.display());
    if let Some((expected, (_, file))) = files.iter().enumerate().find(|(i, (n, _))| i != n) {
        bail!("{}: file {expected} of the catalogue is missing before it", file.display());
    }
    Ok(files.into_iter().map(|(_, file)| file).collect())
}

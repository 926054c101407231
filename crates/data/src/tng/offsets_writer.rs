//! Writing a file of offsets as the data release has beside each snapshot.

use std::path::Path;

use halocast_core::{FieldValues, GroupCatalogue};
use ndarray::{Array1, Array2};

use super::offsets::{Members, Offsets};
use crate::hdf5::{Hdf5Read, Storage, create_hdf5, open_hdf5};
use crate::{Error, Result};

/// Writes `postprocessing/offsets/offsets_NNN.hdf5`, by which scripts on the data release find a halo's particles.
///
/// | dataset | shape | what |
/// |---|---|---|
/// | `FileOffsets/SnapByType` | files of the snapshot, 6 | particles of each type in the files before |
/// | `FileOffsets/Group`, `FileOffsets/Subhalo` | files of the catalogue | groups and subhalos in the files before |
/// | `Group/SnapByType`, `Subhalo/SnapByType` | groups or subhalos, 6 | rows of the snapshot before the first of each type |
///
/// All are 64-bit integers. `snapshot` and `groups` are the files of [`write_snapshot`](super::write_snapshot) and
/// [`write_catalogue`](super::write_catalogue), in their order. The file is written whole or not at all.
///
/// # Errors
/// [`Error::Hdf5`] and [`Error::Invalid`] when a file cannot be read or lacks its counts; those of [`Offsets::of`];
/// [`Error::Core`] when the file cannot be moved to its place.
///
/// # Source
/// The documentation of the TNG data release, "Offsets files" (Nelson et al. 2019).
pub fn write_offsets(
    path: impl AsRef<Path>,
    catalogue: &GroupCatalogue,
    snapshot: &[impl AsRef<Path>],
    groups: &[impl AsRef<Path>],
) -> Result<()> {
    let offsets = Offsets::of(catalogue)?;
    let mut file = create_hdf5(path.as_ref())?;
    for group in ["FileOffsets", "Group", "Subhalo"] {
        file.create_group(group)?;
    }
    let mut write = |name: &str, rows: &[Vec<i64>]| {
        let width = rows.first().map_or(0, Vec::len);
        let flat: Vec<i64> = rows.iter().flatten().copied().collect();
        let values = match width {
            1 => Array1::from(flat).into_dyn(),
            _ => Array2::from_shape_fn((rows.len(), width), |(i, j)| flat[i * width + j]).into_dyn(),
        };
        file.write_dataset(name, &FieldValues::I64(values), Storage::Contiguous)
    };
    write("FileOffsets/SnapByType", &before(snapshot, "NumPart_ThisFile", 6)?)?;
    write("FileOffsets/Group", &before(groups, "Ngroups_ThisFile", 1)?)?;
    write("FileOffsets/Subhalo", &before(groups, "Nsubgroups_ThisFile", 1)?)?;
    let rows = |members: &[Members]| -> Vec<Vec<i64>> {
        members.iter().map(|m| m.first.iter().map(|&v| v as i64).collect()).collect()
    };
    write("Group/SnapByType", &rows(offsets.groups()))?;
    write("Subhalo/SnapByType", &rows(offsets.subhalos()))?;
    file.finish()
}

/// For each file, the sums of the counts `name` in the headers of the files before it.
fn before(files: &[impl AsRef<Path>], name: &str, width: usize) -> Result<Vec<Vec<i64>>> {
    let mut sums = vec![0i64; width];
    let mut rows = Vec::with_capacity(files.len());
    for path in files {
        rows.push(sums.clone());
        let file = open_hdf5(path.as_ref())?;
        for (sum, count) in sums.iter_mut().zip(counts(&*file, name, width)?) {
            *sum += count;
        }
    }
    Ok(rows)
}

fn counts(file: &dyn Hdf5Read, name: &str, width: usize) -> Result<Vec<i64>> {
    let header = file.attributes("Header")?;
    let values = header.get(name).and_then(|a| a.to_f64()).unwrap_or_default();
    if values.len() != width || values.iter().any(|v| !(0.0..9e15).contains(v) || v.fract() != 0.0) {
        let expected = format!("{width} counts");
        return Err(Error::invalid(file.path(), format!("Header/{name}"), expected, format!("{values:?}")));
    }
    Ok(values.into_iter().map(|v| v as i64).collect())
}

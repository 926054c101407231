//! One narrow door to HDF5: what this crate needs of it, in types of its own.
//!
//! Reading and writing are traits because there are two backends: pure Rust, always there, and the C library behind the
//! feature `libhdf5`, which reads a few old layouts that the pure one does not.

mod chunk;
mod decode;
mod layout;
#[cfg(feature = "libhdf5")]
mod native;
mod pure;
mod pure_writer;
mod values;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use halocast_core::FieldValues;
use ndarray::ArrayD;

use crate::{Error, Result};

pub use decode::NumbersMut;
pub(crate) use decode::{numbers_mut, split, zeros};
pub use values::{Attribute, DatasetInfo, Hdf5Type, Narrow, Storage};

/// A file open for reading. Objects are named by their path, such as `PartType0/Coordinates`; the root is empty.
pub trait Hdf5Read: Send + Sync {
    /// The path of the file.
    fn path(&self) -> &Path;

    /// The names of the groups in a group, sorted.
    ///
    /// # Errors
    /// [`Error::Hdf5`] when there is no such group or it is damaged. The same holds for every method here.
    fn groups(&self, group: &str) -> Result<Vec<String>>;

    /// The names of the datasets in a group, sorted.
    ///
    /// # Errors
    /// [`Error::Hdf5`].
    fn datasets(&self, group: &str) -> Result<Vec<String>>;

    /// The attributes of a group or dataset.
    ///
    /// # Errors
    /// [`Error::Hdf5`].
    fn attributes(&self, object: &str) -> Result<BTreeMap<String, Attribute>>;

    /// Shape and type of a dataset.
    ///
    /// # Errors
    /// [`Error::Hdf5`].
    fn info(&self, dataset: &str) -> Result<DatasetInfo>;

    /// Rows of a dataset: a range of its first axis. A scalar has one row.
    ///
    /// # Errors
    /// [`Error::Hdf5`]; [`Error::Invalid`] when the range or the type does not fit.
    fn read_rows(&self, dataset: &str, rows: Range<usize>) -> Result<FieldValues>;

    /// A whole dataset in the nearest of the four types of [`FieldValues`]: nothing is rounded.
    ///
    /// # Errors
    /// As [`Hdf5Read::read_rows`].
    fn read(&self, dataset: &str) -> Result<FieldValues> {
        let info = self.info(dataset)?;
        self.read_rows(dataset, 0..info.rows())
    }

    /// Rows of a dataset, into memory of the caller: numbers that are stored in the type of `out` are read straight into
    /// it, others converted as [`NumbersMut`] says.
    ///
    /// # Errors
    /// As [`Hdf5Read::read_rows`]; [`Error::Invalid`] when `out` has another length or a number does not fit.
    fn read_into(&self, dataset: &str, rows: Range<usize>, out: NumbersMut<'_>) -> Result<()> {
        check_rows(self.path(), dataset, &self.info(dataset)?, &rows, Some(out.len()))?;
        let values = self.read_rows(dataset, rows)?;
        decode::assign(&values, out).map_err(|got| {
            let expected = "numbers that fit what is asked for";
            Error::invalid(self.path(), format!("dataset {dataset}"), expected, got)
        })
    }

    /// A whole dataset as f32; f64 is rounded.
    ///
    /// # Errors
    /// As [`Hdf5Read::read_into`].
    fn read_f32(&self, dataset: &str) -> Result<ArrayD<f32>> {
        match self.read(dataset)? {
            FieldValues::F32(values) => Ok(values),
            values => {
                let mut out = ArrayD::zeros(values.shape());
                assign(self.path(), dataset, &values, out.as_slice_mut().map(NumbersMut::F32))?;
                Ok(out)
            }
        }
    }

    /// A whole dataset as f64.
    ///
    /// # Errors
    /// As [`Hdf5Read::read_into`]: integers that f64 does not hold, such as identifiers, are refused.
    fn read_f64(&self, dataset: &str) -> Result<ArrayD<f64>> {
        match self.read(dataset)? {
            FieldValues::F64(values) => Ok(values),
            values => {
                let mut out = ArrayD::zeros(values.shape());
                assign(self.path(), dataset, &values, out.as_slice_mut().map(NumbersMut::F64))?;
                Ok(out)
            }
        }
    }

    /// A whole dataset of integers as u64.
    ///
    /// # Errors
    /// As [`Hdf5Read::read_rows`]; [`Error::Invalid`] for floating-point or negative numbers.
    fn read_u64(&self, dataset: &str) -> Result<ArrayD<u64>> {
        let refuse = |got: String| {
            Error::invalid(self.path(), format!("dataset {dataset}"), "integers of at least 0", got)
        };
        match self.read(dataset)? {
            FieldValues::U64(values) => Ok(values),
            FieldValues::I64(values) => match values.iter().find(|v| **v < 0) {
                Some(negative) => Err(refuse(negative.to_string())),
                None => Ok(values.mapv(|v| v as u64)),
            },
            _ => Err(refuse("floating-point numbers".into())),
        }
    }
}

/// Checks that rows exist and, where `len` is given, that as many numbers are asked for as they have.
fn check_rows(
    path: &Path,
    name: &str,
    info: &DatasetInfo,
    rows: &Range<usize>,
    len: Option<usize>,
) -> Result<()> {
    let total = info.rows();
    if rows.start > rows.end || rows.end > total {
        let got = format!("{}..{}", rows.start, rows.end);
        return Err(Error::invalid(path, format!("rows of {name}"), format!("within 0..{total}"), got));
    }
    let per_row = info.shape.iter().skip(1).try_fold(1usize, |n, &d| n.checked_mul(d));
    let expected = per_row.and_then(|n| n.checked_mul(rows.len()));
    if len.is_some_and(|len| Some(len) != expected) {
        let expected = format!("room for {} numbers", expected.map_or("too many".into(), |n| n.to_string()));
        let got = format!("{}", len.unwrap_or_default());
        return Err(Error::invalid(path, format!("rows of {name}"), expected, got));
    }
    Ok(())
}

pub(crate) fn assign(
    path: &Path,
    name: &str,
    values: &FieldValues,
    out: Option<NumbersMut<'_>>,
) -> Result<()> {
    let misfit = |got: String| {
        Error::invalid(path, format!("dataset {name}"), "numbers that fit what is asked for", got)
    };
    let out = out.ok_or_else(|| misfit("an array that is not in one piece".into()))?;
    decode::assign(values, out).map_err(misfit)
}

/// A file being written. Nothing is at its path until [`Hdf5Write::finish`].
pub trait Hdf5Write {
    /// Creates a group, and its parents when they are not there.
    ///
    /// # Errors
    /// [`Error::Hdf5`].
    fn create_group(&mut self, path: &str) -> Result<()>;

    /// Sets an attribute of a group or dataset that exists; the root is empty.
    ///
    /// # Errors
    /// [`Error::Hdf5`].
    fn set_attribute(&mut self, object: &str, name: &str, value: &Attribute) -> Result<()>;

    /// Creates and fills a dataset in a group that exists.
    ///
    /// # Errors
    /// [`Error::Hdf5`].
    fn write_dataset(&mut self, path: &str, values: &FieldValues, storage: Storage) -> Result<()>;

    /// Creates and fills a dataset of narrower integers than those of [`FieldValues`], as many files store them.
    ///
    /// # Errors
    /// [`Error::Hdf5`]; [`Error::Invalid`] for floating-point numbers and integers that do not fit.
    fn write_narrow(
        &mut self,
        path: &str,
        values: &FieldValues,
        kind: Narrow,
        storage: Storage,
    ) -> Result<()>;

    /// Closes the file and moves it to its path.
    ///
    /// # Errors
    /// [`Error::Hdf5`]; [`Error::Core`] when it cannot be moved.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// The libraries that can read and write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// Pure Rust. With the feature `libhdf5`, what it does not support is read by the C library.
    #[default]
    Pure,
    /// The C library.
    #[cfg(feature = "libhdf5")]
    Libhdf5,
}

/// Opens a file for reading with the default backend.
///
/// # Errors
/// [`Error::Read`] when it cannot be opened; [`Error::Hdf5`] when it is not HDF5 or is damaged.
pub fn open_hdf5(path: impl AsRef<Path>) -> Result<Box<dyn Hdf5Read>> {
    open_hdf5_with(path, Backend::default())
}

/// Opens a file for reading.
///
/// # Errors
/// As [`open_hdf5`].
pub fn open_hdf5_with(path: impl AsRef<Path>, backend: Backend) -> Result<Box<dyn Hdf5Read>> {
    let path = path.as_ref();
    let metadata = std::fs::metadata(path).map_err(Error::read(path))?;
    if metadata.is_dir() {
        return Err(Error::read(path)(std::io::ErrorKind::IsADirectory.into()));
    }
    match backend {
        Backend::Pure => Ok(Box::new(pure::PureReader::open(path)?)),
        #[cfg(feature = "libhdf5")]
        Backend::Libhdf5 => Ok(Box::new(native::NativeReader::open(path)?)),
    }
}

/// Begins a file with the default backend.
///
/// # Errors
/// [`Error::Hdf5`] when it cannot be created.
pub fn create_hdf5(path: impl AsRef<Path>) -> Result<Box<dyn Hdf5Write>> {
    create_hdf5_with(path, Backend::default())
}

/// Begins a file.
///
/// # Errors
/// As [`create_hdf5`].
pub fn create_hdf5_with(path: impl AsRef<Path>, backend: Backend) -> Result<Box<dyn Hdf5Write>> {
    let path = path.as_ref();
    match backend {
        Backend::Pure => Ok(Box::new(pure_writer::PureWriter::create(path)?)),
        #[cfg(feature = "libhdf5")]
        Backend::Libhdf5 => Ok(Box::new(native::NativeWriter::create(path)?)),
    }
}

/// A file under a temporary name, removed unless it was renamed.
struct Temporary {
    path: std::path::PathBuf,
    target: std::path::PathBuf,
    renamed: bool,
}

impl Temporary {
    fn beside(target: &Path) -> Result<Self> {
        if let Some(parent) = target.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(Error::read(parent))?;
        }
        let mut name = target.file_name().unwrap_or_default().to_os_string();
        // One name, so that a run that goes on where another was killed leaves nothing of it.
        name.push(".partial");
        Ok(Self { path: target.with_file_name(name), target: target.to_path_buf(), renamed: false })
    }

    fn rename(mut self) -> Result<()> {
        let failed = |source| halocast_core::Error::Write { path: self.target.clone(), source };
        let moved = std::fs::File::open(&self.path)
            .and_then(|file| file.sync_all())
            .and_then(|()| std::fs::rename(&self.path, &self.target));
        moved.map_err(failed)?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // Best effort: the file may never have been created.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests;

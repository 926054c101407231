//! Array files mapped into memory: for random access to files that no memory holds.

use std::fs::File;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use ndarray::{ArrayViewD, IxDyn};

use super::element::sealed::Sealed;
use super::{NpyFile, NpyType};
use crate::{Error, Result};

/// A number type whose bytes in a file are those in memory.
pub trait MappedNumber: super::NpyElement + bytemuck::Pod {}

impl MappedNumber for f32 {}
impl MappedNumber for f64 {}
impl MappedNumber for i32 {}
impl MappedNumber for i64 {}
impl MappedNumber for u8 {}
impl MappedNumber for u32 {}
impl MappedNumber for u64 {}

/// An array file as a view of its numbers: nothing is read before it is looked at, nothing is copied.
///
/// The file must not become shorter while it is mapped: the operating system would then end the program.
#[derive(Debug)]
pub struct NpyMap<T> {
    path: PathBuf,
    map: Option<Mmap>,
    shape: Vec<usize>,
    offset: usize,
    numbers: PhantomData<T>,
}

impl<T: MappedNumber> NpyMap<T> {
    /// Maps a file and checks its header.
    ///
    /// # Errors
    /// As [`NpyFile::open`]; [`Error::Invalid`] when the numbers are of another type or byte order, lie in Fortran
    /// order, or begin where no number can be.
    #[allow(unsafe_code)]
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let header = NpyFile::open(path)?;
        let expected =
            NpyType { kind: <T as Sealed>::KIND, size: T::SIZE, big_endian: cfg!(target_endian = "big") };
        let same = header.dtype.kind == expected.kind
            && header.dtype.size == expected.size
            && (header.dtype.big_endian == expected.big_endian || expected.size == 1);
        if !same {
            return Err(Error::invalid(path, "number type", expected.to_string(), header.dtype.to_string()));
        }
        if header.fortran && header.shape.len() > 1 {
            return Err(Error::invalid(path, "order", "C order", "Fortran order: read it whole"));
        }
        let count: usize = header.shape.iter().product();
        let file = File::open(path).map_err(Error::read(path))?;
        let map = if count == 0 {
            None
        } else {
            // SAFETY: the map is read-only and private to this value; any bit pattern is a number of these types. That the
            // file is not cut while it is mapped is the caller's part, as documented.
            Some(unsafe { Mmap::map(&file) }.map_err(Error::read(path))?)
        };
        let offset = header.offset as usize;
        let mapped =
            Self { path: path.to_path_buf(), map, shape: header.shape, offset, numbers: PhantomData };
        if mapped.numbers().is_none() {
            let got = format!("a first number at byte {offset} of {} bytes", header.length);
            return Err(Error::invalid(path, "place of the numbers", "aligned numbers within the file", got));
        }
        Ok(mapped)
    }

    fn numbers(&self) -> Option<&[T]> {
        let Some(map) = &self.map else { return Some(&[]) };
        let count: usize = self.shape.iter().product();
        let bytes = map.get(self.offset..self.offset.checked_add(count * size_of::<T>())?)?;
        bytemuck::try_cast_slice(bytes).ok()
    }

    /// The path it was opened with.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The shape of the whole array.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The whole array where it lies.
    ///
    /// # Errors
    /// None today: `open` checked what could fail.
    pub fn view(&self) -> Result<ArrayViewD<'_, T>> {
        self.shaped(&self.shape, self.numbers().unwrap_or(&[]))
    }

    /// Item `i` along the first axis where it lies.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such item.
    pub fn item(&self, i: usize) -> Result<ArrayViewD<'_, T>> {
        let len = self.shape.first().copied().unwrap_or(0);
        if i >= len {
            return Err(Error::invalid(&self.path, "item index", format!("below {len}"), i.to_string()));
        }
        let count: usize = self.shape[1..].iter().product();
        let numbers = self.numbers().unwrap_or(&[]);
        self.shaped(&self.shape[1..], &numbers[i * count..(i + 1) * count])
    }

    fn shaped<'a>(&self, shape: &[usize], numbers: &'a [T]) -> Result<ArrayViewD<'a, T>> {
        ArrayViewD::from_shape(IxDyn(shape), numbers)
            .map_err(|e| Error::invalid(&self.path, "shape", "one that its numbers fill", e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array3};

    use super::*;

    #[test]
    fn a_view_is_the_array() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        let cube = Array3::from_shape_fn((5, 3, 4), |(a, b, c)| (a * 100 + b * 10 + c) as f32);
        crate::write_npy(&path, &cube).unwrap();
        let map = NpyMap::<f32>::open(&path).unwrap();
        assert_eq!(map.view().unwrap(), cube.view().into_dyn());
        assert_eq!(map.item(4).unwrap(), cube.index_axis(ndarray::Axis(0), 4).into_dyn());
        assert!(map.item(5).unwrap_err().to_string().contains("below 5"));
        let message = NpyMap::<f64>::open(&path).unwrap_err().to_string();
        assert!(message.contains("<f8") && message.contains("<f4"), "{message}");
        crate::write_npy(&path, &Array1::<i64>::zeros(0)).unwrap();
        assert_eq!(NpyMap::<i64>::open(&path).unwrap().view().unwrap().len(), 0);
    }
}

//! NumPy's `.npy` format: whole arrays, and one item at a time of arrays larger than memory.
//!
//! # Source
//! NumPy enhancement proposal 1 and `numpy.lib.format`: versions 1, 2 and 3.

mod element;
mod header;
mod map;
mod memory;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use halocast_core::write_whole;
use ndarray::{ArrayBase, ArrayD, Data, Dimension, IxDyn, ShapeBuilder};

pub(crate) use element::half_to_f32;
use element::sealed::Kind;
use element::to_f64;
pub use element::{NpyElement, NpyType};
use header::parse_header;
pub(crate) use header::write_header;
pub use map::{MappedNumber, NpyMap};
pub(crate) use memory::{decode_npy, decode_npy_f64, inspect_npy};

use crate::{Error, Result};

/// Longest header that is believed: numpy itself stops at 10,000 characters unless told otherwise.
const HEADER_LIMIT: u64 = 1 << 20;
/// Bytes decoded at a time.
const BLOCK: usize = 1 << 20;

/// An open array file: its header has been checked against its length, its numbers are read on demand.
///
/// Items are read by position, never the whole: a 3.75 GB file of 15,000 maps costs one map of memory. The handle may
/// be shared between threads.
///
/// ```
/// use halocast_data::{NpyFile, write_npy};
/// use ndarray::Array3;
/// # fn main() -> halocast_data::Result<()> {
/// let dir = tempfile::tempdir().unwrap();
/// let path = dir.path().join("maps.npy");
/// write_npy(&path, &Array3::from_shape_fn((4, 2, 2), |(n, _, x)| (10 * n + x) as f32))?;
/// let file = NpyFile::open(&path)?;
/// assert_eq!((file.len(), file.item_shape()), (4, &[2, 2][..]));
/// assert_eq!(file.item(3)?[[1, 1]], 31.0);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct NpyFile {
    path: PathBuf,
    file: File,
    dtype: NpyType,
    fortran: bool,
    shape: Vec<usize>,
    offset: u64,
    length: u64,
}

impl NpyFile {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    /// [`Error::Read`]; [`Error::Invalid`] for another format, arrays of objects, strings, complex numbers or records,
    /// and absurd shapes; [`Error::Truncated`] when the numbers do not fit into the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = File::open(path).map_err(Error::read(path))?;
        let metadata = file.metadata().map_err(Error::read(path))?;
        if metadata.is_dir() {
            return Err(Error::read(path)(io::ErrorKind::IsADirectory.into()));
        }
        let length = metadata.len();
        let truncated = |field: &str, expected: u64| Error::Truncated {
            path: path.to_path_buf(),
            field: field.into(),
            expected,
            got: length,
        };
        let mut start = [0u8; 12];
        let available = length.min(12) as usize;
        read_at(&file, &mut start[..available], 0).map_err(Error::read(path))?;
        if &start[..6] != b"\x93NUMPY" {
            return Err(Error::invalid(path, "start of the file", "an npy file", "other bytes"));
        }
        if length < 12 {
            return Err(truncated("the header", 12));
        }
        let (header_at, header_len) = match start[6] {
            1 => (10, u64::from(u16::from_le_bytes([start[8], start[9]]))),
            2 | 3 => (12, u64::from(u32::from_le_bytes([start[8], start[9], start[10], start[11]]))),
            version => {
                return Err(Error::invalid(path, "npy version", "1, 2 or 3", version.to_string()));
            }
        };
        if header_len > HEADER_LIMIT {
            return Err(Error::invalid(path, "header length", "at most 1 MiB", header_len.to_string()));
        }
        if header_at + header_len > length {
            return Err(truncated("the header", header_at + header_len));
        }
        let mut header = vec![0; header_len as usize];
        read_at(&file, &mut header, header_at).map_err(Error::read(path))?;
        let header = String::from_utf8_lossy(&header).into_owned();
        let (dtype, fortran, shape) = parse_header(&header).map_err(|(field, expected, got)| {
            Error::invalid(path, format!("npy header, {field}"), expected, got)
        })?;
        let offset = header_at + header_len;
        let bytes = shape
            .iter()
            .try_fold(dtype.size as u64, |n, &d| n.checked_mul(d as u64))
            .and_then(|n| n.checked_add(offset));
        match bytes {
            Some(bytes) if bytes <= length => {}
            bytes => {
                return Err(truncated(&format!("an array {shape:?} of {dtype}"), bytes.unwrap_or(u64::MAX)));
            }
        }
        Ok(Self { path: path.to_path_buf(), file, dtype, fortran, shape, offset, length })
    }

    /// The path it was opened with.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The type of the numbers.
    pub fn dtype(&self) -> NpyType {
        self.dtype
    }

    /// The shape of the whole array.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The length of the first axis; 1 for a scalar.
    pub fn len(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Whether the first axis is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape of one item: all axes but the first.
    pub fn item_shape(&self) -> &[usize] {
        self.shape.get(1..).unwrap_or(&[])
    }

    /// Item `i` along the first axis, as f32 whatever the stored numbers are.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `i` is out of range or the file is in Fortran order; [`Error::Read`].
    pub fn item(&self, i: usize) -> Result<ArrayD<f32>> {
        if i >= self.len() {
            let expected = format!("below {}", self.len());
            return Err(Error::invalid(&self.path, "item index", expected, i.to_string()));
        }
        if self.fortran && self.shape.len() > 1 {
            let got = "Fortran order: read it whole with read_npy_f32";
            return Err(Error::invalid(&self.path, "item", "an array in C order", got));
        }
        let count: usize = self.item_shape().iter().product();
        if self.is_native_f32() {
            let mut values = vec![0f32; count];
            self.item_into(i, &mut values)?;
            return self.shaped(self.item_shape(), values);
        }
        let values = self.numbers(i * count, count, |bytes, dtype| to_f64(bytes, dtype) as f32)?;
        self.shaped(self.item_shape(), values)
    }

    /// Whether the numbers are f32 in the byte order of this machine, in C order: then they are read without conversion.
    fn is_native_f32(&self) -> bool {
        (self.dtype.kind, self.dtype.size) == (Kind::Float, 4)
            && self.dtype.big_endian == cfg!(target_endian = "big")
            && (!self.fortran || self.shape.len() < 2)
    }

    /// Item `i` along the first axis into memory of the caller, as f32.
    ///
    /// # Errors
    /// As [`NpyFile::item`]; [`Error::Invalid`] when `out` has another length than an item.
    pub fn item_into(&self, i: usize, out: &mut [f32]) -> Result<()> {
        let count: usize = self.item_shape().iter().product();
        if out.len() != count {
            let got = out.len().to_string();
            return Err(Error::invalid(&self.path, "room for an item", count.to_string(), got));
        }
        if i < self.len() && self.is_native_f32() {
            let at = self.offset + (i * count * 4) as u64;
            return read_at(&self.file, bytemuck::cast_slice_mut(out), at).map_err(Error::read(&self.path));
        }
        let values = self.item(i)?;
        out.iter_mut().zip(values.iter()).for_each(|(o, v)| *o = *v);
        Ok(())
    }

    /// The whole array in its own type.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the file holds another type; [`Error::Read`].
    pub fn read<T: NpyElement>(&self) -> Result<ArrayD<T>> {
        if (T::KIND, T::SIZE) != (self.dtype.kind, self.dtype.size) {
            let expected = NpyType { kind: T::KIND, size: T::SIZE, big_endian: false };
            return Err(Error::invalid(
                &self.path,
                "number type",
                expected.to_string(),
                self.dtype.to_string(),
            ));
        }
        self.whole(|bytes, _| T::from_stored(bytes))
    }

    /// The whole array as f32.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn read_f32(&self) -> Result<ArrayD<f32>> {
        if self.is_native_f32() {
            let mut values = vec![0f32; self.shape.iter().product()];
            read_at(&self.file, bytemuck::cast_slice_mut(&mut values), self.offset)
                .map_err(Error::read(&self.path))?;
            return self.shaped(&self.shape, values);
        }
        if (self.dtype.kind, self.dtype.size) == (Kind::Float, 4) {
            return self.read();
        }
        self.whole(|bytes, dtype| to_f64(bytes, dtype) as f32)
    }

    /// The whole array as f64. Integers above 2^53 lose digits.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn read_f64(&self) -> Result<ArrayD<f64>> {
        self.whole(to_f64)
    }

    fn whole<T>(&self, decode: impl Fn(&[u8], NpyType) -> T) -> Result<ArrayD<T>> {
        let count = self.shape.iter().product();
        let values = self.numbers(0, count, decode)?;
        self.shaped(&self.shape, values)
    }

    fn shaped<T>(&self, shape: &[usize], values: Vec<T>) -> Result<ArrayD<T>> {
        let got = format!("{shape:?}");
        ArrayD::from_shape_vec(IxDyn(shape).set_f(self.fortran), values)
            .map_err(|_| Error::invalid(&self.path, "shape", "one that fits into memory", got))
    }

    /// Numbers `first..first + count` in stored order; `decode` sees little-endian bytes.
    fn numbers<T>(&self, first: usize, count: usize, decode: impl Fn(&[u8], NpyType) -> T) -> Result<Vec<T>> {
        let size = self.dtype.size;
        let mut values = Vec::with_capacity(count);
        let mut buffer = vec![0; (count * size).min(BLOCK / size * size)];
        let mut position = self.offset + (first * size) as u64;
        while values.len() < count {
            let bytes = ((count - values.len()) * size).min(buffer.len());
            let block = &mut buffer[..bytes];
            read_at(&self.file, block, position).map_err(Error::read(&self.path))?;
            if self.dtype.big_endian {
                block.chunks_exact_mut(size).for_each(<[u8]>::reverse);
            }
            values.extend(block.chunks_exact(size).map(|b| decode(b, self.dtype)));
            position += bytes as u64;
        }
        Ok(values)
    }
}

/// Reads a whole array whose numbers are of type `T`, in either byte order and either memory order.
///
/// # Errors
/// As [`NpyFile::open`] and [`NpyFile::read`].
pub fn read_npy<T: NpyElement>(path: impl AsRef<Path>) -> Result<ArrayD<T>> {
    NpyFile::open(path)?.read()
}

/// Reads a whole array of any number type as f32.
///
/// # Errors
/// As [`NpyFile::open`].
pub fn read_npy_f32(path: impl AsRef<Path>) -> Result<ArrayD<f32>> {
    NpyFile::open(path)?.read_f32()
}

/// Reads a whole array of any number type as f64. Integers above 2^53 lose digits.
///
/// # Errors
/// As [`NpyFile::open`].
pub fn read_npy_f64(path: impl AsRef<Path>) -> Result<ArrayD<f64>> {
    NpyFile::open(path)?.read_f64()
}

/// Writes an array, little-endian and in C order, whole or not at all.
///
/// # Errors
/// [`Error::Core`] holding [`halocast_core::Error::Write`].
pub fn write_npy<T: NpyElement, S: Data<Elem = T>, D: Dimension>(
    path: impl AsRef<Path>,
    array: &ArrayBase<S, D>,
) -> Result<()> {
    let written = write_whole(path, |out| {
        write_header::<T>(out, array.shape())?;
        write_numbers(out, array.iter().copied())
    });
    Ok(written?)
}

pub(crate) fn write_numbers<T: NpyElement>(
    out: &mut impl Write,
    numbers: impl Iterator<Item = T>,
) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(1 << 16);
    for number in numbers {
        number.store(&mut buffer);
        if buffer.len() >= 1 << 16 {
            out.write_all(&buffer)?;
            buffer.clear();
        }
    }
    out.write_all(&buffer)
}

#[cfg(unix)]
pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
pub(crate) fn read_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                buffer = &mut buffer[n..];
                offset += n as u64;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ndarray::{Array0, Array1, Array2, Array3};

    use super::*;

    fn raw(version: u8, dict: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY".to_vec();
        bytes.extend([version, 0]);
        match version {
            1 => bytes.extend((dict.len() as u16).to_le_bytes()),
            _ => bytes.extend((dict.len() as u32).to_le_bytes()),
        }
        bytes.extend(dict.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn message(bytes: &[u8]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bad.npy");
        std::fs::write(&path, bytes).unwrap();
        let message = read_npy_f64(&path).unwrap_err().to_string();
        assert!(message.contains("bad.npy") && !message.contains('\n'), "{message}");
        message
    }

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        let cube = Array3::from_shape_fn((3, 4, 5), |(a, b, c)| (a * 100 + b * 10 + c) as f32 - 7.5);
        write_npy(&path, &cube).unwrap();
        assert_eq!(read_npy::<f32>(&path).unwrap(), cube.clone().into_dyn());
        assert_eq!(std::fs::metadata(&path).unwrap().len() % 64, (60 * 4) % 64);
        // A transposed view is written as it looks, not as it lies.
        write_npy(&path, &cube.t()).unwrap();
        assert_eq!(read_npy_f32(&path).unwrap(), cube.t().to_owned().into_dyn());

        write_npy(&path, &Array1::from(vec![u64::MAX, 3])).unwrap();
        assert_eq!(read_npy::<u64>(&path).unwrap().as_slice().unwrap(), [u64::MAX, 3]);
        write_npy(&path, &Array1::from(vec![true, false])).unwrap();
        assert_eq!(read_npy_f64(&path).unwrap().as_slice().unwrap(), [1.0, 0.0]);
        write_npy(&path, &Array0::from_elem((), -4i16)).unwrap();
        assert_eq!(read_npy::<i16>(&path).unwrap()[[]], -4);
        write_npy(&path, &Array2::<f64>::zeros((0, 3))).unwrap();
        assert_eq!(read_npy::<f64>(&path).unwrap().shape(), [0, 3]);
    }

    #[test]
    fn items_are_rows_of_the_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        let cube = Array3::from_shape_fn((5, 300, 400), |(a, b, c)| (a * 120_000 + b * 400 + c) as f32);
        write_npy(&path, &cube).unwrap();
        let file = NpyFile::open(&path).unwrap();
        assert_eq!((file.len(), file.item_shape()), (5, &[300, 400][..]));
        assert_eq!(file.item(4).unwrap(), cube.index_axis(ndarray::Axis(0), 4).to_owned().into_dyn());
        assert!(file.item(5).unwrap_err().to_string().contains("below 5"));
    }

    #[test]
    fn other_orders_and_versions_are_understood() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        // Big-endian, Fortran order, version 2, entries in another order.
        let data: Vec<u8> = [1i32, 2, 3, 4, 5, 6].iter().flat_map(|v| v.to_be_bytes()).collect();
        std::fs::write(&path, raw(2, "{'shape': (2, 3), 'fortran_order': True, 'descr': '>i4'}", &data))
            .unwrap();
        let array = read_npy::<i32>(&path).unwrap();
        assert_eq!(array[[0, 1]], 3);
        assert_eq!(array[[1, 2]], 6);
        assert_eq!(read_npy_f32(&path).unwrap()[[1, 0]], 2.0);
        // Halves: 1.5, smallest subnormal, -infinity.
        let data: Vec<u8> = [0x3e00u16, 1, 0xfc00].iter().flat_map(|v| v.to_le_bytes()).collect();
        std::fs::write(&path, raw(1, "{'descr': '<f2', 'fortran_order': False, 'shape': (3,), }", &data))
            .unwrap();
        let halves = read_npy_f64(&path).unwrap();
        assert_eq!(halves.as_slice().unwrap(), [1.5, 2f64.powi(-24), f64::NEG_INFINITY]);
    }

    #[test]
    fn hostile_headers_are_errors() {
        let dict = |descr: &str, shape: &str| {
            format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}")
        };
        assert!(message(b"PK\x03\x04 something else").contains("an npy file"));
        assert!(message(b"\x93NUMPY\x01").contains("truncated"));
        let cut = message(&raw(1, &dict("<f4", "(10,)"), &[0; 39]));
        assert!(cut.contains("truncated") && cut.contains("[10]"), "{cut}");
        assert!(
            message(&raw(1, &dict("<f8", "(1099511627776, 1099511627776)"), &[0; 8])).contains("truncated")
        );
        assert!(message(&raw(1, &dict("<f8", "(0, 99999999999, 99999999999, 99)"), &[])).contains("shape"));
        assert!(message(&raw(1, &dict("<f8", "(-1,)"), &[])).contains("a tuple of numbers"));
        assert!(message(&raw(1, &dict("|O", "(1,)"), &[0; 8])).contains("objects are refused"));
        assert!(message(&raw(1, &dict("<c8", "(1,)"), &[0; 8])).contains("<c8"));
        assert!(message(&raw(1, "{'descr': [('x', '<f4')], 'shape': (1,)}", &[0; 8])).contains("records"));
        assert!(message(&raw(9, "{}", &[])).contains("version"));
        let mut long = raw(2, "{}", &[]);
        long[8..12].fill(0xff);
        assert!(message(&long).contains("header length"));
    }

    #[test]
    fn another_number_type_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        write_npy(&path, &Array1::from(vec![1.0f64])).unwrap();
        let message = read_npy::<f32>(&path).unwrap_err().to_string();
        assert!(message.contains("<f4") && message.contains("<f8"), "{message}");
    }
}

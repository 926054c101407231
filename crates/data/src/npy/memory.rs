//! Arrays in memory: the members of archives.

use std::path::Path;

use ndarray::{ArrayD, IxDyn, ShapeBuilder};

use super::element::to_f64;
use super::header::parse_header;
use super::{NpyElement, NpyType};
use crate::{Error, Result};

/// Type, order, shape and the place of the numbers of an array in memory; errors call it by `path`.
fn header_of(path: &Path, bytes: &[u8]) -> Result<(NpyType, bool, Vec<usize>, usize)> {
    let truncated = |field: String, expected: usize| Error::Truncated {
        path: path.to_path_buf(),
        field,
        expected: expected as u64,
        got: bytes.len() as u64,
    };
    if !bytes.starts_with(b"\x93NUMPY") {
        return Err(Error::invalid(path, "start of the array", "an npy array", "other bytes"));
    }
    let (at, length) = match bytes {
        [_, _, _, _, _, _, 1, _, a, b, ..] => (10, usize::from(u16::from_le_bytes([*a, *b]))),
        [_, _, _, _, _, _, 2 | 3, _, a, b, c, d, ..] => {
            (12, u32::from_le_bytes([*a, *b, *c, *d]).try_into().unwrap_or(usize::MAX))
        }
        _ => return Err(truncated("the header".into(), 12)),
    };
    let end = at + length.min(usize::MAX - 12);
    let header = bytes.get(at..end).ok_or_else(|| truncated("the header".into(), end))?;
    let (dtype, fortran, shape) =
        parse_header(&String::from_utf8_lossy(header)).map_err(|(field, expected, got)| {
            Error::invalid(path, format!("npy header, {field}"), expected, got)
        })?;
    let needed = shape.iter().try_fold(dtype.size, |n, &d| n.checked_mul(d)).and_then(|n| n.checked_add(end));
    match needed {
        Some(needed) if needed <= bytes.len() => Ok((dtype, fortran, shape, end)),
        needed => Err(truncated(format!("an array {shape:?} of {dtype}"), needed.unwrap_or(usize::MAX))),
    }
}

/// Type and shape of an array in memory.
pub(crate) fn inspect_npy(path: &Path, bytes: &[u8]) -> Result<(NpyType, Vec<usize>)> {
    header_of(path, bytes).map(|(dtype, _, shape, _)| (dtype, shape))
}

/// An array in memory, in its own type.
pub(crate) fn decode_npy<T: NpyElement>(path: &Path, bytes: &[u8]) -> Result<ArrayD<T>> {
    let (dtype, ..) = header_of(path, bytes)?;
    if (T::KIND, T::SIZE) != (dtype.kind, dtype.size) {
        let expected = NpyType { kind: T::KIND, size: T::SIZE, big_endian: false };
        return Err(Error::invalid(path, "number type", expected.to_string(), dtype.to_string()));
    }
    decode_with(path, bytes, |b, _| T::from_stored(b))
}

/// An array in memory, of any number type, as f64.
pub(crate) fn decode_npy_f64(path: &Path, bytes: &[u8]) -> Result<ArrayD<f64>> {
    decode_with(path, bytes, to_f64)
}

fn decode_with<T>(path: &Path, bytes: &[u8], decode: impl Fn(&[u8], NpyType) -> T) -> Result<ArrayD<T>> {
    let (dtype, fortran, shape, at) = header_of(path, bytes)?;
    let count: usize = shape.iter().product();
    let mut number = [0; 8];
    let one = |stored: &[u8]| {
        let number = &mut number[..dtype.size];
        number.copy_from_slice(stored);
        if dtype.big_endian {
            number.reverse();
        }
        decode(number, dtype)
    };
    let values: Vec<T> = bytes[at..at + count * dtype.size].chunks_exact(dtype.size).map(one).collect();
    ArrayD::from_shape_vec(IxDyn(&shape).set_f(fortran), values)
        .map_err(|_| Error::invalid(path, "shape", "one that fits into memory", format!("{shape:?}")))
}

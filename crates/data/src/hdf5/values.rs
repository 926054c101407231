//! Types, shapes and attributes as this crate sees them.

use std::fmt;
use std::path::Path;

use halocast_core::FieldValues;
use ndarray::ArrayD;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The value of an attribute. A single value and an array of one are the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Attribute {
    /// Signed integers of up to 32 bits.
    I32(Vec<i32>),
    /// Unsigned integers of up to 32 bits.
    U32(Vec<u32>),
    /// Signed integers of up to 64 bits.
    I64(Vec<i64>),
    /// Unsigned integers of up to 64 bits.
    U64(Vec<u64>),
    /// 32-bit floating point.
    F32(Vec<f32>),
    /// 64-bit floating point.
    F64(Vec<f64>),
    /// Text.
    Text(Vec<String>),
    /// A type that is not read, by its name.
    Other(String),
}

impl Attribute {
    /// One number.
    pub fn number(value: f64) -> Self {
        Self::F64(vec![value])
    }

    /// One integer.
    pub fn integer(value: i32) -> Self {
        Self::I32(vec![value])
    }

    /// One text.
    pub fn text(value: impl Into<String>) -> Self {
        Self::Text(vec![value.into()])
    }

    /// The numbers as f64; `None` for text.
    pub fn to_f64(&self) -> Option<Vec<f64>> {
        Some(match self {
            Self::I32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Self::U32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Self::I64(v) => v.iter().map(|&x| x as f64).collect(),
            Self::U64(v) => v.iter().map(|&x| x as f64).collect(),
            Self::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Self::F64(v) => v.clone(),
            Self::Text(_) | Self::Other(_) => return None,
        })
    }

    /// The integers as u64; `None` for anything negative or not an integer.
    pub fn to_u64(&self) -> Option<Vec<u64>> {
        match self {
            Self::I32(v) => v.iter().map(|&x| u64::try_from(x).ok()).collect(),
            Self::U32(v) => Some(v.iter().map(|&x| u64::from(x)).collect()),
            Self::I64(v) => v.iter().map(|&x| u64::try_from(x).ok()).collect(),
            Self::U64(v) => Some(v.clone()),
            Self::F32(_) | Self::F64(_) => {
                let whole = |x: f64| (x >= 0.0 && x < 2f64.powi(53) && x.fract() == 0.0).then_some(x as u64);
                self.to_f64()?.into_iter().map(whole).collect()
            }
            Self::Text(_) | Self::Other(_) => None,
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, values: &[T]) -> fmt::Result {
            match values {
                [one] => write!(f, "{one}"),
                many => {
                    let texts: Vec<_> = many.iter().map(T::to_string).collect();
                    write!(f, "[{}]", texts.join(", "))
                }
            }
        }
        match self {
            Self::I32(v) => list(f, v),
            Self::U32(v) => list(f, v),
            Self::I64(v) => list(f, v),
            Self::U64(v) => list(f, v),
            Self::F32(v) => list(f, v),
            Self::F64(v) => list(f, v),
            Self::Text(v) => list(f, v),
            Self::Other(name) => write!(f, "({name})"),
        }
    }
}

/// The type of the numbers of a dataset; sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Hdf5Type {
    /// Floating point.
    Float(usize),
    /// Signed integers, and enumerations of them.
    Signed(usize),
    /// Unsigned integers, and enumerations of them.
    Unsigned(usize),
    /// Text.
    Text,
    /// A type that is not read, by its name.
    Other(String),
}

impl fmt::Display for Hdf5Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Float(size) => write!(f, "f{}", 8 * size),
            Self::Signed(size) => write!(f, "i{}", 8 * size),
            Self::Unsigned(size) => write!(f, "u{}", 8 * size),
            Self::Text => write!(f, "text"),
            Self::Other(name) => write!(f, "{name}"),
        }
    }
}

/// Integers that files store in less than 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Narrow {
    /// 32 bits, signed.
    I32,
    /// 32 bits, unsigned.
    U32,
    /// An enumeration of FALSE and TRUE over 8 bits, as h5py writes booleans.
    Bool,
}

impl Narrow {
    /// Integers as ones that fit, checked.
    pub(super) fn fit(self, path: &Path, dataset: &str, values: &FieldValues) -> Result<ArrayD<i64>> {
        let field = || format!("dataset {dataset}");
        let (low, high) = match self {
            Self::I32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
            Self::U32 => (0, i64::from(u32::MAX)),
            Self::Bool => (0, 1),
        };
        let wide = match values {
            FieldValues::I64(v) => v.clone(),
            FieldValues::U64(v) => v.mapv(|x| i64::try_from(x).unwrap_or(i64::MAX)),
            _ => return Err(Error::invalid(path, field(), "integers", "floating-point numbers")),
        };
        match wide.iter().find(|v| !(low..=high).contains(*v)) {
            None => Ok(wide),
            Some(v) => Err(Error::invalid(path, field(), format!("{low} to {high}"), v.to_string())),
        }
    }
}

/// What a dataset is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetInfo {
    /// Its shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// The type of its numbers.
    pub dtype: Hdf5Type,
}

impl DatasetInfo {
    /// The length of the first axis; 1 for a scalar.
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }
}

/// How a dataset lies in its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// In one piece, as IllustrisTNG files are.
    #[default]
    Contiguous,
    /// In chunks of `rows` rows, as they are.
    Chunked {
        /// Rows in a chunk.
        rows: usize,
    },
    /// In chunks of `rows` rows, shuffled and compressed with gzip at `level` (1 to 9).
    Gzip {
        /// Rows in a chunk.
        rows: usize,
        /// Compression level.
        level: u8,
    },
}

impl Storage {
    /// Rows in a chunk; `None` where there are no chunks.
    pub(super) fn rows(self) -> Option<usize> {
        match self {
            Self::Contiguous => None,
            Self::Chunked { rows } | Self::Gzip { rows, .. } => Some(rows),
        }
    }
}

//! Reading with the crate `hdf5-reader`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use halocast_core::FieldValues;
use hdf5_reader::messages::datatype::{Datatype, VarLenKind};
use hdf5_reader::{ByteOrder, Dataset, Hdf5File, OpenOptions, SliceInfo, SliceInfoElem};

use super::values::{Attribute, DatasetInfo, Hdf5Type};
use super::{Hdf5Read, decode};
use crate::{Error, Result};

/// Decompressed chunks kept per open file; many files may be open at once.
const CHUNK_CACHE: usize = 8 << 20;
/// The largest dataset that is read at once.
const READ_LIMIT: usize = 1 << 40;

pub(super) struct PureReader {
    path: PathBuf,
    file: Hdf5File,
}

impl PureReader {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let options =
            OpenOptions::default().with_chunk_cache_bytes(CHUNK_CACHE).with_max_read_bytes(READ_LIMIT);
        let file = Hdf5File::open_with_options(path, options)
            .map_err(|source| fault(path, "open", "the file", source))?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    fn group(&self, group: &str) -> Result<hdf5_reader::group::Group> {
        self.file.group(group).map_err(|source| fault(&self.path, "open", object_name(group), source))
    }

    fn dataset(&self, dataset: &str) -> Result<Dataset> {
        self.file.dataset(dataset).map_err(|source| fault(&self.path, "open", dataset, source))
    }

    /// What the pure reader refuses, the C library may read.
    #[cfg(feature = "libhdf5")]
    fn second_opinion<T>(
        &self,
        result: Result<T>,
        again: impl FnOnce(&super::native::NativeReader) -> Result<T>,
    ) -> Result<T> {
        match result {
            Err(Error::Hdf5 { hint, .. }) if !hint.is_empty() => {
                again(&super::native::NativeReader::open(&self.path)?)
            }
            other => other,
        }
    }

    fn rows(&self, name: &str, rows: Range<usize>) -> Result<FieldValues> {
        let dataset = self.dataset(name)?;
        let info = describe(&self.path, name, &dataset)?;
        let total = info.rows();
        if rows.start > rows.end || rows.end > total {
            let expected = format!("within 0..{total}");
            return Err(Error::invalid(
                &self.path,
                format!("rows of {name}"),
                expected,
                format!("{}..{}", rows.start, rows.end),
            ));
        }
        let mut shape = info.shape.clone();
        if let Some(first) = shape.first_mut() {
            *first = rows.len();
        }
        let whole = rows.len() == total;
        let (dtype, big_endian) = number_type(dataset.dtype());
        // The two common types go straight into their arrays; all others by their bytes.
        let read = |source| fault(&self.path, "read", name, source);
        let selection = || {
            let mut selection = SliceInfo::all(shape.len());
            if let Some(first) = selection.selections.first_mut() {
                let (start, end) = (rows.start as u64, rows.end as u64);
                *first = SliceInfoElem::Slice { start, end, step: 1 };
            }
            selection
        };
        macro_rules! native {
            ($t:ty, $variant:ident) => {
                if whole {
                    FieldValues::$variant(dataset.read_array::<$t>().map_err(read)?)
                } else {
                    FieldValues::$variant(dataset.read_slice::<$t>(&selection()).map_err(read)?)
                }
            };
        }
        Ok(match (dataset.dtype(), &dtype) {
            (_, Hdf5Type::Text | Hdf5Type::Other(_)) => {
                return Err(Error::invalid(
                    &self.path,
                    format!("dataset {name}"),
                    "numbers",
                    dtype.to_string(),
                ));
            }
            (Datatype::FloatingPoint { .. }, Hdf5Type::Float(4)) => native!(f32, F32),
            (Datatype::FloatingPoint { .. }, Hdf5Type::Float(8)) => native!(f64, F64),
            (Datatype::FixedPoint { .. }, Hdf5Type::Signed(8)) => native!(i64, I64),
            (Datatype::FixedPoint { .. }, Hdf5Type::Unsigned(8)) => native!(u64, U64),
            _ => {
                let bytes = dataset.read_raw_bytes().map_err(read)?;
                let row = bytes.len() / total.max(1);
                let part = bytes.get(row * rows.start..row * rows.end).unwrap_or(&[]);
                decode::array(part, &dtype, big_endian, &shape).ok_or_else(|| {
                    let got = format!("{} bytes of {dtype}", part.len());
                    Error::invalid(&self.path, format!("dataset {name}"), format!("shape {shape:?}"), got)
                })?
            }
        })
    }
}

impl Hdf5Read for PureReader {
    fn path(&self) -> &Path {
        &self.path
    }

    fn groups(&self, group: &str) -> Result<Vec<String>> {
        let (mut groups, _) = self
            .group(group)?
            .member_names()
            .map_err(|source| fault(&self.path, "list", object_name(group), source))?;
        groups.sort();
        Ok(groups)
    }

    fn datasets(&self, group: &str) -> Result<Vec<String>> {
        let (_, mut datasets) = self
            .group(group)?
            .member_names()
            .map_err(|source| fault(&self.path, "list", object_name(group), source))?;
        datasets.sort();
        Ok(datasets)
    }

    fn attributes(&self, object: &str) -> Result<BTreeMap<String, Attribute>> {
        let attributes = match self.file.group(object) {
            Ok(group) => group
                .attributes()
                .map_err(|source| fault(&self.path, "read attributes of", object_name(object), source))?,
            Err(_) => self.dataset(object)?.attributes(),
        };
        Ok(attributes.into_iter().map(|a| (a.name.clone(), convert(&a))).collect())
    }

    fn info(&self, dataset: &str) -> Result<DatasetInfo> {
        describe(&self.path, dataset, &self.dataset(dataset)?)
    }

    fn read_rows(&self, dataset: &str, rows: Range<usize>) -> Result<FieldValues> {
        let values = self.rows(dataset, rows.clone());
        #[cfg(feature = "libhdf5")]
        let values = self.second_opinion(values, |native| native.read_rows(dataset, rows));
        values
    }
}

fn object_name(path: &str) -> &str {
    if path.is_empty() { "the root group" } else { path }
}

fn describe(path: &Path, name: &str, dataset: &Dataset) -> Result<DatasetInfo> {
    let (dtype, _) = number_type(dataset.dtype());
    let mut shape = Vec::with_capacity(dataset.shape().len());
    for &axis in dataset.shape() {
        shape.push(usize::try_from(axis).map_err(|_| {
            Error::invalid(path, format!("shape of {name}"), "one that fits into memory", axis.to_string())
        })?);
    }
    Ok(DatasetInfo { shape, dtype })
}

fn number_type(datatype: &Datatype) -> (Hdf5Type, bool) {
    match datatype {
        Datatype::FixedPoint { size, signed: true, byte_order } => {
            (Hdf5Type::Signed(usize::from(*size)), *byte_order == ByteOrder::BigEndian)
        }
        Datatype::FixedPoint { size, signed: false, byte_order } => {
            (Hdf5Type::Unsigned(usize::from(*size)), *byte_order == ByteOrder::BigEndian)
        }
        Datatype::FloatingPoint { size, byte_order } => {
            (Hdf5Type::Float(usize::from(*size)), *byte_order == ByteOrder::BigEndian)
        }
        Datatype::Enum { base, .. } => number_type(base),
        Datatype::String { .. } | Datatype::VarLen { kind: VarLenKind::String, .. } => {
            (Hdf5Type::Text, false)
        }
        Datatype::Compound { .. } => (Hdf5Type::Other("compound".into()), false),
        Datatype::Array { .. } => (Hdf5Type::Other("array".into()), false),
        Datatype::VarLen { .. } => (Hdf5Type::Other("sequence".into()), false),
        Datatype::Opaque { .. } => (Hdf5Type::Other("opaque".into()), false),
        Datatype::Reference { .. } => (Hdf5Type::Other("reference".into()), false),
        Datatype::Bitfield { .. } => (Hdf5Type::Other("bitfield".into()), false),
    }
}

fn convert(attribute: &hdf5_reader::Attribute) -> Attribute {
    let (dtype, big_endian) = number_type(&attribute.datatype);
    match dtype {
        Hdf5Type::Text => {
            match attribute.read_strings().or_else(|_| attribute.read_string().map(|s| vec![s])) {
                Ok(texts) => Attribute::Text(texts),
                Err(_) => Attribute::Other("unreadable text".into()),
            }
        }
        dtype => decode::attribute(&attribute.raw_data, &dtype, big_endian),
    }
}

fn fault(path: &Path, operation: &'static str, field: &str, source: hdf5_reader::error::Error) -> Error {
    let said = source.to_string().to_lowercase();
    let unsupported = ["unsupported", "contiguous raw data has", "filter", "layout"];
    let hint = if unsupported.iter().any(|word| said.contains(word)) && cfg!(not(feature = "libhdf5")) {
        "; rebuilding with feature `libhdf5` may help"
    } else if unsupported.iter().any(|word| said.contains(word)) {
        " (by the pure reader)"
    } else {
        ""
    };
    Error::Hdf5 {
        path: path.to_path_buf(),
        operation,
        field: field.to_owned(),
        hint,
        source: Box::new(source),
    }
}

//! Reading with the crate `hdf5-reader`.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use halocast_core::FieldValues;
use hdf5_reader::messages::datatype::{Datatype, VarLenKind};
use hdf5_reader::{ByteOrder, Dataset, Hdf5File, OpenOptions};
use rayon::prelude::*;

use super::chunk::ChunkCache;
use super::layout::{Layout, Layouts};
use super::values::{Attribute, DatasetInfo, Hdf5Type};
use super::{Hdf5Read, NumbersMut, check_rows, decode};
use crate::{Error, Result};

/// Decompressed chunks kept per open file; many files may be open at once.
const CHUNK_CACHE: usize = 8 << 20;
/// The largest dataset that is read at once.
const READ_LIMIT: usize = 1 << 40;
/// Bytes that are read at once as they are stored, and where they are converted.
const STORED_BAND: usize = 4 << 20;
const CONVERTED_BAND: usize = 1 << 20;
/// What filters of other kinds may shrink.
const FILL_FACTOR: u64 = 64;

pub(super) struct PureReader {
    path: PathBuf,
    file: Hdf5File,
    /// The same file, for reading by position.
    raw: File,
    length: u64,
    layouts: Layouts,
    cache: ChunkCache,
}

impl PureReader {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let options =
            OpenOptions::default().with_chunk_cache_bytes(CHUNK_CACHE).with_max_read_bytes(READ_LIMIT);
        let file = Hdf5File::open_with_options(path, options)
            .map_err(|source| fault(path, "open", "the file", source))?;
        let raw = File::open(path).map_err(Error::read(path))?;
        let length = raw.metadata().map_err(Error::read(path))?.len();
        let (layouts, cache) = (Layouts::default(), ChunkCache::default());
        Ok(Self { path: path.to_path_buf(), file, raw, length, layouts, cache })
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

    /// The layout of a dataset, found once.
    fn layout(&self, name: &str, dataset: &Dataset, info: &DatasetInfo) -> Result<Option<Arc<Layout>>> {
        if let Some(known) = self.layouts.lock().ok().and_then(|l| l.get(name).cloned()) {
            return Ok(known);
        }
        let size = match info.dtype {
            Hdf5Type::Float(size) | Hdf5Type::Signed(size) | Hdf5Type::Unsigned(size) => size,
            _ => return Ok(None),
        };
        let layout = Layout::of(&self.file, self.length, dataset, &info.shape, size)
            .map_err(|source| fault(&self.path, "read the layout of", name, source))?
            .map(Arc::new);
        if let Ok(mut layouts) = self.layouts.lock() {
            layouts.insert(name.to_owned(), layout.clone());
        }
        Ok(layout)
    }

    /// Fills `out` with rows that are known to exist.
    fn fill(
        &self,
        name: &str,
        dataset: &Dataset,
        info: &DatasetInfo,
        rows: Range<usize>,
        mut out: NumbersMut<'_>,
    ) -> Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        let (dtype, big_endian) = number_type(dataset.dtype());
        let misfit = |got: String| {
            Error::invalid(&self.path, format!("dataset {name}"), "numbers that fit what is asked for", got)
        };
        let Some(layout) = self.layout(name, dataset, info)? else {
            let bytes = dataset.read_raw_bytes().map_err(|s| fault(&self.path, "read", name, s))?;
            let row = bytes.len() / info.rows().max(1);
            let part = bytes.get(row * rows.start..row * rows.end).unwrap_or(&[]);
            return decode::decode_into(part, &dtype, big_endian, out).map_err(misfit);
        };
        let per_row = out.len() / rows.len();
        let row_bytes = match dtype {
            Hdf5Type::Float(size) | Hdf5Type::Signed(size) | Hdf5Type::Unsigned(size) => size * per_row,
            _ => return Err(misfit(dtype.to_string())),
        };
        let failed = |source: std::io::Error| Error::Hdf5 {
            path: self.path.clone(),
            operation: "read",
            field: name.to_owned(),
            hint: "",
            source: Box::new(source),
        };
        // Bands of whole chunks, the first cut by where the rows begin.
        let stored = out.as_stored(&dtype, big_endian).is_some();
        let band = layout.band(row_bytes, if stored { STORED_BAND } else { CONVERTED_BAND });
        let head = (band - rows.start % band).min(rows.len());
        let (first, rest) = decode::split(out, head * per_row);
        let mut parts = vec![(rows.start..rows.start + head, first)];
        let mut start = rows.start + head;
        for part in decode::pieces(rest, band * per_row) {
            let end = (start + band).min(rows.end);
            parts.push((start..end, part));
            start = end;
        }
        parts.into_par_iter().try_for_each(|(rows, mut part)| {
            if let Some(bytes) = part.as_stored(&dtype, big_endian) {
                return layout.read(&self.raw, &self.cache, rows, row_bytes, bytes).map_err(failed);
            }
            let mut bytes = vec![0; rows.len() * row_bytes];
            layout.read(&self.raw, &self.cache, rows, row_bytes, &mut bytes).map_err(failed)?;
            decode::decode_into(&bytes, &dtype, big_endian, part).map_err(misfit)
        })
    }

    fn rows_into(&self, name: &str, rows: Range<usize>, out: NumbersMut<'_>) -> Result<()> {
        let dataset = self.dataset(name)?;
        let info = describe(&self.path, name, &dataset)?;
        check_rows(&self.path, name, &info, &rows, Some(out.len()))?;
        self.fill(name, &dataset, &info, rows, out)
    }

    fn rows(&self, name: &str, rows: Range<usize>) -> Result<FieldValues> {
        let dataset = self.dataset(name)?;
        let info = describe(&self.path, name, &dataset)?;
        check_rows(&self.path, name, &info, &rows, None)?;
        let mut shape = info.shape.clone();
        if let Some(first) = shape.first_mut() {
            *first = rows.len();
        }
        let not_numbers =
            || Error::invalid(&self.path, format!("dataset {name}"), "numbers", info.dtype.to_string());
        if decode::zeros(&info.dtype, &[0]).is_none() {
            return Err(not_numbers());
        }
        self.check_size(name, &dataset, &info, &shape)?;
        let mut values = decode::zeros(&info.dtype, &shape).ok_or_else(not_numbers)?;
        let out = decode::numbers_mut(&mut values).ok_or_else(not_numbers)?;
        self.fill(name, &dataset, &info, rows, out)?;
        Ok(values)
    }

    /// Refuses what the file cannot hold, before memory is asked for.
    fn check_size(&self, name: &str, dataset: &Dataset, info: &DatasetInfo, shape: &[usize]) -> Result<()> {
        let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).and_then(|n| n.checked_mul(8));
        let known = self.layout(name, dataset, info)?.is_some();
        // Known layouts lie within the file; others may be filled from nothing, but not without end.
        let limit = self.length.saturating_mul(FILL_FACTOR).saturating_add(64 << 20);
        match count {
            Some(bytes) if known || bytes as u64 <= limit => Ok(()),
            _ => {
                let expected = format!("a shape that {} bytes can hold", self.length);
                let field = format!("shape of {name}");
                Err(Error::invalid(&self.path, field, expected, format!("{shape:?}")))
            }
        }
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

    fn read_into(&self, dataset: &str, rows: Range<usize>, mut out: NumbersMut<'_>) -> Result<()> {
        let done = self.rows_into(dataset, rows.clone(), out.reborrow());
        #[cfg(feature = "libhdf5")]
        let done = self.second_opinion(done, |native| native.read_into(dataset, rows, out));
        done
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

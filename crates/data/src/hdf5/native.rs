//! Reading and writing with the C library, through the crate `hdf5-metno`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use halocast_core::FieldValues;
use hdf5::types::{FixedAscii, FixedUnicode, FloatSize, TypeDescriptor, VarLenAscii, VarLenUnicode};
use hdf5::{Container, Dataset, File, Group, H5Type, Hyperslab, SliceOrIndex};
use ndarray::ArrayD;

use super::values::{Attribute, DatasetInfo, Hdf5Type, Narrow, Storage};
use super::{Hdf5Read, Hdf5Write, Temporary};
use crate::{Error, Result};

/// Longest text of fixed length that is read from an attribute.
const TEXT_LIMIT: usize = 4096;

/// Integers whose width this backend knows, but not whether they are signed.
const ODD: &str = "integers of";

pub(super) struct NativeReader {
    path: PathBuf,
    file: File,
}

impl NativeReader {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|source| fault(path, "open", "the file", source))?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    fn fault(&self, operation: &'static str, field: &str) -> impl Fn(hdf5::Error) -> Error + use<> {
        let (path, field) = (self.path.clone(), field.to_owned());
        move |source| fault(&path, operation, &field, source)
    }

    fn group(&self, group: &str) -> Result<Group> {
        let path = if group.is_empty() { "/" } else { group };
        self.file.group(path).map_err(self.fault("open", path))
    }

    fn dataset(&self, dataset: &str) -> Result<Dataset> {
        self.file.dataset(dataset).map_err(self.fault("open", dataset))
    }

    /// The names of members, from the paths of the objects.
    fn names(&self, paths: impl Iterator<Item = String>) -> Vec<String> {
        let mut names: Vec<_> = paths.map(|p| p.rsplit('/').next().unwrap_or_default().to_owned()).collect();
        names.sort();
        names
    }
}

impl Hdf5Read for NativeReader {
    fn path(&self) -> &Path {
        &self.path
    }

    fn groups(&self, group: &str) -> Result<Vec<String>> {
        let groups = self.group(group)?.groups().map_err(self.fault("list", group))?;
        Ok(self.names(groups.iter().map(|g| g.name())))
    }

    fn datasets(&self, group: &str) -> Result<Vec<String>> {
        let datasets = self.group(group)?.datasets().map_err(self.fault("list", group))?;
        Ok(self.names(datasets.iter().map(|d| d.name())))
    }

    fn attributes(&self, object: &str) -> Result<BTreeMap<String, Attribute>> {
        let failed = self.fault("read attributes of", object);
        let mut attributes = BTreeMap::new();
        let group = self.group(object).ok();
        let dataset = if group.is_none() { Some(self.dataset(object)?) } else { None };
        let names = match (&group, &dataset) {
            (Some(group), _) => group.attr_names(),
            (None, Some(dataset)) => dataset.attr_names(),
            (None, None) => Ok(Vec::new()),
        }
        .map_err(&failed)?;
        for name in names {
            let attribute = match (&group, &dataset) {
                (Some(group), _) => group.attr(&name),
                (None, Some(dataset)) => dataset.attr(&name),
                (None, None) => continue,
            }
            .map_err(&failed)?;
            let value = convert(&attribute).map_err(&failed)?;
            attributes.insert(name, value);
        }
        Ok(attributes)
    }

    fn info(&self, dataset: &str) -> Result<DatasetInfo> {
        let handle = self.dataset(dataset)?;
        let dtype = number_type(&handle);
        Ok(DatasetInfo { shape: handle.shape(), dtype })
    }

    fn read_rows(&self, dataset: &str, rows: Range<usize>) -> Result<FieldValues> {
        let handle = self.dataset(dataset)?;
        let info = self.info(dataset)?;
        let total = info.rows();
        if rows.start > rows.end || rows.end > total {
            let got = format!("{}..{}", rows.start, rows.end);
            return Err(Error::invalid(
                &self.path,
                format!("rows of {dataset}"),
                format!("within 0..{total}"),
                got,
            ));
        }
        let failed = self.fault("read", dataset);
        let part =
            |handle: &Dataset| Part { handle: handle.clone(), shape: info.shape.clone(), rows: rows.clone() };
        Ok(match info.dtype {
            Hdf5Type::Float(2 | 4) => FieldValues::F32(part(&handle).read().map_err(failed)?),
            Hdf5Type::Float(_) => FieldValues::F64(part(&handle).read().map_err(failed)?),
            Hdf5Type::Signed(_) => FieldValues::I64(part(&handle).read().map_err(failed)?),
            Hdf5Type::Unsigned(_) => FieldValues::U64(part(&handle).read().map_err(failed)?),
            // The library turns them into 64 bits, of which they fill the lower ones.
            Hdf5Type::Other(name) if name.starts_with(ODD) => {
                FieldValues::I64(part(&handle).read().map_err(failed)?)
            }
            dtype => {
                let field = format!("dataset {dataset}");
                return Err(Error::invalid(&self.path, field, "numbers", dtype.to_string()));
            }
        })
    }
}

/// Rows of a dataset.
struct Part {
    handle: Dataset,
    shape: Vec<usize>,
    rows: Range<usize>,
}

impl Part {
    fn read<T: H5Type>(self) -> hdf5::Result<ArrayD<T>> {
        let whole = self.shape.first().is_none_or(|&n| self.rows == (0..n));
        if whole {
            return self.handle.read_dyn();
        }
        let mut shape = self.shape;
        shape[0] = self.rows.len();
        if shape.contains(&0) {
            return ArrayD::from_shape_vec(shape, Vec::new()).map_err(|e| hdf5::Error::from(e.to_string()));
        }
        let mut slices: Vec<SliceOrIndex> = shape.iter().map(|&n| (0..n).into()).collect();
        slices[0] = self.rows.into();
        self.handle.read_slice(Hyperslab::from(slices))
    }
}

fn number_type(container: &Container) -> Hdf5Type {
    let Ok(dtype) = container.dtype() else { return Hdf5Type::Other("unknown".into()) };
    let Ok(descriptor) = dtype.to_descriptor() else {
        return Hdf5Type::Other(match dtype.size() {
            // Of what the crate has no name for, only integers have such sizes.
            size @ (3 | 5 | 6 | 7) => format!("{ODD} {size} bytes"),
            _ => "unknown".into(),
        });
    };
    match descriptor {
        TypeDescriptor::Integer(size) => Hdf5Type::Signed(size as usize),
        TypeDescriptor::Unsigned(size) => Hdf5Type::Unsigned(size as usize),
        TypeDescriptor::Float(FloatSize::U4) => Hdf5Type::Float(4),
        TypeDescriptor::Float(_) => Hdf5Type::Float(8),
        TypeDescriptor::Boolean => Hdf5Type::Signed(1),
        TypeDescriptor::Enum(kind) if kind.signed => Hdf5Type::Signed(kind.size as usize),
        TypeDescriptor::Enum(kind) => Hdf5Type::Unsigned(kind.size as usize),
        TypeDescriptor::FixedAscii(_)
        | TypeDescriptor::FixedUnicode(_)
        | TypeDescriptor::VarLenAscii
        | TypeDescriptor::VarLenUnicode => Hdf5Type::Text,
        TypeDescriptor::Compound(_) => Hdf5Type::Other("compound".into()),
        TypeDescriptor::FixedArray(..) => Hdf5Type::Other("array".into()),
        TypeDescriptor::VarLenArray(_) => Hdf5Type::Other("sequence".into()),
        _ => Hdf5Type::Other("reference".into()),
    }
}

fn convert(attribute: &Container) -> hdf5::Result<Attribute> {
    Ok(match number_type(attribute) {
        Hdf5Type::Float(4) => Attribute::F32(attribute.read_raw()?),
        Hdf5Type::Float(_) => Attribute::F64(attribute.read_raw()?),
        Hdf5Type::Signed(1..=4) => Attribute::I32(attribute.read_raw()?),
        Hdf5Type::Signed(_) => Attribute::I64(attribute.read_raw()?),
        Hdf5Type::Unsigned(1..=4) => Attribute::U32(attribute.read_raw()?),
        Hdf5Type::Unsigned(_) => Attribute::U64(attribute.read_raw()?),
        Hdf5Type::Text => {
            match attribute.dtype()?.to_descriptor()? {
                // The two kinds do not convert into each other, and some writers mix them in one type.
                TypeDescriptor::VarLenAscii | TypeDescriptor::VarLenUnicode => {
                    match attribute.read_raw::<VarLenUnicode>() {
                        Ok(values) => texts(values.iter().map(|t| t.as_bytes())),
                        Err(_) => match attribute.read_raw::<VarLenAscii>() {
                            Ok(values) => texts(values.iter().map(|t| t.as_bytes())),
                            // Arrays of text by the pure writer are read by h5dump, but not by this crate.
                            Err(_) => Attribute::Other("unreadable text".into()),
                        },
                    }
                }
                TypeDescriptor::FixedAscii(n) if n <= TEXT_LIMIT => {
                    texts(attribute.read_raw::<FixedAscii<TEXT_LIMIT>>()?.iter().map(|t| t.as_bytes()))
                }
                TypeDescriptor::FixedUnicode(n) if n <= TEXT_LIMIT => {
                    texts(attribute.read_raw::<FixedUnicode<TEXT_LIMIT>>()?.iter().map(|t| t.as_bytes()))
                }
                _ => Attribute::Other("unreadable text".into()),
            }
        }
        other => Attribute::Other(other.to_string()),
    })
}

fn texts<'a>(values: impl Iterator<Item = &'a [u8]>) -> Attribute {
    Attribute::Text(values.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect())
}

pub(super) struct NativeWriter {
    file: File,
    temporary: Temporary,
}

impl NativeWriter {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let temporary = Temporary::beside(path)?;
        let file =
            File::create(&temporary.path).map_err(|source| fault(path, "create", "the file", source))?;
        Ok(Self { file, temporary })
    }

    fn fault(&self, operation: &'static str, field: &str) -> impl Fn(hdf5::Error) -> Error + use<> {
        let (path, field) = (self.temporary.target.clone(), field.to_owned());
        move |source| fault(&path, operation, &field, source)
    }
}

impl Hdf5Write for NativeWriter {
    fn create_group(&mut self, path: &str) -> Result<()> {
        let path = path.trim_matches('/');
        if path.is_empty() || self.file.link_exists(path) {
            return Ok(());
        }
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.create_group(parent)?;
        }
        self.file.create_group(path).map(|_| ()).map_err(self.fault("create group", path))
    }

    fn set_attribute(&mut self, object: &str, name: &str, value: &Attribute) -> Result<()> {
        let failed = self.fault("write attribute of", &format!("{object}/{name}"));
        let path = if object.is_empty() { "/" } else { object };
        match self.file.dataset(path) {
            Ok(dataset) => set(value, &dataset, name).map_err(failed),
            Err(_) => {
                let group = self.file.group(path).map_err(&failed)?;
                set(value, &group, name).map_err(failed)
            }
        }
    }

    fn write_dataset(&mut self, path: &str, values: &FieldValues, storage: Storage) -> Result<()> {
        match values {
            FieldValues::F32(v) => fill(&self.file, path, v, storage),
            FieldValues::F64(v) => fill(&self.file, path, v, storage),
            FieldValues::I64(v) => fill(&self.file, path, v, storage),
            FieldValues::U64(v) => fill(&self.file, path, v, storage),
            _ => Err(hdf5::Error::from("a number type this writer does not know")),
        }
        .map_err(self.fault("write dataset", path))
    }

    fn write_narrow(
        &mut self,
        path: &str,
        values: &FieldValues,
        kind: Narrow,
        storage: Storage,
    ) -> Result<()> {
        let values = kind.fit(&self.temporary.target, path, values)?;
        match kind {
            Narrow::I32 => fill(&self.file, path, &values.mapv(|v| v as i32), storage),
            Narrow::U32 => fill(&self.file, path, &values.mapv(|v| v as u32), storage),
            Narrow::Bool => fill(&self.file, path, &values.mapv(|v| v == 1), storage),
        }
        .map_err(self.fault("write dataset", path))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let failed = self.fault("close", "the file");
        let Self { file, temporary } = *self;
        file.flush().map_err(&failed)?;
        file.close().map_err(&failed)?;
        temporary.rename()
    }
}

fn fill<T: H5Type + Clone>(
    file: &File,
    path: &str,
    values: &ArrayD<T>,
    storage: Storage,
) -> hdf5::Result<()> {
    let in_order = values.as_standard_layout();
    let mut builder = file.new_dataset_builder();
    if let (Some(rows), false) = (storage.rows(), values.is_empty() || values.ndim() == 0) {
        let mut chunk = values.shape().to_vec();
        chunk[0] = rows.clamp(1, chunk[0]);
        builder = builder.chunk(chunk);
        if let Storage::Gzip { level, .. } = storage {
            builder = builder.shuffle().deflate(level.clamp(1, 9));
        }
    }
    builder.with_data(in_order.view()).create(path).map(|_| ())
}

fn set(value: &Attribute, target: &hdf5::Location, name: &str) -> hdf5::Result<()> {
    fn numbers<T: H5Type + Copy>(target: &hdf5::Location, name: &str, values: &[T]) -> hdf5::Result<()> {
        match values {
            [one] => target.new_attr::<T>().shape(()).create(name)?.write_scalar(one),
            many => target.new_attr_builder().with_data(many).create(name).map(|_| ()),
        }
    }
    match value {
        Attribute::I32(v) => numbers(target, name, v),
        Attribute::U32(v) => numbers(target, name, v),
        Attribute::I64(v) => numbers(target, name, v),
        Attribute::U64(v) => numbers(target, name, v),
        Attribute::F32(v) => numbers(target, name, v),
        Attribute::F64(v) => numbers(target, name, v),
        Attribute::Text(v) => {
            let texts = v
                .iter()
                .map(|t| t.parse::<VarLenUnicode>().map_err(|e| hdf5::Error::from(e.to_string())))
                .collect::<hdf5::Result<Vec<_>>>()?;
            match &texts[..] {
                [one] => target.new_attr::<VarLenUnicode>().shape(()).create(name)?.write_scalar(one),
                many => target.new_attr_builder().with_data(many).create(name).map(|_| ()),
            }
        }
        Attribute::Other(kind) => Err(hdf5::Error::from(format!("cannot write a {kind}"))),
    }
}

fn fault(path: &Path, operation: &'static str, field: &str, source: hdf5::Error) -> Error {
    Error::Hdf5 {
        path: path.to_path_buf(),
        operation,
        field: field.to_owned(),
        hint: "",
        source: source.to_string().replace('\n', "; ").into(),
    }
}

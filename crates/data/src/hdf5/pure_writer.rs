//! Writing with the crate `rust-hdf5`.

use std::collections::BTreeMap;
use std::path::Path;

use halocast_core::FieldValues;
use rust_hdf5::format::messages::datatype::EnumMember;
use rust_hdf5::types::H5Type;
use rust_hdf5::{DatatypeMessage, H5Dataset, H5File, H5Group, Hdf5Error, VarLenUnicode};

use super::values::{Attribute, Narrow, Storage};
use super::{Hdf5Write, Temporary};
use crate::{Error, Result};

pub(super) struct PureWriter {
    file: H5File,
    groups: BTreeMap<String, H5Group>,
    datasets: BTreeMap<String, H5Dataset>,
    temporary: Temporary,
}

impl PureWriter {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let temporary = Temporary::beside(path)?;
        let file = H5File::options()
            .no_locking()
            .create(&temporary.path)
            .map_err(|source| fault(path, "create", "the file", source))?;
        let groups = BTreeMap::from([(String::new(), file.root_group())]);
        Ok(Self { file, groups, datasets: BTreeMap::new(), temporary })
    }

    fn fault(&self, operation: &'static str, field: &str) -> impl Fn(Hdf5Error) -> Error + use<> {
        let (path, field) = (self.temporary.target.clone(), field.to_owned());
        move |source| fault(&path, operation, &field, source)
    }

    fn group(&self, path: &str) -> Result<&H5Group> {
        let absent = || self.fault("write", path)(Hdf5Error::NotFound(format!("group {path}")));
        self.groups.get(path).ok_or_else(absent)
    }
}

impl Hdf5Write for PureWriter {
    fn create_group(&mut self, path: &str) -> Result<()> {
        let path = path.trim_matches('/');
        if self.groups.contains_key(path) {
            return Ok(());
        }
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.create_group(parent)?;
        let group = self.group(parent)?.create_group(name).map_err(self.fault("create group", path))?;
        self.groups.insert(path.to_owned(), group);
        Ok(())
    }

    fn set_attribute(&mut self, object: &str, name: &str, value: &Attribute) -> Result<()> {
        let object = object.trim_matches('/');
        let failed = self.fault("write attribute of", &format!("{object}/{name}"));
        match self.datasets.get(object) {
            Some(dataset) => set(value, &DatasetTarget(dataset), name).map_err(failed),
            None => set(value, &GroupTarget(self.group(object)?), name).map_err(failed),
        }
    }

    fn write_dataset(&mut self, path: &str, values: &FieldValues, storage: Storage) -> Result<()> {
        let path = path.trim_matches('/');
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let group = self.group(parent)?;
        let failed = self.fault("write dataset", path);
        let dataset = match values {
            FieldValues::F32(v) => fill(group, name, v, storage),
            FieldValues::F64(v) => fill(group, name, v, storage),
            FieldValues::I64(v) => fill(group, name, v, storage),
            FieldValues::U64(v) => fill(group, name, v, storage),
            _ => Err(Hdf5Error::TypeMismatch("a number type this writer does not know".into())),
        }
        .map_err(failed)?;
        self.datasets.insert(path.to_owned(), dataset);
        Ok(())
    }

    fn write_narrow(
        &mut self,
        path: &str,
        values: &FieldValues,
        kind: Narrow,
        storage: Storage,
    ) -> Result<()> {
        let path = path.trim_matches('/');
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let values = kind.fit(&self.temporary.target, path, values)?;
        let group = self.group(parent)?;
        let dataset = match kind {
            Narrow::I32 => fill(group, name, &values.mapv(|v| v as i32), storage),
            Narrow::U32 => fill(group, name, &values.mapv(|v| v as u32), storage),
            Narrow::Bool => fill(group, name, &values.mapv(|v| Boolean(v as i8)), storage),
        }
        .map_err(self.fault("write dataset", path))?;
        self.datasets.insert(path.to_owned(), dataset);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let failed = self.fault("close", "the file");
        let Self { file, groups, datasets, temporary } = *self;
        drop((groups, datasets));
        file.close().map_err(failed)?;
        temporary.rename()
    }
}

/// A boolean as h5py and IllustrisTNG files have it: an enumeration over i8. That of the crate is over u8.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Boolean(#[allow(dead_code)] i8);

impl H5Type for Boolean {
    fn hdf5_type() -> DatatypeMessage {
        let member = |name: &str, value| EnumMember { name: name.into(), value: vec![value] };
        DatatypeMessage::enumeration(DatatypeMessage::i8_type(), vec![member("FALSE", 0), member("TRUE", 1)])
    }

    fn element_size() -> usize {
        1
    }
}

fn fill<T: H5Type + Copy>(
    group: &H5Group,
    name: &str,
    values: &ndarray::ArrayD<T>,
    storage: Storage,
) -> std::result::Result<H5Dataset, Hdf5Error> {
    let mut builder = group.new_dataset::<T>().shape(values.shape());
    if let (Some(rows), false) = (storage.rows(), values.is_empty() || values.ndim() == 0) {
        let mut chunk = values.shape().to_vec();
        chunk[0] = rows.clamp(1, chunk[0]);
        builder = builder.chunk(&chunk);
        if let Storage::Gzip { level, .. } = storage {
            builder = builder.shuffle_deflate(u32::from(level.clamp(1, 9)));
        }
    }
    let dataset = builder.create(name)?;
    let in_order = values.as_standard_layout();
    if let Some(slice) = in_order.as_slice().filter(|s| !s.is_empty()) {
        dataset.write_raw(slice)?;
    }
    Ok(dataset)
}

/// Groups and datasets take attributes by different calls.
trait Target {
    fn numbers<T: H5Type + 'static>(&self, name: &str, values: &[T]) -> std::result::Result<(), Hdf5Error>;
    fn text(&self, name: &str, kind: DatatypeMessage, bytes: Vec<u8>) -> std::result::Result<(), Hdf5Error>;
    fn texts(&self, name: &str, values: &[&str]) -> std::result::Result<(), Hdf5Error>;
}

struct GroupTarget<'a>(&'a H5Group);

impl Target for GroupTarget<'_> {
    fn numbers<T: H5Type + 'static>(&self, name: &str, values: &[T]) -> std::result::Result<(), Hdf5Error> {
        match values {
            [one] => self.0.set_attr_numeric(name, one),
            many => self.0.set_attr_array_numeric(name, many),
        }
    }
    fn text(&self, name: &str, kind: DatatypeMessage, bytes: Vec<u8>) -> std::result::Result<(), Hdf5Error> {
        self.0.set_attr_typed(name, kind, bytes)
    }
    fn texts(&self, name: &str, values: &[&str]) -> std::result::Result<(), Hdf5Error> {
        self.0.set_attr_string_array(name, values)
    }
}

struct DatasetTarget<'a>(&'a H5Dataset);

impl Target for DatasetTarget<'_> {
    fn numbers<T: H5Type + 'static>(&self, name: &str, values: &[T]) -> std::result::Result<(), Hdf5Error> {
        match values {
            [one] => self.0.new_attr::<T>().shape(()).create(name)?.write_numeric(one),
            many => self.0.new_attr::<T>().shape([many.len()]).create(name)?.write_array(many),
        }
    }
    fn text(&self, name: &str, kind: DatatypeMessage, bytes: Vec<u8>) -> std::result::Result<(), Hdf5Error> {
        self.0.set_attr_typed(name, kind, bytes)
    }
    fn texts(&self, name: &str, values: &[&str]) -> std::result::Result<(), Hdf5Error> {
        self.0.new_attr::<VarLenUnicode>().shape([values.len()]).create(name)?.write_string_array(values)
    }
}

fn set(value: &Attribute, target: &impl Target, name: &str) -> std::result::Result<(), Hdf5Error> {
    match value {
        Attribute::I32(v) => target.numbers(name, v),
        Attribute::U32(v) => target.numbers(name, v),
        Attribute::I64(v) => target.numbers(name, v),
        Attribute::U64(v) => target.numbers(name, v),
        Attribute::F32(v) => target.numbers(name, v),
        Attribute::F64(v) => target.numbers(name, v),
        Attribute::Text(v) => match &v[..] {
            // One text is of fixed length and null-padded, as in IllustrisTNG files.
            [one] => {
                let charset = u8::from(!one.is_ascii());
                let mut bytes = one.clone().into_bytes();
                bytes.resize(bytes.len().max(1), 0);
                let kind = DatatypeMessage::FixedString { size: bytes.len() as u32, padding: 1, charset };
                target.text(name, kind, bytes)
            }
            many => target.texts(name, &many.iter().map(String::as_str).collect::<Vec<_>>()),
        },
        Attribute::Other(kind) => Err(Hdf5Error::TypeMismatch(format!("cannot write a {kind}"))),
    }
}

fn fault(path: &Path, operation: &'static str, field: &str, source: Hdf5Error) -> Error {
    Error::Hdf5 {
        path: path.to_path_buf(),
        operation,
        field: field.to_owned(),
        hint: "",
        source: Box::new(source),
    }
}

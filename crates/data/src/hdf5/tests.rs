use ndarray::{Array1, Array2};

use super::*;

fn write_everything(path: &Path, backend: Backend) {
    let mut file = create_hdf5_with(path, backend).unwrap();
    file.create_group("Header").unwrap();
    file.create_group("a/b").unwrap();
    file.set_attribute("", "root", &Attribute::number(0.5)).unwrap();
    for (name, value) in attributes() {
        file.set_attribute("Header", name, &value).unwrap();
    }
    for (name, storage) in [
        ("plain", Storage::Contiguous),
        ("chunked", Storage::Chunked { rows: 16 }),
        ("packed", Storage::Gzip { rows: 16, level: 4 }),
    ] {
        let path = format!("a/b/{name}");
        file.write_dataset(&path, &FieldValues::F32(rows().into_dyn()), storage).unwrap();
        for (name, value) in attributes() {
            file.set_attribute(&path, name, &value).unwrap();
        }
    }
    let ids = Array1::from(vec![u64::MAX, 0, 1 << 60]).into_dyn();
    file.write_dataset("ids", &FieldValues::U64(ids), Storage::Contiguous).unwrap();
    let signed = Array1::from(vec![i64::MIN, -1]).into_dyn();
    file.write_dataset("signed", &FieldValues::I64(signed), Storage::Contiguous).unwrap();
    let double = Array2::from_elem((2, 2), 1.0 / 3.0).into_dyn();
    file.write_dataset("double", &FieldValues::F64(double), Storage::Contiguous).unwrap();
    let none = Array2::zeros((0, 3)).into_dyn();
    file.write_dataset("none", &FieldValues::F64(none), Storage::Contiguous).unwrap();
    assert!(!path.exists(), "nothing is there before the end");
    file.finish().unwrap();
}

fn rows() -> Array2<f32> {
    Array2::from_shape_fn((100, 3), |(i, j)| i as f32 + 0.1 * j as f32)
}

fn attributes() -> Vec<(&'static str, Attribute)> {
    vec![
        ("i32", Attribute::integer(-3)),
        ("u32s", Attribute::U32(vec![1, u32::MAX])),
        ("i64", Attribute::I64(vec![i64::MIN])),
        ("u64s", Attribute::U64(vec![1, u64::MAX])),
        ("f32", Attribute::F32(vec![1.5])),
        ("f64s", Attribute::F64(vec![0.1, 0.2, 0.3])),
        ("text", Attribute::text("ckpc/h")),
        ("empty text", Attribute::text("")),
        ("texts", Attribute::Text(vec!["one".into(), "zwei µ".into()])),
    ]
}

fn check_everything(file: &dyn Hdf5Read, arrays_of_text: bool) {
    assert_eq!(file.groups("").unwrap(), ["Header", "a"]);
    assert_eq!(file.datasets("").unwrap(), ["double", "ids", "none", "signed"]);
    assert_eq!(file.datasets("a/b").unwrap(), ["chunked", "packed", "plain"]);
    assert_eq!(file.attributes("").unwrap()["root"], Attribute::number(0.5));
    for object in ["Header", "a/b/plain", "a/b/chunked", "a/b/packed"] {
        let found = file.attributes(object).unwrap();
        for (name, value) in attributes() {
            if name == "texts" && !arrays_of_text {
                assert_eq!(found[name], Attribute::Other("unreadable text".into()));
                continue;
            }
            assert_eq!(found[name], value, "{object}/{name}");
        }
    }
    for name in ["a/b/plain", "a/b/chunked", "a/b/packed"] {
        let info = file.info(name).unwrap();
        assert_eq!((info.shape, info.dtype), (vec![100, 3], Hdf5Type::Float(4)));
        assert_eq!(file.read(name).unwrap(), FieldValues::F32(rows().into_dyn()));
        let part = rows().slice(ndarray::s![17..62, ..]).to_owned().into_dyn();
        assert_eq!(file.read_rows(name, 17..62).unwrap(), FieldValues::F32(part));
        assert_eq!(file.read_rows(name, 5..5).unwrap().shape(), [0, 3]);
        assert!(file.read_rows(name, 50..101).is_err());
    }
    assert_eq!(file.read_u64("ids").unwrap().as_slice().unwrap(), [u64::MAX, 0, 1 << 60]);
    assert!(file.read_u64("signed").unwrap_err().to_string().contains("-9223372036854775808"));
    assert_eq!(file.read_f64("double").unwrap()[[1, 1]], 1.0 / 3.0);
    assert_eq!(file.read_f32("double").unwrap()[[1, 1]], 1.0 / 3.0);
    assert_eq!(file.read("none").unwrap().shape(), [0, 3]);
    let message = file.read("a/c").unwrap_err().to_string();
    assert!(message.contains("a/c") && !message.contains('\n'), "{message}");
}

#[test]
fn what_is_written_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/all.hdf5");
    write_everything(&path, Backend::Pure);
    check_everything(&*open_hdf5(&path).unwrap(), true);
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file stays");
}

#[test]
fn an_abandoned_file_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = create_hdf5(dir.path().join("half.hdf5")).unwrap();
    file.create_group("a").unwrap();
    drop(file);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn other_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("text.hdf5");
    std::fs::write(&path, "not HDF5 at all").unwrap();
    for path in [path.as_path(), dir.path(), Path::new("/nowhere/at/all.hdf5")] {
        let message = open_hdf5(path).err().unwrap().to_string();
        assert!(message.contains(&path.display().to_string()) && !message.contains('\n'), "{message}");
    }
}

#[cfg(feature = "libhdf5")]
#[test]
fn the_backends_agree() {
    let dir = tempfile::tempdir().unwrap();
    for writer in [Backend::Pure, Backend::Libhdf5] {
        for reader in [Backend::Pure, Backend::Libhdf5] {
            let path = dir.path().join(format!("{writer:?}-{reader:?}.hdf5"));
            write_everything(&path, writer);
            // The C backend does not read arrays of text that the pure one wrote; nothing of ours writes any.
            let arrays_of_text = (writer, reader) != (Backend::Pure, Backend::Libhdf5);
            check_everything(&*open_hdf5_with(&path, reader).unwrap(), arrays_of_text);
        }
    }
}

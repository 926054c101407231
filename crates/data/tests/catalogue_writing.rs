//! Group catalogues that are written: names, types and header beside those of a real file.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::path::PathBuf;

use halocast_core::{Cosmology, FieldValues, GroupCatalogue, Header, Table, Unit};
use halocast_data::{Attribute, Hdf5Read, WriteOptions, open_hdf5, write_catalogue};
use ndarray::{Array1, Array2};

fn catalogue() -> GroupCatalogue {
    let nsubs = [3i64, 0, 2, 1, 0];
    let first = [0i64, -1, 3, 5, -1];
    let mut groups = Table::new("Group", 5);
    let integers = |v: &[i64]| FieldValues::I64(Array1::from(v.to_vec()).into_dyn());
    let none = Unit::dimensionless;
    groups.insert("GroupNsubs", integers(&nsubs), none()).unwrap();
    groups.insert("GroupFirstSub", integers(&first), none()).unwrap();
    groups.insert("GroupLen", integers(&[100, 90, 80, 70, 60]), none()).unwrap();
    let types = Array2::from_shape_fn((5, 6), |(i, k)| (10 * i + k) as i64).into_dyn();
    groups.insert("GroupLenType", FieldValues::I64(types), none()).unwrap();
    let positions = Array2::from_shape_fn((5, 3), |(i, k)| (i * 3 + k) as f32).into_dyn();
    groups.insert("GroupPos", FieldValues::F32(positions), Unit::kpc_h()).unwrap();
    let mut subhalos = Table::new("Subhalo", 6);
    subhalos.insert("SubhaloGrNr", integers(&[0, 0, 0, 2, 2, 3]), none()).unwrap();
    subhalos.insert("SubhaloFlag", integers(&[1, 1, 0, 1, 1, 1]), none()).unwrap();
    let ids = Array1::from_iter((0..6).map(|i| u64::MAX - i)).into_dyn();
    subhalos.insert("SubhaloIDMostbound", FieldValues::U64(ids), none()).unwrap();
    let header = Header {
        box_size: 75_000.0,
        time: 0.5,
        redshift: 1.0,
        cosmology: Cosmology::illustris_tng(),
        mass_table: [0.0; 6],
        promised: [0; 6],
        mock: false,
    };
    GroupCatalogue { header, groups, subhalos, warnings: Vec::new() }
}

fn write(chunks: u64) -> (tempfile::TempDir, Vec<Box<dyn Hdf5Read>>) {
    let dir = tempfile::tempdir().unwrap();
    let options = WriteOptions { number: 7, chunks, ..Default::default() };
    let files = write_catalogue(dir.path(), &catalogue(), &options).unwrap();
    assert!(files[0].ends_with("groups_007/fof_subhalo_tab_007.0.hdf5"));
    let open = files.iter().map(|f| open_hdf5(f).unwrap()).collect();
    (dir, open)
}

#[test]
fn chunks_hold_their_groups_with_all_their_subhalos() {
    for chunks in [1, 2, 5, 9] {
        let (_dir, files) = write(chunks);
        let (mut groups, mut numbers, mut flags) = (0, Vec::new(), Vec::new());
        for file in &files {
            let header = file.attributes("Header").unwrap();
            let count = |name: &str| header[name].to_f64().unwrap()[0] as usize;
            assert_eq!((count("Ngroups_Total"), count("Nsubgroups_Total")), (5, 6));
            assert_eq!(count("NumFiles") as u64, chunks);
            if count("Ngroups_ThisFile") == 0 {
                assert!(file.datasets("Group").unwrap().is_empty());
                continue;
            }
            let nsubs = file.read_f64("Group/GroupNsubs").unwrap();
            assert_eq!(nsubs.sum() as usize, count("Nsubgroups_ThisFile"));
            groups += nsubs.len();
            if count("Nsubgroups_ThisFile") > 0 {
                numbers.extend(file.read_f64("Subhalo/SubhaloGrNr").unwrap());
                flags.extend(file.read_f64("Subhalo/SubhaloFlag").unwrap());
            }
        }
        assert_eq!(groups, 5);
        assert_eq!(numbers, [0.0, 0.0, 0.0, 2.0, 2.0, 3.0]);
        assert_eq!(flags, [1.0, 1.0, 0.0, 1.0, 1.0, 1.0]);
        let total: f64 =
            files.iter().map(|f| f.attributes("Header").unwrap()["Nids_ThisFile"].to_f64().unwrap()[0]).sum();
        assert_eq!(total, 400.0);
    }
}

#[test]
fn numbers_that_do_not_fit_and_wrong_counts_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let fails = |change: &dyn Fn(&mut GroupCatalogue), chunks: u64| {
        let mut catalogue = catalogue();
        change(&mut catalogue);
        let options = WriteOptions { chunks, ..Default::default() };
        write_catalogue(dir.path(), &catalogue, &options).unwrap_err().to_string()
    };
    let integers = |v: Vec<i64>| FieldValues::I64(Array1::from(v).into_dyn());
    let message = fails(
        &|c| c.groups.insert("GroupLen", integers(vec![1 << 40; 5]), Unit::dimensionless()).unwrap(),
        1,
    );
    assert!(message.contains("GroupLen") && message.contains("1099511627776"), "{message}");
    let message =
        fails(&|c| c.groups.insert("GroupNsubs", integers(vec![1; 5]), Unit::dimensionless()).unwrap(), 1);
    assert!(message.contains("GroupNsubs") && message.contains("6"), "{message}");
    assert!(fails(&|_| {}, 0).contains("chunks"));
    // Nothing half written stays.
    let left: Vec<_> = std::fs::read_dir(dir.path().join("groups_099")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn header_and_types_are_those_of_a_real_file() {
    let folder = std::env::var_os("HALOCAST_DATA").map(PathBuf::from);
    let folder =
        folder.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"));
    let path = folder.join("tng100-2_groups/fof_subhalo_tab_099.5.hdf5");
    if !path.exists() {
        println!("{}: absent, nothing to compare with", path.display());
        return;
    }
    let real = open_hdf5(&path).unwrap();
    let (_dir, files) = write(1);
    let ours = &files[0];
    for group in ["Config", "Group", "Header", "IDs", "Parameters", "Subhalo"] {
        assert!(real.groups("").unwrap().contains(&group.to_owned()));
        assert!(ours.groups("").unwrap().contains(&group.to_owned()), "{group}");
    }
    let kind = |a: &Attribute| std::mem::discriminant(a);
    let (a, b) = (real.attributes("Header").unwrap(), ours.attributes("Header").unwrap());
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, value) in &a {
        assert_eq!(kind(value), kind(&b[name]), "{name}");
    }
    for group in ["Group", "Subhalo"] {
        for name in ours.datasets(group).unwrap() {
            let dataset = format!("{group}/{name}");
            let (real_info, own) = (real.info(&dataset).unwrap(), ours.info(&dataset).unwrap());
            assert_eq!(real_info.dtype, own.dtype, "{dataset}");
            assert_eq!(real_info.shape[1..], own.shape[1..], "{dataset}");
            assert_eq!(real.attributes(&dataset).unwrap(), ours.attributes(&dataset).unwrap(), "{dataset}");
        }
    }
}

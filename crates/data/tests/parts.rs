//! Parts of snapshots: strides, rows, members of objects, regions, stars without wind.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::data;
use halocast_core::{Cosmology, FieldValues, Header, ParticleSet, Rng, Snapshot, Species, Unit};
use halocast_data::*;
use ndarray::{Array1, Array2};

const GAS: usize = 1003;

/// Gas of 1003 cells with their row as identifier; stars, every third of them wind.
fn snapshot() -> Snapshot {
    let mut rng = Rng::new(4);
    let mut gas = ParticleSet::new(Species::Gas, GAS);
    let positions = Array2::from_shape_fn((GAS, 3), |_| 1000.0 * rng.uniform()).into_dyn();
    gas.insert("Coordinates", FieldValues::F64(positions), Unit::kpc_h()).unwrap();
    let ids = Array1::from_shape_fn(GAS, |i| i as u64).into_dyn();
    gas.insert("ParticleIDs", FieldValues::U64(ids), Unit::dimensionless()).unwrap();
    let mut stars = ParticleSet::new(Species::Stars, 30);
    let positions = Array2::from_shape_fn((30, 3), |_| 1000.0 * rng.uniform()).into_dyn();
    stars.insert("Coordinates", FieldValues::F64(positions), Unit::kpc_h()).unwrap();
    let times = Array1::from_shape_fn(30, |i| if i % 3 == 0 { -0.5f32 } else { 0.5 }).into_dyn();
    stars.insert("GFM_StellarFormationTime", FieldValues::F32(times), Unit::dimensionless()).unwrap();
    let header = Header {
        box_size: 1000.0,
        time: 0.5,
        redshift: 1.0,
        cosmology: Cosmology { n_s: 0.9667, sigma_8: 0.8159, ..Cosmology::camels() },
        mass_table: [0.0; 6],
        promised: [GAS as u64, 0, 0, 0, 30, 0],
        mock: false,
    };
    let sets = BTreeMap::from([(Species::Gas, gas), (Species::Stars, stars)]);
    Snapshot { header, sets, warnings: Vec::new() }
}

fn written(dir: &Path, chunks: u64, storage: Storage) -> Vec<std::path::PathBuf> {
    let options = WriteOptions { number: 7, chunks, storage, ..WriteOptions::default() };
    write_snapshot(dir, &snapshot(), &options).unwrap()
}

fn ids(set: &ParticleSet) -> Vec<u64> {
    set.scalars("ParticleIDs").unwrap().into_iter().map(|x| x as u64).collect()
}

#[test]
fn a_stride_reads_one_of_many() {
    for (chunks, storage) in [(1, Storage::Contiguous), (4, Storage::Gzip { rows: 16, level: 4 })] {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), chunks, storage);
        for stride in [1, 2, 7, 600, 5000] {
            let options = ReadOptions::default().only(Species::Gas).with_stride(stride);
            let gas = read_snapshot(dir.path(), &options).unwrap();
            let expected: Vec<u64> = (0..GAS as u64).step_by(stride).collect();
            assert_eq!(ids(gas.set(Species::Gas).unwrap()), expected, "{stride} of {chunks}");
        }
    }
}

#[test]
fn rows_are_found_in_their_files() {
    for storage in [Storage::Contiguous, Storage::Gzip { rows: 16, level: 4 }] {
        let dir = tempfile::tempdir().unwrap();
        let files = written(dir.path(), 5, storage);
        let reader = SnapshotReader::open(dir.path(), &ReadOptions::default()).unwrap();
        for rows in [0..0, 0..GAS as u64, 199..203, 1000..1003, 17..18] {
            let gas = reader.read_rows(Species::Gas, rows.clone());
            if rows.is_empty() {
                continue;
            }
            assert_eq!(ids(&gas.unwrap()), rows.clone().collect::<Vec<_>>(), "{rows:?}");
        }
        let message = reader.read_rows(Species::Gas, 1000..1004).unwrap_err().to_string();
        assert!(message.contains("within 0..1003") && message.contains("1000..1004"), "{message}");
        // Behind a missing file the place of a row is unknown.
        std::fs::remove_file(&files[2]).unwrap();
        let reader = SnapshotReader::open(dir.path(), &ReadOptions::allow_missing()).unwrap();
        assert_eq!(reader.read_rows(Species::Gas, 0..401).unwrap().len(), 401);
        let message = reader.read_rows(Species::Gas, 400..402).unwrap_err().to_string();
        assert!(message.contains("chunk 2 of 5 missing"), "{message}");
    }
}

#[test]
fn numbers_are_read_in_the_precision_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 3, Storage::Contiguous);
    let read = |precision| {
        let options = ReadOptions::default().only(Species::Gas).with_precision(precision);
        read_snapshot(dir.path(), &options).unwrap().set(Species::Gas).unwrap().clone()
    };
    let (stored, single, double) =
        (read(Precision::Stored), read(Precision::Single), read(Precision::Double));
    let FieldValues::F32(positions) = &single.field("Coordinates").unwrap().values else { panic!("not f32") };
    let expected = stored.field("Coordinates").unwrap().values.to_f64();
    assert!(positions.iter().zip(&expected).all(|(a, b)| *a == *b as f32));
    assert_eq!(stored, double);
    assert!(matches!(single.field("ParticleIDs").unwrap().values, FieldValues::U64(_)));
}

#[test]
fn a_region_reaches_across_the_sides() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 3, Storage::Contiguous);
    let whole = snapshot();
    let positions = whole.set(Species::Gas).unwrap().vectors("Coordinates").unwrap();
    for options in
        [ReadOptions::default(), ReadOptions::default().only(Species::Gas).with_fields(&["ParticleIDs"])]
    {
        let reader = SnapshotReader::open(dir.path(), &options).unwrap();
        for (centre, half) in [([500.0; 3], [200.0; 3]), ([990.0, 10.0, 500.0], [150.0, 150.0, 400.0])] {
            let inside = |x: &[f64; 3]| {
                (0..3).all(|i| {
                    let d = (x[i] - centre[i]).abs();
                    d.min(1000.0 - d) <= half[i]
                })
            };
            let expected: Vec<u64> = (0..GAS).filter(|&i| inside(&positions[i])).map(|i| i as u64).collect();
            let region = reader.read_region(centre, half).unwrap();
            assert_eq!(ids(region.set(Species::Gas).unwrap()), expected);
            assert!(expected.len() > 20);
        }
        assert!(reader.read_region([f64::NAN; 3], [1.0; 3]).is_err());
    }
}

#[test]
fn stars_are_read_without_wind() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 4, Storage::Contiguous);
    let all = read_snapshot(dir.path(), &ReadOptions::default()).unwrap();
    assert_eq!(all.set(Species::Stars).unwrap().len(), 30);
    let stars = read_snapshot(dir.path(), &ReadOptions::stars().with_fields(&["Coordinates"])).unwrap();
    let stars = stars.set(Species::Stars).unwrap();
    let expected: Vec<[f64; 3]> = (0..30)
        .filter(|i| i % 3 != 0)
        .map(|i| all.set(Species::Stars).unwrap().vectors("Coordinates").unwrap()[i])
        .collect();
    assert_eq!(stars.vectors("Coordinates").unwrap(), expected);
    assert!(stars.field("GFM_StellarFormationTime").is_err(), "it was not asked for");
}

/// A catalogue of three groups and four subhalos in two files and an empty one.
fn catalogue(dir: &Path, first_sub: &FieldValues) {
    let lengths = [[400i64, 0, 0, 0, 20, 0], [300, 0, 0, 0, 0, 0], [200, 0, 0, 0, 5, 0]];
    let subs = [[100i64, 0, 0, 0, 10, 0], [250, 0, 0, 0, 3, 0], [150, 0, 0, 0, 5, 0], [50, 0, 0, 0, 0, 0]];
    let table = |rows: &[[i64; 6]]| {
        FieldValues::I64(Array2::from_shape_fn((rows.len(), 6), |(i, j)| rows[i][j]).into_dyn())
    };
    let column = |values: &[i64]| FieldValues::I64(Array1::from(values.to_vec()).into_dyn());
    let pick = |values: &FieldValues, rows: std::ops::Range<usize>| match values {
        FieldValues::U64(v) => FieldValues::U64(v.slice_axis(ndarray::Axis(0), rows.into()).to_owned()),
        FieldValues::I64(v) => FieldValues::I64(v.slice_axis(ndarray::Axis(0), rows.into()).to_owned()),
        _ => panic!(),
    };
    for (chunk, groups, subhalos) in [(0, 0..1, 0..2), (1, 0..0, 0..0), (2, 1..3, 2..4)] {
        let mut file = create_hdf5(dir.join(format!("groups_007/fof_subhalo_tab_007.{chunk}.hdf5"))).unwrap();
        for group in ["Header", "Group", "Subhalo"] {
            file.create_group(group).unwrap();
        }
        for (name, value) in [
            ("BoxSize", Attribute::number(1000.0)),
            ("Time", Attribute::number(0.5)),
            ("Redshift", Attribute::number(1.0)),
            ("Omega0", Attribute::number(0.3)),
            ("HubbleParam", Attribute::number(0.7)),
            ("NumFiles", Attribute::integer(3)),
            ("Ngroups_ThisFile", Attribute::integer(groups.len() as i32)),
            ("Ngroups_Total", Attribute::integer(3)),
            ("Nsubgroups_ThisFile", Attribute::integer(subhalos.len() as i32)),
            ("Nsubgroups_Total", Attribute::integer(4)),
        ] {
            file.set_attribute("Header", name, &value).unwrap();
        }
        let mut put =
            |name: &str, values: &FieldValues| file.write_dataset(name, values, Storage::Contiguous).unwrap();
        if !groups.is_empty() {
            put("Group/GroupLenType", &table(&lengths[groups.clone()]));
            put("Group/GroupNsubs", &column(&[2, 0, 2][groups.clone()]));
            put("Group/GroupFirstSub", &pick(first_sub, groups));
            put("Subhalo/SubhaloLenType", &table(&subs[subhalos.clone()]));
            put("Subhalo/SubhaloGrNr", &column(&[0, 0, 2, 2][subhalos]));
        }
        file.finish().unwrap();
    }
}

#[test]
fn members_of_objects_are_read() {
    let signed = FieldValues::I64(Array1::from(vec![0, -1, 2]).into_dyn());
    // -1 as the catalogues of Illustris-1 store it.
    let unsigned = FieldValues::U64(Array1::from(vec![0, u64::from(u32::MAX), 2]).into_dyn());
    for first_sub in [signed, unsigned] {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), 4, Storage::Contiguous);
        catalogue(dir.path(), &first_sub);
        let simulation = Simulation::new(dir.path());
        let groups = simulation.groups(7, &ReadOptions::default()).unwrap();
        assert_eq!((groups.groups.len(), groups.subhalos.len(), groups.warnings.len()), (3, 4, 0));
        let FieldValues::I64(first) = &groups.groups.field("GroupFirstSub").unwrap().values else { panic!() };
        assert_eq!(first.as_slice().unwrap(), [0, -1, 2]);

        let options = ReadOptions::default().only(Species::Gas);
        let halo = simulation.halo(7, 2, &options).unwrap();
        assert_eq!(ids(halo.set(Species::Gas).unwrap()), (700..900).collect::<Vec<_>>());
        let galaxy = simulation.subhalo(7, 3, &options).unwrap();
        assert_eq!(ids(galaxy.set(Species::Gas).unwrap()), (850..900).collect::<Vec<_>>());
        let stars = simulation.subhalo(7, 2, &ReadOptions::stars()).unwrap();
        // Rows 20 to 24, of which 21 and 24 are wind.
        assert_eq!(stars.set(Species::Stars).unwrap().len(), 3);
        assert!(simulation.halo(7, 3, &options).unwrap_err().to_string().contains("below 3"));
        let empty = simulation.subhalo(7, 3, &ReadOptions::stars()).unwrap();
        assert!(empty.sets.is_empty());

        // A file of offsets is taken before sums.
        let path = dir.path().join("postprocessing/offsets/offsets_007.hdf5");
        let mut file = create_hdf5(&path).unwrap();
        for (group, rows) in [("Group", 3), ("Subhalo", 4)] {
            file.create_group(group).unwrap();
            let places = Array2::from_shape_fn((rows, 6), |(i, j)| if j == 0 { 10 * i as i64 } else { 0 });
            let name = format!("{group}/SnapByType");
            file.write_dataset(&name, &FieldValues::I64(places.into_dyn()), Storage::Contiguous).unwrap();
        }
        file.finish().unwrap();
        let halo = simulation.halo(7, 1, &options).unwrap();
        assert_eq!(ids(halo.set(Species::Gas).unwrap()), (10..310).collect::<Vec<_>>());
        let file = dir.path().join("groups_007/fof_subhalo_tab_007.2.hdf5");
        std::fs::remove_file(file).unwrap();
        let message = simulation.groups(7, &ReadOptions::default()).unwrap_err().to_string();
        assert!(
            message.contains("chunk 2 of 3 missing") && message.contains("Group: header promises 3"),
            "{message}"
        );
    }
}

#[test]
fn trees_are_walked() {
    // Snapshot 3: row 0. Its progenitors: 1 (main) and 4; of 1: 2 and 3; of 4: 5.
    let ids = [100i64, 101, 102, 103, 104, 105];
    let first = [101i64, 102, -1, -1, 105, -1];
    let next = [-1i64, 104, 103, -1, -1, -1];
    let masses = [10.0f32, 8.0, 6.0, 2.0, 1.0, 4.0];
    let dir = tempfile::tempdir().unwrap();
    let column = |values: &[i64]| FieldValues::I64(Array1::from(values.to_vec()).into_dyn());
    let write = |path: &Path, prefix: &str, fields: &[(&str, FieldValues)]| {
        let mut file = create_hdf5(path).unwrap();
        if !prefix.is_empty() {
            file.create_group(prefix).unwrap();
        }
        for (name, values) in fields {
            let name = if prefix.is_empty() { (*name).to_owned() } else { format!("{prefix}/{name}") };
            file.write_dataset(&name, values, Storage::Contiguous).unwrap();
        }
        file.finish().unwrap();
    };
    let mass = FieldValues::F32(
        Array2::from_shape_fn((6, 6), |(i, j)| if j == 4 { masses[i] } else { 0.0 }).into_dyn(),
    );
    let sublink = [
        ("SubhaloID", column(&ids)),
        ("FirstProgenitorID", column(&first)),
        ("NextProgenitorID", column(&next)),
        ("MainLeafProgenitorID", column(&[102, 102, 102, 103, 105, 105])),
        ("SnapNum", column(&[3, 2, 1, 1, 2, 1])),
        ("SubhaloMassType", mass.clone()),
    ];
    write(&dir.path().join("flat.hdf5"), "", &sublink);
    write(&dir.path().join("trees/SubLink/tree_extended.0.hdf5"), "", &sublink);
    let index =
        |values: &[i64]| -> Vec<i64> { values.iter().map(|v| if *v < 0 { -1 } else { v - 100 }).collect() };
    let lhalo = [
        ("FirstProgenitor", column(&index(&first))),
        ("NextProgenitor", column(&index(&next))),
        ("SnapNum", column(&[3, 2, 1, 1, 2, 1])),
        ("SubhaloMassType", mass),
    ];
    write(&dir.path().join("trees/treedata/trees_sf1_003.0.hdf5"), "Tree9", &lhalo);
    let offsets = dir.path().join("postprocessing/offsets/offsets_003.hdf5");
    let mut file = create_hdf5(&offsets).unwrap();
    for group in ["Subhalo", "Subhalo/SubLink", "Subhalo/LHaloTree"] {
        file.create_group(group).unwrap();
    }
    for (name, values) in [
        ("SubLink/RowNum", [0, -1, 1]),
        ("SubLink/SubhaloID", [100, -1, 101]),
        ("SubLink/LastProgenitorID", [105, -1, 103]),
        ("LHaloTree/FileNum", [0, -1, 0]),
        ("LHaloTree/TreeNum", [9, -1, 9]),
        ("LHaloTree/TreeIndex", [0, -1, 1]),
    ] {
        file.write_dataset(&format!("Subhalo/{name}"), &column(&values), Storage::Contiguous).unwrap();
    }
    file.finish().unwrap();

    let simulation = Simulation::new(dir.path());
    let flat = MergerTree::open(dir.path().join("flat.hdf5")).unwrap();
    assert_eq!(flat.main_branch(), [0, 1, 2]);
    for tree in [
        flat,
        simulation.sublink(3, 0, Branch::Whole).unwrap().unwrap(),
        simulation.lhalotree(3, 0).unwrap().unwrap(),
    ] {
        assert_eq!(tree.len(), 6);
        assert_eq!(tree.rows.scalars("SnapNum").unwrap()[tree.main_branch()[2]], 1.0);
        let mergers = tree.mergers(0.2, 4).unwrap();
        let found: Vec<f64> = mergers.iter().map(|m| m.ratio).collect();
        // 4 was heaviest as 5: 4 to 8 of the main branch. Then 2 to 6.
        assert_eq!(found, [0.5, 1.0 / 3.0]);
        assert_eq!(tree.mergers(0.4, 4).unwrap().len(), 1);
        assert!(tree.mergers(0.4, 6).is_err() && tree.mergers(0.0, 4).is_err());
    }
    let main = simulation.sublink(3, 0, Branch::Main).unwrap().unwrap();
    assert_eq!((main.len(), main.main_branch()), (3, vec![0, 1, 2]));
    let sub = simulation.sublink(3, 2, Branch::Whole).unwrap().unwrap();
    assert_eq!((sub.len(), sub.progenitors(0)), (3, vec![1, 2]));
    assert_eq!(simulation.lhalotree(3, 2).unwrap().unwrap().progenitors(0).len(), 2);
    assert!(simulation.sublink(3, 1, Branch::Whole).unwrap().is_none());
    assert!(simulation.lhalotree(3, 1).unwrap().is_none());
}

#[test]
fn links_in_a_circle_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flat.hdf5");
    let column = |values: &[i64]| FieldValues::I64(Array1::from(values.to_vec()).into_dyn());
    for (first, next) in [([2, 1], [-1, -1]), ([2, -1], [-1, 2]), ([1, -1], [-1, -1])] {
        let mut file = create_hdf5(&path).unwrap();
        for (name, values) in
            [("SubhaloID", [1, 2]), ("FirstProgenitorID", first), ("NextProgenitorID", next)]
        {
            file.write_dataset(name, &column(&values), Storage::Contiguous).unwrap();
        }
        file.finish().unwrap();
        let message = MergerTree::open(&path).unwrap_err().to_string();
        assert!(message.contains("links") && message.contains("flat.hdf5"), "{message}");
    }
}

#[test]
fn the_subbox_is_read_in_parts() {
    let Some(path) = data("tng50-4_subbox0") else { return };
    let reader = SnapshotReader::open(&path, &ReadOptions::allow_missing().only(Species::Gas)).unwrap();
    let all = reader.read().unwrap();
    let gas = all.set(Species::Gas).unwrap();
    // Chunks 0 to 6 come before the missing one.
    let rows = reader.read_rows(Species::Gas, 100..9000).unwrap();
    assert_eq!(rows.vectors("Coordinates").unwrap(), gas.vectors("Coordinates").unwrap()[100..9000]);
    assert!(
        reader.read_rows(Species::Gas, 0..24789).unwrap_err().to_string().contains("chunk 7 of 11 missing")
    );
    let (centre, half) = ([26000.0, 10000.0, 26500.0], [500.0; 3]);
    let region = reader.read_region(centre, half).unwrap();
    let inside = gas
        .vectors("Coordinates")
        .unwrap()
        .iter()
        .filter(|x| (0..3).all(|i| (x[i] - centre[i]).abs() <= half[i]))
        .count();
    assert_eq!(region.set(Species::Gas).unwrap().len(), inside);
    let stars = read_snapshot(&path, &ReadOptions { allow_missing: true, ..ReadOptions::stars() }).unwrap();
    assert_eq!(stars.set(Species::Stars).unwrap().len(), 266, "there is no wind in this subbox");
    let thin = ReadOptions::allow_missing().with_stride(100).with_fields(&["Coordinates"]);
    assert_eq!(read_snapshot(&path, &thin).unwrap().set(Species::Gas).unwrap().len(), 248);
}

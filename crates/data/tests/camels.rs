//! CAMELS runs as their folders lie: old and new names, three suites and their N-body twins.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use halocast_core::{Cosmology, FieldValues, Header, ParticleSet, Snapshot, Species, Unit};
use halocast_data::*;
use ndarray::{Array1, Array2};

/// A run of `folder` with one snapshot and catalogue: 8 gas cells (but in an N-body run) and 12 particles of dark matter, in
/// two groups of one subhalo each.
fn run(base: &Path, folder: &str, names: [&str; 2]) -> PathBuf {
    let nbody = folder.contains("_DM");
    let mut sets = BTreeMap::new();
    let species = [(Species::Gas, if nbody { 0 } else { 8 }), (Species::DarkMatter, 12)];
    for (species, n) in species.into_iter().filter(|(_, n)| *n > 0) {
        let mut set = ParticleSet::new(species, n);
        let positions = Array2::from_shape_fn((n, 3), |(i, j)| (100 * i + j) as f32).into_dyn();
        set.insert("Coordinates", FieldValues::F32(positions), Unit::kpc_h()).unwrap();
        let ids = Array1::from_shape_fn(n, |i| i as u64).into_dyn();
        set.insert("ParticleIDs", FieldValues::U64(ids), Unit::dimensionless()).unwrap();
        sets.insert(species, set);
    }
    let promised = [if nbody { 0 } else { 8 }, 12, 0, 0, 0, 0];
    let header = Header {
        box_size: 25_000.0,
        time: 1.0,
        redshift: 0.0,
        cosmology: Cosmology::camels(),
        mass_table: [0.0, 0.006, 0.0, 0.0, 0.0, 0.0],
        promised,
        mock: false,
    };
    let written = tempfile::tempdir().unwrap();
    let snapshot = Snapshot { header, sets, warnings: Vec::new() };
    let files = write_snapshot(written.path(), &snapshot, &WriteOptions::default()).unwrap();
    let run = base.join(folder);
    std::fs::create_dir_all(&run).unwrap();
    std::fs::copy(&files[0], run.join(names[0])).unwrap();

    let mut file = create_hdf5(run.join(names[1])).unwrap();
    for group in ["Header", "Group", "Subhalo"] {
        file.create_group(group).unwrap();
    }
    for (name, value) in
        [("BoxSize", 25_000.0), ("Time", 1.0), ("Redshift", 0.0), ("Omega0", 0.3), ("HubbleParam", 0.6711)]
    {
        file.set_attribute("Header", name, &Attribute::number(value)).unwrap();
    }
    let gas = i64::from(!nbody);
    let lengths = |rows: [[i64; 2]; 2]| {
        let at = |(i, j): (usize, usize)| match j {
            0 => gas * rows[i][0],
            1 => rows[i][1],
            _ => 0,
        };
        FieldValues::I64(Array2::from_shape_fn((2, 6), at).into_dyn())
    };
    let column = |values: [i64; 2]| FieldValues::I64(Array1::from(values.to_vec()).into_dyn());
    for (name, values) in [
        ("Group/GroupLenType", lengths([[5, 7], [2, 4]])),
        ("Group/GroupNsubs", column([1, 1])),
        ("Group/GroupFirstSub", column([0, 1])),
        ("Subhalo/SubhaloLenType", lengths([[4, 6], [2, 3]])),
    ] {
        file.write_dataset(name, &values, Storage::Contiguous).unwrap();
    }
    file.finish().unwrap();
    run
}

fn ids(snapshot: &Snapshot, species: Species) -> Vec<u64> {
    let values = snapshot.set(species).unwrap().scalars("ParticleIDs").unwrap();
    values.into_iter().map(|x| x as u64).collect()
}

#[test]
fn runs_are_read_by_old_and_new_names() {
    let dir = tempfile::tempdir().unwrap();
    for (folder, number, names) in [
        ("IllustrisTNG/LH_0", 33, ["snap_033.hdf5", "fof_subhalo_tab_033.hdf5"]),
        ("IllustrisTNG/L25n256/1P/1P_p1_n2", 90, ["snapshot_090.hdf5", "groups_090.hdf5"]),
    ] {
        let run = CamelsRun::new(run(dir.path(), folder, names)).unwrap();
        let all = run.snapshot(number, &ReadOptions::default()).unwrap().read().unwrap();
        assert_eq!((ids(&all, Species::Gas).len(), ids(&all, Species::DarkMatter).len()), (8, 12));
        assert_eq!(run.groups(number, &ReadOptions::default()).unwrap().groups.len(), 2);
        let halo = run.halo(number, 1, &ReadOptions::default()).unwrap();
        assert_eq!(ids(&halo, Species::Gas), [5, 6]);
        assert_eq!(ids(&halo, Species::DarkMatter), [7, 8, 9, 10]);
        let galaxy = run.subhalo(number, 1, &ReadOptions::default().only(Species::DarkMatter)).unwrap();
        assert_eq!(ids(&galaxy, Species::DarkMatter), [7, 8, 9]);
        let message = run.snapshot(7, &ReadOptions::default()).err().unwrap().to_string();
        assert!(message.contains("snapshot_007.hdf5 or snap_007.hdf5"), "{message}");
    }
    let message = CamelsRun::new(dir.path().join("EAGLE/LH_0")).unwrap_err().to_string();
    assert!(message.contains("name of a suite"), "{message}");
}

#[test]
fn what_a_suite_lacks_is_an_error_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["snap_033.hdf5", "fof_subhalo_tab_033.hdf5"];
    let all = ReadOptions::default;
    let fields = |field: &str| all().with_fields(&[field]);
    for code in ["SIMBA", "Astrid"] {
        let run = CamelsRun::new(run(dir.path(), &format!("{code}/CV_3"), names)).unwrap();
        // What they have is read.
        assert_eq!(run.snapshot(33, &all()).unwrap().stored(Species::Gas), 8);
        let refused = [
            (run.halo(33, 0, &all()).err(), "/IDs"),
            (run.subhalo(33, 0, &all()).err(), "not sorted by group"),
            (run.snapshot(33, &fields("MagneticField")).err(), "no magnetic fields"),
            (run.snapshot(33, &fields("GFM_Metals")).err(), "Metallicity"),
            (run.snapshot(33, &ReadOptions::stars()).err(), "StellarFormationTime"),
            (run.snapshot(33, &all().only(Species::Tracers)).err(), "no tracers"),
        ];
        for (error, part) in refused {
            let message = error.unwrap().to_string();
            assert!(message.contains(part) && message.contains(&format!("{code} has no")), "{message}");
        }
    }
    for folder in ["IllustrisTNG_DM", "SIMBA_DM", "Astrid_DM"] {
        let run = CamelsRun::new(run(dir.path(), &format!("{folder}/EX_0"), names)).unwrap();
        let read = run.snapshot(33, &all().only(Species::DarkMatter)).unwrap().read().unwrap();
        assert_eq!(read.masses(Species::DarkMatter).unwrap(), [0.006; 12]);
        for error in [
            run.snapshot(33, &all().only(Species::Gas)).err(),
            run.snapshot(33, &all().only(Species::Stars)).err(),
            run.snapshot(33, &all().only(Species::BlackHoles)).err(),
            run.snapshot(33, &fields("InternalEnergy")).err(),
            run.snapshot(33, &fields("GFM_Metals")).err(),
        ] {
            let message = error.unwrap().to_string();
            let code = folder.trim_end_matches("_DM");
            assert!(
                message.contains("gravity alone") && message.contains(&format!("Nbody_{code} has no")),
                "{message}"
            );
        }
    }
    // Members of an N-body run are found where the code sorts its particles.
    let twin = CamelsRun::new(dir.path().join("IllustrisTNG_DM/EX_0")).unwrap();
    assert_eq!(ids(&twin.halo(33, 1, &all()).unwrap(), Species::DarkMatter), [7, 8, 9, 10]);
}

#[test]
fn maps_and_grids_that_a_suite_lacks_are_refused_by_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let maps = Array2::<f32>::ones((4, 4)).insert_axis(ndarray::Axis(0));
    let grids = maps.clone().insert_axis(ndarray::Axis(0));
    let grids = grids.broadcast((2, 4, 4, 4)).unwrap();
    for (prefix, suite, set, refused) in [
        ("B", "SIMBA", "LH", Some("no magnetic fields")),
        ("B", "Astrid", "SB28", Some("no magnetic fields")),
        ("Mgas", "Nbody_IllustrisTNG", "CV", Some("Mtot")),
        ("Mtot", "Nbody_Astrid", "BE", None),
        ("B", "IllustrisTNG", "1P", None),
        ("ne", "SIMBA", "EX", None),
    ] {
        let path = dir.path().join(format!("Maps_{prefix}_{suite}_{set}_z=0.00.npy"));
        write_npy(&path, &maps).unwrap();
        let flat = CmdMaps::open(&path).err();
        let path = dir.path().join(format!("Grids_{prefix}_{suite}_{set}_4_z=0.00.npy"));
        write_npy(&path, &grids).unwrap();
        for error in [flat, CmdGrids::open(&path).err()] {
            let message = error.map(|e| e.to_string());
            match refused {
                Some(part) => assert!(message.as_ref().is_some_and(|m| m.contains(part)), "{message:?}"),
                None => assert_eq!(message, None),
            }
        }
    }
}

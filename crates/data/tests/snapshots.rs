//! Snapshots that are written and read back, whole and damaged.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use halocast_core::{Cosmology, FieldValues, Header, ParticleSet, Rng, Snapshot, Species, Unit};
use halocast_data::*;
use ndarray::{Array1, Array2};

fn snapshot() -> Snapshot {
    let mut rng = Rng::new(4);
    let mut sets = std::collections::BTreeMap::new();
    for (species, n) in [(Species::Gas, 101), (Species::DarkMatter, 64), (Species::BlackHoles, 2)] {
        let mut set = ParticleSet::new(species, n);
        let positions = Array2::from_shape_fn((n, 3), |_| 1000.0 * rng.uniform()).into_dyn();
        set.insert("Coordinates", FieldValues::F64(positions), Unit::kpc_h()).unwrap();
        let ids = Array1::from_shape_fn(n, |i| u64::MAX - i as u64).into_dyn();
        set.insert("ParticleIDs", FieldValues::U64(ids), Unit::dimensionless()).unwrap();
        if species != Species::DarkMatter {
            let masses = Array1::from(rng.normals(n)).into_dyn();
            set.insert("Masses", FieldValues::F32(masses), Unit::msun_h_1e10()).unwrap();
        }
        sets.insert(species, set);
    }
    let header = Header {
        box_size: 1000.0,
        time: 0.5,
        redshift: 1.0,
        cosmology: Cosmology { n_s: 0.9667, sigma_8: 0.8159, ..Cosmology::camels() },
        mass_table: [0.0, 0.25, 0.0, 0.0, 0.0, 0.0],
        promised: [101, 64, 0, 0, 0, 2],
        mock: false,
    };
    Snapshot { header, sets, warnings: Vec::new() }
}

#[test]
fn what_is_written_is_read_back() {
    let written = snapshot();
    for (chunks, storage) in [(1, Storage::Contiguous), (5, Storage::Gzip { rows: 8, level: 4 })] {
        let dir = tempfile::tempdir().unwrap();
        let options = WriteOptions { number: 7, chunks, storage, ..WriteOptions::default() };
        let files = write_snapshot(dir.path(), &written, &options).unwrap();
        assert_eq!(files.len() as u64, chunks);
        assert_eq!(read_snapshot(dir.path(), &ReadOptions::default()).unwrap(), written);
    }
}

#[test]
fn a_removed_chunk_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let options = WriteOptions { number: 7, chunks: 5, ..WriteOptions::default() };
    let files = write_snapshot(dir.path(), &snapshot(), &options).unwrap();
    std::fs::remove_file(&files[4]).unwrap();
    std::fs::remove_file(&files[1]).unwrap();
    let message = read_snapshot(dir.path(), &ReadOptions::default()).unwrap_err().to_string();
    assert!(message.contains("2 chunks of 5 missing (1, 4)") && message.contains("PartType0"), "{message}");
    let read = read_snapshot(dir.path(), &ReadOptions::allow_missing()).unwrap();
    assert_eq!(read.header.promised[0], 101);
    assert!(read.set(Species::Gas).unwrap().len() < 101);
    assert!(read.warnings[0].contains("(1, 4)"), "{:?}", read.warnings);
}

#[test]
fn a_chunk_of_another_simulation_is_named() {
    let mixed = |change: &dyn Fn(&mut Snapshot)| {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let options = WriteOptions { number: 7, chunks: 3, ..WriteOptions::default() };
        write_snapshot(dir.path(), &snapshot(), &options).unwrap();
        let mut changed = snapshot();
        change(&mut changed);
        for from in write_snapshot(other.path(), &changed, &options).unwrap() {
            let to = dir.path().join(from.strip_prefix(other.path()).unwrap());
            if from.to_string_lossy().ends_with(".2.hdf5") {
                std::fs::copy(&from, to).unwrap();
            }
        }
        read_snapshot(dir.path(), &ReadOptions::default()).map_err(|e| e.to_string())
    };
    assert!(mixed(&|_| {}).is_ok());
    for (attribute, change) in [
        ("BoxSize", &(|s: &mut Snapshot| s.header.box_size = 2000.0) as &dyn Fn(&mut Snapshot)),
        ("Time", &|s| s.header.time = 0.25),
        ("HubbleParam", &|s| s.header.cosmology.h = 0.5),
        ("MassTable", &|s| s.header.mass_table[1] = 0.5),
    ] {
        let message = mixed(change).unwrap_err();
        assert!(message.contains(attribute) && message.contains(".2.hdf5"), "{message}");
    }
}

#[test]
fn counts_of_more_than_32_bits_are_understood() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snap_001.hdf5");
    let mut file = create_hdf5(&path).unwrap();
    file.create_group("Header").unwrap();
    for (name, value) in [("Time", 1.0), ("BoxSize", 100.0), ("Omega0", 0.3), ("HubbleParam", 0.7)] {
        file.set_attribute("Header", name, &Attribute::number(value)).unwrap();
    }
    file.set_attribute("Header", "NumPart_Total", &Attribute::U32(vec![5, 0, 0, 0, 0, 0])).unwrap();
    file.set_attribute("Header", "NumPart_Total_HighWord", &Attribute::U32(vec![2, 0, 0, 0, 0, 0])).unwrap();
    file.finish().unwrap();
    let message = read_snapshot(&path, &ReadOptions::default()).unwrap_err().to_string();
    assert!(message.contains("header promises 8589934597, files hold 0"), "{message}");
}

#[test]
fn bad_headers_and_shapes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snap_001.hdf5");
    let write = |box_size: f64, rows: usize| {
        let mut file = create_hdf5(&path).unwrap();
        file.create_group("Header").unwrap();
        for (name, value) in [("Time", 1.0), ("BoxSize", box_size), ("Omega0", 0.3), ("HubbleParam", 0.7)] {
            file.set_attribute("Header", name, &Attribute::number(value)).unwrap();
        }
        file.create_group("PartType1").unwrap();
        let positions = FieldValues::F32(Array2::zeros((4, 3)).into_dyn());
        file.write_dataset("PartType1/Coordinates", &positions, Storage::Contiguous).unwrap();
        let masses = FieldValues::F32(Array1::zeros(rows).into_dyn());
        file.write_dataset("PartType1/Masses", &masses, Storage::Contiguous).unwrap();
        file.finish().unwrap();
        read_snapshot(&path, &ReadOptions::default())
    };
    assert_eq!(write(10.0, 4).unwrap().set(Species::DarkMatter).unwrap().len(), 4);
    for (size, rows, part) in [(f64::NAN, 4, "BoxSize"), (-1.0, 4, "BoxSize"), (10.0, 3, "PartType1/Masses")]
    {
        let message = write(size, rows).unwrap_err().to_string();
        assert!(message.contains(part) && message.contains("snap_001.hdf5"), "{message}");
    }
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let message = read_snapshot(&empty, &ReadOptions::default()).unwrap_err().to_string();
    assert!(message.contains("found no snapshot"), "{message}");
}

/// Counts of 2^60 and negative ones: an error of one line with the file and the field.
#[test]
fn absurd_counts_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snap_001.hdf5");
    const ROWS: usize = 12_345;
    let write = |storage, counts: Attribute| {
        let mut file = create_hdf5(&path).unwrap();
        file.create_group("Header").unwrap();
        for (name, value) in [("Time", 1.0), ("BoxSize", 1e9), ("Omega0", 0.3), ("HubbleParam", 0.7)] {
            file.set_attribute("Header", name, &Attribute::number(value)).unwrap();
        }
        file.set_attribute("Header", "NumPart_Total", &counts).unwrap();
        file.create_group("PartType1").unwrap();
        let masses =
            Array1::from_shape_fn(ROWS, |i| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)).into_dyn();
        file.write_dataset("PartType1/ParticleIDs", &FieldValues::U64(masses), storage).unwrap();
        file.finish().unwrap();
        std::fs::read(&path).unwrap()
    };
    let refused = |bytes: &[u8], part: &str| {
        std::fs::write(&path, bytes).unwrap();
        let message = read_snapshot(&path, &ReadOptions::default()).unwrap_err().to_string();
        assert!(message.contains("snap_001.hdf5") && message.contains(part), "{part}: {message}");
        assert!(!message.contains('\n'), "{message}");
    };
    let swap = |bytes: &[u8], from: u64, to: u64| {
        let (from, to, mut bytes) = (from.to_le_bytes(), to.to_le_bytes(), bytes.to_vec());
        let places: Vec<usize> = (0..bytes.len() - 8).filter(|&i| bytes[i..i + 8] == from).collect();
        assert!(!places.is_empty());
        places.into_iter().for_each(|at| bytes[at..at + 8].copy_from_slice(&to));
        bytes
    };
    refused(&write(Storage::Contiguous, Attribute::I32(vec![0, -5, 0, 0, 0, 0])), "NumPart_Total");
    refused(&write(Storage::Contiguous, Attribute::U64(vec![0, 1 << 60, 0, 0, 0, 0])), "1152921504606846976");
    let counts = || Attribute::U32(vec![0, ROWS as u32, 0, 0, 0, 0]);
    // The sum of checks notices it, too.
    let bytes = write(Storage::Contiguous, counts());
    refused(&swap(&bytes, ROWS as u64, 1 << 60), "cannot");
}

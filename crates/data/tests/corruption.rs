//! Damaged files: whatever byte is flipped and wherever a file is cut, reading gives a value or an error of one line.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::path::Path;

use halocast_core::{Cosmology, FieldValues, Header, ParticleSet, Rng, Snapshot, Species, Unit};
use halocast_data::*;
use ndarray::{Array1, Array2};

/// Changes a byte or cuts the file, at a place that `rng` draws.
fn damage(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = rng.below(bytes.len());
    match rng.below(4) {
        0 => bytes.truncate(at),
        1 => bytes[at] = 0xff,
        // Headers are small: most damage has to fall there.
        2 => bytes[at.min(rng.below(2048))] ^= 1 << rng.below(8),
        _ => bytes[at] ^= 1 << rng.below(8),
    }
    bytes
}

/// Reads damaged copies; every error is one line that names the file.
fn survive<T>(original: &Path, name: &str, times: usize, read: impl Fn(&Path) -> Result<T>) -> usize {
    let bytes = std::fs::read(original).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    let mut rng = Rng::new(20);
    let mut errors = 0;
    for _ in 0..times {
        std::fs::write(&path, damage(&bytes, &mut rng)).unwrap();
        if let Err(error) = read(&path) {
            let message = error.to_string();
            assert!(!message.contains('\n') && message.len() < 2000, "{message}");
            errors += 1;
        }
    }
    errors
}

fn read_everything(path: &Path) -> Result<()> {
    fn walk(file: &dyn Hdf5Read, group: &str, depth: usize) -> Result<()> {
        file.attributes(group)?;
        let child = |name: String| if group.is_empty() { name } else { format!("{group}/{name}") };
        for dataset in file.datasets(group)?.into_iter().map(child) {
            file.attributes(&dataset)?;
            // A damaged shape may promise what no memory holds: the reader has to see that by itself.
            if file.info(&dataset)?.shape.iter().product::<usize>() < 1 << 24 {
                file.read(&dataset)?;
            }
        }
        for group in file.groups(group)?.into_iter().map(child).filter(|_| depth < 8) {
            walk(file, &group, depth + 1)?;
        }
        Ok(())
    }
    walk(&*open_hdf5(path)?, "", 0)
}

fn snapshot() -> Snapshot {
    let mut set = ParticleSet::new(Species::Gas, 40);
    let positions = Array2::from_shape_fn((40, 3), |(i, j)| (i + j) as f64).into_dyn();
    set.insert("Coordinates", FieldValues::F64(positions), Unit::kpc_h()).unwrap();
    set.insert("Masses", FieldValues::F32(Array1::ones(40).into_dyn()), Unit::msun_h_1e10()).unwrap();
    let header = Header {
        box_size: 100.0,
        time: 1.0,
        redshift: 0.0,
        cosmology: Cosmology::camels(),
        mass_table: [0.0; 6],
        promised: [40, 0, 0, 0, 0, 0],
        mock: false,
    };
    Snapshot { header, sets: BTreeMap::from([(Species::Gas, set)]), warnings: Vec::new() }
}

#[test]
fn damaged_hdf5_is_an_error_not_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    for storage in [Storage::Contiguous, Storage::Gzip { rows: 16, level: 4 }] {
        let options = WriteOptions { storage, ..WriteOptions::default() };
        let files = write_snapshot(dir.path(), &snapshot(), &options).unwrap();
        assert!(survive(&files[0], "snap_099.hdf5", 150, read_everything) > 20);
        assert!(survive(&files[0], "snap_099.hdf5", 150, |p| read_snapshot(p, &ReadOptions::default())) > 20);
        survive(&files[0], "snap_099.hdf5", 100, |p| describe(p));
    }
}

#[test]
fn damaged_real_hdf5_is_an_error_not_a_panic() {
    let root = std::env::var("HALOCAST_DATA")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data").to_owned());
    for name in [
        "tng50-4_subbox0/snap_2332.0.hdf5",
        "camels_snapshot/camels_snap_52412.hdf5",
        "tng100-1_groups/fof_subhalo_tab_099.1.hdf5",
    ] {
        let path = Path::new(&root).join(name);
        if path.exists() {
            survive(&path, "snap_001.hdf5", 300, read_everything);
        } else {
            println!("no {name} in HALOCAST_DATA: not tested");
        }
    }
}

#[test]
fn a_damaged_array_is_an_error_not_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.npy");
    write_npy(&path, &Array2::<f32>::ones((20, 6))).unwrap();
    assert!(survive(&path, "b.npy", 300, |p| read_npy_f64(p)) > 50);
    assert!(survive(&path, "b.npy", 300, |p| CmdMaps::open(p)?.map(0)) > 50);
}

#[test]
fn a_damaged_image_is_an_error_not_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.fits");
    let mut bytes = Vec::new();
    for card in [
        "SIMPLE  =                    T",
        "BITPIX  =                  -32",
        "NAXIS   =                    2",
        "NAXIS1  =                   20",
        "NAXIS2  =                   10",
        "CDELT1  =                 0.01",
        "CDELT2  =                 0.01",
        "END",
    ] {
        bytes.extend(format!("{card:<80}").into_bytes());
    }
    bytes.resize(2880, b' ');
    bytes.extend((0..200).flat_map(|i| (i as f32).to_be_bytes()));
    bytes.resize(5760, 0);
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(read_fits_map(&path).unwrap().values[[9, 19]], 199.0);
    assert!(survive(&path, "b.fits", 300, |p| read_fits_map(p)) > 50);
}

//! Facts that a correct reader reproduces from public simulation files. Where the files are absent, each test says so in
//! one line and passes.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeSet;
use std::path::PathBuf;

use halocast_core::{FieldValues, Species};
use halocast_data::*;

/// A file or folder of the data, when it is there.
fn data(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("HALOCAST_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")),
        PathBuf::from,
    );
    let path = root.join(name);
    if !path.exists() {
        println!("no {name} in HALOCAST_DATA: not tested");
        return None;
    }
    Some(path)
}

fn close(got: f64, expected: f64, relative: f64) {
    assert!((got / expected - 1.0).abs() < relative, "{got} is not {expected}");
}

#[test]
fn a_snapshot_with_a_missing_chunk_is_an_error_that_names_it() {
    let Some(path) = data("tng50-4_subbox0") else { return };
    let message = read_snapshot(&path, &ReadOptions::default()).unwrap_err().to_string();
    for part in [
        "chunk 7 of 11 missing",
        "tng50-4_subbox0",
        "header promises 45632, files hold 24789",
        "11 expected",
        "10 found",
    ] {
        assert!(message.contains(part), "{part:?} is not in {message}");
    }
    assert!(!message.contains('\n'));
}

#[test]
fn a_snapshot_with_a_missing_chunk_is_read_when_that_is_allowed() {
    let Some(path) = data("tng50-4_subbox0") else { return };
    let snapshot = read_snapshot(&path, &ReadOptions::allow_missing()).unwrap();
    assert_eq!(snapshot.warnings.len(), 6, "{:?}", snapshot.warnings);
    assert_eq!(snapshot.header.promised, [45632, 48085, 0, 47864, 953, 17]);
    assert_eq!(snapshot.header.box_size, 35000.0);
    close(snapshot.header.cosmology.omega_m, 0.3089, 1e-12);
    let counts = [
        (Species::Gas, 24789),
        (Species::DarkMatter, 26060),
        (Species::Tracers, 25614),
        (Species::Stars, 266),
        (Species::BlackHoles, 9),
    ];
    for (species, count) in counts {
        assert_eq!(snapshot.set(species).unwrap().len(), count);
    }
    let mass = |s| snapshot.masses(s).unwrap().iter().sum::<f64>();
    close(mass(Species::Gas), 74.53126591, 1e-9);
    close(mass(Species::DarkMatter), 410.11212732, 1e-9);
    close(mass(Species::Stars), 0.57748868, 1e-7);
    close(mass(Species::BlackHoles), 0.04254430, 1e-7);
    for species in [Species::Gas, Species::DarkMatter, Species::Stars, Species::BlackHoles] {
        let set = snapshot.set(species).unwrap();
        assert_eq!(set.field("Coordinates").unwrap().unit.label, "ckpc/h");
        for [x, y, z] in set.vectors("Coordinates").unwrap() {
            assert!(
                (24000.0..=28000.0).contains(&x)
                    && (8000.0..=12000.0).contains(&y)
                    && (24500.0..=28500.0).contains(&z)
            );
        }
        // Identifiers keep their type and are distinct.
        let FieldValues::U64(ids) = &set.field("ParticleIDs").unwrap().values else { panic!("not u64") };
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), set.len());
    }
    let gas = snapshot.set(Species::Gas).unwrap();
    assert_eq!(gas.field("GFM_Metals").unwrap().values.shape(), [24789, 10]);
    assert!((gas.field("MagneticField").unwrap().unit.to_cgs - 2.602e-6).abs() < 1e-9);
}

#[test]
fn a_selection_is_read_alone() {
    let Some(path) = data("tng50-4_subbox0") else { return };
    let options = ReadOptions::allow_missing().only(Species::Gas).with_fields(&["Coordinates", "Masses"]);
    // Any chunk stands for the whole snapshot.
    let snapshot = read_snapshot(path.join("snap_2332.5.hdf5"), &options).unwrap();
    assert_eq!(snapshot.sets.len(), 1);
    let gas = snapshot.set(Species::Gas).unwrap();
    assert_eq!(gas.fields().map(|(name, _)| name).collect::<Vec<_>>(), ["Coordinates", "Masses"]);
    assert_eq!(gas.len(), 24789);
    let message =
        read_snapshot(&path, &options.clone().with_fields(&["Temperature"])).unwrap_err().to_string();
    assert!(message.contains("Temperature") && message.contains("InternalEnergy"), "{message}");
    let message = read_snapshot(&path, &ReadOptions::allow_missing().only(Species::LowResolutionDarkMatter))
        .unwrap_err()
        .to_string();
    assert!(message.contains("PartType2") && message.contains("PartType0"), "{message}");
}

#[test]
fn a_snapshot_is_described_without_being_read() {
    let Some(path) = data("tng50-4_subbox0") else { return };
    let description = describe_snapshot(&path, &ReadOptions::default()).unwrap();
    assert_eq!(description.missing_chunks, [7]);
    assert_eq!(description.empty_chunks, [2, 9]);
    assert_eq!(description.chunks, [10, 11]);
    let text = description.to_string();
    for part in [
        "24789 stored, 45632 promised",
        "Coordinates",
        "f64",
        "[24789, 3]",
        "ckpc/h",
        "missing [7]",
        "Omega_m = 0.3089",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(serde_json::to_string(&description).unwrap().contains("missing_chunks"));
}

#[test]
fn a_cutout_without_unit_attributes_is_read() {
    let Some(path) = data("tng_mphys/cutout_185.hdf5") else { return };
    let snapshot = read_snapshot(&path, &ReadOptions::default()).unwrap();
    assert_eq!(snapshot.set(Species::Gas).unwrap().len(), 125_018);
    close(snapshot.masses(Species::Gas).unwrap().iter().sum(), 741.3302679557, 1e-9);
    assert!(matches!(
        snapshot.set(Species::Gas).unwrap().field("Coordinates").unwrap().values,
        FieldValues::F32(_)
    ));
    assert_eq!(snapshot.set(Species::Gas).unwrap().field("Masses").unwrap().unit.label, "1e10 Msun/h");
}

#[test]
fn a_camels_piece_has_a_minimal_header() {
    let Some(path) = data("camels_snapshot/camels_snap_149456.hdf5") else { return };
    let snapshot = read_snapshot(&path, &ReadOptions::default()).unwrap();
    assert!(
        snapshot.warnings.iter().any(|w| w.contains("BoxSize") && w.contains("25000")),
        "{:?}",
        snapshot.warnings
    );
    close(snapshot.header.time, 0.909047, 1e-6);
    close(snapshot.header.cosmology.omega_m, 0.3026, 1e-12);
    assert!(
        !snapshot.set(Species::Gas).unwrap().is_empty() && !snapshot.set(Species::Stars).unwrap().is_empty()
    );
}

#[test]
fn a_group_catalogue_is_read_through_the_same_door() {
    let Some(path) = data("tng100-2_groups") else { return };
    let (mut nsubs, mut first) = (Vec::new(), Vec::new());
    for chunk in 0..6 {
        let file = open_hdf5(path.join(format!("fof_subhalo_tab_099.{chunk}.hdf5"))).unwrap();
        nsubs.extend(file.read_u64("Group/GroupNsubs").unwrap());
        let FieldValues::I64(values) = file.read("Group/GroupFirstSub").unwrap() else {
            panic!("not signed")
        };
        first.extend(values);
        // An enumeration is read as its integers.
        assert!(file.read("Subhalo/SubhaloFlag").is_ok());
    }
    let mut sum = 0;
    for (n, first) in nsubs.iter().zip(&first) {
        if *first >= 0 {
            assert_eq!(*first, sum);
        }
        sum += *n as i64;
    }
    if let Some(path) = data("tng100-1_groups/fof_subhalo_tab_099.1.hdf5") {
        let file = open_hdf5(path).unwrap();
        let datasets: usize = file.groups("").unwrap().iter().map(|g| file.datasets(g).unwrap().len()).sum();
        assert_eq!(datasets, 0, "a chunk without groups");
    }
    if let Some(path) = data("gadget4/fof_subhalo_tab_264.19.hdf5") {
        let file = open_hdf5(path).unwrap();
        assert_eq!(file.info("Group/GroupPos").unwrap().rows(), 1904);
        for group in ["Group", "Subhalo"] {
            for name in file.datasets(group).unwrap() {
                file.read(&format!("{group}/{name}")).unwrap();
            }
        }
    }
}

/// The attributes that real files have on what this crate writes, it writes too.
#[test]
fn written_files_have_the_attributes_of_real_ones() {
    let Some(path) = data("tng50-4_subbox0") else { return };
    let snapshot = read_snapshot(&path, &ReadOptions::allow_missing()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let options = WriteOptions { number: 2332, chunks: 3, ..WriteOptions::default() };
    let files = write_snapshot(dir.path(), &snapshot, &options).unwrap();
    assert!(files[0].ends_with("snapdir_2332/snap_2332.0.hdf5"));
    let (real, ours) = (open_hdf5(path.join("snap_2332.0.hdf5")).unwrap(), open_hdf5(&files[0]).unwrap());
    let names =
        |file: &dyn Hdf5Read, object: &str| file.attributes(object).unwrap().into_keys().collect::<Vec<_>>();
    for object in [
        "Header",
        "PartType0/Coordinates",
        "PartType0/Masses",
        "PartType1/Velocities",
        "PartType0/Density",
        "PartType0/StarFormationRate",
    ] {
        assert_eq!(names(&*ours, object), names(&*real, object), "{object}");
    }
    let (real_header, header) = (real.attributes("Header").unwrap(), ours.attributes("Header").unwrap());
    for (name, value) in &real_header {
        assert_eq!(std::mem::discriminant(value), std::mem::discriminant(&header[name]), "{name}");
    }
    let (real_unit, unit) =
        (real.attributes("PartType0/Density").unwrap(), ours.attributes("PartType0/Density").unwrap());
    assert_eq!(real_unit, unit);

    let back = read_snapshot(dir.path(), &ReadOptions::default()).unwrap();
    assert!(back.warnings.is_empty(), "{:?}", back.warnings);
    assert_eq!(back.sets, snapshot.sets);
    assert_eq!(back.header.cosmology, snapshot.header.cosmology);
}

#[test]
fn parameter_files_are_read_and_a_mislabelled_one_is_refused() {
    if let Some(path) = data("camels_params") {
        let with_header = read_params(path.join("params_LH_IllustrisTNG.txt")).unwrap();
        let without = read_params(path.join("cmd/params_LH_IllustrisTNG.txt")).unwrap();
        let seeds = read_params(path.join("CosmoAstroSeed_IllustrisTNG_L25n256_LH.txt")).unwrap();
        with_header.require_rows(1000).unwrap();
        assert_eq!(with_header.values, without.values);
        assert_eq!(with_header.values, seeds.values);
        assert_eq!(without.values.row(0).to_vec(), [0.309, 0.979, 3.11234, 1.12194, 0.6685, 0.53182]);
        read_params(path.join("cmd/params_CV_IllustrisTNG.txt")).unwrap().require_rows(27).unwrap();
        // The ranges of the latin hypercube tell the columns apart: A_SN1 and A_AGN1 reach 4, A_SN2 and A_AGN2 2.
        let largest = |column: usize| with_header.values.column(column).fold(0f64, |a, &b| a.max(b));
        assert!(largest(2) > 3.9 && largest(3) > 3.9 && largest(4) < 2.01 && largest(5) < 2.01);
    }
    if let Some(path) = data("camels_sfrh") {
        let file = path.join("params_IllustrisTNG.txt");
        let message = read_params(&file).unwrap_err().to_string();
        assert!(message.contains("A_SN2 A_AGN1"), "{message}");
        assert_eq!(read_params_by_position(&file).unwrap().len(), 1000);
        assert_eq!(read_npy_f32(path.join("SFRH_IllustrisTNG.npy")).unwrap().shape(), [1000, 100]);
    }
}

#[test]
fn arrays_of_other_surveys_are_read() {
    if let Some(path) = data("quijote_halos/halos_small.npy") {
        let halos = read_npy_f32(path).unwrap();
        assert_eq!(halos.shape(), [16, 5000, 7]);
        assert!(halos.slice(ndarray::s![.., .., ..3]).iter().all(|x| (0.0..=1000.0).contains(x)));
    }
    if let Some(path) = data("pair_counts/gals_Mr19_xyz_f32.npy") {
        let galaxies = read_npy::<f32>(path).unwrap();
        assert!(galaxies.shape().contains(&1_235_904), "{:?}", galaxies.shape());
    }
}

#[test]
fn lensing_maps_have_their_angle() {
    let Some(path) = data("lensing_maps") else { return };
    let maps: Vec<_> = ["z12", "z52", "z70", "z99"]
        .iter()
        .map(|z| read_fits_map(path.join(format!("convergence_{z}.fit"))).unwrap())
        .collect();
    for map in &maps {
        assert_eq!((map.shape(), map.extent), ([512, 512], [3.5, 3.5]));
        assert_eq!(
            (map.length_unit.label.as_str(), map.field.as_str(), map.periodic),
            ("deg", "ConvergenceMap", false)
        );
        map.require_finite().unwrap();
    }
    // Farther sources are lensed more.
    let rms: Vec<f32> = maps.iter().map(|m| m.values.std(0.0)).collect();
    assert!(rms.windows(2).all(|w| w[0] < w[1]), "{rms:?}");
    let patches = sky_patches(&maps, 64, 64).unwrap();
    assert_eq!((patches.maps.len(), patches.groups[64]), (256, 0));
    assert!((patches.maps[0].extent[0] - 0.4375).abs() < 1e-12);
}

#[test]
fn other_images_are_read() {
    if let Some(path) = data("dust") {
        assert_eq!(read_fits_map(path.join("I_1.fits")).unwrap().length_unit.label, "pixel");
        let perseus = read_fits_map(path.join("PerA_Extn2MASS_F_Gal.fits")).unwrap();
        assert_eq!(perseus.shape(), [313, 217]);
        close(perseus.extent[1], 217.0 / 24.0, 1e-6);
    }
    if let Some(path) = data("turbulence/dataset1_moment0.fits") {
        assert_eq!(read_fits(path).unwrap().header.bitpix, -64);
    }
    if let Some(path) = data("sdss_spectra/spec-0266-51602-0013.fits") {
        assert!(read_fits_headers(&path).unwrap().len() > 1);
        let message = read_fits(&path).unwrap_err().to_string();
        assert!(message.contains("no image") && message.contains("BINTABLE"), "{message}");
    }
}

#[test]
fn everything_is_described() {
    let Some(root) = data("README.md").and_then(|p| p.parent().map(PathBuf::from)) else { return };
    for (name, part) in [
        ("tng50-4_subbox0", "snapshot"),
        ("tng100-2_groups", "Group: 12 stored, 848588 promised"),
        ("tng_tutorial/data.hdf5", "HDF5"),
        ("camels_params", "1000 simulations"),
        ("lensing_maps", "[512, 512] of -32 bits"),
        ("quijote_halos", "npy array [16, 5000, 7]"),
        ("sdss_spectra", "BINTABLE"),
    ] {
        let description = describe(root.join(name)).unwrap();
        assert!(description.to_string().contains(part), "{part:?} is not in\n{description}");
        serde_json::to_string(&description).unwrap();
    }
    assert!(describe(root.join("README.md")).unwrap_err().to_string().contains("no known format"));
}

/// Both backends give the same of every file.
#[cfg(feature = "libhdf5")]
#[test]
fn the_backends_agree_on_real_files() {
    /// Equal bit for bit, NaN too.
    fn same(a: &FieldValues, b: &FieldValues) -> bool {
        match (a, b) {
            (FieldValues::F32(a), FieldValues::F32(b)) => a.mapv(f32::to_bits) == b.mapv(f32::to_bits),
            (FieldValues::F64(a), FieldValues::F64(b)) => a.mapv(f64::to_bits) == b.mapv(f64::to_bits),
            _ => a == b,
        }
    }
    fn compare(pure: &dyn Hdf5Read, native: &dyn Hdf5Read, group: &str, count: &mut [usize; 2]) {
        let child = |name: &String| if group.is_empty() { name.clone() } else { format!("{group}/{name}") };
        let attributes = |object: &str, count: &mut [usize; 2]| {
            let (a, b) = (pure.attributes(object).unwrap(), native.attributes(object).unwrap());
            // Through text: a NaN is unequal to itself.
            assert_eq!(format!("{a:?}"), format!("{b:?}"), "{object}");
            count[0] += a.len();
        };
        attributes(group, count);
        assert_eq!(pure.datasets(group).unwrap(), native.datasets(group).unwrap());
        assert_eq!(pure.groups(group).unwrap(), native.groups(group).unwrap());
        for dataset in pure.datasets(group).unwrap().iter().map(child) {
            attributes(&dataset, count);
            let (a, b) = (pure.info(&dataset).unwrap(), native.info(&dataset).unwrap());
            assert_eq!(a.shape, b.shape, "{dataset}");
            let (stored, dtype) = (pure.read(&dataset).unwrap(), b.dtype);
            if dtype == Hdf5Type::Other("integers of 6 bytes".into()) {
                // The C library's Rust side does not tell the sign of what is 48 bits wide.
                assert_eq!(a.dtype, Hdf5Type::Unsigned(6), "{dataset}");
                let (FieldValues::U64(a), FieldValues::I64(b)) = (stored, native.read(&dataset).unwrap())
                else {
                    panic!("{dataset}: not integers")
                };
                assert!(a.shape() == b.shape() && a.iter().zip(&b).all(|(a, b)| i64::try_from(*a) == Ok(*b)));
                count[1] += 1;
                continue;
            }
            assert_eq!(a.dtype, dtype, "{dataset}");
            let (a, b) = (stored, native.read(&dataset).unwrap());
            assert!(same(&a, &b), "{dataset}");
            let rows = pure.info(&dataset).unwrap().rows();
            let part = rows / 3..(rows / 3 + 100).min(rows);
            let (a, b) =
                (pure.read_rows(&dataset, part.clone()).unwrap(), native.read_rows(&dataset, part).unwrap());
            assert!(same(&a, &b), "{dataset}");
            count[1] += 1;
        }
        for group in pure.groups(group).unwrap().iter().map(child) {
            compare(pure, native, &group, count);
        }
    }
    let Some(root) = data("README.md").and_then(|p| p.parent().map(PathBuf::from)) else { return };
    let mut count = [0; 2];
    for folder in [
        "tng50-4_subbox0",
        "tng100-2_groups",
        "tng100-1_groups",
        "tng_mphys",
        "tng_tutorial",
        "camels_snapshot",
        "gadget4",
    ] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "hdf5") {
                let (pure, native) = (
                    open_hdf5_with(&path, Backend::Pure).unwrap(),
                    open_hdf5_with(&path, Backend::Libhdf5).unwrap(),
                );
                compare(&*pure, &*native, "", &mut count);
            }
        }
    }
    println!("{} attributes and {} datasets agree", count[0], count[1]);
    assert!(count[0] > 3000 && count[1] > 300, "{count:?}");
}

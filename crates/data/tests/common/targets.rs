//! What damaged files are fed to: every parser of this crate, with a small whole file of each.

#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use halocast_core::{Cosmology, FieldValues, Header, Map, ParticleSet, Rng, Snapshot, Species, Unit};
use halocast_data::*;
use ndarray::{Array1, Array2, Array3, Array4};

/// A parser, with the name that a file must have for it and a file that it reads.
pub(crate) struct Target {
    pub name: &'static str,
    pub file: &'static str,
    pub seed: Vec<u8>,
    pub read: fn(&Path) -> Result<()>,
}

impl Target {
    /// Reads a file by the target's parser, and describes it as `inspect` does; the messages of what failed.
    pub(crate) fn run(&self, path: &Path) -> [Option<String>; 2] {
        [(self.read)(path), describe(path).map(drop)].map(|result| Some(result.err()?.to_string()))
    }
}

/// All parsers.
pub(crate) fn targets() -> Vec<Target> {
    let dir = tempfile::tempdir().unwrap();
    let made = |name: &str, write: &dyn Fn(&Path)| {
        let path = dir.path().join(name);
        write(&path);
        std::fs::read(path).unwrap()
    };
    let snapshot = snapshot_file(dir.path(), Storage::Contiguous);
    let packed = snapshot_file(dir.path(), Storage::Gzip { rows: 16, level: 4 });
    let npy = made("a.npy", &|p| write_npy(p, &Array2::<f32>::ones((20, 6))).unwrap());
    vec![
        Target { name: "hdf5", file: "a.hdf5", seed: snapshot.clone(), read: everything },
        Target { name: "hdf5_gzip", file: "a.hdf5", seed: packed.clone(), read: everything },
        Target {
            name: "snapshot",
            file: "snap_001.hdf5",
            seed: packed,
            read: |p| {
                read_snapshot(p, &ReadOptions::allow_missing())?;
                let reader = SnapshotReader::open(p, &ReadOptions::allow_missing().with_stride(3))?;
                reader.read_region([50.0; 3], [20.0; 3]).map(drop)
            },
        },
        Target { name: "describe", file: "snap_001.hdf5", seed: snapshot, read: |p| describe(p).map(drop) },
        Target {
            name: "groups",
            file: "fof_subhalo_tab_001.hdf5",
            seed: made("g.hdf5", &groups),
            read: |p| read_groups(p, &ReadOptions::allow_missing()).and_then(|g| Offsets::of(&g)).map(drop),
        },
        Target {
            name: "tree",
            file: "tree.hdf5",
            seed: made("t.hdf5", &tree),
            read: |p| {
                let tree = MergerTree::open(p)?;
                tree.main_branch();
                tree.mergers(0.1, 4).map(drop)
            },
        },
        Target {
            name: "skais",
            file: "skais.hdf5",
            seed: made("s.hdf5", &skais),
            read: |p| {
                let file = SkaisFile::open(p)?;
                for group in file.groups() {
                    for i in 0..file.shape(group)?[0].min(4) {
                        file.image(group, i)?;
                    }
                }
                Ok(())
            },
        },
        Target {
            name: "npy",
            file: "a.npy",
            seed: npy.clone(),
            read: |p| {
                read_npy_f64(p)?;
                NpyMap::<f32>::open(p)?.view()?.sum();
                CmdMaps::open(p)?.map(0).map(drop)
            },
        },
        Target {
            name: "npz",
            file: "a.npz",
            seed: zipped(&npy),
            read: |p| {
                let file = NpzFile::open(p)?;
                file.names().into_iter().try_for_each(|name| file.read_f64(name).map(drop))
            },
        },
        Target {
            name: "npz_inside",
            file: "a.npy",
            seed: npy.clone(),
            read: |p| {
                let archive = p.with_extension("npz");
                std::fs::write(&archive, zipped(&std::fs::read(p).unwrap())).unwrap();
                let file = NpzFile::open(archive)?;
                file.names().into_iter().try_for_each(|name| file.info(name).and(file.read_f64(name)).map(drop))
            },
        },
        Target {
            name: "npy_fortran",
            file: "a.npy",
            seed: [
                &b"\x93NUMPY\x02\x00\x50\x00\x00\x00{'descr': '>i2', 'fortran_order': True, 'shape': (3, 5, 2), }"[..],
                &[b' '; 80 - 61],
                &[7; 60],
            ]
            .concat(),
            read: |p| {
                let file = NpyFile::open(p)?;
                file.read_f64()?;
                file.read_f32().map(drop)
            },
        },
        Target {
            name: "grids",
            file: "Grids_Mcdm_IllustrisTNG_LH_3_z=0.00.npy",
            seed: made("grids.npy", &|p| write_npy(p, &Array4::<f32>::ones((2, 3, 3, 3))).unwrap()),
            read: |p| {
                let grids = CmdGrids::open(p)?;
                (0..grids.len().min(4)).try_for_each(|i| grids.view(i).map(|g| assert!(!g.is_empty())))
            },
        },
        Target { name: "fits_scaled", file: "a.fits", seed: fits_scaled(), read: |p| {
            for header in read_fits_headers(p)? {
                read_fits_unit(p, header.unit)?;
            }
            Ok(())
        } },
        Target {
            name: "spectrum",
            file: "spec-0266-51602-0013.fits",
            seed: spectrum(),
            read: |p| read_sdss_spectrum(p).map(drop),
        },
        Target {
            name: "spectra",
            file: "sdss_galaxy_spec.hdf5",
            seed: made("spectra.hdf5", &spectra),
            read: |p| read_sdss_set(p).map(drop),
        },
        Target {
            name: "offsets",
            file: "offsets_001.hdf5",
            seed: made("offsets.hdf5", &offsets),
            read: |p| {
                let lengths = p.with_file_name("fof_subhalo_tab_001.hdf5");
                if !lengths.exists() {
                    groups(&lengths);
                }
                Offsets::read(p, &read_groups(lengths, &ReadOptions::default())?).map(drop)
            },
        },
        Target {
            name: "cosmologies",
            file: "cosmologies.csv",
            seed: b",Omega_m,Omega_b,h,n_s,sigma_8\n0,0.1755,0.06681,0.7737,0.8849,0.6641\n".to_vec(),
            read: |p| read_cosmologies(p).map(drop),
        },
        Target {
            name: "halos",
            file: "halos.npy",
            seed: made("halos.npy", &|p| write_npy(p, &Array3::<f32>::ones((1, 4, 7))).unwrap()),
            read: |p| {
                let table = p.with_file_name("table.csv");
                std::fs::write(&table, "Omega_m,Omega_b,h,n_s,sigma_8\n0.3,0.05,0.7,0.96,0.8\n").unwrap();
                read_quijote_halos(p, table)?.cloud(0).map(drop)
            },
        },
        Target {
            name: "fof_ids",
            file: "group_ids_004.0",
            seed: fof_ids(),
            read: |p| {
                let options = FofOptions { allow_missing: true, long_ids: true, ..Default::default() };
                read_fof_ids(p.parent().unwrap_or(p), &options).map(drop)
            },
        },
        Target {
            name: "gadget_named",
            file: "snap_004",
            seed: named(&gadget()),
            read: |p| read_gadget(p, &GadgetOptions { allow_missing: true, ..Default::default() }).map(drop),
        },
        Target { name: "fits", file: "a.fits", seed: fits(), read: |p| read_fits_map(p).map(drop) },
        Target { name: "fits_table", file: "a.fits", seed: fits_table(), read: |p| read_fits_table(p, None).map(drop) },
        Target {
            name: "params",
            file: "params_LH_X.txt",
            seed: b"# Om sigma8 SN1 AGN1 SN2 AGN2\n0.309 0.979 3.1 1.1 0.66 0.53\n0.3 0.9 3.4 3.9 1.0 1.1\n".to_vec(),
            read: |p| read_params(p).map(drop),
        },
        Target {
            name: "seeds",
            file: "CosmoAstroSeed_X.txt",
            seed: b"#Name Omega_m sigma_8 A_SN1 A_AGN1 A_SN2 A_AGN2 seed\n LH_0 0.3 0.9 3 1 0.6 0.5 7\n".to_vec(),
            read: |p| read_cosmo_astro_seed(p).map(drop),
        },
        Target {
            name: "text",
            file: "a.csv",
            seed: b",Omega_m,h\n0,0.1755,0.7\n1,0.2139,0.8\n".to_vec(),
            read: |p| read_text_table(p).map(drop),
        },
        Target {
            name: "fof",
            file: "group_tab_004.0",
            seed: fof(),
            read: |p| read_fof(p.parent().unwrap_or(p), &FofOptions { allow_missing: true, ..Default::default() }).map(drop),
        },
        Target {
            name: "gadget",
            file: "snap_004",
            seed: gadget(),
            read: |p| read_gadget(p, &GadgetOptions { allow_missing: true, ..Default::default() }).map(drop),
        },
        Target {
            name: "manifest",
            file: "split.json",
            seed: b"{\"seed\": 1, \"fractions\": [0.5, 0.5, 0.0], \"sets\": {\"a\": \"train\", \"b\": \"test\"}}".to_vec(),
            read: |p| SplitManifest::read(p).map(drop),
        },
    ]
}

/// The small public files, where they are: each with the parser of its kind.
pub(crate) fn public_targets() -> Vec<Target> {
    const LARGEST: usize = 200_000;
    type Read = fn(&Path) -> Result<()>;
    let snapshot: Read = |p| {
        everything(p)?;
        read_snapshot(p, &ReadOptions::allow_missing()).map(drop)
    };
    let groups: Read = |p| {
        everything(p)?;
        read_groups(p, &ReadOptions::allow_missing()).map(drop)
    };
    let tree: Read = |p| {
        everything(p)?;
        MergerTree::open(p)?.mergers(0.1, 4).map(drop)
    };
    let npz: Read = |p| {
        let file = NpzFile::open(p)?;
        file.names().into_iter().try_for_each(|name| file.read_f64(name).map(drop))
    };
    let files: [(&str, &str, &str, Read); 8] = [
        ("public_subbox", "tng50-4_subbox0/snap_2332.0.hdf5", "snap_001.hdf5", snapshot),
        ("public_empty_chunk", "tng50-4_subbox0/snap_2332.2.hdf5", "snap_001.hdf5", snapshot),
        ("public_camels", "camels_snapshot/camels_snap_52412.hdf5", "snap_033.hdf5", snapshot),
        ("public_camels_groups", "camels_snapshot/camels_subhalo_4752.hdf5", "groups_033.hdf5", groups),
        ("public_groups", "tng100-1_groups/fof_subhalo_tab_099.1.hdf5", "fof_subhalo_tab_099.hdf5", groups),
        ("public_tree", "tng_mphys/sublink_mpb_1030.hdf5", "tree.hdf5", tree),
        ("public_spectrum", "sdss_spectra/spec-0266-51602-0013.fits", "spec-0266-51602-0013.fits", |p| {
            read_sdss_spectrum(p).map(drop)
        }),
        ("public_npz", "turbulence/checkVals.npz", "checkVals.npz", npz),
    ];
    let root = std::env::var_os("HALOCAST_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")),
        PathBuf::from,
    );
    let found = files.into_iter().filter_map(|(name, path, file, read)| {
        let seed = std::fs::read(root.join(path)).ok().filter(|bytes| bytes.len() < LARGEST)?;
        Some(Target { name, file, seed, read })
    });
    found.collect()
}

/// Every group, attribute and dataset of an HDF5 file.
fn everything(path: &Path) -> Result<()> {
    fn walk(file: &dyn Hdf5Read, group: &str, depth: usize) -> Result<()> {
        file.attributes(group)?;
        let child = |name: String| if group.is_empty() { name } else { format!("{group}/{name}") };
        for dataset in file.datasets(group)?.into_iter().map(child) {
            file.attributes(&dataset)?;
            let rows = file.info(&dataset)?.rows();
            file.read(&dataset)?;
            file.read_rows(&dataset, rows / 3..rows / 2)?;
        }
        for group in file.groups(group)?.into_iter().map(child).filter(|_| depth < 8) {
            walk(file, &group, depth + 1)?;
        }
        Ok(())
    }
    walk(&*open_hdf5(path)?, "", 0)
}

fn snapshot_file(dir: &Path, storage: Storage) -> Vec<u8> {
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
    let snapshot = Snapshot { header, sets: BTreeMap::from([(Species::Gas, set)]), warnings: Vec::new() };
    let options = WriteOptions { storage, ..WriteOptions::default() };
    let files: Vec<PathBuf> = write_snapshot(dir, &snapshot, &options).unwrap();
    std::fs::read(&files[0]).unwrap()
}

fn column(values: &[i64]) -> FieldValues {
    FieldValues::I64(Array1::from(values.to_vec()).into_dyn())
}

fn groups(path: &Path) {
    let mut file = create_hdf5(path).unwrap();
    for group in ["Header", "Group", "Subhalo"] {
        file.create_group(group).unwrap();
    }
    for (name, value) in
        [("BoxSize", 100.0), ("Time", 1.0), ("Redshift", 0.0), ("Omega0", 0.3), ("HubbleParam", 0.7)]
    {
        file.set_attribute("Header", name, &Attribute::number(value)).unwrap();
    }
    file.set_attribute("Header", "Ngroups_Total", &Attribute::integer(2)).unwrap();
    let lengths = |rows: usize| FieldValues::I64(Array2::from_elem((rows, 6), 5).into_dyn());
    for (name, values) in [
        ("Group/GroupLenType", lengths(2)),
        ("Group/GroupNsubs", column(&[2, 1])),
        ("Group/GroupFirstSub", column(&[0, 2])),
        ("Subhalo/SubhaloLenType", lengths(3)),
    ] {
        file.write_dataset(name, &values, Storage::Contiguous).unwrap();
    }
    file.finish().unwrap();
}

fn tree(path: &Path) {
    let mut file = create_hdf5(path).unwrap();
    for (name, values) in [
        ("SubhaloID", column(&[10, 11, 12, 13])),
        ("FirstProgenitorID", column(&[11, -1, -1, -1])),
        ("NextProgenitorID", column(&[-1, 12, 13, -1])),
        ("SubhaloMassType", FieldValues::F32(Array2::ones((4, 6)).into_dyn())),
    ] {
        file.write_dataset(name, &values, Storage::Contiguous).unwrap();
    }
    file.finish().unwrap();
}

fn skais(path: &Path) {
    let map = Map::square("gas", Array2::ones((8, 8)), 25.0);
    let image = SkaisImage { map, metadata: BTreeMap::from([("gid".into(), Attribute::integer(3))]) };
    write_skais(path, &[("gas", &[image.clone(), image])]).unwrap();
}

/// An archive of one array, stored, as numpy writes it.
fn zipped(npy: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(npy);
    let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for number in [crc.sum(), npy.len() as u32, npy.len() as u32] {
        common.extend(number.to_le_bytes());
    }
    common.extend([5, 0, 0, 0]);
    let mut bytes = [&b"PK\x03\x04"[..], &common, b"a.npy", npy].concat();
    let at = bytes.len() as u32;
    let entry = [&b"PK\x01\x02\x14\x00"[..], &common, &[0; 14], b"a.npy"].concat();
    bytes.extend(&entry);
    bytes.extend(b"PK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x00");
    bytes.extend((entry.len() as u32).to_le_bytes());
    bytes.extend(at.to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

fn units(units: &[(&[&str], &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (cards, data) in units {
        for card in cards.iter().chain(&["END"]) {
            bytes.extend(format!("{card:<80}").into_bytes());
        }
        bytes.resize(bytes.len().div_ceil(2880) * 2880, b' ');
        bytes.extend(*data);
        bytes.resize(bytes.len().div_ceil(2880) * 2880, 0);
    }
    bytes
}

fn fits() -> Vec<u8> {
    let data: Vec<u8> = (0..200).flat_map(|i| (i as f32).to_be_bytes()).collect();
    let cards = [
        "SIMPLE  =                    T",
        "BITPIX  =                  -32",
        "NAXIS   =                    2",
        "NAXIS1  =                   20",
        "NAXIS2  =                   10",
        "CDELT1  =                 0.01",
        "CDELT2  =                 0.01",
    ];
    units(&[(&cards, &data)])
}

fn fits_table() -> Vec<u8> {
    let data: Vec<u8> = (0..40).flat_map(|i| (i as f32).to_be_bytes()).collect();
    let cards = [
        "XTENSION= 'BINTABLE'",
        "BITPIX  = 8",
        "NAXIS   = 2",
        "NAXIS1  = 16",
        "NAXIS2  = 10",
        "PCOUNT  = 0",
        "GCOUNT  = 1",
        "TFIELDS = 3",
        "TTYPE1  = 'flux'",
        "TFORM1  = '2E'",
        "TTYPE2  = 'name'",
        "TFORM2  = '4A'",
        "TFORM3  = 'J'",
        "TSCAL3  = 0.5",
    ];
    units(&[(&["SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 0"], &[]), (&cards, &data)])
}

/// An image of scaled 16-bit integers with pixels without a value, and one of f64 in an extension.
fn fits_scaled() -> Vec<u8> {
    let data: Vec<u8> = (0..60).flat_map(|i: i16| (i - 30).to_be_bytes()).collect();
    let first = [
        "SIMPLE  =                    T",
        "BITPIX  =                   16",
        "NAXIS   =                    3",
        "NAXIS1  =                    5",
        "NAXIS2  =                    4",
        "NAXIS3  =                    3",
        "BSCALE  =               1.5D-2",
        "BZERO   =                32768",
        "BLANK   =                  -30",
        "EXTEND  =                    T",
    ];
    let second = [
        "XTENSION= 'IMAGE   '",
        "BITPIX  =                  -64",
        "NAXIS   =                    1",
        "NAXIS1  =                    3",
        "PCOUNT  =                    0",
        "GCOUNT  =                    1",
    ];
    units(&[(&first, &data), (&second, &[0x40; 24])])
}

/// A spectrum of SDSS: eight pixels of three columns, and the object.
fn spectrum() -> Vec<u8> {
    let pixel = |i: u8| [1.0f32, 3.6 + 1e-4 * f32::from(i), 2.0].map(f32::to_be_bytes).concat();
    let data: Vec<u8> = (0..8).flat_map(pixel).collect();
    let table = ["BITPIX  = 8", "NAXIS   = 2", "PCOUNT  = 0", "GCOUNT  = 1"];
    let coadd = [
        &["XTENSION= 'BINTABLE'"][..],
        &table,
        &["NAXIS1  = 12", "NAXIS2  = 8", "TFIELDS = 3", "EXTNAME = 'COADD'"],
        &["TTYPE1  = 'flux'", "TFORM1  = 'E'", "TTYPE2  = 'loglam'", "TFORM2  = 'E'"],
        &["TTYPE3  = 'ivar'", "TFORM3  = 'E'"],
    ]
    .concat();
    let object = [
        &["XTENSION= 'BINTABLE'"][..],
        &table,
        &["NAXIS1  = 26", "NAXIS2  = 1", "TFIELDS = 6", "EXTNAME = 'SPECOBJ'"],
        &["TTYPE1  = 'Z'", "TFORM1  = 'E'", "TTYPE2  = 'Z_ERR'", "TFORM2  = 'E'"],
        &["TTYPE3  = 'CLASS'", "TFORM3  = '6A'", "TTYPE4  = 'PLATE'", "TFORM4  = 'J'"],
        &["TTYPE5  = 'MJD'", "TFORM5  = 'J'", "TTYPE6  = 'FIBERID'", "TFORM6  = 'J'"],
    ]
    .concat();
    let mut row = [0.1f32, 1e-4].map(f32::to_be_bytes).concat();
    row.extend(b"GALAXY");
    [266i32, 51602, 13].iter().for_each(|n| row.extend(n.to_be_bytes()));
    let primary = ["SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 0"];
    units(&[(&primary, &[]), (&coadd, &data), (&object, &row)])
}

fn spectra(path: &Path) {
    let mut file = create_hdf5(path).unwrap();
    file.create_group("raw").unwrap();
    for (name, values) in [
        ("wavelength", FieldValues::F64(Array1::linspace(3800.0, 9200.0, 5).into_dyn())),
        ("spec", FieldValues::F32(Array2::ones((3, 5)).into_dyn())),
        ("specerr", FieldValues::F32(Array2::ones((3, 5)).into_dyn())),
        ("z", FieldValues::F64(Array1::zeros(3).into_dyn())),
    ] {
        file.write_dataset(&format!("raw/{name}"), &values, Storage::Contiguous).unwrap();
    }
    file.finish().unwrap();
}

fn offsets(path: &Path) {
    let mut file = create_hdf5(path).unwrap();
    for (group, rows) in [("Group", 2), ("Subhalo", 3)] {
        file.create_group(group).unwrap();
        let places = FieldValues::I64(Array2::from_shape_fn((rows, 6), |(i, _)| 5 * i as i64).into_dyn());
        file.write_dataset(&format!("{group}/SnapByType"), &places, Storage::Contiguous).unwrap();
    }
    file.finish().unwrap();
}

/// The identifiers of a catalogue of friends-of-friends groups.
fn fof_ids() -> Vec<u8> {
    let mut bytes = Vec::new();
    [2i32, 2, 3].iter().for_each(|n| bytes.extend(n.to_le_bytes()));
    bytes.extend(3u64.to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(0u32.to_le_bytes());
    [7u64, 8, 1 << 40].iter().for_each(|n| bytes.extend(n.to_le_bytes()));
    bytes
}

/// The same blocks of a Gadget snapshot with their names.
fn named(plain: &[u8]) -> Vec<u8> {
    let (mut bytes, mut at) = (Vec::new(), 0);
    for name in [&b"HEAD"[..], b"POS ", b"VEL ", b"ID  ", b"MASS", b"U   "] {
        let length = u32::from_le_bytes([plain[at], plain[at + 1], plain[at + 2], plain[at + 3]]) as usize;
        bytes.extend(8u32.to_le_bytes());
        bytes.extend(name);
        bytes.extend((length as u32 + 8).to_le_bytes());
        bytes.extend(8u32.to_le_bytes());
        bytes.extend(&plain[at..at + length + 8]);
        at += length + 8;
    }
    bytes
}

fn fof() -> Vec<u8> {
    let mut bytes = Vec::new();
    [2i32, 2, 0].iter().for_each(|n| bytes.extend(n.to_le_bytes()));
    bytes.extend(0u64.to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    // GroupLen, GroupOffset, then floats; all small positive numbers in either reading.
    (0..2 * (1 + 1 + 1 + 3 + 3 + 6 + 6)).for_each(|i: i32| bytes.extend(i.to_le_bytes()));
    bytes
}

fn gadget() -> Vec<u8> {
    let mut header = Vec::new();
    [2u32, 3, 0, 0, 0, 0].iter().for_each(|n| header.extend(n.to_le_bytes()));
    [0.0f64, 0.5, 0.0, 0.0, 0.0, 0.0, 0.5, 1.0].iter().for_each(|x| header.extend(x.to_le_bytes()));
    header.extend([0; 8]);
    [2u32, 3, 0, 0, 0, 0].iter().for_each(|n| header.extend(n.to_le_bytes()));
    header.extend([0; 4]);
    header.extend(1i32.to_le_bytes());
    [1000.0f64, 0.3, 0.7, 0.7].iter().for_each(|x| header.extend(x.to_le_bytes()));
    header.resize(256, 0);
    let mut bytes = Vec::new();
    for block in [header, vec![0; 60], vec![0; 60], vec![0; 20], vec![0; 8], vec![0; 8]] {
        let count = (block.len() as u32).to_le_bytes();
        bytes.extend(count);
        bytes.extend(block);
        bytes.extend(count);
    }
    bytes
}

/// Changes some bytes, numbers or lengths of a file, at places that `rng` draws.
pub(crate) fn damage(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..1 + rng.below(3) {
        if bytes.is_empty() {
            return bytes;
        }
        // Headers are small: half of the damage falls there.
        let near = bytes.len().min(2048);
        let at = if rng.below(2) == 0 { rng.below(near) } else { rng.below(bytes.len()) };
        match rng.below(9) {
            0 => bytes.truncate(at),
            1 => bytes[at] = 0xff,
            2 => bytes[at] = 0,
            3 => bytes[at] = b"0123456789-+.eE,'/ \n"[rng.below(20)],
            4 => {
                // A number that is large, negative or a power of two.
                let number =
                    [u64::MAX, 1 << 60, 1 << 31, i64::MIN as u64, 0x7ff8 << 48][rng.below(5)].to_le_bytes();
                let width = [2, 4, 8][rng.below(3)].min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&number[8 - width..]);
            }
            5 => {
                let length = rng.below(64).min(bytes.len() - at);
                let piece = bytes[at..at + length].to_vec();
                bytes.splice(at..at, piece);
            }
            6 => {
                // A number of another place: links lead in circles, blocks lie on one another.
                let width = [4, 8][rng.below(2)];
                let places = bytes.len() / width;
                if places > 0 {
                    let [from, to] =
                        [rng.below(places) * width, rng.below(places.min(near / width + 1)) * width];
                    bytes.copy_within(from..from + width, to);
                }
            }
            _ => bytes[at] ^= 1 << rng.below(8),
        }
    }
    bytes
}

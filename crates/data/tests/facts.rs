//! Every fact that the description of the public data states, from the files themselves; `inspect` on each of them. Where
//! the files are absent, each test says so in one line and passes.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::{close, data, files};
use halocast_core::{FieldValues, Species};
use halocast_data::*;

/// Whole numbers of a field.
fn whole(values: &FieldValues) -> Vec<i64> {
    match values {
        FieldValues::I64(v) => v.iter().copied().collect(),
        FieldValues::U64(v) => v.iter().map(|&x| x as i64).collect(),
        _ => panic!("not integers"),
    }
}

#[test]
fn the_group_catalogue_of_tng100_2() {
    let Some(path) = data("tng100-2_groups") else { return };
    let message = read_groups(&path, &ReadOptions::default()).unwrap_err().to_string();
    assert!(message.contains("50 chunks of 56 missing"), "{message}");
    assert!(message.contains("Group: header promises 848588, files hold 12"), "{message}");
    let catalogue = read_groups(&path, &ReadOptions::allow_missing()).unwrap();
    let (groups, subhalos) = (&catalogue.groups, &catalogue.subhalos);
    assert_eq!((groups.len(), subhalos.len()), (12, 18919));
    // GroupFirstSub is the exclusive cumulative sum of GroupNsubs.
    let counts = whole(&groups.field("GroupNsubs").unwrap().values);
    let first = whole(&groups.field("GroupFirstSub").unwrap().values);
    let mut sum = 0;
    for (count, first) in counts.iter().zip(first) {
        assert_eq!(first, sum);
        sum += count;
    }
    assert_eq!(sum, 18919);
    // SubhaloGrNr repeats the numbers of the groups by GroupNsubs.
    let group_of = whole(&subhalos.field("SubhaloGrNr").unwrap().values);
    let expected: Vec<i64> =
        counts.iter().enumerate().flat_map(|(i, &n)| vec![i as i64; n as usize]).collect();
    assert_eq!(group_of, expected);
    // Haloes straddle the side of the box: members lie on both.
    let positions = subhalos.vectors("SubhaloPos").unwrap();
    let centres = groups.vectors("GroupPos").unwrap();
    let straddles = |group: usize| {
        let members = positions.iter().zip(&group_of).filter(|(_, g)| **g == group as i64);
        members.map(|(x, _)| x).any(|x| (0..3).any(|i| (x[i] - centres[group][i]).abs() > 37_500.0))
    };
    assert!((0..12).any(straddles));
    assert!(positions.iter().flatten().all(|x| (0.0..=75_000.0).contains(x)));
    // An enumeration is read as its integers; 1e37 stands for no photometry.
    assert!(whole(&subhalos.field("SubhaloFlag").unwrap().values).iter().all(|f| [0, 1].contains(f)));
    let photometry = subhalos.field("SubhaloStellarPhotometrics").unwrap();
    assert_eq!(photometry.unit.label, "mag");
    assert!(photometry.values.to_f64().iter().any(|m| (m / 1e37 - 1.0).abs() < 1e-6));
    // M200 = 4/3 pi 200 rho_crit R200^3.
    let rho = halocast_core::RHO_CRITICAL * 1e-10 * 1e-9; // 1e10 Msun/h, ckpc/h
    let (masses, radii) =
        (groups.scalars("Group_M_Crit200").unwrap(), groups.scalars("Group_R_Crit200").unwrap());
    for (mass, radius) in masses.iter().zip(radii) {
        close(*mass, 4.0 / 3.0 * std::f64::consts::PI * 200.0 * rho * radius.powi(3), 4e-4);
    }
    assert_eq!(groups.field("GroupMass").unwrap().unit.label, "1e10 Msun/h");
    assert_eq!(groups.field("GroupVel").unwrap().unit.label, "km/s/a");
    assert_eq!(subhalos.field("SubhaloVel").unwrap().unit.label, "km/s");
    assert!(subhalos.fields().chain(groups.fields()).all(|(_, field)| field.unit.label != "unknown"));
    // Offsets are sums of lengths.
    let offsets = Offsets::of(&catalogue).unwrap();
    let second = offsets.group(1).unwrap();
    assert_eq!((second.first[0], second.len[1]), (5_895_708, 7_188_015));
    assert_eq!(offsets.subhalo(3127).unwrap().first, second.first, "the first subhalo of the second group");
    // Any chunk stands for all.
    let one = read_groups(path.join("fof_subhalo_tab_099.3.hdf5"), &ReadOptions::allow_missing()).unwrap();
    assert_eq!(one.subhalos.len(), 18919);
}

#[test]
fn an_empty_chunk_opens_and_contributes_nothing() {
    let Some(path) = data("tng100-1_groups") else { return };
    let catalogue = read_groups(&path, &ReadOptions::allow_missing()).unwrap();
    assert_eq!((catalogue.groups.len(), catalogue.subhalos.len()), (0, 0));
    assert!(catalogue.warnings.iter().any(|w| w.contains("Group: header promises 6291349, files hold 0")));
    assert!(Offsets::of(&catalogue).unwrap().is_empty());
    // The object with the most attributes of all the files.
    let file = open_hdf5(path.join("fof_subhalo_tab_099.1.hdf5")).unwrap();
    assert_eq!(file.attributes("Parameters").unwrap().len(), 151);
}

#[test]
fn files_of_tng_have_the_layout_that_is_told() {
    let (Some(subbox), Some(groups)) = (data("tng50-4_subbox0"), data("tng100-2_groups")) else { return };
    for path in files(&subbox).into_iter().chain(files(&groups)) {
        // The ninth byte is the version of the superblock.
        assert_eq!(std::fs::read(&path).unwrap()[..9], *b"\x89HDF\r\n\x1a\n\x00", "{}", path.display());
    }
    let open = |chunk: u64| open_hdf5(subbox.join(format!("snap_2332.{chunk}.hdf5"))).unwrap();
    // A type without particles has no group at all.
    for chunk in [2, 9] {
        assert!(open(chunk).groups("").unwrap().iter().all(|g| !g.starts_with("PartType")));
    }
    let file = open(4);
    for group in file.groups("").unwrap().iter().filter(|g| g.starts_with("PartType")) {
        for name in file.datasets(group).unwrap() {
            let attributes = file.attributes(&format!("{group}/{name}")).unwrap();
            // All three or, of some fields of a subbox, none.
            let given = ["a_scaling", "h_scaling", "to_cgs"].map(|s| attributes.contains_key(s));
            assert!(given == [true; 3] || (given == [false; 3] && name != "Coordinates"), "{group}/{name}");
        }
    }
    let header = open_hdf5(groups.join("fof_subhalo_tab_099.0.hdf5")).unwrap().attributes("Header").unwrap();
    assert!(header.contains_key("Ngroups_Total") && header.contains_key("Nsubgroups_Total"));
    let Some(gadget4) = data("gadget4/fof_subhalo_tab_264.19.hdf5") else { return };
    let header = open_hdf5(gadget4).unwrap().attributes("Header").unwrap();
    assert!(header.contains_key("Ngroups_Total") && header.contains_key("Nsubhalos_Total"));
}

#[test]
fn the_kappa_map_of_ktng_is_read() {
    let Some(path) = data("lensing_maps/ktng_cosmos_kappa.fits") else { return };
    let map = read_fits_map(path).unwrap();
    map.require_finite().unwrap();
    assert_eq!(map.shape(), [512, 512]);
    // Convergence is non-Gaussian: its tail is that of clusters.
    let (mean, std) = (map.values.mean().unwrap(), map.values.std(0.0));
    let skewness = map.values.mapv(|v| ((v - mean) / std).powi(3)).mean().unwrap();
    assert!(skewness > 0.1, "{skewness}");
}

#[test]
fn merger_trees_are_branches_back_in_time() {
    let Some(folder) = data("tng_mphys") else { return };
    let sublink = MergerTree::open(folder.join("sublink_mpb_1030.hdf5")).unwrap();
    let lhalo = MergerTree::open(folder.join("lhalotree_mpb_1030.hdf5")).unwrap();
    for tree in [&sublink, &lhalo] {
        assert_eq!(tree.main_branch(), (0..104).collect::<Vec<_>>());
        let snapshots = whole(&tree.rows.field("SnapNum").unwrap().values);
        assert_eq!((snapshots[0], snapshots[103]), (135, 32));
        assert!(snapshots.windows(2).all(|w| w[1] < w[0]));
        assert!(tree.mergers(0.1, 4).unwrap().is_empty(), "a branch alone knows no mergers");
    }
    let numbers = |tree: &MergerTree, name: &str| whole(&tree.rows.field(name).unwrap().values);
    // The two algorithms follow the same galaxy, but for one snapshot.
    let (a, b) = (numbers(&sublink, "SubfindID"), numbers(&lhalo, "SubhaloNumber"));
    assert_eq!((a[0], a.iter().zip(&b).filter(|(a, b)| a != b).count()), (1030, 1));
    assert_eq!(sublink.rows.field("SubhaloPos").unwrap().unit.label, "ckpc/h");
    let cutout = MergerTree::open(folder.join("cutout_185.hdf5")).unwrap_err().to_string();
    assert!(cutout.contains("merger tree") && cutout.contains("cutout_185.hdf5"), "{cutout}");
}

#[test]
fn a_table_of_subhalos_is_read() {
    let Some(path) = data("tng_mphys/tng99subhalos.csv") else { return };
    let table = read_text_table(path).unwrap();
    assert_eq!(table.names.as_deref().unwrap()[1..], ["id", "mass", "sfr", "url"]);
    assert_eq!((table.len(), table.column("id").unwrap()[1]), (17553, 2.0));
    close(table.column("mass").unwrap()[0], 14.292666717121172, 1e-15);
}

#[test]
fn the_cutout_has_a_vlen_header() {
    let Some(path) = data("tng_mphys/cutout_185.hdf5") else { return };
    let header = open_hdf5(&path).unwrap().attributes("Header").unwrap();
    assert_eq!(header["SimulationName"], Attribute::text("L75n455FP"));
    let reader = SnapshotReader::open(&path, &ReadOptions::default()).unwrap();
    close(reader.header().redshift, 0.9972942257819404, 1e-12);
    assert_eq!(reader.stored(Species::Gas), 125_018);
}

#[test]
fn the_tutorial_groups_are_a_cloud() {
    let Some(path) = data("tng_tutorial/data.hdf5") else { return };
    let file = open_hdf5(path).unwrap();
    let positions = file.read_f32("group_pos").unwrap();
    assert_eq!(positions.shape(), [14780, 3]);
    assert!(positions.iter().all(|x| (0.0..=75_000.0).contains(x)));
    assert_eq!(file.info("group_M200").unwrap().shape, [14780]);
    assert_eq!(file.info("group_j200").unwrap().shape, [14780, 3]);
}

#[test]
fn power_spectra_have_their_modes() {
    let Some(folder) = data("tng_pk") else { return };
    for name in ["TNG100", "TNG100DM", "TNG300", "TNG300DM"] {
        let table = read_text_table(folder.join(format!("Pk_{name}_z=0.0.txt"))).unwrap();
        assert_eq!(table.values.shape(), [1773, 3]);
        assert_eq!(table.values[[0, 2]], 13.0, "modes of the first bin");
        let k = table.values.column(0);
        assert!(k.windows(2).into_iter().all(|w| w[0] < w[1]));
    }
    let ratio = read_text_table(folder.join("logPkRatio_TNG100.dat")).unwrap();
    assert_eq!((ratio.len(), ratio.column("z000").unwrap().len()), (325, 325));
    // Baryons suppress power at k of some h/Mpc.
    let suppression = ratio.column("z000").unwrap();
    assert!(suppression.iter().any(|r| *r < -0.02));
}

#[test]
fn a_camels_subhalo_table_gives_offsets() {
    let Some(folder) = data("camels_snapshot") else { return };
    let catalogue = read_groups(folder.join("camels_subhalo_4752.hdf5"), &ReadOptions::default()).unwrap();
    assert_eq!(catalogue.subhalos.len(), 10);
    let offsets = Offsets::of(&catalogue).unwrap();
    let lengths = catalogue.subhalos.field("SubhaloLenType").unwrap().values.to_f64();
    let mut sum = [0.0; 6];
    for i in 0..10 {
        let members = offsets.subhalo(i).unwrap();
        for kind in 0..6 {
            assert_eq!(members.first[kind] as f64, sum[kind]);
            sum[kind] += lengths[[i, kind]];
        }
    }
    // The pieces of the snapshot hold these subhalos.
    for (name, gas, stars) in [("camels_snap_149456.hdf5", 1380, 1079), ("camels_snap_52412.hdf5", 162, 473)]
    {
        let reader = SnapshotReader::open(folder.join(name), &ReadOptions::default()).unwrap();
        assert_eq!((reader.stored(Species::Gas), reader.stored(Species::Stars)), (gas, stars));
        close(reader.header().cosmology.h, 0.6711, 1e-12);
        let all = reader.read().unwrap();
        let times = all.set(Species::Stars).unwrap().scalars("GFM_StellarFormationTime").unwrap();
        let wind = times.iter().filter(|t| **t <= 0.0).count();
        let stars = read_snapshot(folder.join(name), &ReadOptions::stars()).unwrap();
        assert_eq!(stars.set(Species::Stars).unwrap().len() + wind, times.len());
    }
}

#[test]
fn seeds_go_with_their_parameters() {
    let Some(folder) = data("camels_params") else { return };
    for (name, count, first, seed) in [
        ("CosmoAstroSeed_IllustrisTNG_L25n256_LH.txt", 1000, "LH_0", 0),
        ("CosmoAstroSeed_SIMBA_L25n256_LH.txt", 1000, "LH_0", 5000),
        ("CosmoAstroSeed_Astrid_L25n256_LH.txt", 1000, "LH_0", 10000),
        ("CosmoAstroSeed_IllustrisTNG_L25n256_CV.txt", 27, "CV_0", 1),
    ] {
        let table = read_cosmo_astro_seed(folder.join(name)).unwrap();
        assert_eq!(
            (table.names.len(), table.names[0].as_str(), table.seeds[0]),
            (count, first, seed),
            "{name}"
        );
        assert_eq!(table.row("CV_2").is_some(), first == "CV_0");
    }
    let lh = read_cosmo_astro_seed(folder.join("CosmoAstroSeed_SIMBA_L25n256_LH.txt")).unwrap();
    assert_eq!(lh.parameters.values, read_params(folder.join("params_LH_SIMBA.txt")).unwrap().values);
    let twins = ["params_LH_IllustrisTNG.txt", "params_LH_Nbody_IllustrisTNG.txt"];
    let [hydro, nbody] = twins.map(|name| read_params(folder.join("cmd").join(name)).unwrap().values);
    assert_eq!(hydro, nbody);
    assert_eq!(RunSet::Lh.runs(), Some(hydro.nrows()));
}

#[test]
fn histories_and_spectra_of_galaxies() {
    if let Some(path) = data("camels_sfrh/SFRH_IllustrisTNG.npy") {
        assert_eq!(read_npy_f64(path).unwrap().shape(), [1000, 100]);
    }
    let Some(folder) = data("camels_galaxy_pk") else { return };
    let k = read_text_table(folder.join("k_values.txt")).unwrap();
    assert_eq!(k.len(), 79);
    // Bins of one fundamental mode each: the first is above k_F = 2 pi / 25 h/Mpc.
    let fundamental = std::f64::consts::TAU / 25.0;
    close(k.values[[1, 0]] - k.values[[0, 0]], fundamental, 0.05);
    for snapshot in [10, 14, 18, 24, 33] {
        let name = format!("Pk_galaxies_IllustrisTNG_LH_{snapshot}_kmax=20.0.npy");
        assert_eq!(read_npy_f64(folder.join(name)).unwrap().shape(), [1000, 79]);
    }
}

#[test]
fn quijote_halos_have_cosmologies() {
    let Some(folder) = data("quijote_halos") else { return };
    let halos =
        read_quijote_halos(folder.join("halos_small.npy"), folder.join("cosmology_small.csv")).unwrap();
    assert_eq!(halos.len(), 16);
    let cloud = halos.cloud(0).unwrap();
    assert_eq!(
        (cloud.len(), cloud.box_side, cloud.length_unit.label.as_str()),
        (5000, Some(1000.0), "Mpc/h")
    );
    assert_eq!(cloud.feature_names, ["vx", "vy", "vz", "M"]);
    // The heaviest are clusters.
    assert!(cloud.features.column(3).iter().all(|m| (1e13..1e16).contains(m)));
    let all = read_cosmologies(folder.join("latin_hypercube_params.txt")).unwrap();
    assert_eq!(all.len(), 2000);
    for i in 0..16 {
        assert!((halos.cosmology(i).unwrap().omega_m - all[i].omega_m).abs() < 1e-12);
    }
    close(halos.cosmology(0).unwrap().sigma_8, 0.6641, 1e-12);
    assert!(halos.cloud(16).is_err());
}

#[test]
fn spectra_of_sdss() {
    let Some(folder) = data("sdss_spectra") else { return };
    for (name, pixels) in [
        ("spec-0266-51602-0013.fits", 3838),
        ("spec-0266-51602-0107.fits", 3849),
        ("spec-0332-52367-0639.fits", 3810),
        ("spec-4055-55359-0001.fits", 4605),
        ("spec-4055-55359-0006.fits", 4605),
        ("spec-4055-55359-0010.fits", 4604),
        ("spec-4055-55359-0012.fits", 4605),
    ] {
        let spectrum = read_sdss_spectrum(folder.join(name)).unwrap();
        assert_eq!((spectrum.flux.len(), spectrum.wavelength.len()), (pixels, pixels), "{name}");
        let [plate, mjd, fiber] = spectrum.identifier;
        assert_eq!(format!("spec-{plate:04}-{mjd}-{fiber:04}.fits"), name);
        assert!(spectrum.wavelength[0] > 3500.0 && spectrum.wavelength[pixels - 1] < 10_500.0);
        assert!(["GALAXY", "QSO", "STAR"].contains(&spectrum.class.as_str()), "{}", spectrum.class);
        // Pixels of SDSS are 1e-4 wide in log10 of the wavelength.
        close((spectrum.wavelength[1] / spectrum.wavelength[0]).log10(), 1e-4, 1e-2);
        assert!(spectrum.model.is_some() && spectrum.and_mask.is_some());
    }
    // Galaxy eigenspectra: 10 of 3839 pixels, in one row of one table.
    let table = read_fits_table(folder.join("gal_eigenspec_Yip2004.fits"), None).unwrap();
    assert_eq!(table.numbers("WAVE").unwrap().shape(), [1, 3839]);
    assert_eq!(table.numbers("PCA").unwrap().shape(), [1, 38390]);
}

#[test]
fn dust_and_turbulence() {
    if let Some(folder) = data("dust") {
        for name in ["I_1.fits", "I_2.fits"] {
            let image = read_fits(folder.join(name)).unwrap();
            assert_eq!((image.values.shape(), image.header.bitpix), (&[512, 512][..], -32));
        }
        let perseus = read_fits(folder.join("PerA_Extn2MASS_F_Gal.fits")).unwrap();
        assert_eq!(perseus.values.shape(), [313, 217]);
        assert!(perseus.header.value("CTYPE1").unwrap().starts_with("GLON"));
        assert!(perseus.header.value("CTYPE2").unwrap().starts_with("GLAT"));
    }
    let Some(folder) = data("turbulence") else { return };
    let checks = NpzFile::open(folder.join("checkVals.npz")).unwrap();
    let slope = checks.read_f64("pspec_slope").unwrap();
    close(slope[[]], -3.2386, 1e-4);
    let objects = checks.read_f64("pca_fit_vals").unwrap_err().to_string();
    assert!(objects.contains("objects are refused") && objects.contains("pca_fit_vals"), "{objects}");
    assert_eq!(checks.names().len(), 53);
    for name in checks.names().into_iter().filter(|n| *n != "pca_fit_vals") {
        checks.read_f64(name).unwrap();
    }
    let cube = NpzFile::open(folder.join("dataset1.npz")).unwrap();
    assert_eq!(cube.read_f64("cube").unwrap().shape(), [221, 32, 32]);
    for name in ["dataset1_moment0.fits", "dataset1_linewidth.fits"] {
        assert_eq!(read_fits_headers(folder.join(name)).unwrap().len(), 2);
        for unit in [0, 1] {
            assert_eq!(read_fits_unit(folder.join(name), unit).unwrap().values.shape(), [32, 32]);
        }
        assert!(read_fits_unit(folder.join(name), 2).unwrap_err().to_string().contains("0, 1"));
    }
}

#[test]
fn pair_counts_go_with_their_galaxies() {
    let Some(folder) = data("pair_counts") else { return };
    let galaxies = read_npy::<f32>(folder.join("gals_Mr19_xyz_f32.npy")).unwrap();
    assert!(galaxies.shape().contains(&1_235_904) && galaxies.iter().all(|x| (0.0..=420.0).contains(x)));
    let counts = read_text_table(folder.join("Mr19_DD_periodic")).unwrap();
    let bins = read_text_table(folder.join("bins")).unwrap();
    let xi = read_text_table(folder.join("Mr19_xi")).unwrap();
    assert_eq!(counts.values[[0, 0]], 325_832.0);
    assert_eq!((bins.values[[0, 0]], bins.values[[0, 1]]), (0.167536, 0.238755));
    close(xi.values[[0, 0]], 422.6712, 1e-12);
    assert_eq!((counts.len(), bins.len(), xi.len()), (14, 14, 14));
}

#[test]
fn the_gadget4_chunk_has_its_own_units() {
    let Some(folder) = data("gadget4") else { return };
    let catalogue = read_groups(&folder, &ReadOptions::allow_missing()).unwrap();
    assert_eq!((catalogue.groups.len(), catalogue.subhalos.len()), (1904, 2131));
    assert!(catalogue.warnings.iter().any(|w| w.contains("Subhalo: header promises 43034, files hold 2131")));
    // It counts lengths in Mpc/h: the box of 500 is one of 500,000 ckpc/h.
    close(catalogue.header.box_size, 500_000.0, 1e-9);
    let position = catalogue.groups.field("GroupPos").unwrap();
    assert_eq!(position.unit.label, "cMpc/h");
    close(position.unit.to_cgs, 3.085678e24, 1e-12);
    close(catalogue.header.cosmology.omega_m, 0.3089, 1e-12);
    // Identifiers of 48 bits, shuffled and deflated.
    let ids = whole(&catalogue.subhalos.field("SubhaloIDMostbound").unwrap().values);
    assert!(ids.iter().all(|id| (0..1 << 48).contains(id)));
    assert!(catalogue.subhalos.field("SubhaloGrNr").is_ok(), "it goes by TNG's name");
}

#[test]
fn every_file_is_described_or_says_why_not() {
    let Some(root) = data("README.md").and_then(|p| p.parent().map(std::path::PathBuf::from)) else { return };
    let mut described = 0;
    for path in files(&root) {
        match describe(&path) {
            Ok(description) => {
                let text = description.to_string();
                assert!(!text.is_empty());
                let json = serde_json::to_string(&description).unwrap();
                let value: serde_json::Value = serde_json::from_str(&json).unwrap();
                assert!(value["format"].is_string(), "{json}");
                described += 1;
            }
            Err(error) => {
                let message = error.to_string();
                let name = path.file_name().unwrap().to_str().unwrap();
                assert!(message.contains(name) && !message.contains('\n'), "{message}");
                // Prose, a table drawn with lines, and parameters under a header that is wrong.
                let known = ["README.md", "redshift_table.txt", "params_IllustrisTNG.txt"];
                assert!(known.contains(&name), "{message}");
            }
        }
    }
    assert!(described > 70, "{described}");
    for folder in std::fs::read_dir(&root).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()) {
        describe(&folder).unwrap();
    }
}

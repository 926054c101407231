//! What the mock universe's fields are: gas that the dark matter does not tell, feedback that smooths, files that agree.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use halocast::core::{Cube, Map, Species, Unit};
use halocast::data::{
    Offsets, ReadOptions, Simulation, WriteOptions, describe_groups, describe_snapshot, open_hdf5,
    read_snapshot, write_catalogue, write_offsets, write_snapshot,
};
use halocast::maps::{Centring, Masses, Method, Scheme, assign_3d, project_slabs, smoothing_lengths};
use halocast::mock::{BaryonConfig, Feedback, HaloConfig, Populated, Universe, UniverseConfig};
use halocast::stats::{PowerConvention, power_spectrum_3d};
use ndarray::Array3;

const SIDE: f64 = 25.0;

fn universe(seed: u64) -> Universe {
    let config =
        UniverseConfig { box_side: SIDE, steps: 20, redshift_start: 19.0, seed, ..Default::default() };
    Universe::simulate(&config, &|_, _| {}).unwrap()
}

fn populate(universe: Universe, feedback: Feedback) -> Populated {
    let config = BaryonConfig { feedback, ..Default::default() };
    Populated::new(universe, &HaloConfig::default(), &config).unwrap()
}

/// The fifteen maps of a CMD simulation of gas and of dark matter, 64^2, logarithmic.
fn maps(made: &Populated) -> [Vec<Map>; 2] {
    let lay = |positions: &[[f32; 3]], masses: Vec<f64>| {
        let radii = smoothing_lengths(positions, 32, Some(SIDE)).unwrap();
        let method = Method::Sphere;
        let maps = project_slabs("M", positions, Masses::Each(&masses), Some(&radii), SIDE, 5, 64, method);
        maps.unwrap().iter().map(|m| m.map_values(|v| v.max(1e5).log10())).collect::<Vec<Map>>()
    };
    let gas = made.gas.masses.iter().map(|&m| f64::from(m)).collect();
    let matter = vec![made.universe.particle_mass(); made.universe.positions().len()];
    [lay(&made.gas.positions, gas), lay(made.universe.positions(), matter)]
}

/// The share of the variance of `y` that the mean of `y` in 60 equal shares of `x` does not explain: no function of x alone
/// does better, but for its wiggles within a share.
fn unexplained_by_pixel(x: &[f64], y: &[f64]) -> f64 {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|&i, &j| x[i].total_cmp(&x[j]));
    let mean = y.iter().sum::<f64>() / y.len() as f64;
    let total: f64 = y.iter().map(|y| (y - mean).powi(2)).sum();
    let left: f64 = order
        .chunks(x.len().div_ceil(60))
        .map(|share| {
            let mean = share.iter().map(|&i| y[i]).sum::<f64>() / share.len() as f64;
            share.iter().map(|&i| (y[i] - mean).powi(2)).sum::<f64>()
        })
        .sum();
    left / total
}

/// The same for least squares on `features` of each sample (a constant is added).
fn unexplained_by_features(features: &[Vec<f64>], y: &[f64]) -> f64 {
    let n = features[0].len() + 1;
    let row = |i: usize, k: usize| if k + 1 == n { 1.0 } else { features[i][k] };
    let mut a = vec![vec![0.0; n + 1]; n];
    for i in 0..y.len() {
        for p in 0..n {
            for q in 0..n {
                a[p][q] += row(i, p) * row(i, q);
            }
            a[p][n] += row(i, p) * y[i];
        }
    }
    (0..n).for_each(|p| a[p][p] *= 1.0 + 1e-9);
    for p in 0..n {
        let pivot = (p..n).max_by(|&i, &j| a[i][p].abs().total_cmp(&a[j][p].abs())).unwrap();
        a.swap(p, pivot);
        for q in p + 1..n {
            let factor = a[q][p] / a[p][p];
            let upper = a[p].clone();
            (p..=n).for_each(|k| a[q][k] -= factor * upper[k]);
        }
    }
    let mut w = vec![0.0; n];
    for p in (0..n).rev() {
        w[p] = (a[p][n] - (p + 1..n).map(|q| a[p][q] * w[q]).sum::<f64>()) / a[p][p];
    }
    let mean = y.iter().sum::<f64>() / y.len() as f64;
    let (mut left, mut total) = (0.0, 0.0);
    for (i, y) in y.iter().enumerate() {
        let guess: f64 = (0..n).map(|k| w[k] * row(i, k)).sum();
        left += (y - guess).powi(2);
        total += (y - mean).powi(2);
    }
    left / total
}

#[test]
fn gas_is_no_local_function_of_dark_matter() {
    let (mut x, mut y, mut around) = (Vec::new(), Vec::new(), Vec::new());
    for seed in [1, 2, 3] {
        let [gas, matter] = maps(&populate(universe(seed), Feedback::default()));
        for (gas, matter) in gas.iter().zip(&matter) {
            for i in 0..64usize {
                for j in 0..64usize {
                    let at = |di: usize, dj: usize| {
                        f64::from(matter.values[[(i + di + 62) % 64, (j + dj + 62) % 64]])
                    };
                    x.push(at(2, 2));
                    y.push(f64::from(gas.values[[i, j]]));
                    if (i + j) % 2 == 0 {
                        // 25 pixels about this one, their squares, and the cube of the mean.
                        let window: Vec<f64> = (0..25).map(|k| at(k / 5, k % 5) - 10.5).collect();
                        let mean = window.iter().sum::<f64>() / 25.0;
                        let mut features = window.clone();
                        features.extend(window.iter().map(|w| w * w));
                        features.push(mean.powi(3));
                        around.push((features, y[y.len() - 1]));
                    }
                }
            }
        }
    }
    let pixel = unexplained_by_pixel(&x, &y);
    let (features, y): (Vec<Vec<f64>>, Vec<f64>) = around.into_iter().unzip();
    let window = unexplained_by_features(&features, &y);
    println!("unexplained variance of log gas: {pixel:.3} by pixel, {window:.3} by 5x5 pixels");
    assert!(pixel >= 0.20, "{pixel}");
    assert!(window >= 0.10, "{window}");
}

fn power(positions: &[[f32; 3]], masses: Masses<'_>) -> Vec<f64> {
    let grid = assign_3d(positions, masses, [64; 3], SIDE, Scheme::Cic, Centring::Node).unwrap();
    let mean = grid.iter().map(|&v| f64::from(v)).sum::<f64>() / grid.len() as f64;
    let values: Array3<f32> = grid.mapv(|v| (f64::from(v) / mean - 1.0) as f32);
    let cube = Cube {
        values,
        extent: [SIDE; 3],
        length_unit: Unit::mpc_h(),
        unit: Unit::dimensionless(),
        field: "delta".into(),
        periodic: true,
    };
    power_spectrum_3d(&cube, PowerConvention::default()).unwrap().power
}

#[test]
fn the_power_of_gas_over_that_of_matter_falls_with_feedback() {
    let base = universe(4);
    let matter = power(base.positions(), Masses::Equal(1.0));
    let ratio = |feedback: Feedback| {
        let made = populate(base.clone(), feedback);
        let masses: Vec<f64> = made.gas.masses.iter().map(|&m| f64::from(m)).collect();
        let gas = power(&made.gas.positions, Masses::Each(&masses));
        // k = 2 pi / 25 j: bins 4 to 15 are k of 1 to 4 h/Mpc.
        (4..16).map(|j| gas[j] / matter[j]).sum::<f64>() / 12.0
    };
    let fiducial = Feedback::default();
    let scan = |set: fn(&mut Feedback, f64), values: [f64; 3]| {
        values.map(|v| {
            let mut feedback = fiducial;
            set(&mut feedback, v);
            ratio(feedback)
        })
    };
    for (name, ratios) in [
        ("A_AGN1", scan(|f, v| f.a_agn1 = v, [0.25, 1.0, 4.0])),
        ("A_SN1", scan(|f, v| f.a_sn1 = v, [0.25, 1.0, 4.0])),
    ] {
        println!("P_gas / P_dm at k = 1 to 4 h/Mpc for {name} of 0.25, 1, 4: {ratios:.3?}");
        assert!(ratios[0] > ratios[1] && ratios[1] > ratios[2], "{name}: {ratios:?}");
    }
}

#[test]
fn snapshot_and_catalogue_are_written_and_agree() {
    let config = UniverseConfig { particles: 32, box_side: 14.0, steps: 10, seed: 2, ..Default::default() };
    let made = populate(Universe::simulate(&config, &|_, _| {}).unwrap(), Feedback::default());
    let dir = tempfile::tempdir().unwrap();
    let options = WriteOptions { chunks: 3, ..Default::default() };
    let (snapshot, catalogue) = (made.snapshot().unwrap(), made.catalogue().unwrap());
    write_snapshot(dir.path(), &snapshot, &options).unwrap();
    let files = write_catalogue(dir.path(), &catalogue, &options).unwrap();
    let read = read_snapshot(dir.path(), &ReadOptions::default()).unwrap();
    for species in [Species::Gas, Species::DarkMatter, Species::Stars, Species::BlackHoles] {
        let (a, b) = (snapshot.set(species).unwrap(), read.set(species).unwrap());
        assert_eq!(a.len(), b.len());
        assert_eq!(a.vectors("Coordinates").unwrap(), b.vectors("Coordinates").unwrap());
    }
    // The mark goes along, and is the first thing that `inspect` says.
    let marked = |text: String| text.contains("mock       painted by recipes");
    assert!(snapshot.header.mock && read.header.mock);
    assert!(marked(describe_snapshot(dir.path(), &ReadOptions::default()).unwrap().to_string()));
    assert!(marked(describe_groups(dir.path(), &ReadOptions::default()).unwrap().to_string()));
    let groups: usize = files
        .iter()
        .map(|f| {
            open_hdf5(f).unwrap().attributes("Header").unwrap()["Ngroups_ThisFile"].to_f64().unwrap()[0]
                as usize
        })
        .sum();
    assert_eq!(groups, catalogue.groups.len());
}

/// Reads as the scripts of the data release do: a field of all chunks, a field of the catalogue, a halo by the offsets.
const READER: &str = r#"
import sys, os, glob, h5py, numpy as np
base = sys.argv[1]
def snap(c): return f"{base}/output/snapdir_099/snap_099.{c}.hdf5"
def tab(c): return f"{base}/output/groups_099/fof_subhalo_tab_099.{c}.hdf5"
with h5py.File(snap(0), "r") as f:
    header = dict(f["Header"].attrs.items())
    assert header["Git_commit"].decode().endswith(" mock"), header["Git_commit"]
total = header["NumPart_Total"].astype("int64") + (header["NumPart_Total_HighWord"].astype("int64") << 32)
def subset(kind, name, first=0, count=None):
    parts = []
    for c in range(header["NumFilesPerSnapshot"]):
        with h5py.File(snap(c), "r") as f:
            if f"PartType{kind}" in f:
                parts.append(f[f"PartType{kind}"][name][()])
    whole = np.concatenate(parts)
    return whole[first:] if count is None else whole[first:first + count]
for kind in (0, 1, 4, 5):
    x = subset(kind, "Coordinates")
    assert x.shape == (total[kind], 3) and np.all((x >= 0) & (x <= header["BoxSize"])), kind
    assert len(np.unique(subset(kind, "ParticleIDs"))) == total[kind]
with h5py.File(tab(0), "r") as f:
    count = dict(f["Header"].attrs.items())
group = {}
for name in ("GroupPos", "GroupLenType", "Group_R_Crit200", "GroupFirstSub"):
    parts = []
    for c in range(count["NumFiles"]):
        with h5py.File(tab(c), "r") as f:
            if f["Header"].attrs["Ngroups_ThisFile"] > 0:
                parts.append(f["Group"][name][()])
    group[name] = np.concatenate(parts)
    assert len(group[name]) == count["Ngroups_Total"]
with h5py.File(f"{base}/postprocessing/offsets/offsets_099.hdf5", "r") as f:
    place = np.transpose(f["FileOffsets/SnapByType"][()])
    begins = f["FileOffsets/Group"][()]
    first = f["Group/SnapByType"][()]
assert place.shape == (6, header["NumFilesPerSnapshot"]) and np.all(np.diff(place[1]) >= 0)
for halo in range(min(20, len(first))):
    file = np.max(np.where(halo - begins >= 0))
    with h5py.File(tab(file), "r") as f:
        length = f["Group/GroupLenType"][halo - begins[file], :]
    assert np.array_equal(length, group["GroupLenType"][halo])
    x = subset(1, "Coordinates", first[halo, 1], length[1])
    side = header["BoxSize"]
    d = np.abs(x - group["GroupPos"][halo]); d = np.minimum(d, side - d)
    # Some groups nowhere reach 200 critical densities: their radius is 0.
    radius = group["Group_R_Crit200"][halo] or 200.0
    inside = np.mean(np.sqrt((d ** 2).sum(1)) < 3 * radius)
    # Groups have bridges; other particles would lie anywhere.
    assert inside > 0.5, (halo, inside)
print("read", total, count["Ngroups_Total"])
"#;

#[test]
fn python_scripts_of_the_data_release_read_what_is_written() {
    let python = std::env::var("HALOCAST_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = std::process::Command::new(&python).args(["-c", "import h5py, numpy"]).output();
    if !has.is_ok_and(|o| o.status.success()) {
        println!("{python} has no h5py (HALOCAST_PYTHON names another): not tested");
        return;
    }
    let config = UniverseConfig { particles: 32, box_side: 14.0, steps: 20, seed: 2, ..Default::default() };
    let made = populate(Universe::simulate(&config, &|_, _| {}).unwrap(), Feedback::default());
    let dir = tempfile::tempdir().unwrap();
    let options = WriteOptions { chunks: 3, ..Default::default() };
    let (snapshot, catalogue) = (made.snapshot().unwrap(), made.catalogue().unwrap());
    let output = dir.path().join("output");
    let chunks = write_snapshot(&output, &snapshot, &options).unwrap();
    let tables = write_catalogue(&output, &catalogue, &options).unwrap();
    let offsets = dir.path().join("postprocessing/offsets/offsets_099.hdf5");
    write_offsets(&offsets, &catalogue, &chunks, &tables).unwrap();
    // Our own reader finds the file and takes its places from it.
    let read = Simulation::new(&output).offsets(99).unwrap();
    assert_eq!(read, Offsets::of(&catalogue).unwrap());
    let script = dir.path().join("read.py");
    std::fs::write(&script, READER).unwrap();
    let ran = std::process::Command::new(&python).arg(&script).arg(dir.path()).output().unwrap();
    println!("{}", String::from_utf8_lossy(&ran.stdout));
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

/// The files of the data release, where they are.
fn data(name: &str) -> Option<std::path::PathBuf> {
    let root = std::env::var_os("HALOCAST_DATA").map_or_else(
        || std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")),
        std::path::PathBuf::from,
    );
    let path = root.join(name);
    if !path.exists() {
        println!("no {name} in HALOCAST_DATA: not tested");
        return None;
    }
    Some(path)
}

#[test]
fn every_field_has_the_name_type_and_unit_of_the_real_files() {
    let (Some(real_groups), Some(real_snapshot)) =
        (data("tng100-2_groups/fof_subhalo_tab_099.5.hdf5"), data("tng50-4_subbox0/snap_2332.4.hdf5"))
    else {
        return;
    };
    let config = UniverseConfig { particles: 32, box_side: 14.0, steps: 10, seed: 2, ..Default::default() };
    let made = populate(Universe::simulate(&config, &|_, _| {}).unwrap(), Feedback::default());
    let dir = tempfile::tempdir().unwrap();
    let options = WriteOptions::default();
    let snapshot = write_snapshot(dir.path(), &made.snapshot().unwrap(), &options).unwrap();
    let groups = write_catalogue(dir.path(), &made.catalogue().unwrap(), &options).unwrap();
    let (real, ours) = (open_hdf5(&real_groups).unwrap(), open_hdf5(&groups[0]).unwrap());
    for group in ["Group", "Subhalo"] {
        // All of them, neither more nor fewer.
        assert_eq!(real.datasets(group).unwrap(), ours.datasets(group).unwrap());
        for name in ours.datasets(group).unwrap() {
            let dataset = format!("{group}/{name}");
            let (a, b) = (real.info(&dataset).unwrap(), ours.info(&dataset).unwrap());
            assert_eq!((&a.dtype, &a.shape[1..]), (&b.dtype, &b.shape[1..]), "{dataset}");
            assert_eq!(real.attributes(&dataset).unwrap(), ours.attributes(&dataset).unwrap(), "{dataset}");
        }
    }
    let (real, ours) = (open_hdf5(&real_snapshot).unwrap(), open_hdf5(&snapshot[0]).unwrap());
    let keys = |file: &dyn halocast::data::Hdf5Read| {
        file.attributes("Header").unwrap().into_keys().collect::<Vec<String>>()
    };
    assert_eq!(keys(&*real), keys(&*ours));
    for kind in [0, 1, 4, 5] {
        let group = format!("PartType{kind}");
        for name in ours.datasets(&group).unwrap() {
            let dataset = format!("{group}/{name}");
            let (a, b) = (real.info(&dataset).unwrap(), ours.info(&dataset).unwrap());
            assert_eq!((&a.dtype, &a.shape[1..]), (&b.dtype, &b.shape[1..]), "{dataset}");
            let (a, b) = (real.attributes(&dataset).unwrap(), ours.attributes(&dataset).unwrap());
            assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>(), "{dataset}");
            for (key, value) in &a {
                let (x, y) = (value.to_f64().unwrap()[0], b[key].to_f64().unwrap()[0]);
                assert!((x - y).abs() <= 2e-3 * x.abs(), "{dataset} {key}: {x} {y}");
            }
        }
    }
}

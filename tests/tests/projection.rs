//! Projection beside the field's own tools, on real snapshots, and the program `project` as a user runs it.

// What a test tells.
#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use halocast::core::{Species, Unit};
use halocast::data::{ReadOptions, open_hdf5, read_fits, read_npy_f64, read_snapshot, write_npy};
use halocast::maps::fields::{FieldOptions, Molecular, Quantity, project_field};
use halocast::maps::{
    Axis, Centring, Legacy, Method, ProjectOptions, Projection, Region, Scheme, interpolate_3d,
    project_legacy,
};
use halocast_tests::{reference_folder, requires_one_clear_line, run};
use ndarray::{Array1, Array2, Ix2, Ix3};

/// The side of the box of the manifest's points.
const SIDE: f64 = 10.0;

struct Oracles {
    folder: PathBuf,
    manifest: serde_json::Value,
}

impl Oracles {
    fn open() -> Result<Option<Self>> {
        let Some(folder) = reference_folder("HALOCAST_ORACLES", "oracles") else { return Ok(None) };
        let text = std::fs::read_to_string(folder.join("manifest.json")).context("manifest.json")?;
        Ok(Some(Self { folder, manifest: serde_json::from_str(&text)? }))
    }

    fn array(&self, name: &str) -> Result<ndarray::ArrayD<f64>> {
        read_npy_f64(self.folder.join(format!("{name}.npy"))).with_context(|| name.to_owned())
    }

    fn list(&self, name: &str) -> Result<Vec<f64>> {
        Ok(self.array(name)?.into_iter().collect())
    }

    fn positions(&self) -> Result<Vec<[f64; 3]>> {
        Ok(self.array("in_pts3d")?.outer_iter().map(|p| [p[0], p[1], p[2]]).collect())
    }

    /// Compares by the manifest's rule and prints one line.
    fn compare(&self, name: &str, got: &[f64], expected: &[f64]) -> Result<()> {
        ensure!(got.len() == expected.len(), "{name}: {} numbers, expected {}", got.len(), expected.len());
        let entry = &self.manifest["files"][name];
        let relative = entry["rtol"].as_f64().with_context(|| format!("{name} has no tolerance"))?;
        let largest = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let absolute = entry["atol"].as_f64().unwrap_or(relative * largest);
        let excess = |(a, b): (&f64, &f64)| (a - b).abs() / (absolute + relative * b.abs());
        let worst = got
            .iter()
            .zip(expected)
            .map(excess)
            .fold(0.0, |m: f64, e| if e > m || e.is_nan() { e } else { m });
        println!("{name}: {worst:.3} of the tolerance {relative:e} |ref| + {absolute:.1e}");
        ensure!(worst <= 1.0, "{name}: {worst} times the tolerance");
        Ok(())
    }
}

#[test]
fn a_mesh_is_read_between_its_points() -> Result<()> {
    let Some(oracles) = Oracles::open()? else { return Ok(()) };
    let grid = oracles.array("mas3d_CIC")?.into_dimensionality::<Ix3>()?;
    let mean = grid.sum() / grid.len() as f64;
    let delta = grid.mapv(|v| (v / mean - 1.0) as f32);
    let found = interpolate_3d(delta.view(), &oracles.positions()?, SIDE, Scheme::Cic, Centring::Node)?;
    let name = "cic_interp_delta_at_pts";
    oracles.compare(name, &found, &oracles.list(name)?)
}

#[test]
fn the_numbers_of_other_programs_are_reproduced() -> Result<()> {
    let Some(oracles) = Oracles::open()? else { return Ok(()) };
    let (positions, masses) = (oracles.positions()?, oracles.list("in_mass")?);
    let radii = oracles.list("in_H32")?;
    let sixth: Vec<f64> = radii.iter().map(|r| r / 6.0).collect();
    let cases = [
        ("sph_pylians_voronoiRT_per", Legacy::VoronoiRt, &radii, true),
        ("sph_skais_voronoiRT_per", Legacy::VoronoiRt, &radii, true),
        ("sph_skais_voronoiRT_open", Legacy::VoronoiRt, &radii, false),
        ("sph_swiftsimio_fast_per", Legacy::SwiftsimioFast, &radii, true),
        ("sph_swiftsimio_fast_open", Legacy::SwiftsimioFast, &radii, false),
        ("sph_swiftsimio_fast_smallh_per", Legacy::SwiftsimioFast, &sixth, true),
        ("sph_swiftsimio_renormalised_per", Legacy::SwiftsimioRenormalised, &radii, true),
        ("sph_swiftsimio_renormalised_open", Legacy::SwiftsimioRenormalised, &radii, false),
        ("sph_swiftsimio_renormalised_smallh_per", Legacy::SwiftsimioRenormalised, &sixth, true),
        ("sph_swiftsimio_subsampled_per", Legacy::SwiftsimioSubsampled, &radii, true),
        ("sph_swiftsimio_subsampled_open", Legacy::SwiftsimioSubsampled, &radii, false),
        ("sph_swiftsimio_subsampled_smallh_per", Legacy::SwiftsimioSubsampled, &sixth, true),
        ("sph_swiftsimio_subsampled_extreme_per", Legacy::SwiftsimioSubsampledExtreme, &radii, true),
        ("sph_swiftsimio_subsampled_extreme_open", Legacy::SwiftsimioSubsampledExtreme, &radii, false),
        ("sph_swiftsimio_nested_per", Legacy::SwiftsimioNested, &radii, true),
        ("sph_swiftsimio_nested_open", Legacy::SwiftsimioNested, &radii, false),
    ];
    let mut failures = Vec::new();
    for (name, legacy, radii, periodic) in cases {
        let frame = Projection { periodic, ..Projection::periodic_box(Axis::Z, 64, SIDE) };
        let map = project_legacy("m", &positions, &masses, radii, &frame, legacy)?;
        let got: Vec<f64> = map.values.iter().map(|&v| f64::from(v)).collect();
        // The oracles are images [x, y].
        let expected = oracles.array(name)?.into_dimensionality::<Ix2>()?;
        let expected: Vec<f64> = expected.t().iter().copied().collect();
        failures.extend(oracles.compare(name, &got, &expected).err());
    }
    ensure!(failures.is_empty(), "{failures:#?}");
    Ok(())
}

fn real(path: &str) -> Option<PathBuf> {
    let path = reference_folder("HALOCAST_DATA", "data")?.join(path);
    if !path.exists() {
        println!("{} is absent: nothing to project", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn a_real_cutout_keeps_its_mass() -> Result<()> {
    let Some(path) = real("tng_mphys/cutout_185.hdf5") else { return Ok(()) };
    let snapshot = read_snapshot(&path, &ReadOptions::allow_missing())?;
    for method in [Method::Ngp, Method::Sph, Method::Sphere] {
        let region = Region::Cube { centre: [37.5; 3], side: 75.0 };
        let options = ProjectOptions { grid: 200, method, region, ..Default::default() };
        let map = project_field(&snapshot, Quantity::Gas, &options, &FieldOptions::default())?;
        let mass = map.values.iter().map(|&v| f64::from(v)).sum::<f64>() * map.pixel_area() / 1e10;
        println!("{method:?}: {mass}");
        ensure!((mass / (741.3302679557) - 1.0).abs() < 1e-5, "{method:?}: {mass}");
    }
    Ok(())
}

#[test]
fn a_real_snapshot_shows_every_field() -> Result<()> {
    let Some(path) = real("tng50-4_subbox0") else { return Ok(()) };
    let snapshot = read_snapshot(&path, &ReadOptions::allow_missing())?;
    let options = ProjectOptions { grid: 64, region: Region::Bounding, ..Default::default() };
    for quantity in Quantity::ALL {
        let map = project_field(&snapshot, quantity, &options, &FieldOptions::default())?;
        map.require_finite()?;
        let filled: Vec<f64> = map.values.iter().map(|&v| f64::from(v)).filter(|v| *v != 0.0).collect();
        if quantity == Quantity::H2 {
            continue;
        }
        let mean = filled.iter().sum::<f64>() / filled.len() as f64;
        println!("{quantity}: mean {mean:.3e} {} over {} pixels", map.unit.label, filled.len());
        // What every such region of a simulation at z = 0 has, to orders of magnitude.
        let believable = match quantity {
            Quantity::Temperature => 3e3..1e7,
            Quantity::MagneticField => 1e-11..1e-5,
            Quantity::Metallicity => 1e-7..0.03,
            Quantity::GasSpeed | Quantity::DarkMatterSpeed => 10.0..1000.0,
            Quantity::Brightness21cm => 1e-6..10.0,
            Quantity::MagnesiumOverIron => 0.1..3.0,
            Quantity::LineOfSightVelocity => -300.0..300.0,
            Quantity::Potential => -1e5..1e5,
            Quantity::MagneticX | Quantity::MagneticY | Quantity::MagneticZ => -1e-5..1e-5,
            _ => 0.0..f64::INFINITY,
        };
        ensure!(believable.contains(&mean), "{quantity}: a mean of {mean:e} is not in {believable:?}");
    }
    // Atomic and molecular hydrogen are parts of the gas. In these dwarf galaxies KMT finds no molecules.
    let fields = FieldOptions { molecular: Molecular::BlitzRosolowsky, ..Default::default() };
    let mass = |quantity| -> Result<f64> {
        let map = project_field(&snapshot, quantity, &options, &fields)?;
        Ok(map.values.iter().map(|&v| f64::from(v)).sum())
    };
    let (gas, hi, h2) = (mass(Quantity::Gas)?, mass(Quantity::Hi)?, mass(Quantity::H2)?);
    ensure!(hi > 0.0 && h2 > 0.0 && hi + h2 < 0.76 * gas, "{hi} {h2} of {gas}");
    ensure!(snapshot.set(Species::Gas)?.field("Masses")?.unit.label == Unit::msun_h_1e10().label);
    Ok(())
}

/// Three particles of a box of side 4.
fn arrays(folder: &Path) -> Result<[String; 3]> {
    let names = ["positions.npy", "masses.npy", "radii.npy"].map(|n| folder.join(n).display().to_string());
    let positions = [[0.5, 1.5, 2.0], [3.9, 0.1, 1.0], [2.0, 2.0, 2.0]];
    write_npy(&names[0], &Array2::from_shape_fn((3, 3), |(i, a)| positions[i][a]))?;
    write_npy(&names[1], &Array1::from(vec![1.0, 2.0, 4.0]))?;
    write_npy(&names[2], &Array1::from(vec![0.1, 1.0, 0.5]))?;
    Ok(names)
}

#[test]
fn the_program_projects_arrays_into_every_kind_of_file() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [positions, masses, radii] = arrays(folder.path())?;
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (npy, fits, hdf5, png, json) =
        (file("m.npy"), file("m.fits"), file("m.hdf5"), file("m.png"), file("m.json"));
    let common = ["--positions", &positions, "--masses", &masses, "--box", "4", "--grid", "8"];
    let arguments: Vec<&str> = common
        .into_iter()
        .chain([
            "--smoothing",
            &radii,
            "--out",
            &npy,
            "--out",
            &fits,
            "--out",
            &hdf5,
            "--out",
            &png,
            "--json",
            &json,
        ])
        .collect();
    let output = run("project", &arguments)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let map = read_npy_f64(&npy)?;
    ensure!(map.shape() == [8, 8]);
    ensure!((map.sum() * 0.25 - 7.0).abs() < 1e-5, "mass {}", map.sum() * 0.25);
    // The first particle is smaller than a pixel and inside one: x = 0.5 is a pixel's edge, its mass is shared.
    ensure!((map[[3, 0]] + map[[3, 1]] + map[[2, 0]] + map[[2, 1]] - 4.0).abs() < 0.5, "{map}");
    let image = read_fits(&fits)?;
    ensure!(image.values.iter().zip(&map).all(|(a, b)| a == b));
    ensure!(image.header.number("CDELT1") == Some(0.5) && image.header.number("NPART") == Some(3.0));
    ensure!(open_hdf5(Path::new(&hdf5))?.read_f64("mass")?.iter().zip(&map).all(|(a, b)| a == b));
    ensure!(std::fs::read(&png)?.starts_with(b"\x89PNG"));
    let summary: serde_json::Value = serde_json::from_slice(&std::fs::read(&json)?)?;
    ensure!((summary["maps"][0]["integral"].as_f64().context("integral")? - 7.0).abs() < 1e-5);

    // The same at one thread, and along another axis.
    let again = file("again.npy");
    let one: Vec<&str> =
        common.into_iter().chain(["--smoothing", &radii, "--out", &again, "--threads", "1"]).collect();
    run("project", &one)?;
    ensure!(std::fs::read(&npy)? == std::fs::read(&again)?, "one thread gives other bytes");
    let along: Vec<&str> =
        common.into_iter().chain(["--method", "ngp", "--los", "x", "--out", &again]).collect();
    run("project", &along)?;
    // The image's x axis is y, its y axis z: the second particle is at y = 0.1, z = 1.
    ensure!(read_npy_f64(&again)?[[2, 0]] == 8.0);
    Ok(())
}

#[test]
fn the_program_names_bad_input() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [positions, masses, _] = arrays(folder.path())?;
    let out = folder.path().join("m.npy").display().to_string();
    let short = folder.path().join("short.npy").display().to_string();
    write_npy(&short, &Array1::from(vec![1.0]))?;
    let truncated = folder.path().join("truncated.npy");
    let bytes = std::fs::read(&positions)?;
    std::fs::write(&truncated, &bytes[..bytes.len() - 9])?;
    let truncated = truncated.display().to_string();
    let holes = folder.path().join("holes.npy").display().to_string();
    write_npy(&holes, &Array2::from_shape_fn((3, 3), |(i, _)| if i == 1 { f64::NAN } else { 1.0 }))?;
    let cases: [(&[&str], &[&str]); 12] = [
        (&["--out", &out], &["snapshot", "--positions"]),
        (&["/nowhere/snap.hdf5", "--out", &out], &["/nowhere/snap.hdf5"]),
        (&["--positions", &positions, "--out", &out], &["--box"]),
        (&["--positions", &positions, "--box", "-1", "--out", &out], &["--box"]),
        (&["--positions", &masses, "--box", "4", "--out", &out], &["masses.npy", "[particle, 3]"]),
        (
            &["--positions", &positions, "--masses", &short, "--box", "4", "--out", &out],
            &["short.npy", "[3]"],
        ),
        (&["--positions", &truncated, "--box", "4", "--out", &out], &["truncated.npy", "truncated"]),
        (&["--positions", &holes, "--box", "4", "--method", "ngp", "--out", &out], &["particle 1", "finite"]),
        (
            &["--positions", &positions, "--box", "4", "--method", "best", "--out", &out],
            &["--method", "best"],
        ),
        (
            &["--positions", &positions, "--box", "4", "--method", "ngp", "--out", "m.tiff"],
            &["m.tiff", "png"],
        ),
        (
            &["--positions", &positions, "--box", "4", "--grid", "0", "--method", "ngp", "--out", &out],
            &["--grid"],
        ),
        (&["x", "--field", "colour", "--out", &out], &["colour", "temperature"]),
    ];
    for (arguments, words) in cases {
        requires_one_clear_line(&run("project", arguments)?, words)?;
        ensure!(!Path::new(&out).exists(), "{arguments:?} left a file");
    }
    Ok(())
}

#[test]
fn the_program_projects_real_snapshots() -> Result<()> {
    let Some(path) = real("tng50-4_subbox0") else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let path = path.display().to_string();
    let out = folder.path().join("maps.npy").display().to_string();
    let missing = run("project", &[&path, "--field", "gas", "--out", &out])?;
    requires_one_clear_line(&missing, &["chunk 7"])?;
    let arguments = [
        &path,
        "--allow-missing",
        "--field",
        "gas,temperature",
        "--rotate",
        "30,40,0",
        "--grid",
        "32",
        "--out",
        &out,
    ];
    let output = run("project", &arguments)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let gas = read_npy_f64(folder.path().join("maps-Mgas.npy"))?;
    let temperature = read_npy_f64(folder.path().join("maps-T.npy"))?;
    ensure!(gas.shape() == [32, 32] && temperature.shape() == [32, 32]);
    ensure!(gas.sum() > 0.0 && temperature.iter().all(|t| *t == 0.0 || (1e2..1e9).contains(t)));
    Ok(())
}

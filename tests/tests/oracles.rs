//! The answers of the field's own tools: every oracle of the manifest that the crates can meet, one line a case.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use halocast::core::{Cube, Map, Unit};
use halocast::data::read_npy_f64;
use halocast::maps::{
    Axis, Centring, Kernel, Masses, Method, Projection, Sampling, Scheme, assign_2d, assign_3d,
    neighbour_distances, project, project_reference,
};
use halocast::stats::{
    MinkowskiConvention, PowerConvention, Window, anisotropic_power, cross_spectrum, kolmogorov_smirnov,
    minkowski_functionals, minkowski_functionals_3d, pixel_counts, power_spectrum, power_spectrum_3d,
    wasserstein,
};
use ndarray::{Array2, ArrayD, Ix2, Ix3};

/// Box sides of the manifest's notes: of the maps, the cube and the points.
const MAP_SIDE: f64 = 25.0;
const CUBE_SIDE: f64 = 50.0;
const POINT_SIDE: f64 = 10.0;

struct Oracles {
    folder: PathBuf,
    manifest: serde_json::Value,
}

/// How a case is judged: |x - ref| <= relative |ref| + absolute.
#[derive(Clone, Copy)]
struct Tolerance {
    relative: f64,
    /// In units of the largest |ref|.
    of_largest: f64,
}

impl Oracles {
    fn open() -> Result<Option<Self>> {
        let Some(folder) = halocast_tests::reference_folder("HALOCAST_ORACLES", "oracles") else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(folder.join("manifest.json")).context("manifest.json")?;
        Ok(Some(Self { folder, manifest: serde_json::from_str(&text)? }))
    }

    fn array(&self, name: &str) -> Result<ArrayD<f64>> {
        read_npy_f64(self.folder.join(format!("{name}.npy"))).with_context(|| name.to_owned())
    }

    fn table(&self, name: &str) -> Result<Array2<f64>> {
        Ok(self.array(name)?.into_dimensionality::<Ix2>()?)
    }

    fn map(&self, name: &str) -> Result<Map> {
        Ok(Map::square(name, self.table(name)?.mapv(|v| v as f32), MAP_SIDE))
    }

    fn cube(&self, name: &str, side: f64) -> Result<Cube> {
        cube(self.array(name)?, side)
    }

    /// The manifest's own tolerance.
    fn tolerance(&self, name: &str) -> Tolerance {
        let entry = &self.manifest["files"][name];
        let relative = entry["rtol"].as_f64().unwrap_or(0.0);
        Tolerance { relative, of_largest: entry["atol_frac_of_max"].as_f64().unwrap_or(relative) }
    }
}

fn cube(values: ArrayD<f64>, side: f64) -> Result<Cube> {
    Ok(Cube {
        values: values.into_dimensionality::<Ix3>()?.mapv(|v| v as f32),
        extent: [side; 3],
        length_unit: Unit::mpc_h(),
        unit: Unit::dimensionless(),
        field: "oracle".into(),
        periodic: true,
    })
}

/// Prints one line and fails when a number is outside the tolerance.
#[allow(clippy::print_stdout)] // what a test reports
fn compare(
    name: &str,
    got: impl IntoIterator<Item = f64>,
    expected: impl IntoIterator<Item = f64>,
    tolerance: Tolerance,
) -> Result<()> {
    let (got, expected): (Vec<f64>, Vec<f64>) = (got.into_iter().collect(), expected.into_iter().collect());
    ensure!(got.len() == expected.len(), "{name}: {} numbers, expected {}", got.len(), expected.len());
    let largest = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let Tolerance { relative, of_largest } = tolerance;
    let (mut error, mut inside) = (0.0f64, true);
    for (a, b) in got.iter().zip(&expected) {
        let difference = (a - b).abs();
        // A NaN is outside.
        inside &= difference <= relative * b.abs() + of_largest * largest;
        error = error.max(difference);
    }
    println!(
        "{name}: largest error {error:.2e}, tolerance {relative:.0e} |ref| + {:.2e}",
        of_largest * largest
    );
    ensure!(inside, "{name}: an error of up to {error:e} is outside the tolerance");
    Ok(())
}

fn counts(values: &[u64]) -> Vec<f64> {
    values.iter().map(|&v| v as f64).collect()
}

/// Compares rows of an oracle, each with the tolerance of its own largest number.
fn rows(oracles: &Oracles, name: &str, table: &Array2<f64>, rows: &[(usize, &str, Vec<f64>)]) -> Result<()> {
    for (row, label, got) in rows {
        let expected: Vec<f64> = table.row(*row).iter().take(got.len()).copied().collect();
        compare(&format!("{name} {label}"), got.iter().copied(), expected, oracles.tolerance(name))?;
    }
    Ok(())
}

#[test]
fn power_spectra_of_maps_and_cubes() -> Result<()> {
    let Some(oracles) = Oracles::open()? else { return Ok(()) };
    let plain = PowerConvention::pylians();
    for (name, map, convention) in [
        ("pk2d_ref_grf64_a", "in_grf64_a", plain),
        ("pk2d_ref_grf128_a", "in_grf128_a", plain),
        ("pk2d_ref_logn64", "in_logn64", plain),
        ("pk2d_ref_wave64", "in_wave64", plain),
        ("pk2d_pylians_grf64_a", "in_grf64_a", plain),
        ("pk2d_pylians_grf64_a_CIC", "in_grf64_a", plain.with_window(Window::Cic)),
        ("pk2d_pylians_grf128_a", "in_grf128_a", plain),
        ("pk2d_pylians_logn64", "in_logn64", plain),
        ("pk2d_pylians_wave64", "in_wave64", plain),
    ] {
        let found = power_spectrum(&oracles.map(map)?, convention)?;
        let table = oracles.table(name)?;
        let found = [(0, "k", found.k), (1, "P", found.power), (2, "modes", counts(&found.modes))];
        ensure!(table.ncols() == found[0].2.len(), "{name}: {} bins", found[0].2.len());
        rows(&oracles, name, &table, &found)?;
    }

    // powerbox's last bin ends below Nyquist, where its weights and Pylians' are the same.
    let found = power_spectrum(&oracles.map("in_grf64_a")?, plain)?;
    let name = "pk2d_powerbox_grf64_a";
    let cut = |v: Vec<f64>| v[..31].to_vec();
    rows(&oracles, name, &oracles.table(name)?, &[(0, "k", cut(found.k)), (1, "P", cut(found.power))])?;

    let found = power_spectrum_3d(&oracles.cube("in_grf3d_32", CUBE_SIDE)?, plain)?;
    for (name, last) in
        [("pk3d_ref_grf3d_32", 2), ("pk3d_pylians_grf3d_32_axis2", 4), ("pk3d_pylians_grf3d_32_axis0", 4)]
    {
        let found =
            [(0, "k", found.k.clone()), (1, "P", found.power.clone()), (last, "modes", counts(&found.modes))];
        rows(&oracles, name, &oracles.table(name)?, &found)?;
    }

    let grid = oracles.array("mas3d_CIC")?;
    let mean = grid.mean().context("empty grid")?;
    let delta = cube(grid.mapv(|v| v / mean - 1.0), POINT_SIDE)?;
    let found = power_spectrum_3d(&delta, plain.with_window(Window::Cic))?;
    let name = "pk3d_pylians_pts_CIC";
    let found = [(0, "k", found.k), (1, "P", found.power), (2, "modes", counts(&found.modes))];
    rows(&oracles, name, &oracles.table(name)?, &found)
}

#[test]
fn spectra_about_a_line_of_sight() -> Result<()> {
    let Some(oracles) = Oracles::open()? else { return Ok(()) };
    let cube = oracles.cube("in_grf3d_32", CUBE_SIDE)?;
    for (name, axis) in [("pk3d_pylians_grf3d_32_axis0", 0), ("pk3d_pylians_grf3d_32_axis2", 2)] {
        let found = anisotropic_power(&cube, axis, Window::None)?.multipoles;
        let [p0, p2, p4] = found.power;
        let found = [
            (0, "k", found.k),
            (1, "P0", p0),
            (2, "P2", p2),
            (3, "P4", p4),
            (4, "modes", counts(&found.modes)),
        ];
        let table = oracles.table(name)?;
        ensure!(table.ncols() == found[0].2.len(), "{name}: {} bins", found[0].2.len());
        rows(&oracles, name, &table, &found)?;
    }

    let found = anisotropic_power(&cube, 2, Window::None)?;
    let name = "pk1d_pylians_grf3d_32_axis2";
    let table = oracles.table(name)?;
    ensure!(table.ncols() == found.line.k.len(), "{name}: {} bins", found.line.k.len());
    let line = [(0, "k", found.line.k), (1, "P", found.line.power), (2, "modes", counts(&found.line.modes))];
    rows(&oracles, name, &table, &line)?;

    let name = "pkperppar_pylians_grf3d_32_axis2";
    let table = oracles.table(name)?;
    let plane = found.plane;
    ensure!(table.ncols() == plane.power.len(), "{name}: {} cells", plane.power.len());
    let cells: Vec<(usize, usize)> = plane.power.indexed_iter().map(|(at, _)| at).collect();
    let found = [
        (0, "k_par", cells.iter().map(|&(_, j)| plane.k_par[j]).collect()),
        (1, "k_perp", cells.iter().map(|&(i, _)| plane.k_perp[i]).collect()),
        (2, "P", plane.power.iter().copied().collect()),
        (3, "modes", plane.modes.iter().map(|&v| v as f64).collect()),
    ];
    rows(&oracles, name, &table, &found)
}

#[test]
fn cross_spectra_of_maps() -> Result<()> {
    let Some(oracles) = Oracles::open()? else { return Ok(()) };
    let (a, b) = (oracles.map("in_grf128_a")?, oracles.map("in_grf128_b")?);
    let found = cross_spectrum(&a, &b, PowerConvention::pylians())?;
    let modes = counts(&found.modes);
    let name = "xpk2d_ref_grf128_ab";
    let table = oracles.table(name)?;
    let reference =
        [(0, "k", found.k.clone()), (1, "cross", found.cross.clone()), (2, "modes", modes.clone())];
    rows(&oracles, name, &table, &reference)?;

    // Pylians 0.12 multiplies the spectra of planes by another L / n^2.
    let name = "xpk2d_pylians_grf128_ab_raw";
    let scale = |v: &[f64]| v.iter().map(|v| v * MAP_SIDE / (128.0 * 128.0)).collect();
    let pylians = [
        (0, "k", found.k.clone()),
        (1, "cross", scale(&found.cross)),
        (2, "auto a", scale(&found.auto[0])),
        (3, "auto b", scale(&found.auto[1])),
        (4, "coherence", found.coherence()),
        (5, "modes", modes),
    ];
    rows(&oracles, name, &oracles.table(name)?, &pylians)
}

#[test]
fn minkowski_functionals_of_maps() -> Result<()> {
    let Some(oracles) = Oracles::open()? else { return Ok(()) };
    let thresholds: Vec<f64> = oracles.array("mink_thresholds")?.iter().copied().collect();
    for field in ["grf64_a", "grf128_a"] {
        let map = oracles.map(&format!("in_{field}"))?;
        let name = format!("mink2d_quantimpy_{field}");
        let found =
            minkowski_functionals(std::slice::from_ref(&map), &thresholds, MinkowskiConvention::Quantimpy)?;
        let table = oracles.table(&name)?;
        for (f, values) in found.values.iter().enumerate() {
            let expected = table.column(f).to_vec();
            compare(&format!("{name} M{f}"), values.iter().copied(), expected, oracles.tolerance(&name))?;
        }

        let (open, closed) =
            (pixel_counts(&map, &thresholds, false)?, pixel_counts(&map, &thresholds, true)?);
        let name = format!("mink2d_pixel_{field}");
        let table = oracles.table(&name)?;
        let columns = [
            &open.area,
            &open.boundary,
            &open.euler_8,
            &open.euler_4,
            &closed.boundary,
            &closed.euler_8,
            &closed.euler_4,
        ];
        let expected = columns.iter().enumerate().flat_map(|(i, _)| table.column(i).to_vec());
        let got = columns.iter().flat_map(|c| c.iter().map(|&v| v as f64));
        compare(&name, got, expected, oracles.tolerance(&name))?;

        // Of scikit-image's columns, area and Euler characteristics have the same definition.
        let name = format!("mink2d_skimage_{field}");
        let table = oracles.table(&name)?;
        let last = table.ncols() - 1;
        for (column, label, got) in
            [(0, "area", &open.area), (last - 1, "chi 4", &open.euler_4), (last, "chi 8", &open.euler_8)]
        {
            let (got, expected) = (got.iter().map(|&v| v as f64), table.column(column).to_vec());
            compare(&format!("{name} {label}"), got, expected, oracles.tolerance(&name))?;
        }
    }
    Ok(())
}

#[test]
fn minkowski_functionals_of_a_cube() -> Result<()> {
    let Some(oracles) = Oracles::open()? else { return Ok(()) };
    let thresholds: Vec<f64> = oracles.array("mink_thresholds")?.iter().copied().collect();
    let name = "mink3d_quantimpy_grf3d_32";
    let table = oracles.table(name)?;
    let found = minkowski_functionals_3d(&oracles.cube("in_grf3d_32", CUBE_SIDE)?, &thresholds)?;
    for (f, values) in found.values.iter().enumerate() {
        // QuantImPy's integers of M2 have no sign: 2^64 in place of zero, some 1e18, where M2 is negative.
        let wrapped = |i: &usize| f == 2 && table[[*i, f]] > 1e15;
        let whole: Vec<usize> = (0..thresholds.len()).filter(|i| !wrapped(i)).collect();
        ensure!(whole.len() == if f == 2 { 11 } else { 21 }, "{name} M{f}: {} thresholds", whole.len());
        ensure!(
            (0..thresholds.len()).filter(wrapped).all(|i| values[i] < 0.0),
            "{name} M{f} is not negative"
        );
        let got = whole.iter().map(|&i| values[i]);
        let expected = whole.iter().map(|&i| table[[i, f]]);
        compare(&format!("{name} M{f}"), got, expected, oracles.tolerance(name))?;
    }
    Ok(())
}

#[test]
fn distances_of_pixel_distributions() -> Result<()> {
    let Some(oracles) = Oracles::open()? else { return Ok(()) };
    let a: Vec<f64> = oracles.array("in_grf128_a")?.iter().copied().collect();
    let b: Vec<f64> = oracles.array("in_grf128_b")?.iter().map(|v| v + 0.1).collect();
    let found = [wasserstein(&a, &b, 1.0)?, wasserstein(&a, &b, 2.0)?.powi(2), kolmogorov_smirnov(&a, &b)?];
    let name = "metric_w1_ks";
    compare(name, found, oracles.array(name)?.iter().copied(), oracles.tolerance(name))
}

struct Points {
    positions: Vec<[f64; 3]>,
    masses: Vec<f64>,
    radii: Vec<f64>,
}

fn points(oracles: &Oracles) -> Result<Points> {
    let list = |name: &str| -> Result<Vec<f64>> { Ok(oracles.array(name)?.iter().copied().collect()) };
    let positions = oracles.table("in_pts3d")?;
    Ok(Points {
        positions: positions.outer_iter().map(|p| [p[0], p[1], p[2]]).collect(),
        masses: list("in_mass")?,
        radii: list("in_H32")?,
    })
}

#[test]
fn mass_assignment() -> Result<()> {
    let Some(oracles) = Oracles::open()? else { return Ok(()) };
    let Points { positions, masses, .. } = points(&oracles)?;
    let flat: Vec<[f64; 2]> = positions.iter().map(|p| [p[0], p[1]]).collect();
    for (scheme, label) in
        [(Scheme::Ngp, "NGP"), (Scheme::Cic, "CIC"), (Scheme::Tsc, "TSC"), (Scheme::Pcs, "PCS")]
    {
        for (suffix, masses) in [("", Masses::Equal(1.0)), ("_W", Masses::Each(&masses))] {
            let name = format!("mas3d_{label}{suffix}");
            let found = assign_3d(&positions, masses, [16; 3], POINT_SIDE, scheme, Centring::Node)?;
            let found = found.iter().map(|&v| f64::from(v));
            compare(&name, found, oracles.array(&name)?.iter().copied(), oracles.tolerance(&name))?;
            let name = format!("mas2d_{label}{suffix}");
            let found = assign_2d(&flat, masses, [32; 2], POINT_SIDE, scheme, Centring::Node)?;
            let found = found.iter().map(|&v| f64::from(v));
            compare(&name, found, oracles.array(&name)?.iter().copied(), oracles.tolerance(&name))?;
        }
    }
    Ok(())
}

#[test]
fn neighbours() -> Result<()> {
    let Some(oracles) = Oracles::open()? else { return Ok(()) };
    let Points { positions, radii, .. } = points(&oracles)?;
    let found = neighbour_distances(&positions, &[1, 8, 16, 32], Some(POINT_SIDE))?;
    let name = "knn_dist_f64";
    let tenth = found.outer_iter().step_by(10).flat_map(|row| row.to_vec()).collect::<Vec<_>>();
    compare(name, tenth, oracles.array(name)?.iter().copied(), oracles.tolerance(name))?;
    let single = Tolerance { relative: 1e-6, of_largest: 0.0 };
    compare("in_H32, stored in float32", found.column(3).to_vec(), radii, single)
}

#[test]
fn projected_kernels() -> Result<()> {
    let Some(oracles) = Oracles::open()? else { return Ok(()) };
    let name = "kernel_m4_column_table";
    let table = oracles.table(name)?;
    let column = table.row(0).mapv(|q| Kernel::CubicSpline.column(q));
    compare(name, column, table.row(1).to_vec(), oracles.tolerance(name))?;

    let Points { positions, masses, radii } = points(&oracles)?;
    let frame = |periodic| Projection { periodic, ..Projection::periodic_box(Axis::Z, 64, POINT_SIDE) };
    // The oracles are images [x, y].
    let expected =
        |name: &str| -> Result<Vec<f64>> { Ok(oracles.table(name)?.t().iter().copied().collect()) };

    // The brute-force oracles took their radii in units of the box, rounded to float32.
    let unit_side = POINT_SIDE as f32;
    let brute_radii: Vec<f64> = radii.iter().map(|&r| f64::from(r as f32 / unit_side) * POINT_SIDE).collect();
    let mut failures = Vec::new();
    // The slow projector takes the oracles' own sample points.
    let slow = [
        ("sph_brute_m4_3dcolumn_sub1_per", Method::Sph, Sampling::centred(1), true),
        ("sph_brute_m4_3dcolumn_sub16_per", Method::Sph, Sampling::centred(16), true),
        ("sph_brute_wendlandC2_2d_sub1_per", Method::Wendland, Sampling::centred(1), true),
        ("sph_brute_wendlandC2_2d_sub16_per", Method::Wendland, Sampling::centred(16), true),
        ("sph_brute_uniform_sphere_column_sub1_per", Method::Sphere, Sampling::centred(1), true),
        ("sph_brute_uniform_sphere_column_sub16_per", Method::Sphere, Sampling::centred(16), true),
        ("sph_brute_uniform_sphere_column_corner_per", Method::Sphere, Sampling::corner(), true),
        ("sph_pylians_voronoiRT_per", Method::Sphere, Sampling::corner(), true),
        ("sph_skais_voronoiRT_per", Method::Sphere, Sampling::corner(), true),
        ("sph_skais_voronoiRT_open", Method::Sphere, Sampling::corner(), false),
        ("sph_swiftsimio_fast_per", Method::Wendland, Sampling::centred(1), true),
        ("sph_swiftsimio_fast_open", Method::Wendland, Sampling::centred(1), false),
    ];
    for (name, method, sampling, periodic) in slow {
        let radii = if name.contains("_brute_") { &brute_radii } else { &radii };
        let found = project_reference(&positions, &masses, radii, &frame(periodic), method, sampling)?;
        let tolerance = oracles.tolerance(name);
        failures.extend(compare(&format!("{name}, reference"), found, expected(name)?, tolerance).err());
    }

    // The fast one integrates over pixels; the oracles sample 16 x 16 points a pixel or, for swiftsimio, 32 x 32 a kernel.
    let sampled = |name: &str| match name.contains("smallh") {
        // Most of these kernels are smaller than a pixel, and their 32 x 32 samples fall on either side of its edges.
        true => Tolerance { relative: 0.0, of_largest: 2e-3 },
        false => Tolerance { relative: 0.0, of_largest: 1e-3 },
    };
    let sixth: Vec<f64> = radii.iter().map(|r| r / 6.0).collect();
    let fast = [
        ("sph_brute_m4_3dcolumn_sub16_per", Method::Sph, &radii, true),
        ("sph_brute_wendlandC2_2d_sub16_per", Method::Wendland, &radii, true),
        ("sph_brute_uniform_sphere_column_sub16_per", Method::Sphere, &radii, true),
        ("sph_swiftsimio_subsampled_per", Method::Wendland, &radii, true),
        ("sph_swiftsimio_subsampled_open", Method::Wendland, &radii, false),
        ("sph_swiftsimio_subsampled_extreme_per", Method::Wendland, &radii, true),
        ("sph_swiftsimio_subsampled_extreme_open", Method::Wendland, &radii, false),
        ("sph_swiftsimio_subsampled_smallh_per", Method::Wendland, &sixth, true),
        ("sph_swiftsimio_histogram_per", Method::Ngp, &radii, true),
        ("sph_swiftsimio_histogram_open", Method::Ngp, &radii, false),
    ];
    for (name, method, radii, periodic) in fast {
        let masses = Masses::Each(&masses);
        let found = project("", &positions, masses, Some(radii), &frame(periodic), method)?;
        let tolerance = if method == Method::Ngp { oracles.tolerance(name) } else { sampled(name) };
        let pixels = found.values.iter().map(|&v| f64::from(v));
        failures.extend(compare(name, pixels, expected(name)?, tolerance).err());
        if periodic {
            let mass = found.values.iter().map(|&v| f64::from(v)).sum::<f64>() * found.pixel_area();
            let total = oracles.array("in_mass")?.sum();
            let single = Tolerance { relative: 1e-6, of_largest: 0.0 };
            failures.extend(compare(&format!("{name}, total mass"), [mass], [total], single).err());
        }
    }
    ensure!(failures.is_empty(), "{failures:#?}");
    Ok(())
}

/// What no test above asks for, so that nothing is left out in silence.
#[test]
fn the_rest_is_named() -> Result<()> {
    let Some(oracles) = Oracles::open()? else { return Ok(()) };
    let source = include_str!("oracles.rs");
    let families = ["mas2d_", "mas3d_", "mink2d_"];
    let files = oracles.manifest["files"].as_object().context("the manifest lists no files")?;
    let missing: BTreeSet<&str> = files
        .iter()
        .filter(|(_, entry)| entry["kind"] == "oracle")
        .map(|(name, _)| name.as_str())
        .filter(|name| !source.contains(&format!("\"{name}\"")))
        .filter(|name| !families.iter().any(|f| name.starts_with(f)))
        .collect();
    println!("not covered yet: {}", missing.into_iter().collect::<Vec<_>>().join(", "));
    Ok(())
}

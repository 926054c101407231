//! Statistics across crates: the answers of the field's tools, measured clouds, interlaced grids, the programs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use halocast::core::{Cube, Map, PeriodicBox, Rng, Unit};
use halocast::data::{NpzFile, read_fits, read_npy_f32, read_npy_f64, write_npy};
use halocast::maps::{Centring, Masses, Scheme, assign_3d};
use halocast::stats::{
    Bins, Membership, PowerConvention, Rings, Window, cloud_profile, correlation_function, earth_movers,
    frechet_distance, interlaced_power_3d, maximum_mean_discrepancy, mean_separations, pair_counts,
    pixel_pdf, power_in_bins, power_spectrum_3d, projected_correlation,
};
use halocast_tests::{reference_folder, requires_one_clear_line, run};
use ndarray::{Array2, Array3, ArrayD, Ix2};

fn table(folder: &Path, name: &str) -> Result<Array2<f64>> {
    let values: ArrayD<f64> =
        read_npy_f64(folder.join(format!("{name}.npy"))).with_context(|| name.to_owned())?;
    let values = if values.ndim() == 1 { values.insert_axis(ndarray::Axis(0)) } else { values };
    Ok(values.into_dimensionality::<Ix2>()?)
}

fn points(folder: &Path, name: &str) -> Result<Vec<[f64; 3]>> {
    Ok(table(folder, name)?.outer_iter().map(|p| [p[0], p[1], p[2]]).collect())
}

/// Prints one line and fails when a number is off by more than `relative` of it and of the largest.
#[allow(clippy::print_stdout)] // what a test reports
fn compare(name: &str, got: &[f64], expected: &[f64], relative: f64) -> Result<()> {
    ensure!(got.len() == expected.len(), "{name}: {} numbers, expected {}", got.len(), expected.len());
    let largest = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let errors = got.iter().zip(expected).map(|(a, b)| (a - b).abs());
    let worst = errors.clone().fold(0.0f64, |m, e| if e.is_nan() { f64::INFINITY } else { m.max(e) });
    println!("{name}: largest error {worst:.2e} of values up to {largest:.3e}, tolerance {relative:e}");
    for (i, (error, b)) in errors.zip(expected).enumerate() {
        ensure!(error <= relative * (b.abs() + largest), "{name}: number {i} is {}, expected {b}", got[i]);
    }
    Ok(())
}

fn floats(counts: &[u64]) -> Vec<f64> {
    counts.iter().map(|&c| c as f64).collect()
}

#[test]
fn pairs_are_those_of_corrfunc() -> Result<()> {
    let Some(oracles) = reference_folder("HALOCAST_ORACLES", "oracles") else { return Ok(()) };
    let cloud = points(&oracles, "in_tpcf_pts")?;
    let bins = Bins::new(table(&oracles, "tpcf_edges")?.row(0).to_vec())?;
    let periodic = PeriodicBox::new(100.0)?;
    for (name, space) in [("tpcf_DD_periodic", Some(periodic)), ("tpcf_DD_open", None)] {
        let found = pair_counts(&cloud, space, &bins)?.pairs;
        compare(name, &floats(&found), &table(&oracles, name)?.row(0).to_vec(), 0.0)?;
    }
    let expected = table(&oracles, "tpcf_xi_periodic")?;
    let found = correlation_function(&cloud, periodic, &bins)?;
    compare("tpcf_xi_periodic", &found.xi, &expected.row(3).to_vec(), 1e-9)?;
    let mean = mean_separations(&cloud, Some(periodic), &bins)?;
    // Corrfunc writes zero where there are no pairs.
    let mean: Vec<f64> = mean.iter().map(|r| if r.is_nan() { 0.0 } else { *r }).collect();
    compare("tpcf_xi_periodic, mean separation", &mean, &expected.row(2).to_vec(), 1e-9)
}

#[test]
fn a_million_mock_galaxies_have_their_published_pairs() -> Result<()> {
    let Some(folder) = reference_folder("HALOCAST_DATA", "data").map(|f| f.join("pair_counts")) else {
        return Ok(());
    };
    let read = |name: &str| -> Result<Vec<Vec<f64>>> {
        let text = std::fs::read_to_string(folder.join(name)).with_context(|| name.to_owned())?;
        text.lines().map(|l| l.split_whitespace().map(|v| Ok(v.parse()?)).collect()).collect()
    };
    let positions = read_npy_f32(folder.join("gals_Mr19_xyz_f32.npy"))?.into_dimensionality::<Ix2>()?;
    // The file is [3, point] or [point, 3].
    let positions = if positions.nrows() == 3 { positions.reversed_axes() } else { positions };
    let cloud: Vec<[f64; 3]> = positions.outer_iter().map(|p| [p[0], p[1], p[2]].map(f64::from)).collect();
    ensure!(cloud.len() == 1_235_904, "{} galaxies", cloud.len());
    let periodic = PeriodicBox::new(420.0)?;
    // The bins up to 6 Mpc/h: further ones hold a thousand million pairs.
    let used = 10;
    let (xi, wp) = (read("Mr19_xi")?, read("Mr19_wp")?);
    let mut edges: Vec<f64> = xi[..used].iter().map(|row| row[2]).collect();
    edges.push(xi[used - 1][3]);
    let bins = Bins::new(edges)?;
    let found = correlation_function(&cloud, periodic, &bins)?;
    ensure!(found.pairs[0] == 325_832, "{} pairs in the first bin", found.pairs[0]);
    let column = |rows: &[Vec<f64>], c: usize| rows[..used].iter().map(|row| row[c]).collect::<Vec<f64>>();
    compare("Mr19_xi, pairs", &floats(&found.pairs), &column(&xi, 4), 0.0)?;
    // The columns xi and w_p of the files are up to 0.6 % from what their own pairs give, so that those are the truth here.
    let density = 1_235_904f64.powi(2) / 420f64.powi(3);
    let shell = |edges: &[f64]| 4.0 / 3.0 * std::f64::consts::PI * (edges[1].powi(3) - edges[0].powi(3));
    let natural: Vec<f64> = column(&xi, 4)
        .iter()
        .zip(bins.edges().windows(2))
        .map(|(pairs, edges)| pairs / (density * shell(edges)) - 1.0)
        .collect();
    compare("Mr19_xi from its pairs", &found.xi, &natural, 2e-6)?;
    let few = Bins::new(bins.edges()[..6].to_vec())?;
    let projected = projected_correlation(&cloud, periodic, &few, 40.0, 2)?;
    let pairs: Vec<f64> = column(&wp, 4)[..5].to_vec();
    compare("Mr19_wp, pairs", &floats(&projected.pairs), &pairs, 0.0)
}

#[test]
fn profiles_are_those_of_numpy_and_photutils() -> Result<()> {
    let Some(oracles) = reference_folder("HALOCAST_ORACLES", "oracles") else { return Ok(()) };
    let map = Map::square("logn", table(&oracles, "in_logn64")?.mapv(|v| v as f32), 25.0);
    let expected = table(&oracles, "radprof2d_numpy_logn64")?;
    let edges: Vec<f64> = expected.row(0).iter().copied().chain(expected.row(1).last().copied()).collect();
    let bins = Bins::new(edges)?;
    let profile = |membership| -> Result<_> {
        Ok(Rings::new([64, 64], Rings::middle([64, 64]), &bins, membership)?.profile(&map)?)
    };
    let found = profile(Membership::Centre)?;
    compare("radprof2d_numpy, count", &found.area, &expected.row(2).to_vec(), 0.0)?;
    compare("radprof2d_numpy, mean", &found.mean(), &expected.row(3).to_vec(), 1e-12)?;
    compare("radprof2d_numpy, dispersion", &found.dispersion, &expected.row(4).to_vec(), 1e-12)?;
    for (name, membership) in [("center", Membership::Centre), ("exact", Membership::Exact)] {
        let name = format!("radprof2d_photutils_{name}_logn64");
        compare(&name, &profile(membership)?.mean(), &table(&oracles, &name)?.row(0).to_vec(), 1e-9)?;
    }

    let expected = table(&oracles, "radprof3d_numpy")?;
    let edges: Vec<f64> = expected.row(0).iter().copied().chain(expected.row(1).last().copied()).collect();
    let masses = table(&oracles, "in_mass")?.row(0).to_vec();
    let cloud = points(&oracles, "in_pts3d")?;
    let periodic = Some(PeriodicBox::new(10.0)?);
    let found = cloud_profile(&cloud, &masses, [5.0, 2.5, 9.0], periodic, &Bins::new(edges)?)?;
    compare("radprof3d_numpy, count", &floats(&found.count), &expected.row(2).to_vec(), 0.0)?;
    compare("radprof3d_numpy, mass", &found.mass, &expected.row(3).to_vec(), 1e-12)?;
    compare("radprof3d_numpy, density", &found.density(), &expected.row(4).to_vec(), 1e-12)
}

#[test]
fn distances_of_features_are_those_of_scipy_and_pot() -> Result<()> {
    let Some(oracles) = reference_folder("HALOCAST_ORACLES", "oracles") else { return Ok(()) };
    let (a, b) = (table(&oracles, "in_feat_a")?, table(&oracles, "in_feat_b")?);
    let squared = Array2::from_shape_fn((a.nrows(), b.nrows()), |(i, j)| {
        a.row(i).iter().zip(b.row(j)).map(|(x, y)| (x - y).powi(2)).sum::<f64>()
    });
    let discrepancy = maximum_mean_discrepancy(a.view(), b.view(), 2.0)?;
    let found = [
        frechet_distance(a.view(), b.view())?,
        earth_movers(squared.view())?,
        earth_movers(squared.mapv(f64::sqrt).view())?,
        discrepancy.unbiased,
        discrepancy.biased,
    ];
    let expected = table(&oracles, "metric_feat")?.row(0).to_vec();
    for (i, name) in ["Frechet", "W2^2", "W1", "MMD^2 unbiased", "MMD^2 biased"].iter().enumerate() {
        compare(&format!("metric_feat, {name}"), &found[i..=i], &expected[i..=i], 1e-8)?;
    }
    Ok(())
}

#[test]
fn interlaced_grids_alias_less_and_a_poisson_cloud_is_white() -> Result<()> {
    let (n, side, count) = (32, 10.0, 60_000);
    let mut rng = Rng::new(5);
    let cloud: Vec<[f64; 3]> = (0..count).map(|_| [0; 3].map(|_| side * rng.uniform())).collect();
    let cube = |shift: f64| -> Result<Cube> {
        let moved: Vec<[f64; 3]> = cloud.iter().map(|p| p.map(|x| (x + shift) % side)).collect();
        let grid: Array3<f32> =
            assign_3d(&moved, Masses::Equal(1.0), [n; 3], side, Scheme::Tsc, Centring::Node)?;
        let mean = count as f32 / (n * n * n) as f32;
        Ok(Cube {
            values: grid.mapv(|v| v / mean - 1.0),
            extent: [side; 3],
            length_unit: Unit::mpc_h(),
            unit: Unit::dimensionless(),
            field: "cloud".into(),
            periodic: true,
        })
    };
    let (one, two) = (cube(0.0)?, cube(0.5 * side / n as f64)?);
    let convention = PowerConvention::pylians().with_window(Window::Tsc);
    let direct = power_spectrum_3d(&one, convention)?;
    let found = interlaced_power_3d(&one, &two, convention)?;
    let white = side.powi(3) / f64::from(count);
    // Up to Nyquist along an axis: the aliases of white noise raise the direct estimate, and far less the interlaced one.
    let mean = |power: &[f64], range: std::ops::Range<usize>| {
        let modes = |i: usize| found.modes[i] as f64;
        range.clone().map(|i| power[i] * modes(i)).sum::<f64>() / range.map(modes).sum::<f64>() / white
    };
    let (low, high) = (mean(&found.power, 1..6), mean(&found.power, 12..15));
    let aliased = mean(&direct.power, 12..15);
    ensure!((low - 1.0).abs() < 0.1, "P / (1/n) at low k: {low}");
    ensure!((high - 1.0).abs() < 0.5 * (aliased - 1.0), "interlaced {high}, direct {aliased}");
    Ok(())
}

/// The moment map of TurbuStat's test cube, and what TurbuStat finds: its annuli are linear in frequency, its pixels
/// standardised.
#[test]
fn a_turbulent_map_has_turbustats_spectrum_and_distribution() -> Result<()> {
    let Some(folder) = reference_folder("HALOCAST_DATA", "data").map(|f| f.join("turbulence")) else {
        return Ok(());
    };
    let file = NpzFile::open(folder.join("checkVals.npz"))?;
    let checks = |name: &str| -> Result<Vec<f64>> { Ok(file.read_f64(name)?.iter().copied().collect()) };
    let image = read_fits(folder.join("dataset1_moment0.fits"))?.values.into_dimensionality::<Ix2>()?;
    let n = 32;
    ensure!(image.dim() == (n, n), "{:?} pixels", image.dim());
    let map = Map::square("moment 0", image.mapv(|v| v as f32), n as f64);

    let frequency = Bins::linear(1.0 / 32.0, 0.5, 24)?;
    let bins = Bins::new(frequency.edges().iter().map(|f| std::f64::consts::TAU * f).collect())?;
    let found = power_in_bins(&map, &bins)?;
    let power: Vec<f64> = found.power.iter().map(|p| p * (n * n) as f64).collect();
    let expected = checks("pspec_val")?;
    // The last annulus holds the Nyquist modes, which are their own conjugates or lie on its edge: they are counted in another
    // way there.
    let ln = |power: &[f64]| power[..23].iter().map(|p| p.ln()).collect::<Vec<f64>>();
    compare("turbulence, ln pspec_val", &ln(&power), &ln(&expected), 1e-6)?;
    // The fit begins at twice the lowest frequency. Its last point is the file's own, by the way of counting above.
    let slope = |power: &[f64]| {
        let all = frequency.centres().into_iter().zip(power);
        let points: Vec<(f64, f64)> =
            all.filter(|(f, _)| *f >= 1.0 / 16.0).map(|(f, p)| (f.log10(), p.log10())).collect();
        let mean = |f: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(f).sum::<f64>() / points.len() as f64;
        let (x, y) = (mean(&|p| p.0), mean(&|p| p.1));
        mean(&|p| (p.0 - x) * (p.1 - y)) / mean(&|p| (p.0 - x).powi(2))
    };
    let power = [&power[..23], &expected[23..]].concat();
    compare("turbulence, pspec_slope", &[slope(&power)], &checks("pspec_slope")?, 1e-6)?;

    let n = map.values.len() as f64;
    let mean = map.values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let std = (map.values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt();
    let standard = map.map_values(|v| ((f64::from(v) - mean) / std) as f32);
    let found = pixel_pdf(&[standard], &Bins::new(checks("pdf_bins")?)?)?.density();
    compare("turbulence, pdf_val", &found.row(0).to_vec(), &checks("pdf_val")?, 1e-9)
}

fn noise(path: &Path, scale: f32, seed: u64) -> Result<PathBuf> {
    let values = Array3::from_shape_vec((24, 16, 16), Rng::new(seed).normals(24 * 256))?;
    write_npy(path, &values.mapv(|v| scale * v))?;
    Ok(path.to_path_buf())
}

fn json(path: &Path) -> Result<serde_json::Value> {
    Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is text")
}

#[test]
fn summarize_writes_every_array_with_its_unit() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    let maps = noise(&at("maps.npy"), 1.0, 1)?;
    let (out, png, html) = (at("out.json"), at("out.png"), at("out.html"));
    let output = run(
        "summarize",
        &[
            text(&maps)?,
            "--box-size",
            "25",
            "--json",
            text(&out)?,
            "--png",
            text(&png)?,
            "--html",
            text(&html)?,
        ],
    )?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = json(&out)?;
    let statistics = &found["inputs"][0]["statistics"];
    for name in
        ["pk", "xpk", "pdf", "moments", "minkowski", "profile", "bispectrum", "peaks", "betti", "scattering"]
    {
        ensure!(statistics[name].is_object(), "no {name}: {found}");
    }
    ensure!(
        statistics["pk"]["k"]["unit"] == "h/Mpc" && found["inputs"][0]["input"]["count"] == 24,
        "{found}"
    );
    // White noise of unit variance: P = (25 / 16)^2.
    let mean = statistics["pk"]["mean"]["values"][4].as_f64().context("a number")?;
    ensure!((mean / (25.0f64 / 16.0).powi(2) - 1.0).abs() < 0.2, "P = {mean}");
    ensure!(std::fs::read(&png)?.starts_with(b"\x89PNG") && std::fs::read_to_string(&html)?.contains("<svg"));

    let mut rng = Rng::new(3);
    let cloud = Array2::from_shape_fn((500, 3), |_| 10.0 * rng.uniform());
    let path = at("cloud.npy");
    write_npy(&path, &cloud)?;
    let output = run("summarize", &[text(&path)?, "--box-size", "10", "--statistics", "xi,wp,knn"])?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    ensure!(found["inputs"][0]["statistics"]["xi"]["xi"]["values"].as_array().map(Vec::len) == Some(20));
    Ok(())
}

#[test]
fn evaluate_tells_good_samples_from_bad_ones() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    let (truth, good, bad) =
        (noise(&at("truth.npy"), 1.0, 1)?, noise(&at("good.npy"), 1.0, 2)?, noise(&at("bad.npy"), 1.3, 3)?);
    for (samples, passes) in [(&good, true), (&bad, false)] {
        let (out, html) = (at("out.json"), at("out.html"));
        let output =
            run("evaluate", &[text(&truth)?, text(samples)?, "--json", text(&out)?, "--html", text(&html)?])?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let sentence = String::from_utf8(output.stdout)?.lines().next().unwrap_or_default().to_owned();
        ensure!(sentence.contains(if passes { "agree" } else { "fail in" }), "{sentence}");
        let found = json(&out)?;
        let chi = &found["evaluation"]["numbers"]["chi_squared"]["p_value"];
        ensure!((chi.as_f64().context("a p-value")? > 1e-3) == passes, "{found}");
        ensure!(std::fs::read_to_string(&html)?.contains("<svg"));
    }
    Ok(())
}

#[test]
fn bad_input_is_one_clear_line() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    let maps = noise(&at("maps.npy"), 1.0, 1)?;
    requires_one_clear_line(&run("summarize", &[text(&maps)?])?, &["--box-size"])?;
    let asked = ["--box-size", "1", "--statistics", "abacus"];
    requires_one_clear_line(
        &run("summarize", &[&[text(&maps)?], &asked[..]].concat())?,
        &["abacus", "minkowski"],
    )?;
    requires_one_clear_line(&run("summarize", &["absent.npy", "--box-size", "1"])?, &["absent.npy"])?;
    let mut values = Array3::<f32>::zeros((2, 8, 8));
    values[[1, 2, 3]] = f32::NAN;
    let nan = at("nan.npy");
    write_npy(&nan, &values)?;
    let words = ["nan.npy", "y = 2, x = 3"];
    requires_one_clear_line(
        &run("summarize", &[text(&nan)?, "--box-size", "1", "--statistics", "pk"])?,
        &words,
    )?;
    requires_one_clear_line(&run("evaluate", &[text(&maps)?])?, &["--checkpoints"])?;
    let other = at("other.npy");
    write_npy(&other, &Array3::<f32>::zeros((4, 8, 8)))?;
    requires_one_clear_line(&run("evaluate", &[text(&maps)?, text(&other)?])?, &["[8, 8]"])?;
    requires_one_clear_line(
        &run("evaluate", &[text(&maps)?, "--checkpoints", text(folder.path())?])?,
        &["checkpoints"],
    )
}

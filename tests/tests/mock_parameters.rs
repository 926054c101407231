//! What the maps of the mock universe tell of its six parameters, beyond their means.
//!
//! `HALOCAST_LH=FOLDER cargo test --release -p halocast-tests --test mock_parameters -- --nocapture` measures a set made by
//! `make_dataset` (fields Mgas, Mcdm and T); without the variable a small one is made.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use halocast::core::{Map, Rng};
use halocast::data::{CMD_PARAMETERS, CmdMaps, read_params};
use halocast::stats::{PowerConvention, cross_spectrum, power_spectrum};
use halocast_tests::{ridge, rmse, run};

const FIELDS: [&str; 3] = ["Mgas", "Mcdm", "T"];
const MAPS: usize = 15;

/// A set of 64 simulations of 32^3 particles.
fn small(folder: &Path) -> Result<PathBuf> {
    let out = folder.join("lh");
    let text = format!(
        "set = \"LH\"\nsimulations = 64\nfields = [\"Mgas\", \"Mcdm\", \"T\"]\ngrid = 32\nout = {out:?}\n\
         [universe]\nparticles = 32\nbox_side = 25.0\nsteps = 12\n"
    );
    let config = folder.join("lh.toml");
    std::fs::write(&config, text)?;
    let made = run("make_dataset", &[config.to_str().unwrap()])?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Ok(out)
}

/// Eight means of ln P over shares of the wavenumbers, equal in ln k where there are enough.
fn binned(power: &[f64]) -> Vec<f64> {
    let mut edges = vec![0usize];
    for i in 1..=8 {
        edges.push((edges[i - 1] + 1).max((power.len() as f64).powf(i as f64 / 8.0).round() as usize));
    }
    edges
        .windows(2)
        .map(|edge| &power[edge[0]..edge[1]])
        .map(|share| share.iter().map(|p| p.abs().max(1e-12).ln()).sum::<f64>() / share.len() as f64)
        .collect()
}

/// What a map looks like apart from its mean: P(k) of delta, and moments of the logarithm.
fn looks(map: &Map) -> Vec<f64> {
    let n = map.values.len() as f64;
    let mean = map.values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let delta = map.map_values(|v| (f64::from(v) / mean - 1.0) as f32);
    let mut features = binned(&power_spectrum(&delta, PowerConvention::default()).unwrap().power);
    let logs: Vec<f64> = map.values.iter().map(|&v| (f64::from(v) / mean).max(1e-6).ln()).collect();
    let centre = logs.iter().sum::<f64>() / n;
    let moment = |p: i32| logs.iter().map(|l| (l - centre).powi(p)).sum::<f64>() / n;
    let sigma = moment(2).sqrt();
    features.extend([centre, sigma, moment(3) / sigma.powi(3), moment(4) / sigma.powi(4)]);
    features
}

/// Of every simulation: the logarithms of the fields' means, and those with what else the maps show.
fn features(folder: &Path) -> Result<[Vec<Vec<f64>>; 2]> {
    let maps = FIELDS
        .map(|field| CmdMaps::open(folder.join(format!("Maps_{field}_HalocastMock_LH_z=0.00.npy"))).unwrap());
    let (mut means, mut all) = (vec![], vec![]);
    for simulation in 0..maps[0].len() / MAPS {
        let (mut mean, mut rest) = (vec![0.0; FIELDS.len()], vec![]);
        for i in 0..MAPS {
            let these = [0, 1, 2].map(|f| maps[f].map(simulation * MAPS + i).unwrap());
            let mut own: Vec<f64> = these.iter().flat_map(looks).collect();
            for (a, b) in [(0, 1), (0, 2), (1, 2)] {
                let cross = cross_spectrum(&these[a], &these[b], PowerConvention::default())?;
                own.extend(binned(&cross.cross));
            }
            rest.resize(own.len(), 0.0);
            rest.iter_mut().zip(own).for_each(|(sum, v)| *sum += v / MAPS as f64);
            for (sum, map) in mean.iter_mut().zip(&these) {
                *sum += map.values.iter().map(|&v| f64::from(v)).sum::<f64>() / map.values.len() as f64;
            }
        }
        mean.iter_mut().for_each(|m| *m = (*m / MAPS as f64).ln());
        all.push([&mean[..], &rest].concat());
        means.push(mean);
    }
    Ok([means, all])
}

/// Each column less its mean over its standard deviation; columns that do not vary, to rounding, are zero.
fn standardise(rows: &mut [Vec<f64>]) {
    let n = rows.len() as f64;
    for j in 0..rows[0].len() {
        let mean = rows.iter().map(|r| r[j]).sum::<f64>() / n;
        let sigma = (rows.iter().map(|r| (r[j] - mean).powi(2)).sum::<f64>() / n).sqrt();
        let scale = if sigma > 1e-5 { 1.0 / sigma } else { 0.0 };
        rows.iter_mut().for_each(|r| r[j] = (r[j] - mean) * scale);
    }
}

/// The error of predictions of `y` by ridge regression, each simulation by a fit of other ones, over the standard deviation
/// of `y`.
fn error(rows: &[Vec<f64>], y: &[f64]) -> f64 {
    let mut order: Vec<usize> = (0..y.len()).collect();
    Rng::new(1).shuffle(&mut order);
    let mut guess = vec![0.0; y.len()];
    for fold in 0..8 {
        let part = |own: bool| -> Vec<usize> {
            order.iter().enumerate().filter(|(n, _)| (n % 8 == fold) == own).map(|(_, &i)| i).collect()
        };
        let test = part(true);
        let strengths = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3];
        for (i, value) in test.iter().zip(ridge(rows, y, &part(false), &test, &strengths)) {
            guess[*i] = value;
        }
    }
    let mean = y.iter().sum::<f64>() / y.len() as f64;
    rmse(&guess, y) / rmse(&vec![mean; y.len()], y)
}

#[test]
fn the_six_parameters_are_read_off_the_maps_better_than_off_their_means() -> Result<()> {
    let place = tempfile::tempdir()?;
    let given = std::env::var_os("HALOCAST_LH").map(PathBuf::from);
    let folder = given.clone().map_or_else(|| small(place.path()), Ok)?;
    let theta = read_params(folder.join("params_LH_HalocastMock.txt"))?;
    let [mut means, mut all] = features(&folder)?;
    standardise(&mut means);
    standardise(&mut all);
    // Three means beside threescore numbers: ridge shrinks them less.
    all.iter_mut().for_each(|row| row[..FIELDS.len()].iter_mut().for_each(|v| *v *= 4.0));
    for (j, name) in CMD_PARAMETERS.iter().enumerate() {
        // Strengths of feedback are drawn evenly in their logarithm.
        let y: Vec<f64> = theta.values.column(j).iter().map(|&v| if j < 2 { v } else { v.ln() }).collect();
        let (by_mean, by_map) = (error(&means, &y), error(&all, &y));
        println!("{name}: error over scatter {by_mean:.3} by the means, {by_map:.3} by the maps");
        // Omega_m is in the mean gas over the mean matter: small maps add nothing that 64 simulations could show.
        let most = if given.is_none() && j == 0 { 1.05 } else { 1.0 };
        ensure!(by_map < most * by_mean, "{name}: {by_map} by the maps, {by_mean} by the means");
    }
    Ok(())
}

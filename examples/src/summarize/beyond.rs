//! What lies beyond spectra and pixels: bispectrum, peaks, Betti numbers, wavelet scattering.

use anyhow::{Result, ensure};
use halocast::core::{Cube, Map};
use halocast::stats::{
    Bins, Bispectrum, ScatteringBank, betti_numbers, bispectrum, bispectrum_3d, minimum_counts, peak_counts,
    quantiles,
};
use serde_json::{Value, json};

use super::statistics::{Drawn, Summary, array, per, plain};

/// The statistic `name` of maps; `None` where it is none of these.
///
/// # Errors
/// When the maps are refused by it.
pub(super) fn of_maps(maps: &[Map], name: &str) -> Result<Option<Summary>> {
    ensure!(!maps.is_empty(), "there are no maps");
    let first = &maps[0];
    let (length, unit) = (first.length_unit.label.as_str(), first.unit.label.as_str());
    let summary = match name {
        "bispectrum" => {
            let [ny, nx] = first.shape();
            let bins = wide_bins(&[ny, nx], &first.extent)?;
            let each = maps.iter().map(|m| bispectrum(m, &bins)).collect::<Result<Vec<_>, _>>()?;
            triangles(&each, length, &format!("{} ({length})^4", cubed(unit)))
        }
        "peaks" => {
            let ends = quantiles(maps, &[0.001, 0.9999])?;
            let bins = Bins::linear(ends[0], ends[1], 30)?;
            let (peaks, minima) = (peak_counts(maps, &bins)?, minimum_counts(maps, &bins)?);
            let table = |counts: &ndarray::Array2<u64>| {
                Value::from(counts.outer_iter().map(|row| row.to_vec()).collect::<Vec<_>>())
            };
            let json = json!({
                "edges": array(bins.edges().to_vec(), unit),
                "peaks": array(table(&peaks.counts), "1"),
                "minima": array(table(&minima.counts), "1"),
                "peaks_outside": array(peaks.outside.clone(), "1"),
                "minima_outside": array(minima.outside.clone(), "1"),
            });
            let drawn = Drawn { title: "peaks".into(), curve: peaks.curve(), log: false };
            Summary { json, drawn: vec![drawn] }
        }
        "betti" => {
            let ends = quantiles(maps, &[0.01, 0.99])?;
            let nu: Vec<f64> = (0..30).map(|i| ends[0] + (ends[1] - ends[0]) * f64::from(i) / 29.0).collect();
            let each = maps.iter().map(|m| betti_numbers(m, &nu)).collect::<Result<Vec<_>, _>>()?;
            let table = |of: fn(&halocast::stats::BettiNumbers) -> Vec<u64>| {
                Value::from(each.iter().map(of).collect::<Vec<_>>())
            };
            let json = json!({
                "thresholds": array(nu, unit),
                "components": array(table(|b| b.components.clone()), "1"),
                "holes": array(table(|b| b.holes.clone()), "1"),
            });
            Summary { json, drawn: Vec::new() }
        }
        "scattering" => scattering(maps, unit)?,
        _ => return Ok(None),
    };
    Ok(Some(summary))
}

/// The bispectrum of a cube.
///
/// # Errors
/// When the cube is refused.
pub(super) fn of_cube(cube: &Cube) -> Result<Summary> {
    let bins = wide_bins(cube.values.shape(), &cube.extent)?;
    let length = cube.length_unit.label.as_str();
    let unit = format!("{} ({length})^6", cubed(&cube.unit.label));
    Ok(triangles(&[bispectrum_3d(cube, &bins)?], length, &unit))
}

fn cubed(unit: &str) -> String {
    if unit.is_empty() { "1".into() } else { format!("({unit})^3") }
}

/// Five equal bins from the fundamental wavenumber to two thirds of Nyquist's.
fn wide_bins(shape: &[usize], extent: &[f64]) -> Result<Bins> {
    let axes = || shape.iter().zip(extent).map(|(n, side)| (*n as f64, std::f64::consts::TAU / side));
    let fundamental = axes().map(|(_, k)| k).fold(0.0, f64::max);
    let limit = axes().map(|(n, k)| n * k / 3.0).fold(f64::INFINITY, f64::min);
    ensure!(limit > 2.0 * fundamental, "bispectrum: {shape:?} is too small, expected seven or more a side");
    Ok(Bins::linear(0.999 * fundamental, limit, 5)?)
}

fn triangles(each: &[Bispectrum], length: &str, unit: &str) -> Summary {
    let table = |of: fn(&Bispectrum) -> Vec<f64>| Value::from(each.iter().map(of).collect::<Vec<_>>());
    let json = json!({
        "edges": array(each[0].bins.edges().to_vec(), &per(length)),
        "triangles": array(each[0].triangles.iter().map(|t| t.to_vec()).collect::<Vec<_>>(), "bins"),
        "count": array(each[0].count.clone(), "ordered triples of modes"),
        "bispectrum": array(table(|b| b.bispectrum.clone()), unit),
        "reduced": array(table(Bispectrum::reduced), "1"),
    });
    let equilateral: Vec<Vec<(usize, f64)>> = each.iter().map(Bispectrum::equilateral).collect();
    let centres = each[0].bins.centres();
    let k: Vec<f64> = equilateral[0].iter().map(|(bin, _)| centres[*bin]).collect();
    let mean =
        (0..k.len()).map(|i| equilateral.iter().map(|e| e[i].1).sum::<f64>() / each.len() as f64).collect();
    let label = format!("B [{unit}]");
    let curve = plain(&k, mean, &format!("k [{}]", per(length)), &label);
    Summary { json, drawn: vec![Drawn { title: "equilateral bispectrum".into(), curve, log: false }] }
}

fn scattering(maps: &[Map], unit: &str) -> Result<Summary> {
    let shape = maps[0].shape();
    let most = (shape[0].min(shape[1]) / 4).max(1).ilog2() as usize;
    let bank = ScatteringBank::new(shape, most.min(5), 4)?;
    let found: Vec<_> = bank.coefficients(maps)?.iter().map(|s| s.isotropic()).collect();
    let table = |of: &dyn Fn(&halocast::stats::IsotropicScattering) -> Vec<f64>| {
        Value::from(found.iter().map(of).collect::<Vec<_>>())
    };
    let json = json!({
        "wavelets": "Morlet, 4 orientations, scales 2^j pixels",
        "S0": array(found.iter().map(|s| s.zeroth).collect::<Vec<_>>(), unit),
        "S1": array(table(&|s| s.first.clone()), unit),
        "index": array(found[0].index.iter().map(|i| i.to_vec()).collect::<Vec<_>>(), "[j1, j2, |l2 - l1|]"),
        "S2": array(table(&|s| s.second.clone()), unit),
    });
    let j: Vec<f64> = (0..found[0].first.len()).map(|j| j as f64).collect();
    let mean =
        (0..j.len()).map(|i| found.iter().map(|s| s.first[i]).sum::<f64>() / found.len() as f64).collect();
    let curve = plain(&j, mean, "j, scale 2^j pixels", &format!("S1 [{unit}]"));
    Ok(Summary { json, drawn: vec![Drawn { title: "scattering".into(), curve, log: false }] })
}

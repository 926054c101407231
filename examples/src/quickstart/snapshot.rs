//! A real snapshot: gas and dark matter projected, and the statistics of the two maps.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use halocast::core::{Map, Snapshot, Species, Unit, write_whole};
use halocast::data::{ReadOptions, Step, Transform, read_snapshot};
use halocast::maps::{Method, ProjectOptions, Region, particles, project_snapshot};
use halocast::stats::{PowerConvention, cross_spectrum};
use serde_json::json;

use super::Options;
use crate::chart::{Axes, Line, TRUTH, chart};
use crate::console::{Timings, peak_rss_mb, say, spinner};
use crate::judge::Curves;
use crate::picture::{Picture, Scale};
use crate::report::Page;

/// Pixels a side.
const GRID: usize = 256;

/// Projects the gas and dark matter of a snapshot and reports on the two maps.
///
/// # Errors
/// When the snapshot cannot be read, or is incomplete and `allow_missing` is not given.
pub fn snapshot(path: &Path, allow_missing: bool, options: &Options) -> Result<()> {
    let start = Instant::now();
    let timings = Timings::default();
    let read = ReadOptions { allow_missing, ..Default::default() }
        .only(Species::Gas)
        .only(Species::DarkMatter)
        .with_fields(&["Coordinates", "Masses", "Density"]);
    let snapshot = timings.stage("reading", || {
        let _spinner = spinner("reading");
        Ok(read_snapshot(path, &read)?)
    })?;
    snapshot.warnings.iter().for_each(|w| say(format!("warning: {w}")));
    let region = region(&snapshot)?;
    // A gas cell is as wide as its volume; the other particles spread over their neighbours.
    let project = |species, method| {
        project_snapshot(
            &snapshot,
            species,
            &ProjectOptions { grid: GRID, method, region, ..Default::default() },
        )
    };
    let maps = timings.stage("projection", || {
        let _spinner = spinner("projection");
        let gas = logarithm(&project(Species::Gas, Method::Sphere)?)?;
        Ok([gas, logarithm(&project(Species::DarkMatter, Method::Sph)?)?])
    })?;
    let [gas, dark_matter] = &maps;

    let mut page = Page::new(
        "Gas and dark matter of a snapshot",
        &format!(
            "{}: z = {:.3}, {} gas cells and {} dark-matter particles, projected along z onto {GRID}x{GRID} pixels of a \
             region of {:.3} Mpc/h.",
            path.display(),
            snapshot.header.redshift,
            snapshot.set(Species::Gas)?.len(),
            snapshot.set(Species::DarkMatter)?.len(),
            gas.extent[0],
        ),
    );
    snapshot.warnings.iter().for_each(|w| page.warning(w));
    if !snapshot.warnings.is_empty() {
        page.paragraph("What is missing leaves holes in the maps, and the statistics below are those of maps with holes.");
    }
    page.maps(&[("Gas", gas), ("Dark matter", dark_matter)])?;
    let curves = timings
        .stage("statistics", || Curves::new(std::slice::from_ref(dark_matter), std::slice::from_ref(gas)))?;
    page.heading("Statistics");
    page.comparison(&curves, ["dark matter", "gas"])?;
    let cross = cross_spectrum(gas, dark_matter, PowerConvention::default())?;
    let nyquist = std::f64::consts::PI * GRID as f64 / gas.extent[1];
    let below = cross.k.iter().filter(|k| **k < nyquist).count();
    let coherence = cross.coherence();
    let axes = Axes {
        x_label: "k [h/Mpc]",
        y_label: "correlation coefficient r(k)",
        log_x: true,
        y_range: Some((-0.2, 1.05)),
        ..Default::default()
    };
    let line = Line { name: "", x: &cross.k[..below], y: &coherence[..below], scatter: None, colour: TRUTH };
    page.figures(&[(
        chart((560, 300), axes, &[line])?,
        "Cross-correlation coefficient of log gas and log dark matter.",
    )]);
    if gas.periodic {
        page.paragraph("The region is the whole periodic box.");
    } else {
        page.paragraph(
            "The region is not periodic: its edges add power at high k, and nothing is done about it here.",
        );
    }
    let stages: Vec<Vec<String>> =
        timings.list().iter().map(|(name, s)| vec![name.clone(), format!("{s:.2}")]).collect();
    page.table(&["stage", "seconds"], &stages);
    let both = [gas, dark_matter];
    for (map, name) in both.into_iter().zip(["gas.png", "dark_matter.png"]) {
        Picture::grid(&[map], 1, 1, Scale::covering([map])).save(&options.out.join(name))?;
    }
    let report = options.out.join("report.html");
    page.save(&report)?;
    if let Some(path) = &options.json {
        let numbers = json!({
            "statistics": curves,
            "correlation": { "k": cross.k, "r": coherence },
            "warnings": snapshot.warnings, "wall_s": start.elapsed().as_secs_f64(), "peak_rss_mb": peak_rss_mb(),
        });
        write_whole(path, |w| Ok(serde_json::to_writer_pretty(w, &numbers)?))?;
    }
    say(format!("report: {}", report.display()));
    Ok(())
}

/// The whole box where particles fill it, else the cube about the particles of both species.
fn region(snapshot: &Snapshot) -> Result<Region> {
    let (a, h) = (snapshot.header.time, snapshot.header.cosmology.h);
    let side = snapshot.header.box_size * Unit::kpc_h().factor_to(&Unit::mpc_h(), a, h);
    let mut low = [f64::INFINITY; 3];
    let mut high = [f64::NEG_INFINITY; 3];
    for species in [Species::Gas, Species::DarkMatter] {
        for position in particles(snapshot, species)?.positions {
            for axis in 0..3 {
                low[axis] = low[axis].min(position[axis]);
                high[axis] = high[axis].max(position[axis]);
            }
        }
    }
    let widest = (0..3).map(|i| high[i] - low[i]).fold(0.0, f64::max);
    if widest > 0.9 * side {
        return Ok(Region::Box);
    }
    Ok(Region::Cube {
        centre: std::array::from_fn(|i| 0.5 * (low[i] + high[i])),
        side: widest * (1.0 + 1e-9),
    })
}

/// log10 of a map, with a floor at a thousandth of its mean: below it are the last tails of single kernels, and holes.
fn logarithm(map: &Map) -> Result<Map> {
    let mean = map.values.iter().map(|&v| f64::from(v)).sum::<f64>() / map.values.len() as f64;
    let transform = Transform::fit(&[Step::Log10Above(1e-3 * mean)], [map]).context("a map without mass")?;
    let unit = Unit::new(format!("log10 {}", map.unit.label), 1.0, 0.0, 0.0);
    Ok(transform.forward_map(map).with_unit(unit))
}

//! The summary statistics of files.

mod beyond;
mod input;
mod statistics;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use halocast::core::{Map, Rng, write_whole};
use serde_json::{Value, json};

pub use input::{Input, Kind, ReadAs, read};
pub use statistics::{Convention, Drawn, Summary, available, summarize};

use crate::chart::{Axes, Line, TRUTH, chart};
use crate::console::say;
use crate::picture::{Picture, Scale};
use crate::report::Page;

/// The command line.
pub struct Options {
    /// The files.
    pub files: Vec<PathBuf>,
    /// How they are read.
    pub read_as: ReadAs,
    /// The statistics asked for; all of the kind of input when there are none.
    pub statistics: Vec<String>,
    /// Whose conventions.
    pub convention: Convention,
    /// Where the JSON goes; to the terminal when nowhere is given.
    pub json: Option<PathBuf>,
    /// A picture of the maps.
    pub png: Option<PathBuf>,
    /// A page with charts.
    pub html: Option<PathBuf>,
    /// The seed of random places.
    pub seed: u64,
}

/// Reads, summarises, writes.
///
/// # Errors
/// When a file, a statistic or a place to write to is refused.
pub fn run(options: &Options) -> Result<()> {
    ensure!(!options.files.is_empty(), "no FILE is named");
    let mut page = Page::new("Summary statistics", "Bands: the scatter of one map.");
    let (mut inputs, mut maps) = (Vec::new(), Vec::<Map>::new());
    for path in &options.files {
        let input = read(path, &options.read_as)?;
        let names: Vec<String> = match options.statistics.as_slice() {
            [] => every(&input),
            asked => asked.to_vec(),
        };
        let mut found = serde_json::Map::new();
        let mut figures = Vec::new();
        for name in &names {
            let mut rng = Rng::new(options.seed).split_named(name);
            let summary = summarize(&input, name, options.convention, &mut rng)
                .with_context(|| path.display().to_string())?;
            found.insert(name.clone(), summary.json);
            for drawn in &summary.drawn {
                figures.push((draw(drawn)?, drawn.title.clone()));
            }
        }
        page.heading(&path.display().to_string());
        let captioned: Vec<(String, &str)> = figures.iter().map(|(f, t)| (f.clone(), t.as_str())).collect();
        page.figures(&captioned);
        inputs.push(json!({
            "file": path.display().to_string(),
            "input": describe(&input),
            "statistics": found,
        }));
        if let Input::Maps(these) = input {
            maps.extend(these);
        }
    }
    let report = json!({ "program": "summarize", "version": env!("CARGO_PKG_VERSION"), "seed": options.seed, "inputs": inputs });
    let text = serde_json::to_string_pretty(&report)?;
    match &options.json {
        Some(path) => write_whole(path, |out| std::io::Write::write_all(out, text.as_bytes()))?,
        None => say(&text),
    }
    if let Some(path) = &options.png {
        ensure!(!maps.is_empty(), "--png shows maps, and no file holds any");
        let shown: Vec<&Map> = maps.iter().take(16).collect();
        let side = shown.iter().flat_map(|m| m.shape()).max().unwrap_or(1);
        let zoom = (256 / side).max(1);
        Picture::grid(&shown, 4, zoom, Scale::covering(shown.iter().copied())).save(path)?;
    }
    if let Some(path) = &options.html {
        page.save(path)?;
    }
    Ok(())
}

/// All statistics that this input can have.
fn every(input: &Input) -> Vec<String> {
    let fits = |name: &&&str| match (input, **name) {
        (Input::Maps(maps), "xpk") => maps.len() >= 2,
        (Input::Maps(maps), "bispectrum" | "scattering") => {
            let large = |m: &Map| m.shape().iter().all(|n| *n >= 8);
            maps.iter().all(|m| large(m) && m.periodic)
        }
        (Input::Cube(cube), "bispectrum") => cube.values.shape().iter().all(|n| *n >= 8),
        (Input::Cloud(_, None), name) => name == "xi",
        _ => true,
    };
    available(input).iter().filter(fits).map(|name| (*name).to_owned()).collect()
}

fn describe(input: &Input) -> Value {
    match input {
        Input::Maps(maps) => json!({
            "kind": "maps",
            "count": maps.len(),
            "shape": maps[0].shape(),
            "extent": { "values": maps[0].extent, "unit": maps[0].length_unit.label },
            "unit": maps[0].unit.label,
            "periodic": maps[0].periodic,
        }),
        Input::Cube(cube) => json!({
            "kind": "cube",
            "shape": cube.values.shape(),
            "extent": { "values": cube.extent, "unit": cube.length_unit.label },
            "unit": cube.unit.label,
            "periodic": cube.periodic,
        }),
        Input::Cloud(points, periodic) => json!({
            "kind": "cloud",
            "count": points.len(),
            "box_side": { "values": periodic.map(|b| b.side()), "unit": "Mpc/h" },
        }),
    }
}

fn draw(drawn: &Drawn) -> Result<String> {
    let curve = &drawn.curve;
    // A logarithmic axis shows positive numbers alone.
    let shown: Vec<usize> = (0..curve.x.len())
        .filter(|&i| curve.mean[i].is_finite() && (!drawn.log || curve.mean[i] > 0.0))
        .collect();
    let pick = |values: &[f64]| -> Vec<f64> { shown.iter().map(|&i| values[i]).collect() };
    let (x, y, std) = (pick(&curve.x), pick(&curve.mean), pick(&curve.std));
    let axes = Axes {
        x_label: &curve.x_label,
        y_label: &curve.y_label,
        log_x: drawn.log,
        log_y: drawn.log,
        ..Axes::default()
    };
    let scatter = std.iter().any(|s| *s > 0.0).then_some(std.as_slice());
    chart((430, 330), axes, &[Line { name: "", x: &x, y: &y, scatter, colour: TRUTH }])
}

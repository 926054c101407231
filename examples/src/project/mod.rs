//! The program `project`: particles to maps in files and figures.

mod arrays;
mod font;
mod output;
mod plot;
mod snapshot;
mod subhalo;

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use halocast::core::{Map, Rng};
use halocast::maps::fields::{FieldOptions, MagneticConvention, Molecular, Neutral, Quantity};
use halocast::maps::{Axis, Method, Rotation};
use serde_json::{Value, json};

pub use output::Style;
pub use plot::short;
pub use snapshot::axis;

use crate::console::{Timings, peak_rss_mb, say};

/// Where the particles come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A snapshot.
    Snapshot {
        /// Its folder or file.
        path: PathBuf,
        /// Whether missing files are warnings.
        allow_missing: bool,
    },
    /// Arrays in npy files.
    Arrays {
        /// `[particle, 3]`.
        positions: PathBuf,
        /// `[particle]`; one each where none are given.
        masses: Option<PathBuf>,
        /// Radii of compact support, `[particle]`; of the 32nd neighbour where none are given.
        smoothing: Option<PathBuf>,
        /// The side of the box, which begins at the origin.
        box_side: f64,
        /// Whether the box is open.
        open: bool,
    },
}

/// The part of a snapshot that is shown.
#[derive(Clone, Debug)]
pub enum Part {
    /// The whole box where particles fill it, else the cube about them.
    Auto,
    /// The periodic box.
    Box,
    /// The cube about the particles.
    Bounding,
    /// A cube of this centre and side, Mpc/h.
    Cube([f64; 3], f64),
    /// A cube about a subhalo, of an aperture in units of the half-mass radius of a particle type.
    Subhalo {
        /// Its number in the catalogue.
        id: usize,
        /// The group catalogue, or none to look beside the snapshot.
        groups: Option<PathBuf>,
        /// Half the side.
        aperture: f64,
        /// The number of the type whose half-mass radius it is.
        of: usize,
    },
}

/// The flags of the program.
pub struct Options {
    /// The particles.
    pub source: Source,
    /// What is shown of them.
    pub quantities: Vec<Quantity>,
    /// How mass is laid on pixels; none is SPH for raw arrays and gas, spheres to the 32nd neighbour otherwise.
    pub method: Option<Method>,
    /// The neighbour whose distance is the radius of particles without a density.
    pub neighbours: usize,
    /// Pixels a side.
    pub grid: usize,
    /// The line of sight.
    pub axis: Axis,
    /// The part of space.
    pub part: Part,
    /// The camera.
    pub rotation: Option<Rotation>,
    /// From and to along the line of sight, Mpc/h from the near face.
    pub slab: Option<[f64; 2]>,
    /// The conventions of fields.
    pub fields: FieldOptions,
    /// The files to write, by their ending npy, fits, hdf5 or png.
    pub out: Vec<PathBuf>,
    /// How figures look.
    pub style: Style,
    /// Where a summary goes.
    pub json: Option<PathBuf>,
}

/// One map, and what a file should say about it.
pub struct Shown {
    /// The map.
    pub map: Map,
    /// What it shows, in words.
    pub title: String,
    /// What is stored beside it: names and values.
    pub facts: Vec<(String, Value)>,
    /// Comoving Mpc a unit of the map's lengths, or none for raw arrays.
    pub mpc: Option<f64>,
    /// The lower corner `[y, x]` in the unit of the map's lengths.
    pub corner: [f64; 2],
}

/// Projects and writes.
///
/// # Errors
/// When the particles cannot be read, a field is missing, or a file cannot be written.
pub fn run(options: &Options) -> Result<()> {
    for path in &options.out {
        output::kind(path)?;
    }
    ensure!(options.grid > 0, "--grid is 0, expected at least 1");
    let timings = Timings::default();
    let (shown, warnings) = match &options.source {
        Source::Snapshot { path, allow_missing } => {
            snapshot::project(path, *allow_missing, options, &timings)?
        }
        arrays => arrays::project(arrays, options, &timings)?,
    };
    timings.stage("writing", || {
        for path in &options.out {
            let files = output::write(path, &shown, &options.style)?;
            files.iter().for_each(|file| say(format!("wrote {}", file.display())));
        }
        Ok(())
    })?;
    for one in &shown {
        let Map { values, field, .. } = &one.map;
        let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
        let unit = if one.map.unit.label.is_empty() { "" } else { " " };
        say(format!("{field}: {low:.4e} to {high:.4e}{unit}{}", one.map.unit.label));
    }
    if let Some(path) = &options.json {
        let maps: Vec<Value> = shown.iter().map(summary).collect();
        let numbers = json!({
            "maps": maps, "warnings": warnings, "peak_rss_mb": peak_rss_mb(),
            "seconds": timings.list().into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        });
        halocast::core::write_whole(path, |w| Ok(serde_json::to_writer_pretty(w, &numbers)?))?;
    }
    Ok(())
}

/// What a map holds, as numbers.
fn summary(shown: &Shown) -> Value {
    let map = &shown.map;
    let sum: f64 = map.values.iter().map(|&v| f64::from(v)).sum();
    let facts: serde_json::Map<String, Value> = shown.facts.iter().cloned().collect();
    json!({
        "field": map.field, "unit": map.unit.label, "length_unit": map.length_unit.label,
        "shape": map.shape(), "extent": map.extent, "corner": shown.corner, "periodic": map.periodic,
        "mean": sum / map.values.len() as f64, "integral": sum * map.pixel_area(), "facts": facts,
    })
}

/// Three numbers with commas between them, or `random`.
///
/// # Errors
/// For anything else.
pub fn rotation(text: &str, seed: u64) -> Result<Rotation> {
    if text == "random" {
        return Ok(Rotation::random(&mut Rng::new(seed).split_named("rotation")));
    }
    let [theta, phi, psi] = numbers::<3>("--rotate", text)?;
    Ok(Rotation::euler(theta, phi, psi))
}

/// N finite numbers with commas between them.
///
/// # Errors
/// For anything else.
pub fn numbers<const N: usize>(flag: &str, text: &str) -> Result<[f64; N]> {
    let parsed: Vec<f64> = text.split(',').filter_map(|part| part.trim().parse().ok()).collect();
    match <[f64; N]>::try_from(parsed) {
        Ok(found) if text.split(',').count() == N && found.iter().all(|x| x.is_finite()) => Ok(found),
        _ => bail!("{flag} is {text:?}, expected {N} numbers with commas between them"),
    }
}

/// A value of an enum by the name it has in configuration files.
///
/// # Errors
/// For an unknown name, with the known ones.
pub fn named<T: serde::de::DeserializeOwned>(flag: &str, name: &str, known: &str) -> Result<T> {
    serde_json::from_value(Value::String(name.to_owned()))
        .map_err(|_| anyhow::anyhow!("{flag} is {name:?}, expected {known}"))
}

/// The conventions of fields from their flags.
///
/// # Errors
/// For an unknown name.
pub fn fields(magnetic: &str, neutral: &str, molecular: &str) -> Result<FieldOptions> {
    let magnetic: MagneticConvention =
        named("--gauss", magnetic, "gauss, heaviside_lorentz, without_h or skais_mapper")?;
    let neutral: Neutral = named("--neutral", neutral, "stored, self_shielded or rahmati")?;
    let molecular: Molecular = named("--molecular", molecular, "none, kmt or blitz_rosolowsky")?;
    Ok(FieldOptions { magnetic, neutral, molecular, ..Default::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_or_refused() {
        assert_eq!(numbers::<3>("--centre", "1, 2,-3e1").unwrap(), [1.0, 2.0, -30.0]);
        for bad in ["1,2", "1,2,x", "1,2,nan", "", "1,2,3,4"] {
            assert!(numbers::<3>("--centre", bad).unwrap_err().to_string().contains("--centre"), "{bad}");
        }
        assert_eq!(rotation("random", 3).unwrap(), rotation("random", 3).unwrap());
        assert_ne!(rotation("random", 3).unwrap(), rotation("random", 4).unwrap());
        assert!(fields("gauss", "stored", "kmt").is_ok());
        assert!(fields("tesla", "stored", "kmt").unwrap_err().to_string().contains("tesla"));
    }
}

//! Fields of a snapshot.

use std::path::Path;

use anyhow::Result;
use halocast::core::{ParticleSet, Snapshot, Species, Unit};
use halocast::data::{ReadOptions, read_snapshot};
use halocast::maps::fields::{Quantity, project_field};
use halocast::maps::{Axis, Method, ProjectOptions, Region, particles};
use serde_json::json;

use super::{Options, Part, Shown, subhalo};
use crate::console::{Timings, say, spinner};

/// The share of the box's side over which particles spread from which on the box counts as full.
const FULL: f64 = 0.9;

pub(super) fn project(
    path: &Path,
    allow_missing: bool,
    options: &Options,
    timings: &Timings,
) -> Result<(Vec<Shown>, Vec<String>)> {
    let snapshot = timings.stage("reading", || {
        let _spinner = spinner("reading");
        let read = ReadOptions { allow_missing, species: species(&options.quantities), ..Default::default() };
        Ok(read_snapshot(path, &read)?)
    })?;
    snapshot.warnings.iter().for_each(|w| say(format!("warning: {w}")));
    let region = region(path, &snapshot, options)?;
    let shown = timings.stage("projection", || {
        let _spinner = spinner("projection");
        options.quantities.iter().map(|quantity| one(&snapshot, *quantity, region, options)).collect()
    })?;
    Ok((shown, snapshot.warnings))
}

fn one(snapshot: &Snapshot, quantity: Quantity, region: Region, options: &Options) -> Result<Shown> {
    // A gas cell is as wide as its volume; other particles spread over their neighbours.
    let method = options.method.unwrap_or(match quantity {
        Quantity::DarkMatter | Quantity::DarkMatterSpeed | Quantity::Stars => Method::Sph,
        _ => Method::Sphere,
    });
    let Options { axis, rotation, slab, neighbours, .. } = *options;
    let projection = ProjectOptions { grid: options.grid, axis, method, region, neighbours, rotation, slab };
    let map = project_field(snapshot, quantity, &projection, &options.fields)?;
    let header = &snapshot.header;
    let corner = match region {
        Region::Cube { centre, side } => axis.image_axes().map(|a| centre[a] - 0.5 * side),
        _ => [0.0; 2],
    };
    let angles = rotation.unwrap_or(halocast::maps::Rotation::IDENTITY).angles();
    let facts = [
        ("redshift", json!(header.redshift)),
        ("scale_factor", json!(header.time)),
        ("hubble_parameter", json!(header.cosmology.h)),
        ("omega_m", json!(header.cosmology.omega_m)),
        ("line_of_sight", json!(axis)),
        ("method", json!(method)),
        ("angles", json!(angles)),
    ];
    let title = format!("{}, z = {:.2}", words(quantity), header.redshift);
    Ok(Shown {
        map,
        title,
        facts: facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        mpc: Some(1.0 / header.cosmology.h),
        corner,
    })
}

fn words(quantity: Quantity) -> &'static str {
    match quantity {
        Quantity::Gas => "gas surface density",
        Quantity::DarkMatter => "dark-matter surface density",
        Quantity::Stars => "stellar surface density",
        Quantity::Total => "total surface density",
        Quantity::Hi => "HI surface density",
        Quantity::H2 => "H2 surface density",
        Quantity::Brightness21cm => "21 cm brightness temperature",
        Quantity::Temperature => "gas temperature",
        Quantity::Pressure => "gas pressure",
        Quantity::Metallicity => "gas metallicity",
        Quantity::MagnesiumOverIron => "magnesium over iron",
        Quantity::Electrons => "electron column",
        Quantity::GasSpeed => "gas speed",
        Quantity::DarkMatterSpeed => "dark-matter speed",
        Quantity::LineOfSightVelocity => "line-of-sight velocity",
        Quantity::MagneticField => "magnetic field strength",
        Quantity::MagneticX | Quantity::MagneticY | Quantity::MagneticZ => "magnetic field component",
        Quantity::StarFormationRate => "star formation rate",
        Quantity::Potential => "potential",
        _ => "field",
    }
}

/// The species that the fields need; all where one is the total of whatever there is.
fn species(quantities: &[Quantity]) -> Option<Vec<Species>> {
    let needs = |quantity: &Quantity| match quantity {
        Quantity::DarkMatter | Quantity::DarkMatterSpeed => Species::DarkMatter,
        Quantity::Stars => Species::Stars,
        _ => Species::Gas,
    };
    let mut all: Vec<Species> = quantities.iter().map(needs).collect();
    all.sort();
    all.dedup();
    (!quantities.contains(&Quantity::Total)).then_some(all)
}

fn region(path: &Path, snapshot: &Snapshot, options: &Options) -> Result<Region> {
    let (a, h) = (snapshot.header.time, snapshot.header.cosmology.h);
    Ok(match &options.part {
        Part::Box => Region::Box,
        Part::Bounding => bounding(snapshot, f64::INFINITY)?,
        Part::Cube(centre, side) => Region::Cube { centre: *centre, side: *side },
        Part::Subhalo { id, groups, aperture, of } => {
            let found = subhalo::find(path, groups.as_deref(), *id, *of)?;
            let factor = Unit::kpc_h().factor_to(&Unit::mpc_h(), a, h);
            let side = 2.0 * aperture * found.half_mass_radius * factor;
            anyhow::ensure!(side > 0.0, "subhalo {id} has no half-mass radius of type {of}");
            Region::Cube { centre: found.position.map(|x| x * factor), side }
        }
        Part::Auto => {
            let side = snapshot.periodic_box()?.side() * Unit::kpc_h().factor_to(&Unit::mpc_h(), a, h);
            bounding(snapshot, FULL * side)?
        }
    })
}

/// The cube about the particles of all species, or the box where they spread over more than `full` of it.
fn bounding(snapshot: &Snapshot, full: f64) -> Result<Region> {
    let (mut low, mut high) = ([f64::INFINITY; 3], [f64::NEG_INFINITY; 3]);
    let placed = |set: &&ParticleSet| !set.is_empty() && set.field("Coordinates").is_ok();
    // Tracers have no place of their own.
    for set in snapshot.sets.values().filter(placed) {
        for p in particles(snapshot, set.species())?.positions {
            for axis in 0..3 {
                (low[axis], high[axis]) = (low[axis].min(p[axis]), high[axis].max(p[axis]));
            }
        }
    }
    let widest = (0..3).map(|i| high[i] - low[i]).fold(0.0, f64::max);
    if widest > full {
        return Ok(Region::Box);
    }
    anyhow::ensure!(widest > 0.0, "the particles span no region");
    let centre = std::array::from_fn(|i| 0.5 * (low[i] + high[i]));
    Ok(Region::Cube { centre, side: widest * (1.0 + 1e-9) })
}

/// The axis of a letter.
///
/// # Errors
/// For another one.
pub fn axis(letter: &str) -> Result<Axis> {
    super::named("--los", letter, "x, y or z")
}

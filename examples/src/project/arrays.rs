//! Raw arrays of particles, in units of their own.

use std::path::Path;

use anyhow::{Result, ensure};
use halocast::core::{Map, Unit};
use halocast::data::read_npy_f64;
use halocast::maps::{Masses, Method, Projection, project as project_map, smoothing_lengths};
use serde_json::json;

use super::{Options, Shown, Source};
use crate::console::Timings;

/// The surface density of the arrays: mass per squared unit of length.
pub(super) fn project(
    source: &Source,
    options: &Options,
    timings: &Timings,
) -> Result<(Vec<Shown>, Vec<String>)> {
    let Source::Arrays { positions, masses, smoothing, box_side, open } = source else {
        anyhow::bail!("no arrays of particles were given");
    };
    let (box_side, open) = (*box_side, *open);
    ensure!(box_side.is_finite() && box_side > 0.0, "--box is {box_side}, expected a length");
    ensure!(options.slab.is_none(), "--slab needs a snapshot");
    let path = positions;
    let (mut positions, masses, radii) = timings.stage("reading", || {
        let positions = read_npy_f64(path)?;
        ensure!(
            positions.ndim() == 2 && positions.shape()[1] == 3,
            "{}: shape {:?}, expected [particle, 3]",
            path.display(),
            positions.shape()
        );
        let positions: Vec<[f64; 3]> = positions.outer_iter().map(|p| [p[0], p[1], p[2]]).collect();
        let count = positions.len();
        let list = |path: &Option<std::path::PathBuf>| path.as_deref().map(|p| scalars(p, count)).transpose();
        Ok((positions, list(masses)?, list(smoothing)?))
    })?;
    let method = options.method.unwrap_or(Method::Sph);
    let map = timings.stage("projection", || {
        let radii = match radii {
            None if method.needs_radii() => {
                Some(smoothing_lengths(&positions, options.neighbours, (!open).then_some(box_side))?)
            }
            radii => radii,
        };
        if let Some(rotation) = options.rotation {
            ensure!(open, "--rotate needs --open: a turned box has no opposite sides that meet");
            rotation.apply_about(&mut positions, [0.5 * box_side; 3]);
        }
        let frame =
            Projection { periodic: !open, ..Projection::periodic_box(options.axis, options.grid, box_side) };
        let masses = masses.as_deref().map_or(Masses::Equal(1.0), Masses::Each);
        Ok(project_map("mass", &positions, masses, radii.as_deref(), &frame, method)?)
    })?;
    let length_unit = Unit::new("", 1.0, 0.0, 0.0);
    let map = Map { unit: Unit::new("mass / length^2", 1.0, 0.0, 0.0), length_unit, ..map };
    let facts = vec![("particles".to_owned(), json!(positions.len())), ("method".to_owned(), json!(method))];
    let title = format!("{} particles", positions.len());
    Ok((vec![Shown { map, title, facts, mpc: None, corner: [0.0; 2] }], Vec::new()))
}

fn scalars(path: &Path, count: usize) -> Result<Vec<f64>> {
    let values = read_npy_f64(path)?;
    let shape = values.shape().to_vec();
    ensure!(shape == [count], "{}: shape {shape:?}, expected [{count}] as the positions", path.display());
    Ok(values.into_raw_vec_and_offset().0)
}

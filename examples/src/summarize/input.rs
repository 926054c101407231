//! Maps, cubes and clouds from files.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use halocast::core::{Cube, Map, PeriodicBox, Unit};
use halocast::data::{NpyFile, open_hdf5, read_fits_map};
use ndarray::{ArrayD, Axis, Ix2, Ix3};

/// What a file holds.
pub enum Input {
    /// Maps of one shape.
    Maps(Vec<Map>),
    /// A cube.
    Cube(Cube),
    /// Points, in a periodic box or in open space.
    Cloud(Vec<[f64; 3]>, Option<PeriodicBox>),
}

/// What a file is taken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// By its shape: `[n, 3]` a cloud, `[n, n, n]` a cube, other two- to four-dimensional arrays maps.
    #[default]
    Auto,
    /// `[y, x]`, `[map, y, x]` or `[map, 1, y, x]`.
    Maps,
    /// `[x, y, z]`.
    Cube,
    /// `[point, 3]`.
    Cloud,
}

/// How a file is read.
#[derive(Clone, Debug, Default)]
pub struct ReadAs {
    /// What it is taken for.
    pub kind: Kind,
    /// Side of the box, in Mpc/h.
    pub box_size: Option<f64>,
    /// Whether opposite sides do not meet.
    pub open: bool,
    /// The dataset of an HDF5 file; the only one, if there is but one.
    pub dataset: Option<String>,
}

/// Reads a `.npy`, `.fits` or `.hdf5` file.
///
/// # Errors
/// When it cannot be read, its shape fits no kind, or the side of the box is needed and not given.
pub fn read(path: &Path, how: &ReadAs) -> Result<Input> {
    let named = || path.display().to_string();
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    let values = match extension.as_str() {
        "fits" | "fit" => {
            let mut map = read_fits_map(path)?;
            if let Some(side) = how.box_size {
                (map.extent, map.length_unit) = ([side; 2], Unit::mpc_h());
            }
            return Ok(Input::Maps(vec![map]));
        }
        "npy" => NpyFile::open(path)?.read_f64()?,
        "hdf5" | "h5" => {
            let file = open_hdf5(path)?;
            let name = match &how.dataset {
                Some(name) => name.clone(),
                None => {
                    let all = file.datasets("")?;
                    ensure!(
                        all.len() == 1,
                        "{}: it has the datasets {all:?}, expected --dataset to name one",
                        named()
                    );
                    all[0].clone()
                }
            };
            file.read_f64(&name)?
        }
        other => bail!("{}: the extension is {other:?}, expected npy, fits or hdf5", named()),
    };
    as_kind(values, how).with_context(named)
}

fn as_kind(values: ArrayD<f64>, how: &ReadAs) -> Result<Input> {
    let shape = values.shape().to_vec();
    let kind = match (how.kind, shape.as_slice()) {
        (Kind::Auto, [n, 3]) if *n != 3 => Kind::Cloud,
        (Kind::Auto, [a, b, c]) if a == b && b == c => Kind::Cube,
        (Kind::Auto, [_, _] | [_, _, _] | [_, 1, _, _]) => Kind::Maps,
        (Kind::Auto, _) => bail!("the shape is {shape:?}, expected that of maps, a cube or a cloud"),
        (kind, _) => kind,
    };
    if kind == Kind::Cloud {
        let table = values.into_dimensionality::<Ix2>()?;
        ensure!(table.ncols() == 3, "the shape is {shape:?}, expected [point, 3]");
        let periodic = match (how.box_size, how.open) {
            (Some(side), false) => Some(PeriodicBox::new(side)?),
            (None, false) => bail!("--box-size is missing, expected the side of the box, or --open"),
            (_, true) => None,
        };
        return Ok(Input::Cloud(table.outer_iter().map(|p| [p[0], p[1], p[2]]).collect(), periodic));
    }
    let side = how.box_size.context("--box-size is missing, expected the side of the box in Mpc/h")?;
    if kind == Kind::Cube {
        return Ok(Input::Cube(Cube {
            values: values.into_dimensionality::<Ix3>().context("a cube")?.mapv(|v| v as f32),
            extent: [side; 3],
            length_unit: Unit::mpc_h(),
            unit: Unit::dimensionless(),
            field: "field".into(),
            periodic: !how.open,
        }));
    }
    let stack = match shape.len() {
        2 => values.insert_axis(Axis(0)),
        4 if shape[1] == 1 => values.index_axis_move(Axis(1), 0),
        _ => values,
    };
    let stack = stack
        .into_dimensionality::<Ix3>()
        .with_context(|| format!("the shape is {shape:?}, expected [map, y, x]"))?;
    let map = |view: ndarray::ArrayView2<'_, f64>| {
        let mut map = Map::square("field", view.mapv(|v| v as f32), side);
        map.periodic = !how.open;
        map
    };
    Ok(Input::Maps(stack.outer_iter().map(map).collect()))
}

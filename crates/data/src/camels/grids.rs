//! The three-dimensional grids of the CAMELS Multifield Dataset, of which a set may be 500 GB.

use std::path::{Path, PathBuf};

use halocast_core::{Cube, Unit};
use ndarray::{ArrayView3, Ix3};

use super::maps::CmdName;
use crate::{Error, NpyMap, Result};

/// The side of the boxes of the first generation, in Mpc/h.
const BOX_SIDE: f64 = 25.0;

/// `Grids_{prefix}_{suite}_{set}_{N}_z={z:.2}.npy`: grid i is of simulation i.
///
/// The file is mapped into memory: a grid is a view of it, read from disk where it is looked at, and nothing is copied.
///
/// ```
/// use halocast_data::{CmdGrids, write_npy};
/// use ndarray::Array4;
/// # fn main() -> halocast_data::Result<()> {
/// let dir = tempfile::tempdir().unwrap();
/// let path = dir.path().join("Grids_Mcdm_IllustrisTNG_LH_4_z=0.00.npy");
/// write_npy(&path, &Array4::from_shape_fn((3, 4, 4, 4), |(n, x, _, _)| (10 * n + x) as f32))?;
/// let grids = CmdGrids::open(&path)?;
/// assert_eq!((grids.len(), grids.side()), (3, 4));
/// assert_eq!(grids.view(2)?[[3, 0, 0]], 23.0);
/// # Ok(()) }
/// ```
pub struct CmdGrids {
    map: NpyMap<f32>,
    name: Option<GridName>,
    box_side: f64,
}

/// The parts of a name.
#[derive(Clone, Debug, PartialEq)]
pub struct GridName {
    /// What the name shares with that of maps.
    pub of: CmdName,
    /// Cells along a side.
    pub side: usize,
}

impl GridName {
    /// Takes a file name apart; `None` for another form.
    pub fn parse(path: impl AsRef<Path>) -> Option<Self> {
        let stem = path.as_ref().file_name()?.to_str()?.strip_suffix(".npy")?;
        let (rest, redshift) = stem.strip_prefix("Grids_")?.rsplit_once("_z=")?;
        let (rest, side) = rest.rsplit_once('_')?;
        let (rest, set) = rest.rsplit_once('_')?;
        let (prefix, suite) = rest.split_once('_')?;
        let redshift = redshift.parse().ok()?;
        let of = CmdName { prefix: prefix.into(), suite: suite.into(), set: set.into(), redshift };
        Some(Self { of, side: side.parse().ok()? })
    }

    /// The unit of the cells. Densities are per volume; the others are as in the maps, but for `ne`.
    pub fn unit(&self) -> Unit {
        match self.of.prefix.as_str() {
            "Mgas" | "HI" | "Mcdm" | "Mstar" | "Mtot" => {
                let (mass, length) = (Unit::msun_h(), Unit::mpc_h());
                Unit::new("(Msun/h)/(Mpc/h)^3", mass.to_cgs / length.to_cgs.powi(3), -3.0, 2.0)
            }
            "ne" => Unit::new("h^2/cm^3", 1.0, 0.0, 2.0),
            _ => self.of.unit(),
        }
    }
}

impl CmdGrids {
    /// Maps a file. Its name may tell field and redshift, and is then checked against its shape.
    ///
    /// # Errors
    /// As [`NpyMap::open`]; [`Error::Invalid`] for other shapes than `[n, side, side, side]`, or a side that is not that
    /// of the name; [`Error::Lacks`] for fields that the suite of the name has not.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let map = NpyMap::open(path)?;
        let name = GridName::parse(path);
        let shape = map.shape();
        let cubic = shape.len() == 4 && shape[1] == shape[2] && shape[2] == shape[3] && shape[1] > 0;
        let expected = match &name {
            Some(name) => format!("[n, {0}, {0}, {0}] as its name says", name.side),
            None => "[n, side, side, side]".to_owned(),
        };
        if !cubic || name.as_ref().is_some_and(|n| n.side != shape[1]) {
            return Err(Error::invalid(path, "shape of the grids", expected, format!("{shape:?}")));
        }
        if let Some((name, suite)) = name.as_ref().and_then(|n| Some((n, super::Suite::parse(&n.of.suite)?)))
        {
            suite.require_map(path, &name.of.prefix)?;
        }
        Ok(Self { map, name, box_side: BOX_SIDE })
    }

    /// The same grids of a box of another side, in Mpc/h.
    pub fn with_box_side(mut self, side: f64) -> Self {
        self.box_side = side;
        self
    }

    /// The parts of the file's name, where it has this form.
    pub fn name(&self) -> Option<&GridName> {
        self.name.as_ref()
    }

    /// The number of grids.
    pub fn len(&self) -> usize {
        self.map.shape()[0]
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Cells along a side.
    pub fn side(&self) -> usize {
        self.map.shape()[1]
    }

    /// Grid `i` where it lies, `[x, y, z]`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such grid.
    pub fn view(&self, i: usize) -> Result<ArrayView3<'_, f32>> {
        let item = self.map.item(i)?;
        item.into_dimensionality::<Ix3>().map_err(|e| {
            Error::invalid(self.map.path(), "shape of a grid", "[side, side, side]", e.to_string())
        })
    }

    /// A copy of grid `i`.
    ///
    /// # Errors
    /// As [`CmdGrids::view`]; [`Error::Invalid`] when a cell is not finite.
    pub fn cube(&self, i: usize) -> Result<Cube> {
        let values = self.view(i)?.to_owned();
        if let Some((at, value)) = values.indexed_iter().find(|(_, v)| !v.is_finite()) {
            let field = format!("grid {i}, cell {at:?}");
            return Err(Error::invalid(self.map.path(), field, "a finite number", value.to_string()));
        }
        let path: PathBuf = self.map.path().to_path_buf();
        let stem = || path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Cube {
            values,
            extent: [self.box_side; 3],
            length_unit: Unit::mpc_h(),
            unit: self.name.as_ref().map_or_else(|| Unit::new("unknown", 1.0, 0.0, 0.0), GridName::unit),
            field: self.name.as_ref().map_or_else(stem, |n| n.of.prefix.clone()),
            periodic: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array4;

    use super::*;

    #[test]
    fn names_and_shapes_must_agree() {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str, shape: (usize, usize, usize, usize)| {
            let path = dir.path().join(name);
            crate::write_npy(&path, &Array4::<f32>::ones(shape)).unwrap();
            CmdGrids::open(&path).map(|g| g.cube(0).unwrap())
        };
        let cube = open("Grids_Mtot_Nbody_IllustrisTNG_LH_4_z=0.50.npy", (2, 4, 4, 4)).unwrap();
        assert_eq!((cube.field.as_str(), cube.unit.label.as_str()), ("Mtot", "(Msun/h)/(Mpc/h)^3"));
        for (name, shape, part) in [
            ("Grids_Mgas_IllustrisTNG_LH_8_z=0.00.npy", (2, 4, 4, 4), "[n, 8, 8, 8]"),
            ("Grids_Mgas_IllustrisTNG_LH_4_z=0.00.npy", (2, 4, 4, 3), "[2, 4, 4, 3]"),
            ("Grids_Mgas_Nbody_SIMBA_LH_4_z=0.00.npy", (2, 4, 4, 4), "gravity alone"),
            ("Grids_B_SIMBA_LH_4_z=0.00.npy", (2, 4, 4, 4), "magnetic"),
        ] {
            let message = open(name, shape).unwrap_err().to_string();
            assert!(message.contains(part) && message.contains(name), "{message}");
        }
        let name = GridName::parse("Grids_ne_SIMBA_1P_256_z=1.50.npy").unwrap();
        assert_eq!((name.side, name.of.suite.as_str(), name.of.redshift), (256, "SIMBA", 1.5));
    }
}

//! Map files: thousands of maps in one array, read one at a time.

use std::path::{Path, PathBuf};

use halocast_core::{Map, Unit, write_whole};
use ndarray::Array2;

use super::params::CmdParams;
use super::suite::Suite;
use crate::npy::{NpyFile, write_header, write_numbers};
use crate::{Error, Result};

/// Maps of each simulation in the published files: five slabs along each of three axes.
const MAPS_PER_SIMULATION: usize = 15;
/// Side of the maps in Mpc/h.
const BOX_SIDE: f64 = 25.0;

/// The parts of a file name `Maps_{prefix}_{suite}_{set}_z=0.00.npy`.
#[derive(Clone, Debug, PartialEq)]
pub struct CmdName {
    /// The field: `Mgas`, `HI`, `Mcdm`, `T`, ...
    pub prefix: String,
    /// The suite: `IllustrisTNG`, `SIMBA`, `Nbody_IllustrisTNG`, ...
    pub suite: String,
    /// The set: `LH`, `CV`, `1P`, ...
    pub set: String,
    /// The redshift.
    pub redshift: f64,
}

impl CmdName {
    /// Takes a file name apart; `None` when it is not of this form.
    pub fn parse(path: impl AsRef<Path>) -> Option<Self> {
        let name = path.as_ref().file_name()?.to_str()?.strip_prefix("Maps_")?.strip_suffix(".npy")?;
        let (name, redshift) = name.rsplit_once("_z=")?;
        let (prefix, rest) = name.split_once('_')?;
        let (suite, set) = rest.rsplit_once('_')?;
        let redshift = redshift.parse().ok()?;
        Some(Self { prefix: prefix.into(), suite: suite.into(), set: set.into(), redshift })
    }

    /// The file name.
    pub fn file_name(&self) -> String {
        format!("Maps_{}_{}_{}_z={:.2}.npy", self.prefix, self.suite, self.set, self.redshift)
    }

    /// The name of the parameter file that goes with it.
    pub fn params_file_name(&self) -> String {
        format!("params_{}_{}.txt", self.set, self.suite)
    }

    /// The unit of the maps, from the field.
    ///
    /// # Source
    /// The documentation of the CAMELS Multifield Dataset.
    pub fn unit(&self) -> Unit {
        const MPC: f64 = 3.085_677_581_491_367e24;
        match self.prefix.as_str() {
            "Mgas" | "HI" | "Mcdm" | "Mstar" | "Mtot" => Unit::msun_h_per_mpc_h2(),
            "Vgas" | "Vcdm" => Unit::new("km/s", 1e5, 0.0, 0.0),
            "T" => Unit::new("K", 1.0, 0.0, 0.0),
            "P" => Unit::new("h^2 Msun (km/s)^2/kpc^3", 1.988_92e33 * 1e10 / (MPC / 1e3).powi(3), 0.0, 2.0),
            "ne" => Unit::new("h^2 cm^-3 Mpc/h", MPC, 0.0, 1.0),
            "B" => Unit::new("Gauss", 1.0, 0.0, 0.0),
            "Z" | "MgFe" => Unit::dimensionless(),
            _ => Unit::new("unknown", 1.0, 0.0, 0.0),
        }
    }
}

/// An open file of maps `[map, y, x]`; each map is read when asked for.
#[derive(Debug)]
pub struct CmdMaps {
    file: NpyFile,
    name: Option<CmdName>,
    box_side: f64,
    per_simulation: usize,
}

impl CmdMaps {
    /// Opens a file of maps. A name of another form than [`CmdName`]'s is allowed: then the field is the name.
    ///
    /// # Errors
    /// As [`NpyFile::open`]; [`Error::Invalid`] when the array is not `[map, y, x]` (or `[y, x]`: one map);
    /// [`Error::Lacks`] for fields that the suite of the name has not.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = NpyFile::open(path)?;
        let shape = file.shape();
        if !matches!(shape.len(), 2 | 3) || shape.contains(&0) {
            let got = format!("{shape:?}");
            return Err(Error::invalid(path, "shape", "[map, y, x] or [y, x], nothing empty", got));
        }
        let name = CmdName::parse(path);
        if let Some((name, suite)) = name.as_ref().and_then(|n| Some((n, Suite::parse(&n.suite)?))) {
            suite.require_map(path, &name.prefix)?;
        }
        Ok(Self { file, name, box_side: BOX_SIDE, per_simulation: MAPS_PER_SIMULATION })
    }

    /// The same maps with another side, in Mpc/h, than 25.
    pub fn with_box_side(mut self, side: f64) -> Self {
        self.box_side = side;
        self
    }

    /// The same maps with the number per simulation that a parameter file implies.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the number of maps is no multiple of the number of simulations.
    pub fn with_params(mut self, params: &CmdParams) -> Result<Self> {
        let (maps, rows) = (self.len(), params.len());
        if rows == 0 || maps % rows != 0 {
            let expected = format!("a multiple of the {rows} rows of {}", params.path.display());
            return Err(Error::invalid(self.file.path(), "number of maps", expected, maps.to_string()));
        }
        self.per_simulation = maps / rows;
        Ok(self)
    }

    /// The path.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// What the file name says, when it has the form.
    pub fn name(&self) -> Option<&CmdName> {
        self.name.as_ref()
    }

    /// The number of maps.
    pub fn len(&self) -> usize {
        if self.file.shape().len() == 2 { 1 } else { self.file.len() }
    }

    /// Whether there is none; an open file has at least one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pixels of a map, `[y, x]`.
    pub fn shape(&self) -> [usize; 2] {
        let shape = self.file.shape();
        [shape[shape.len() - 2], shape[shape.len() - 1]]
    }

    /// The simulation that map `i` is of: the row of its parameters.
    pub fn simulation(&self, i: usize) -> usize {
        i / self.per_simulation
    }

    /// The simulation of every map: the groups that a split has to keep together.
    pub fn groups(&self) -> Vec<usize> {
        (0..self.len()).map(|i| self.simulation(i)).collect()
    }

    /// Map `i`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such map or a pixel is not finite; [`Error::Read`].
    pub fn map(&self, i: usize) -> Result<Map> {
        let [ny, nx] = self.shape();
        let mut values = Array2::zeros((ny, nx));
        if let Some(out) = values.as_slice_mut() {
            self.read_into(i, out)?;
        }
        let stem = || self.path().file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let field = self.name.as_ref().map_or_else(stem, |n| n.prefix.clone());
        let unit = self.name.as_ref().map_or_else(|| Unit::new("unknown", 1.0, 0.0, 0.0), CmdName::unit);
        Ok(Map::square(field, values, self.box_side).with_unit(unit))
    }

    /// The pixels of map `i`, row by row, into memory of the caller.
    pub(super) fn read_into(&self, i: usize, out: &mut [f32]) -> Result<()> {
        self.check_index(i)?;
        if self.file.shape().len() == 2 {
            let values = self.file.read_f32()?;
            out.iter_mut().zip(values.iter()).for_each(|(o, v)| *o = *v);
        } else {
            self.file.item_into(i, out)?;
        }
        self.check_pixels(i, out)
    }

    fn check_index(&self, i: usize) -> Result<()> {
        if i < self.len() {
            return Ok(());
        }
        let expected = format!("below {}", self.len());
        Err(Error::invalid(self.path(), "map index", expected, i.to_string()))
    }

    /// Checks that the pixels of map `i` are finite.
    fn check_pixels(&self, i: usize, pixels: &[f32]) -> Result<()> {
        // Without an early end the loop becomes vector instructions.
        if pixels.iter().fold(true, |finite, v| finite & v.is_finite()) {
            return Ok(());
        }
        match pixels.iter().position(|v| !v.is_finite()) {
            None => Ok(()),
            Some(at) => {
                let [_, nx] = self.shape();
                let field = format!("map {i}, pixel [y = {}, x = {}]", at / nx, at % nx);
                Err(Error::invalid(self.path(), field, "a finite number", pixels[at].to_string()))
            }
        }
    }

    /// The maps at `indices`.
    ///
    /// # Errors
    /// As [`CmdMaps::map`].
    pub fn maps(&self, indices: impl IntoIterator<Item = usize>) -> Result<Vec<Map>> {
        indices.into_iter().map(|i| self.map(i)).collect()
    }
}

/// Writes `Maps_{prefix}_{suite}_{set}_z={z:.2}.npy` into a folder, and returns its path.
///
/// # Errors
/// [`Error::Invalid`] when there is no map, shapes differ or a pixel is not finite; [`Error::Core`] when the file cannot
/// be written.
pub fn write_cmd_maps(
    dir: impl AsRef<Path>,
    prefix: &str,
    suite: &str,
    set: &str,
    redshift: f64,
    maps: &[Map],
) -> Result<PathBuf> {
    let name = CmdName { prefix: prefix.into(), suite: suite.into(), set: set.into(), redshift };
    let path = dir.as_ref().join(name.file_name());
    let Some(first) = maps.first() else {
        return Err(Error::invalid(&path, "number of maps", "at least 1", "0"));
    };
    for (i, map) in maps.iter().enumerate() {
        if map.shape() != first.shape() {
            let (expected, got) = (format!("{:?}", first.shape()), format!("{:?}", map.shape()));
            return Err(Error::invalid(&path, format!("shape of map {i}"), expected, got));
        }
        map.require_finite()?;
    }
    let [ny, nx] = first.shape();
    write_whole(&path, |out| {
        write_header::<f32>(out, &[maps.len(), ny, nx])?;
        write_numbers(out, maps.iter().flat_map(|map| map.values.iter().copied()))
    })?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps(n: usize) -> Vec<Map> {
        (0..n).map(|i| Map::square("Mcdm", Array2::from_elem((8, 8), i as f32), 25.0)).collect()
    }

    #[test]
    fn names_come_apart() {
        let name = CmdName::parse("/data/Maps_Mtot_Nbody_IllustrisTNG_LH_z=0.00.npy").unwrap();
        assert_eq!(
            (name.prefix.as_str(), name.suite.as_str(), name.set.as_str()),
            ("Mtot", "Nbody_IllustrisTNG", "LH")
        );
        assert_eq!(name.file_name(), "Maps_Mtot_Nbody_IllustrisTNG_LH_z=0.00.npy");
        assert_eq!(name.params_file_name(), "params_LH_Nbody_IllustrisTNG.txt");
        assert!(CmdName::parse("maps.npy").is_none());
    }

    #[test]
    fn what_is_written_is_read_back_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = write_cmd_maps(dir.path(), "Mcdm", "Mock", "LH", 0.0, &maps(30)).unwrap();
        let file = CmdMaps::open(&path).unwrap();
        assert_eq!((file.len(), file.shape()), (30, [8, 8]));
        let map = file.map(17).unwrap();
        assert_eq!((map.values[[3, 4]], map.extent, map.field.as_str()), (17.0, [25.0; 2], "Mcdm"));
        assert_eq!(map.unit, Unit::msun_h_per_mpc_h2());
        assert_eq!((file.simulation(14), file.simulation(15)), (0, 1));
        assert!(file.map(30).is_err());
        let params = CmdParams { path: "p.txt".into(), values: Array2::ones((10, 6)) };
        assert_eq!(file.with_params(&params).unwrap().groups()[4], 1);
        let params = CmdParams { path: "p.txt".into(), values: Array2::ones((7, 6)) };
        let message = CmdMaps::open(&path).unwrap().with_params(&params).unwrap_err().to_string();
        assert!(message.contains("7 rows") && message.contains("30"), "{message}");
    }

    #[test]
    fn what_is_not_finite_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut bad = maps(2);
        bad[1].values[[2, 3]] = f32::NAN;
        assert!(write_cmd_maps(dir.path(), "T", "Mock", "LH", 0.0, &bad).is_err());
        let path = dir.path().join("Maps_T_Mock_LH_z=0.00.npy");
        let stacked =
            ndarray::stack(ndarray::Axis(0), &[bad[0].values.view(), bad[1].values.view()]).unwrap();
        crate::write_npy(&path, &stacked).unwrap();
        let message = CmdMaps::open(&path).unwrap().map(1).unwrap_err().to_string();
        assert!(message.contains("map 1, pixel [y = 2, x = 3]"), "{message}");
    }
}

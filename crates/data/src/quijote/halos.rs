//! Haloes as arrays `[simulation, halo, feature]` with a table of cosmologies.
//!
//! # Source
//! The point-cloud set of Cuesta-Lazaro & Mishra-Sharma (2023): the 5000 heaviest haloes at z = 0 of the latin hypercube,
//! x, y, z (Mpc/h), vx, vy, vz (km/s), M (Msun/h), in a periodic box of 1000 Mpc/h; `latin_hypercube_params.txt` of Quijote.

use std::path::{Path, PathBuf};

use halocast_core::{Cloud, Cosmology, Unit};
use ndarray::{Array3, Ix3, s};

use crate::text::read_text_table;
use crate::{Error, NpyFile, Result};

/// The side of the box, in Mpc/h.
const BOX_SIDE: f64 = 1000.0;
/// The features behind the positions.
const FEATURES: [&str; 4] = ["vx", "vy", "vz", "M"];
/// The parameters of a cosmology, by the names of the tables.
const PARAMETERS: [&str; 5] = ["Omega_m", "Omega_b", "h", "n_s", "sigma_8"];

/// The haloes of some simulations.
#[derive(Clone, Debug, PartialEq)]
pub struct QuijoteHalos {
    path: PathBuf,
    values: Array3<f32>,
    cosmologies: Vec<Cosmology>,
}

impl QuijoteHalos {
    /// The number of simulations.
    pub fn len(&self) -> usize {
        self.values.shape()[0]
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The cosmology of simulation `i`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such simulation.
    pub fn cosmology(&self, i: usize) -> Result<Cosmology> {
        self.cosmologies.get(i).copied().ok_or_else(|| self.out_of_range(i))
    }

    /// The haloes of simulation `i`: positions in Mpc/h, with velocity (km/s) and mass (Msun/h) as features.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such simulation.
    pub fn cloud(&self, i: usize) -> Result<Cloud> {
        if i >= self.len() {
            return Err(self.out_of_range(i));
        }
        let halos = self.values.slice(s![i, .., ..]);
        let mut cloud = Cloud::new(halos.slice(s![.., ..3]).to_owned(), Unit::mpc_h(), Some(BOX_SIDE))?;
        cloud.features = halos.slice(s![.., 3..]).to_owned();
        cloud.feature_names = FEATURES.map(str::to_owned).to_vec();
        Ok(cloud)
    }

    fn out_of_range(&self, i: usize) -> Error {
        Error::invalid(&self.path, "number of the simulation", format!("below {}", self.len()), i.to_string())
    }
}

/// Reads haloes and, row by row, the cosmologies of their simulations.
///
/// # Errors
/// As [`NpyFile::open`] and [`read_cosmologies`]; [`Error::Invalid`] when the array is not
/// `[simulation, halo, 7]`, has positions outside the box, or there are fewer cosmologies than simulations.
pub fn read_quijote_halos(halos: impl AsRef<Path>, cosmologies: impl AsRef<Path>) -> Result<QuijoteHalos> {
    let path = halos.as_ref();
    let values = NpyFile::open(path)?.read_f32()?;
    let got = format!("{:?}", values.shape());
    let values = values
        .into_dimensionality::<Ix3>()
        .ok()
        .filter(|v| v.shape()[2] == 3 + FEATURES.len())
        .ok_or_else(|| Error::invalid(path, "shape", "[simulation, halo, 7]", got))?;
    let outside = values.indexed_iter().find(|((_, _, feature), x)| {
        !x.is_finite() || (*feature < 3 && !(0.0..=BOX_SIDE as f32).contains(*x))
    });
    if let Some(((simulation, halo, feature), x)) = outside {
        let field = format!("simulation {simulation}, halo {halo}, feature {feature}");
        return Err(Error::invalid(path, field, "a finite number, positions in 0..1000", x.to_string()));
    }
    let cosmologies = read_cosmologies(cosmologies)?;
    if cosmologies.len() < values.shape()[0] {
        let (expected, got) = (values.shape()[0].to_string(), cosmologies.len().to_string());
        return Err(Error::invalid(path, "number of cosmologies", expected, got));
    }
    Ok(QuijoteHalos { path: path.to_path_buf(), values, cosmologies })
}

/// Reads a table of cosmologies: columns `Omega_m Omega_b h n_s sigma_8` under a header that names them, in any order,
/// separated by commas or white space.
///
/// # Errors
/// As [`read_text_table`]; [`Error::Absent`] for a column that is not there; [`Error::Core`] for a cosmology that cannot
/// be.
pub fn read_cosmologies(path: impl AsRef<Path>) -> Result<Vec<Cosmology>> {
    let path = path.as_ref();
    let table = read_text_table(path)?;
    let mut columns = Vec::with_capacity(PARAMETERS.len());
    for name in PARAMETERS {
        columns.push(table.column(name)?);
    }
    (0..table.len())
        .map(|i| {
            let [omega_m, omega_b, h, n_s, sigma_8] = [0, 1, 2, 3, 4].map(|c: usize| columns[c][i]);
            let cosmology = Cosmology { omega_m, omega_b, h, n_s, sigma_8 };
            cosmology.validate()?;
            Ok(cosmology)
        })
        .collect()
}

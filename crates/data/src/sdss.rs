//! Spectra of the Sloan Digital Sky Survey.
//!
//! # Source
//! The data model of SDSS-III, `spec-PLATE-MJD-FIBER.fits`: table `COADD` of flux (10^-17 erg/s/cm^2/Angstrom), loglam
//! (log10 of the vacuum wavelength in Angstrom), ivar (inverse variance), masks, sky and model; table `SPECOBJ` or `SPALL`
//! of what the pipeline found, one row. The layout `sdss_galaxy_spec.hdf5` of the A3Net lectures (2024): group `/raw` with
//! one wavelength grid and, galaxy by galaxy, spectrum, error and properties.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use halocast_core::FieldValues;
use ndarray::{Array1, Array2, Ix1, Ix2};

use crate::fits_table::{FitsTable, FitsValues, read_fits_table};
use crate::hdf5::{Hdf5Type, open_hdf5};
use crate::{Error, Result};

/// One spectrum.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrum {
    /// Vacuum wavelength in Angstrom.
    pub wavelength: Vec<f64>,
    /// Flux in 10^-17 erg/s/cm^2/Angstrom.
    pub flux: Vec<f32>,
    /// Inverse variance of the flux; 0 where there is no measurement.
    pub inverse_variance: Vec<f32>,
    /// The pipeline's best model of the flux, where the file has it.
    pub model: Option<Vec<f32>>,
    /// Bits that are set in every exposure of a pixel, where the file has them.
    pub and_mask: Option<Vec<i64>>,
    /// Redshift.
    pub redshift: f64,
    /// Error of the redshift.
    pub redshift_error: f64,
    /// What the pipeline takes it for: `GALAXY`, `QSO`, `STAR`.
    pub class: String,
    /// Plate, modified Julian day and fibre.
    pub identifier: [i64; 3],
}

/// Reads a file `spec-PLATE-MJD-FIBER.fits`.
///
/// # Errors
/// As [`read_fits_table`]; [`Error::Absent`] for a table or column that is not there; [`Error::Invalid`] for columns of
/// another shape, wavelengths that do not rise, or a table of other than one object.
pub fn read_sdss_spectrum(path: impl AsRef<Path>) -> Result<Spectrum> {
    let path = path.as_ref();
    let coadd = read_fits_table(path, Some("COADD"))?;
    // SDSS's own fibres are described in SPECOBJ, those of BOSS in SPALL.
    let object = match read_fits_table(path, Some("SPECOBJ")) {
        Err(Error::Absent { .. }) => read_fits_table(path, Some("SPALL"))?,
        other => other?,
    };
    if object.rows != 1 {
        return Err(Error::invalid(path, "rows of SPECOBJ or SPALL", "1", object.rows.to_string()));
    }
    let column = |name: &str| -> Result<Vec<f64>> {
        let values = coadd.numbers(name)?;
        if values.shape() != [coadd.rows] {
            let got = format!("{:?}", values.shape());
            return Err(Error::invalid(path, format!("column {name:?}"), "one number a row", got));
        }
        Ok(values.to_f64().into_iter().collect())
    };
    let single =
        |name: &str| -> Result<Vec<f32>> { Ok(column(name)?.into_iter().map(|x| x as f32).collect()) };
    let wavelength: Vec<f64> = column("loglam")?.into_iter().map(|x| 10f64.powf(x)).collect();
    if let Some(i) =
        wavelength.windows(2).position(|pair| pair[0].partial_cmp(&pair[1]) != Some(std::cmp::Ordering::Less))
    {
        let got = format!("{} then {}", wavelength[i], wavelength[i + 1]);
        return Err(Error::invalid(path, format!("loglam at row {i}"), "rising wavelengths", got));
    }
    let optional = |name: &str| coadd.column(name).is_ok();
    let integers =
        |name: &str| -> Result<Vec<i64>> { Ok(column(name)?.into_iter().map(|x| x as i64).collect()) };
    Ok(Spectrum {
        wavelength,
        flux: single("flux")?,
        inverse_variance: single("ivar")?,
        model: if optional("model") { Some(single("model")?) } else { None },
        and_mask: if optional("and_mask") { Some(integers("and_mask")?) } else { None },
        redshift: number(&object, "Z")?,
        redshift_error: number(&object, "Z_ERR")?,
        class: match &object.column("CLASS")?.values {
            FitsValues::Text(texts) => texts.first().map(|t| t.trim().to_owned()).unwrap_or_default(),
            _ => return Err(Error::invalid(path, "column \"CLASS\"", "text", "numbers")),
        },
        identifier: [
            number(&object, "PLATE")? as i64,
            number(&object, "MJD")? as i64,
            number(&object, "FIBERID")? as i64,
        ],
    })
}

/// The first number of a column.
fn number(table: &FitsTable, name: &str) -> Result<f64> {
    let values = table.numbers(name)?.to_f64();
    values
        .first()
        .copied()
        .ok_or_else(|| Error::invalid(&table.header.path, format!("column {name:?}"), "a number", "nothing"))
}

/// Many spectra on one grid of wavelengths.
#[derive(Clone, Debug, PartialEq)]
pub struct SpectrumSet {
    /// The file.
    pub path: PathBuf,
    /// Wavelength in Angstrom, `[pixel]`.
    pub wavelength: Array1<f64>,
    /// Flux, `[galaxy, pixel]`.
    pub flux: Array2<f32>,
    /// Error of the flux, `[galaxy, pixel]`, where the file has it.
    pub error: Option<Array2<f32>>,
    /// One number a galaxy by name: `z`, `zerr`, `ra`, `dec`, `age`, `metallicity`, `smass`, ...
    pub properties: BTreeMap<String, Array1<f64>>,
}

/// Reads `sdss_galaxy_spec.hdf5`.
///
/// # Errors
/// The errors of HDF5; [`Error::Absent`] when there is no group `/raw`, or no `wavelength` or `spec` in it;
/// [`Error::Invalid`] for shapes that do not go together.
pub fn read_sdss_set(path: impl AsRef<Path>) -> Result<SpectrumSet> {
    let path = path.as_ref();
    let file = open_hdf5(path)?;
    let groups = file.groups("")?;
    let absent = |field: String, available: &[String]| Error::Absent {
        path: path.to_path_buf(),
        field,
        available: available.join(", "),
    };
    if !groups.iter().any(|g| g == "raw") {
        return Err(absent("group /raw".into(), &groups));
    }
    let names = file.datasets("raw")?;
    for needed in ["wavelength", "spec"] {
        if !names.iter().any(|n| n == needed) {
            return Err(absent(format!("dataset raw/{needed}"), &names));
        }
    }
    let misshapen = |name: &str, expected: String, got: &[usize]| {
        Error::invalid(path, format!("shape of raw/{name}"), expected, format!("{got:?}"))
    };
    let wavelength = file.read_f64("raw/wavelength")?;
    let shape = wavelength.shape().to_vec();
    let wavelength = wavelength
        .into_dimensionality::<Ix1>()
        .map_err(|_| misshapen("wavelength", "[pixel]".into(), &shape))?;
    let matrix = |name: &str| -> Result<Array2<f32>> {
        let values = file.read_f32(&format!("raw/{name}"))?;
        let shape = values.shape().to_vec();
        let expected = format!("[galaxy, {}]", wavelength.len());
        let fault = || misshapen(name, expected.clone(), &shape);
        let values = values.into_dimensionality::<Ix2>().map_err(|_| fault())?;
        if values.ncols() == wavelength.len() { Ok(values) } else { Err(fault()) }
    };
    let flux = matrix("spec")?;
    let error = if names.iter().any(|n| n == "specerr") { Some(matrix("specerr")?) } else { None };
    if let Some(error) = error.as_ref().filter(|e| e.dim() != flux.dim()) {
        return Err(misshapen("specerr", format!("{:?} as spec", flux.shape()), error.shape()));
    }
    let mut properties = BTreeMap::new();
    for name in names.into_iter().filter(|n| !["wavelength", "spec", "specerr"].contains(&n.as_str())) {
        let dataset = format!("raw/{name}");
        let info = file.info(&dataset)?;
        if matches!(info.dtype, Hdf5Type::Text | Hdf5Type::Other(_)) {
            continue;
        }
        if info.shape != [flux.nrows()] {
            return Err(misshapen(&name, format!("[{}], one a galaxy", flux.nrows()), &info.shape));
        }
        let values = match file.read(&dataset)? {
            FieldValues::F64(values) => values,
            values => values.to_f64(),
        };
        let values = values.into_dimensionality::<Ix1>();
        properties
            .insert(name.clone(), values.map_err(|_| misshapen(&name, "[galaxy]".into(), &info.shape))?);
    }
    Ok(SpectrumSet { path: path.to_path_buf(), wavelength, flux, error, properties })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hdf5::{Storage, create_hdf5};

    #[test]
    fn a_set_of_spectra_is_read_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sdss_galaxy_spec.hdf5");
        let write = |pixels: usize, redshifts: usize| {
            let mut file = create_hdf5(&path).unwrap();
            file.create_group("raw").unwrap();
            let mut put = |name: &str, values: FieldValues| {
                file.write_dataset(&format!("raw/{name}"), &values, Storage::Contiguous).unwrap();
            };
            put("wavelength", FieldValues::F64(Array1::linspace(3800.0, 9200.0, 5).into_dyn()));
            put(
                "spec",
                FieldValues::F32(Array2::from_shape_fn((3, pixels), |(i, j)| (i + j) as f32).into_dyn()),
            );
            put("specerr", FieldValues::F32(Array2::ones((3, pixels)).into_dyn()));
            put("z", FieldValues::F64(Array1::linspace(0.0, 0.2, redshifts).into_dyn()));
            put("plateid", FieldValues::I64(Array1::zeros(3).into_dyn()));
            file.finish().unwrap();
            read_sdss_set(&path)
        };
        let set = write(5, 3).unwrap();
        assert_eq!((set.flux[[2, 4]], set.properties["z"][1], set.properties.len()), (6.0, 0.1, 2));
        assert!(write(4, 3).unwrap_err().to_string().contains("raw/spec"));
        assert!(write(5, 2).unwrap_err().to_string().contains("raw/z"));
        let mut file = create_hdf5(&path).unwrap();
        file.create_group("cooked").unwrap();
        file.finish().unwrap();
        assert!(read_sdss_set(&path).unwrap_err().to_string().contains("cooked"));
    }
}

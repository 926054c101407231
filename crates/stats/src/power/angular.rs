//! The angular power spectrum of a flat piece of sky.

use halocast_core::Map;
use serde::{Deserialize, Serialize};

use super::{PowerConvention, power_spectrum};
use crate::{Error, Result};

/// The angular power spectrum of a map of the sky.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AngularPower {
    /// Multipoles: the mean |l| of the modes of a bin.
    pub l: Vec<f64>,
    /// C_l, in the field's unit squared times steradian.
    pub power: Vec<f64>,
    /// The number of independent modes in each bin.
    pub modes: Vec<u64>,
}

impl AngularPower {
    /// l (l + 1) C_l / (2 pi): the variance per logarithm of l.
    pub fn flattened(&self) -> Vec<f64> {
        let each = self.l.iter().zip(&self.power);
        each.map(|(l, c)| l * (l + 1.0) * c / std::f64::consts::TAU).collect()
    }
}

/// C_l of a map whose sides are angles, in the flat-sky limit: the wavenumber in 1 / radian is l, the power is that of
/// [`power_spectrum`]. Bins are one fundamental wavenumber 2 pi / side wide.
///
/// ```
/// use halocast_core::{Map, Rng, Unit};
/// use halocast_stats::{PowerConvention, angular_power};
/// use ndarray::Array2;
///
/// // White noise: C_l = sigma^2 times the solid angle of a pixel.
/// let noise = Array2::from_shape_vec((128, 128), Rng::new(1).normals(128 * 128))?;
/// let mut map = Map::square("kappa", noise, 3.5);
/// map.length_unit = Unit::degree();
/// let found = angular_power(&map, PowerConvention::pylians())?;
/// let pixel = (3.5f64.to_radians() / 128.0).powi(2);
/// let mean = found.power[10..60].iter().sum::<f64>() / 50.0;
/// assert!((mean / pixel - 1.0).abs() < 0.1);
/// assert!((found.l[20] * 3.5f64.to_radians() / std::f64::consts::TAU - 21.5).abs() < 0.1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// White et al. 1999 for the flat-sky limit, right to l^-2 for maps of a few degrees.
///
/// # Errors
/// As [`power_spectrum`]; [`Error::Value`] when the length unit is not `deg`, `arcmin`, `arcsec` or `rad`.
pub fn angular_power(map: &Map, convention: PowerConvention) -> Result<AngularPower> {
    let radians = match map.length_unit.label.as_str() {
        "rad" => 1.0,
        "deg" => 1f64.to_radians(),
        "arcmin" => 1f64.to_radians() / 60.0,
        "arcsec" => 1f64.to_radians() / 3600.0,
        other => {
            let (what, expected) = ("the length unit of the map".into(), "deg, arcmin, arcsec or rad".into());
            let operation = "angular power spectrum";
            return Err(Error::Value { operation, what, expected, got: format!("{other:?}") });
        }
    };
    let sky = Map { extent: map.extent.map(|side| side * radians), ..map.clone() };
    let found = power_spectrum(&sky, convention)?;
    Ok(AngularPower { l: found.k, power: found.power, modes: found.modes })
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    #[test]
    fn lengths_are_no_angles() {
        let error = angular_power(&Map::square("a", Array2::zeros((4, 4)), 25.0), PowerConvention::pylians());
        assert!(error.unwrap_err().to_string().contains("Mpc/h"));
    }
}

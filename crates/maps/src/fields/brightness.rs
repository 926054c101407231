//! The 21 cm line in emission.

use halocast_core::{Cosmology, Map, RHO_CRITICAL, Unit};

use crate::{Error, Result};

/// The brightness temperature in mK of neutral hydrogen of comoving density `density` in (Msun/h) / (Mpc/h)^3 at scale factor `a`:
///
/// T_b = 189 mK h (H_0 / (a^2 H(a))) rho_HI / rho_c, with rho_c the critical density today.
///
/// # Source
/// Villaescusa-Navarro et al. 2018 (arXiv:1804.09180), equation 1.
///
/// ```
/// use halocast_core::{Cosmology, RHO_CRITICAL};
/// use halocast_maps::fields::brightness_temperature;
/// let cosmology = Cosmology::camels();
/// // Omega_HI = 4e-4 today: 0.05 mK.
/// let t = brightness_temperature(4e-4 * RHO_CRITICAL, &cosmology, 1.0);
/// assert!((t - 189.0 * 0.6711 * 4e-4).abs() < 1e-12);
/// ```
pub fn brightness_temperature(density: f64, cosmology: &Cosmology, a: f64) -> f64 {
    189.0 * cosmology.h / (a * a * cosmology.e(a)) * density / RHO_CRITICAL
}

/// The brightness temperature of a map of the comoving surface density of neutral hydrogen in (Msun/h) / (Mpc/h)^2 that lies within
/// `depth` Mpc/h along the line of sight: the mean over that depth.
///
/// # Differences
/// skais-mapper takes one pixel's side as the depth, whatever the depth of the region, and forgets the pixel's area.
///
/// # Errors
/// [`Error::Value`] for a depth that is not positive, or a map in another unit.
pub fn brightness_map(hydrogen: &Map, depth: f64, cosmology: &Cosmology, a: f64) -> Result<Map> {
    let operation = "brightness temperature";
    if !(depth.is_finite() && depth > 0.0) {
        let what = "the depth".into();
        return Err(Error::Value {
            operation,
            what,
            expected: "finite and positive",
            got: depth.to_string(),
        });
    }
    if hydrogen.unit != Unit::msun_h_per_mpc_h2() {
        let (what, got) = ("the unit of the map".into(), hydrogen.unit.label.clone());
        return Err(Error::Value { operation, what, expected: "(Msun/h)/(Mpc/h)^2", got });
    }
    let mut map =
        hydrogen.map_values(|v| (brightness_temperature(f64::from(v) / depth, cosmology, a)) as f32);
    map.unit = millikelvin();
    map.field = "T21".into();
    Ok(map)
}

/// mK.
pub(crate) fn millikelvin() -> Unit {
    Unit::new("mK", 1e-3, 0.0, 0.0)
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    #[test]
    fn a_uniform_cube_has_the_closed_form() {
        let cosmology = Cosmology::illustris_tng();
        let (density, depth) = (3e7, 12.5);
        let map = Map::square("HI", Array2::from_elem((8, 8), (density * depth) as f32), 25.0)
            .with_unit(Unit::msun_h_per_mpc_h2());
        for a in [1.0, 0.5, 0.25] {
            let found = brightness_map(&map, depth, &cosmology, a).unwrap();
            // H0 / H(a) in km/s/Mpc, apart from the function above.
            let ratio = 100.0 * cosmology.h / cosmology.hubble(a);
            let rho_c = 2.775_36e11;
            let expected = 189.0 * cosmology.h * ratio / (a * a) * density / rho_c;
            assert!(found.values.iter().all(|&t| (f64::from(t) / expected - 1.0).abs() < 1e-4));
            assert_eq!(found.unit.label, "mK");
        }
        assert!(brightness_map(&map, 0.0, &cosmology, 1.0).is_err());
        assert!(brightness_map(&map.with_unit(Unit::dimensionless()), 1.0, &cosmology, 1.0).is_err());
    }
}

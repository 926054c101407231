//! Units that travel with the data: a factor to cgs and the exponents of a and h.

use serde::{Deserialize, Serialize};

/// What the number 1 in a field means.
///
/// A stored value v is, in physical cgs units, `v * to_cgs * a^a * h^h`, with the scale factor a and
/// h = H0 / (100 km/s/Mpc): the convention of the attributes `to_cgs`, `a_scaling` and `h_scaling` of IllustrisTNG
/// files (Nelson et al. 2019).
///
/// ```
/// use halocast_core::Unit;
/// // 35 Mpc/h comoving, at z = 1 and h = 0.7, is 25 Mpc physical.
/// let length = Unit::mpc_h();
/// let in_mpc = 35.0 * length.cgs_factor(0.5, 0.7) / 3.085_677_581e24;
/// assert!((in_mpc - 25.0).abs() < 1e-6);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    /// How the unit is written on an axis, for example `ckpc/h`.
    pub label: String,
    /// Factor to cgs, without a and h.
    pub to_cgs: f64,
    /// Exponent of the scale factor.
    pub a: f64,
    /// Exponent of h.
    pub h: f64,
}

/// One parsec in cm (IAU 2015).
const PARSEC: f64 = 3.085_677_581_491_367e18;
/// One solar mass in g, as in the unit of mass of Gadget and Arepo files (1.989e43 g for 10^10 of them).
const SOLAR_MASS: f64 = 1.989e33;

impl Unit {
    /// A unit from its label, factor to cgs and exponents of a and h.
    pub fn new(label: impl Into<String>, to_cgs: f64, a: f64, h: f64) -> Self {
        Self { label: label.into(), to_cgs, a, h }
    }

    /// A pure number.
    pub fn dimensionless() -> Self {
        Self::new("", 1.0, 0.0, 0.0)
    }

    /// Comoving Mpc/h.
    pub fn mpc_h() -> Self {
        Self::new("Mpc/h", 1e6 * PARSEC, 1.0, -1.0)
    }

    /// Comoving kpc/h, the length of IllustrisTNG files.
    pub fn kpc_h() -> Self {
        Self::new("ckpc/h", 1e3 * PARSEC, 1.0, -1.0)
    }

    /// Msun/h.
    pub fn msun_h() -> Self {
        Self::new("Msun/h", SOLAR_MASS, 0.0, -1.0)
    }

    /// 10^10 Msun/h, the mass of IllustrisTNG files.
    pub fn msun_h_1e10() -> Self {
        Self::new("1e10 Msun/h", 1e10 * SOLAR_MASS, 0.0, -1.0)
    }

    /// km sqrt(a)/s, the peculiar velocity of Gadget-type files: multiply by sqrt(a) for km/s.
    pub fn km_s_sqrt_a() -> Self {
        Self::new("km sqrt(a)/s", 1e5, 0.5, 0.0)
    }

    /// (Msun/h) / (Mpc/h)^2 comoving, the surface density of CAMELS maps.
    pub fn msun_h_per_mpc_h2() -> Self {
        Self::new("(Msun/h)/(Mpc/h)^2", SOLAR_MASS / (1e6 * PARSEC).powi(2), -2.0, 1.0)
    }

    /// An angle in degrees (to radian).
    pub fn degree() -> Self {
        Self::new("deg", std::f64::consts::PI / 180.0, 0.0, 0.0)
    }

    /// The factor from a stored value to physical cgs at scale factor `a` and Hubble parameter `h`.
    pub fn cgs_factor(&self, a: f64, h: f64) -> f64 {
        self.to_cgs * a.powf(self.a) * h.powf(self.h)
    }

    /// The factor from values in this unit to values in `target`, at scale factor `a` and Hubble parameter `h`.
    pub fn factor_to(&self, target: &Unit, a: f64, h: f64) -> f64 {
        self.cgs_factor(a, h) / target.cgs_factor(a, h)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kpc_and_mpc_differ_by_a_thousand_at_any_epoch() {
        for (a, h) in [(1.0, 0.7), (0.2, 0.5)] {
            assert!((Unit::kpc_h().factor_to(&Unit::mpc_h(), a, h) - 1e-3).abs() < 1e-15);
        }
    }

    #[test]
    fn surface_density_is_mass_over_area() {
        let (a, h) = (0.4, 0.68);
        let area = Unit::mpc_h().cgs_factor(a, h).powi(2);
        let expected = Unit::msun_h().cgs_factor(a, h) / area;
        assert!((Unit::msun_h_per_mpc_h2().cgs_factor(a, h) / expected - 1.0).abs() < 1e-12);
    }
}

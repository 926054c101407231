//! The magnetic field of IllustrisTNG files in Gauss: whose Gauss has to be said.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// How a stored `MagneticField`, in (h/a^2) sqrt(unit pressure), becomes Gauss.
///
/// The code's energy density is B^2 / 2: it is in Heaviside-Lorentz units, and Gauss are sqrt(4 pi) times as many. With the unit
/// of pressure 10^10 Msun / kpc (km/s / kpc)^2 one stored unit at z = 0 and h = 0.6774 is
///
/// | convention | G |
/// |---|---|
/// | [`Gauss`](Self::Gauss) | 6.248e-6 |
/// | [`HeavisideLorentz`](Self::HeavisideLorentz) | 1.7625e-6 |
/// | [`WithoutH`](Self::WithoutH) | 2.6019e-6 |
/// | [`SkaisMapper`](Self::SkaisMapper) | 2.2149e-5 |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MagneticConvention {
    /// sqrt(4 pi) times the stored field in cgs: B^2 / (8 pi) is the energy density.
    #[default]
    Gauss,
    /// The stored field in cgs: B^2 / 2 is the energy density.
    HeavisideLorentz,
    /// The factor 2.60e-6 that the documentation of the data release gives: the Heaviside-Lorentz field without its h.
    WithoutH,
    /// skais-mapper's sqrt(4 pi mu_0) in SI, which is 4 pi times the Heaviside-Lorentz field: too large by sqrt(4 pi).
    SkaisMapper,
}

impl MagneticConvention {
    /// The factor to this convention from a field in cgs Heaviside-Lorentz units, such as `Unit::cgs_factor` gives.
    ///
    /// ```
    /// use halocast_maps::fields::MagneticConvention;
    /// assert!((MagneticConvention::Gauss.factor(0.7) - 3.5449).abs() < 1e-4);
    /// ```
    pub fn factor(self, h: f64) -> f64 {
        match self {
            Self::Gauss => (4.0 * PI).sqrt(),
            Self::HeavisideLorentz => 1.0,
            Self::WithoutH => 1.0 / h,
            Self::SkaisMapper => 4.0 * PI,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_values() {
        let (length, mass, velocity, h) = (3.085678e21f64, 1.989e43f64, 1e5f64, 0.6774);
        let unit = h * (mass / length).sqrt() / (length / velocity);
        for (convention, golden) in [
            (MagneticConvention::Gauss, 6.248e-6),
            (MagneticConvention::HeavisideLorentz, 1.7625e-6),
            (MagneticConvention::WithoutH, 2.6019e-6),
            (MagneticConvention::SkaisMapper, 2.2149e-5),
        ] {
            let found = unit * convention.factor(h);
            assert!((found / golden - 1.0).abs() < 1e-4, "{convention:?} {found}");
        }
    }
}

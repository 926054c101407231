//! How many haloes of each mass there should be.

use std::f64::consts::PI;

use halocast_core::Cosmology;
use serde::{Deserialize, Serialize};

use crate::LinearPower;

/// Linear overdensity at which a spherical top hat of Einstein-de Sitter collapses.
const DELTA_C: f64 = 1.686;

/// A fit of the abundance of haloes.
///
/// $$\frac{\mathrm{d}n}{\mathrm{d}\ln M} = f(\sigma)\\,\frac{\bar\rho_m}{M}\\,
/// \left|\frac{\mathrm{d}\ln\sigma}{\mathrm{d}\ln M}\right|$$
///
/// with sigma(M) the linear rms overdensity in spheres that hold M at the mean density, at the scale factor asked for.
///
/// ```
/// use halocast_core::Cosmology;
/// use halocast_mock::{LinearPower, MassFunction, Transfer};
/// let cosmology = Cosmology::camels();
/// let power = LinearPower::new(&cosmology, Transfer::Wiggles)?;
/// let at = |mass| MassFunction::Tinker2008.per_log_mass(&power, &cosmology, 1.0, mass);
/// // About one halo of 10^13 Msun/h an e-folding in two cubes of 10 Mpc/h; few clusters.
/// assert!((at(1e13) * 1e3 - 0.5).abs() < 0.3 && at(1e15) < 1e-2 * at(1e13));
/// # Ok::<(), halocast_mock::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MassFunction {
    /// Press & Schechter 1974, ApJ 187, 425: spherical collapse of a Gaussian field.
    PressSchechter,
    /// Sheth & Tormen 1999, MNRAS 308, 119, equation 10, with A = 0.3222, a = 0.707, p = 0.3: friends of friends.
    ShethTormen,
    /// Tinker et al. 2008, ApJ 688, 709, equations 3 and 5 to 8, for spheres of 200 times the mean matter density.
    Tinker2008,
}

impl MassFunction {
    /// f(sigma) at redshift `z`, on which only [`MassFunction::Tinker2008`] depends beside sigma.
    pub fn multiplicity(self, sigma: f64, z: f64) -> f64 {
        let nu = DELTA_C / sigma;
        match self {
            Self::PressSchechter => (2.0 / PI).sqrt() * nu * (-0.5 * nu * nu).exp(),
            Self::ShethTormen => {
                let (amplitude, a, p) = (0.3222, 0.707, 0.3);
                let an = a * nu * nu;
                amplitude * (2.0 * an / PI).sqrt() * (1.0 + an.powf(-p)) * (-0.5 * an).exp()
            }
            Self::Tinker2008 => {
                // Beyond z = 2.5 the paper keeps the parameters of z = 2.5.
                let growth = 1.0 + z.min(2.5);
                let alpha = 10f64.powf(-(0.75 / (200f64 / 75.0).log10()).powf(1.2));
                let (amplitude, a) = (0.186 * growth.powf(-0.14), 1.47 * growth.powf(-0.06));
                let (b, c) = (2.57 * growth.powf(-alpha), 1.19);
                amplitude * ((sigma / b).powf(-a) + 1.0) * (-c / (sigma * sigma)).exp()
            }
        }
    }

    /// dn / dln M in (h/Mpc)^3 at `mass` in Msun/h and scale factor `a`.
    pub fn per_log_mass(self, power: &LinearPower, cosmology: &Cosmology, a: f64, mass: f64) -> f64 {
        let density = cosmology.mean_matter_density();
        let growth = cosmology.growth(a);
        let sigma = |mass: f64| growth * power.sigma((3.0 * mass / (4.0 * PI * density)).cbrt());
        let step = 0.05f64;
        let slope = (sigma(mass * step.exp()) / sigma(mass * (-step).exp())).ln() / (2.0 * step);
        self.multiplicity(sigma(mass), 1.0 / a - 1.0) * density / mass * slope.abs()
    }

    /// The number of haloes with masses in `[low, high]` Msun/h per (Mpc/h)^3, by Simpson's rule in ln M.
    pub fn number(self, power: &LinearPower, cosmology: &Cosmology, a: f64, low: f64, high: f64) -> f64 {
        const INTERVALS: usize = 8;
        let step = (high / low).ln() / INTERVALS as f64;
        let sum: f64 = (0..=INTERVALS)
            .map(|i| {
                let weight = [1.0, 4.0, 2.0][if i == 0 || i == INTERVALS { 0 } else { 2 - i % 2 }];
                weight * self.per_log_mass(power, cosmology, a, low * (step * i as f64).exp())
            })
            .sum();
        sum * step / 3.0
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;
    use crate::Transfer;

    #[test]
    fn all_mass_is_in_haloes_of_sheth_and_tormen() {
        // Both multiplicities are normalised: the integral of f over d ln sigma is 1.
        for f in [MassFunction::PressSchechter, MassFunction::ShethTormen] {
            let step = 1e-3;
            let sum: f64 =
                (-40_000..3_000).map(|i| f.multiplicity((-step * f64::from(i)).exp(), 0.0) * step).sum();
            // The 0.3222 of Sheth & Tormen is rounded; its integral converges slowly towards low nu.
            assert_relative_eq!(sum, 1.0, max_relative = 5e-3);
        }
    }

    #[test]
    fn published_values_are_met() {
        // Tinker et al. 2008 at sigma = 1 and z = 0: 0.186 (2.57^1.47 + 1) e^-1.19; z = 1 lowers it.
        let at = |z| MassFunction::Tinker2008.multiplicity(1.0, z);
        assert_relative_eq!(at(0.0), 0.186 * (4.005 + 1.0) * (-1.19f64).exp(), max_relative = 1e-3);
        assert!(at(1.0) < at(0.0) && at(2.5) == at(7.0));
        // The abundance of clusters above 1e14 Msun/h is about 2e-5 (h/Mpc)^3 (e.g. Jenkins et al. 2001, figure 2).
        let cosmology = Cosmology { sigma_8: 0.9, ..Cosmology::camels() };
        let power = LinearPower::new(&cosmology, Transfer::Wiggles).unwrap();
        let number = |f: MassFunction, low, high| f.number(&power, &cosmology, 1.0, low, high);
        let clusters = number(MassFunction::Tinker2008, 1e14, 1e16);
        assert!((1.2e-5..4e-5).contains(&clusters), "{clusters}");
        // The fits agree to a fifth where they were made.
        for mass in [1e12, 1e13, 1e14] {
            let ratio = number(MassFunction::ShethTormen, mass, 2.0 * mass)
                / number(MassFunction::Tinker2008, mass, 2.0 * mass);
            assert!((ratio - 1.0).abs() < 0.25, "{mass:e}: {ratio}");
        }
    }
}

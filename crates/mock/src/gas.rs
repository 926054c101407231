//! A simple gas painted on a universe of dark matter.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::baryons::{BOLTZMANN_PER_PROTON, HYDROGEN};
use crate::error::{Result, require};
use crate::gravity::Mesh;

/// Electrons per hydrogen nucleus of a fully ionised gas of hydrogen and helium.
pub(crate) const ELECTRONS: f64 = 1.0 + (1.0 - HYDROGEN) / (2.0 * HYDROGEN);
/// Ratio of specific heats of a monatomic gas.
const ADIABATIC: f64 = 5.0 / 3.0;
/// Particles within the smoothing length that is given out.
const NEIGHBOURS: f64 = 32.0;

/// The gas: as many particles as dark matter, on a lattice moved by half a spacing.
///
/// * They feel the potential of all matter filtered by exp(-k^2 lambda^2), as linear gas under pressure lags cold matter
///   below its filtering scale (Gnedin & Hui 1998). The scale is constant in comoving length, and not less than 0.6
///   lattice spacings, below which the gas mesh has no modes.
/// * Their density is the CIC density on the lattice's mesh, filtered by the same Gaussian, at the particle.
/// * Their temperature is T = T0 Delta^(gamma - 1), with Delta the density over its mean (Hui & Gnedin 1997).
/// * Hydrogen and helium are fully ionised: n_e / n_H = 1.158, mu = 0.588.
///
/// There are no shocks, cooling, stars or feedback, and the gas does not act back on the dark matter. It is there so that
/// readers, projectors and models have a gas to work on.
///
/// ```
/// use halocast_mock::GasModel;
/// let gas = GasModel::default();
/// assert_eq!(gas.temperature(1.0), 1e4);
/// assert!(gas.temperature(100.0) > 1e5);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GasModel {
    /// The filtering scale lambda in comoving Mpc/h.
    pub filtering_scale: f64,
    /// Temperature at the mean density in K.
    pub mean_temperature: f64,
    /// Polytropic exponent gamma.
    pub gamma: f64,
}

impl Default for GasModel {
    fn default() -> Self {
        Self { filtering_scale: 0.2, mean_temperature: 1e4, gamma: 1.6 }
    }
}

impl GasModel {
    /// Checks that every number is in its domain.
    ///
    /// # Errors
    /// [`crate::Error::Config`] naming the first that is not.
    pub fn validate(&self) -> Result<()> {
        let operation = "gas model";
        let Self { filtering_scale, mean_temperature, gamma } = *self;
        let small = (0.0..=1e3).contains(&filtering_scale);
        require(small, operation, "filtering_scale", "0 to 1000 Mpc/h", filtering_scale)?;
        let warm = (1.0..=1e9).contains(&mean_temperature);
        require(warm, operation, "mean_temperature", "1 to 1e9 K", mean_temperature)?;
        require((0.0..=3.0).contains(&gamma), operation, "gamma", "0 to 3", gamma)
    }

    /// Temperature in K at density `delta` over its mean.
    pub fn temperature(&self, delta: f64) -> f64 {
        self.mean_temperature * delta.powf(self.gamma - 1.0)
    }

    /// The filtering scale in use on a lattice of `spacing` Mpc/h.
    pub(crate) fn filter(&self, spacing: f64) -> f64 {
        self.filtering_scale.max(0.6 * spacing)
    }
}

/// Internal energy per mass in (km/s)^2 of fully ionised gas at `temperature` in K:
/// u = k T / ((5/3 - 1) mu m_p).
pub(crate) fn internal_energy(temperature: f64) -> f64 {
    let mu = 4.0 / (1.0 + 3.0 * HYDROGEN + 4.0 * HYDROGEN * ELECTRONS);
    BOLTZMANN_PER_PROTON * temperature / ((ADIABATIC - 1.0) * mu)
}

/// Density over its mean at every gas particle; positive.
pub(crate) fn overdensity(positions: &[[f32; 3]], mesh: &mut Mesh, length: f64) -> Vec<f32> {
    // The filter is positive in real space; its truncation at the mesh rings a little below zero in voids.
    const FLOOR: f32 = 1e-3;
    mesh.deposit(positions);
    mesh.smooth(length);
    mesh.gather(positions).into_iter().map(|d| d.max(FLOOR)).collect()
}

/// Radius of the sphere that holds 32 particles at `delta` times a mean of one per `spacing` cubed.
pub(crate) fn smoothing_length(delta: f64, spacing: f64) -> f64 {
    spacing * (3.0 * NEIGHBOURS / (4.0 * PI * delta)).cbrt()
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn internal_energy_of_ten_thousand_kelvin() {
        // 1.5 k T / (0.588 m_p) = 210 (km/s)^2.
        assert_relative_eq!(internal_energy(1e4), 210.5, max_relative = 5e-3);
        assert_relative_eq!(ELECTRONS, 1.158, max_relative = 1e-3);
    }

    #[test]
    fn a_lattice_has_the_mean_density() {
        let positions: Vec<[f32; 3]> =
            (0..512).map(|i| [i / 64, i / 8 % 8, i % 8].map(|i| i as f32 + 0.5)).collect();
        let mut mesh = Mesh::new(8, 8.0, false);
        let delta = overdensity(&positions, &mut mesh, 0.6);
        assert!(delta.iter().all(|d| (d - 1.0).abs() < 1e-4));
        assert_relative_eq!(smoothing_length(1.0, 1.0).powi(3) * 4.0 * PI / 3.0, 32.0, max_relative = 1e-12);
    }

    #[test]
    fn absurd_gas_is_refused() {
        for gas in [
            GasModel { gamma: f64::NAN, ..Default::default() },
            GasModel { mean_temperature: -1.0, ..Default::default() },
            GasModel { filtering_scale: f64::INFINITY, ..Default::default() },
        ] {
            assert!(gas.validate().is_err());
        }
    }
}

//! Gas in hydrostatic equilibrium with a halo of Navarro, Frenk & White.

use halocast_core::GRAVITATIONAL_CONSTANT;

use super::thermal::{BOLTZMANN_PER_PROTON, MU};
use crate::halos::nfw_mass;

/// Polytropic gas in a halo's potential.
///
/// With x = r / r_s, m(x) = ln(1 + x) - x / (1 + x) and the polytropic index Gamma,
///
/// $$\frac{T(x)}{T_0} = y(x) = 1 - B\left[1 - \frac{\ln(1+x)}{x}\right], \quad \rho(x) \propto y^{1/(\Gamma-1)}, \quad
/// B = \frac{3}{\eta_0}\frac{\Gamma-1}{\Gamma}\frac{c}{m(c)}, \quad
/// T_0 = \eta_0\\,\frac{G \mu m_p M}{3 k_B R},$$
///
/// with Gamma and eta_0 such that gas and dark matter fall alike near R.
///
/// ```
/// use halocast_mock::Hydrostatic;
/// // A cluster of 5e14 Msun/h within 1.3 Mpc/h (physical) has some 10^7.5 K.
/// let gas = Hydrostatic::new(5e14, 1.3, 5.0);
/// assert!((gas.temperature(0.0).log10() - 7.9).abs() < 0.2);
/// assert!(gas.density(0.1) > gas.density(0.5));
/// assert!((gas.radius(gas.enclosed(0.4)) - 0.4).abs() < 1e-3);
/// ```
///
/// # Source
/// Komatsu & Seljak 2002, MNRAS 336, 1256, equations 15 to 20 (Gamma and eta_0: 17 and 18).
#[derive(Clone, Debug)]
pub struct Hydrostatic {
    radius: f64,
    concentration: f64,
    gamma: f64,
    b: f64,
    central_temperature: f64,
    /// Enclosed fraction of the mass at even steps of r / R.
    table: Vec<f64>,
}

/// Steps of the table of enclosed mass.
const STEPS: usize = 256;

impl Hydrostatic {
    /// The gas of a halo of `mass` Msun/h within the physical `radius` Mpc/h.
    pub fn new(mass: f64, radius: f64, concentration: f64) -> Self {
        // The fits were made for c of 3 to 12 or so.
        let c = concentration.clamp(1.5, 20.0);
        let gamma = 1.137 + 8.94e-2 * (c / 5.0).ln() - 3.68e-3 * (c - 5.0);
        let eta = 2.235 + 0.202 * (c - 5.0) - 1.16e-3 * (c - 5.0).powi(2);
        let b = (3.0 / eta * (gamma - 1.0) / gamma * c / nfw_mass(c)).min(1.0);
        let virial = GRAVITATIONAL_CONSTANT * mass / radius * MU / BOLTZMANN_PER_PROTON / 3.0;
        let mut this = Self {
            radius,
            concentration: c,
            gamma,
            b,
            central_temperature: eta * virial,
            table: Vec::with_capacity(STEPS + 1),
        };
        // Simpson's rule over each step.
        let shell = |r: f64| r * r * this.density(r);
        let mut sum = 0.0;
        let mut table = vec![0.0];
        for i in 0..STEPS {
            let (low, step) = (i as f64 / STEPS as f64, 1.0 / STEPS as f64);
            sum += step / 6.0 * (shell(low) + 4.0 * shell(low + 0.5 * step) + shell(low + step));
            table.push(sum);
        }
        table.iter_mut().for_each(|m| *m /= sum);
        this.table = table;
        this
    }

    /// Temperature in K at r / R.
    pub fn temperature(&self, r: f64) -> f64 {
        self.central_temperature * self.shape(r)
    }

    /// Density over the central one at r / R.
    pub fn density(&self, r: f64) -> f64 {
        self.shape(r).max(0.0).powf(1.0 / (self.gamma - 1.0))
    }

    /// Mean density within R over the central one.
    pub fn mean_density(&self) -> f64 {
        let shell = |r: f64| 3.0 * r * r * self.density(r);
        (0..STEPS).map(|i| shell((i as f64 + 0.5) / STEPS as f64) / STEPS as f64).sum()
    }

    /// The fraction of the gas within R that lies within r / R.
    pub fn enclosed(&self, r: f64) -> f64 {
        let at = (r.clamp(0.0, 1.0) * STEPS as f64).min(STEPS as f64 - 1e-9);
        let i = at as usize;
        let t = at - i as f64;
        self.table[i] * (1.0 - t) + self.table[i + 1] * t
    }

    /// The r / R within which a fraction of the gas lies.
    pub fn radius(&self, fraction: f64) -> f64 {
        let f = fraction.clamp(0.0, 1.0);
        let i = self.table.partition_point(|&m| m < f).clamp(1, STEPS);
        let (low, high) = (self.table[i - 1], self.table[i]);
        (i as f64 - 1.0 + (f - low) / (high - low).max(1e-300)) / STEPS as f64
    }

    /// The physical R in Mpc/h.
    pub fn outer_radius(&self) -> f64 {
        self.radius
    }

    fn shape(&self, r: f64) -> f64 {
        let x = (self.concentration * r).max(1e-6);
        1.0 - self.b * (1.0 - x.ln_1p() / x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_carries_the_weight() {
        // dP/dr = -rho G M(<r) / r^2 with P = rho k T / (mu m_p).
        for (mass, radius, c) in [(1e12, 0.16, 8.0), (1e14, 0.75, 5.0), (1e15, 1.6, 3.5)] {
            let gas = Hydrostatic::new(mass, radius, c);
            for r in [0.02, 0.1, 0.3, 0.7, 1.0] {
                let pressure = |r: f64| gas.density(r) * BOLTZMANN_PER_PROTON * gas.temperature(r) / MU;
                let s = 1e-4 * r;
                let slope = (pressure(r + s) - pressure(r - s)) / (2.0 * s * radius);
                let within = mass * nfw_mass(c * r) / nfw_mass(c);
                let weight = -gas.density(r) * GRAVITATIONAL_CONSTANT * within / (r * radius).powi(2);
                assert!((slope / weight - 1.0).abs() < 1e-3, "{mass:e} {r}: {slope} {weight}");
            }
        }
    }

    #[test]
    fn gas_falls_like_matter_near_the_edge() {
        // The condition from which Gamma and eta_0 were fitted: logarithmic slopes alike at R / 2 to R, to a fifth.
        let (c, gas) = (6.0, Hydrostatic::new(1e14, 0.75, 6.0));
        for r in [0.5, 0.75, 1.0] {
            let s = 1e-3;
            let slope = (gas.density(r * (1.0 + s)) / gas.density(r * (1.0 - s))).ln() / (2.0 * s);
            let nfw = -1.0 - 2.0 * c * r / (1.0 + c * r);
            assert!((slope / nfw - 1.0).abs() < 0.2, "{r}: {slope} {nfw}");
        }
    }
}

//! Luminosity functions, and luminosities drawn from them.

use serde::{Deserialize, Serialize};

/// Nodes of the table of luminosities.
const NODES: usize = 512;

/// A Schechter function, phi(L) dL = phi* (L/L*)^alpha exp(-L/L*) dL/L*.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schechter {
    /// L* in erg/s.
    pub luminosity: f64,
    /// phi* in Mpc^-3.
    pub density: f64,
    /// alpha.
    pub slope: f64,
}

impl Schechter {
    /// H-alpha at redshift `z`, corrected for dust (Sobral et al. 2013), measured to z = 2.23.
    pub fn halpha(z: f64) -> Self {
        Self {
            luminosity: 10f64.powf(41.87 + 0.45 * z),
            density: 10f64.powf(-3.18 + z - 0.38 * z * z),
            slope: -1.6,
        }
    }

    /// \[OIII\] and H-beta at redshift `z` (Khostovan et al. 2015), constant beyond z = 0.84 and 3.24.
    pub fn oiii(z: f64) -> Self {
        const TABLE: [[f64; 3]; 4] =
            [[0.84, 41.79, -2.55], [1.42, 42.06, -2.61], [2.23, 42.66, -3.03], [3.24, 42.83, -3.31]];
        let i = (1..3).find(|&i| z <= TABLE[i][0]).unwrap_or(3);
        let t = ((z - TABLE[i - 1][0]) / (TABLE[i][0] - TABLE[i - 1][0])).clamp(0.0, 1.0);
        let at = |j: usize| 10f64.powf(TABLE[i - 1][j] * (1.0 - t) + TABLE[i][j] * t);
        Self { luminosity: at(1), density: at(2), slope: -1.6 }
    }

    /// The moment int (L/L*)^p phi dL above `faintest` L*, in Mpc^-3: p = 0 is the number density.
    pub fn moment(&self, p: i32, faintest: f64) -> f64 {
        // Simpson in ln x, to where the exponential has ended.
        const STEPS: usize = 2000;
        let (low, high) = (faintest.ln(), 60f64.ln());
        let step = (high - low) / STEPS as f64;
        let sum: f64 = (0..=STEPS)
            .map(|i| {
                let x = (low + step * i as f64).exp();
                let weight = if i == 0 || i == STEPS { 1.0 } else { 2.0 + 2.0 * (i % 2) as f64 };
                weight * x.powf(self.slope + 1.0 + f64::from(p)) * (-x).exp()
            })
            .sum();
        self.density * sum * step / 3.0
    }

    /// L/L* at `NODES` quantiles of the number above `faintest`.
    pub(super) fn quantiles(&self, faintest: f64) -> Vec<f64> {
        const STEPS: usize = 8192;
        let (low, high) = (faintest.ln(), 60f64.ln());
        let step = (high - low) / STEPS as f64;
        let mut cumulative = vec![0.0];
        for i in 0..STEPS {
            let x = (low + step * (i as f64 + 0.5)).exp();
            cumulative.push(cumulative[i] + x.powf(self.slope + 1.0) * (-x).exp());
        }
        let total = cumulative[STEPS];
        (0..NODES)
            .map(|q| {
                // Even in u^(1/8) of the upper tail: the brightest carry the light.
                let target = total * (1.0 - (1.0 - q as f64 / (NODES - 1) as f64).powi(8));
                let i = cumulative.partition_point(|&c| c < target).clamp(1, STEPS);
                let width = cumulative[i] - cumulative[i - 1];
                let t =
                    if width > 0.0 { ((target - cumulative[i - 1]) / width).clamp(0.0, 1.0) } else { 1.0 };
                (low + step * (i as f64 - 1.0 + t)).exp()
            })
            .collect()
    }
}

/// L/L* that a share `u` of sources does not reach.
pub(super) fn luminosity(quantiles: &[f64], u: f64) -> f64 {
    let x = (1.0 - (1.0 - u).powf(0.125)) * (NODES - 1) as f64;
    let i = (x as usize).min(NODES - 2);
    let t = x - i as f64;
    quantiles[i] * (quantiles[i + 1] / quantiles[i]).powf(t)
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn moments_of_a_schechter_function_are_gamma_functions() {
        // alpha = 0 above zero nearly: int x^p e^-x = p!.
        let flat = Schechter { luminosity: 1.0, density: 2.0, slope: 0.0 };
        for (p, factorial) in [(0, 1.0), (1, 1.0), (2, 2.0), (3, 6.0)] {
            assert_relative_eq!(flat.moment(p, 1e-9), 2.0 * factorial, max_relative = 1e-6);
        }
        // H-alpha at z = 1.47: 42.53 and -2.53, as in Sobral et al. 2013 to their errors of 0.06 and 0.09.
        let ha = Schechter::halpha(1.47);
        assert_relative_eq!(ha.luminosity.log10(), 42.56, epsilon = 0.06);
        assert_relative_eq!(ha.density.log10(), -2.61, epsilon = 0.09);
        assert_relative_eq!(Schechter::oiii(2.23).luminosity.log10(), 42.66, epsilon = 1e-9);
        assert_relative_eq!(Schechter::oiii(9.0).density.log10(), -3.31, epsilon = 1e-9);
    }

    #[test]
    fn drawn_luminosities_have_the_moments_of_the_function() {
        let function = Schechter::halpha(1.3);
        let quantiles = function.quantiles(0.01);
        let n = 400_000;
        for p in [1, 2] {
            let mean = (0..n)
                .map(|i| luminosity(&quantiles, (f64::from(i) + 0.5) / f64::from(n)).powi(p))
                .sum::<f64>()
                / f64::from(n);
            let exact = function.moment(p, 0.01) / function.moment(0, 0.01);
            assert_relative_eq!(mean, exact, max_relative = 5e-3);
        }
    }
}

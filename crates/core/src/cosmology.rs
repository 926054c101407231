//! Flat LCDM: expansion, growth, distances, densities.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Speed of light in km/s.
pub const SPEED_OF_LIGHT: f64 = 299_792.458;
/// Newton's constant in Mpc (km/s)^2 / Msun.
pub const GRAVITATIONAL_CONSTANT: f64 = 4.300_917_27e-9;
/// Critical density today, 3 H0^2 / (8 pi G), in (Msun/h) / (Mpc/h)^3: the same for every h.
pub const RHO_CRITICAL: f64 = 3.0 * 1e4 / (8.0 * std::f64::consts::PI * GRAVITATIONAL_CONSTANT);

/// A flat LCDM cosmology without radiation: E(a)^2 = Omega_m a^-3 + 1 - Omega_m.
///
/// ```
/// use halocast_core::Cosmology;
/// let einstein_de_sitter = Cosmology { omega_m: 1.0, ..Cosmology::camels() };
/// // D(a) = a and a distance of 2 c/H0 (1 - 1/sqrt(1+z)).
/// assert!((einstein_de_sitter.growth(0.3) - 0.3).abs() < 1e-8);
/// assert!((einstein_de_sitter.comoving_distance(3.0) - 2997.92458).abs() < 1e-3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cosmology {
    /// Matter density today in units of the critical density.
    pub omega_m: f64,
    /// Baryon density today in units of the critical density.
    pub omega_b: f64,
    /// H0 / (100 km/s/Mpc).
    pub h: f64,
    /// Spectral index of the primordial power spectrum.
    pub n_s: f64,
    /// Linear rms overdensity in spheres of 8 Mpc/h today.
    pub sigma_8: f64,
}

impl Cosmology {
    /// The fiducial cosmology of CAMELS (Villaescusa-Navarro et al. 2021).
    pub fn camels() -> Self {
        Self { omega_m: 0.3, omega_b: 0.049, h: 0.6711, n_s: 0.9624, sigma_8: 0.8 }
    }

    /// The cosmology of IllustrisTNG (Planck 2015; Nelson et al. 2019).
    pub fn illustris_tng() -> Self {
        Self { omega_m: 0.3089, omega_b: 0.0486, h: 0.6774, n_s: 0.9667, sigma_8: 0.8159 }
    }

    /// Dark-energy density today: 1 - Omega_m.
    pub fn omega_lambda(&self) -> f64 {
        1.0 - self.omega_m
    }

    /// Checks that every parameter is finite and in its domain.
    ///
    /// # Errors
    /// [`Error::Value`] naming the first parameter that is not.
    pub fn validate(&self) -> Result<()> {
        let checks = [
            ("omega_m", self.omega_m, 0.0 < self.omega_m && self.omega_m <= 1.0, "in (0, 1]"),
            ("omega_b", self.omega_b, 0.0 <= self.omega_b && self.omega_b < self.omega_m, "in [0, omega_m)"),
            ("h", self.h, 0.0 < self.h && self.h < 2.0, "in (0, 2)"),
            ("n_s", self.n_s, self.n_s.is_finite(), "finite"),
            ("sigma_8", self.sigma_8, 0.0 < self.sigma_8 && self.sigma_8 < 10.0, "in (0, 10)"),
        ];
        for (what, value, ok, expected) in checks {
            if !(ok && value.is_finite()) {
                let (what, expected, got) = (what.to_owned(), expected.to_owned(), value.to_string());
                return Err(Error::Value { operation: "cosmology", what, expected, got });
            }
        }
        Ok(())
    }

    /// E(a) = H(a) / H0 = sqrt(Omega_m a^-3 + Omega_Lambda).
    pub fn e(&self, a: f64) -> f64 {
        (self.omega_m / (a * a * a) + self.omega_lambda()).sqrt()
    }

    /// H(a) in km/s/Mpc.
    pub fn hubble(&self, a: f64) -> f64 {
        100.0 * self.h * self.e(a)
    }

    /// Omega_m(a) = Omega_m a^-3 / E(a)^2.
    pub fn omega_m_at(&self, a: f64) -> f64 {
        self.omega_m / (a * a * a) / self.e(a).powi(2)
    }

    /// Linear growth factor, normalised to D(1) = 1.
    ///
    /// D(a) is proportional to E(a) times the integral of (a' E(a'))^-3 from 0 to a (Heath 1977).
    pub fn growth(&self, a: f64) -> f64 {
        self.growth_unnormalised(a) / self.growth_unnormalised(1.0)
    }

    /// Logarithmic growth rate f = d ln D / d ln a.
    ///
    /// From the same integral: f = d ln E / d ln a + (5/2) Omega_m(a) a / D_u(a), where D_u is the solution that
    /// tends to a at early times.
    pub fn growth_rate(&self, a: f64) -> f64 {
        let dlne = -1.5 * self.omega_m_at(a);
        dlne + 2.5 * self.omega_m_at(a) * a / self.growth_unnormalised(a)
    }

    /// Second-order growth factor relative to the square of the normalised first-order one:
    /// D2(a) = -(3/7) Omega_m(a)^(-1/143) D(a)^2 (Bouchet et al. 1995).
    pub fn growth_second_order(&self, a: f64) -> f64 {
        -3.0 / 7.0 * self.omega_m_at(a).powf(-1.0 / 143.0) * self.growth(a).powi(2)
    }

    /// Logarithmic rate of the second-order growth, f2 = 2 Omega_m(a)^(6/11) (Bouchet et al. 1995).
    pub fn growth_rate_second_order(&self, a: f64) -> f64 {
        2.0 * self.omega_m_at(a).powf(6.0 / 11.0)
    }

    /// Comoving distance to redshift `z` in Mpc/h: c/H0 times the integral of dz / E.
    pub fn comoving_distance(&self, z: f64) -> f64 {
        // In u = ln(1 + z) the integrand is smooth over many decades.
        let upper = z.ln_1p();
        let integrand = |u: f64| u.exp() / self.e((-u).exp());
        SPEED_OF_LIGHT / 100.0 * gauss_legendre(integrand, 0.0, upper, 16)
    }

    /// Critical density at scale factor `a`, physical, in (Msun/h) / (Mpc/h)^3: rho_c,0 E(a)^2.
    pub fn critical_density(&self, a: f64) -> f64 {
        RHO_CRITICAL * self.e(a).powi(2)
    }

    /// Mean comoving matter density in (Msun/h) / (Mpc/h)^3.
    pub fn mean_matter_density(&self) -> f64 {
        self.omega_m * RHO_CRITICAL
    }

    /// The growing solution that tends to a in matter domination:
    /// (5/2) Omega_m E(a) times the integral of (a' E(a'))^-3.
    fn growth_unnormalised(&self, a: f64) -> f64 {
        // With a' = x^(2/5) the integrand tends to a constant at zero: (aE)^-3 da ~ a^(3/2) da.
        let integrand = |x: f64| {
            let a = x.powf(0.4);
            0.4 * x.powf(-0.6) / (a * self.e(a)).powi(3)
        };
        2.5 * self.omega_m * self.e(a) * gauss_legendre(integrand, 0.0, a.powf(2.5), 16)
    }
}

/// Integral of `f` over `[lower, upper]` by composite 8-point Gauss-Legendre rules on `panels` equal panels.
fn gauss_legendre(f: impl Fn(f64) -> f64, lower: f64, upper: f64, panels: usize) -> f64 {
    const NODES: [(f64, f64); 4] = [
        (0.183_434_642_495_649_8, 0.362_683_783_378_362),
        (0.525_532_409_916_329, 0.313_706_645_877_887_3),
        (0.796_666_477_413_626_7, 0.222_381_034_453_374_47),
        (0.960_289_856_497_536_3, 0.101_228_536_290_376_26),
    ];
    let half = 0.5 * (upper - lower) / panels as f64;
    (0..panels)
        .map(|i| {
            let centre = lower + half * (2 * i + 1) as f64;
            NODES.iter().map(|&(x, w)| w * (f(centre - half * x) + f(centre + half * x))).sum::<f64>() * half
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn growth_solves_its_differential_equation() {
        // D'' + (3 + dlnE/dlna) D' - 3/2 Omega_m(a) D = 0 in ln a (with D' = dD/dlna and "3" -> 2 + ...).
        let c = Cosmology::camels();
        for a in [0.1f64, 0.3, 0.7, 1.0] {
            let d = |x: f64| c.growth(x.exp());
            let (x, s) = (a.ln(), 1e-3);
            let first = (d(x + s) - d(x - s)) / (2.0 * s);
            let second = (d(x + s) - 2.0 * d(x) + d(x - s)) / (s * s);
            let dlne = -1.5 * c.omega_m_at(a);
            let residual = second + (2.0 + dlne) * first - 1.5 * c.omega_m_at(a) * d(x);
            assert!(residual.abs() < 1e-5 * d(x), "a = {a}: {residual}");
            assert_relative_eq!(first / d(x), c.growth_rate(a), max_relative = 1e-5);
        }
    }

    #[test]
    fn growth_of_lcdm_today_matches_the_known_suppression() {
        // Carroll, Press & Turner 1992, their fitting formula g(0.3, 0.7) = 0.779, good to a per cent.
        let c = Cosmology { omega_m: 0.3, ..Cosmology::camels() };
        assert_relative_eq!(c.growth_unnormalised(1.0), 0.779, max_relative = 5e-3);
    }

    #[test]
    fn growth_rate_follows_omega_m_to_the_055() {
        // Linder 2005: a fit good to one per cent.
        let c = Cosmology::camels();
        for a in [0.3, 0.6, 1.0] {
            assert_relative_eq!(c.growth_rate(a), c.omega_m_at(a).powf(0.55), max_relative = 1e-2);
        }
    }

    #[test]
    fn distance_matches_hubble_law_and_de_sitter() {
        let c = Cosmology::camels();
        assert_relative_eq!(c.comoving_distance(1e-4), SPEED_OF_LIGHT / 100.0 * 1e-4, max_relative = 1e-4);
        let empty = Cosmology { omega_m: 1e-12, ..c };
        assert_relative_eq!(empty.comoving_distance(2.0), SPEED_OF_LIGHT / 50.0, max_relative = 1e-9);
    }

    #[test]
    fn critical_density_today() {
        // 2.775e11 h^2 Msun / Mpc^3.
        assert_relative_eq!(Cosmology::camels().critical_density(1.0), 2.775e11, max_relative = 1e-3);
    }

    #[test]
    fn absurd_parameters_are_named() {
        let bad = Cosmology { omega_m: f64::NAN, ..Cosmology::camels() };
        let message = bad.validate().map_err(|e| e.to_string()).unwrap_err();
        assert!(message.contains("omega_m") && message.contains("NaN"), "{message}");
    }
}

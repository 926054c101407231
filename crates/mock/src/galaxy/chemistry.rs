//! Ages and elements.

use halocast_core::{Cosmology, Rng};

/// Hubble time of h = 1 in Gyr.
const HUBBLE_TIME: f64 = 9.777_922_2;
/// Solar mass fractions of C, N, O, Ne, Mg, Si, Fe and of all other metals, normalised to one
/// (Asplund et al. 2009, ARA&A 47, 481).
const PATTERN: [f64; 8] = [0.1776, 0.0520, 0.4303, 0.0943, 0.0532, 0.0499, 0.0970, 0.0457];
/// The alpha elements among them: O, Ne, Mg, Si.
const ALPHA: [bool; 8] = [false, false, true, true, true, true, false, false];
/// Primordial helium.
const HELIUM: f64 = 0.24;
/// Helium made with the metals, dY/dZ (Casagrande et al. 2007).
const HELIUM_PER_METAL: f64 = 2.1;

/// Cosmic time in Gyr at scale factor `a` in flat LCDM without radiation:
/// t = 2 / (3 H0 sqrt(Omega_L)) arsinh(sqrt(Omega_L / Omega_m) a^(3/2)).
pub(crate) fn cosmic_time(cosmology: &Cosmology, a: f64) -> f64 {
    let lambda = cosmology.omega_lambda().max(1e-9);
    let x = (lambda / cosmology.omega_m).sqrt() * a.powf(1.5);
    HUBBLE_TIME / cosmology.h * 2.0 / (3.0 * lambda.sqrt()) * x.asinh()
}

/// The scale factor at a cosmic time in Gyr: the inverse of [`cosmic_time`].
pub(crate) fn scale_factor(cosmology: &Cosmology, time: f64) -> f64 {
    let lambda = cosmology.omega_lambda().max(1e-9);
    let x = (1.5 * lambda.sqrt() * time * cosmology.h / HUBBLE_TIME).sinh();
    (x * (cosmology.omega_m / lambda).sqrt()).powf(2.0 / 3.0)
}

/// Mass fractions of H, He, C, N, O, Ne, Mg, Si, Fe and the rest, at metallicity `z` and an enhancement [alpha/Fe] of
/// `alpha` dex at constant `z`. They sum to one.
pub(crate) fn elements(z: f64, alpha: f64) -> [f32; 10] {
    let boost = 10f64.powf(alpha);
    let raw: [f64; 8] = std::array::from_fn(|i| PATTERN[i] * if ALPHA[i] { boost } else { 1.0 });
    let total: f64 = raw.iter().sum();
    let helium = (HELIUM + HELIUM_PER_METAL * z).min(0.9 - z);
    let mut out = [0.0f32; 10];
    out[0] = (1.0 - helium - z) as f32;
    out[1] = helium as f32;
    for i in 0..8 {
        out[i + 2] = (z * raw[i] / total) as f32;
    }
    out
}

/// The share of its first mass that a population of `age` Gyr has lost to winds and supernovae: 0.05 ln(1 + t / 0.3 Myr)
/// (Leitner & Kravtsov 2011, ApJ 734, 48, equation 1, for the initial mass function of Chabrier 2003: C_0 = 0.046,
/// lambda = 0.276 Myr).
pub(crate) fn mass_loss(age: f64) -> f64 {
    0.046 * (1.0 + age.max(0.0) * 1e3 / 0.276).ln()
}

/// The birth time in Gyr of a disc star at time `now`: p(t) proportional to t exp(-t / tau).
pub(crate) fn disc_birth(now: f64, tau: f64, rng: &mut Rng) -> f64 {
    loop {
        // The sum of two exponentials has this density; late ones are drawn again.
        let draw = -tau * ((1.0 - rng.uniform()).ln() + (1.0 - rng.uniform()).ln());
        if draw < now && draw > 0.02 * now {
            return draw;
        }
    }
}

/// The birth time in Gyr of a bulge star: about a fifth of the age of the universe, with as wide a scatter as half of that.
pub(crate) fn bulge_birth(now: f64, rng: &mut Rng) -> f64 {
    now * (0.2 * (0.45 * rng.normal()).exp()).clamp(0.03, 0.95)
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn times_are_those_of_the_friedmann_equation() {
        let c = Cosmology::illustris_tng();
        // Planck 2015: 13.8 Gyr; and the inverse.
        assert_relative_eq!(cosmic_time(&c, 1.0), 13.8, max_relative = 5e-3);
        for a in [0.05, 0.3, 0.9] {
            assert_relative_eq!(scale_factor(&c, cosmic_time(&c, a)), a, max_relative = 1e-10);
            // dt/da = 1 / (a H).
            let slope = (cosmic_time(&c, a + 1e-5) - cosmic_time(&c, a - 1e-5)) / 2e-5;
            assert_relative_eq!(slope, HUBBLE_TIME / c.h / (a * c.e(a)), max_relative = 1e-5);
        }
        let dense = Cosmology { omega_m: 1.0, ..c };
        assert_relative_eq!(cosmic_time(&dense, 1.0), HUBBLE_TIME / c.h * 2.0 / 3.0, max_relative = 1e-6);
    }

    #[test]
    fn elements_sum_to_one_and_alpha_elements_rise_against_iron() {
        for (z, alpha) in [(0.0, 0.0), (0.0127, 0.0), (0.05, 0.3), (0.2, -0.1)] {
            let x = elements(z, alpha);
            assert_relative_eq!(x.iter().sum::<f32>(), 1.0, epsilon = 1e-6);
            assert_relative_eq!(f64::from(x[2..].iter().sum::<f32>()), z, epsilon = 1e-6);
            assert!(x.iter().all(|&x| x >= 0.0));
        }
        let (solar, old) = (elements(0.0127, 0.0), elements(0.0127, 0.3));
        let ratio = f64::from((old[4] / old[8]) / (solar[4] / solar[8]));
        assert_relative_eq!(ratio.log10(), 0.3, epsilon = 1e-4);
    }

    #[test]
    fn old_populations_have_lost_over_four_tenths() {
        assert_relative_eq!(mass_loss(10.0), 0.48, epsilon = 0.03);
        assert_eq!(mass_loss(0.0), 0.0);
    }
}

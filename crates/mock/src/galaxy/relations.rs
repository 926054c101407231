//! The mean relations of galaxies and haloes, each with its source. Masses here are in Msun without h.

use halocast_core::Cosmology;

use super::profile::GRAVITY;

/// Metal mass fraction of the Sun that IllustrisTNG refers to.
pub(crate) const SOLAR_METALLICITY: f64 = 0.0127;
/// Median spin parameter and its scatter in ln lambda (Bullock et al. 2001, ApJ 555, 240).
pub(crate) const MEDIAN_SPIN: f64 = 0.035;
pub(crate) const SPIN_SCATTER: f64 = 0.5;

/// The radius in physical kpc that holds `mass` (Msun) at 200 times the critical density:
/// M = 100 H^2 R^3 / G.
pub(crate) fn r200(cosmology: &Cosmology, a: f64, mass: f64) -> f64 {
    let hubble = cosmology.hubble(a) * 1e-3;
    (GRAVITY * mass * 1e-10 / (100.0 * hubble * hubble)).cbrt()
}

/// Median c200 of a halo of `mass` Msun/h: Dutton & Maccio 2014, MNRAS 441, 3359, equations 7, 10 and 11.
pub(crate) fn concentration(mass: f64, z: f64) -> f64 {
    let a = 0.520 + (0.905 - 0.520) * (-0.617 * z.powf(1.21)).exp();
    let b = -0.101 + 0.026 * z;
    10f64.powf(a + b * (mass / 1e12).log10()).clamp(2.0, 30.0)
}

/// Stellar mass of a halo: Moster, Naab & White 2013, MNRAS 428, 3121, equations 2 and 11 to 14.
pub(crate) fn stellar_mass(halo: f64, z: f64) -> f64 {
    let late = z / (1.0 + z);
    let m1 = 10f64.powf(11.590 + 1.195 * late);
    let norm = 0.0351 - 0.0247 * late;
    let (beta, gamma) = (1.376 - 0.826 * late, 0.608 + 0.329 * late);
    2.0 * norm * halo / ((halo / m1).powf(-beta) + (halo / m1).powf(gamma))
}

/// Cold gas of a star-forming galaxy. Atoms and molecules today: log M/M* = -0.6 - 0.55 (log M* - 10), a line through
/// the medians of xGASS and xCOLD GASS (Catinella et al. 2018, MNRAS 476, 875; Saintonge et al. 2017, ApJS 233, 22);
/// growing as (1 + z)^1.5, between their constant atoms and the (1 + z)^2.5 of molecules (Tacconi et al. 2018,
/// ApJ 853, 179), to at most three times the stars.
pub(crate) fn cold_gas_mass(stars: f64, z: f64) -> f64 {
    let ratio = 10f64.powf(-0.6 - 0.55 * (stars.log10() - 10.0)) * (1.0 + z).powf(1.5);
    stars * ratio.min(3.0)
}

/// The share of the cosmic baryons that a halo keeps as hot gas: 0.3 for galaxies, rising to 0.85 for clusters, a line
/// through IllustrisTNG (Davies et al. 2020, MNRAS 491, 4462, figure 1; Pop et al. 2022).
pub(crate) fn hot_fraction(halo: f64) -> f64 {
    0.3 + 0.55 / (1.0 + (-2.5 * (halo.log10() - 13.5)).exp())
}

/// Mean bulge-to-total ratio of star-forming galaxies, growing with mass as in Bluck et al. 2014, MNRAS 441, 599.
pub(crate) fn bulge_fraction(stars: f64) -> f64 {
    0.05 + 0.45 / (1.0 + (-2.0 * (stars.log10() - 10.9)).exp())
}

/// The share of galaxies that are quenched: Peng et al. 2010, ApJ 721, 193, mass quenching, equation 3, fading as
/// (1 + z)^-2.
pub(crate) fn quenched_fraction(stars: f64, z: f64) -> f64 {
    (1.0 - (-(stars / 10f64.powf(10.56)).powf(0.8)).exp()) * (1.0 + z).powi(-2)
}

/// Metal mass fraction of the gas at the half-mass radius: the fundamental relation's mass dependence of Zahid et al.
/// 2014, ApJ 791, 130, 12 + log O/H = 9.10 + log(1 - exp(-(M*/M_0)^0.51)), log M_0 = 9.08 + 2.64 log(1 + z), as a
/// metallicity relative to the Sun's 8.69.
pub(crate) fn metallicity(stars: f64, z: f64) -> f64 {
    let turn = 10f64.powf(9.08 + 2.64 * (1.0 + z.min(1.6)).log10());
    let oxygen = 9.10 + (1.0 - (-(stars / turn).powf(0.51)).exp()).log10();
    SOLAR_METALLICITY * 10f64.powf(oxygen - 8.69)
}

/// Scale length of the stellar disc in kpc: 0.011 R200 (Kravtsov 2013, ApJL 764, L31), proportional to the spin (Mo, Mao &
/// White 1998, MNRAS 295, 319).
pub(crate) fn disc_scale(r200: f64, spin: f64) -> f64 {
    0.011 * r200 * (spin / MEDIAN_SPIN).clamp(0.3, 3.0)
}

/// Median axis ratios b/a and c/a of a halo with a galaxy (Chua et al. 2019, MNRAS 484, 476, Illustris at 0.15 R200).
pub(crate) const AXIS_RATIOS: [f64; 2] = [0.88, 0.70];

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn a_milky_way_has_the_numbers_of_a_milky_way() {
        let c = Cosmology::illustris_tng();
        let halo = 1e12 / c.h;
        assert_relative_eq!(r200(&c, 1.0, halo), 235.0, max_relative = 0.03);
        assert_relative_eq!(concentration(1e12, 0.0), 8.03, max_relative = 0.01);
        assert!((2e10..6e10).contains(&stellar_mass(halo, 0.0)));
        assert!((4e9..2e10).contains(&cold_gas_mass(4e10, 0.0)));
        assert_relative_eq!(metallicity(5e10, 0.0) / SOLAR_METALLICITY, 2.3, max_relative = 0.2);
    }

    #[test]
    fn r200_holds_its_mean_density() {
        let c = Cosmology::camels();
        for a in [1.0, 0.4] {
            let r = r200(&c, a, 3e12);
            let density = 3e12 * c.h / (4.0 / 3.0 * std::f64::consts::PI * (r * 1e-3 * c.h).powi(3));
            assert_relative_eq!(density / c.critical_density(a), 200.0, max_relative = 1e-6);
        }
    }
}

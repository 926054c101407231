//! Neutral hydrogen: self-shielding from the ultraviolet background, and what of it is molecular.

use serde::{Deserialize, Serialize};

use super::thermal::{BOLTZMANN, PROTON_MASS};

/// How the neutral fraction of hydrogen is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Neutral {
    /// The file's `NeutralHydrogenAbundance`, in every cell.
    Stored,
    /// The file's in cells that form no stars; in the others, whose stored value is that of the effective equation of state,
    /// [`neutral_fraction`] at 10^4 K. Where nothing is stored, [`neutral_fraction`] everywhere.
    #[default]
    SelfShielded,
    /// [`neutral_fraction`] in every cell.
    Rahmati,
}

/// How the molecular part of neutral hydrogen is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Molecular {
    /// None is.
    None,
    /// In cells that form stars, [`molecular_fraction_kmt`].
    #[default]
    Kmt,
    /// In cells that form stars, [`molecular_fraction_pressure`].
    BlitzRosolowsky,
}

/// The ultraviolet background at redshift `z`: the photoionisation rate of hydrogen in 1/s and the grey absorption cross-section
/// in cm^2, between the tabulated redshifts 0 to 5 linear in the logarithm, beyond them constant.
///
/// # Source
/// The background of Faucher-Giguere et al. 2009 in table 2 of Rahmati et al. 2013 (arXiv:1210.7808).
pub fn ultraviolet_background(z: f64) -> (f64, f64) {
    const RATE: [f64; 6] = [3.99e-14, 3.03e-13, 6.00e-13, 5.53e-13, 4.31e-13, 3.52e-13];
    const SECTION: [f64; 6] = [2.59e-18, 2.37e-18, 2.27e-18, 2.15e-18, 2.02e-18, 1.94e-18];
    let z = z.clamp(0.0, 5.0);
    let i = (z as usize).min(4);
    let between = |table: [f64; 6]| {
        let (a, b) = (table[i].ln(), table[i + 1].ln());
        (a + (z - i as f64) * (b - a)).exp()
    };
    (between(RATE), between(SECTION))
}

/// The density of hydrogen above which gas shields itself, in cm^-3, at temperature `t` in K:
/// n_SSh = 6.73e-3 (sigma / 2.49e-18)^(-2/3) (T / 10^4)^0.17 (Gamma / 10^-12)^(2/3) (f_g / 0.17)^(-1/3), with f_g = 0.17.
///
/// # Source
/// Rahmati et al. 2013, equation 13.
pub fn self_shielding_density(t: f64, z: f64) -> f64 {
    let (rate, section) = ultraviolet_background(z);
    6.73e-3 * (section / 2.49e-18).powf(-2.0 / 3.0) * (t / 1e4).powf(0.17) * (rate / 1e-12).powf(2.0 / 3.0)
}

/// The photoionisation rate in 1/s inside gas of `n_h` hydrogen nuclei a cm^3.
///
/// Gamma / Gamma_UVB = 0.98 [1 + (n_H / n_SSh)^1.64]^-2.28 + 0.02 [1 + n_H / n_SSh]^-0.84.
///
/// # Source
/// Rahmati et al. 2013, equation 14.
pub fn photoionisation_rate(n_h: f64, t: f64, z: f64) -> f64 {
    let x = n_h / self_shielding_density(t, z);
    ultraviolet_background(z).0 * (0.98 * (1.0 + x.powf(1.64)).powf(-2.28) + 0.02 * (1.0 + x).powf(-0.84))
}

/// The neutral fraction n_HI / n_H in ionisation equilibrium at `n_h` hydrogen nuclei a cm^3, temperature `t` in K and
/// redshift `z`: x = (B - sqrt(B^2 - 4 A C)) / (2 A), A = alpha + L, B = 2 alpha + Gamma / n_H + L, C = alpha, with
/// recombination (case A) alpha and collisional ionisation L.
///
/// # Source
/// Rahmati et al. 2013, appendix A; the rates of Hui & Gnedin 1997 and Theuns et al. 1998 quoted there.
///
/// ```
/// use halocast_maps::fields::neutral_fraction;
/// assert!(neutral_fraction(1e-5, 1e4, 0.0) < 1e-2); // intergalactic gas is ionised,
/// assert!(neutral_fraction(10.0, 1e4, 0.0) > 0.99); // discs are neutral
/// ```
pub fn neutral_fraction(n_h: f64, t: f64, z: f64) -> f64 {
    let lambda = 315_614.0 / t;
    let alpha = 1.269e-13 * lambda.powf(1.503) / (1.0 + (lambda / 0.522).powf(0.47)).powf(1.923);
    let collisions = 1.17e-10 * t.sqrt() * (-157_809.0 / t).exp() / (1.0 + (t / 1e5).sqrt());
    let (a, b, c) =
        (alpha + collisions, 2.0 * alpha + photoionisation_rate(n_h, t, z) / n_h + collisions, alpha);
    // The same root as above, without the difference of large numbers.
    2.0 * c / (b + (b * b - 4.0 * a * c).max(0.0).sqrt())
}

/// The molecular fraction of neutral gas of surface density `sigma` in g/cm^2 and metal mass fraction `metallicity`.
///
/// chi = 0.756 (1 + 3.1 Z^0.365), tau = sigma sigma_d / mu_H with sigma_d = Z 10^-21 cm^2 and mu_H = 2.3e-24 g,
/// s = ln(1 + 0.6 chi + 0.01 chi^2) / (0.6 tau), f = 1 - 0.75 s / (1 + 0.25 s) for s < 2, else 0; Z in units of 0.0127.
///
/// # Source
/// Krumholz, McKee & Tumlinson 2009; McKee & Krumholz 2010, equations 91 to 93.
pub fn molecular_fraction_kmt(sigma: f64, metallicity: f64) -> f64 {
    let z = metallicity.max(0.0) / 0.0127;
    let chi = 0.756 * (1.0 + 3.1 * z.powf(0.365));
    let tau = sigma * z * 1e-21 / 2.3e-24;
    let s = (1.0 + 0.6 * chi + 0.01 * chi * chi).ln() / (0.6 * tau);
    if s < 2.0 { 1.0 - 0.75 * s / (1.0 + 0.25 * s) } else { 0.0 }
}

/// The molecular fraction of gas of pressure `pressure` in erg/cm^3: f = R / (1 + R), R = (P / P_0)^0.92,
/// P_0 / k_B = 4.3e4 K/cm^3.
///
/// # Source
/// Blitz & Rosolowsky 2006, equation 14 with the means of their galaxies.
pub fn molecular_fraction_pressure(pressure: f64) -> f64 {
    let ratio = (pressure / (4.3e4 * BOLTZMANN)).powf(0.92);
    ratio / (1.0 + ratio)
}

/// One gas cell as the models of its hydrogen see it, in cgs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    /// g/cm^3.
    pub(crate) density: f64,
    /// K.
    pub(crate) temperature: f64,
    /// erg/cm^3.
    pub(crate) pressure: f64,
    /// The radius of the sphere of the cell's volume, cm.
    pub(crate) radius: f64,
    pub(crate) hydrogen: f64,
    pub(crate) metallicity: f64,
    pub(crate) forms_stars: bool,
    pub(crate) stored: Option<f64>,
}

/// The atomic and the molecular fraction of a cell's hydrogen.
pub(crate) fn fractions(cell: &Cell, neutral: Neutral, molecular: Molecular, z: f64) -> [f64; 2] {
    let n_h = cell.hydrogen * cell.density / PROTON_MASS;
    let computed = || {
        let t = if cell.forms_stars { 1e4 } else { cell.temperature };
        neutral_fraction(n_h, t, z)
    };
    let fraction = match (neutral, cell.stored) {
        (Neutral::Stored, Some(stored)) => stored,
        (Neutral::SelfShielded, Some(stored)) if !cell.forms_stars => stored,
        _ => computed(),
    }
    .clamp(0.0, 1.0);
    let share = match molecular {
        Molecular::Kmt if cell.forms_stars => {
            // The column through the cell's middle, as Pylians takes it with the smoothing length.
            molecular_fraction_kmt(cell.density * cell.radius, cell.metallicity)
        }
        Molecular::BlitzRosolowsky if cell.forms_stars => molecular_fraction_pressure(cell.pressure),
        _ => 0.0,
    };
    [fraction * (1.0 - share), fraction * share]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_background_is_the_table() {
        assert_eq!(ultraviolet_background(-1.0), ultraviolet_background(0.0));
        for (z, rate) in [(0.0, 3.99e-14), (2.0, 6.0e-13), (5.0, 3.52e-13), (9.0, 3.52e-13)] {
            assert!((ultraviolet_background(z).0 / rate - 1.0).abs() < 1e-12);
        }
        // Table 2 of the paper: n_SSh of this background at z = 3 and 10^4 K is 5.0e-3 cm^-3.
        assert!((self_shielding_density(1e4, 3.0) / 5.000e-3 - 1.0).abs() < 1e-3);
    }

    #[test]
    fn the_fraction_solves_the_rate_equation() {
        for n in [1e-6, 1e-3, 1e-1, 10.0] {
            for t in [3e3, 1e4, 5e4, 1e6] {
                let x = neutral_fraction(n, t, 1.0);
                assert!((0.0..=1.0).contains(&x));
                let lambda: f64 = 315_614.0 / t;
                let alpha = 1.269e-13 * lambda.powf(1.503) / (1.0 + (lambda / 0.522).powf(0.47)).powf(1.923);
                let l = 1.17e-10 * t.sqrt() * (-157_809.0f64 / t).exp() / (1.0 + (t / 1e5).sqrt());
                let ionised = photoionisation_rate(n, t, 1.0) * x + l * x * (1.0 - x) * n;
                let recombined = alpha * (1.0 - x).powi(2) * n;
                assert!((ionised / recombined - 1.0).abs() < 1e-8, "{n} {t}: {ionised} {recombined}");
            }
        }
    }

    #[test]
    fn neutral_gas_grows_with_density() {
        let x: Vec<f64> =
            (-60..20).map(|e| neutral_fraction(10f64.powf(e as f64 / 10.0), 1e4, 0.0)).collect();
        assert!(x.windows(2).all(|w| w[1] > w[0]));
    }

    #[test]
    fn molecules_have_their_limits() {
        assert_eq!(molecular_fraction_kmt(1e-6, 0.0127), 0.0);
        assert_eq!(molecular_fraction_kmt(1e-2, 0.0), 0.0);
        assert!(molecular_fraction_kmt(1.0, 0.0127) > 0.9);
        // By hand at solar metals and 10 Msun/pc^2 = 2.0889e-3 g/cm^2: chi = 3.0996, tau = 0.90822, s = 1.98884.
        assert!((molecular_fraction_kmt(2.0889e-3, 0.0127) - 0.003726).abs() < 1e-6);
        assert!((molecular_fraction_pressure(4.3e4 * BOLTZMANN) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn the_modes_differ_where_they_should() {
        let cell = Cell {
            density: 1e-24,
            temperature: 1e5,
            pressure: 1e-12,
            radius: 3e21,
            hydrogen: 0.76,
            metallicity: 0.02,
            forms_stars: true,
            stored: Some(0.3),
        };
        let atomic = |cell: &Cell, neutral, molecular| fractions(cell, neutral, molecular, 0.0)[0];
        assert_eq!(atomic(&cell, Neutral::Stored, Molecular::None), 0.3);
        assert!(atomic(&cell, Neutral::SelfShielded, Molecular::None) > 0.9);
        let quiet = Cell { forms_stars: false, ..cell };
        assert_eq!(atomic(&quiet, Neutral::SelfShielded, Molecular::Kmt), 0.3);
        assert!(atomic(&quiet, Neutral::Rahmati, Molecular::None) < 0.3);
        for molecular in [Molecular::Kmt, Molecular::BlitzRosolowsky] {
            let [hi, h2] = fractions(&cell, Neutral::SelfShielded, molecular, 0.0);
            let all = atomic(&cell, Neutral::SelfShielded, Molecular::None);
            assert!(h2 > 0.0 && (hi + h2 - all).abs() < 1e-12, "{molecular:?}");
        }
    }
}

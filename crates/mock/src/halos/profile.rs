//! The profile of Navarro, Frenk & White, and the concentration of haloes.

use halocast_core::Cosmology;

/// m(x) = ln(1 + x) - x / (1 + x): the mass within x scale radii, in units of 4 pi rho_s r_s^3.
pub(crate) fn nfw_mass(x: f64) -> f64 {
    if x < 1e-3 { x * x * (0.5 - 2.0 / 3.0 * x) } else { x.ln_1p() - x / (1.0 + x) }
}

/// The mean concentration c = R_200c / r_s of haloes of `mass` M_200c in Msun/h at scale factor `a`:
/// log10 c = a_z + b_z log10(M / 10^12 Msun/h); single haloes scatter by 0.11 dex.
///
/// ```
/// use halocast_mock::concentration;
/// // Groups today are less concentrated than galaxies, and all were less in the past.
/// assert!((concentration(1e12, 1.0) - 8.0).abs() < 0.2);
/// assert!(concentration(1e14, 1.0) < 6.0 && concentration(1e12, 0.5) < 6.5);
/// ```
///
/// # Source
/// Dutton & Macciò 2014, MNRAS 441, 3359, equations 7, 10 and 11 (Planck cosmology, z = 0 to 5).
pub fn concentration(mass: f64, a: f64) -> f64 {
    let z = 1.0 / a - 1.0;
    let intercept = 0.520 + (0.905 - 0.520) * (-0.617 * z.powf(1.21)).exp();
    let slope = -0.101 + 0.026 * z;
    10f64.powf(intercept + slope * (mass / 1e12).log10())
}

/// Overdensity of a virialised top hat over the critical density, 18 pi^2 + 82 x - 39 x^2 with x = Omega_m(a) - 1.
///
/// # Source
/// Bryan & Norman 1998, ApJ 495, 80, equation 6.
pub(crate) fn virial_overdensity(cosmology: &Cosmology, a: f64) -> f64 {
    let x = cosmology.omega_m_at(a) - 1.0;
    18.0 * std::f64::consts::PI.powi(2) + 82.0 * x - 39.0 * x * x
}

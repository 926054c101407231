//! The state of gas: pressure, electrons, neutral hydrogen.

/// Boltzmann's constant over the proton mass, in (km/s)^2 / K.
pub(crate) const BOLTZMANN_PER_PROTON: f64 = 8.254_4e-3;
/// Hydrogen mass fraction.
pub(crate) const HYDROGEN: f64 = 0.76;
/// Mean mass of a particle of fully ionised hydrogen and helium, in proton masses.
pub(crate) const MU: f64 = 4.0 / (3.0 + 5.0 * HYDROGEN);
/// Hydrogen nuclei per cm^3 in one Msun/h / (kpc/h)^3 of gas, times h^2: 0.76 Msun / (m_p kpc^3).
pub(crate) const HYDROGEN_PER_CM3: f64 =
    HYDROGEN * 1.988_92e33 / 1.672_621_9e-24 / (3.085_677_58e21 * 3.085_677_58e21 * 3.085_677_58e21);

/// The neutral fraction of hydrogen of `density` nuclei per cm^3 at `temperature` K and redshift `z`, in equilibrium with the
/// ultraviolet background and shielded from it where dense.
///
/// $$\frac{\Gamma}{\Gamma_\mathrm{UVB}} = 0.98\left[1 + \left(\frac{n}{n_s}\right)^{1.64}\right]^{-2.28}
/// + 0.02\left[1 + \frac{n}{n_s}\right]^{-0.84}$$
///
/// The neutral fraction is the smaller root of eta^2 (alpha + Lambda) n - eta (2 alpha n + Gamma + Lambda n) + alpha n = 0.
///
/// ```
/// use halocast_mock::neutral_fraction;
/// // The Lyman-alpha forest is ionised, the interstellar medium neutral, a cluster's gas collisionally ionised.
/// assert!(neutral_fraction(1e-6, 1e4, 0.0) < 1e-4);
/// assert!(neutral_fraction(1.0, 1e4, 0.0) > 0.95);
/// assert!(neutral_fraction(1e-3, 1e7, 0.0) < 1e-6);
/// ```
///
/// # Source
/// Rahmati et al. 2013, MNRAS 430, 2427, equations 13 and 14 (shielding) and A8 (equilibrium; recombination of Hui & Gnedin
/// 1997, collisions of Theuns et al. 1998). Background: Haardt & Madau 2012, Gamma = 2.3e-14 / s today, as (1 + z)^4.
pub fn neutral_fraction(density: f64, temperature: f64, z: f64) -> f64 {
    // Rates of the background beyond its peak are not followed.
    let background = (2.3e-14 * (1.0 + z).powi(4)).min(1e-12);
    // Equation 13 with the cross section of Haardt & Madau at z = 0 to 3 and the cosmic share of gas.
    let shielding =
        6.73e-3 * (temperature / 1e4).clamp(0.1, 100.0).powf(0.17) * (background / 1e-12).powf(2.0 / 3.0);
    let n = density / shielding;
    let rate = background * (0.98 * (1.0 + n.powf(1.64)).powf(-2.28) + 0.02 * (1.0 + n).powf(-0.84));
    let lambda = 315_614.0 / temperature;
    let recombination = 1.269e-13 * lambda.powf(1.503) / (1.0 + (lambda / 0.522).powf(0.47)).powf(1.923);
    let collisions =
        1.17e-10 * temperature.sqrt() * (-157_809.0 / temperature).exp() / (1.0 + (temperature / 1e5).sqrt());
    let (a, c) = ((recombination + collisions) * density, recombination * density);
    let b = 2.0 * recombination * density + rate + collisions * density;
    // The stable form of the smaller root.
    2.0 * c / (b + (b * b - 4.0 * a * c).max(0.0).sqrt())
}

/// Physical pressure in h^2 Msun (km/s)^2 / kpc^3 of fully ionised gas of physical `density` in h^2 Msun / kpc^3.
pub(crate) fn pressure(density: f64, temperature: f64) -> f64 {
    density * BOLTZMANN_PER_PROTON * temperature / MU
}

/// |B| in Gauss where the magnetic pressure is that of the gas over `beta`: B^2 / (8 pi) = P / beta, P as [`pressure`].
pub(crate) fn magnetic_field(pressure: f64, beta: f64, h: f64) -> f64 {
    // Msun (km/s)^2 / kpc^3 in erg / cm^3.
    const ERG: f64 = 1.988_92e33 * 1e10 / (3.085_677_58e21 * 3.085_677_58e21 * 3.085_677_58e21);
    (8.0 * std::f64::consts::PI * pressure * h * h * ERG / beta).sqrt()
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn equilibrium_balances_the_rates() {
        for (n, t) in [(1e-7, 1e4), (1e-4, 2e4), (1e-2, 1e4), (1.0, 8e3)] {
            let eta = neutral_fraction(n, t, 0.0);
            let unshielded = neutral_fraction(n * 1e-9, t, 0.0);
            assert!((0.0..1.0).contains(&eta) && eta > unshielded);
        }
        // Optically thin: eta = alpha n / Gamma; alpha(10^4 K) = 4.2e-13 cm^3/s (case A).
        assert_relative_eq!(neutral_fraction(1e-7, 1e4, 0.0), 4.2e-13 * 1e-7 / 2.3e-14, max_relative = 0.05);
    }

    #[test]
    fn units_of_density_and_field() {
        // The cosmic mean: Omega_b rho_c = 13.6 h^2 Msun / kpc^3 holds 1.88e-29 * 0.049 * 0.76 / m_p = 4.2e-7 h^2 / cm^3.
        assert_relative_eq!(0.049 * 277.5 * HYDROGEN_PER_CM3, 4.19e-7, max_relative = 1e-2);
        // Intracluster gas of 1e-3 electrons / cm^3 at 5e7 K has P = 1.3e-11 erg / cm^3: 1.8 microgauss at beta = 100.
        let pressure = 1.3e-11 / 0.49 / (1.988_92e43 / 3.085_677_58e21f64.powi(3));
        assert_relative_eq!(magnetic_field(pressure, 100.0, 0.7), 1.81e-6, max_relative = 0.01);
    }
}

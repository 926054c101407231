//! Temperature, pressure and electrons of gas cells.

/// Boltzmann's constant in erg/K.
pub const BOLTZMANN: f64 = 1.380_649e-16;
/// The mass of the proton in g.
pub const PROTON_MASS: f64 = 1.672_621_923_7e-24;
/// The adiabatic index of a monatomic gas.
pub const GAMMA: f64 = 5.0 / 3.0;
/// The primordial mass fraction of hydrogen that IllustrisTNG assumes where a file has no metals.
pub const HYDROGEN_FRACTION: f64 = 0.76;

/// The mean mass of a particle in units of the proton's, mu = 4 / (1 + 3 X_H + 4 X_H x_e), for the hydrogen mass fraction X_H
/// and the electron abundance x_e = n_e / n_H; metals count as helium.
///
/// # Source
/// The documentation of the TNG data release, section "gas temperature".
pub fn mean_molecular_weight(hydrogen: f64, electrons: f64) -> f64 {
    4.0 / (1.0 + 3.0 * hydrogen + 4.0 * hydrogen * electrons)
}

/// The temperature in K, T = (gamma - 1) u mu m_p / k_B, of a specific internal energy u in (km/s)^2.
///
/// In cells that form stars u is that of the effective equation of state of the multi-phase medium, and T no temperature of any
/// phase.
///
/// ```
/// use halocast_maps::fields::temperature;
/// // Fully ionised primordial gas.
/// assert!((temperature(1000.0, 0.76, 1.157) / 4.7528e4 - 1.0).abs() < 1e-4);
/// ```
pub fn temperature(internal_energy: f64, hydrogen: f64, electrons: f64) -> f64 {
    (GAMMA - 1.0) * 1e10 * internal_energy * mean_molecular_weight(hydrogen, electrons) * PROTON_MASS
        / BOLTZMANN
}

/// The temperature in K by the formula of Pylians, which counts hydrogen and helium nuclei with y = 0.0789:
/// T = (2/3) u m_p / k_B (1 + 4 y) / (1 + y + x_e).
///
/// ```
/// use halocast_maps::fields::temperature_pylians;
/// assert!((temperature_pylians(1000.0, 1.157) / 4.7522e4 - 1.0).abs() < 1e-4);
/// ```
pub fn temperature_pylians(internal_energy: f64, electrons: f64) -> f64 {
    const HELIUM: f64 = 0.0789;
    let weight = (1.0 + 4.0 * HELIUM) / (1.0 + HELIUM + electrons);
    2.0 / 3.0 * 1e10 * internal_energy * weight * PROTON_MASS / BOLTZMANN
}

/// The pressure (gamma - 1) u rho, in the product of the units of `internal_energy` and `density`.
pub fn pressure(internal_energy: f64, density: f64) -> f64 {
    (GAMMA - 1.0) * internal_energy * density
}

/// The density of free electrons in cm^-3, n_e = x_e X_H rho / m_p, of a density in g/cm^3; none in gas that forms stars,
/// where the electron abundance is that of the effective equation of state.
///
/// # Source
/// The rule of the CAMELS Multifield Dataset (Villaescusa-Navarro et al. 2022) and of Pylians.
pub fn electron_density(density: f64, hydrogen: f64, electrons: f64, star_formation_rate: f64) -> f64 {
    if star_formation_rate > 0.0 { 0.0 } else { electrons * hydrogen * density / PROTON_MASS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_values() {
        assert!((mean_molecular_weight(0.76, 1.157) - 0.58847).abs() < 1e-5);
        assert!((mean_molecular_weight(1.0, 0.0) - 1.0).abs() < 1e-15);
        assert!((mean_molecular_weight(0.0, 0.0) - 4.0).abs() < 1e-15);
    }

    #[test]
    fn pressure_is_that_of_the_particles() {
        // P = n k T with n = rho / (mu m_p).
        let (u, rho, x, xe) = (321.0, 1e-27, 0.7, 1.1);
        let n = rho / (mean_molecular_weight(x, xe) * PROTON_MASS);
        let expected = n * BOLTZMANN * temperature(u, x, xe);
        assert!((pressure(1e10 * u, rho) / expected - 1.0).abs() < 1e-12);
    }

    #[test]
    fn stars_hide_electrons() {
        assert_eq!(electron_density(1e-24, 0.76, 1.1, 0.5), 0.0);
        assert!((electron_density(PROTON_MASS, 0.5, 2.0, 0.0) - 1.0).abs() < 1e-15);
    }
}

//! Neutral hydrogen of gas in the light of the ultraviolet background.

/// Photoionisation rate of the background in 10^-12 / s at z = 0, 1, .., 5 (Haardt & Madau 2001, as tabulated by Rahmati et
/// al. 2013, table 2).
const BACKGROUND: [f64; 6] = [0.0834, 0.739, 1.50, 1.16, 0.792, 0.543];

/// The neutral share of hydrogen of `density` nuclei per cm^3 at `temperature` K and redshift `z`.
///
/// Ionisation equilibrium with case A recombination, collisions, and a background that dense gas shields itself from:
/// Gamma / Gamma_UVB = 0.98 (1 + (n/n_ssh)^1.64)^-2.28 + 0.02 (1 + n/n_ssh)^-0.84,
/// n_ssh = 6.73e-3 T_4^0.17 Gamma_-12^(2/3) per cm^3.
///
/// # Source
/// Rahmati et al. 2013, MNRAS 430, 2427, equations 13 and 14 and A1 to A8.
pub(crate) fn neutral_fraction(density: f64, temperature: f64, z: f64) -> f64 {
    let background = background(z);
    let shield = 6.73e-3 * (temperature / 1e4).powf(0.17) * background.powf(2.0 / 3.0);
    let x = density / shield;
    let share = 0.98 * (1.0 + x.powf(1.64)).powf(-2.28) + 0.02 * (1.0 + x).powf(-0.84);
    let gamma = background * 1e-12 * share;
    let lambda = 315_614.0 / temperature;
    let recombination = 1.269e-13 * lambda.powf(1.503) / (1.0 + (lambda / 0.522).powf(0.47)).powf(1.923);
    let collisions =
        1.17e-10 * temperature.sqrt() * (-157_809.0 / temperature).exp() / (1.0 + (temperature / 1e5).sqrt());
    let a = recombination + collisions;
    let b = 2.0 * recombination + gamma / density + collisions;
    // The smaller root of a eta^2 - b eta + c = 0, written without cancellation.
    let c = recombination;
    2.0 * c / (b + (b * b - 4.0 * a * c).max(0.0).sqrt())
}

fn background(z: f64) -> f64 {
    let i = (z.max(0.0) as usize).min(BACKGROUND.len() - 2);
    let t = (z - i as f64).clamp(0.0, 1.0);
    BACKGROUND[i] * (1.0 - t) + BACKGROUND[i + 1] * t
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn dense_gas_is_neutral_and_thin_or_hot_gas_is_not() {
        assert!(neutral_fraction(1.0, 1e4, 0.0) > 0.95);
        assert!(neutral_fraction(1e-4, 1e6, 0.0) < 1e-5);
        // Thin gas: eta = alpha n / Gamma, with alpha(10^4 K) = 4.2e-13 cm^3/s.
        let thin = neutral_fraction(1e-6, 1e4, 0.0);
        assert_relative_eq!(thin, 4.2e-13 * 1e-6 / 8.34e-14, max_relative = 0.03);
        // The table ends at z = 5.
        assert_eq!(background(9.0), BACKGROUND[5]);
        assert!((0..40).map(|i| 10f64.powf(-6.0 + 0.2 * f64::from(i))).all(|n| {
            let x = neutral_fraction(n, 1e4, 1.5);
            (0.0..=1.0).contains(&x)
        }));
    }
}

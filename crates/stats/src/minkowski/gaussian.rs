//! Minkowski functionals of Gaussian random fields in closed form.

/// The expected densities [m0, m1, m2] per unit area of the excursion set {f >= nu} of a two-dimensional Gaussian
/// random field of zero mean and unit variance:
///
/// m0 = erfc(nu / sqrt 2) / 2, m1 = sqrt(tau) / (4 pi) exp(-nu^2 / 2), m2 = tau (2 pi)^(-3/2) nu exp(-nu^2 / 2) / pi,
///
/// in the normalisation M0 = area, M1 = C / (2 pi), M2 = chi / pi. Here tau is the variance of one component of the
/// gradient, in 1 / length^2, and nu is in units of the standard deviation.
///
/// # Source
/// Schmalzing & Gorski 1998, eq. 20-22, in other units: their v1 is C / 4 and their v2 is chi, per unit area; their tau is
/// the same.
///
/// ```
/// use halocast_stats::gaussian_minkowski;
/// let [area, length, euler] = gaussian_minkowski(0.0, 0.1);
/// assert_eq!((area, euler), (0.5, 0.0));
/// assert!((length - 0.1f64.sqrt() / (4.0 * std::f64::consts::PI)).abs() < 1e-15);
/// ```
pub fn gaussian_minkowski(nu: f64, tau: f64) -> [f64; 3] {
    use std::f64::consts::{PI, SQRT_2, TAU};
    let bell = (-0.5 * nu * nu).exp();
    let euler = tau * TAU.powf(-1.5) * nu * bell;
    [0.5 * erfc(nu / SQRT_2), tau.sqrt() / (4.0 * PI) * bell, euler / PI]
}

/// The expected densities [m0, m1, m2, m3] per unit volume of the excursion set {f >= nu} of a three-dimensional Gaussian
/// random field of zero mean and unit variance:
///
/// m0 = erfc(nu / sqrt 2) / 2, m1 = sqrt(tau) / (4 pi) exp(-nu^2 / 2), m2 = tau (2 pi)^(-5/2) 2 nu exp(-nu^2 / 2),
/// m3 = 3 tau^(3/2) / (16 pi^3) (nu^2 - 1) exp(-nu^2 / 2),
///
/// in the normalisation of [`minkowski_functionals_3d`](crate::minkowski_functionals_3d): volume, surface / 8, integrated
/// mean curvature / (2 pi^2), 3 chi / (4 pi). `tau` and `nu` as for [`gaussian_minkowski`].
///
/// # Source
/// Tomita 1986; Schmalzing & Buchert 1997, eq. 5-6, in other units: their V1 is S / 6, their V2 is H / (3 pi), their V3 is chi,
/// per unit volume, and their lambda^2 is tau / (2 pi).
///
/// ```
/// use halocast_stats::gaussian_minkowski_3d;
/// let [volume, _, curvature, euler] = gaussian_minkowski_3d(0.0, 0.1);
/// assert_eq!((volume, curvature), (0.5, 0.0));
/// assert!(euler < 0.0); // a sponge
/// ```
pub fn gaussian_minkowski_3d(nu: f64, tau: f64) -> [f64; 4] {
    use std::f64::consts::{PI, SQRT_2, TAU};
    let bell = (-0.5 * nu * nu).exp();
    let surface = 2.0 / PI * tau.sqrt() * bell;
    let curvature = tau / TAU.sqrt() * nu * bell;
    let euler = tau.powf(1.5) / (TAU * TAU) * (nu * nu - 1.0) * bell;
    [0.5 * erfc(nu / SQRT_2), surface / 8.0, curvature / (2.0 * PI * PI), 3.0 * euler / (4.0 * PI)]
}

/// The complementary error function to about 1e-15: the Taylor series of erf near zero, the continued fraction of
/// Laplace in the wings.
pub(crate) fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    let root_pi = std::f64::consts::PI.sqrt();
    if x < 2.5 {
        // erf x = 2 / sqrt(pi) exp(-x^2) sum 2^n x^(2n+1) / (2n+1)!!: all terms positive.
        let (mut term, mut sum) = (x, x);
        for n in 1..100 {
            term *= 2.0 * x * x / f64::from(2 * n + 1);
            sum += term;
        }
        return 1.0 - 2.0 / root_pi * (-x * x).exp() * sum;
    }
    let tail = (1..=80).rev().fold(0.0, |tail, k| 0.5 * f64::from(k) / (x + tail));
    (-x * x).exp() / (root_pi * (x + tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erfc_has_its_tabulated_values() {
        for (x, value) in [
            (0.0, 1.0),
            (0.5, 0.479_500_122_186_953_5),
            (1.0, 0.157_299_207_050_285_13),
            (2.0, 4.677_734_981_047_266e-3),
            (3.0, 2.209_049_699_858_544e-5),
            (5.0, 1.537_459_794_428_035e-12),
        ] {
            assert!((erfc(x) / value - 1.0).abs() < 1e-11, "{x}: {}", erfc(x));
            assert!((erfc(-x) + erfc(x) - 2.0).abs() < 1e-15);
        }
    }
}

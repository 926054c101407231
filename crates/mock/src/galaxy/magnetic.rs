//! The magnetic field: ordered along spirals in the disc, tangled elsewhere.

use std::f64::consts::TAU;

use halocast_core::Rng;

/// Waves of the tangled part.
const WAVES: usize = 48;
/// Microgauss of the strongest field.
const CEILING: f64 = 60.0;
/// Pitch of the ordered field against the circle, inwards (Beck 2015: 10 to 30 degrees).
const PITCH: f64 = 0.35;

/// B = B_0 sqrt(n) (f e + sqrt(1 - f^2) b), with n hydrogen nuclei per cm^3, e a spiral unit vector that changes sign in
/// the halves of the disc's plane, b a sum of plane waves with amplitudes perpendicular to their wave vectors, and f the
/// ordered share of a cell.
///
/// The exponent 1/2 is that of equipartition with turbulence of one velocity (Crutcher 1999; Pakmor et al. 2020 find 10
/// microgauss in discs and 0.1 to 1 in coronae). b has no divergence and the slope of Kolmogorov's spectrum; the product
/// with sqrt(n) has a divergence where the density changes.
pub(crate) struct MagneticField {
    strength: f64,
    waves: Vec<Wave>,
}

struct Wave {
    vector: [f64; 3],
    amplitude: [f64; 3],
    phase: f64,
}

impl MagneticField {
    /// `strength` microgauss at one nucleus per cm^3, tangled between a fifth of `scale` and six times it (kpc).
    pub(crate) fn new(strength: f64, scale: f64, rng: &mut Rng) -> Self {
        let mut waves: Vec<Wave> = (0..WAVES)
            .map(|_| {
                let length = scale * 0.2 * 30f64.powf(rng.uniform());
                let direction = super::isotropic(rng);
                let other = super::isotropic(rng);
                // Perpendicular by a cross product; energy per ln k falls as k^(-2/3).
                let size = length.cbrt();
                let cross = |i: usize| {
                    let (j, k) = ((i + 1) % 3, (i + 2) % 3);
                    direction[j] * other[k] - direction[k] * other[j]
                };
                Wave {
                    vector: direction.map(|d| TAU / length * d),
                    amplitude: [0, 1, 2].map(|i| size * cross(i)),
                    phase: TAU * rng.uniform(),
                }
            })
            .collect();
        // The mean square of a cosine is a half.
        let square: f64 = waves.iter().flat_map(|w| w.amplitude).map(|a| 0.5 * a * a).sum();
        waves.iter_mut().flat_map(|w| &mut w.amplitude).for_each(|a| *a /= square.sqrt());
        Self { strength, waves }
    }

    /// The field in microgauss at `x` kpc from the centre.
    pub(crate) fn at(&self, x: [f64; 3], nuclei: f64, order: f64) -> [f64; 3] {
        let size = (self.strength * nuclei.sqrt()).min(CEILING);
        let b = self.tangled(x);
        let sign = if x[1] * (TAU / 6.0).cos() + x[0] * (TAU / 6.0).sin() < 0.0 { -1.0 } else { 1.0 };
        let phi = x[1].atan2(x[0]);
        let spiral = super::polar([-PITCH.sin() * sign, PITCH.cos() * sign, 0.0], phi);
        let rest = (1.0 - order * order).sqrt();
        std::array::from_fn(|i| size * (order * spiral[i] + rest * b[i]))
    }

    /// The tangled part, of unit mean square.
    fn tangled(&self, x: [f64; 3]) -> [f64; 3] {
        let mut sum = [0.0; 3];
        for wave in &self.waves {
            let angle: f64 = (0..3).map(|i| wave.vector[i] * x[i]).sum::<f64>() + wave.phase;
            let cosine = angle.cos();
            (0..3).for_each(|i| sum[i] += wave.amplitude[i] * cosine);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tangled_field_has_no_divergence_and_unit_mean_square() {
        let field = MagneticField::new(8.0, 3.0, &mut Rng::new(2));
        let mut rng = Rng::new(3);
        let mut square = 0.0;
        for _ in 0..4000 {
            let x = [0; 3].map(|_| 60.0 * (rng.uniform() - 0.5));
            let step = 1e-4;
            let divergence: f64 = (0..3)
                .map(|i| {
                    let at = |s: f64| {
                        let mut x = x;
                        x[i] += s;
                        field.tangled(x)[i]
                    };
                    (at(step) - at(-step)) / (2.0 * step)
                })
                .sum();
            assert!(divergence.abs() < 1e-5, "{divergence}");
            square += field.tangled(x).iter().map(|b| b * b).sum::<f64>() / 4000.0;
        }
        assert!((square - 1.0).abs() < 0.1, "{square}");
    }

    #[test]
    fn strength_follows_the_root_of_the_density() {
        let field = MagneticField::new(8.0, 3.0, &mut Rng::new(2));
        let size = |n: f64| field.at([4.0, 1.0, 0.1], n, 1.0).iter().map(|b| b * b).sum::<f64>().sqrt();
        assert!((size(1.0) - 8.0).abs() < 1e-9 && (size(1e-4) - 0.08).abs() < 1e-12);
        assert!((size(1e6) - CEILING).abs() < 1e-9);
    }
}

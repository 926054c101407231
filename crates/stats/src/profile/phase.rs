//! Clouds in phase space: moments of the velocities, energies, the virial ratio.

use halocast_core::PeriodicBox;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::cloud::{check, positive_total, separation};
use crate::{Error, Result};

/// The first and second moments of a cloud of points with velocities, weighted by mass.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseMoments {
    /// The sum of the masses.
    pub mass: f64,
    /// The mean position, relative to the centre asked for.
    pub position: [f64; 3],
    /// The mean velocity.
    pub velocity: [f64; 3],
    /// The covariance of the velocities, $\sigma^2_{ij}$.
    pub dispersion: [[f64; 3]; 3],
    /// The covariance of position and velocity, `[i, j]`: expansion on the diagonal, rotation in its odd part.
    pub flow: [[f64; 3]; 3],
    /// Angular momentum a mass about the mean position and velocity.
    pub angular_momentum: [f64; 3],
    /// The dispersion along the radius from the centre, about its mean.
    pub radial_dispersion: f64,
    /// The anisotropy beta = 1 - sigma_t^2 / (2 sigma_r^2), sigma_t^2 that of both tangential components: 0 isotropic,
    /// 1 radial; NaN without radial motion.
    pub anisotropy: f64,
    /// The kinetic energy about the mean velocity, $\sum m\, |v - \bar v|^2 / 2$.
    pub kinetic_energy: f64,
}

impl PhaseMoments {
    /// The velocity dispersion of one dimension, sqrt(tr sigma^2 / 3).
    pub fn dispersion_1d(&self) -> f64 {
        ((0..3).map(|i| self.dispersion[i][i]).sum::<f64>() / 3.0).sqrt()
    }
}

/// The moments of a cloud about `centre`, minimum images in a periodic box. O(N).
///
/// ```
/// use halocast_stats::phase_moments;
/// // Two bodies about one another: all motion is rotation.
/// let (x, v) = ([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]], [[0.0, 2.0, 0.0], [0.0, -2.0, 0.0]]);
/// let found = phase_moments(&x, &v, &[1.0, 1.0], [0.0; 3], None)?;
/// assert_eq!((found.angular_momentum, found.kinetic_energy), ([0.0, 0.0, 2.0], 4.0));
/// assert!(found.radial_dispersion == 0.0 && found.anisotropy.is_nan());
/// # Ok::<(), halocast_stats::Error>(())
/// ```
///
/// # Source
/// Binney & Tremaine 2008, sections 4.1 and 4.8.
///
/// # Errors
/// [`Error::Mismatch`] for other numbers of velocities or masses; [`Error::TooFew`] without points; [`Error::Value`] for a
/// number that is not finite, or masses that are negative or all zero.
pub fn phase_moments(
    points: &[[f64; 3]],
    velocities: &[[f64; 3]],
    masses: &[f64],
    centre: [f64; 3],
    periodic: Option<PeriodicBox>,
) -> Result<PhaseMoments> {
    let operation = "phase-space moments";
    check(operation, points, masses, centre)?;
    check_velocities(operation, velocities, masses)?;
    let mass = positive_total(operation, masses)?;
    let at: Vec<[f64; 3]> = points.iter().map(|p| separation(*p, centre, periodic)).collect();
    let mean = |values: &[[f64; 3]]| -> [f64; 3] {
        std::array::from_fn(|a| values.iter().zip(masses).map(|(v, m)| m * v[a]).sum::<f64>() / mass)
    };
    let (position, velocity) = (mean(&at), mean(velocities));
    let (mut dispersion, mut flow, mut spin) = ([[0.0; 3]; 3], [[0.0; 3]; 3], [0.0; 3]);
    let (mut radial, mut radial_2, mut tangential_2) = (0.0, 0.0, 0.0);
    for ((d, v), m) in at.iter().zip(velocities).zip(masses) {
        let x: [f64; 3] = std::array::from_fn(|a| d[a] - position[a]);
        let u: [f64; 3] = std::array::from_fn(|a| v[a] - velocity[a]);
        for i in 0..3 {
            for j in 0..3 {
                dispersion[i][j] += m * u[i] * u[j] / mass;
                flow[i][j] += m * x[i] * u[j] / mass;
            }
            spin[i] += m * (x[(i + 1) % 3] * u[(i + 2) % 3] - x[(i + 2) % 3] * u[(i + 1) % 3]) / mass;
        }
        let r = d.iter().map(|x| x * x).sum::<f64>().sqrt();
        // At the centre itself every direction is radial; it counts as none.
        let along = if r > 0.0 { (0..3).map(|a| u[a] * d[a]).sum::<f64>() / r } else { 0.0 };
        radial += m * along / mass;
        radial_2 += m * along * along / mass;
        tangential_2 += m * (u.iter().map(|u| u * u).sum::<f64>() - along * along) / mass;
    }
    let radial_variance = (radial_2 - radial * radial).max(0.0);
    Ok(PhaseMoments {
        mass,
        position,
        velocity,
        dispersion,
        flow,
        angular_momentum: spin,
        radial_dispersion: radial_variance.sqrt(),
        anisotropy: if radial_variance > 0.0 {
            1.0 - tangential_2 / (2.0 * radial_variance)
        } else {
            f64::NAN
        },
        kinetic_energy: 0.5 * mass * (0..3).map(|i| dispersion[i][i]).sum::<f64>(),
    })
}

/// The potential energy of a cloud by all pairs, W = -G sum_{i<j} m_i m_j / sqrt(r_ij^2 + softening^2), minimum images in a
/// periodic box. O(N^2), in parallel; the same at any number of threads.
///
/// # Errors
/// As [`phase_moments`]; [`Error::Value`] for a softening that is negative, or two points in one place without softening.
pub fn potential_energy(
    points: &[[f64; 3]],
    masses: &[f64],
    softening: f64,
    gravity: f64,
    periodic: Option<PeriodicBox>,
) -> Result<f64> {
    let operation = "potential energy";
    check(operation, points, masses, [0.0; 3])?;
    positive_total(operation, masses)?;
    let refuse = |what: &str, expected: &str, got: String| {
        Err(Error::Value { operation, what: what.into(), expected: expected.into(), got })
    };
    if !(softening.is_finite() && softening >= 0.0) {
        return refuse("the softening", "finite, not negative", softening.to_string());
    }
    if !(gravity.is_finite() && gravity > 0.0) {
        return refuse("Newton's constant", "finite and positive", gravity.to_string());
    }
    let rows: Vec<f64> = (0..points.len())
        .into_par_iter()
        .map(|i| {
            let others = points[i + 1..].iter().zip(&masses[i + 1..]);
            let sum: f64 = others
                .map(|(q, m)| {
                    let r2: f64 = separation(*q, points[i], periodic).iter().map(|d| d * d).sum();
                    m / (r2 + softening * softening).sqrt()
                })
                .sum();
            masses[i] * sum
        })
        .collect();
    let sum: f64 = rows.iter().sum();
    if !sum.is_finite() {
        return refuse("the distance of two points", "positive without softening", "0".into());
    }
    Ok(-gravity * sum)
}

/// The virial ratio 2 K / |W| of a cloud: 1 in equilibrium, 0 at rest. `gravity` is Newton's constant in the units of
/// positions (physical), velocities and masses: [`GRAVITATIONAL_CONSTANT`](halocast_core::GRAVITATIONAL_CONSTANT) for Mpc,
/// km/s and Msun, and for Mpc/h and Msun/h too.
///
/// # Errors
/// As [`phase_moments`] and [`potential_energy`]; [`Error::TooFew`] for fewer than two points.
pub fn virial_ratio(
    points: &[[f64; 3]],
    velocities: &[[f64; 3]],
    masses: &[f64],
    softening: f64,
    gravity: f64,
    periodic: Option<PeriodicBox>,
) -> Result<f64> {
    if points.len() < 2 {
        let (operation, what) = ("virial ratio", "the points".into());
        return Err(Error::TooFew { operation, what, expected: 2, got: points.len() });
    }
    let kinetic = phase_moments(points, velocities, masses, points[0], periodic)?.kinetic_energy;
    Ok(2.0 * kinetic / -potential_energy(points, masses, softening, gravity, periodic)?)
}

fn check_velocities(operation: &'static str, velocities: &[[f64; 3]], masses: &[f64]) -> Result<()> {
    if velocities.len() != masses.len() {
        let (what, expected) = ("the number of velocities".into(), masses.len().to_string());
        return Err(Error::Mismatch { operation, what, expected, got: velocities.len().to_string() });
    }
    match velocities.iter().position(|v| v.iter().any(|x| !x.is_finite())) {
        None => Ok(()),
        Some(i) => {
            let (what, expected) = (format!("velocity {i}"), "finite".into());
            Err(Error::Value { operation, what, expected, got: format!("{:?}", velocities[i]) })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use halocast_core::Rng;

    use super::*;

    fn direction(rng: &mut Rng) -> [f64; 3] {
        let d = [0; 3].map(|_| rng.normal());
        let r = d.iter().map(|x| x * x).sum::<f64>().sqrt();
        d.map(|x| x / r)
    }

    /// Plummer's sphere in equilibrium, G = M = a = 1 (Aarseth, Henon & Wielen 1974).
    fn plummer(count: usize, seed: u64) -> (Vec<[f64; 3]>, Vec<[f64; 3]>) {
        let mut rng = Rng::new(seed);
        (0..count)
            .map(|_| {
                let r = (1.0 - rng.uniform()).powf(-2.0 / 3.0) - 1.0;
                let r = 1.0 / r.max(1e-6).sqrt();
                let q = loop {
                    let (q, height) = (rng.uniform(), 0.1 * rng.uniform());
                    if height < q * q * (1.0 - q * q).powf(3.5) {
                        break q;
                    }
                };
                let v = q * 2f64.sqrt() * (1.0 + r * r).powf(-0.25);
                (direction(&mut rng).map(|x| r * x), direction(&mut rng).map(|x| v * x))
            })
            .unzip()
    }

    #[test]
    fn plummers_sphere_is_isotropic_and_in_equilibrium() {
        let n = 4000;
        let (x, v) = plummer(n, 1);
        let masses = vec![1.0 / n as f64; n];
        let found = phase_moments(&x, &v, &masses, [0.0; 3], None).unwrap();
        let potential = potential_energy(&x, &masses, 0.0, 1.0, None).unwrap();
        // W = -3 pi / 32 and K = 3 pi / 64; scatter of one over the root of the number.
        assert!((potential / (-3.0 * PI / 32.0) - 1.0).abs() < 0.05, "W = {potential}");
        assert!(
            (found.kinetic_energy / (3.0 * PI / 64.0) - 1.0).abs() < 0.06,
            "K = {}",
            found.kinetic_energy
        );
        assert!((found.dispersion_1d() / (PI / 32.0).sqrt() - 1.0).abs() < 0.03);
        assert!(found.anisotropy.abs() < 0.1 && found.dispersion[0][1].abs() < 0.01);
        assert!(found.angular_momentum.iter().chain(&found.velocity).all(|l| l.abs() < 0.05));
        let ratio = virial_ratio(&x, &v, &masses, 0.0, 1.0, None).unwrap();
        assert!((ratio - 1.0).abs() < 0.06, "2 K / |W| = {ratio}");
        // All motion along the radius.
        let radial: Vec<[f64; 3]> =
            x.iter().enumerate().map(|(i, p)| p.map(|x| if i % 2 == 0 { x } else { -x })).collect();
        assert!(phase_moments(&x, &radial, &masses, [0.0; 3], None).unwrap().anisotropy > 0.99);
    }

    #[test]
    fn moments_are_those_of_a_linear_flow() {
        let mut rng = Rng::new(2);
        let x: Vec<[f64; 3]> = (0..500).map(|_| [0; 3].map(|_| rng.normal())).collect();
        // Expansion along x, rotation about z, and a drift.
        let v: Vec<[f64; 3]> = x.iter().map(|p| [2.0 * p[0] - p[1] + 5.0, p[0], 7.0]).collect();
        let found = phase_moments(&x, &v, &vec![3.0; 500], [0.0; 3], None).unwrap();
        let covariance = |i: usize, j: usize| {
            let mean = |a: usize| x.iter().map(|p| p[a]).sum::<f64>() / 500.0;
            x.iter().map(|p| (p[i] - mean(i)) * (p[j] - mean(j))).sum::<f64>() / 500.0
        };
        assert!((found.flow[0][0] - 2.0 * covariance(0, 0) + covariance(0, 1)).abs() < 1e-12);
        assert!((found.flow[1][1] - covariance(0, 1)).abs() < 1e-12 && found.flow[2][2].abs() < 1e-12);
        let spin = covariance(0, 0) - 2.0 * covariance(0, 1) + covariance(1, 1);
        assert!((found.angular_momentum[2] - spin).abs() < 1e-12);
        assert!((found.velocity[2] - 7.0).abs() < 1e-12 && found.mass == 1500.0);
    }

    #[test]
    fn pairs_of_a_box_are_nearest_images_and_bad_input_is_named() {
        let periodic = PeriodicBox::new(10.0).ok();
        let x = [[0.5, 5.0, 5.0], [9.5, 5.0, 5.0]];
        assert!((potential_energy(&x, &[2.0, 3.0], 0.0, 1.0, periodic).unwrap() + 6.0).abs() < 1e-12);
        let told = |e: Result<f64>| e.unwrap_err().to_string();
        assert!(told(potential_energy(&[x[0], x[0]], &[1.0; 2], 0.0, 1.0, None)).contains("two points"));
        assert!(potential_energy(&[x[0], x[0]], &[1.0; 2], 0.5, 1.0, None).is_ok());
        assert!(told(virial_ratio(&x, &[[0.0; 3]], &[1.0; 2], 0.0, 1.0, None)).contains("velocities"));
        assert!(
            told(virial_ratio(&x, &[[f64::NAN; 3]; 2], &[1.0; 2], 0.0, 1.0, None)).contains("velocity 0")
        );
        assert!(virial_ratio(&x[..1], &[[0.0; 3]], &[1.0], 0.0, 1.0, None).is_err());
    }
}

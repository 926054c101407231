//! What is measured of a set of particles: centre, motion, spin, shape, mass in spheres.

use std::f64::consts::PI;

use halocast_core::GRAVITATIONAL_CONSTANT;

use super::finder::{Sphere, Tracers};

/// Particles relative to a centre: comoving offsets in Mpc/h and velocities in km/s.
#[derive(Clone, Copy, Debug)]
pub(super) struct Relative {
    pub(super) x: [f64; 3],
    pub(super) v: [f64; 3],
}

impl Relative {
    pub(super) fn radius(&self) -> f64 {
        dot(self.x, self.x).sqrt()
    }
}

pub(super) fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// The mean of three numbers over particles.
pub(super) fn mean<'a>(of: impl Iterator<Item = &'a [f64; 3]> + Clone) -> [f64; 3] {
    let n = of.clone().count().max(1) as f64;
    let mut sum = [0.0; 3];
    of.for_each(|v| (0..3).for_each(|i| sum[i] += v[i]));
    sum.map(|s| s / n)
}

/// The centre of the densest part, by a shrinking sphere from the particle `start`: the sphere about the mean position
/// loses a twentieth of its radius until it holds fewer than `least` particles.
///
/// # Source
/// Power et al. 2003, MNRAS 338, 14, section 2.5.
pub(super) fn shrinking_sphere(
    tracers: &Tracers<'_>,
    members: &[u32],
    start: [f64; 3],
    radius: f64,
    least: usize,
) -> [f64; 3] {
    let space = tracers.space;
    let offset = |i: u32, centre: [f64; 3]| {
        let x = tracers.positions[i as usize];
        [0, 1, 2].map(|a| space.separation(f64::from(x[a]) - centre[a]))
    };
    let (mut centre, mut radius) = (start, radius);
    let mut inside: Vec<u32> = members.to_vec();
    loop {
        let near: Vec<u32> = inside
            .iter()
            .copied()
            .filter(|&i| {
                let x = offset(i, centre);
                dot(x, x) <= radius * radius
            })
            .collect();
        if near.len() < least {
            return centre;
        }
        let offsets: Vec<[f64; 3]> = near.iter().map(|&i| offset(i, centre)).collect();
        let shift = mean(offsets.iter());
        centre = [0, 1, 2].map(|a| space.wrap(centre[a] + shift[a]));
        // Particles that the moving sphere may still reach stay; the rest cannot come back.
        if near.len() * 4 < inside.len() {
            inside.retain(|&i| {
                let x = offset(i, centre);
                dot(x, x) <= 4.0 * radius * radius
            });
        }
        radius *= 0.95;
    }
}

/// The sphere within which the mean density is `density` (comoving, (Msun/h) / (Mpc/h)^3), from squared distances in
/// increasing order of particles of `mass` each: the first radius, at or beyond the eighth particle, at which it falls
/// below. An empty sphere when it is nowhere so dense; `None` when the particles do not reach far enough.
pub(super) fn sphere(squared: &[(f64, u32)], mass: f64, density: f64) -> Option<Sphere> {
    let enclosed = |count: usize| (3.0 * mass * count as f64 / (4.0 * PI * density)).cbrt();
    for (i, (d, _)) in squared.iter().enumerate().skip(8) {
        if enclosed(i) < d.sqrt() {
            // Nothing but the first particles was denser: there is no such sphere.
            if i == 8 {
                return Some(Sphere::default());
            }
            return Some(Sphere { mass: mass * i as f64, radius: enclosed(i) });
        }
    }
    None
}

/// Specific angular momentum of particles about their centre, in (physical kpc/h) km/s with `a` the scale factor.
pub(super) fn specific_angular_momentum(particles: &[Relative], a: f64) -> [f64; 3] {
    let each: Vec<[f64; 3]> = particles.iter().map(|p| cross(p.x, p.v)).collect();
    mean(each.iter()).map(|l| 1e3 * a * l)
}

/// The spin parameter lambda' = j / (sqrt(2) V R), V^2 = G M / R, of Bullock et al. 2001, ApJ 555, 240, equation 5.
pub(super) fn spin(j: [f64; 3], sphere: Sphere, a: f64) -> f64 {
    if sphere.radius <= 0.0 {
        return 0.0;
    }
    let radius = a * sphere.radius;
    let speed = (GRAVITATIONAL_CONSTANT * sphere.mass / radius).sqrt();
    dot(j, j).sqrt() / 1e3 / (2f64.sqrt() * speed * radius)
}

/// One-dimensional velocity dispersion in km/s.
pub(super) fn dispersion(particles: &[Relative]) -> f64 {
    let velocities: Vec<[f64; 3]> = particles.iter().map(|p| p.v).collect();
    let centre = mean(velocities.iter());
    let sum: f64 = velocities.iter().map(|v| (0..3).map(|i| (v[i] - centre[i]).powi(2)).sum::<f64>()).sum();
    (sum / 3.0 / velocities.len().max(1) as f64).sqrt()
}

/// The largest circular velocity in km/s and its comoving radius, of radii in increasing order; from the tenth particle on,
/// as fewer make a peak by chance.
pub(super) fn circular_velocity(radii: &[f64], mass: f64, a: f64) -> (f64, f64) {
    let speed = |(i, r): (usize, &f64)| {
        let squared = GRAVITATIONAL_CONSTANT * mass * (i + 1) as f64 / (a * r.max(1e-9));
        (squared.sqrt(), *r)
    };
    radii
        .iter()
        .enumerate()
        .skip(9)
        .map(speed)
        .fold((0.0, 0.0), |best, v| if v.0 > best.0 { v } else { best })
}

/// Axis ratios b/a and c/a of the ellipsoid that particles within `radius` fill, and the direction of the long axis.
///
/// The tensor S_ij = mean of x_i x_j of the particles in the ellipsoid of the last round, whose long half-axis stays at
/// `radius`, until the ratios move by less than a hundredth.
///
/// # Source
/// Zemp et al. 2011, ApJS 197, 30, section 3 (the unweighted tensor).
pub(super) fn shape(particles: &[Relative], radius: f64) -> ([f64; 2], [f64; 3]) {
    let (mut ratios, mut axes) = ([1.0, 1.0], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);
    for _ in 0..20 {
        let inside = |p: &&Relative| {
            let [x, y, z] = axes.map(|axis| dot(axis, p.x));
            x * x + (y / ratios[0]).powi(2) + (z / ratios[1]).powi(2) <= radius * radius
        };
        let mut tensor = [[0.0; 3]; 3];
        let mut count = 0;
        for p in particles.iter().filter(inside) {
            count += 1;
            (0..9).for_each(|i| tensor[i / 3][i % 3] += p.x[i / 3] * p.x[i % 3]);
        }
        if count < 10 {
            break;
        }
        let (values, vectors) = eigen(tensor);
        let next = [1, 2].map(|i| (values[i].max(0.0) / values[0].max(1e-300)).sqrt().max(0.05));
        let moved = (0..2).map(|i| (next[i] - ratios[i]).abs()).fold(0.0, f64::max);
        (ratios, axes) = (next, vectors);
        if moved < 0.01 {
            break;
        }
    }
    (ratios, axes[0])
}

/// Eigenvalues of a symmetric matrix in decreasing order, and their unit eigenvectors, by Jacobi's rotations.
fn eigen(mut s: [[f64; 3]; 3]) -> ([f64; 3], [[f64; 3]; 3]) {
    let mut vectors = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    for _ in 0..12 {
        for (p, q) in [(0, 1), (0, 2), (1, 2)] {
            if s[p][q].abs() <= 1e-300 {
                continue;
            }
            let angle = 0.5 * (2.0 * s[p][q]).atan2(s[p][p] - s[q][q]);
            let (sin, cos) = angle.sin_cos();
            // S = R^T S R on both sides, V = V R; vectors are kept as rows.
            for row in &mut s {
                (row[p], row[q]) = (cos * row[p] + sin * row[q], cos * row[q] - sin * row[p]);
            }
            for i in 0..3 {
                (s[p][i], s[q][i]) = (cos * s[p][i] + sin * s[q][i], cos * s[q][i] - sin * s[p][i]);
                (vectors[p][i], vectors[q][i]) =
                    (cos * vectors[p][i] + sin * vectors[q][i], cos * vectors[q][i] - sin * vectors[p][i]);
            }
        }
    }
    let mut order = [0, 1, 2];
    order.sort_by(|&i, &j| s[j][j].total_cmp(&s[i][i]));
    (order.map(|i| s[i][i]), order.map(|i| vectors[i]))
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use halocast_core::Rng;

    use super::*;

    #[test]
    fn eigenvectors_diagonalise() {
        let s = [[4.0, 1.0, -2.0], [1.0, 3.0, 0.5], [-2.0, 0.5, 6.0]];
        let (values, vectors) = eigen(s);
        assert!(values[0] > values[1] && values[1] > values[2]);
        assert_relative_eq!(values.iter().sum::<f64>(), 13.0, max_relative = 1e-12);
        for (value, v) in values.iter().zip(&vectors) {
            for i in 0..3 {
                assert_relative_eq!(dot(s[i], *v), value * v[i], epsilon = 1e-10);
            }
        }
    }

    #[test]
    fn the_axes_of_an_ellipsoid_are_found() {
        // Points of density r^-2 in an ellipsoid of axes 1 : 0.7 : 0.4, the long one along (1, 1, 0).
        let mut rng = Rng::new(2);
        let s = 0.5f64.sqrt();
        let particles: Vec<Relative> = (0..40_000)
            .map(|_| {
                let n = [0; 3].map(|_| rng.normal());
                let r = 2.0 * rng.uniform() / dot(n, n).sqrt();
                let [x, y, z] = [r * n[0], 0.7 * r * n[1], 0.4 * r * n[2]];
                Relative { x: [s * (x - y), s * (x + y), z], v: [0.0; 3] }
            })
            .collect();
        let ([b, c], axis) = shape(&particles, 1.0);
        assert!((b - 0.7).abs() < 0.02 && (c - 0.4).abs() < 0.02, "{b} {c}");
        assert!((dot(axis, [s, s, 0.0]).abs() - 1.0).abs() < 1e-3, "{axis:?}");
    }

    #[test]
    fn spheres_of_an_isothermal_profile_are_the_closed_form() {
        // M(<r) = m N r / R: the mean density falls as r^-2.
        let (n, mass) = (10_000, 2.0);
        let squared: Vec<(f64, u32)> =
            (0..n).map(|i| (((f64::from(i) + 0.5) / f64::from(n)).powi(2), i as u32)).collect();
        let total = mass * f64::from(n);
        // Where 3 M r / (4 pi r^3) is the density: r = sqrt(3 M / (4 pi rho)).
        let density = 3.0 * total / (4.0 * PI * 0.25);
        let found = sphere(&squared, mass, density).unwrap();
        assert_relative_eq!(found.radius, 0.5, max_relative = 1e-3);
        assert_relative_eq!(
            found.mass,
            4.0 / 3.0 * PI * density * found.radius.powi(3),
            max_relative = 1e-12
        );
        assert!(sphere(&squared, mass, 0.1 * total).is_none());
        assert_eq!(sphere(&squared, mass, 1e12 * total), Some(Sphere::default()));
    }

    #[test]
    fn a_rotating_ring_has_its_angular_momentum() {
        let ring: Vec<Relative> = (0..100)
            .map(|i| {
                let (s, c) = (f64::from(i) * std::f64::consts::TAU / 100.0).sin_cos();
                Relative { x: [0.5 * c, 0.5 * s, 0.0], v: [-200.0 * s, 200.0 * c, 0.0] }
            })
            .collect();
        let j = specific_angular_momentum(&ring, 0.5);
        assert_relative_eq!(j[2], 1e3 * 0.5 * 0.5 * 200.0, max_relative = 1e-9);
        // A circular orbit at the edge of the sphere has lambda' = 1 / sqrt(2).
        let sphere = Sphere { mass: 200f64.powi(2) * 0.25 / GRAVITATIONAL_CONSTANT, radius: 0.5 };
        assert_relative_eq!(spin(j, sphere, 0.5), 0.5f64.sqrt(), max_relative = 1e-9);
    }
}

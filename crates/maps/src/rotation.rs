//! Rotations of particles in front of a fixed camera.

use std::f64::consts::TAU;

use halocast_core::Rng;
use serde::{Deserialize, Serialize};

/// A rotation in space: a vector v becomes R v. The camera looks along its axis as before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rotation {
    /// The rows of the matrix R.
    pub rows: [[f64; 3]; 3],
}

impl Rotation {
    /// The identity.
    pub const IDENTITY: Self = Self { rows: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]] };

    /// R_z(psi) R_y(phi) R_x(theta), each right-handed, in degrees: first about x, then y, then z. With psi = 0 it is
    /// skais-mapper's R_y(phi) R_x(theta).
    ///
    /// ```
    /// use halocast_maps::Rotation;
    /// let turned = Rotation::euler(90.0, 0.0, 0.0).apply([0.0, 1.0, 0.0]);
    /// assert!((turned[2] - 1.0).abs() < 1e-15);
    /// ```
    pub fn euler(theta: f64, phi: f64, psi: f64) -> Self {
        let [(sx, cx), (sy, cy), (sz, cz)] = [theta, phi, psi].map(|a| a.to_radians().sin_cos());
        Self {
            rows: [
                [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
                [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
                [-sy, cy * sx, cy * cx],
            ],
        }
    }

    /// Uniform on SO(3): a quaternion uniform on the sphere S^3.
    ///
    /// # Source
    /// Shoemake 1992, "Uniform random rotations", Graphics Gems III.
    pub fn random(rng: &mut Rng) -> Self {
        let (u, a, b) = (rng.uniform(), TAU * rng.uniform(), TAU * rng.uniform());
        let (p, q) = ((1.0 - u).sqrt(), u.sqrt());
        let [x, y, z, w] = [p * a.sin(), p * a.cos(), q * b.sin(), q * b.cos()];
        Self {
            rows: [
                [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - z * w), 2.0 * (x * z + y * w)],
                [2.0 * (x * y + z * w), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - x * w)],
                [2.0 * (x * z - y * w), 2.0 * (y * z + x * w), 1.0 - 2.0 * (x * x + y * y)],
            ],
        }
    }

    /// The shortest rotation that takes the direction `from` to `to`; half a turn about an axis across where they are opposite.
    /// The identity when either has no length.
    pub fn between(from: [f64; 3], to: [f64; 3]) -> Self {
        let (Some(a), Some(b)) = (unit(from), unit(to)) else { return Self::IDENTITY };
        let (v, c) = (cross(a, b), dot(a, b));
        if c < -1.0 + 1e-12 {
            // R = 2 n n^T - 1 for any n across a.
            let smallest = (0..3).min_by(|&i, &j| a[i].abs().total_cmp(&a[j].abs())).unwrap_or(0);
            let other: [f64; 3] = std::array::from_fn(|i| if i == smallest { 1.0 } else { 0.0 });
            let n = unit(cross(a, other)).unwrap_or([1.0, 0.0, 0.0]);
            let one = |i: usize, j: usize| if i == j { 1.0 } else { 0.0 };
            return Self {
                rows: std::array::from_fn(|i| std::array::from_fn(|j| 2.0 * n[i] * n[j] - one(i, j))),
            };
        }
        // Rodrigues: R = 1 + [v] + [v]^2 / (1 + c).
        let skew = [[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]];
        let mut rows = Self::IDENTITY.rows;
        for i in 0..3 {
            for j in 0..3 {
                let square: f64 = (0..3).map(|k| skew[i][k] * skew[k][j]).sum();
                rows[i][j] += skew[i][j] + square / (1.0 + c);
            }
        }
        Self { rows }
    }

    /// The rotation whose image's x, y and z axes are these orthonormal directions. The third is made right-handed.
    pub(crate) fn from_axes(x: [f64; 3], y: [f64; 3]) -> Self {
        Self { rows: [x, y, cross(x, y)] }
    }

    /// R v.
    pub fn apply(&self, v: [f64; 3]) -> [f64; 3] {
        self.rows.map(|row| dot(row, v))
    }

    /// Positions turned about a centre.
    pub fn apply_about(&self, positions: &mut [[f64; 3]], centre: [f64; 3]) {
        for p in positions {
            let turned = self.apply(std::array::from_fn(|a| p[a] - centre[a]));
            *p = std::array::from_fn(|a| centre[a] + turned[a]);
        }
    }

    /// This rotation followed by `next`.
    pub fn then(&self, next: &Self) -> Self {
        let product = |i: usize, j: usize| (0..3).map(|k| next.rows[i][k] * self.rows[k][j]).sum();
        Self { rows: std::array::from_fn(|i| std::array::from_fn(|j| product(i, j))) }
    }

    /// The inverse: the transpose.
    pub fn inverse(&self) -> Self {
        Self { rows: std::array::from_fn(|i| std::array::from_fn(|j| self.rows[j][i])) }
    }

    /// The angles (theta, phi, psi) in degrees of [`Rotation::euler`], phi in [-90, 90]; psi is 0 where theta and psi turn
    /// about the same axis.
    pub fn angles(&self) -> [f64; 3] {
        let r = &self.rows;
        let phi = (-r[2][0]).clamp(-1.0, 1.0).asin();
        let (theta, psi) = if r[2][0].abs() < 1.0 - 1e-12 {
            (r[2][1].atan2(r[2][2]), r[1][0].atan2(r[0][0]))
        } else {
            ((-r[1][2]).atan2(r[1][1]), 0.0)
        };
        [theta, phi, psi].map(f64::to_degrees)
    }
}

pub(crate) fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(crate) fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

pub(crate) fn unit(v: [f64; 3]) -> Option<[f64; 3]> {
    let length = dot(v, v).sqrt();
    (length > 0.0 && length.is_finite()).then(|| v.map(|x| x / length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_rotation(r: &Rotation) {
        let product = r.then(&r.inverse());
        for i in 0..3 {
            for j in 0..3 {
                let expected = if i == j { 1.0 } else { 0.0 };
                assert!((product.rows[i][j] - expected).abs() < 1e-12, "{r:?}");
            }
        }
        let [a, b, c] = r.rows;
        assert!((dot(cross(a, b), c) - 1.0).abs() < 1e-12, "handedness of {r:?}");
    }

    fn close(a: &Rotation, b: &Rotation) -> bool {
        a.rows.iter().flatten().zip(b.rows.iter().flatten()).all(|(a, b)| (a - b).abs() < 1e-7)
    }

    #[test]
    fn angles_come_back() {
        let mut rng = Rng::new(1);
        for _ in 0..200 {
            let r = Rotation::random(&mut rng);
            is_rotation(&r);
            let [theta, phi, psi] = r.angles();
            assert!(close(&Rotation::euler(theta, phi, psi), &r));
        }
        for (theta, phi) in [(30.0, 90.0), (30.0, -90.0)] {
            let r = Rotation::euler(theta, phi, 20.0);
            let [a, b, c] = r.angles();
            assert!(close(&Rotation::euler(a, b, c), &r));
        }
    }

    #[test]
    fn euler_is_the_product_of_turns() {
        let product = Rotation::euler(25.0, 0.0, 0.0)
            .then(&Rotation::euler(0.0, 70.0, 0.0))
            .then(&Rotation::euler(0.0, 0.0, -140.0));
        assert!(close(&product, &Rotation::euler(25.0, 70.0, -140.0)));
        assert!((Rotation::euler(0.0, 0.0, 90.0).apply([1.0, 0.0, 0.0])[1] - 1.0).abs() < 1e-15);
        assert!((Rotation::euler(0.0, 90.0, 0.0).apply([0.0, 0.0, 1.0])[0] - 1.0).abs() < 1e-15);
    }

    #[test]
    fn random_rotations_are_uniform() {
        // The image of any vector is uniform on the sphere, and the trace has mean 0 and mean square 1 over SO(3).
        let mut rng = Rng::new(2);
        let n = 20_000;
        let (mut mean, mut square, mut trace) = ([0.0; 3], [0.0; 3], [0.0; 2]);
        for _ in 0..n {
            let r = Rotation::random(&mut rng);
            let v = r.apply([0.6, 0.0, 0.8]);
            let t: f64 = (0..3).map(|i| r.rows[i][i]).sum();
            trace = [trace[0] + t, trace[1] + t * t];
            for a in 0..3 {
                mean[a] += v[a];
                square[a] += v[a] * v[a];
            }
        }
        let n = f64::from(n);
        for a in 0..3 {
            assert!((mean[a] / n).abs() < 5.0 * (1.0 / 3.0 / n).sqrt());
            assert!((square[a] / n - 1.0 / 3.0).abs() < 5.0 * (4.0 / 45.0 / n).sqrt());
        }
        assert!((trace[0] / n).abs() < 5.0 / n.sqrt());
        // The fourth moment of the trace is 3: its square has variance 2.
        assert!((trace[1] / n - 1.0).abs() < 5.0 * (2.0 / n).sqrt());
    }

    #[test]
    fn a_direction_is_brought_to_another() {
        let mut rng = Rng::new(3);
        for _ in 0..50 {
            let [a, b] = [0; 2].map(|_| [0; 3].map(|_| rng.normal()));
            let r = Rotation::between(a, b);
            is_rotation(&r);
            let (found, expected) = (r.apply(unit(a).unwrap()), unit(b).unwrap());
            assert!((0..3).all(|i| (found[i] - expected[i]).abs() < 1e-12));
            let back = Rotation::between(a, a.map(|x| -x));
            is_rotation(&back);
            assert!((dot(back.apply(a), a) / dot(a, a) + 1.0).abs() < 1e-12);
        }
        assert_eq!(Rotation::between([0.0; 3], [1.0, 0.0, 0.0]), Rotation::IDENTITY);
    }
}

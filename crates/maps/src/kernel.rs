//! Smoothing kernels seen along the line of sight: surface density per mass as a function of the projected distance.

use std::f64::consts::PI;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// A kernel of compact support. H is always the radius of support: nothing lies beyond it. q = r / H.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kernel {
    /// The cubic spline M4 of Monaghan & Lattanzio 1985,
    /// 8 / (pi H^3) {1 - 6 q^2 + 6 q^3 | q < 1/2; 2 (1 - q)^3 | q < 1}.
    #[default]
    CubicSpline,
    /// A sphere of uniform density, as in the CAMELS maps: 3 / (4 pi H^3), column 3 sqrt(1 - q^2) / (2 pi H^2).
    UniformSphere,
    /// Wendland C2 in three dimensions (Wendland 1995; Dehnen & Aly 2012): 21 / (2 pi H^3) (1 - q)^4 (1 + 4 q).
    WendlandC2,
    /// Wendland C4 in three dimensions: 495 / (32 pi H^3) (1 - q)^6 (1 + 6 q + 35 q^2 / 3).
    WendlandC4,
    /// The two-dimensional Wendland C2 kernel in the projected distance, as in swiftsimio:
    /// 7 (1 - q)^4 (1 + 4 q) / (pi H^2). It is the column of no sphere.
    PlanarWendlandC2,
}

/// Cells of the quadrant table along one axis.
pub(crate) const CELLS: usize = 256;

/// Coefficients of (1 - q)^4 (1 + 4 q) and of (1 - q)^6 (1 + 6 q + 35 q^2 / 3) in powers of q.
const WENDLAND_C2: [f64; 6] = [1.0, 0.0, -10.0, 20.0, -15.0, 4.0];
const WENDLAND_C4: [f64; 9] = [1.0, 0.0, -28.0 / 3.0, 0.0, 70.0, -448.0 / 3.0, 140.0, -64.0, 35.0 / 3.0];

impl Kernel {
    /// Surface density per mass, times H^2, at the projected distance `q` in units of H. Its integral over the disc is one.
    ///
    /// The kernels are polynomials in q, and the integral over z of a power of q, q^2 = b^2 + z^2, is closed.
    ///
    /// ```
    /// use halocast_maps::Kernel;
    /// assert!((Kernel::UniformSphere.column(0.0) - 1.5 / std::f64::consts::PI).abs() < 1e-12);
    /// assert_eq!(Kernel::CubicSpline.column(1.0), 0.0);
    /// ```
    pub fn column(self, q: f64) -> f64 {
        if q >= 1.0 {
            return 0.0;
        }
        let half = |edge: f64| (edge * edge - q * q).max(0.0).sqrt();
        match self {
            Self::CubicSpline => {
                let core = chord(q, half(0.5), &[1.0, 0.0, -6.0, 6.0]);
                let shell = [2.0, -6.0, 6.0, -2.0];
                (16.0 / PI * (core + chord(q, half(1.0), &shell) - chord(q, half(0.5), &shell))).max(0.0)
            }
            Self::UniformSphere => 1.5 / PI * (1.0 - q * q).sqrt(),
            Self::WendlandC2 => (21.0 / PI * chord(q, half(1.0), &WENDLAND_C2)).max(0.0),
            Self::WendlandC4 => (495.0 / (16.0 * PI) * chord(q, half(1.0), &WENDLAND_C4)).max(0.0),
            Self::PlanarWendlandC2 => 7.0 / PI * (1.0 - q).powi(4) * (1.0 + 4.0 * q),
        }
    }

    /// Density per mass, times H^3, at the distance `q` in units of H; none for [`Kernel::PlanarWendlandC2`], which lives
    /// in the plane.
    ///
    /// ```
    /// use halocast_maps::Kernel;
    /// assert_eq!(Kernel::WendlandC2.density(0.0), Some(21.0 / (2.0 * std::f64::consts::PI)));
    /// ```
    pub fn density(self, q: f64) -> Option<f64> {
        let inside = |value: f64| Some(if q < 1.0 { value } else { 0.0 });
        match self {
            Self::CubicSpline if q < 0.5 => inside(8.0 / PI * (1.0 - 6.0 * q * q * (1.0 - q))),
            Self::CubicSpline => inside(16.0 / PI * (1.0 - q).powi(3)),
            Self::UniformSphere => inside(0.75 / PI),
            Self::WendlandC2 => inside(10.5 / PI * (1.0 - q).powi(4) * (1.0 + 4.0 * q)),
            Self::WendlandC4 => {
                inside(495.0 / (32.0 * PI) * (1.0 - q).powi(6) * (1.0 + 6.0 * q + 35.0 / 3.0 * q * q))
            }
            Self::PlanarWendlandC2 => None,
        }
    }

    /// (1/r^2) d/dr (r^2 dW/dr) times H^5, where W is [`Kernel::density`]; 0 for kernels that are not smooth in space.
    pub(crate) fn density_laplacian(self, q: f64) -> f64 {
        let p = 1.0 - q;
        match self {
            _ if q >= 1.0 => 0.0,
            Self::CubicSpline if q < 0.5 => 8.0 / PI * (72.0 * q - 36.0),
            Self::CubicSpline => 96.0 / PI * p * (1.0 - p / q),
            Self::WendlandC2 => 630.0 / PI * p * p * (2.0 * q - 1.0),
            Self::WendlandC4 => -866.25 / PI * p.powi(4) * (1.0 + 4.0 * q - 15.0 * q * q),
            Self::UniformSphere | Self::PlanarWendlandC2 => 0.0,
        }
    }

    /// The table of this kernel, made at its first use.
    pub(crate) fn quadrant(self) -> &'static Quadrant {
        static TABLES: [OnceLock<Quadrant>; 5] = [const { OnceLock::new() }; 5];
        TABLES[self as usize].get_or_init(|| Quadrant::new(self))
    }
}

/// The integral over z from 0 to `z` of sum_n c_n q^n with q^2 = b^2 + z^2.
///
/// (n + 1) I_n = z q^n + n b^2 I_(n-2), from I_0 = z and 2 I_1 = z q + b^2 arsinh(z / b).
fn chord(b: f64, z: f64, coefficients: &[f64]) -> f64 {
    let b2 = b * b;
    let r = (b2 + z * z).sqrt();
    let arsinh = if b > 1e-12 { (z / b).asinh() } else { 0.0 };
    let mut integrals = [z, 0.5 * (z * r + b2 * arsinh)];
    let mut sum = 0.0;
    let mut power = 1.0;
    for (n, c) in coefficients.iter().enumerate() {
        if n >= 2 {
            let next = (z * power + n as f64 * b2 * integrals[n % 2]) / (n + 1) as f64;
            integrals[n % 2] = next;
        }
        sum += c * integrals[n % 2];
        power *= r;
    }
    sum
}

/// The mass of a kernel of unit radius over the rectangle from its centre to (x, y): Q(x, y).
///
/// The mass in any pixel is a difference of four Q, so that the pixels of a particle sum to its mass at any ratio of
/// radius to pixel, without renormalisation. Between the nodes Q is bilinear: the kernel is constant over squares of
/// 1/256 of its radius. Larger kernels have a [`Profile`](crate::smooth::Profile).
pub(crate) struct Quadrant {
    /// Q at the nodes, `[x, y]`, (CELLS + 1)^2.
    nodes: Vec<f64>,
}

impl Quadrant {
    fn new(kernel: Kernel) -> Self {
        // Three Gauss-Legendre nodes a side: exact for quintics in each variable.
        let (far, side) = (0.5 * 0.6f64.sqrt(), 5.0 / 18.0);
        let rule = [(0.5 - far, side), (0.5, 8.0 / 18.0), (0.5 + far, side)];
        let step = 1.0 / CELLS as f64;
        let mut cells = vec![0.0; CELLS * CELLS];
        for i in 0..CELLS {
            for j in 0..=i {
                let mut mass = 0.0;
                for (u, wu) in rule {
                    for (v, wv) in rule {
                        mass += wu * wv * kernel.column(step * (i as f64 + u).hypot(j as f64 + v));
                    }
                }
                cells[i * CELLS + j] = mass;
                cells[j * CELLS + i] = mass;
            }
        }
        let total: f64 = cells.iter().sum();
        let width = CELLS + 1;
        let mut nodes = vec![0.0; width * width];
        for i in 0..CELLS {
            let mut row = 0.0;
            for j in 0..CELLS {
                row += 0.25 * cells[i * CELLS + j] / total;
                nodes[(i + 1) * width + j + 1] = nodes[i * width + j + 1] + row;
            }
        }
        Self { nodes }
    }

    /// Q at the nodes, `[x, y]`.
    #[cfg(feature = "candle")]
    pub(crate) fn nodes(&self) -> &[f64] {
        &self.nodes
    }

    /// The place of a coordinate in the table: node, fraction beyond it, sign.
    #[inline(always)]
    pub(crate) fn place(x: f64) -> Place {
        Self::place_on(x, CELLS)
    }

    /// The same in a table of `cells` cells.
    #[inline(always)]
    pub(crate) fn place_on(x: f64, cells: usize) -> Place {
        let t = x.abs().min(1.0) * cells as f64;
        let node = (t as usize).min(cells - 1);
        Place { node, fraction: t - node as f64, sign: if x < 0.0 { -1.0 } else { 1.0 } }
    }

    /// Q at the crossings of one horizontal line with several vertical ones.
    #[inline(always)]
    pub(crate) fn line(&self, y: Place, xs: &[Place], out: &mut [f64]) {
        let width = CELLS + 1;
        let (low, high) = self.nodes[y.node * width..(y.node + 2) * width].split_at(width);
        let (a, b) = (y.sign * (1.0 - y.fraction), y.sign * y.fraction);
        for (out, x) in out.iter_mut().zip(xs) {
            let left = a * low[x.node] + b * high[x.node];
            let right = a * low[x.node + 1] + b * high[x.node + 1];
            *out = x.sign * (left + x.fraction * (right - left));
        }
    }
}

/// See [`Quadrant::place`].
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) node: usize,
    pub(crate) fraction: f64,
    pub(crate) sign: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Kernel; 5] = [
        Kernel::CubicSpline,
        Kernel::UniformSphere,
        Kernel::WendlandC2,
        Kernel::WendlandC4,
        Kernel::PlanarWendlandC2,
    ];

    #[test]
    fn every_column_has_unit_mass() {
        for kernel in ALL {
            let n = 20_000;
            let mass: f64 = (0..n)
                .map(|i| (i as f64 + 0.5) / n as f64)
                .map(|q| 2.0 * PI * q * kernel.column(q) / n as f64)
                .sum();
            assert!((mass - 1.0).abs() < 1e-5, "{kernel:?}: {mass}");
        }
    }

    #[test]
    fn the_column_is_the_integral_of_the_density() {
        for kernel in ALL {
            if kernel.density(0.0).is_none() {
                continue;
            }
            for b in [0.0, 0.1, 0.3, 0.499, 0.5, 0.7, 0.95] {
                // The midpoint rule over the chord; the sphere's is constant.
                let (n, half) = (100_000, (1.0f64 - b * b).sqrt());
                let z = |i: usize| half * (i as f64 + 0.5) / n as f64;
                let at = |i: usize| kernel.density((b * b + z(i).powi(2)).sqrt()).unwrap();
                let sum: f64 = (0..n).map(|i| 2.0 * half * at(i) / n as f64).sum();
                assert!((sum - kernel.column(b)).abs() < 1e-8, "{kernel:?} {b}");
            }
        }
    }

    #[test]
    fn the_laplacian_is_that_of_the_density() {
        for kernel in [Kernel::CubicSpline, Kernel::WendlandC2, Kernel::WendlandC4] {
            for q in [0.1, 0.3, 0.49, 0.51, 0.7, 0.95] {
                let (e, f) = (1e-4, |r: f64| kernel.density(r).unwrap());
                let second = (f(q + e) - 2.0 * f(q) + f(q - e)) / (e * e);
                let expected = second + (f(q + e) - f(q - e)) / (e * q);
                let found = kernel.density_laplacian(q);
                assert!((found - expected).abs() < 1e-2, "{kernel:?} {q}: {found} {expected}");
            }
        }
    }

    #[test]
    fn the_quadrant_holds_the_mass_of_rectangles() {
        for kernel in ALL {
            let table = kernel.quadrant();
            let mut out = [0.0];
            for (x, y) in [(1.0, 1.0), (0.5, 0.25), (-0.3, 0.7), (2.0, -5.0)] {
                table.line(Quadrant::place(y), &[Quadrant::place(x)], &mut out);
                let n = 400;
                let (cx, cy) = (f64::clamp(x, -1.0, 1.0), f64::clamp(y, -1.0, 1.0));
                let mut sum = 0.0;
                for i in 0..n {
                    for j in 0..n {
                        let u = cx * (i as f64 + 0.5) / n as f64;
                        let v = cy * (j as f64 + 0.5) / n as f64;
                        sum += kernel.column(u.hypot(v)) * cx * cy / (n * n) as f64;
                    }
                }
                assert!((out[0] - sum).abs() < 2e-5, "{kernel:?} {x} {y}: {} {sum}", out[0]);
            }
        }
    }
}

//! The volume that a ball and a box share, in closed form.
//!
//! A uniform sphere has a rim that no table of its integral resolves; its mass in the cells of a cube is exact here at any ratio
//! of radius to cell.

use std::f64::consts::PI;

/// 3 / (4 pi): the density of a ball of unit mass and radius.
const DENSITY: f64 = 0.75 / PI;

/// x - x^3 / 3.
fn cubic(x: f64) -> f64 {
    x - x * x * x / 3.0
}

/// A quarter of the cap of the unit ball beyond the plane at x, from 0 to 1.
fn cap(x: f64) -> f64 {
    PI / 12.0 * (1.0 - x).powi(2) * (2.0 + x)
}

/// The part of the unit ball beyond the planes at x and y and above z = 0; both from 0 to 1.
///
/// With w = sqrt(1 - x^2 - y^2) and g(x) = x - x^3 / 3 the integral of the segment of a disc is
/// pi / 6 - [g(y) atan(w / x) + g(x) atan(w / y)] / 2 - [atan(x y / w) - x y w] / 3.
fn corner(x: f64, y: f64) -> f64 {
    let w2 = 1.0 - x * x - y * y;
    if w2 <= 0.0 {
        return 0.0;
    }
    let w = w2.sqrt();
    let segments = cubic(y) * w.atan2(x) + cubic(x) * w.atan2(y);
    PI / 6.0 - 0.5 * segments - ((x * y).atan2(w) - x * y * w) / 3.0
}

/// The mass of a ball of unit mass and radius over boxes from its centre to the crossings of planes.
#[derive(Default)]
pub(crate) struct Ball {
    /// Along each axis: distance of the planes, at most 1, and on which side.
    planes: [Vec<(f64, f64)>; 3],
    caps: [Vec<f64>; 3],
    /// For pairs of planes across (x, y), (x, z), (y, z), the second running fastest.
    corners: [Vec<f64>; 3],
}

impl Ball {
    /// Places the planes at these signed distances from the centre, in radii, in turn.
    pub(crate) fn place(&mut self, edges: [impl Iterator<Item = f64>; 3]) {
        for ((planes, caps), edges) in self.planes.iter_mut().zip(&mut self.caps).zip(edges) {
            planes.clear();
            planes.extend(edges.map(|e| (e.abs().min(1.0), if e < 0.0 { -1.0 } else { 1.0 })));
            caps.clear();
            caps.extend(planes.iter().map(|p| cap(p.0)));
        }
        for (corners, [a, b]) in self.corners.iter_mut().zip([[0, 1], [0, 2], [1, 2]]) {
            corners.clear();
            for (x, _) in &self.planes[a] {
                corners.extend(self.planes[b].iter().map(|(y, _)| corner(*x, *y)));
            }
        }
    }

    /// The masses to the crossings with plane `i` across x, `[y, z]`.
    pub(crate) fn plane(&self, i: usize, out: &mut Vec<f64>) {
        out.clear();
        let [_, ys, zs] = &self.planes;
        let (x, side) = self.planes[0][i];
        let (ny, nz) = (ys.len(), zs.len());
        for (j, (y, side_y)) in ys.iter().enumerate() {
            let sign = DENSITY * side * side_y;
            let left = 1.0 - x * x - y * y;
            let outside = PI / 6.0 - self.caps[0][i] - self.caps[1][j] + self.corners[0][i * ny + j];
            let (along_x, along_y) =
                (&self.corners[1][i * nz..(i + 1) * nz], &self.corners[2][j * nz..(j + 1) * nz]);
            for (k, (z, side_z)) in zs.iter().enumerate() {
                let octant = if z * z < left {
                    x * y * z
                } else {
                    outside - self.caps[2][k] + along_x[k] + along_y[k]
                };
                out.push(sign * side_z * octant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The volume of the box from the centre to (x, y, z) in the ball, by the midpoint rule over columns of exact length.
    fn slow(x: f64, y: f64, z: f64) -> f64 {
        let n = 2000;
        let mut sum = 0.0;
        for i in 0..n {
            for j in 0..n {
                let (a, b) = (x * (i as f64 + 0.5) / n as f64, y * (j as f64 + 0.5) / n as f64);
                sum += (1.0 - a * a - b * b).max(0.0).sqrt().min(z);
            }
        }
        sum * x * y / (n * n) as f64
    }

    #[test]
    fn boxes_hold_what_the_columns_sum_to() {
        for [x, y, z] in [[0.3, 0.4, 0.5], [0.8, 0.3, 0.9], [0.9, 0.9, 0.1], [0.7, 0.7, 0.7], [1.0, 0.2, 0.6]]
        {
            let mut ball = Ball::default();
            ball.place([[x, -x].into_iter(), [y, -y].into_iter(), [z, 7.0 * z].into_iter()]);
            let mut out = Vec::new();
            ball.plane(0, &mut out);
            let expected = DENSITY * slow(x, y, z);
            assert!((out[0] - expected).abs() < 3e-6, "{x} {y} {z}: {} {expected}", out[0]);
            assert_eq!(out[2], -out[0]);
            let (first, far) = (out[0], out[1]);
            ball.plane(1, &mut out);
            assert_eq!(out[0], -first);
            assert!((far - DENSITY * slow(x, y, (7.0 * z).min(1.0))).abs() < 3e-6);
        }
    }

    #[test]
    fn the_whole_ball_is_eight_octants() {
        let mut ball = Ball::default();
        ball.place([[2.0, 0.0].into_iter(), [1.0, 0.0].into_iter(), [1.5, 0.0].into_iter()]);
        let mut out = Vec::new();
        ball.plane(0, &mut out);
        assert!((out[0] - 0.125).abs() < 1e-15 && out[1].abs() < 1e-15 && out[2].abs() < 1e-15);
        // The quarter of a cap is a corner without a second plane.
        assert!((corner(0.3, 0.0) - cap(0.3)).abs() < 1e-15);
    }
}

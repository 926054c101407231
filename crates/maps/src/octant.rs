//! The mass of a kernel over boxes about its centre, for cubes.

use std::sync::OnceLock;

use rayon::prelude::*;

use crate::Kernel;
use crate::kernel::Place;

/// Cells of the table along one axis.
pub(crate) const CELLS: usize = 128;
const WIDTH: usize = CELLS + 1;

/// The mass of a kernel of unit radius over the box from its centre to (x, y, z): Q(x, y, z).
///
/// The mass in any cell of a cube is a difference of eight Q, so that the cells of a particle sum to its mass at any ratio of
/// radius to cell. Between the nodes Q is trilinear: the kernel is constant over cubes of 1/128 of its radius.
pub(crate) struct Octant {
    /// Q at the nodes, `[x, y, z]`.
    nodes: Vec<f64>,
}

impl Octant {
    /// The table of a smooth kernel that lives in space, made at its first use.
    pub(crate) fn of(kernel: Kernel) -> Option<&'static Self> {
        static TABLES: [OnceLock<Octant>; 5] = [const { OnceLock::new() }; 5];
        if kernel == Kernel::UniformSphere || kernel.density(0.0).is_none() {
            return None;
        }
        Some(TABLES[kernel as usize].get_or_init(|| Octant::new(kernel)))
    }

    fn new(kernel: Kernel) -> Self {
        let step = 1.0 / CELLS as f64;
        let half_diagonal = 0.5 * step * 3f64.sqrt();
        // Two Gauss-Legendre nodes a side are exact for cubics.
        let near = 0.5 - 0.5 / 3f64.sqrt();
        let mass = |cell: [usize; 3]| {
            let middle = cell.map(|c| step * (c as f64 + 0.5));
            if middle.iter().map(|m| m * m).sum::<f64>().sqrt() > 1.0 + half_diagonal {
                return 0.0;
            }
            let mut sum = 0.0;
            for corner in 0..8usize {
                let point = |a: usize| {
                    let offset = if corner >> a & 1 == 0 { near } else { 1.0 - near };
                    (step * (cell[a] as f64 + offset)).powi(2)
                };
                sum += kernel.density((point(0) + point(1) + point(2)).sqrt()).unwrap_or(0.0);
            }
            sum
        };
        let planes: Vec<Vec<f64>> = (0..CELLS)
            .into_par_iter()
            .map(|i| (0..CELLS * CELLS).map(|jk| mass([i, jk / CELLS, jk % CELLS])).collect())
            .collect();
        let total: f64 = planes.iter().map(|p| p.iter().sum::<f64>()).sum();
        let mut nodes = vec![0.0; WIDTH * WIDTH * WIDTH];
        for (i, plane) in planes.iter().enumerate() {
            let (before, here) = nodes.split_at_mut((i + 1) * WIDTH * WIDTH);
            let before = &before[i * WIDTH * WIDTH..];
            // The sum over the plane so far, on top of the planes before.
            let mut rows = vec![0.0; WIDTH];
            for j in 0..CELLS {
                let mut row = 0.0;
                for k in 0..CELLS {
                    row += 0.125 * plane[j * CELLS + k] / total;
                    rows[k + 1] += row;
                    let node = (j + 1) * WIDTH + k + 1;
                    here[node] = before[node] + rows[k + 1];
                }
            }
        }
        Self { nodes }
    }

    /// Q on the crossings of lines in a plane of constant x, `[y, z]`.
    pub(crate) fn plane(&self, x: Place, ys: &[Place], zs: &[Place], out: &mut Vec<f64>) {
        out.clear();
        let at = |i: usize, j: usize| (i * WIDTH + j) * WIDTH;
        for y in ys {
            let corners = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(i, j)| {
                let weight = |p: &Place, far: usize| if far == 1 { p.fraction } else { 1.0 - p.fraction };
                let start = at(x.node + i, y.node + j);
                (x.sign * y.sign * weight(&x, i) * weight(y, j), &self.nodes[start..start + WIDTH])
            });
            out.extend(zs.iter().map(|z| {
                let value = |k: usize| corners.iter().map(|(w, row)| w * row[k]).sum::<f64>();
                let low = value(z.node);
                z.sign * (low + z.fraction * (value(z.node + 1) - low))
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Quadrant;

    #[test]
    fn the_octant_holds_the_mass_of_boxes() {
        for kernel in [Kernel::CubicSpline, Kernel::WendlandC2, Kernel::WendlandC4] {
            let table = Octant::of(kernel).unwrap();
            let mut out = Vec::new();
            for [x, y, z] in [[1.0, 1.0, 1.0], [0.5, 0.25, 0.8], [-0.3, 0.7, 0.2], [2.0, -5.0, -0.4]] {
                let place = |v: f64| Quadrant::place_on(v, CELLS);
                table.plane(place(x), &[place(y)], &[place(z)], &mut out);
                let n = 90;
                let c = [x, y, z].map(|v| f64::clamp(v, -1.0, 1.0));
                let mut sum = 0.0;
                for i in 0..n * n * n {
                    let p: [f64; 3] = [i / n / n, i / n % n, i % n].map(|j| (j as f64 + 0.5) / n as f64);
                    let r = (0..3).map(|a| (c[a] * p[a]).powi(2)).sum::<f64>().sqrt();
                    sum += kernel.density(r).unwrap() * c[0] * c[1] * c[2] / (n as f64).powi(3);
                }
                assert!((out[0] - sum).abs() < 2e-4, "{kernel:?} {x} {y} {z}: {} {sum}", out[0]);
            }
        }
        assert!(Octant::of(Kernel::PlanarWendlandC2).is_none());
    }
}

//! The force: the gradient of the potential at each particle, and what it does to it.

use rayon::prelude::*;

use super::mesh::Mesh;
use crate::initial::{Particles, wrap};

/// Cells of the stencil along the axis of a force: six for a fourth-order difference at two neighbouring cells.
const STENCIL: usize = 6;
/// Cells read along z from two before the lower cell, and so what the table of wrapped cells has beyond the mesh.
const TABLE: usize = 8;
/// Particles handed to a thread at once.
const CHUNK: usize = 4096;

impl Mesh {
    /// p -= kick grad phi, then x += drift p, for every particle.
    pub(super) fn kick_drift(&self, particles: &mut Particles, kick: f64, drift: f64) {
        let m = self.cells;
        let side = self.box_side as f32;
        let to_cells = (m as f64 / self.box_side) as f32;
        // The difference is per cell: one more factor m / L, and 1 / 12 from its weights.
        let (kick, drift) = ((-kick * m as f64 / self.box_side / 12.0) as f32, drift as f32);
        let wrapped: Vec<usize> = (0..m + TABLE).map(|i| (i + m - 2) % m).collect();
        let phi = self.field.as_slice();
        let Particles { positions, momenta } = particles;
        positions.par_chunks_mut(CHUNK).zip(momenta.par_chunks_mut(CHUNK)).for_each(
            |(positions, momenta)| {
                for (x, p) in positions.iter_mut().zip(momenta) {
                    let force = gradient(phi, m, &wrapped, x.map(|x| x * to_cells));
                    for axis in 0..3 {
                        p[axis] += kick * force[axis];
                        let moved = x[axis] + drift * p[axis];
                        // Few particles leave the box, and a call of floor is slow.
                        let inside = (0.0..side).contains(&moved);
                        x[axis] = if inside { moved } else { wrap(f64::from(moved), self.box_side) };
                    }
                }
            },
        );
    }
}

/// The two cells and six-cell differences around one coordinate.
struct Stencil {
    lower: usize,
    rows: [usize; STENCIL],
    cic: [f32; 2],
    difference: [f32; STENCIL],
}

impl Stencil {
    /// Around `x` in cells; `wrapped[i]` is cell i - 2 of the periodic mesh, `stride` the distance of two cells.
    #[inline]
    fn new(x: f32, wrapped: &[usize], stride: usize) -> Self {
        // Rounding may put a position on the upper edge of the last cell; the table reaches that far.
        let lower = (x as u32 as usize).min(wrapped.len() - TABLE);
        let d = x - lower as f32;
        let e = 1.0 - d;
        let mut rows = [0; STENCIL];
        for (row, &cell) in rows.iter_mut().zip(&wrapped[lower..lower + STENCIL]) {
            *row = cell * stride;
        }
        // (1, -8, 0, 8, -1) around the lower cell with weight e and around the upper with weight d.
        Self { lower, rows, cic: [e, d], difference: [e, d - 8.0 * e, -8.0 * d, 8.0 * e, 8.0 * d - e, -d] }
    }
}

/// Twelve times the fourth-order gradient of `phi` per cell, at `x` in cells, with CIC weights.
///
/// The sums run over rows of four or eight cells along z at once, with weights that are zero outside the stencil: the
/// compiler makes vector instructions of them.
#[inline]
fn gradient(phi: &[f32], m: usize, wrapped: &[usize], x: [f32; 3]) -> [f32; 3] {
    let sx = Stencil::new(x[0], wrapped, m * m);
    let sy = Stencil::new(x[1], wrapped, m);
    let sz = Stencil::new(x[2], wrapped, 1);
    let z = sz.lower;
    if (2..m.saturating_sub(5)).contains(&z) {
        return weigh(&sx, &sy, &sz, |row| cells(phi, row + z), |row| cells(phi, row + z - 2));
    }
    let around = |row: usize, j: usize| phi[row + wrapped[z + j]];
    weigh(
        &sx,
        &sy,
        &sz,
        |row| std::array::from_fn(|j| around(row, j + 2)),
        |row| std::array::from_fn(|j| around(row, j)),
    )
}

/// `N` cells from `first` on.
#[inline]
fn cells<const N: usize>(phi: &[f32], first: usize) -> [f32; N] {
    let mut out = [0.0; N];
    out.copy_from_slice(&phi[first..first + N]);
    out
}

/// The gradient from rows along z: `four(row)` begins at the lower cell, `eight(row)` two cells before.
#[inline]
fn weigh(
    sx: &Stencil,
    sy: &Stencil,
    sz: &Stencil,
    four: impl Fn(usize) -> [f32; 4],
    eight: impl Fn(usize) -> [f32; 8],
) -> [f32; 3] {
    let (mut along_x, mut along_y, mut along_z) = ([0.0f32; 4], [0.0f32; 4], [0.0f32; 8]);
    for a in 0..2 {
        for b in 0..2 {
            let weight = sx.cic[a] * sy.cic[b];
            let row = eight(sx.rows[2 + a] + sy.rows[2 + b]);
            for (sum, value) in along_z.iter_mut().zip(row) {
                *sum += weight * value;
            }
        }
        for j in 0..STENCIL {
            let (wx, wy) = (sx.difference[j] * sy.cic[a], sy.difference[j] * sx.cic[a]);
            let (row_x, row_y) = (four(sx.rows[j] + sy.rows[2 + a]), four(sx.rows[2 + a] + sy.rows[j]));
            for i in 0..4 {
                along_x[i] += wx * row_x[i];
                along_y[i] += wy * row_y[i];
            }
        }
    }
    let cic = |sum: [f32; 4]| sum[0] * sz.cic[0] + sum[1] * sz.cic[1];
    let slope = sz.difference.iter().zip(along_z).map(|(w, v)| w * v).sum();
    [cic(along_x), cic(along_y), slope]
}

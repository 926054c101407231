//! The mesh: particles to a density, the density to a potential.

use std::f64::consts::TAU;

use halocast_core::fft::{Complex, RealFft, wavenumber};
use rayon::prelude::*;

/// A periodic mesh that turns particles into a potential.
///
/// The overdensity is deposited by cloud-in-cell (CIC), the dimensionless potential
///
/// $$\nabla^2 \phi = \delta$$
///
/// is solved with the spectral Laplacian, -1/k^2, and the force -grad phi is its fourth-order finite difference,
/// [8 (phi_{+1} - phi_{-1}) - (phi_{+2} - phi_{-2})] / 12 cells, gathered with the same CIC weights: total momentum is
/// conserved to rounding. phi is in (Mpc/h)^2; the peculiar potential is (3/2) Omega_m H0^2 phi / a.
///
/// Every plane of the mesh sums its particles in the order of their indices, so that the result does not depend on the
/// number of threads.
///
/// # Source
/// Hockney & Eastwood 1988, chapter 5; the kernels are among those compared by Feng et al. 2016, MNRAS 463, 2273.
pub struct Mesh {
    pub(super) cells: usize,
    pub(super) box_side: f64,
    fft: RealFft<f32>,
    pub(super) field: Vec<f32>,
    pub(super) spectrum: Vec<Complex<f32>>,
    green: Green,
}

impl Mesh {
    /// A mesh of `cells` a side over a box of `box_side` Mpc/h.
    ///
    /// `compensate` divides phi by the squared CIC window, once for the deposit and once for the gather: the force is
    /// sharper and has more lattice noise.
    pub fn new(cells: usize, box_side: f64, compensate: bool) -> Self {
        let fft = RealFft::<f32>::new([cells, cells, cells]);
        let (field, spectrum) = (vec![0.0; cells.pow(3)], fft.spectrum());
        Self { cells, box_side, fft, field, spectrum, green: Green::new(cells, box_side, compensate) }
    }

    /// Cells a side.
    pub fn cells(&self) -> usize {
        self.cells
    }

    /// The side of the box in Mpc/h.
    pub fn box_side(&self) -> f64 {
        self.box_side
    }

    /// The field last computed, `[x, y, z]`.
    pub fn field(&self) -> &[f32] {
        &self.field
    }

    /// Sets the field to rho / mean by CIC.
    pub fn deposit(&mut self, positions: &[[f32; 3]]) {
        let m = self.cells;
        let to_cells = (m as f64 / self.box_side) as f32;
        let weight = (m.pow(3) as f64 / positions.len().max(1) as f64) as f32;
        let slabs = Slabs::new(positions, m, to_cells);
        self.field.par_chunks_mut(m * m).enumerate().for_each(|(plane, out)| {
            out.fill(0.0);
            // A plane receives from the particles whose lower cell it is, and from those of the plane below.
            for (slab, upper) in [(plane, false), ((plane + m - 1) % m, true)] {
                for &i in slabs.particles(slab) {
                    let [x, y, z] = positions[i as usize].map(|x| x * to_cells);
                    let (_, _, dx) = cell(x, m);
                    let w = weight * if upper { dx } else { 1.0 - dx };
                    let (y0, y1, dy) = cell(y, m);
                    let (z0, z1, dz) = cell(z, m);
                    let (w0, w1) = (w * (1.0 - dy), w * dy);
                    out[y0 * m + z0] += w0 * (1.0 - dz);
                    out[y0 * m + z1] += w0 * dz;
                    out[y1 * m + z0] += w1 * (1.0 - dz);
                    out[y1 * m + z1] += w1 * dz;
                }
            }
        });
    }

    /// Sets the field to the potential of the particles.
    pub fn solve(&mut self, positions: &[[f32; 3]]) {
        self.deposit(positions);
        self.fft.forward(&self.field, &mut self.spectrum);
        self.green.apply(&mut self.spectrum);
    }

    /// Transforms the potential of [`Mesh::solve`] to real space.
    pub(super) fn finish(&mut self) {
        self.fft.inverse(&mut self.spectrum, &mut self.field);
    }

    /// Sets the field of this coarser mesh to the potential on `fine`, filtered by exp(-k^2 length^2).
    pub(super) fn filtered_from(&mut self, fine: &Mesh, length: f64) {
        let (n, m) = (self.cells, fine.cells);
        let (half, half_fine) = (n / 2 + 1, m / 2 + 1);
        let filter = gaussian(n, self.box_side, length);
        // Coefficients of a forward transform grow with the number of cells.
        let scale = (n as f64 / m as f64).powi(3) as f32;
        self.spectrum.par_chunks_mut(half).enumerate().for_each(|(row, out)| {
            let (i, j) = (row / n, row % n);
            let on_fine = |i: usize| wavenumber(i, n).rem_euclid(m as i64) as usize;
            let from = (on_fine(i) * m + on_fine(j)) * half_fine;
            for (l, out) in out.iter_mut().enumerate() {
                let cut = n < m && (2 * i == n || 2 * j == n || 2 * l == n);
                let factor = if cut { 0.0 } else { scale * filter[i] * filter[j] * filter[l] };
                *out = fine.spectrum[from + l] * factor;
            }
        });
        self.finish();
    }

    /// Sets the field to independent normals.
    pub(crate) fn noise(&mut self, rng: &mut halocast_core::Rng) {
        rng.fill_normal(&mut self.field);
    }

    /// Smooths the field by exp(-k^2 length^2).
    pub fn smooth(&mut self, length: f64) {
        let (n, half) = (self.cells, self.cells / 2 + 1);
        let filter = gaussian(n, self.box_side, length);
        self.fft.forward(&self.field, &mut self.spectrum);
        self.spectrum.par_chunks_mut(half).enumerate().for_each(|(row, out)| {
            let factor = filter[row / n] * filter[row % n];
            out.iter_mut().zip(&filter).for_each(|(c, f)| *c *= factor * f);
        });
        self.finish();
    }

    /// The field at each position, by CIC.
    pub fn gather(&self, positions: &[[f32; 3]]) -> Vec<f32> {
        let m = self.cells;
        let to_cells = (m as f64 / self.box_side) as f32;
        positions
            .par_iter()
            .map(|x| {
                let [(x0, x1, dx), (y0, y1, dy), (z0, z1, dz)] = x.map(|x| cell(x * to_cells, m));
                let row = |x: usize, y: usize| {
                    let row = (x * m + y) * m;
                    self.field[row + z0] * (1.0 - dz) + self.field[row + z1] * dz
                };
                let plane = |x: usize| row(x, y0) * (1.0 - dy) + row(x, y1) * dy;
                plane(x0) * (1.0 - dx) + plane(x1) * dx
            })
            .collect()
    }
}

/// The two cells of a coordinate in cells, and its distance from the lower.
#[inline]
fn cell(x: f32, m: usize) -> (usize, usize, f32) {
    // Positions are not negative, so that truncation is the floor; rounding may put one on the upper edge.
    let i = x as u32;
    let d = x - i as f32;
    let i = if i as usize >= m { 0 } else { i as usize };
    (i, if i + 1 == m { 0 } else { i + 1 }, d)
}

/// exp(-k^2 length^2) of each index of an axis; the filter of a mode is the product of three.
fn gaussian(n: usize, box_side: f64, length: f64) -> Vec<f32> {
    (0..n)
        .map(|i| {
            let k = TAU / box_side * wavenumber(i, n) as f64;
            (-(k * length).powi(2)).exp() as f32
        })
        .collect()
}

/// Particles by the plane of their lower cell, in the order of their indices.
struct Slabs {
    starts: Vec<usize>,
    order: Vec<u32>,
}

impl Slabs {
    fn new(positions: &[[f32; 3]], m: usize, to_cells: f32) -> Self {
        let slab: Vec<u16> = positions.par_iter().map(|x| cell(x[0] * to_cells, m).0 as u16).collect();
        let mut starts = vec![0usize; m + 1];
        for &s in &slab {
            starts[s as usize + 1] += 1;
        }
        for s in 0..m {
            starts[s + 1] += starts[s];
        }
        let mut next = starts.clone();
        let mut order = vec![0u32; positions.len()];
        for (i, &s) in slab.iter().enumerate() {
            order[next[s as usize]] = i as u32;
            next[s as usize] += 1;
        }
        Self { starts, order }
    }

    fn particles(&self, slab: usize) -> &[u32] {
        &self.order[self.starts[slab]..self.starts[slab + 1]]
    }
}

/// -1/k^2 on a mesh, with or without compensation of the CIC windows.
struct Green {
    cells: usize,
    squared: Vec<f32>,
    window: Vec<f32>,
}

impl Green {
    fn new(cells: usize, box_side: f64, compensate: bool) -> Self {
        let mode = |i: usize| wavenumber(i, cells) as f64;
        let squared = (0..cells).map(|i| (TAU / box_side * mode(i)).powi(2) as f32).collect();
        // The CIC window is sinc^2 along each axis; deposit and gather make it sinc^4.
        let window = (0..cells)
            .map(|i| {
                let x = 0.5 * TAU * mode(i) / cells as f64;
                if compensate && i > 0 { (x / x.sin()).powi(4) as f32 } else { 1.0 }
            })
            .collect();
        Self { cells, squared, window }
    }

    fn apply(&self, spectrum: &mut [Complex<f32>]) {
        let (m, half) = (self.cells, self.cells / 2 + 1);
        spectrum.par_chunks_mut(half).enumerate().for_each(|(row, out)| {
            let (i, j) = (row / m, row % m);
            let k2 = self.squared[i] + self.squared[j];
            let window = self.window[i] * self.window[j];
            for ((c, &kz2), &wz) in out.iter_mut().zip(&self.squared).zip(&self.window) {
                let total = k2 + kz2;
                let factor = if total > 0.0 { -window * wz / total } else { 0.0 };
                *c *= factor;
            }
        });
    }
}

//! Gravity on a particle mesh, with the kick and drift factors of FastPM.

use std::f64::consts::TAU;

use halocast_core::Cosmology;
use halocast_core::fft::{Complex, RealFft, wavenumber};
use rayon::prelude::*;

use crate::initial::{Particles, wrap};

/// Cells of the stencil along the axis of a force: six for a fourth-order difference at two neighbouring cells.
const STENCIL: usize = 6;
/// Cells read along z from two before the lower cell, and so what the table of wrapped cells has beyond the mesh.
const TABLE: usize = 8;
/// Particles handed to a thread at once.
const CHUNK: usize = 4096;

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
    cells: usize,
    box_side: f64,
    fft: RealFft<f32>,
    field: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
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
    fn finish(&mut self) {
        self.fft.inverse(&mut self.spectrum, &mut self.field);
    }

    /// Sets the field of this coarser mesh to the potential on `fine`, filtered by exp(-k^2 length^2).
    fn filtered_from(&mut self, fine: &Mesh, length: f64) {
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

    /// p -= kick grad phi, then x += drift p, for every particle.
    fn kick_drift(&self, particles: &mut Particles, kick: f64, drift: f64) {
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

/// When to kick and when to drift: scale factors spaced evenly from start to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// Scale factor of the initial conditions.
    pub(crate) start: f64,
    /// Scale factor of the result.
    pub(crate) end: f64,
    /// Number of steps.
    pub(crate) steps: usize,
}

impl Schedule {
    /// The scale factor after step `i`, which may be a half.
    fn at(&self, i: f64) -> f64 {
        if i >= self.steps as f64 {
            return self.end;
        }
        self.start + (self.end - self.start) * i / self.steps as f64
    }
}

/// Gas that follows the same potential, filtered on the scale of its pressure.
pub(crate) struct PressuredGas<'a> {
    pub(crate) particles: &'a mut Particles,
    pub(crate) mesh: &'a mut Mesh,
    pub(crate) length: f64,
}

/// Moves particles through the potential they make, kick-drift-kick.
///
/// With G(a) = a^3 E dD/da = a^2 E f D, a kick from a_0 to a_1 with the potential at a_r, and a drift with the momentum
/// at a_r, are
///
/// $$\Delta p = -\nabla\phi(a_r)\\,\frac{G(a_1) - G(a_0)}{D(a_r)}, \qquad
/// \Delta x = p(a_r)\\,\frac{D(a_1) - D(a_0)}{G(a_r)}:$$
///
/// a particle of the linear growing mode moves exactly right at any step length. The half kicks on both sides of a
/// drift's end have one potential and are one kick, so that there are `steps` + 1 potentials.
///
/// # Source
/// Feng, Chu, Seljak & McDonald 2016, MNRAS 463, 2273, section 2.2. Their kick has g_f = dG/da, which the equation of
/// linear growth makes (3/2) Omega_m D / (a^2 E).
pub(crate) fn evolve(
    particles: &mut Particles,
    mut gas: Option<PressuredGas<'_>>,
    mesh: &mut Mesh,
    cosmology: &Cosmology,
    schedule: Schedule,
    progress: &(dyn Fn(usize) + Sync),
) {
    let momentum = |a: f64| a * a * cosmology.e(a) * cosmology.growth_rate(a) * cosmology.growth(a);
    let mut kicked_to = schedule.start;
    for step in 0..=schedule.steps {
        let here = schedule.at(step as f64);
        let middle = schedule.at(step as f64 + 0.5);
        let next = schedule.at(step as f64 + 1.0);
        let kick = (momentum(middle) - momentum(kicked_to)) / cosmology.growth(here);
        let drift = (cosmology.growth(next) - cosmology.growth(here)) / momentum(middle);
        mesh.solve(&particles.positions);
        if let Some(gas) = &mut gas {
            gas.mesh.filtered_from(mesh, gas.length);
            gas.mesh.kick_drift(gas.particles, kick, drift);
        }
        mesh.finish();
        mesh.kick_drift(particles, kick, drift);
        kicked_to = middle;
        progress(step);
    }
}

#[cfg(test)]
mod tests {
    use halocast_core::Rng;

    use super::*;

    fn random(n: usize, side: f32, seed: u64) -> Vec<[f32; 3]> {
        let mut rng = Rng::new(seed);
        (0..n).map(|_| [0; 3].map(|_| (rng.uniform() as f32 * side).min(side * 0.999_999))).collect()
    }

    #[test]
    fn deposit_conserves_mass_and_shares_it_by_distance() {
        let mut mesh = Mesh::new(8, 16.0, false);
        mesh.deposit(&[[15.0, 1.0, 4.5]]);
        // x = 7.5 cells: half in cell 7, half in cell 0; y = 0.5; z = 2.25: three quarters in cell 2.
        let at = |x: usize, y: usize, z: usize| mesh.field()[(x * 8 + y) * 8 + z] / 512.0;
        assert_eq!([at(7, 0, 2), at(0, 1, 2), at(0, 0, 3)], [0.1875, 0.1875, 0.0625]);
        mesh.deposit(&random(1000, 16.0, 1));
        let mean = mesh.field().iter().map(|&v| f64::from(v)).sum::<f64>() / 512.0;
        assert!((mean - 1.0).abs() < 1e-5, "{mean}");
    }

    #[test]
    fn gather_is_the_transpose_of_deposit() {
        let (a, b) = (random(50, 10.0, 1), random(60, 10.0, 2));
        let (mut on_a, mut on_b) = (Mesh::new(6, 10.0, false), Mesh::new(6, 10.0, false));
        on_a.deposit(&a);
        on_b.deposit(&b);
        let inner: f64 = on_a.field().iter().zip(on_b.field()).map(|(x, y)| f64::from(x * y)).sum();
        let gathered: f64 = on_b.gather(&a).iter().map(|&v| f64::from(v)).sum();
        assert!((gathered * 216.0 / 50.0 / inner - 1.0).abs() < 1e-5);
    }

    #[test]
    fn a_pair_attracts_along_its_axis_and_keeps_its_momentum() {
        let mut mesh = Mesh::new(32, 32.0, false);
        let positions = vec![[10.2, 16.7, 16.1], [16.4, 16.7, 16.1]];
        let mut pair = Particles { positions, momenta: vec![[0.0; 3]; 2] };
        mesh.solve(&pair.positions);
        mesh.finish();
        mesh.kick_drift(&mut pair, 1.0, 0.0);
        let [p, q] = [pair.momenta[0], pair.momenta[1]];
        assert!(p[0] > 0.0 && (p[0] + q[0]).abs() < 1e-3 * p[0], "{p:?} {q:?}");
        // Newton: delta of a particle is V/2 on a point, |grad phi| = (V/2) / (4 pi r^2), less the periodic images.
        let newton = 32f32.powi(3) / 2.0 / (4.0 * std::f32::consts::PI * 6.2f32.powi(2));
        assert!((p[0] / newton - 1.0).abs() < 0.05, "{} {newton}", p[0]);
        assert!(p[1].abs() < 0.02 * p[0] && p[2].abs() < 0.02 * p[0]);
    }

    #[test]
    fn momentum_is_conserved() {
        let mut particles = Particles { positions: random(4096, 20.0, 3), momenta: vec![[0.0; 3]; 4096] };
        let mut mesh = Mesh::new(24, 20.0, true);
        let schedule = Schedule { start: 0.2, end: 1.0, steps: 5 };
        evolve(&mut particles, None, &mut mesh, &Cosmology::camels(), schedule, &|_| {});
        for axis in 0..3 {
            let total: f64 = particles.momenta.iter().map(|p| f64::from(p[axis])).sum();
            let size: f64 = particles.momenta.iter().map(|p| f64::from(p[axis].abs())).sum();
            assert!(size > 1.0 && total.abs() < 1e-4 * size, "{total} of {size}");
        }
    }

    #[test]
    fn a_plane_wave_follows_zeldovich_until_shells_cross() {
        let (n, side) = (32usize, 64.0);
        let cosmology = Cosmology::camels();
        let k = TAU / side;
        // Shells cross at D = 1.25, after today.
        let amplitude = 0.8 / k;
        let start = 0.1;
        let momentum = |a: f64| a * a * cosmology.e(a) * cosmology.growth_rate(a) * cosmology.growth(a);
        let lattice: Vec<[f64; 3]> = (0..n.pow(3))
            .map(|i| [i / n / n, i / n % n, i % n].map(|i| (i as f64 + 0.25) * side / n as f64))
            .collect();
        let psi = |q: f64| -amplitude * (k * q).sin();
        let positions = lattice
            .iter()
            .map(|q| {
                let x = q[1] + cosmology.growth(start) * psi(q[1]);
                [q[0] as f32, wrap(x, side), q[2] as f32]
            })
            .collect();
        let momenta = lattice.iter().map(|q| [0.0, (momentum(start) * psi(q[1])) as f32, 0.0]).collect();
        let mut particles = Particles { positions, momenta };
        let mut mesh = Mesh::new(2 * n, side, false);
        let schedule = Schedule { start, end: 1.0, steps: 10 };
        evolve(&mut particles, None, &mut mesh, &cosmology, schedule, &|_| {});
        let (mut error, mut across, mut speed) = (0.0f64, 0.0f64, 0.0f64);
        for ((x, p), q) in particles.positions.iter().zip(&particles.momenta).zip(&lattice) {
            let away = |x: f32, expected: f64| {
                let d = (f64::from(x) - expected) / side;
                ((d - d.round()) * side).abs()
            };
            error = error.max(away(x[1], q[1] + psi(q[1])));
            across = across.max(away(x[0], q[0])).max(away(x[2], q[2]));
            speed = speed.max((f64::from(p[1]) - momentum(1.0) * psi(q[1])).abs());
        }
        assert!(error < 0.02 * amplitude, "{error} of {amplitude}");
        assert!(speed < 0.04 * momentum(1.0) * amplitude, "{speed}");
        assert!(across < 1e-3, "{across}");
    }

    #[test]
    fn compensation_sharpens_the_force_and_leaves_large_scales() {
        let positions = random(4000, 30.0, 5);
        let potential = |compensate: bool| {
            let mut mesh = Mesh::new(16, 30.0, compensate);
            mesh.solve(&positions);
            mesh.spectrum
        };
        let (plain, sharp) = (potential(false), potential(true));
        let ratio = |i: usize| (sharp[i] / plain[i]).re;
        let expected =
            |m: f32| (m * std::f32::consts::PI / 16.0 / (m * std::f32::consts::PI / 16.0).sin()).powi(4);
        assert!((ratio(1) - expected(1.0)).abs() < 1e-4 && (ratio(6) - expected(6.0)).abs() < 1e-4);
    }
}

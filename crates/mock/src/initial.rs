//! Initial conditions: a Gaussian random field and its displacements in second-order Lagrangian perturbation theory.

use std::f64::consts::TAU;

use halocast_core::fft::{Complex, RealFft, wavenumber};
use halocast_core::{Cosmology, Rng};
use rayon::prelude::*;

use crate::error::{Result, require};
use crate::power::LinearPower;

const OPERATION: &str = "initial conditions";

/// How the modes of a field are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FieldOptions {
    /// The seed.
    pub seed: u64,
    /// Every |delta_k|^2 is the mean P(k)/V itself, and only phases are random (Angulo & Pontzen 2016).
    pub fixed_amplitude: bool,
    /// Every phase turned by pi: the second of a pair (Angulo & Pontzen 2016).
    pub phase_flip: bool,
}

/// Positions and momenta of particles in a periodic box.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Particles {
    /// Comoving positions in Mpc/h, in `[0, L)`.
    pub positions: Vec<[f32; 3]>,
    /// p = a^2 (dx/dt) / H0 in Mpc/h; the peculiar velocity is 100 p / a km/s.
    pub momenta: Vec<[f32; 3]>,
}

/// A linear density field and its second-order source, on a lattice of n^3 points in a periodic box.
///
/// Each mode n = (n_x, n_y, n_z), k = 2 pi n / L, is drawn from its own stream of the generator: a finer lattice in the
/// same box has the same large-scale modes. Modes on a Nyquist plane (any |n_i| = n/2) are zero: they have no partner of
/// opposite wavenumber on the lattice, so that their gradient is not defined.
///
/// Displacements of a particle that starts at q are
///
/// $$x = q + D\\,\psi^{(1)} + D_2\\,\psi^{(2)}, \quad
/// \nabla\cdot\psi^{(1)} = -\delta, \quad
/// \nabla\cdot\psi^{(2)} = \sum_{i<j}\left(\phi_{,ii}\phi_{,jj} - \phi_{,ij}^2\right), \quad \nabla^2\phi = \delta,$$
///
/// with D normalised to 1 today, D_2 = -(3/7) Omega_m(a)^(-1/143) D^2, and momenta
/// a^2 E(a) (f D psi1 + f_2 D_2 psi2).
///
/// # Source
/// Bouchet et al. 1995; Scoccimarro 1998; Angulo & Pontzen 2016, MNRAS 462, L1.
///
/// # Differences
/// Products of second derivatives are taken on the lattice itself and are not de-aliased.
pub struct InitialConditions {
    n: usize,
    box_side: f64,
    fft: RealFft<f32>,
    density: Vec<Complex<f32>>,
    second: Vec<Complex<f32>>,
}

impl InitialConditions {
    /// Draws the field of `n` points a side in a box of `box_side` Mpc/h.
    ///
    /// Cost: eight transforms of n^3 points.
    ///
    /// # Errors
    /// [`crate::Error::Config`] when `n` is not in 4..=1024 or the box not in [0.1, 20000] Mpc/h.
    pub fn new(power: &LinearPower, n: usize, box_side: f64, options: FieldOptions) -> Result<Self> {
        check_lattice(OPERATION, n, box_side)?;
        let fft = RealFft::<f32>::new([n, n, n]);
        let mut density = fft.spectrum();
        draw(&mut density, power, n, box_side, options);
        Ok(Self::from_density(fft, density, box_side))
    }

    /// The displacements of a given linear field today, from its transform.
    fn from_density(fft: RealFft<f32>, density: Vec<Complex<f32>>, box_side: f64) -> Self {
        let n = fft.shape()[0];
        let mut this = Self { n, box_side, fft, density, second: Vec::new() };
        this.second = this.second_order_source();
        this
    }

    /// The linear overdensity today on the lattice, `[x, y, z]`.
    pub fn linear_density(&self) -> Vec<f32> {
        let mut field = vec![0.0; self.n.pow(3)];
        self.fft.inverse(&mut self.density.clone(), &mut field);
        field
    }

    /// The particles at scale factor `a`, in the order of their lattice points `[x, y, z]`.
    ///
    /// `shift` moves the lattice, in units of its spacing: 0 for one on the corners, 0.5 for one on the cell centres;
    /// the displacements are those of the same field, interpolated exactly.
    ///
    /// Cost: six transforms of n^3 points.
    pub fn particles(&self, cosmology: &Cosmology, a: f64, shift: f64) -> Particles {
        let expansion = a * a * cosmology.e(a);
        let (d1, d2) = (cosmology.growth(a), cosmology.growth_second_order(a));
        let v1 = expansion * cosmology.growth_rate(a) * d1;
        let v2 = expansion * cosmology.growth_rate_second_order(a) * d2;

        let n = self.n;
        let spacing = self.box_side / n as f64;
        let mut positions = vec![[0.0f32; 3]; n.pow(3)];
        let mut momenta = vec![[0.0f32; 3]; n.pow(3)];
        let (mut first, mut second) = (vec![0.0f32; n.pow(3)], vec![0.0f32; n.pow(3)]);
        let mut work = self.fft.spectrum();
        for axis in 0..3 {
            // psi1 = i k delta / k^2; psi2 = -i k source / k^2.
            self.gradient(&self.density, axis, shift, 1.0, &mut work);
            self.fft.inverse(&mut work, &mut first);
            self.gradient(&self.second, axis, shift, -1.0, &mut work);
            self.fft.inverse(&mut work, &mut second);
            let stride = n.pow(2 - axis as u32);
            positions.par_iter_mut().zip(momenta.par_iter_mut()).enumerate().for_each(|(i, (x, p))| {
                let (psi1, psi2) = (f64::from(first[i]), f64::from(second[i]));
                let q = ((i / stride % n) as f64 + shift) * spacing;
                x[axis] = wrap(q + d1 * psi1 + d2 * psi2, self.box_side);
                p[axis] = (v1 * psi1 + v2 * psi2) as f32;
            });
        }
        Particles { positions, momenta }
    }

    /// sign * i k_axis / k^2 times `source`, moved by `shift` lattice spacings.
    fn gradient(
        &self,
        source: &[Complex<f32>],
        axis: usize,
        shift: f64,
        sign: f64,
        out: &mut [Complex<f32>],
    ) {
        let n = self.n;
        let scale = sign * self.box_side / TAU;
        let phases: Vec<Complex<f64>> = (0..n)
            .map(|i| Complex::from_polar(1.0, TAU * shift * wavenumber(i, n) as f64 / n as f64))
            .collect();
        for_each_mode(out, n, |index, mode, at| {
            let squared = mode.iter().map(|m| m * m).sum::<i64>();
            if squared == 0 || is_nyquist(mode, n) {
                return Complex::new(0.0, 0.0);
            }
            let phase = phases[at[0]] * phases[at[1]] * phases[at[2]];
            let factor = phase * Complex::new(0.0, scale * mode[axis] as f64 / squared as f64);
            source[index] * Complex::new(factor.re as f32, factor.im as f32)
        });
    }

    /// The transform of the sum over i < j of phi_ii phi_jj - phi_ij^2.
    fn second_order_source(&self) -> Vec<Complex<f32>> {
        let n = self.n;
        let mut work = self.fft.spectrum();
        let mut derivative = |i: usize, j: usize| {
            // phi_ij = k_i k_j delta / k^2, since phi = -delta / k^2.
            for_each_mode(&mut work, n, |index, mode, _| {
                let squared = mode.iter().map(|m| m * m).sum::<i64>();
                if squared == 0 {
                    return Complex::new(0.0, 0.0);
                }
                self.density[index] * ((mode[i] * mode[j]) as f64 / squared as f64) as f32
            });
            let mut field = vec![0.0f32; n.pow(3)];
            self.fft.inverse(&mut work, &mut field);
            field
        };
        let diagonal = [derivative(0, 0), derivative(1, 1), derivative(2, 2)];
        let mut source: Vec<f32> = (0..n.pow(3))
            .into_par_iter()
            .map(|i| {
                let [x, y, z] = [diagonal[0][i], diagonal[1][i], diagonal[2][i]];
                x * y + x * z + y * z
            })
            .collect();
        drop(diagonal);
        for (i, j) in [(0, 1), (0, 2), (1, 2)] {
            let mixed = derivative(i, j);
            source.par_iter_mut().zip(&mixed).for_each(|(s, m)| *s -= m * m);
        }
        self.fft.forward(&source, &mut work);
        work
    }
}

/// Refuses a lattice that is too small, too large or not a number.
pub(crate) fn check_lattice(operation: &'static str, n: usize, box_side: f64) -> Result<()> {
    require((4..=1024).contains(&n), operation, "particles", "4 to 1024 a side", n)?;
    require((0.1..=2e4).contains(&box_side), operation, "box_side", "0.1 to 20000 Mpc/h", box_side)
}

/// A coordinate in `[0, side)`, also after rounding to f32.
pub(crate) fn wrap(x: f64, side: f64) -> f32 {
    let y = (x - side * (x / side).floor()) as f32;
    if f64::from(y) >= side { 0.0 } else { y }
}

/// Whether a mode lies on a Nyquist plane.
fn is_nyquist(mode: [i64; 3], n: usize) -> bool {
    mode.iter().any(|m| 2 * m.unsigned_abs() as usize == n)
}

/// Fills a half spectrum with `f(index, mode, [i, j, l])`, in parallel.
fn for_each_mode(
    spectrum: &mut [Complex<f32>],
    n: usize,
    f: impl Fn(usize, [i64; 3], [usize; 3]) -> Complex<f32> + Sync,
) {
    let half = n / 2 + 1;
    spectrum.par_chunks_mut(n * half).enumerate().for_each(|(i, plane)| {
        for (at, value) in plane.iter_mut().enumerate() {
            let (j, l) = (at / half, at % half);
            let mode = [wavenumber(i, n), wavenumber(j, n), l as i64];
            *value = f(i * n * half + at, mode, [i, j, l]);
        }
    });
}

/// Draws delta_k today, in the scaling of a forward transform: n^3 times the Fourier coefficient.
fn draw(spectrum: &mut [Complex<f32>], power: &LinearPower, n: usize, box_side: f64, options: FieldOptions) {
    let k_f = TAU / box_side;
    let scale = n.pow(3) as f64 / box_side.powf(1.5);
    // |n|^2 is an integer: the spectrum is tabulated once for each.
    let largest = 3 * (n / 2).pow(2);
    let amplitude: Vec<f64> =
        (0..=largest).map(|s| scale * power.at(k_f * (s as f64).sqrt()).sqrt()).collect();
    let rng = Rng::new(options.seed).split_named("initial modes");
    let sign = if options.phase_flip { -1.0 } else { 1.0 };
    for_each_mode(spectrum, n, |_, mode, _| {
        let squared = mode.iter().map(|m| m * m).sum::<i64>() as usize;
        if squared == 0 || is_nyquist(mode, n) {
            return Complex::new(0.0, 0.0);
        }
        // One of each pair (n, -n) is drawn, the other is its conjugate.
        let [x, y, z] = mode;
        let drawn = (z, y, x) > (0, 0, 0);
        let [x, y, z] = if drawn { mode } else { [-x, -y, -z] };
        let stream = |m: i64| (m + (1 << 20)) as u64;
        let mut rng = rng.split(stream(x) << 42 | stream(y) << 21 | stream(z));
        let phase = TAU * rng.uniform();
        // |delta_k|^2 is exponential; 1 - u is never zero.
        let modulus = if options.fixed_amplitude { 1.0 } else { (-(1.0 - rng.uniform()).ln()).sqrt() };
        let value = Complex::from_polar(sign * modulus * amplitude[squared], phase);
        Complex::new(value.re as f32, if drawn { value.im } else { -value.im } as f32)
    });
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;
    use crate::power::Transfer;

    fn field(n: usize, options: FieldOptions) -> InitialConditions {
        let power = LinearPower::new(&Cosmology::camels(), Transfer::Wiggles).unwrap();
        InitialConditions::new(&power, n, 100.0, options).unwrap()
    }

    #[test]
    fn the_spectrum_is_that_of_a_real_field() {
        // A round trip through real space loses nothing if and only if the half spectrum is Hermitian.
        for n in [12, 15] {
            let ic = field(n, FieldOptions { seed: 3, ..Default::default() });
            let mut again = ic.fft.spectrum();
            ic.fft.forward(&ic.linear_density(), &mut again);
            let scale = ic.density.iter().map(|c| c.norm()).fold(0.0, f32::max);
            for (a, b) in again.iter().zip(&ic.density) {
                assert!((a - b).norm() < 1e-5 * scale, "{n}: {a} {b}");
            }
        }
    }

    #[test]
    fn a_finer_lattice_shares_the_large_scale_modes() {
        let options = FieldOptions { seed: 8, ..Default::default() };
        let (coarse, fine) = (field(8, options), field(16, options));
        let at = |n: usize, m: [i64; 3]| {
            let wrap = |m: i64| m.rem_euclid(n as i64) as usize;
            (wrap(m[0]) * n + wrap(m[1])) * (n / 2 + 1) + m[2] as usize
        };
        for mode in [[1, 0, 0], [-1, 0, 0], [2, -3, 1], [-3, 3, 0], [0, -1, 2]] {
            let (c, f) = (coarse.density[at(8, mode)] / 512.0, fine.density[at(16, mode)] / 4096.0);
            assert!((c - f).norm() < 1e-6 * c.norm() && c.norm() > 0.0, "{mode:?} {c} {f}");
        }
    }

    #[test]
    fn mean_power_is_the_input_and_a_flip_turns_the_sign() {
        let power = LinearPower::new(&Cosmology::camels(), Transfer::Wiggles).unwrap();
        let (mut sum, mut count) = (0.0, 0.0);
        for seed in 0..4 {
            let ic = field(24, FieldOptions { seed, ..Default::default() });
            let flipped = field(24, FieldOptions { seed, phase_flip: true, ..Default::default() });
            assert!(ic.density.iter().zip(&flipped.density).all(|(a, b)| *a == -*b));
            let fixed = field(24, FieldOptions { seed, fixed_amplitude: true, ..Default::default() });
            for (index, c) in ic.density.iter().enumerate() {
                let (i, j, l) = (index / 13 / 24, index / 13 % 24, index % 13);
                let mode = [wavenumber(i, 24), wavenumber(j, 24), l as i64];
                if mode == [0; 3] || is_nyquist(mode, 24) {
                    assert_eq!(c.norm(), 0.0);
                    continue;
                }
                let k = TAU / 100.0 * (mode.iter().map(|m| m * m).sum::<i64>() as f64).sqrt();
                let expected = power.at(k) / 1e6;
                let coefficient = |c: Complex<f32>| (f64::from(c.norm()) / 24f64.powi(3)).powi(2);
                assert_relative_eq!(coefficient(fixed.density[index]), expected, max_relative = 1e-5);
                sum += coefficient(*c) / expected;
                count += 1.0;
            }
        }
        // Exponential variates of unit mean; conjugate pairs make the error at most sqrt(2) larger.
        assert!((sum / count - 1.0).abs() < 5.0 * f64::sqrt(2.0 / count), "{}", sum / count);
    }

    /// A lattice field from a function of the phases 2 pi x / L.
    fn from_function(n: usize, side: f64, f: impl Fn([f64; 3]) -> f64) -> InitialConditions {
        let fft = RealFft::<f32>::new([n, n, n]);
        let field: Vec<f32> = (0..n.pow(3))
            .map(|i| f([i / n / n, i / n % n, i % n].map(|i| TAU * i as f64 / n as f64)) as f32)
            .collect();
        let mut spectrum = fft.spectrum();
        fft.forward(&field, &mut spectrum);
        InitialConditions::from_density(fft, spectrum, side)
    }

    #[test]
    fn displacements_of_two_crossed_waves_are_the_closed_form() {
        // delta = A (cos kx + cos ky): psi1 = -(A/k) (sin kx, sin ky, 0), source = A^2 cos kx cos ky,
        // psi2 = (A^2 / 2k) (sin kx cos ky, cos kx sin ky, 0).
        let (n, side, amplitude) = (16, 50.0, 0.7);
        let ic = from_function(n, side, |[x, y, _]| amplitude * (x.cos() + y.cos()));
        let c = Cosmology::camels();
        let (a, k) = (0.4, TAU / side);
        for shift in [0.0, 0.5] {
            let particles = ic.particles(&c, a, shift);
            for (i, (x, p)) in particles.positions.iter().zip(&particles.momenta).enumerate() {
                let q = [i / n / n, i / n % n, i % n].map(|i| (i as f64 + shift) * side / n as f64);
                let (sx, cy) = ((k * q[0]).sin(), (k * q[1]).cos());
                let (psi1, psi2) = (-amplitude / k * sx, amplitude.powi(2) / (2.0 * k) * sx * cy);
                let (d1, d2) = (c.growth(a), c.growth_second_order(a));
                let dx = (f64::from(x[0]) - q[0] - d1 * psi1 - d2 * psi2) / side;
                assert!((dx - dx.round()).abs() * side < 1e-4, "{i} {dx}");
                let expansion = a * a * c.e(a);
                let expected =
                    expansion * (c.growth_rate(a) * d1 * psi1 + c.growth_rate_second_order(a) * d2 * psi2);
                assert!((f64::from(p[0]) - expected).abs() < 1e-4);
                assert!(p[2].abs() < 1e-4);
            }
        }
    }

    #[test]
    fn absurd_lattices_are_refused() {
        let power = LinearPower::new(&Cosmology::camels(), Transfer::Wiggles).unwrap();
        for (n, side) in [(0, 100.0), (100_000, 100.0), (16, 0.0), (16, f64::NAN), (16, f64::INFINITY)] {
            assert!(InitialConditions::new(&power, n, side, FieldOptions::default()).is_err());
        }
    }
}

//! The power spectrum of a cube with respect to a line of sight: multipoles, along the line, and across and along it.

use halocast_core::Cube;
use halocast_core::fft::{RealFft, wavenumber};
use ndarray::Array2;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::modes::{Modes, snapped};
use super::{Binning, PowerSpectrum, Window, normalisation, transform_cube};
use crate::{Error, Result, ensemble};

/// The multipoles of a power spectrum: P_l(k) = (2 l + 1) <|F|^2 L_l(mu)> V / N^2, mu = k_par / k.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PowerMultipoles {
    /// Wavenumbers, in 1 / length unit: the mean |k| of the modes of a bin.
    pub k: Vec<f64>,
    /// P0, P2 and P4, in the field's unit squared times length^3.
    pub power: [Vec<f64>; 3],
    /// The number of independent modes in each bin.
    pub modes: Vec<u64>,
}

/// The power in bins of the wavenumbers across and along the line of sight.
#[derive(Clone, Debug, PartialEq)]
pub struct CylindricalPower {
    /// Centres of the bins across, in 1 / length unit; bin i holds i <= k_perp / k_F < i + 1.
    pub k_perp: Vec<f64>,
    /// Centres of the bins along, in 1 / length unit; bin j holds the modes |k_par| = j k_F.
    pub k_par: Vec<f64>,
    /// Power, `[k_perp, k_par]`, with the zero mode in the first cell; NaN where there is no mode.
    pub power: Array2<f64>,
    /// The number of independent modes, `[k_perp, k_par]`.
    pub modes: Array2<u64>,
}

/// What a line of sight adds to the power spectrum of a cube.
#[derive(Clone, Debug, PartialEq)]
pub struct AnisotropicPower {
    /// P0, P2, P4 in the bins of [`Binning::Pylians`].
    pub multipoles: PowerMultipoles,
    /// The one-dimensional spectrum along the line of sight, without k_par = 0, in the field's unit squared times length:
    /// P_1D(k_par) = integral of P d^2 k_perp / (2 pi)^2 over the circle k < k_N, taken as its area
    /// pi (k_N^2 - k_par^2) times the mean power of its modes.
    pub line: PowerSpectrum,
    /// The power in k_perp and k_par.
    pub plane: CylindricalPower,
}

/// The spectra of a cube about the axis `line_of_sight`, 0, 1 or 2 for x, y, z, all in one pass over the modes of one
/// transform: O(N log N). Normalised and averaged as [`power_spectrum_3d`](crate::power_spectrum_3d) with
/// [`Binning::Pylians`].
///
/// ```
/// use halocast_core::{Cube, Unit};
/// use halocast_stats::{Window, anisotropic_power};
/// use ndarray::Array3;
///
/// // A wave with three periods along z: all its power at mu = 1.
/// let wave = |(_, _, z)| (std::f32::consts::TAU * 3.0 * z as f32 / 16.0).cos();
/// let cube = Cube {
///     values: Array3::from_shape_fn((16, 16, 16), wave),
///     extent: [10.0; 3],
///     length_unit: Unit::mpc_h(),
///     unit: Unit::dimensionless(),
///     field: "wave".into(),
///     periodic: true,
/// };
/// let [p0, p2, p4] = anisotropic_power(&cube, 2, Window::None)?.multipoles.power.map(|p| p[2]);
/// assert!((p2 / p0 - 5.0).abs() < 1e-6 && (p4 / p0 - 9.0).abs() < 1e-6);
/// # Ok::<(), halocast_stats::Error>(())
/// ```
///
/// # Source
/// `Pk_library.Pk` of Pylians (Villaescusa-Navarro 2018). Hamilton 1998 for multipoles.
///
/// # Differences
/// Transforms are in float64 (Pylians: float32). In a box of unequal sides k_F of the bins of |k| is that of the longest
/// side, k_F across that of the longer of its two sides, and k_N the smallest (n/2) k_F of the axes, n/2 rounded down.
///
/// # Errors
/// [`Error::Value`] for a cell that is not finite, an empty cube, an absurd side or an axis beyond 2.
pub fn anisotropic_power(cube: &Cube, line_of_sight: usize, window: Window) -> Result<AnisotropicPower> {
    let operation = "anisotropic power spectrum";
    let shape = ensemble::check_cube(operation, "the cube", cube)?;
    if line_of_sight > 2 {
        let (what, expected) = ("the line of sight".into(), "0, 1 or 2".into());
        return Err(Error::Value { operation, what, expected, got: line_of_sight.to_string() });
    }
    let modes = Modes::new(shape, cube.extent, Binning::Pylians, window);
    let frame = Frame::new(shape, cube.extent, line_of_sight);
    let spectrum = transform_cube(&RealFft::<f64>::new(shape), cube);
    let sums = gather(&modes, &frame, |i| spectrum[i].norm_sqr());

    let norm = normalisation(shape, cube.extent, Binning::Pylians);
    let multipoles = std::array::from_fn(|l| {
        let mean = |(sum, &count): (&[f64; 3], &u64)| norm * sum[l] / count as f64;
        sums.shells.iter().zip(&modes.count).map(mean).collect()
    });
    let mut line = PowerSpectrum { k: Vec::new(), power: Vec::new(), modes: Vec::new() };
    for (j, cell) in sums.line.iter().enumerate().skip(1).filter(|(_, cell)| cell.twice > 0) {
        let k = j as f64 * frame.fundamental[line_of_sight];
        let area = std::f64::consts::PI * (frame.nyquist * frame.nyquist - k * k).max(0.0);
        line.k.push(k);
        line.power.push(norm * cell.mean() * area / std::f64::consts::TAU.powi(2));
        line.modes.push(cell.twice / 2);
    }
    let grid = (frame.across, frame.along);
    let centres = |bins: usize, step: f64| (0..bins).map(|i| (i as f64 + 0.5) * step).collect();
    let cell = |(i, j)| &sums.plane[i * frame.along + j];
    let plane = CylindricalPower {
        k_perp: centres(frame.across, frame.unit_across),
        k_par: centres(frame.along, frame.fundamental[line_of_sight]),
        power: Array2::from_shape_fn(grid, |at| norm * cell(at).mean()),
        modes: Array2::from_shape_fn(grid, |at| cell(at).twice / 2),
    };
    Ok(AnisotropicPower {
        multipoles: PowerMultipoles { k: modes.k, power: multipoles, modes: modes.count },
        line,
        plane,
    })
}

/// Wavenumbers along and across the line of sight.
struct Frame {
    shape: [usize; 3],
    axis: usize,
    fundamental: [f64; 3],
    /// The smaller fundamental wavenumber across.
    unit_across: f64,
    nyquist: f64,
    /// Numbers of bins.
    across: usize,
    along: usize,
}

/// Where a mode belongs.
struct Place {
    across: usize,
    along: usize,
    mu2: f64,
    below_nyquist: bool,
}

impl Frame {
    fn new(shape: [usize; 3], extent: [f64; 3], axis: usize) -> Self {
        let fundamental = extent.map(|side| std::f64::consts::TAU / side);
        let [first, second] = [(axis + 1) % 3, (axis + 2) % 3];
        let unit_across = fundamental[first].min(fundamental[second]);
        let largest = [first, second].map(|i| (shape[i] / 2) as f64 * fundamental[i] / unit_across);
        // An axis of one cell has no modes and no limit.
        let limits = (0..3).filter(|&i| shape[i] > 1).map(|i| (shape[i] / 2) as f64 * fundamental[i]);
        Self {
            shape,
            axis,
            fundamental,
            unit_across,
            nyquist: limits.fold(f64::INFINITY, f64::min),
            across: snapped(largest[0].hypot(largest[1])) as usize + 1,
            along: shape[axis] / 2 + 1,
        }
    }

    fn place(&self, index: [usize; 3]) -> Place {
        let m: [f64; 3] = std::array::from_fn(|i| wavenumber(index[i], self.shape[i]) as f64);
        // In units in which equal sides give integers, whose square roots are exact.
        let q: [f64; 3] = std::array::from_fn(|i| m[i] * self.fundamental[i] / self.unit_across);
        let total = q.iter().map(|q| q * q).sum::<f64>();
        let along2 = q[self.axis] * q[self.axis];
        let across = snapped((0..3).filter(|&i| i != self.axis).map(|i| q[i] * q[i]).sum::<f64>().sqrt());
        Place {
            across: (across as usize).min(self.across - 1),
            along: m[self.axis].abs() as usize,
            mu2: if total > 0.0 { along2 / total } else { 0.0 },
            below_nyquist: total.sqrt() * self.unit_across <= self.nyquist * (1.0 + 1e-9),
        }
    }
}

/// A sum over modes and twice their number, which is an integer.
#[derive(Clone, Copy, Default)]
struct Cell {
    sum: f64,
    twice: u64,
}

impl Cell {
    fn add(&mut self, weight: f64, value: f64) {
        self.sum += weight * value;
        self.twice += (2.0 * weight) as u64;
    }

    /// NaN without modes.
    fn mean(&self) -> f64 {
        self.sum / (self.twice as f64 / 2.0)
    }
}

struct Sums {
    /// (2 l + 1) L_l(mu) times the value, in each bin of |k|.
    shells: Vec<[f64; 3]>,
    line: Vec<Cell>,
    plane: Vec<Cell>,
}

impl Sums {
    fn new(modes: &Modes, frame: &Frame) -> Self {
        Self {
            shells: vec![[0.0; 3]; modes.k.len()],
            line: vec![Cell::default(); frame.along],
            plane: vec![Cell::default(); frame.across * frame.along],
        }
    }

    fn add(mut self, other: Self) -> Self {
        let shells = self.shells.iter_mut().flatten().zip(other.shells.iter().flatten());
        shells.for_each(|(a, b)| *a += b);
        let cells = self.line.iter_mut().zip(&other.line).chain(self.plane.iter_mut().zip(&other.plane));
        cells.for_each(|(a, b)| *a = Cell { sum: a.sum + b.sum, twice: a.twice + b.twice });
        self
    }
}

/// The parts in which the planes of a spectrum are summed, in order: the result does not depend on the number of threads.
const PARTS: usize = 16;

fn gather(modes: &Modes, frame: &Frame, value: impl Fn(usize) -> f64 + Sync) -> Sums {
    let [nx, ny, nz] = frame.shape;
    let (half, last) = (nz / 2 + 1, modes.last_window());
    let part = |part: usize| {
        let mut sums = Sums::new(modes, frame);
        for x in part * nx / PARTS..(part + 1) * nx / PARTS {
            for y in 0..ny {
                let (first, row) = ((x * ny + y) * half, modes.row_window(x, y));
                modes.visit_whole_row(x, y, |bin, weight, z| {
                    let power = row * last[z] * value(first + z);
                    let Place { across, along, mu2, below_nyquist } = frame.place([x, y, z]);
                    if let Some(bin) = bin {
                        let quadrupole = 2.5 * (3.0 * mu2 - 1.0);
                        let hexadecapole = 1.125 * ((35.0 * mu2 - 30.0) * mu2 + 3.0);
                        for (sum, factor) in sums.shells[bin].iter_mut().zip([1.0, quadrupole, hexadecapole])
                        {
                            *sum += weight * power * factor;
                        }
                    }
                    if below_nyquist {
                        sums.line[along].add(weight, power);
                    }
                    sums.plane[across * frame.along + along].add(weight, power);
                });
            }
        }
        sums
    };
    let parts: Vec<Sums> = (0..PARTS).into_par_iter().map(part).collect();
    parts.into_iter().fold(Sums::new(modes, frame), Sums::add)
}

#[cfg(test)]
mod tests {
    use halocast_core::{Rng, Unit};
    use ndarray::{Array3, Axis};

    use super::super::{PowerConvention, power_spectrum_3d, transform};
    use super::*;

    fn cube(values: Array3<f32>, extent: [f64; 3]) -> Cube {
        let (length_unit, unit) = (Unit::mpc_h(), Unit::dimensionless());
        Cube { values, extent, length_unit, unit, field: "test".into(), periodic: true }
    }

    fn noise(shape: (usize, usize, usize), extent: [f64; 3], seed: u64) -> Cube {
        let values = Rng::new(seed).normals(shape.0 * shape.1 * shape.2);
        cube(Array3::from_shape_vec(shape, values).unwrap(), extent)
    }

    #[test]
    fn all_modes_are_counted_and_the_monopole_is_the_spectrum() {
        for (shape, extent) in [
            ((8, 8, 8), [3.0; 3]),
            ((7, 7, 7), [3.0; 3]),
            ((6, 9, 4), [1.0, 2.0, 5.0]),
            ((1, 6, 8), [1.0; 3]),
        ] {
            let field = noise(shape, extent, 2);
            let whole = power_spectrum_3d(&field, PowerConvention::pylians()).unwrap();
            let sides = [shape.0, shape.1, shape.2];
            let own: usize = sides.iter().map(|n| if n % 2 == 0 { 2 } else { 1 }).product();
            for axis in 0..3 {
                let found = anisotropic_power(&field, axis, Window::None).unwrap();
                assert_eq!((&found.multipoles.k, &found.multipoles.modes), (&whole.k, &whole.modes));
                for (a, b) in found.multipoles.power[0].iter().zip(&whole.power) {
                    assert!((a / b - 1.0).abs() < 1e-12);
                }
                let independent = (sides.iter().product::<usize>() + own) / 2;
                assert_eq!(found.plane.modes.sum() as usize, independent, "{shape:?} axis {axis}");
            }
        }
    }

    #[test]
    fn quadrupoles_about_three_axes_cancel() {
        // L_2(mu_x) + L_2(mu_y) + L_2(mu_z) = 0 for every mode.
        let field = noise((10, 9, 12), [2.0, 3.0, 2.5], 4);
        let about = [0, 1, 2].map(|axis| anisotropic_power(&field, axis, Window::Cic).unwrap().multipoles);
        for j in 0..about[0].k.len() {
            let sum: f64 = about.iter().map(|m| m.power[1][j]).sum();
            assert!(sum.abs() < 1e-11 * about[0].power[0][j]);
        }
    }

    #[test]
    fn an_isotropic_field_has_a_monopole_alone() {
        let (mut sums, mut modes) = ([0.0; 3], 0.0);
        for seed in 0..20 {
            let found = anisotropic_power(&noise((24, 24, 24), [1.0; 3], seed), 1, Window::None).unwrap();
            for j in 3..11 {
                let count = found.multipoles.modes[j] as f64;
                modes += count;
                (0..3).for_each(|l| sums[l] += count * found.multipoles.power[l][j]);
            }
        }
        // The error of P_l / P_0 is sqrt((2 l + 1) / modes); a lattice of modes has a small hexadecapole of its own.
        let [p0, p2, p4] = sums.map(|s| s / sums[0]);
        assert_eq!(p0, 1.0);
        assert!(p2.abs() < 5.0 * (5.0 / modes).sqrt(), "{p2} of {modes}");
        assert!(p4.abs() < 5.0 * (9.0 / modes).sqrt() + 0.02, "{p4} of {modes}");
    }

    #[test]
    fn waves_have_the_multipoles_of_their_direction() {
        let wave =
            |(x, _, _): (usize, usize, usize)| (std::f64::consts::TAU * 2.0 * x as f64 / 8.0).sin() as f32;
        let field = cube(Array3::from_shape_fn((8, 8, 8), wave), [4.0; 3]);
        for (axis, ratios) in [(0, [1.0, 5.0, 9.0]), (1, [1.0, -2.5, 27.0 / 8.0])] {
            let found = anisotropic_power(&field, axis, Window::None).unwrap();
            let [p0, p2, p4] = found.multipoles.power.map(|p| p[1]);
            assert!((p2 / p0 - ratios[1]).abs() < 1e-6 && (p4 / p0 - ratios[2]).abs() < 1e-6, "axis {axis}");
            // A^2 V / 4 in one mode.
            let cell = if axis == 0 { [0, 2] } else { [2, 0] };
            let power = found.plane.power[cell] * found.plane.modes[cell] as f64;
            assert!((power - 16.0).abs() < 1e-5, "axis {axis}: {power}");
        }
        assert!(anisotropic_power(&field, 3, Window::None).is_err());
    }

    #[test]
    fn the_line_spectrum_adds_up_to_the_variance() {
        // Smoothed noise, so that the modes in the corners beyond the Nyquist sphere have no power.
        let (n, side) = (32, 8.0);
        let fft = RealFft::<f64>::new([n; 3]);
        let mut f = transform(&fft, noise((n, n, n), [side; 3], 7).values.iter().copied());
        let half = n / 2 + 1;
        for (i, amplitude) in f.iter_mut().enumerate() {
            let m = [i / half / n, i / half % n, i % half].map(|i| wavenumber(i, n) as f64);
            *amplitude *= (-0.03 * m.iter().map(|m| m * m).sum::<f64>()).exp();
        }
        let mut real = vec![0.0; n * n * n];
        fft.inverse(&mut f, &mut real);
        let values = Array3::from_shape_vec((n, n, n), real.iter().map(|&v| v as f32).collect()).unwrap();
        for axis in 0..3 {
            // What k_par = 0 holds is the mean along the line of sight; both signs of k_par count.
            let mean = values.mean_axis(Axis(axis)).unwrap().insert_axis(Axis(axis));
            let variance = (&values - &mean).mapv(|v| f64::from(v).powi(2)).mean().unwrap();
            let line = anisotropic_power(&cube(values.clone(), [side; 3]), axis, Window::None).unwrap().line;
            let sum = 2.0 * line.power.iter().sum::<f64>() / side;
            // The circle of modes is a polygon of cells: a few per cent.
            assert!((sum / variance - 1.0).abs() < 0.02, "axis {axis}: {sum} {variance}");
            assert_eq!(line.k.len(), 16);
        }
    }
}

//! Power spectra of maps and cubes, auto and cross, of one field or of an ensemble.

mod angular;
mod anisotropic;
mod binned;
mod convention;
mod derived;
mod interlaced;
mod modes;

use halocast_core::fft::{Complex, RealFft};
use halocast_core::{Cube, Curve, Map};
use ndarray::{Array2, ArrayView1};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Error, Result, ensemble};
pub use angular::{AngularPower, angular_power};
pub use anisotropic::{AnisotropicPower, CylindricalPower, PowerMultipoles, anisotropic_power};
pub use binned::{power_in_bins, power_in_bins_3d};
pub use convention::{Binning, PowerConvention, Window};
pub use derived::BinnedPower;
pub use interlaced::interlaced_power_3d;
pub(crate) use modes::Modes;
use modes::mirrored;

/// The power spectrum of one field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PowerSpectrum {
    /// Wavenumbers, in 1 / length unit.
    pub k: Vec<f64>,
    /// Power, in the field's unit squared times length^d ([`Binning::Pylians`]).
    pub power: Vec<f64>,
    /// The number of independent modes in each bin.
    pub modes: Vec<u64>,
}

/// Two fields' cross spectrum and the auto spectra that belong to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CrossSpectrum {
    /// Wavenumbers, in 1 / length unit.
    pub k: Vec<f64>,
    /// Cross power: the mean of Re(F_1 F_2*), normalised as the auto power.
    pub cross: Vec<f64>,
    /// Auto power of either field.
    pub auto: [Vec<f64>; 2],
    /// The number of independent modes in each bin.
    pub modes: Vec<u64>,
}

impl CrossSpectrum {
    /// The correlation coefficient r(k) = P_12 / sqrt(P_1 P_2), between -1 and 1.
    pub fn coherence(&self) -> Vec<f64> {
        let autos = self.auto[0].iter().zip(&self.auto[1]);
        self.cross.iter().zip(autos).map(|(x, (a, b))| x / (a * b).sqrt()).collect()
    }
}

/// The power spectra of an ensemble of maps.
#[derive(Clone, Debug, PartialEq)]
pub struct PowerSpectra {
    /// Wavenumbers, in 1 / length unit.
    pub k: Vec<f64>,
    /// Lower and upper edge of each bin.
    pub edges: Vec<[f64; 2]>,
    /// Power, `[map, bin]`.
    pub power: Array2<f64>,
    /// The number of independent modes in each bin.
    pub modes: Vec<u64>,
    /// The smallest Nyquist wavenumber of the axes.
    pub nyquist: f64,
    /// The length unit of the maps, as it stands on an axis.
    pub length_unit: String,
}

impl PowerSpectra {
    /// The mean over maps.
    pub fn mean(&self) -> Vec<f64> {
        ensemble::mean(self.power.view())
    }

    /// The standard deviation of one map, with n - 1.
    pub fn std(&self) -> Vec<f64> {
        ensemble::std(self.power.view())
    }

    /// The bins that lie between zero and the Nyquist wavenumber with both their edges: for Pylians' bins of an n x n
    /// map j = 1 ..= n/2 - 1.
    pub fn below_nyquist(&self) -> Vec<usize> {
        let limit = self.nyquist * (1.0 + 1e-9);
        (0..self.k.len()).filter(|&i| self.k[i] > 0.0 && self.edges[i][1] <= limit).collect()
    }

    /// Mean and scatter as a curve.
    pub fn curve(&self) -> Curve {
        let x_label = format!("k [{}]", wavenumber_unit(&self.length_unit));
        ensemble::curve(&self.k, self.power.view(), x_label, "P(k)".into())
    }
}

/// The unit of a wavenumber as it stands on an axis, from that of a length.
fn wavenumber_unit(length: &str) -> String {
    match length {
        "Mpc/h" => "h/Mpc".into(),
        other => format!("1/({other})"),
    }
}

/// The power spectrum of a map. The field is used as it is: no mean is divided out or subtracted; see [`overdensity`].
///
/// P(k) = <|F(k)|^2> A / N^2 with F(k) = sum f(x) exp(-i k x), area A and N pixels, averaged over the independent modes
/// of a bin. k_F = 2 pi / L; when the sides differ, k_F of the bins is that of the longest side, and every axis keeps
/// its own modes. Bins without a mode are left out. The shape may be odd or not square. O(N log N).
///
/// ```
/// use halocast_core::Map;
/// use halocast_stats::{PowerConvention, power_spectrum};
/// use ndarray::Array2;
///
/// // A wave of amplitude 2 along x with three periods in a box of side 10: P = A^2 L^2 / 4 in the mode k = 3 k_F.
/// let wave = |x: usize| 2.0 * (std::f32::consts::TAU * 3.0 * x as f32 / 16.0).cos();
/// let map = Map::square("wave", Array2::from_shape_fn((16, 16), |(_, x)| wave(x)), 10.0);
/// let spectrum = power_spectrum(&map, PowerConvention::pylians())?;
/// let sum = spectrum.power[2] * spectrum.modes[2] as f64;
/// assert!((sum - 100.0).abs() < 1e-4 && spectrum.power[4] < 1e-9);
/// # Ok::<(), halocast_stats::Error>(())
/// ```
///
/// # Errors
/// [`Error::Map`] for a pixel that is not finite; [`Error::Value`] for an empty map or an absurd side.
pub fn power_spectrum(map: &Map, convention: PowerConvention) -> Result<PowerSpectrum> {
    let spectra = power_spectra(std::slice::from_ref(map), convention)?;
    Ok(PowerSpectrum { k: spectra.k, power: spectra.power.into_raw_vec_and_offset().0, modes: spectra.modes })
}

/// The power spectra of an ensemble of maps, in parallel over maps; see [`power_spectrum`].
///
/// # Errors
/// [`Error::TooFew`] for no maps; [`Error::Mismatch`] for maps of different shapes or sizes; [`Error::Map`] naming a
/// pixel that is not finite.
pub fn power_spectra(maps: &[Map], convention: PowerConvention) -> Result<PowerSpectra> {
    ensemble::check("power spectra", "map", maps, 1)?;
    let (shape, extent) = plane(&maps[0]);
    let modes = Modes::new(shape, extent, convention.binning, convention.window);
    let fft = RealFft::<f64>::new(shape);
    let norm = normalisation(shape, extent, convention.binning);
    let bins = modes.k.len();
    let plane = HalfPlane::new(&modes, shape);
    let mut power = Array2::zeros((maps.len(), bins));
    let rows: Vec<_> = power.rows_mut().into_iter().collect();
    rows.into_par_iter().zip(maps).for_each_init(
        || (fft.plane_scratch(), fft.spectrum()),
        |(scratch, spectrum), (mut row, map)| {
            let mut sums = [vec![0.0; bins + 1], vec![0.0; bins + 1]];
            let fill = |y: usize, line: &mut [f64]| widen(map.values.row(y), line);
            fft.forward_plane(scratch, spectrum, fill, |first, block| plane.add(first, block, &mut sums));
            for (bin, out) in row.iter_mut().enumerate() {
                *out = norm * (sums[0][bin] + sums[1][bin]) / modes.count[bin] as f64;
            }
        },
    );
    Ok(PowerSpectra {
        k: modes.k,
        edges: modes.edges,
        power,
        modes: modes.count,
        nyquist: modes.nyquist,
        length_unit: maps[0].length_unit.label.clone(),
    })
}

/// The cross spectrum of two maps, with both auto spectra; see [`power_spectrum`].
///
/// # Errors
/// As [`power_spectra`].
pub fn cross_spectrum(a: &Map, b: &Map, convention: PowerConvention) -> Result<CrossSpectrum> {
    ensemble::check_pair(
        "cross spectrum",
        ("the first map", std::slice::from_ref(a)),
        ("the second map", std::slice::from_ref(b)),
    )?;
    let (shape, extent) = plane(a);
    let fft = RealFft::<f64>::new(shape);
    let spectra = [a, b].map(|m| transform(&fft, m.values.iter().copied()));
    Ok(cross(shape, extent, convention, spectra))
}

/// The power spectrum of a cube; as [`power_spectrum`] with volume V for area.
///
/// # Errors
/// [`Error::Value`] for a cell that is not finite, an empty cube or an absurd side.
pub fn power_spectrum_3d(cube: &Cube, convention: PowerConvention) -> Result<PowerSpectrum> {
    let shape = ensemble::check_cube("power spectrum", "the cube", cube)?;
    let modes = Modes::new(shape, cube.extent, convention.binning, convention.window);
    let norm = normalisation(shape, cube.extent, convention.binning);
    let spectrum = transform_cube(&RealFft::<f64>::new(shape), cube);
    let power = averaged(&modes, shape, norm, |i| spectrum[i].norm_sqr());
    Ok(PowerSpectrum { power, k: modes.k, modes: modes.count })
}

/// The cross spectrum of two cubes.
///
/// # Errors
/// As [`power_spectrum_3d`]; [`Error::Mismatch`] for different shapes or sizes.
pub fn cross_spectrum_3d(a: &Cube, b: &Cube, convention: PowerConvention) -> Result<CrossSpectrum> {
    let operation = "cross spectrum";
    let shape = ensemble::check_cube(operation, "the first cube", a)?;
    ensemble::check_cube(operation, "the second cube", b)?;
    if a.values.shape() != b.values.shape() || a.extent != b.extent {
        let describe = |c: &Cube| format!("{:?} cells on {:?}", c.values.shape(), c.extent);
        let what = "the second cube".into();
        return Err(Error::Mismatch { operation, what, expected: describe(a), got: describe(b) });
    }
    let fft = RealFft::<f64>::new(shape);
    let spectra = [transform_cube(&fft, a), transform_cube(&fft, b)];
    Ok(cross(shape, a.extent, convention, spectra))
}

/// The overdensity `f / <f> - 1`, a pure number.
///
/// # Errors
/// [`Error::Value`] when the mean is not positive.
pub fn overdensity(map: &Map) -> Result<Map> {
    ensemble::check("overdensity", "map", std::slice::from_ref(map), 1)?;
    let mean = map.values.iter().map(|&v| f64::from(v)).sum::<f64>() / map.values.len() as f64;
    if mean <= 0.0 {
        let (what, expected) = (format!("mean of field {:?}", map.field), "positive".into());
        return Err(Error::Value { operation: "overdensity", what, expected, got: mean.to_string() });
    }
    let delta = map.map_values(|v| (f64::from(v) / mean - 1.0) as f32);
    Ok(delta.with_unit(halocast_core::Unit::dimensionless()))
}

fn plane(map: &Map) -> ([usize; 3], [f64; 3]) {
    let [ny, nx] = map.shape();
    ([1, ny, nx], [1.0, map.extent[0], map.extent[1]])
}

/// V / N^2, or 1 / N^2 for Mudur's rings.
pub(crate) fn normalisation(shape: [usize; 3], extent: [f64; 3], binning: Binning) -> f64 {
    let cells = shape.iter().product::<usize>() as f64;
    match binning {
        Binning::Pylians => extent.iter().product::<f64>() / (cells * cells),
        Binning::Mudur => 1.0 / (cells * cells),
    }
}

fn transform(fft: &RealFft<f64>, values: impl Iterator<Item = f32>) -> Vec<Complex<f64>> {
    let real: Vec<f64> = values.map(f64::from).collect();
    let mut spectrum = fft.spectrum();
    fft.forward(&real, &mut spectrum);
    spectrum
}

/// The spectrum of a cube; its rows are widened as they are transformed.
fn transform_cube(fft: &RealFft<f64>, cube: &Cube) -> Vec<Complex<f64>> {
    let mut spectrum = fft.spectrum();
    let ny = cube.values.shape()[1];
    let fill = |row: usize, line: &mut [f64]| {
        widen(cube.values.slice(ndarray::s![row / ny, row % ny, ..]), line);
    };
    fft.forward_rows(fill, &mut spectrum);
    spectrum
}

fn widen(values: ArrayView1<'_, f32>, line: &mut [f64]) {
    match values.as_slice() {
        Some(values) => line.iter_mut().zip(values).for_each(|(out, &v)| *out = f64::from(v)),
        None => line.iter_mut().zip(&values).for_each(|(out, &v)| *out = f64::from(v)),
    }
}

/// Bins and weights of the modes of a plane by column, y up to the middle: made once for an ensemble of maps.
struct HalfPlane {
    ny: usize,
    bins: Vec<u32>,
    weights: Vec<f64>,
}

impl HalfPlane {
    fn new(modes: &Modes, shape: [usize; 3]) -> Self {
        let (ny, half) = (shape[1], modes.half());
        let rows = ny / 2 + 1;
        let (mut bins, mut weights) = (vec![0; rows * half], vec![0.0; rows * half]);
        let (mut bin, mut weight) = (vec![0; half], vec![0.0; half]);
        for y in 0..rows {
            modes.row(0, y, &mut bin, &mut weight);
            for z in 0..half {
                (bins[z * rows + y], weights[z * rows + y]) = (bin[z], weight[z]);
            }
        }
        Self { ny, bins, weights }
    }

    /// Adds the power of columns from `first` on. The modes at y and -y are one; neighbours go to two sums in turns, so
    /// that none waits for the other.
    fn add(&self, first: usize, block: &[Complex<f64>], sums: &mut [Vec<f64>; 2]) {
        let (ny, rows) = (self.ny, self.ny / 2 + 1);
        let [even, odd] = sums;
        let mut power = vec![0.0; rows];
        for (column, at) in block.chunks_exact(ny).zip((first * rows..).step_by(rows)) {
            let (front, back) = (&column[1..rows], &column[ny + 1 - rows..]);
            power[0] = column[0].norm_sqr();
            for ((out, f), b) in power[1..].iter_mut().zip(front).zip(back.iter().rev()) {
                *out = f.norm_sqr() + b.norm_sqr();
            }
            if ny.is_multiple_of(2) {
                // The Nyquist row is its own mirror.
                power[rows - 1] *= 0.5;
            }
            let (bins, weights) = (&self.bins[at..][..rows], &self.weights[at..][..rows]);
            let pairs = bins.chunks(2).zip(weights.chunks(2)).zip(power.chunks(2));
            for ((bin, weight), power) in pairs {
                even[bin[0] as usize] += weight[0] * power[0];
                if let ([_, bin], [_, weight], [_, power]) = (bin, weight, power) {
                    odd[*bin as usize] += weight * power;
                }
            }
        }
    }
}

fn cross(
    shape: [usize; 3],
    extent: [f64; 3],
    convention: PowerConvention,
    [a, b]: [Vec<Complex<f64>>; 2],
) -> CrossSpectrum {
    let modes = Modes::new(shape, extent, convention.binning, convention.window);
    let norm = normalisation(shape, extent, convention.binning);
    let cross = averaged(&modes, shape, norm, |i| (a[i] * b[i].conj()).re);
    let auto = [&a, &b].map(|f| averaged(&modes, shape, norm, |i| f[i].norm_sqr()));
    CrossSpectrum { cross, auto, k: modes.k, modes: modes.count }
}

fn averaged(modes: &Modes, shape: [usize; 3], norm: f64, value: impl Fn(usize) -> f64 + Sync) -> Vec<f64> {
    let sums = bin_sums(modes, shape, value);
    sums.iter().zip(&modes.count).map(|(sum, &count)| norm * sum / count as f64).collect()
}

/// Weighted sums of `value` over the modes of each bin. The rows at +-x and +-y have the same bins: they are added first.
/// The planes +-x are summed by themselves and these pairs in order, so that the result does not depend on the number of
/// threads.
fn bin_sums(modes: &Modes, shape: [usize; 3], value: impl Fn(usize) -> f64 + Sync) -> Vec<f64> {
    let (half, count) = (modes.half(), modes.k.len());
    let planes = |x: usize| {
        let mut sums = vec![0.0; count + 1];
        let (mut bins, mut weights, mut row) = (vec![0; half], vec![0.0; half], vec![0.0; half]);
        for y in 0..=shape[1] / 2 {
            row.fill(0.0);
            for x in mirrored(x, shape[0]) {
                for y in mirrored(y, shape[1]) {
                    let first = (x * shape[1] + y) * half;
                    row.iter_mut().enumerate().for_each(|(z, sum)| *sum += value(first + z));
                }
            }
            modes.row(x, y, &mut bins, &mut weights);
            for ((bin, weight), row) in bins.iter().zip(&weights).zip(&row) {
                sums[*bin as usize] += weight * row;
            }
        }
        sums
    };
    let planes: Vec<Vec<f64>> = (0..=shape[0] / 2).into_par_iter().map(planes).collect();
    planes.into_iter().fold(vec![0.0; count], |mut total, plane| {
        total.iter_mut().zip(plane).for_each(|(t, p)| *t += p);
        total
    })
}

#[cfg(test)]
mod tests {
    use halocast_core::{Rng, Unit};
    use ndarray::Array3;

    use super::*;

    fn noise(shape: (usize, usize), extent: [f64; 2], seed: u64) -> Map {
        let values = Array2::from_shape_vec(shape, Rng::new(seed).normals(shape.0 * shape.1)).unwrap();
        Map { extent, ..Map::square("noise", values, 1.0) }
    }

    #[test]
    fn parseval_holds_for_any_shape() {
        // Sum over all modes of P / V is the variance: count pairs twice and self-conjugate modes once.
        for (shape, extent) in
            [((8, 8), [3.0, 3.0]), ((9, 15), [2.0, 5.0]), ((16, 6), [1.0, 7.0]), ((7, 8), [2.0, 2.0])]
        {
            let map = noise(shape, extent, 3);
            let (dims, sides) = plane(&map);
            let modes = Modes::new(dims, sides, Binning::Pylians, Window::None);
            let f = transform(&RealFft::new(dims), map.values.iter().copied());
            let sums = bin_sums(&modes, dims, |i| f[i].norm_sqr());
            let own = |n: usize| if n.is_multiple_of(2) { vec![0, n / 2] } else { vec![0] };
            let mut selves = 0.0;
            for y in own(shape.0) {
                for x in own(shape.1) {
                    if (y, x) != (0, 0) {
                        selves += f[y * (shape.1 / 2 + 1) + x].norm_sqr();
                    }
                }
            }
            let n = map.values.len() as f64;
            let mean = map.values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
            let variance = map.values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
            let total = (2.0 * sums.iter().sum::<f64>() - selves) / (n * n);
            assert!((total / variance - 1.0).abs() < 1e-12, "{shape:?}: {total} {variance}");
        }
    }

    #[test]
    fn white_noise_has_the_power_of_its_pixels() {
        // P = sigma^2 A / N; the error of the mean over maps and modes is 1 / sqrt(modes).
        let maps: Vec<Map> = (0..50).map(|s| noise((32, 32), [10.0, 10.0], s)).collect();
        let spectra = power_spectra(&maps, PowerConvention::pylians()).unwrap();
        let expected = 100.0 / 1024.0;
        for (p, &modes) in spectra.mean().iter().zip(&spectra.modes) {
            let error = expected / (50.0 * modes as f64).sqrt();
            assert!((p - expected).abs() < 5.0 * error, "{p} {expected} {error}");
        }
        assert_eq!(spectra.below_nyquist(), (0..15).collect::<Vec<_>>());
    }

    #[test]
    fn wavenumbers_have_the_inverse_unit_of_lengths() {
        let map = noise((4, 4), [1.0; 2], 1);
        let label = |map: Map| power_spectra(&[map], PowerConvention::pylians()).unwrap().curve().x_label;
        assert_eq!(label(map.clone()), "k [h/Mpc]");
        assert_eq!(label(Map { length_unit: Unit::kpc_h(), ..map }), "k [1/(ckpc/h)]");
    }

    #[test]
    fn a_gaussian_field_gives_back_its_spectrum() {
        // Each mode's amplitude is sqrt(P), its phase at random: the power of every bin is exact.
        let (n, side) = (24, 6.0);
        let fft = RealFft::<f64>::new([1, n, n]);
        let mut spectrum = transform(&fft, noise((n, n), [side; 2], 1).values.iter().copied());
        let p = |k: f64| (1.0 + k).powi(-2);
        let k_f = std::f64::consts::TAU / side;
        for y in 0..n {
            for x in 0..=n / 2 {
                let ky = halocast_core::fft::wavenumber(y, n) as f64;
                let k = (ky * ky + (x * x) as f64).sqrt().floor();
                let f = &mut spectrum[y * (n / 2 + 1) + x];
                *f *= (p(k * k_f)).sqrt() * (n * n) as f64 / side / f.norm();
            }
        }
        let mut real = vec![0.0; n * n];
        fft.inverse(&mut spectrum, &mut real);
        let values = Array2::from_shape_vec((n, n), real.iter().map(|&v| v as f32).collect()).unwrap();
        let found = power_spectrum(&Map::square("grf", values, side), PowerConvention::pylians()).unwrap();
        for (j, found) in found.power.iter().enumerate() {
            assert!((found / p((j + 1) as f64 * k_f) - 1.0).abs() < 1e-5, "bin {j}");
        }
    }

    #[test]
    fn cross_of_a_map_with_itself_is_its_power() {
        let map = noise((10, 13), [4.0, 4.0], 8);
        let auto = power_spectrum(&map, PowerConvention::pylians()).unwrap();
        let cross = cross_spectrum(&map, &map, PowerConvention::pylians()).unwrap();
        // One sums columns, the other rows.
        assert!(auto.power.iter().zip(&cross.cross).all(|(a, b)| (a / b - 1.0).abs() < 1e-12));
        assert!(cross.coherence().iter().all(|r| (r - 1.0).abs() < 1e-12));
        let minus = cross_spectrum(&map, &map.map_values(|v| -2.0 * v), PowerConvention::pylians()).unwrap();
        assert!(minus.coherence().iter().all(|r| (r + 1.0).abs() < 1e-12));
    }

    #[test]
    fn a_cube_constant_along_z_has_the_spectrum_of_its_face() {
        let n = 12;
        let map = noise((n, n), [5.0; 2], 4);
        let cube = Cube {
            values: Array3::from_shape_fn((n, n, n), |(x, y, _)| map.values[[y, x]]),
            extent: [5.0; 3],
            length_unit: Unit::mpc_h(),
            unit: Unit::dimensionless(),
            field: "noise".into(),
            periodic: true,
        };
        let face = power_spectrum(&map, PowerConvention::pylians()).unwrap();
        let whole = power_spectrum_3d(&cube, PowerConvention::pylians()).unwrap();
        // Sums over modes agree in bins without Nyquist modes: P3 N3 = L P2 N2.
        for j in 0..n / 2 - 1 {
            let (a, b) = (whole.power[j] * whole.modes[j] as f64, 5.0 * face.power[j] * face.modes[j] as f64);
            assert!((a / b - 1.0).abs() < 1e-10);
        }
        let single = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(whole, single.install(|| power_spectrum_3d(&cube, PowerConvention::pylians())).unwrap());
    }

    #[test]
    fn mudur_power_is_the_square_of_the_normalised_transform() {
        let map = Map::square("flat", Array2::from_elem((8, 8), 3.0), 25.0);
        let spectrum = power_spectrum(&map, PowerConvention::mudur()).unwrap();
        assert_eq!(spectrum.k.len(), 4);
        assert!((spectrum.power[0] - 9.0).abs() < 1e-12 && spectrum.power[1] < 1e-20);
    }
}

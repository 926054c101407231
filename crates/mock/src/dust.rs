//! Maps of interstellar dust: turbulent, lognormal, with filaments.

use halocast_core::fft::{Complex, RealFft, wavenumber};
use halocast_core::{Map, Rng, Unit};
use ndarray::Array2;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Result, require};

const OPERATION: &str = "dust map";
/// Alternations between the two prescribed statistics.
const ROUNDS: usize = 12;
/// Octaves of ridges.
const OCTAVES: usize = 3;

/// A map of extinction A_V in magnitudes, on a periodic square.
///
/// The logarithm s = ln A_V has a prescribed distribution, normal with standard deviation `sigma`, and a prescribed power
/// spectrum, k^-`slope`; what is left free, its phases, comes from a field of ridges. It is made in three steps.
///
/// 1. Ridges: -ln(|g|/sigma_g + 0.1) of Gaussian fields g of three octaves, which is high along the curves g = 0, weighed
///    by `filaments` against a plain Gaussian field.
/// 2. Turbulence draws the ridges out: each point takes its value from where a Gaussian velocity field puts it.
/// 3. The power spectrum and the distribution are imposed in turns, twelve times, with phases kept (the iterated amplitude
///    adjustment of surrogate data). The distribution is exact; the spectrum follows to the tolerance that the tests state.
///
/// With `filaments` = 0 the map is an exponentiated Gaussian field, the control: same distribution, same spectrum, no
/// filaments.
///
/// ```
/// use halocast_mock::DustConfig;
/// let map = DustConfig { size: 64, sigma: 0.6, ..Default::default() }.map()?;
/// assert_eq!(map.shape(), [64, 64]);
/// assert!(map.values.iter().all(|v| *v > 0.0));
/// # Ok::<(), halocast_mock::Error>(())
/// ```
///
/// # Source
/// Lognormal columns of supersonic turbulence: Vazquez-Semadeni & Garcia 2001; Burkhart & Lazarian 2012, ApJL 755, L19.
/// Slope of dust maps near -2.9: Miville-Deschenes et al. 2007, A&A 469, 595; 2010, A&A 518, L104. Iteration: Schreiber &
/// Schmitz 1996, Phys. Rev. Lett. 77, 635.
///
/// # Differences
/// There is no self-gravity, which adds a power-law tail to the distribution, and no velocity information.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DustConfig {
    /// Pixels a side.
    pub size: usize,
    /// Side of the map in degrees.
    pub side: f64,
    /// Mean extinction in magnitudes.
    pub mean: f64,
    /// Standard deviation of ln A_V.
    pub sigma: f64,
    /// P(k) of ln A_V is proportional to k^-slope.
    pub slope: f64,
    /// The outer scale over the side of the map: there is no more power on larger scales.
    pub outer_scale: f64,
    /// The weight of ridges, 0 to 1.
    pub filaments: f64,
    /// The seed.
    pub seed: u64,
}

impl Default for DustConfig {
    /// A cirrus field like those that Mudur & Finkbeiner (2022) learn from: 128^2 pixels.
    fn default() -> Self {
        Self {
            size: 128,
            side: 8.0,
            mean: 1.0,
            sigma: 0.55,
            slope: 2.9,
            outer_scale: 0.5,
            filaments: 0.8,
            seed: 0,
        }
    }
}

impl DustConfig {
    /// The standard deviation of ln A_V of turbulence with sonic Mach number `mach` driven by `b` = 1/3 (solenoidal) to 1
    /// (compressive): sigma^2 = 0.11 ln(1 + b^2 M^2) (Burkhart & Lazarian 2012, equation 4).
    pub fn sigma_of_turbulence(mach: f64, b: f64) -> f64 {
        (0.11 * (b * b * mach * mach).ln_1p()).sqrt()
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`crate::Error::Config`] naming the first field outside its domain.
    pub fn validate(&self) -> Result<()> {
        require((8..=8192).contains(&self.size), OPERATION, "size", "8 to 8192 pixels", self.size)?;
        for (field, value, low, high) in [
            ("side", self.side, 1e-6, 360.0),
            ("mean", self.mean, 1e-9, 1e6),
            ("sigma", self.sigma, 1e-3, 3.0),
            ("slope", self.slope, 0.0, 6.0),
            ("outer_scale", self.outer_scale, 0.01, 1.0),
            ("filaments", self.filaments, 0.0, 1.0),
        ] {
            require((low..=high).contains(&value), OPERATION, field, format!("{low} to {high}"), value)?;
        }
        Ok(())
    }

    /// Makes the map, field `Av`. Cost: about 50 transforms of size^2 points and twelve sorts of them.
    ///
    /// # Errors
    /// As [`DustConfig::validate`].
    pub fn map(&self) -> Result<Map> {
        self.validate()?;
        let n = self.size;
        let plane = Plane::new(n);
        let rng = Rng::new(self.seed).split_named("dust");
        let outer = 1.0 / self.outer_scale;
        let amplitude = |k: f64| k.max(outer).powf(-0.5 * self.slope);

        let mut field = plane.gaussian(amplitude, &mut rng.split_named("smooth"));
        if self.filaments > 0.0 {
            let mut ridges = vec![0.0; n * n];
            for octave in 0..OCTAVES {
                let from = 1.5 * outer * f64::from(1u32 << octave);
                let g = plane.gaussian(
                    |k| k.max(from).powf(-1.8),
                    &mut rng.split_named("ridges").split(octave as u64),
                );
                let weight = 0.65f64.powi(octave as i32);
                ridges.iter_mut().zip(&g).for_each(|(r, g)| *r -= weight * (g.abs() + 0.1).ln());
            }
            standardise(&mut ridges);
            let (f, rest) = (self.filaments, 1.0 - self.filaments);
            field.iter_mut().zip(&ridges).for_each(|(s, r)| *s = rest * *s + f * r);
            // Displacements of a twentieth of the outer scale.
            let shifts = ["x", "y"].map(|axis| {
                plane
                    .gaussian(|k| k.max(outer).powf(-2.0), &mut rng.split_named("velocity").split_named(axis))
            });
            field = warp(&field, &shifts, 0.05 * self.outer_scale * n as f64, n);
        }
        let quantiles = normal_quantiles(n * n);
        for _ in 0..ROUNDS {
            plane.impose(&mut field, amplitude);
            rank(&mut field, &quantiles);
        }
        // <exp(sigma x)> = exp(sigma^2 / 2).
        let median = self.mean * (-0.5 * self.sigma * self.sigma).exp();
        let values = field.iter().map(|&x| (median * (self.sigma * x).exp()) as f32).collect();
        let values = Array2::from_shape_vec((n, n), values).unwrap_or_else(|_| Array2::zeros((n, n)));
        Ok(Map {
            values,
            extent: [self.side; 2],
            length_unit: Unit::degree(),
            unit: Unit::new("mag", 1.0, 0.0, 0.0),
            field: "Av".into(),
            periodic: true,
        })
    }
}

/// Transforms on a square of n^2 points, wavenumbers in units of 2 pi / side.
struct Plane {
    n: usize,
    fft: RealFft<f64>,
}

impl Plane {
    fn new(n: usize) -> Self {
        Self { n, fft: RealFft::new([1, n, n]) }
    }

    /// |k| of mode `index` of the spectrum.
    fn wavenumber(&self, index: usize) -> f64 {
        let half = self.n / 2 + 1;
        let (y, x) = (wavenumber(index / half, self.n) as f64, (index % half) as f64);
        x.hypot(y)
    }

    /// A Gaussian field of zero mean and unit variance with spectrum amplitude^2.
    fn gaussian(&self, amplitude: impl Fn(f64) -> f64 + Sync, rng: &mut Rng) -> Vec<f64> {
        let white: Vec<f64> = rng.normals(self.n * self.n).into_iter().map(f64::from).collect();
        let mut spectrum = self.fft.spectrum();
        self.fft.forward(&white, &mut spectrum);
        spectrum.par_iter_mut().enumerate().for_each(|(i, c)| {
            *c *= if i == 0 { 0.0 } else { amplitude(self.wavenumber(i)) };
        });
        let mut field = white;
        self.fft.inverse(&mut spectrum, &mut field);
        standardise(&mut field);
        field
    }

    /// Gives every mode the amplitude of its wavenumber, and keeps its phase.
    fn impose(&self, field: &mut [f64], amplitude: impl Fn(f64) -> f64 + Sync) {
        let mut spectrum = self.fft.spectrum();
        self.fft.forward(field, &mut spectrum);
        spectrum.par_iter_mut().enumerate().for_each(|(i, c)| {
            let size = c.norm();
            *c = if i == 0 || size == 0.0 {
                Complex::new(0.0, 0.0)
            } else {
                *c * (amplitude(self.wavenumber(i)) / size)
            };
        });
        self.fft.inverse(&mut spectrum, field);
    }
}

/// Shifts to zero mean and scales to unit variance.
fn standardise(field: &mut [f64]) {
    let n = field.len() as f64;
    let mean = field.iter().sum::<f64>() / n;
    let square = field.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    let scale = if square > 0.0 { square.sqrt().recip() } else { 0.0 };
    field.iter_mut().for_each(|v| *v = (*v - mean) * scale);
}

/// The field at x + `size` times the shifts, bilinear, periodic.
fn warp(field: &[f64], shifts: &[Vec<f64>; 2], size: f64, n: usize) -> Vec<f64> {
    (0..n * n)
        .into_par_iter()
        .map(|i| {
            let x = (i % n) as f64 + size * shifts[0][i];
            let y = (i / n) as f64 + size * shifts[1][i];
            let (x0, y0) = (x.floor(), y.floor());
            let (tx, ty) = (x - x0, y - y0);
            let at = |dx: i64, dy: i64| {
                let wrap = |v: f64, d: i64| (v as i64 + d).rem_euclid(n as i64) as usize;
                field[wrap(y0, dy) * n + wrap(x0, dx)]
            };
            (1.0 - ty) * ((1.0 - tx) * at(0, 0) + tx * at(1, 0))
                + ty * ((1.0 - tx) * at(0, 1) + tx * at(1, 1))
        })
        .collect()
}

/// Replaces the values by `quantiles` in their order.
fn rank(field: &mut [f64], quantiles: &[f64]) {
    let mut order: Vec<u32> = (0..field.len() as u32).collect();
    order.par_sort_unstable_by(|&a, &b| field[a as usize].total_cmp(&field[b as usize]).then(a.cmp(&b)));
    order.iter().zip(quantiles).for_each(|(&i, &q)| field[i as usize] = q);
}

/// The normal quantiles of (i + 1/2) / n, scaled to unit variance.
fn normal_quantiles(n: usize) -> Vec<f64> {
    let mut quantiles: Vec<f64> =
        (0..n).into_par_iter().map(|i| normal_quantile((i as f64 + 0.5) / n as f64)).collect();
    standardise(&mut quantiles);
    quantiles
}

/// The inverse of the cumulative normal distribution, to a relative 1.2e-9 (Acklam 2003).
fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 6] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 5] = [
        7.784_695_709_041_462e-3,
        3.224_671_290_700_398e-1,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
        1.0,
    ];
    let horner = |c: &[f64], x: f64| c.iter().fold(0.0, |sum, &c| sum * x + c);
    if p > 0.5 {
        return -normal_quantile(1.0 - p);
    }
    if p < 0.024_25 {
        let q = (-2.0 * p.ln()).sqrt();
        return horner(&C, q) / horner(&D, q);
    }
    let q = p - 0.5;
    q * horner(&A, q * q) / horner(&B, q * q)
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn quantiles_are_those_of_tables() {
        for (p, x) in [
            (0.5, 0.0),
            (0.841_344_746, 1.0),
            (0.977_249_868, 2.0),
            (0.001_349_898, -3.0),
            (0.025, -1.959_964),
        ] {
            assert_relative_eq!(normal_quantile(p), x, epsilon = 1e-6);
        }
    }

    #[test]
    fn ranks_keep_the_order_and_take_the_values() {
        let mut field = vec![3.0, -1.0, 10.0, 3.0];
        rank(&mut field, &[-1.5, -0.5, 0.5, 1.5]);
        assert_eq!(field, [-0.5, -1.5, 1.5, 0.5]);
    }

    #[test]
    fn a_shift_of_whole_pixels_is_a_roll() {
        let field: Vec<f64> = (0..64).map(f64::from).collect();
        let shifts = [vec![1.0; 64], vec![-1.0; 64]];
        let moved = warp(&field, &shifts, 2.0, 8);
        assert!((0..64).all(|i| moved[i] == field[(i / 8 + 6) % 8 * 8 + (i % 8 + 2) % 8]));
    }
}

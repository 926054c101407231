//! Wavelet scattering coefficients of periodic maps.

use std::f64::consts::{PI, TAU};

use halocast_core::Map;
use halocast_core::fft::{Complex, RealFft, wavenumber};
use ndarray::{Array2, Array4};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Error, Result, ensemble};

const OPERATION: &str = "wavelet scattering";

/// The scattering coefficients of one map.
#[derive(Clone, Debug, PartialEq)]
pub struct Scattering {
    /// S0, the mean of the map.
    pub zeroth: f64,
    /// S1, `[j, l]`: scale 2^j pixels, orientation l.
    pub first: Array2<f64>,
    /// S2, `[j1, l1, j2, l2]`; NaN unless j2 > j1, where modulation on a smaller scale than the wave's has no meaning.
    pub second: Array4<f64>,
}

/// The scattering coefficients without their orientation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IsotropicScattering {
    /// The mean of the map.
    pub zeroth: f64,
    /// The mean of S1 over orientations, by j.
    pub first: Vec<f64>,
    /// (j1, j2, |l2 - l1| on the circle of half a turn) of each number in `second`.
    pub index: Vec<[usize; 3]>,
    /// The mean of S2 over pairs of orientations of one difference.
    pub second: Vec<f64>,
}

impl Scattering {
    /// Means over orientations; differences of orientation are kept, up to their sign.
    pub fn isotropic(&self) -> IsotropicScattering {
        let (scales, turns) = self.first.dim();
        let first = self.first.rows().into_iter().map(|row| row.sum() / turns as f64).collect();
        let (mut index, mut second) = (Vec::new(), Vec::new());
        for j1 in 0..scales {
            for j2 in j1 + 1..scales {
                for d in 0..=turns / 2 {
                    let pairs = (0..turns).flat_map(|a| [(a, (a + d) % turns), ((a + d) % turns, a)]);
                    let sum: f64 = pairs.map(|(a, b)| self.second[[j1, a, j2, b]]).sum();
                    index.push([j1, j2, d]);
                    second.push(sum / (2 * turns) as f64);
                }
            }
        }
        IsotropicScattering { zeroth: self.zeroth, first, index, second }
    }
}

impl IsotropicScattering {
    /// ln S1 and ln (S2 / S1(j1)), the numbers that are used as features of a map.
    pub fn features(&self) -> Vec<f64> {
        let ratio = |(at, s): (&[usize; 3], &f64)| (s / self.first[at[0]]).ln();
        self.first.iter().map(|s| s.ln()).chain(self.index.iter().zip(&self.second).map(ratio)).collect()
    }
}

/// A bank of Morlet wavelets for maps of one shape: made once, used for any number of maps.
///
/// $$ \hat\psi(k) = e^{-\sigma^2 [(k_u - \xi)^2 + (k_v / s)^2] / 2} - \beta\, e^{-\sigma^2 [k_u^2 + (k_v / s)^2] / 2} $$
///
/// with k in radians a pixel, k_u along and k_v across the direction theta of the wave, beta such that psi(0) = 0; at
/// scale j of J and orientation l of L
///
/// $$ \xi = \tfrac{3\pi}{4} 2^{-j}, \quad \sigma = 0.8 \cdot 2^j, \quad s = 4 / L, \quad \theta = \pi (\lfloor L/2 \rfloor - 1 - l) / L, $$
///
/// the sum over the images k + 2 pi m that sampling folds together. Coefficients are means over the pixels,
///
/// $$ S_0 = \langle f \rangle, \quad S_1 = \langle |f \star \psi_1| \rangle, \quad S_2 = \langle ||f \star \psi_1| \star \psi_2| \rangle. $$
///
/// ```
/// use halocast_core::{Map, Rng};
/// use halocast_stats::ScatteringBank;
/// use ndarray::Array2;
///
/// let mut rng = Rng::new(1);
/// let map = Map::square("noise", Array2::from_shape_fn((32, 32), |_| rng.normal() as f32), 25.0);
/// let found = ScatteringBank::new([32, 32], 3, 4)?.coefficients(&[map])?.remove(0);
/// assert_eq!(found.first.dim(), (3, 4));
/// // White noise: half the amplitude at twice the scale.
/// let s1 = found.isotropic().first;
/// assert!((s1[1] / s1[2] - 2.0).abs() < 0.5);
/// # Ok::<(), halocast_stats::Error>(())
/// ```
///
/// # Source
/// Mallat 2012; Bruna & Mallat 2013; the bank of Kymatio (Andreux et al. 2020) and of Cheng, Ting, Menard & Bruna 2020 and
/// Cheng & Menard 2021.
///
/// # Differences
/// Kymatio's scattering averages over a window of 2^J pixels and takes every 2^J-th; here the window is the whole map.
/// Nothing is subsampled between the wavelets, so that the coefficients do not change when a map is shifted.
pub struct ScatteringBank {
    shape: [usize; 2],
    scales: usize,
    orientations: usize,
    /// The wavelets in Fourier space, whole planes, `[j, l]`.
    wavelets: Vec<Vec<f64>>,
}

impl ScatteringBank {
    /// The wavelets of `scales` octaves and `orientations` directions, for maps of `shape`, `[y, x]`.
    ///
    /// # Errors
    /// [`Error::Value`] for a map without pixels, no scale or orientation, or a scale 2^(J - 1) beyond an eighth of the
    /// shorter side, whose wavelet does not fit.
    pub fn new(shape: [usize; 2], scales: usize, orientations: usize) -> Result<Self> {
        let refuse = |what: &str, expected: String, got: String| {
            Err(Error::Value { operation: OPERATION, what: what.into(), expected, got })
        };
        if shape.contains(&0) {
            return refuse("the shape of the map", "not empty".into(), format!("{shape:?}"));
        }
        let most = (shape[0].min(shape[1]) / 4).checked_ilog2().unwrap_or(0) as usize;
        if !(1..=most).contains(&scales) {
            return refuse("the number of scales", format!("1 to {most} for {shape:?}"), scales.to_string());
        }
        if !(1..=64).contains(&orientations) {
            return refuse("the number of orientations", "1 to 64".into(), orientations.to_string());
        }
        let each = (0..scales).flat_map(|j| (0..orientations).map(move |l| (j, l)));
        let wavelets = each
            .collect::<Vec<_>>()
            .into_par_iter()
            .map(|(j, l)| Morlet::new(j, l, orientations).plane(shape))
            .collect();
        Ok(Self { shape, scales, orientations, wavelets })
    }

    /// The coefficients of every map. O(J L N log N) for the first order, O(J^2 L^2 N log N) with the second.
    ///
    /// # Errors
    /// [`Error::TooFew`], [`Error::Mismatch`], [`Error::Map`] as for [`power_spectra`](crate::power_spectra);
    /// [`Error::Value`] for a map that is not periodic.
    pub fn coefficients(&self, maps: &[Map]) -> Result<Vec<Scattering>> {
        ensemble::check(OPERATION, "map", maps, 1)?;
        if maps[0].shape() != self.shape {
            let (what, expected) = ("map 0".into(), format!("{:?} pixels", self.shape));
            let got = format!("{:?}", maps[0].shape());
            return Err(Error::Mismatch { operation: OPERATION, what, expected, got });
        }
        if let Some(i) = maps.iter().position(|m| !m.periodic) {
            let (what, expected) = (format!("map {i}"), "periodic".into());
            return Err(Error::Value { operation: OPERATION, what, expected, got: "open".into() });
        }
        let fft = RealFft::<f64>::new([1, self.shape[0], self.shape[1]]);
        Ok(maps.iter().map(|map| self.of(&fft, map)).collect())
    }

    fn of(&self, fft: &RealFft<f64>, map: &Map) -> Scattering {
        let (scales, turns) = (self.scales, self.orientations);
        let values: Vec<f64> = map.values.iter().map(|&v| f64::from(v)).collect();
        let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
        let spectrum = |v: &[f64]| {
            let mut out = fft.spectrum();
            fft.forward(v, &mut out);
            out
        };
        let whole = spectrum(&values);
        let rows: Vec<(f64, Vec<f64>)> = (0..scales * turns)
            .into_par_iter()
            .map(|first| {
                let wave = self.modulus(fft, &whole, first);
                let next = (first / turns + 1) * turns;
                // The waves of the largest scale have no second order.
                if next >= scales * turns {
                    return (mean(&wave), Vec::new());
                }
                let modulation = spectrum(&wave);
                let second =
                    (next..scales * turns).map(|second| mean(&self.modulus(fft, &modulation, second)));
                (mean(&wave), second.collect())
            })
            .collect();
        let first = Array2::from_shape_fn((scales, turns), |(j, l)| rows[j * turns + l].0);
        let second = Array4::from_shape_fn((scales, turns, scales, turns), |(j1, l1, j2, l2)| {
            if j2 > j1 { rows[j1 * turns + l1].1[(j2 - j1 - 1) * turns + l2] } else { f64::NAN }
        });
        Scattering { zeroth: mean(&values), first, second }
    }

    /// |f * psi| of a field given by half of its spectrum. The wavelet is real in Fourier space: its even part gives the real
    /// part of the convolution, and its odd part, times i, the imaginary part.
    fn modulus(&self, fft: &RealFft<f64>, spectrum: &[Complex<f64>], wavelet: usize) -> Vec<f64> {
        let [ny, nx] = self.shape;
        let (half, psi) = (nx / 2 + 1, &self.wavelets[wavelet]);
        let (mut even, mut odd) = (spectrum.to_vec(), spectrum.to_vec());
        for y in 0..ny {
            for x in 0..half {
                let here = psi[y * nx + x];
                let opposite = psi[(ny - y) % ny * nx + (nx - x) % nx];
                let at = y * half + x;
                even[at] *= 0.5 * (here + opposite);
                // -i times the odd part, whose transform is real.
                odd[at] *= Complex::new(0.0, -0.5 * (here - opposite));
            }
        }
        let (mut real, mut imaginary) = (vec![0.0; nx * ny], vec![0.0; nx * ny]);
        fft.inverse(&mut even, &mut real);
        fft.inverse(&mut odd, &mut imaginary);
        real.iter_mut().zip(imaginary).for_each(|(r, i)| *r = r.hypot(i));
        real
    }
}

/// One wavelet.
struct Morlet {
    /// The wave vector, along x and y, in radians a pixel.
    wave: [f64; 2],
    sigma: f64,
    slant: f64,
}

impl Morlet {
    fn new(scale: usize, orientation: usize, orientations: usize) -> Self {
        let xi = 0.75 * PI / (1u64 << scale) as f64;
        let theta = PI * ((orientations / 2) as f64 - 1.0 - orientation as f64) / orientations as f64;
        let slant = 4.0 / orientations as f64;
        Self { wave: [xi * theta.cos(), xi * theta.sin()], sigma: 0.8 * (1u64 << scale) as f64, slant }
    }

    /// The Gaussian envelope in Fourier space, at a distance from its centre.
    fn envelope(&self, k: [f64; 2]) -> f64 {
        let xi = self.wave[0].hypot(self.wave[1]);
        let [c, s] = self.wave.map(|w| w / xi);
        let (along, across) = (k[0] * c + k[1] * s, (k[1] * c - k[0] * s) / self.slant);
        (-0.5 * self.sigma * self.sigma * (along * along + across * across)).exp()
    }

    /// The wavelet at every wave vector of a map, `[ky, kx]`.
    fn plane(&self, shape: [usize; 2]) -> Vec<f64> {
        let folded = |k: [f64; 2], centre: [f64; 2]| -> f64 {
            let images = (-2..=2).flat_map(|a| (-2..=2).map(move |b| [a, b]));
            images
                .map(|m| self.envelope(std::array::from_fn(|i| k[i] + TAU * f64::from(m[i]) - centre[i])))
                .sum()
        };
        let beta = folded([0.0; 2], self.wave) / folded([0.0; 2], [0.0; 2]);
        let [ny, nx] = shape;
        let k = |i: usize, n: usize| TAU * wavenumber(i, n) as f64 / n as f64;
        let at = |i: usize| {
            let k = [k(i % nx, nx), k(i / nx, ny)];
            folded(k, self.wave) - beta * folded(k, [0.0; 2])
        };
        (0..ny * nx).map(at).collect()
    }
}

#[cfg(test)]
mod tests {
    use halocast_core::Rng;

    use super::*;

    fn noise(shape: (usize, usize), seed: u64) -> Map {
        let values = Array2::from_shape_vec(shape, Rng::new(seed).normals(shape.0 * shape.1)).unwrap();
        Map::square("noise", values, 1.0)
    }

    /// The definition in real space: Kymatio's Morlet wavelet, sampled, wrapped, and summed over all pixels.
    fn slow(map: &Array2<f64>, j: usize, l: usize, turns: usize) -> Array2<f64> {
        let (ny, nx) = map.dim();
        let (xi, sigma) = (0.75 * PI / f64::from(1 << j), 0.8 * f64::from(1 << j));
        let slant = 4.0 / turns as f64;
        let theta = ((turns / 2) as f64 - 1.0 - l as f64) * PI / turns as f64;
        let (mut wave, mut envelope) =
            (Array2::<Complex<f64>>::zeros((ny, nx)), Array2::<f64>::zeros((ny, nx)));
        for wy in -4i64..=4 {
            for wx in -4i64..=4 {
                for y in 0..ny {
                    for x in 0..nx {
                        let (dy, dx) =
                            ((y as i64 + wy * ny as i64) as f64, (x as i64 + wx * nx as i64) as f64);
                        let u = dx * theta.cos() + dy * theta.sin();
                        let v = slant * (dy * theta.cos() - dx * theta.sin());
                        let gauss =
                            (-(u * u + v * v) / (2.0 * sigma * sigma)).exp() * slant / (TAU * sigma * sigma);
                        envelope[[y, x]] += gauss;
                        wave[[y, x]] += Complex::from_polar(gauss, xi * u);
                    }
                }
            }
        }
        let beta = wave.sum() / envelope.sum();
        let psi = Array2::from_shape_fn((ny, nx), |at| wave[at] - beta * envelope[at]);
        Array2::from_shape_fn((ny, nx), |(y, x)| {
            let mut sum = Complex::new(0.0, 0.0);
            for a in 0..ny {
                for b in 0..nx {
                    sum += psi[[a, b]] * map[[(y + ny - a) % ny, (x + nx - b) % nx]];
                }
            }
            sum.norm()
        })
    }

    #[test]
    fn coefficients_are_those_of_sums_in_real_space() {
        for (shape, turns) in [((16, 16), 4), ((12, 17), 3)] {
            let map = noise(shape, 1);
            let values = map.values.mapv(f64::from);
            let bank =
                ScatteringBank::new([shape.0, shape.1], 1 + usize::from(shape.0 == 16), turns).unwrap();
            let found = bank.coefficients(&[map]).unwrap().remove(0);
            for l in 0..turns {
                let first = slow(&values, 0, l, turns);
                let mean = first.mean().unwrap();
                assert!((found.first[[0, l]] - mean).abs() < 1e-8, "S1 {l}: {} {mean}", found.first[[0, l]]);
                if bank.scales > 1 {
                    let second = slow(&first, 1, 2, turns).mean().unwrap();
                    assert!((found.second[[0, l, 1, 2]] - second).abs() < 1e-8);
                    assert!(found.second[[1, l, 0, 2]].is_nan() && found.second[[1, l, 1, 2]].is_nan());
                }
            }
        }
    }

    #[test]
    fn shifts_change_nothing_and_a_quarter_turn_moves_the_orientations() {
        let map = noise((32, 32), 2);
        let bank = ScatteringBank::new([32, 32], 3, 4).unwrap();
        let of = |f: &dyn Fn(usize, usize) -> (usize, usize)| {
            let values = Array2::from_shape_fn((32, 32), |(y, x)| map.values[f(y, x)]);
            bank.coefficients(&[Map { values, ..map.clone() }]).unwrap().remove(0)
        };
        let own = of(&|y, x| (y, x));
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9 || (a.is_nan() && b.is_nan());
        let shifted = of(&|y, x| ((y + 5) % 32, (x + 30) % 32));
        assert!(own.first.iter().zip(&shifted.first).all(|(a, b)| close(*a, *b)));
        assert!(own.second.iter().zip(&shifted.second).all(|(a, b)| close(*a, *b)));
        let turned = of(&|y, x| (x, (32 - y) % 32));
        for (j, l) in (0..3).flat_map(|j| (0..4).map(move |l| (j, l))) {
            assert!(close(own.first[[j, l]], turned.first[[j, (l + 2) % 4]]));
        }
        let (a, b) = (own.isotropic(), turned.isotropic());
        assert!(a.second.iter().zip(&b.second).all(|(a, b)| close(*a, *b)));
        assert_eq!(a.index.len(), 9);
        assert!(a.features().iter().all(|f| f.is_finite()));
    }

    #[test]
    fn amplitudes_scale_and_means_do_not_count() {
        let map = noise((32, 32), 3);
        let bank = ScatteringBank::new([32, 32], 3, 4).unwrap();
        let of = |m: &Map| bank.coefficients(std::slice::from_ref(m)).unwrap().remove(0);
        let (own, other) = (of(&map), of(&map.map_values(|v| -3.0 * v + 7.0)));
        let ratio = |a: f64, b: f64| a.is_nan() || (b / a - 3.0).abs() < 1e-4;
        assert!(own.first.iter().zip(&other.first).all(|(a, b)| ratio(*a, *b)));
        assert!(own.second.iter().zip(&other.second).all(|(a, b)| ratio(*a, *b)));
        assert!((other.zeroth + 3.0 * own.zeroth - 7.0).abs() < 1e-5);
        let flat = of(&map.map_values(|_| 2.0));
        assert!(flat.first.iter().all(|s| s.abs() < 1e-12));
    }

    #[test]
    fn energy_is_that_of_the_spectrum_and_gaussian_waves_have_rayleigh_moduli() {
        let n = 64;
        let map = noise((n, n), 4);
        let bank = ScatteringBank::new([n, n], 2, 4).unwrap();
        let fft = RealFft::<f64>::new([1, n, n]);
        let mut f = fft.spectrum();
        fft.forward(&map.values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>(), &mut f);
        let found = bank.coefficients(&[map]).unwrap().remove(0);
        for wavelet in 0..8 {
            let squares: f64 = bank.modulus(&fft, &f, wavelet).iter().map(|v| v * v).sum();
            let mut energy = 0.0;
            for y in 0..n {
                for x in 0..n {
                    let own =
                        if x <= n / 2 { y * (n / 2 + 1) + x } else { (n - y) % n * (n / 2 + 1) + n - x };
                    energy += (bank.wavelets[wavelet][y * n + x]).powi(2) * f[own].norm_sqr();
                }
            }
            assert!((squares * (n * n) as f64 / energy - 1.0).abs() < 1e-10, "Parseval of wavelet {wavelet}");
            // The mean of a Rayleigh amplitude is sqrt(pi / 4) of its root mean square.
            let rms = (squares / (n * n) as f64).sqrt();
            let ratio = found.first[[wavelet / 4, wavelet % 4]] / rms;
            assert!((ratio / (PI / 4.0).sqrt() - 1.0).abs() < 0.05, "{wavelet}: {ratio}");
        }
    }

    #[test]
    fn absurd_banks_and_maps_are_refused() {
        let told =
            |shape, scales, turns| ScatteringBank::new(shape, scales, turns).err().map(|e| e.to_string());
        assert!(told([32, 32], 4, 4).unwrap().contains("1 to 3"));
        assert!(
            told([0, 32], 1, 4).is_some() && told([32, 32], 1, 0).is_some() && told([2, 2], 1, 1).is_some()
        );
        let bank = ScatteringBank::new([16, 16], 1, 2).unwrap();
        assert!(bank.coefficients(&[noise((16, 17), 1)]).unwrap_err().to_string().contains("[16, 17]"));
        let open = Map { periodic: false, ..noise((16, 16), 1) };
        assert!(bank.coefficients(&[open]).unwrap_err().to_string().contains("periodic"));
        assert!(bank.coefficients(&[]).is_err());
    }
}

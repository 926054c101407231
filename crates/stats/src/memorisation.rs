//! Does a model repeat its training set? The distance of each sample to the nearest training map.

use halocast_core::Map;
use halocast_core::fft::{Complex, RealFft};
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Error, Result, ensemble};

/// Which copies of a training map count as the same map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symmetries {
    /// The eight rotations and reflections of the square (the four that keep the shape of other rectangles).
    pub dihedral: bool,
    /// All periodic shifts by whole pixels; for maps that are not periodic leave them out.
    pub shifts: bool,
}

/// The training map nearest to a map.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Nearest {
    /// Its place in the training set.
    pub index: usize,
    /// The root mean square difference of pixels at the best symmetry.
    pub distance: f64,
    /// The symmetry: the map was transposed when bit 2 is set, then flipped along y (bit 1) and x (bit 0), ...
    pub element: u8,
    /// ... and then shifted by this many pixels along `[y, x]` to lie on the training map.
    pub shift: [usize; 2],
}

/// The nearest training map of each map, by root mean square difference of pixels over all symmetries.
///
/// All shifts come at once from the cross-correlation, min |a - b|^2 = |a|^2 + |b|^2 - 2 max (a * b), computed with
/// Fourier transforms in float32; the distance at the best shift is then computed from the pixels in float64.
/// O(maps x training x N log N).
///
/// # Errors
/// [`Error::TooFew`], [`Error::Mismatch`], [`Error::Map`] as for [`crate::power_spectra`].
pub fn nearest(maps: &[Map], training: &[Map], symmetries: Symmetries) -> Result<Vec<Nearest>> {
    ensemble::check_pair("nearest training map", ("the training set", training), ("the maps", maps))?;
    let [ny, nx] = training[0].shape();
    let fft = RealFft::<f32>::new([1, ny, nx]);
    // A constant taken from both sides leaves distances alone and saves digits.
    let pixels = training.iter().map(|m| m.values.len()).sum::<usize>() as f64;
    let mean = training.iter().flat_map(|m| &m.values).map(|&v| f64::from(v)).sum::<f64>() / pixels;
    let centred = |m: &Map| m.values.mapv(|v| (f64::from(v) - mean) as f32).as_standard_layout().into_owned();
    let norm = |values: &Array2<f32>| values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
    let prepare = |values: Array2<f32>| {
        let spectrum = if symmetries.shifts { transform(&fft, &values) } else { Vec::new() };
        (norm(&values), spectrum, values)
    };
    let training: Vec<_> = training.par_iter().map(|m| prepare(centred(m))).collect();
    let elements: Vec<u8> = match (symmetries.dihedral, ny == nx) {
        (false, _) => vec![0],
        (true, false) => (0..4).collect(),
        (true, true) => (0..8).collect(),
    };
    let of = |map: &Map| {
        let map = centred(map);
        let mut best =
            (f64::INFINITY, Nearest { index: 0, distance: f64::INFINITY, element: 0, shift: [0; 2] });
        let mut product = fft.spectrum();
        let mut correlation = vec![0f32; ny * nx];
        for &element in &elements {
            let (size, spectrum, turned) = prepare(dihedral(map.view(), element));
            for (index, (other_size, other_spectrum, other)) in training.iter().enumerate() {
                let (overlap, at) = if symmetries.shifts {
                    for (p, (a, b)) in product.iter_mut().zip(other_spectrum.iter().zip(&spectrum)) {
                        *p = a * b.conj();
                    }
                    fft.inverse(&mut product, &mut correlation);
                    let largest = correlation.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
                    largest.map_or((0.0, 0), |(at, &v)| (f64::from(v), at))
                } else {
                    (turned.iter().zip(other).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum(), 0)
                };
                let square = size + other_size - 2.0 * overlap;
                if square < best.0 {
                    let shift = [at / nx, at % nx];
                    let distance = rms(&turned, other, shift);
                    best = (square, Nearest { index, distance, element, shift });
                }
            }
        }
        best.1
    };
    Ok(maps.par_iter().map(of).collect())
}

/// How near samples come to the training set, and how near maps come that the training never saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memorisation {
    /// The nearest training map of each sample.
    pub samples: Vec<Nearest>,
    /// The nearest training map of each held-out map.
    pub held_out: Vec<Nearest>,
}

impl Memorisation {
    /// The median distance of the samples over that of the held-out maps: about 1 when samples are as far from the
    /// training set as other true maps are, towards 0 when they repeat it.
    pub fn ratio(&self) -> f64 {
        median(&self.samples) / median(&self.held_out)
    }

    /// The fraction of samples nearer to a training map than the nearest held-out map is.
    pub fn suspicious(&self) -> f64 {
        let least = self.held_out.iter().map(|n| n.distance).fold(f64::INFINITY, f64::min);
        self.samples.iter().filter(|n| n.distance < least).count() as f64 / self.samples.len().max(1) as f64
    }
}

/// Compares the samples' distances to the training set with those of held-out maps.
///
/// ```
/// use halocast_core::{Map, Rng};
/// use halocast_stats::{Symmetries, memorisation};
/// use ndarray::Array2;
///
/// let mut rng = Rng::new(1);
/// let mut noise = || Map::square("n", Array2::from_shape_fn((8, 8), |_| rng.normal() as f32), 1.0);
/// let training: Vec<Map> = (0..6).map(|_| noise()).collect();
/// let held_out: Vec<Map> = (0..4).map(|_| noise()).collect();
/// let symmetries = Symmetries { dihedral: true, shifts: true };
/// let copied = memorisation(&training, &held_out, &training[..4], symmetries)?;
/// assert!(copied.ratio() < 1e-6 && copied.suspicious() == 1.0);
/// # Ok::<(), halocast_stats::Error>(())
/// ```
///
/// # Errors
/// As [`nearest`].
pub fn memorisation(
    training: &[Map],
    held_out: &[Map],
    samples: &[Map],
    symmetries: Symmetries,
) -> Result<Memorisation> {
    if held_out.is_empty() {
        let (operation, what) = ("memorisation", "the held-out maps".into());
        return Err(Error::TooFew { operation, what, expected: 1, got: 0 });
    }
    Ok(Memorisation {
        samples: nearest(samples, training, symmetries)?,
        held_out: nearest(held_out, training, symmetries)?,
    })
}

fn median(found: &[Nearest]) -> f64 {
    let mut distances: Vec<f64> = found.iter().map(|n| n.distance).collect();
    distances.sort_unstable_by(f64::total_cmp);
    let n = distances.len();
    if n == 0 { f64::NAN } else { 0.5 * (distances[(n - 1) / 2] + distances[n / 2]) }
}

fn transform(fft: &RealFft<f32>, values: &Array2<f32>) -> Vec<Complex<f32>> {
    let real: Vec<f32> = values.iter().copied().collect();
    let mut spectrum = fft.spectrum();
    fft.forward(&real, &mut spectrum);
    spectrum
}

/// Transposed (bit 2), then flipped along y (bit 1) and x (bit 0): over 0 .. 8 the whole dihedral group.
fn dihedral(values: ArrayView2<'_, f32>, element: u8) -> Array2<f32> {
    let mut view = if element & 4 != 0 { values.reversed_axes() } else { values };
    if element & 2 != 0 {
        view.invert_axis(ndarray::Axis(0));
    }
    if element & 1 != 0 {
        view.invert_axis(ndarray::Axis(1));
    }
    view.as_standard_layout().into_owned()
}

fn rms(a: &Array2<f32>, b: &Array2<f32>, shift: [usize; 2]) -> f64 {
    let (ny, nx) = a.dim();
    let square = |((y, x), &v): ((usize, usize), &f32)| {
        (f64::from(v) - f64::from(b[[(y + shift[0]) % ny, (x + shift[1]) % nx]])).powi(2)
    };
    (a.indexed_iter().map(square).sum::<f64>() / (ny * nx) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use halocast_core::Rng;

    use super::*;

    const ALL: Symmetries = Symmetries { dihedral: true, shifts: true };

    fn noise(count: usize, shape: (usize, usize), seed: u64) -> Vec<Map> {
        let mut rng = Rng::new(seed);
        let mut one = || Array2::from_shape_fn(shape, |_| 5.0 + rng.normal() as f32);
        (0..count).map(|_| Map::square("noise", one(), 1.0)).collect()
    }

    /// The brute-force minimum over everything.
    fn slow(map: &Map, training: &[Map], symmetries: Symmetries) -> f64 {
        let [ny, nx] = map.shape();
        let mut best = f64::INFINITY;
        for other in training {
            for element in 0..if symmetries.dihedral { if ny == nx { 8 } else { 4 } } else { 1 } {
                let turned = dihedral(map.values.view(), element);
                for y in 0..if symmetries.shifts { ny } else { 1 } {
                    for x in 0..if symmetries.shifts { nx } else { 1 } {
                        best = best.min(rms(&turned, &other.values, [y, x]));
                    }
                }
            }
        }
        best
    }

    #[test]
    fn agrees_with_brute_force() {
        for shape in [(6, 6), (5, 8)] {
            let (training, maps) = (noise(3, shape, 1), noise(4, shape, 2));
            for dihedral in [false, true] {
                for shifts in [false, true] {
                    let symmetries = Symmetries { dihedral, shifts };
                    for (map, found) in maps.iter().zip(nearest(&maps, &training, symmetries).unwrap()) {
                        assert!((found.distance - slow(map, &training, symmetries)).abs() < 1e-6);
                    }
                }
            }
        }
    }

    #[test]
    fn a_turned_and_shifted_copy_is_found() {
        let training = noise(5, (9, 9), 1);
        let mut copy = training[3].clone();
        let turned = dihedral(copy.values.view(), 6);
        copy.values = Array2::from_shape_fn((9, 9), |(y, x)| turned[[(y + 4) % 9, (x + 1) % 9]]);
        let found = nearest(std::slice::from_ref(&copy), &training, ALL).unwrap()[0];
        assert_eq!(found.index, 3);
        assert!(found.distance < 1e-6, "{found:?}");
        let blind = nearest(&[copy], &training, Symmetries { dihedral: false, shifts: false }).unwrap()[0];
        assert!(blind.distance > 0.5);
    }

    #[test]
    fn fresh_maps_are_as_far_as_held_out_ones() {
        let result =
            memorisation(&noise(10, (8, 8), 1), &noise(30, (8, 8), 2), &noise(30, (8, 8), 3), ALL).unwrap();
        assert!((result.ratio() - 1.0).abs() < 0.1, "{}", result.ratio());
    }
}

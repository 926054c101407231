//! Power spectra in bins of one's own.

use halocast_core::fft::{RealFft, wavenumber};
use halocast_core::{Cube, Map};

use super::modes::Modes;
use super::{BinnedPower, Binning, Window, normalisation, plane, transform, transform_cube};
use crate::{Bins, Error, Result, ensemble};

const OPERATION: &str = "power spectrum in bins";

/// The power spectrum of a map in bins of wavenumber, each mode in the bin where its own wavenumber lies: unlike
/// [`PowerSpectrum::rebinned`](crate::PowerSpectrum::rebinned) the edges need not be multiples of the fundamental one.
///
/// P = <|F|^2> A / N^2 over the independent modes of a bin, as [`power_spectrum`](crate::power_spectrum). A bin without
/// modes is NaN, and says so by its count. O(N log N).
///
/// ```
/// use halocast_core::{Map, Rng};
/// use halocast_stats::{Bins, power_in_bins};
/// use ndarray::Array2;
///
/// let mut rng = Rng::new(1);
/// let values = Array2::from_shape_fn((64, 64), |_| rng.normal() as f32);
/// // White noise of unit variance in pixels of unit side has P = 1.
/// let found = power_in_bins(&Map::square("noise", values, 64.0), &Bins::linear(0.5, 3.0, 4)?)?;
/// assert!(found.power.iter().all(|p| (p - 1.0).abs() < 0.3));
/// # Ok::<(), halocast_stats::Error>(())
/// ```
///
/// # Errors
/// As [`power_spectrum`](crate::power_spectrum); [`Error::Value`] for bins that begin below zero.
pub fn power_in_bins(map: &Map, bins: &Bins) -> Result<BinnedPower> {
    ensemble::check(OPERATION, "map", std::slice::from_ref(map), 1)?;
    let (shape, extent) = plane(map);
    let spectrum = transform(&RealFft::<f64>::new(shape), map.values.iter().copied());
    gather(shape, extent, bins, |i| spectrum[i].norm_sqr())
}

/// The same of a cube, with volume V for area.
///
/// # Errors
/// As [`power_in_bins`].
pub fn power_in_bins_3d(cube: &Cube, bins: &Bins) -> Result<BinnedPower> {
    let shape = ensemble::check_cube(OPERATION, "the cube", cube)?;
    let spectrum = transform_cube(&RealFft::<f64>::new(shape), cube);
    gather(shape, cube.extent, bins, |i| spectrum[i].norm_sqr())
}

fn gather(
    shape: [usize; 3],
    extent: [f64; 3],
    bins: &Bins,
    value: impl Fn(usize) -> f64,
) -> Result<BinnedPower> {
    let edges = bins.edges();
    if edges[0] < 0.0 {
        let (what, expected) = ("the first edge".into(), "not negative".into());
        return Err(Error::Value { operation: OPERATION, what, expected, got: edges[0].to_string() });
    }
    let modes = Modes::new(shape, extent, Binning::Pylians, Window::None);
    let norm = normalisation(shape, extent, Binning::Pylians);
    let fundamental = extent.map(|side| std::f64::consts::TAU / side);
    let (count, last) = (bins.count(), edges[bins.count()] * (1.0 + 1e-12));
    let (mut k, mut power, mut twice) = (vec![0.0; count], vec![0.0; count], vec![0u64; count]);
    for x in 0..shape[0] {
        for y in 0..shape[1] {
            let first = (x * shape[1] + y) * modes.half();
            modes.visit_whole_row(x, y, |_, weight, z| {
                let m =
                    [(x, 0), (y, 1), (z, 2)].map(|(i, a)| fundamental[a] * wavenumber(i, shape[a]) as f64);
                let own = m.iter().map(|k| k * k).sum::<f64>().sqrt();
                // Rounding must not move a mode across an edge that it lies on; the last bin is closed.
                let edge = edges.partition_point(|&e| e <= own * (1.0 + 1e-12));
                if edge > 0 && own <= last {
                    let bin = (edge - 1).min(count - 1);
                    k[bin] += weight * own;
                    power[bin] += weight * value(first + z);
                    twice[bin] += (2.0 * weight) as u64;
                }
            });
        }
    }
    for i in 0..count {
        let modes = twice[i] as f64 / 2.0;
        k[i] /= modes;
        power[i] *= norm / modes;
    }
    Ok(BinnedPower { bins: bins.clone(), k, power, modes: twice.iter().map(|t| t / 2).collect() })
}

#[cfg(test)]
mod tests {
    use halocast_core::Rng;
    use ndarray::Array2;

    use super::*;
    use crate::{PowerConvention, power_spectrum};

    #[test]
    fn bins_of_the_fundamental_are_pylians() {
        for shape in [(16, 16), (9, 15)] {
            let values = Array2::from_shape_vec(shape, Rng::new(1).normals(shape.0 * shape.1)).unwrap();
            let map = Map::square("noise", values, 10.0);
            let expected = power_spectrum(&map, PowerConvention::pylians()).unwrap();
            let k_f = std::f64::consts::TAU / 10.0;
            let bins = Bins::new((1..=expected.k.len() + 1).map(|i| i as f64 * k_f).collect()).unwrap();
            let found = power_in_bins(&map, &bins).unwrap();
            assert_eq!(found.modes, expected.modes);
            for i in 0..expected.k.len() {
                assert!((found.power[i] / expected.power[i] - 1.0).abs() < 1e-10);
                assert!((found.k[i] / expected.k[i] - 1.0).abs() < 1e-10);
            }
        }
    }

    #[test]
    fn empty_bins_are_nan_and_negative_ones_refused() {
        let map = Map::square("flat", Array2::ones((8, 8)), 10.0);
        let found = power_in_bins(&map, &Bins::new(vec![0.0, 0.1, 0.2, 0.7]).unwrap()).unwrap();
        assert!((found.power[0] - 100.0).abs() < 1e-9 && found.power[1].is_nan() && found.power[2] < 1e-20);
        assert_eq!(found.modes, [1, 0, 2]);
        assert!(power_in_bins(&map, &Bins::new(vec![-0.1, 0.1]).unwrap()).is_err());
    }
}

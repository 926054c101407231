//! Counts of peaks and minima of maps by height.

use halocast_core::{Curve, Map};
use ndarray::Array2;
use rayon::prelude::*;

use crate::{Bins, Result, ensemble};

/// The peaks (or minima) of an ensemble by their height.
#[derive(Clone, Debug, PartialEq)]
pub struct PeakCounts {
    /// Bins of height; the last one is closed.
    pub bins: Bins,
    /// Peaks in each bin, `[map, bin]`.
    pub counts: Array2<u64>,
    /// Peaks outside all bins, one number a map.
    pub outside: Vec<u64>,
    /// The unit of heights, as it stands on an axis.
    pub unit: String,
}

impl PeakCounts {
    /// Mean and scatter over maps as a curve.
    pub fn curve(&self) -> Curve {
        let label = if self.unit.is_empty() { "height".into() } else { format!("height [{}]", self.unit) };
        let counts = self.counts.mapv(|c| c as f64);
        ensemble::curve(&self.bins.centres(), counts.view(), label, "number of peaks".into())
    }
}

/// The peaks of every map: pixels above all eight neighbours. On a periodic map opposite sides meet; on an open one the pixels of
/// the rim are no candidates. A plateau has no peak. O(pixels).
///
/// ```
/// use halocast_core::Map;
/// use halocast_stats::{Bins, minimum_counts, peak_counts};
/// use ndarray::Array2;
///
/// let mut values = Array2::zeros((6, 6));
/// (values[[1, 1]], values[[4, 4]]) = (2.0, -1.0);
/// let maps = [Map::square("a", values, 1.0)];
/// assert_eq!(peak_counts(&maps, &Bins::new(vec![0.5, 1.5, 2.5])?)?.counts.row(0).to_vec(), [0, 1]);
/// assert_eq!(minimum_counts(&maps, &Bins::new(vec![-1.5, 0.0])?)?.counts.row(0).to_vec(), [1]);
/// # Ok::<(), halocast_stats::Error>(())
/// ```
///
/// # Source
/// Jain & van Waerbeke 2000; the rule of LensTools' `locatePeaks` on open maps.
///
/// # Errors
/// [`Error::TooFew`](crate::Error::TooFew), [`Error::Mismatch`](crate::Error::Mismatch), [`Error::Map`](crate::Error::Map)
/// as for [`crate::power_spectra`].
pub fn peak_counts(maps: &[Map], bins: &Bins) -> Result<PeakCounts> {
    count("peak counts", maps, bins, 1.0)
}

/// The minima of every map, by the same rule upside down.
///
/// # Errors
/// As [`peak_counts`].
pub fn minimum_counts(maps: &[Map], bins: &Bins) -> Result<PeakCounts> {
    count("minimum counts", maps, bins, -1.0)
}

fn count(operation: &'static str, maps: &[Map], bins: &Bins, sign: f32) -> Result<PeakCounts> {
    ensemble::check(operation, "map", maps, 1)?;
    let rows: Vec<Vec<u64>> = maps
        .par_iter()
        .map(|map| {
            // The last slot is for those outside.
            let mut slots = vec![0; bins.count() + 1];
            let last = bins.edges()[bins.count()];
            extrema(map, sign, |height| {
                let slot = match bins.edges().partition_point(|&e| e <= height) {
                    0 => bins.count(),
                    i if i <= bins.count() => i - 1,
                    _ if height == last => bins.count() - 1,
                    _ => bins.count(),
                };
                slots[slot] += 1;
            });
            slots
        })
        .collect();
    Ok(PeakCounts {
        bins: bins.clone(),
        counts: Array2::from_shape_fn((maps.len(), bins.count()), |(i, j)| rows[i][j]),
        outside: rows.iter().map(|r| r[bins.count()]).collect(),
        unit: maps[0].unit.label.clone(),
    })
}

/// Calls `found` with the height of every pixel above its neighbours, after multiplication by `sign`.
fn extrema(map: &Map, sign: f32, mut found: impl FnMut(f64)) {
    let [ny, nx] = map.shape();
    let rim = usize::from(!map.periodic);
    for y in rim..ny.saturating_sub(rim) {
        for x in rim..nx.saturating_sub(rim) {
            let height = sign * map.values[[y, x]];
            let near = [ny - 1, 0, 1].into_iter().flat_map(|dy| [nx - 1, 0, 1].map(|dx| (dy, dx)));
            let above = near.filter(|&at| at != (0, 0)).all(|(dy, dx)| {
                let other = [(y + dy) % ny, (x + dx) % nx];
                height > sign * map.values[other]
            });
            if above {
                found(f64::from(sign * height));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use halocast_core::Rng;

    use super::*;

    fn noise(n: usize, seed: u64) -> Map {
        let values = Array2::from_shape_vec((n, n), Rng::new(seed).normals(n * n)).unwrap();
        Map::square("noise", values, 1.0)
    }

    #[test]
    fn one_pixel_in_nine_of_white_noise_is_a_peak() {
        let maps: Vec<Map> = (0..4).map(|s| noise(128, s)).collect();
        let found = peak_counts(&maps, &Bins::linear(-6.0, 6.0, 12).unwrap()).unwrap();
        let share = found.counts.sum() as f64 / (4.0 * 128.0 * 128.0);
        assert!((share - 1.0 / 9.0).abs() < 0.003, "{share}");
        assert_eq!(found.outside, [0; 4]);
        let upside_down: Vec<Map> = maps.iter().map(|m| m.map_values(|v| -v)).collect();
        let minima = minimum_counts(&upside_down, &found.bins).unwrap();
        let reversed: Vec<u64> = minima.counts.row(0).iter().rev().copied().collect();
        assert_eq!(found.counts.row(0).to_vec(), reversed);
    }

    #[test]
    fn rims_plateaus_and_single_pixels_have_no_peaks() {
        let bins = Bins::linear(0.0, 2.0, 2).unwrap();
        let mut corner = Map::square("corner", Array2::zeros((5, 5)), 1.0);
        corner.values[[0, 0]] = 1.5;
        let total = |map: &Map| peak_counts(std::slice::from_ref(map), &bins).unwrap().counts.sum();
        assert_eq!(total(&corner), 1);
        corner.periodic = false;
        assert_eq!(total(&corner), 0);
        assert_eq!(total(&Map::square("flat", Array2::ones((4, 4)), 1.0)), 0);
        assert_eq!(total(&Map::square("dot", Array2::ones((1, 1)), 1.0)), 0);
        let mut high = Map::square("high", Array2::zeros((5, 5)), 1.0);
        high.values[[2, 2]] = 9.0;
        assert_eq!(peak_counts(&[high], &bins).unwrap().outside, [1]);
    }
}

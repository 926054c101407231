//! The distribution of pixel values: histograms with given bins, moments, quantiles.

use halocast_core::{Curve, Map};
use ndarray::{Array1, Array2, Axis};
use ndarray_stats::interpolate::Linear;
use ndarray_stats::{MaybeNan, QuantileExt};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Error, Result, ensemble};

/// Bin edges, strictly increasing. Bin i is `[edge_i, edge_(i+1))`; the last is closed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bins {
    edges: Vec<f64>,
}

impl Bins {
    /// Bins with these edges.
    ///
    /// # Errors
    /// [`Error::Value`] when there are fewer than two, or they are not finite and strictly increasing.
    pub fn new(edges: Vec<f64>) -> Result<Self> {
        let increasing = edges.windows(2).all(|e| e[0] < e[1]) && edges.iter().all(|e| e.is_finite());
        if edges.len() >= 2 && increasing {
            return Ok(Self { edges });
        }
        let (what, expected) = ("edges".into(), "two or more, finite and increasing".into());
        Err(Error::Value { operation: "bins", what, expected, got: format!("{edges:?}") })
    }

    /// `count` equal bins from `lower` to `upper`.
    ///
    /// # Errors
    /// [`Error::Value`] when `lower < upper` does not hold or `count` is zero.
    pub fn linear(lower: f64, upper: f64, count: usize) -> Result<Self> {
        let step = (upper - lower) / count as f64;
        let edge = |i| if i == count { upper } else { lower + step * i as f64 };
        Self::new((0..=count).map(edge).collect())
    }

    /// `count` bins of equal ratio from `lower` to `upper`.
    ///
    /// # Errors
    /// [`Error::Value`] when `0 < lower < upper` does not hold or `count` is zero.
    pub fn logarithmic(lower: f64, upper: f64, count: usize) -> Result<Self> {
        let bins = Self::linear(lower.ln(), upper.ln(), count)?;
        Self::new(bins.edges.iter().map(|e| e.exp()).collect())
    }

    /// `count` equal bins from the smallest to the largest pixel of all maps.
    ///
    /// # Errors
    /// [`Error::TooFew`] for no maps, [`Error::Map`] for a pixel that is not finite, [`Error::Value`] when all pixels
    /// are equal.
    pub fn covering(maps: &[Map], count: usize) -> Result<Self> {
        if maps.is_empty() {
            return Err(Error::TooFew { operation: "bins", what: "the maps".into(), expected: 1, got: 0 });
        }
        let (mut lower, mut upper) = (f32::INFINITY, f32::NEG_INFINITY);
        for (index, map) in maps.iter().enumerate() {
            map.require_finite().map_err(|source| Error::Map { operation: "bins", index, source })?;
            for &v in &map.values {
                (lower, upper) = (lower.min(v), upper.max(v));
            }
        }
        Self::linear(lower.into(), upper.into(), count)
    }

    /// The edges.
    pub fn edges(&self) -> &[f64] {
        &self.edges
    }

    /// The middles of the bins.
    pub fn centres(&self) -> Vec<f64> {
        self.edges.windows(2).map(|e| 0.5 * (e[0] + e[1])).collect()
    }

    /// The number of bins.
    pub fn count(&self) -> usize {
        self.edges.len() - 1
    }
}

/// Histograms of the pixels of an ensemble, with nothing lost: what lies outside the bins is counted.
#[derive(Clone, Debug, PartialEq)]
pub struct PixelPdf {
    /// The bins.
    pub bins: Bins,
    /// Pixel counts, `[map, bin]`.
    pub counts: Array2<u64>,
    /// Pixels below the first edge, one number a map.
    pub below: Vec<u64>,
    /// Pixels above the last edge, one number a map.
    pub above: Vec<u64>,
    /// The unit of the values, as it stands on an axis.
    pub unit: String,
}

impl PixelPdf {
    /// The probability density, `[map, bin]`: counts / (all pixels x bin width). Pixels outside count among all, so
    /// that the integral over the bins is one less the fraction outside.
    pub fn density(&self) -> Array2<f64> {
        let width: Array1<f64> = self.bins.edges.windows(2).map(|e| e[1] - e[0]).collect();
        let mut density = self.counts.mapv(|c| c as f64) / &width;
        for (i, mut row) in density.rows_mut().into_iter().enumerate() {
            let all = self.counts.row(i).sum() + self.below[i] + self.above[i];
            row /= all.max(1) as f64;
        }
        density
    }

    /// Mean and scatter over maps as a curve.
    pub fn curve(&self) -> Curve {
        let label = if self.unit.is_empty() { "value".into() } else { format!("value [{}]", self.unit) };
        ensemble::curve(&self.bins.centres(), self.density().view(), label, "probability density".into())
    }
}

/// Histograms of the pixels of every map in shared bins.
///
/// ```
/// use halocast_core::Map;
/// use halocast_stats::{Bins, pixel_pdf};
/// use ndarray::array;
///
/// let map = Map::square("a", array![[0.0, 1.0], [1.0, 7.0]], 1.0);
/// let pdf = pixel_pdf(&[map], &Bins::linear(0.0, 2.0, 2)?)?;
/// assert_eq!(pdf.counts.row(0).to_vec(), [1, 2]);
/// assert_eq!((pdf.below[0], pdf.above[0]), (0, 1));
/// assert_eq!(pdf.density().sum(), 0.75);
/// # Ok::<(), halocast_stats::Error>(())
/// ```
///
/// # Errors
/// [`Error::TooFew`], [`Error::Mismatch`], [`Error::Map`] as for [`crate::power_spectra`].
pub fn pixel_pdf(maps: &[Map], bins: &Bins) -> Result<PixelPdf> {
    ensemble::check("pixel distribution", "map", maps, 1)?;
    let rows: Vec<Vec<u64>> = maps
        .par_iter()
        .map(|map| {
            // Slot 0 is below, slot i + 1 is bin i, the last is above.
            let mut slots = vec![0; bins.count() + 2];
            let last = bins.edges[bins.count()];
            for &v in &map.values {
                let v = f64::from(v);
                let slot = if v == last { bins.count() } else { bins.edges.partition_point(|&e| e <= v) };
                slots[slot] += 1;
            }
            slots
        })
        .collect();
    let counts = Array2::from_shape_fn((maps.len(), bins.count()), |(i, j)| rows[i][j + 1]);
    Ok(PixelPdf {
        bins: bins.clone(),
        counts,
        below: rows.iter().map(|r| r[0]).collect(),
        above: rows.iter().map(|r| r[bins.count() + 1]).collect(),
        unit: maps[0].unit.label.clone(),
    })
}

/// The first four moments of the pixels of a map.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    /// Mean.
    pub mean: f64,
    /// Variance, with n in the denominator.
    pub variance: f64,
    /// Skewness mu_3 / sigma^3; zero for a constant map.
    pub skewness: f64,
    /// Excess kurtosis mu_4 / sigma^4 - 3; zero for a constant map.
    pub kurtosis: f64,
}

impl Moments {
    /// The first four cumulants: mean, variance, third and fourth, in powers of the map's unit.
    pub fn cumulants(&self) -> [f64; 4] {
        [
            self.mean,
            self.variance,
            self.skewness * self.variance.powf(1.5),
            self.kurtosis * self.variance.powi(2),
        ]
    }
}

/// The moments of every map.
///
/// # Errors
/// [`Error::TooFew`], [`Error::Mismatch`], [`Error::Map`] as for [`crate::power_spectra`].
pub fn moments(maps: &[Map]) -> Result<Vec<Moments>> {
    ensemble::check("moments", "map", maps, 1)?;
    let of = |map: &Map| {
        let n = map.values.len() as f64;
        let mean = map.values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let central = |p: i32| map.values.iter().map(|&v| (f64::from(v) - mean).powi(p)).sum::<f64>() / n;
        let variance = central(2);
        let scaled =
            |p: i32| if variance > 0.0 { central(p) / variance.powf(0.5 * f64::from(p)) } else { 0.0 };
        let excess = if variance > 0.0 { 3.0 } else { 0.0 };
        Moments { mean, variance, skewness: scaled(3), kurtosis: scaled(4) - excess }
    };
    Ok(maps.par_iter().map(of).collect())
}

/// Quantiles of the pixels of all maps together, linearly interpolated between order statistics (as numpy's default).
///
/// # Errors
/// As [`moments`]; [`Error::Value`] for a probability outside 0 to 1.
pub fn quantiles(maps: &[Map], probabilities: &[f64]) -> Result<Vec<f64>> {
    ensemble::check("quantiles", "map", maps, 1)?;
    if let Some(p) = probabilities.iter().find(|p| !(0.0..=1.0).contains(*p)) {
        let (what, expected, got) = ("probability".into(), "in [0, 1]".into(), p.to_string());
        return Err(Error::Value { operation: "quantiles", what, expected, got });
    }
    let mut pixels: Array1<f64> =
        maps.iter().flat_map(|map| map.values.iter().map(|&v| f64::from(v))).collect();
    probabilities
        .iter()
        .map(|&p| {
            let q = p.try_as_not_nan().map(|&q| {
                pixels.quantile_axis_skipnan_mut(Axis(0), q, &Linear).map(ndarray::Array0::into_scalar)
            });
            match q {
                Some(Ok(value)) => Ok(value),
                _ => Err(Error::Value {
                    operation: "quantiles",
                    what: "probability".into(),
                    expected: "in [0, 1]".into(),
                    got: p.to_string(),
                }),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use halocast_core::Rng;

    use super::*;

    fn noise(n: usize, seed: u64) -> Map {
        Map::square("noise", Array2::from_shape_vec((n, n), Rng::new(seed).normals(n * n)).unwrap(), 1.0)
    }

    #[test]
    fn bins_covering_the_maps_hold_every_pixel() {
        let maps = [noise(16, 1), noise(16, 2)];
        let pdf = pixel_pdf(&maps, &Bins::covering(&maps, 20).unwrap()).unwrap();
        assert_eq!(pdf.counts.sum(), 512);
        assert_eq!((pdf.below.iter().sum::<u64>(), pdf.above.iter().sum::<u64>()), (0, 0));
    }

    #[test]
    fn moments_of_noise_are_normal_and_of_a_constant_zero() {
        let m = moments(&[noise(256, 5)]).unwrap()[0];
        assert!(m.mean.abs() < 0.02 && (m.variance - 1.0).abs() < 0.03);
        assert!(m.skewness.abs() < 0.05 && m.kurtosis.abs() < 0.1);
        let flat = Map::square("flat", Array2::from_elem((4, 4), 2.0), 1.0);
        let m = moments(&[flat]).unwrap()[0];
        assert_eq!((m.mean, m.variance, m.skewness, m.kurtosis), (2.0, 0.0, 0.0, 0.0));
        // 0, 0, 0, 4: mean 1, then 3, 6 and 21 - 3 * 9.
        let dot =
            Map::square("dot", Array2::from_shape_fn((2, 2), |at| if at == (1, 1) { 4.0 } else { 0.0 }), 1.0);
        let cumulants = moments(&[dot]).unwrap()[0].cumulants();
        assert!(
            cumulants.iter().zip([1.0, 3.0, 6.0, -6.0]).all(|(a, b)| (a - b).abs() < 1e-12),
            "{cumulants:?}"
        );
    }

    #[test]
    fn quantiles_interpolate_between_order_statistics() {
        let map = [Map::square("a", Array2::from_shape_fn((2, 2), |(y, x)| (2 * y + x) as f32), 1.0)];
        assert_eq!(quantiles(&map, &[0.0, 0.5, 0.75, 1.0]).unwrap(), [0.0, 1.5, 2.25, 3.0]);
        assert!(quantiles(&map, &[1.5]).is_err());
        assert!(quantiles(&map, &[f64::NAN]).is_err());
    }

    #[test]
    fn absurd_bins_are_refused() {
        assert!(Bins::linear(1.0, 0.0, 4).is_err());
        assert!(Bins::linear(0.0, 1.0, 0).is_err());
        assert!(Bins::logarithmic(-1.0, 1.0, 4).is_err());
        assert!(Bins::covering(&[Map::square("flat", Array2::zeros((3, 3)), 1.0)], 4).is_err());
    }
}

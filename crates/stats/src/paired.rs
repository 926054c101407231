//! Maps in pairs: the truth, and what was made to equal it.

use halocast_core::Map;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Error, Result, ensemble};

/// How near paired maps are, one number a pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairedErrors {
    /// The mean squared error, in the square of the maps' unit.
    pub mse: Vec<f64>,
    /// The mean absolute error.
    pub mae: Vec<f64>,
    /// The peak signal-to-noise ratio 10 log10(range^2 / mse), in dB; infinite for equal maps.
    pub psnr: Vec<f64>,
    /// The structural similarity, 1 for equal maps.
    pub ssim: Vec<f64>,
    /// The range of values that PSNR and SSIM refer to.
    pub data_range: f64,
}

/// The errors of `predicted` against `truth`, map by map, in parallel. `data_range` is the largest less the smallest value
/// that the maps can have; `None` takes those of all pixels of the truth.
///
/// SSIM is the mean over windows of (2 m_x m_y + c_1)(2 s_xy + c_2) / ((m_x^2 + m_y^2 + c_1)(s_x^2 + s_y^2 + c_2)) with Gaussian
/// weights of sigma = 1.5 in windows of 11 x 11 pixels, c_i = (k_i range)^2, k = 0.01, 0.03, over the windows that lie inside.
///
/// ```
/// use halocast_core::Map;
/// use halocast_stats::paired_errors;
/// use ndarray::Array2;
///
/// let truth = Map::square("a", Array2::from_shape_fn((16, 16), |(y, x)| (y * x % 7) as f32), 1.0);
/// let other = truth.map_values(|v| v + 0.6);
/// let found = paired_errors(&[truth.clone()], &[other], None)?;
/// assert!((found.mse[0] - 0.36).abs() < 1e-6 && (found.psnr[0] - 20.0).abs() < 1e-4);
/// assert_eq!(paired_errors(&[truth.clone()], &[truth], None)?.ssim, [1.0]);
/// # Ok::<(), halocast_stats::Error>(())
/// ```
///
/// # Source
/// Wang et al. 2004, as `skimage.metrics.structural_similarity` with `gaussian_weights=True, sigma=1.5,
/// use_sample_covariance=False`.
///
/// # Errors
/// [`Error::TooFew`], [`Error::Mismatch`], [`Error::Map`] as for [`crate::power_spectra`]; [`Error::Mismatch`] for another number of
/// maps; [`Error::Value`] for maps below 11 pixels, or a range that is not positive (a constant truth).
pub fn paired_errors(truth: &[Map], predicted: &[Map], data_range: Option<f64>) -> Result<PairedErrors> {
    let operation = "paired errors";
    ensemble::check_pair(operation, ("the truth", truth), ("the prediction", predicted))?;
    if truth.len() != predicted.len() {
        let (what, expected) = ("the number of predicted maps".into(), truth.len().to_string());
        return Err(Error::Mismatch { operation, what, expected, got: predicted.len().to_string() });
    }
    let value = |what: &str, expected: &str, got: String| {
        Err(Error::Value { operation, what: what.into(), expected: expected.into(), got })
    };
    if truth[0].shape().iter().any(|n| *n < WINDOW) {
        return value(
            "the shape of the maps",
            "at least 11 pixels a side",
            format!("{:?}", truth[0].shape()),
        );
    }
    let range = data_range.unwrap_or_else(|| {
        let ends = truth
            .iter()
            .flat_map(|m| &m.values)
            .fold((f32::INFINITY, f32::NEG_INFINITY), |e, &v| (e.0.min(v), e.1.max(v)));
        f64::from(ends.1) - f64::from(ends.0)
    });
    if !(range.is_finite() && range > 0.0) {
        return value("the data range", "finite and positive", range.to_string());
    }
    let pairs: Vec<[f64; 3]> = truth
        .par_iter()
        .zip(predicted)
        .map(|(a, b)| {
            let n = a.values.len() as f64;
            let differences = || a.values.iter().zip(&b.values).map(|(a, b)| f64::from(*b) - f64::from(*a));
            let mse = differences().map(|d| d * d).sum::<f64>() / n;
            [mse, differences().map(f64::abs).sum::<f64>() / n, ssim(a, b, range)]
        })
        .collect();
    Ok(PairedErrors {
        mse: pairs.iter().map(|p| p[0]).collect(),
        mae: pairs.iter().map(|p| p[1]).collect(),
        psnr: pairs.iter().map(|p| 10.0 * (range * range / p[0]).log10()).collect(),
        ssim: pairs.iter().map(|p| p[2]).collect(),
        data_range: range,
    })
}

const WINDOW: usize = 11;

fn ssim(a: &Map, b: &Map, range: f64) -> f64 {
    let weights: Vec<f64> = (0..WINDOW).map(|i| (-0.5 * ((i as f64 - 5.0) / 1.5).powi(2)).exp()).collect();
    let total: f64 = weights.iter().sum();
    let weights: Vec<f64> = weights.iter().map(|w| w / total).collect();
    let shape = a.shape();
    let pair = || a.values.iter().zip(&b.values).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let products: [Vec<f64>; 5] = [
        pair().map(|p| p.0).collect(),
        pair().map(|p| p.1).collect(),
        pair().map(|p| p.0 * p.0).collect(),
        pair().map(|p| p.1 * p.1).collect(),
        pair().map(|p| p.0 * p.1).collect(),
    ];
    let [x, y, xx, yy, xy] = products.map(|v| filtered(&v, shape, &weights));
    let (c1, c2) = ((0.01 * range).powi(2), (0.03 * range).powi(2));
    let one = |i: usize| {
        let (vx, vy, cov) = (xx[i] - x[i] * x[i], yy[i] - y[i] * y[i], xy[i] - x[i] * y[i]);
        (2.0 * x[i] * y[i] + c1) * (2.0 * cov + c2) / ((x[i] * x[i] + y[i] * y[i] + c1) * (vx + vy + c2))
    };
    (0..x.len()).map(one).sum::<f64>() / x.len() as f64
}

/// Weighted means over windows that lie inside the image, one axis after the other.
fn filtered(values: &[f64], [ny, nx]: [usize; 2], weights: &[f64]) -> Vec<f64> {
    let width = nx - WINDOW + 1;
    let mut rows = vec![0.0; ny * width];
    for (line, out) in values.chunks_exact(nx).zip(rows.chunks_exact_mut(width)) {
        for (x, out) in out.iter_mut().enumerate() {
            *out = line[x..x + WINDOW].iter().zip(weights).map(|(v, w)| v * w).sum();
        }
    }
    let mut means = vec![0.0; (ny - WINDOW + 1) * width];
    for (y, out) in means.chunks_exact_mut(width).enumerate() {
        for (k, w) in weights.iter().enumerate() {
            let line = &rows[(y + k) * width..(y + k + 1) * width];
            out.iter_mut().zip(line).for_each(|(o, v)| *o += w * v);
        }
    }
    means
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    fn waves(shape: (usize, usize), phase: f64) -> Map {
        let f = |(y, x): (usize, usize)| ((0.7 * y as f64 + phase).sin() + (0.31 * x as f64).cos()) as f32;
        Map::square("waves", Array2::from_shape_fn(shape, f), 1.0)
    }

    #[test]
    fn similarity_is_that_of_scikit_image() {
        // structural_similarity(a, b, data_range=4, gaussian_weights=True, sigma=1.5, use_sample_covariance=False) of scikit-image
        // 0.26 for these maps in float64 from float32.
        let found = paired_errors(&[waves((20, 27), 0.0)], &[waves((20, 27), 0.4)], Some(4.0)).unwrap();
        assert!((found.ssim[0] - 0.797_017_103_576_030_2).abs() < 1e-9, "{}", found.ssim[0]);
    }

    #[test]
    fn unpaired_maps_are_refused() {
        let (a, small) = (waves((12, 12), 0.0), waves((10, 12), 0.0));
        let one = std::slice::from_ref::<Map>;
        let told = |t: &[Map], p: &[Map]| paired_errors(t, p, None).unwrap_err().to_string();
        assert!(told(one(&a), &[a.clone(), a.clone()]).contains("number"));
        assert!(told(one(&small), one(&small)).contains("11 pixels"));
        let flat = a.map_values(|_| 1.0);
        assert!(told(one(&flat), one(&a)).contains("range"));
        assert!(told(&[], one(&a)).contains("at least"));
    }
}

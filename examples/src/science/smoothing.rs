//! A Gaussian filter of a map that ends at its edges.

use halocast::core::Map;
use ndarray::{Array2, ArrayView1, Axis};

/// A map smoothed by a Gaussian of standard deviation `width` in pixels, with the map mirrored at its edges.
pub(super) fn smoothed(map: &Map, width: f64) -> Map {
    let reach = (4.0 * width).ceil() as i64;
    let weights: Vec<f64> = (-reach..=reach).map(|i| (-0.5 * (i as f64 / width).powi(2)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let mut values = map.values.clone();
    for axis in [Axis(0), Axis(1)] {
        let mut out = Array2::zeros(values.raw_dim());
        for (line, mut target) in values.lanes(axis).into_iter().zip(out.lanes_mut(axis)) {
            for (i, value) in target.iter_mut().enumerate() {
                let at = |(j, w): (usize, &f64)| w * mirrored(line, i as i64 + j as i64 - reach);
                *value = (weights.iter().enumerate().map(at).sum::<f64>() / sum) as f32;
            }
        }
        values = out;
    }
    Map { values, ..map.clone() }
}

/// The value at a place that may lie beyond an edge: ... 1 0 | 0 1 2 ... n-1 | n-1 ...
fn mirrored(line: ArrayView1<'_, f32>, i: i64) -> f64 {
    let n = line.len() as i64;
    let place = i.rem_euclid(2 * n);
    f64::from(line[place.min(2 * n - 1 - place) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_sums_and_spreads_a_point_as_a_gaussian() {
        let mut values = Array2::zeros((33, 33));
        values[[16, 16]] = 1.0;
        let smooth = smoothed(&Map::square("a", values, 1.0), 2.0);
        assert!((smooth.values.sum() - 1.0).abs() < 1e-5);
        let expected = 1.0 / (2.0 * std::f32::consts::PI * 4.0);
        assert!((smooth.values[[16, 16]] / expected - 1.0).abs() < 1e-3);
        assert!((smooth.values[[16, 18]] / smooth.values[[16, 16]] - (-0.5f32).exp()).abs() < 1e-4);
        let mut corner = Array2::zeros((8, 8));
        corner[[0, 0]] = 1.0;
        assert!((smoothed(&Map::square("a", corner, 1.0), 5.0).values.sum() - 1.0).abs() < 1e-5);
    }
}

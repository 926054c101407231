//! Distances by moments and by projections: Frechet's and the sliced Wasserstein distance.

use halocast_core::Rng;
use ndarray::{Array1, Array2, ArrayView2, Axis};
use rayon::prelude::*;

use super::check_pair;
use crate::{Error, Result, eigen, wasserstein};

/// The squared Frechet distance of the Gaussians with the two ensembles' means and covariances (n - 1 in the denominator):
/// |mu_a - mu_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), in the feature space that the caller supplies. O(n d^2 + d^3) with
/// Jacobi's rotations: for up to some hundred features.
///
/// # Source
/// Dowson & Landau 1982; Heusel et al. 2017, whose "FID" is this number for the features of one image network.
///
/// # Differences
/// The trace of (C_a C_b)^(1/2) is that of (C_a^(1/2) C_b C_a^(1/2))^(1/2), a symmetric matrix: no complex roots to drop.
///
/// # Errors
/// As [`energy_distance`](super::energy_distance).
pub fn frechet_distance(a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>) -> Result<f64> {
    check_pair("Frechet distance", a, b)?;
    let (mean_a, c_a) = moments(a);
    let (mean_b, c_b) = moments(b);
    let (values, vectors) = eigen::symmetric(&c_a);
    let roots = Array2::from_diag(&values.iter().map(|v| v.max(0.0).sqrt()).collect::<Array1<f64>>());
    let root = vectors.dot(&roots).dot(&vectors.t());
    let inner = root.dot(&c_b).dot(&root);
    let inner = (&inner + &inner.t()) * 0.5;
    let cross: f64 = eigen::symmetric(&inner).0.iter().map(|v| v.max(0.0).sqrt()).sum();
    let shift: f64 = (&mean_a - &mean_b).iter().map(|d| d * d).sum();
    Ok((shift + c_a.diag().sum() + c_b.diag().sum() - 2.0 * cross).max(0.0))
}

fn moments(values: ArrayView2<'_, f64>) -> (Array1<f64>, Array2<f64>) {
    let n = values.nrows() as f64;
    let mean = values.sum_axis(Axis(0)) / n;
    let centred = &values - &mean;
    (mean, centred.t().dot(&centred) / (n - 1.0))
}

/// The sliced Wasserstein distance: ((1 / R) sum over R random directions of W_p^p of the projections)^(1/p).
/// O(R (n + m)(d + log)).
///
/// # Source
/// Bonneel et al. 2015.
///
/// # Errors
/// As [`energy_distance`](super::energy_distance); [`Error::TooFew`] for no directions; [`Error::Value`] for p below one.
pub fn sliced_wasserstein(
    a: ArrayView2<'_, f64>,
    b: ArrayView2<'_, f64>,
    directions: usize,
    p: f64,
    rng: &mut Rng,
) -> Result<f64> {
    let operation = "sliced Wasserstein distance";
    check_pair(operation, a, b)?;
    if directions == 0 {
        let what = "the directions".into();
        return Err(Error::TooFew { operation, what, expected: 1, got: 0 });
    }
    let stream = rng.next_u64();
    let key = rng.split(stream);
    let slice = |i: usize| {
        let mut rng = key.split(i as u64);
        let direction: Array1<f64> = (0..a.ncols()).map(|_| rng.normal()).collect();
        let direction = &direction / direction.dot(&direction).sqrt();
        wasserstein(&a.dot(&direction).to_vec(), &b.dot(&direction).to_vec(), p).map(|w| w.powf(p))
    };
    let slices = (0..directions).into_par_iter().map(slice).collect::<Result<Vec<f64>>>()?;
    Ok((slices.iter().sum::<f64>() / directions as f64).powf(1.0 / p))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(n: usize, d: usize, scale: f64, shift: f64, seed: u64) -> Array2<f64> {
        let mut rng = Rng::new(seed);
        Array2::from_shape_fn((n, d), |_| shift + scale * rng.normal())
    }

    #[test]
    fn the_frechet_distance_of_scaled_copies_is_closed() {
        // Y = s X + t has C_b = s^2 C_a: tr (1 - s)^2 C_a plus the shift of the mean.
        let a = normal(50, 6, 1.3, 0.2, 1);
        let (s, t) = (1.7, 0.4);
        let b = a.mapv(|v| s * v + t);
        let (mean, c) = moments(a.view());
        let shift: f64 = mean.iter().map(|m| ((s - 1.0) * m + t).powi(2)).sum();
        let expected = (s - 1.0).powi(2) * c.diag().sum() + shift;
        assert!((frechet_distance(a.view(), b.view()).unwrap() / expected - 1.0).abs() < 1e-10);
        assert!(frechet_distance(a.view(), a.view()).unwrap() < 1e-10);
        // Fewer members than features: covariances without full rank.
        let few = normal(4, 10, 1.0, 0.0, 3);
        assert!(frechet_distance(few.view(), few.view()).unwrap() < 1e-10);
    }

    #[test]
    fn slices_of_a_shift_average_its_projection() {
        let a = normal(40, 3, 1.0, 0.0, 1);
        let b = &a + &ndarray::array![0.0, 3.0, 4.0];
        // The mean of cos^2 over directions in three dimensions is 1/3.
        let found = sliced_wasserstein(a.view(), b.view(), 4000, 2.0, &mut Rng::new(5)).unwrap();
        assert!((found / (25.0f64 / 3.0).sqrt() - 1.0).abs() < 0.03, "{found}");
        let again = sliced_wasserstein(a.view(), b.view(), 4000, 2.0, &mut Rng::new(5)).unwrap();
        assert_eq!(found, again);
        assert!(sliced_wasserstein(a.view(), b.view(), 0, 2.0, &mut Rng::new(5)).is_err());
        assert!(sliced_wasserstein(a.view(), b.view(), 5, 0.5, &mut Rng::new(5)).is_err());
    }
}

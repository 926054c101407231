//! A Gaussian of full covariance: what a density model has to beat.

use anyhow::{Result, ensure};
use halocast::core::Rng;
use ndarray::{Array1, Array2, ArrayView2, Axis};

/// A normal distribution fitted to rows.
pub(super) struct Gaussian {
    mean: Array1<f64>,
    /// The lower triangle L of the covariance L L^T.
    root: Array2<f64>,
}

impl Gaussian {
    /// The mean and covariance of rows `[n, d]`, with 1e-6 of the mean variance added to each, so that pixels that never change
    /// do no harm.
    ///
    /// # Errors
    /// When there are fewer rows than places.
    pub(super) fn fit(rows: ArrayView2<'_, f64>) -> Result<Self> {
        let (n, d) = rows.dim();
        ensure!(n > d, "{n} examples of {d} numbers, expected more examples than numbers");
        let mean = rows.sum_axis(Axis(0)) / n as f64;
        let centred = &rows - &mean;
        let mut covariance = centred.t().dot(&centred) / (n as f64 - 1.0);
        let jitter = 1e-6 * covariance.diag().sum() / d as f64;
        covariance.diag_mut().mapv_inplace(|v| v + jitter);
        Ok(Self { mean, root: cholesky(covariance)? })
    }

    /// `n` rows.
    pub(super) fn sample(&self, n: usize, rng: &mut Rng) -> Array2<f64> {
        let d = self.mean.len();
        let normals = Array2::from_shape_fn((n, d), |_| rng.normal());
        normals.dot(&self.root.t()) + &self.mean
    }

    /// ln p of each row in nats.
    pub(super) fn log_prob(&self, rows: ArrayView2<'_, f64>) -> Vec<f64> {
        let d = self.mean.len();
        let half = self.root.diag().iter().map(|v| v.ln()).sum::<f64>();
        let constant = -0.5 * d as f64 * (2.0 * std::f64::consts::PI).ln() - half;
        let one = |row: ndarray::ArrayView1<'_, f64>| {
            // L y = x - mean.
            let mut y = &row - &self.mean;
            for i in 0..d {
                let known: f64 = (0..i).map(|j| self.root[[i, j]] * y[j]).sum();
                y[i] = (y[i] - known) / self.root[[i, i]];
            }
            constant - 0.5 * y.dot(&y)
        };
        rows.rows().into_iter().map(one).collect()
    }
}

fn cholesky(mut a: Array2<f64>) -> Result<Array2<f64>> {
    let d = a.nrows();
    for i in 0..d {
        for j in 0..=i {
            let known: f64 = (0..j).map(|k| a[[i, k]] * a[[j, k]]).sum();
            let rest = a[[i, j]] - known;
            if i == j {
                ensure!(rest > 0.0, "a covariance that is not positive at place {i}");
                a[[i, i]] = rest.sqrt();
            } else {
                a[[i, j]] = rest / a[[j, j]];
            }
        }
        (i + 1..d).for_each(|j| a[[i, j]] = 0.0);
    }
    Ok(a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_and_density_are_those_of_the_fit() {
        let mut rng = Rng::new(1);
        let rows = Array2::from_shape_fn((4000, 2), |_| rng.normal());
        let mixed = rows.dot(&ndarray::array![[2.0, 1.0], [0.0, 0.5]]) + 3.0;
        let fit = Gaussian::fit(mixed.view()).unwrap();
        // Covariance [[4, 2], [2, 1.25]].
        let drawn = fit.sample(4000, &mut rng);
        let again = Gaussian::fit(drawn.view()).unwrap();
        assert!((again.root[[0, 0]] - 2.0).abs() < 0.1 && (again.root[[1, 0]] - 1.0).abs() < 0.06);
        // Entropy ln(2 pi e) + ln|det|/2, det = 1.
        let mean = fit.log_prob(mixed.view()).iter().sum::<f64>() / 4000.0;
        let entropy = (2.0 * std::f64::consts::PI).ln() + 1.0;
        assert!((mean + entropy).abs() < 0.06, "{mean}");
        assert!(Gaussian::fit(mixed.slice(ndarray::s![..2, ..])).is_err());
    }
}

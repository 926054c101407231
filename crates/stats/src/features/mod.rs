//! Distances of two ensembles of feature vectors, `[member, feature]`.

mod kernel;
mod manifold;
mod moments;

use ndarray::{ArrayView1, ArrayView2};

use crate::{Error, Result, covariance};
pub use kernel::{MaximumMeanDiscrepancy, energy_distance, maximum_mean_discrepancy, median_distance};
pub use manifold::{Fidelity, fidelity};
pub use moments::{frechet_distance, sliced_wasserstein};

fn check_pair(operation: &'static str, a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>) -> Result<()> {
    covariance::check(operation, "ensemble a", a)?;
    covariance::check(operation, "ensemble b", b)?;
    if a.ncols() == b.ncols() {
        return Ok(());
    }
    let (what, expected) = ("the number of features of ensemble b".into(), a.ncols().to_string());
    Err(Error::Mismatch { operation, what, expected, got: b.ncols().to_string() })
}

fn squared(a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum()
}

//! Whether samples lie where the truth lies, and whether they are everywhere it is: precision, recall, density, coverage.

use ndarray::ArrayView2;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{check_pair, squared};
use crate::{Error, Result};

/// How samples cover the truth in a feature space.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fidelity {
    /// The fraction of samples inside a ball of the truth: about a true member, through its k-th true neighbour.
    pub precision: f64,
    /// The fraction of true members inside a ball of the samples.
    pub recall: f64,
    /// The number of balls of the truth that hold a sample, over k and averaged: precision that outliers do not inflate; one is
    /// right, more is concentrated.
    pub density: f64,
    /// The fraction of balls of the truth that hold a sample.
    pub coverage: f64,
}

/// Precision, recall, density and coverage with balls through the `k`-th neighbour, itself not counted. O((n + m)^2 d).
///
/// # Source
/// Kynkaanniemi et al. 2019 (precision, recall); Naeem et al. 2020 (density, coverage).
///
/// # Errors
/// As [`energy_distance`](super::energy_distance); [`Error::Value`] for k = 0 or an ensemble of not more than k members.
pub fn fidelity(truth: ArrayView2<'_, f64>, samples: ArrayView2<'_, f64>, k: usize) -> Result<Fidelity> {
    let operation = "precision and recall";
    check_pair(operation, truth, samples)?;
    let least = truth.nrows().min(samples.nrows());
    if k == 0 || k >= least {
        let (what, expected) = ("k".into(), format!("at least 1, below the {least} members of an ensemble"));
        return Err(Error::Value { operation, what, expected, got: k.to_string() });
    }
    let (radii, sample_radii) = (kth_neighbours(truth, k), kth_neighbours(samples, k));
    // For every sample: in how many balls of the truth it lies.
    let inside: Vec<usize> = (0..samples.nrows())
        .into_par_iter()
        .map(|j| truth.outer_iter().zip(&radii).filter(|(t, r2)| squared(*t, samples.row(j)) <= **r2).count())
        .collect();
    // For every true member: whether it is in a ball of the samples, and whether its own ball holds a sample.
    let reached: Vec<(bool, bool)> = (0..truth.nrows())
        .into_par_iter()
        .map(|i| {
            let distances: Vec<f64> = samples.outer_iter().map(|s| squared(truth.row(i), s)).collect();
            let recalled = distances.iter().zip(&sample_radii).any(|(d2, r2)| d2 <= r2);
            (recalled, distances.iter().any(|d2| *d2 <= radii[i]))
        })
        .collect();
    let (n, m) = (truth.nrows() as f64, samples.nrows() as f64);
    Ok(Fidelity {
        precision: inside.iter().filter(|c| **c > 0).count() as f64 / m,
        recall: reached.iter().filter(|r| r.0).count() as f64 / n,
        density: inside.iter().sum::<usize>() as f64 / (k as f64 * m),
        coverage: reached.iter().filter(|r| r.1).count() as f64 / n,
    })
}

/// The squared distance of each member to its k-th neighbour.
fn kth_neighbours(values: ArrayView2<'_, f64>, k: usize) -> Vec<f64> {
    let of = |i: usize| {
        let others = (0..values.nrows()).filter(|j| *j != i);
        let mut distances: Vec<f64> = others.map(|j| squared(values.row(i), values.row(j))).collect();
        *distances.select_nth_unstable_by(k - 1, f64::total_cmp).1
    };
    (0..values.nrows()).into_par_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use halocast_core::Rng;
    use ndarray::{Array2, array};

    use super::*;

    #[test]
    fn a_collapsed_model_has_precision_without_recall() {
        let mut rng = Rng::new(1);
        let mut draw =
            |scale: f64, shift: f64| Array2::from_shape_fn((300, 2), |_| shift + scale * rng.normal());
        let (truth, same, collapsed, far) = (draw(1.0, 0.0), draw(1.0, 0.0), draw(0.1, 0.0), draw(1.0, 50.0));
        let of = |s: &Array2<f64>| fidelity(truth.view(), s.view(), 5).unwrap();
        let good = of(&same);
        assert!(
            good.precision > 0.9
                && good.recall > 0.9
                && (good.density - 1.0).abs() < 0.1
                && good.coverage > 0.9
        );
        let bad = of(&collapsed);
        assert!(
            bad.precision > 0.95 && bad.recall < 0.1 && bad.coverage < 0.2 && bad.density > 1.0,
            "{bad:?}"
        );
        assert_eq!(of(&far), Fidelity { precision: 0.0, recall: 0.0, density: 0.0, coverage: 0.0 });
    }

    #[test]
    fn balls_are_counted_by_hand() {
        let truth = array![[0.0], [1.0], [3.0]];
        let samples = array![[0.5], [10.0], [11.0]];
        // Balls with k = 1: [-1, 1], [0, 2], [1, 5] of the truth; [-9, 10], [9, 11], [10, 12] of the samples.
        let found = fidelity(truth.view(), samples.view(), 1).unwrap();
        assert_eq!((found.precision, found.recall), (1.0 / 3.0, 1.0));
        assert_eq!((found.density, found.coverage), (2.0 / 3.0, 2.0 / 3.0));
        assert!(fidelity(truth.view(), samples.view(), 3).is_err());
        assert!(fidelity(truth.view(), samples.view(), 0).is_err());
    }
}

//! Where training and programs meet statistics: a metric compares two ensembles of maps.

use serde::{Deserialize, Serialize};

use crate::{Map, Result};

/// One statistic of an ensemble as a curve: mean and scatter in bins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Bin positions: wavenumber, threshold, value, radius.
    pub x: Vec<f64>,
    /// Ensemble mean.
    pub mean: Vec<f64>,
    /// Ensemble standard deviation of one member (n - 1 in the denominator).
    pub std: Vec<f64>,
    /// What `x` is, with its unit.
    pub x_label: String,
    /// What the curve is, with its unit.
    pub y_label: String,
}

/// A statistic of two ensembles side by side, and one number that says how far apart they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The metric's name.
    pub name: String,
    /// The truth's curve.
    pub truth: Curve,
    /// The samples' curve.
    pub samples: Curve,
    /// The distance, or the agreement, of the two; see the metric for its meaning.
    pub score: f64,
}

/// A summary statistic that judges samples by the truth.
pub trait Metric: Send + Sync {
    /// A short name, as it stands in tables and JSON.
    fn name(&self) -> &str;

    /// Compares samples to the truth.
    ///
    /// # Errors
    /// When an ensemble is empty or its maps have different shapes.
    fn compare(&self, truth: &[Map], samples: &[Map]) -> Result<Comparison>;
}

//! A posterior on a grid.

use crate::Result;
use crate::sampling::check_config;

/// An axis of a grid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Axis {
    /// Its first value.
    pub from: f64,
    /// Its last value.
    pub to: f64,
    /// Number of values, at least 2.
    pub points: usize,
}

impl Axis {
    /// The values.
    pub fn values(&self) -> Vec<f64> {
        let step = (self.to - self.from) / self.points.saturating_sub(1).max(1) as f64;
        (0..self.points).map(|i| self.from + step * i as f64).collect()
    }
}

/// A density of few parameters on a grid, integrated by the trapezoidal rule.
///
/// ```
/// use halocast_models::inference::{Axis, GridPosterior};
/// let axis = Axis { from: -5.0, to: 7.0, points: 121 };
/// let posterior = GridPosterior::new(&[axis], |t| Ok(-0.5 * (t[0] - 1.0) * (t[0] - 1.0)))?;
/// assert!((posterior.mean()[0] - 1.0).abs() < 1e-6);
/// assert!((posterior.covariance()[0][0] - 1.0).abs() < 1e-6);
/// assert!((posterior.log_evidence() - 0.5 * std::f64::consts::TAU.ln()).abs() < 1e-6);
/// # Ok::<(), halocast_models::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct GridPosterior {
    axes: Vec<Vec<f64>>,
    /// The probability of each cell, the last axis fastest.
    mass: Vec<f64>,
    log_evidence: f64,
}

impl GridPosterior {
    /// Evaluates a log-density, which need not be normalised, at every point of the grid.
    ///
    /// # Errors
    /// [`crate::Error::Config`] when there is no axis, an axis is empty or falls, or the density is zero or not a number
    /// everywhere; errors of the density.
    pub fn new(axes: &[Axis], mut log_density: impl FnMut(&[f64]) -> Result<f64>) -> Result<Self> {
        let rises = axes.iter().all(|a| a.points > 1 && a.from < a.to);
        check_config(
            "grid",
            [("axes", rises && !axes.is_empty(), "rising, of 2 points", format!("{axes:?}"))],
        )?;
        let values: Vec<Vec<f64>> = axes.iter().map(Axis::values).collect();
        let count: usize = axes.iter().map(|a| a.points).product();
        let mut logs = Vec::with_capacity(count);
        for at in 0..count {
            let places = places(&values, at);
            let theta: Vec<f64> = places.iter().zip(&values).map(|(&i, v)| v[i]).collect();
            let mut log = log_density(&theta)?;
            for (&i, axis) in places.iter().zip(axes) {
                let end = i == 0 || i + 1 == axis.points;
                let step = (axis.to - axis.from) / (axis.points - 1) as f64;
                log += (if end { 0.5 * step } else { step }).ln();
            }
            logs.push(if log.is_nan() { f64::NEG_INFINITY } else { log });
        }
        let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        check_config("grid", [("density", most.is_finite(), "finite somewhere", most.to_string())])?;
        let sum: f64 = logs.iter().map(|l| (l - most).exp()).sum();
        let mass = logs.iter().map(|l| (l - most).exp() / sum).collect();
        Ok(Self { axes: values, mass, log_evidence: most + sum.ln() })
    }

    /// The logarithm of the integral of the density.
    pub fn log_evidence(&self) -> f64 {
        self.log_evidence
    }

    /// The mean of each parameter.
    pub fn mean(&self) -> Vec<f64> {
        let mean = |a: usize| self.marginal(a).iter().zip(&self.axes[a]).map(|(m, v)| m * v).sum();
        (0..self.axes.len()).map(mean).collect()
    }

    /// The covariance of the parameters.
    pub fn covariance(&self) -> Vec<Vec<f64>> {
        let mean = self.mean();
        let mut covariance = vec![vec![0.0; mean.len()]; mean.len()];
        for (at, mass) in self.mass.iter().enumerate() {
            let off: Vec<f64> =
                places(&self.axes, at).iter().enumerate().map(|(a, &i)| self.axes[a][i] - mean[a]).collect();
            for (row, own) in covariance.iter_mut().zip(&off) {
                row.iter_mut().zip(&off).for_each(|(c, other)| *c += mass * own * other);
            }
        }
        covariance
    }

    /// The probability of each value of one parameter, over all values of the others; empty for no such parameter.
    pub fn marginal(&self, axis: usize) -> Vec<f64> {
        let mut marginal = vec![0.0; self.axes.get(axis).map_or(0, Vec::len)];
        for (at, mass) in self.mass.iter().enumerate() {
            if let Some(slot) = places(&self.axes, at).get(axis).and_then(|&i| marginal.get_mut(i)) {
                *slot += mass;
            }
        }
        marginal
    }
}

/// The place of a cell along each axis.
fn places(axes: &[Vec<f64>], mut at: usize) -> Vec<usize> {
    let mut places = vec![0; axes.len()];
    for (place, axis) in places.iter_mut().zip(axes).rev() {
        *place = at % axis.len();
        at /= axis.len();
    }
    places
}

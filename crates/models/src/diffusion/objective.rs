//! What a diffusion network predicts, and how its error is measured.

use candle_core::Tensor;
use halocast_kernels::{huber_loss, mse_loss};
use serde::{Deserialize, Serialize};

use crate::Result;

/// The network's target, with x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// The noise eps (Ho et al. 2020).
    #[default]
    Noise,
    /// The data x0.
    Data,
    /// v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0 (Salimans & Ho 2022).
    Velocity,
}

impl Objective {
    /// The target as (factor of x0, factor of eps).
    pub fn target(&self, alpha_bar: f64) -> (f64, f64) {
        match self {
            Self::Noise => (0.0, 1.0),
            Self::Data => (1.0, 0.0),
            Self::Velocity => (-(1.0 - alpha_bar).sqrt(), alpha_bar.sqrt()),
        }
    }

    /// x0 as (factor of x_t, factor of the prediction).
    pub fn data(&self, alpha_bar: f64) -> (f64, f64) {
        match self {
            Self::Noise => (alpha_bar.sqrt().recip(), -((1.0 - alpha_bar) / alpha_bar).sqrt()),
            Self::Data => (0.0, 1.0),
            Self::Velocity => (alpha_bar.sqrt(), -(1.0 - alpha_bar).sqrt()),
        }
    }
}

/// The error of a prediction, averaged over all its elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// Mean of d^2/2 where |d| < 1 and |d| - 1/2 elsewhere (Mudur & Finkbeiner 2022).
    #[default]
    Huber,
    /// Mean of d^2 (Ho et al. 2020).
    L2,
    /// Mean of |d|.
    L1,
}

impl LossKind {
    /// The loss as a scalar tensor.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn of(&self, prediction: &Tensor, target: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Huber => huber_loss(prediction, target, 1.0)?,
            Self::L2 => mse_loss(prediction, target)?,
            Self::L1 => (prediction - target)?.abs()?.mean_all()?,
        })
    }

    /// The loss of each example, a mean over its elements: `[batch]`.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn of_each(&self, prediction: &Tensor, target: &Tensor) -> Result<Tensor> {
        let difference = (prediction - target)?;
        let errors = match self {
            Self::L2 => difference.sqr()?,
            Self::L1 => difference.abs()?,
            Self::Huber => {
                // c (|d| - c / 2) with c = min(|d|, 1).
                let size = difference.abs()?;
                let capped = size.minimum(1.0)?;
                (&capped * (&size - (&capped * 0.5)?)?)?
            }
        };
        Ok(errors.flatten_from(1)?.mean(1)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn the_loss_is_the_mean_of_those_of_the_examples() {
        let a = Tensor::new(&[[0.1f32, 3.0], [-0.4, 0.9]], &Device::Cpu).unwrap();
        let b = Tensor::new(&[[0.3f32, 0.0], [2.0, 0.8]], &Device::Cpu).unwrap();
        for kind in [LossKind::Huber, LossKind::L2, LossKind::L1] {
            let whole = kind.of(&a, &b).unwrap().to_scalar::<f32>().unwrap();
            let each = kind.of_each(&a, &b).unwrap().to_vec1::<f32>().unwrap();
            assert!((whole - (each[0] + each[1]) / 2.0).abs() < 1e-6, "{kind:?}");
        }
    }

    #[test]
    fn the_data_come_back_from_the_exact_target() {
        let (x0, eps) = (0.7, -1.3);
        for alpha_bar in [0.999f64, 0.5, 1e-3] {
            let x_t = alpha_bar.sqrt() * x0 + (1.0 - alpha_bar).sqrt() * eps;
            for objective in [Objective::Noise, Objective::Data, Objective::Velocity] {
                let (a, b) = objective.target(alpha_bar);
                let (c, d) = objective.data(alpha_bar);
                let back = c * x_t + d * (a * x0 + b * eps);
                assert!((back - x0).abs() < 1e-10, "{objective:?} at {alpha_bar}: {back}");
            }
        }
    }
}

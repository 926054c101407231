//! The distribution of an event given its latent.

use candle_core::Tensor;
use halocast_kernels::{sigmoid, softplus};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::sampling::sum_event;

/// The distribution of the numbers of an event, independent given what a decoder says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Observation {
    /// Bernoulli, of numbers in [0, 1]; the decoder gives logits.
    Bernoulli,
    /// Normal with this standard deviation; the decoder gives means.
    Gaussian(f64),
    /// Normal with a standard deviation that is learned, the same for all numbers; the decoder gives means.
    LearnedGaussian,
}

impl Observation {
    /// ln p(x | decoded) of each event, in nats: `[n]`. `log_sigma` is the learned logarithm of the standard deviation, a
    /// scalar.
    ///
    /// # Errors
    /// When shapes differ.
    pub fn log_prob(&self, x: &Tensor, decoded: &Tensor, log_sigma: Option<&Tensor>) -> Result<Tensor> {
        let half_tau = 0.5 * std::f64::consts::TAU.ln();
        match (self, log_sigma) {
            (Self::Bernoulli, _) => sum_event(&((x * decoded)? - softplus(decoded)?)?),
            (Self::LearnedGaussian, Some(log_sigma)) => {
                let scaled = (x - decoded)?.broadcast_mul(&log_sigma.neg()?.exp()?)?;
                sum_event(&scaled.sqr()?.affine(-0.5, -half_tau)?.broadcast_sub(log_sigma)?)
            }
            (Self::Gaussian(_) | Self::LearnedGaussian, _) => {
                let sigma = if let Self::Gaussian(sigma) = self { *sigma } else { 1.0 };
                let scaled = ((x - decoded)? / sigma)?;
                sum_event(&scaled.sqr()?.affine(-0.5, -half_tau - sigma.ln())?)
            }
        }
    }

    /// The mean of the distribution.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn mean(&self, decoded: &Tensor) -> Result<Tensor> {
        Ok(if *self == Self::Bernoulli { sigmoid(decoded)? } else { decoded.clone() })
    }
}

//! The losses by which a discriminator and a generator play.

use candle_core::Tensor;
use halocast_kernels::softplus;
use serde::{Deserialize, Serialize};

use crate::Result;

/// How the prediction D of a discriminator is scored, a mean over its elements.
///
/// | | real | fake |
/// |---|---|---|
/// | vanilla | $\ln(1 + e^{-D})$ | $\ln(1 + e^{D})$ |
/// | least squares | $(D - 1)^2$ | $D^2$ |
/// | Wasserstein | $-D$ | $D$ |
///
/// The generator minimises the score of its fakes as if they were real.
///
/// # Source
/// Goodfellow et al. 2014, arXiv:1406.2661, with the generator's loss of their section 3 that does not saturate; Mao et
/// al. 2017, arXiv:1611.04076, equation 9; Arjovsky et al. 2017, arXiv:1701.07875.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_models::gan::GanLoss;
/// let prediction = Tensor::new(&[0.0f32, 2.0], &Device::Cpu)?;
/// assert_eq!(GanLoss::LeastSquares.of(&prediction, true)?.to_scalar::<f32>()?, 1.0);
/// assert_eq!(GanLoss::Wasserstein.of(&prediction, false)?.to_scalar::<f32>()?, 1.0);
/// # Ok::<(), halocast_models::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GanLoss {
    /// The binary cross entropy of logits.
    Vanilla,
    /// Squares.
    LeastSquares,
    /// The difference of means, for a critic kept Lipschitz by a penalty of its gradient.
    Wasserstein,
}

impl GanLoss {
    /// The score of a prediction for what is to be taken as real or as fake, a scalar.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn of(self, prediction: &Tensor, real: bool) -> Result<Tensor> {
        Ok(match (self, real) {
            (Self::Vanilla, true) => softplus(&prediction.neg()?)?.mean_all()?,
            (Self::Vanilla, false) => softplus(prediction)?.mean_all()?,
            (Self::LeastSquares, true) => (prediction - 1.0)?.sqr()?.mean_all()?,
            (Self::LeastSquares, false) => prediction.sqr()?.mean_all()?,
            (Self::Wasserstein, true) => prediction.mean_all()?.neg()?,
            (Self::Wasserstein, false) => prediction.mean_all()?,
        })
    }
}

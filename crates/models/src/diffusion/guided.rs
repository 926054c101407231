//! Denoisers made of a denoiser: guided by its condition, or kept within a range.

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::Levels;
use crate::{Cond, Denoiser, Result};

/// Classifier-free guidance,
///
/// $$ D = D(x; \sigma) + w \left( D(x; \sigma, c) - D(x; \sigma) \right) , $$
///
/// of a denoiser that was trained with and without its condition c: w = 1 is the conditional one, 0 the unconditional, more
/// than 1 sharpens the condition at the cost of variety. Two evaluations for one.
///
/// # Source
/// Ho & Salimans 2022, arXiv:2207.12598, eq. 6; there the weight is w - 1.
pub struct Guided<'a> {
    /// The denoiser.
    pub denoiser: &'a dyn Denoiser,
    /// w.
    pub weight: f64,
}

impl Denoiser for Guided<'_> {
    fn event_shape(&self) -> Vec<usize> {
        self.denoiser.event_shape()
    }

    fn device(&self) -> &Device {
        self.denoiser.device()
    }

    fn levels(&self) -> &Levels {
        self.denoiser.levels()
    }

    fn denoise(&self, x: &Tensor, sigma: f64, cond: Option<&Cond>) -> Result<Tensor> {
        self.refine(x, sigma, cond, None)
    }

    fn refine(
        &self,
        x: &Tensor,
        sigma: f64,
        cond: Option<&Cond>,
        previous: Option<&Tensor>,
    ) -> Result<Tensor> {
        Ok(self.refine_with_spread(x, sigma, cond, previous)?.0)
    }

    /// The variance is that of the conditional denoiser.
    fn refine_with_spread(
        &self,
        x: &Tensor,
        sigma: f64,
        cond: Option<&Cond>,
        previous: Option<&Tensor>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let (with, spread) = self.denoiser.refine_with_spread(x, sigma, cond, previous)?;
        if self.weight == 1.0 || cond.is_none() {
            return Ok((with, spread));
        }
        let without = self.denoiser.refine(x, sigma, None, previous)?;
        Ok(((&without + ((with - &without)? * self.weight)?)?, spread))
    }
}

/// A range that denoised fields are kept within.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Clip {
    /// None.
    #[default]
    None,
    /// Within plus and minus `limit`.
    Static {
        /// The largest absolute value.
        limit: f64,
    },
    /// Within plus and minus s, the `quantile` of the absolute values of an event but at least `limit`; then scaled by
    /// `limit / s` (Saharia et al. 2022, arXiv:2205.11487, section 2.3, with `limit` 1).
    Dynamic {
        /// The fraction of the values left as they are.
        quantile: f64,
        /// The largest absolute value of the result.
        limit: f64,
    },
}

impl Clip {
    /// The field `[batch, ..]` kept within the range.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        match *self {
            Self::None => Ok(x.clone()),
            Self::Static { limit } => Ok(x.clamp(-limit, limit)?),
            Self::Dynamic { quantile, limit } => {
                let rows = x.flatten_from(1)?.to_dtype(DType::F64)?.to_vec2::<f64>()?;
                let clipped = rows.into_iter().flat_map(|row| {
                    let mut sizes: Vec<f64> = row.iter().map(|v| v.abs()).collect();
                    sizes.sort_by(f64::total_cmp);
                    let at = (sizes.len().saturating_sub(1)) as f64 * quantile.clamp(0.0, 1.0);
                    let (low, high) = (sizes[at.floor() as usize], sizes[at.ceil() as usize]);
                    let s = (low + (high - low) * at.fract()).max(limit);
                    row.into_iter().map(move |v| v.clamp(-s, s) * limit / s)
                });
                let clipped = Tensor::from_iter(clipped, x.device())?;
                Ok(clipped.reshape(x.shape())?.to_dtype(x.dtype())?)
            }
        }
    }
}

/// A denoiser whose result is kept within a range.
pub struct Clipped<'a> {
    /// The denoiser.
    pub denoiser: &'a dyn Denoiser,
    /// The range.
    pub clip: Clip,
}

impl Denoiser for Clipped<'_> {
    fn event_shape(&self) -> Vec<usize> {
        self.denoiser.event_shape()
    }

    fn device(&self) -> &Device {
        self.denoiser.device()
    }

    fn levels(&self) -> &Levels {
        self.denoiser.levels()
    }

    fn denoise(&self, x: &Tensor, sigma: f64, cond: Option<&Cond>) -> Result<Tensor> {
        self.refine(x, sigma, cond, None)
    }

    fn refine(
        &self,
        x: &Tensor,
        sigma: f64,
        cond: Option<&Cond>,
        previous: Option<&Tensor>,
    ) -> Result<Tensor> {
        self.clip.apply(&self.denoiser.refine(x, sigma, cond, previous)?)
    }

    fn refine_with_spread(
        &self,
        x: &Tensor,
        sigma: f64,
        cond: Option<&Cond>,
        previous: Option<&Tensor>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let (denoised, spread) = self.denoiser.refine_with_spread(x, sigma, cond, previous)?;
        Ok((self.clip.apply(&denoised)?, spread))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_range_follows_each_event() {
        let x = Tensor::new(&[[0.5f32, -0.2, 0.1], [4.0, -2.0, 1.0]], &Device::Cpu).unwrap();
        let clip = |clip: Clip| clip.apply(&x).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(clip(Clip::Static { limit: 1.0 }), [[0.5, -0.2, 0.1], [1.0, -1.0, 1.0]]);
        // The median of 1, 2, 4 is 2.
        let dynamic = clip(Clip::Dynamic { quantile: 0.5, limit: 1.0 });
        assert_eq!(dynamic, [[0.5, -0.2, 0.1], [1.0, -1.0, 0.5]]);
    }
}

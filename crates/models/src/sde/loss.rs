//! Denoising score matching.

use candle_core::{D, Tensor};
use serde::{Deserialize, Serialize};

use super::{Score, Sde};
use crate::batches::column;
use crate::{Error, Result};

/// The loss of a score $s_\theta$: with $x_t = m x_0 + s\,n$, half the squared distance to $-n/s$, summed over the event
/// and averaged over events and times, weighted by
///
/// * $s^2(t)$: $\frac12 |s\,s_\theta(x_t, t) + n|^2$;
/// * or by the `likelihood` weight $g^2(t)$: $\frac12 g^2 |s_\theta(x_t, t) + n/s|^2$, whose integral over time bounds the
///   negative log-likelihood up to a constant.
///
/// # Source
/// Song et al. 2021, eq. 7; Song, Durkan, Murray & Ermon 2021, theorem 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScoreLoss {
    /// Weighted by $g^2$.
    pub likelihood: bool,
    /// The mean over the numbers of an event in place of half their sum, as their code has it for VP.
    pub mean: bool,
}

impl Default for ScoreLoss {
    fn default() -> Self {
        Self { likelihood: false, mean: true }
    }
}

impl ScoreLoss {
    /// The loss of data `x0` `[n, ...]`, noise and times.
    ///
    /// # Errors
    /// [`Error::Shape`] when they do not fit; those of the score.
    pub fn of(&self, sde: &Sde, score: &Score<'_>, x0: &Tensor, noise: &Tensor, t: &[f64]) -> Result<Tensor> {
        if x0.dims() != noise.dims() || x0.dims().first() != Some(&t.len()) {
            return Err(Error::Shape {
                operation: "score matching",
                what: "noise".into(),
                expected: format!("{} times and data of {:?}", t.len(), x0.dims()),
                got: noise.dims().to_vec(),
            });
        }
        let of = |f: &dyn Fn(f64) -> f64| column(&t.iter().map(|&t| f(t)).collect::<Vec<_>>(), x0);
        let m = of(&|t| sde.mean_factor(t))?;
        let s = of(&|t| sde.std(t))?;
        let x_t = (x0.broadcast_mul(&m)? + noise.broadcast_mul(&s)?)?;
        let error = (score(&x_t, t)?.broadcast_mul(&s)? + noise)?;
        let squares = error.sqr()?.flatten_from(1)?;
        let each = if self.mean { squares.mean(D::Minus1)? } else { (squares.sum(D::Minus1)? * 0.5)? };
        if !self.likelihood {
            return Ok(each.mean_all()?);
        }
        let weight = of(&|t| (sde.diffusion(t) / sde.std(t)).powi(2))?.flatten_all()?;
        Ok((each * weight)?.mean_all()?)
    }
}

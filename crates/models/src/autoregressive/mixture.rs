//! The mixture of discretised logistic distributions.

use candle_core::{D, Tensor};
use halocast_core::Rng;
use halocast_kernels::{sigmoid, softplus};

use crate::Result;

/// The least logarithm of a scale.
const LEAST_LOG_SCALE: f64 = -7.0;
/// Where the difference of two distribution functions is less than this, the density times the width stands for it.
const TINY: f64 = 1e-5;

/// ln P of levels under mixtures of M logistic distributions, discretised: a level holds what lies within half a level of
/// its centre, the lowest and the highest all beyond.
///
/// `centres` `[..]` are the centres of levels, `half` half the width of a level, `lowest` and `highest` the centres of the
/// outermost, `theta` `[.., 3 M]` logits, means and logarithms of scales (none below -7). Gives `[..]`.
///
/// # Source
/// Salimans et al. 2017, arXiv:1701.05517, equations 1 and 2.
///
/// # Errors
/// When shapes do not fit.
pub fn mixture_log_prob(
    centres: &Tensor,
    half: f64,
    lowest: f64,
    highest: f64,
    theta: &Tensor,
) -> Result<Tensor> {
    let m = theta.dim(D::Minus1)? / 3;
    let part = |i: usize| -> Result<Tensor> { Ok(theta.narrow(D::Minus1, i * m, m)?.contiguous()?) };
    let (logits, means, log_scales) = (part(0)?, part(1)?, part(2)?.maximum(LEAST_LOG_SCALE)?);
    let x = centres.unsqueeze(D::Minus1)?.broadcast_as(means.shape())?.contiguous()?;
    let scale = log_scales.neg()?.exp()?;
    let middle = ((&x - means)? * &scale)?;
    let reach = (&scale * half)?;
    let (above, below) = ((&middle + &reach)?, (&middle - &reach)?);
    // ln of the lowest: everything below its upper edge; of the highest: everything above its lower edge.
    let lower = softplus(&above.neg()?)?.neg()?;
    let upper = softplus(&below)?.neg()?;
    let width = (sigmoid(&above)? - sigmoid(&below)?)?;
    let between = width.maximum(1e-12)?.log()?;
    // ln of the density at the centre times the width, where the difference is lost in rounding.
    let density = ((&middle - (softplus(&middle)? * 2.0)?)? - (log_scales - (2.0 * half).ln())?)?;
    let mask = |of: Tensor| -> Result<Tensor> { Ok(of.to_dtype(x.dtype())?) };
    let pick = |mask: &Tensor, a: &Tensor, b: &Tensor| -> Result<Tensor> {
        Ok(((a * mask)? + (b * mask.affine(-1.0, 1.0)?)?)?)
    };
    let inner = pick(&mask(width.gt(TINY)?)?, &between, &density)?;
    let inner = pick(&mask(x.ge(highest - 0.5 * half)?)?, &upper, &inner)?;
    let each = pick(&mask(x.le(lowest + 0.5 * half)?)?, &lower, &inner)?;
    let weights = logits.broadcast_sub(&logits.log_sum_exp(D::Minus1)?.unsqueeze(D::Minus1)?)?;
    Ok((each + weights)?.log_sum_exp(D::Minus1)?)
}

/// A number of a mixture of logistic distributions with parameters `theta` of length 3 M: logits, means, logarithms of
/// scales.
pub(super) fn mixture_sample(theta: &[f64], rng: &mut Rng) -> f64 {
    let m = theta.len() / 3;
    let chosen = choose(&theta[..m], rng);
    let u = rng.uniform().clamp(1e-12, 1.0 - 1e-12);
    theta[m + chosen] + theta[2 * m + chosen].max(LEAST_LOG_SCALE).exp() * (u / (1.0 - u)).ln()
}

/// An index with the probability that logits give it.
pub(super) fn choose(logits: &[f64], rng: &mut Rng) -> usize {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logits.iter().map(|l| (l - most).exp()).collect();
    let mut left = rng.uniform() * weights.iter().sum::<f64>();
    for (i, weight) in weights.iter().enumerate() {
        left -= weight;
        if left < 0.0 {
            return i;
        }
    }
    weights.len().saturating_sub(1)
}

//! The variational bound of a chain of denoising steps.

use candle_core::{DType, Tensor};
use halocast_core::Rng;

use super::Levels;
use super::variance::{Step, step_terms};
use crate::{Cond, Denoiser, Error, Result};

/// An estimate of the variational bound of ln p(x0) in nats, `[batch]` of double precision, for `x0` `[batch, ..]`:
///
/// $$ \ln p(x_0) \ge -\mathrm{KL}(q(x_T | x_0) \,\|\, N(0, 1)) - \sum_{t > 0} \frac12
/// \left( \frac1{\sigma_{t-1}^2} - \frac1{\sigma_t^2} \right) E |x_0 - D(x_0 + \sigma_t n; \sigma_t)|^2
/// + E \ln N(x_0; D(x_0 + \sigma_0 n; \sigma_0), \sigma_0^2) $$
///
/// over the T discrete levels of the denoiser, with the chain's variances $\tilde\beta_t$; a model that learned its variances
/// has the terms of its own. The sum over t is estimated
/// from `draws` levels, each with the probability that its term has in the sum for Gaussian data of unit variance, whose
/// mean square error is $\sigma_t^2 / (1 + \sigma_t^2)$, and stratified; each draw also has its own noise for the last
/// term.
///
/// The data are continuous, so the last step of the chain is a Gaussian of variance $\sigma_0^2$, the noise of the lowest
/// level (relative to data of unit factor), where Ho et al. have a discretised one for 8-bit images: the two differ by the
/// volume of a bin, and bounds of different lowest levels are bounds of the same density.
///
/// # Source
/// Ho et al. 2020, arXiv:2006.11239, eqs. 5 and 8, in the variables of this crate.
///
/// # Errors
/// [`Error::Config`] for a denoiser of a continuum of levels or no draws; those of the denoiser.
pub fn variational_bound(
    denoiser: &dyn Denoiser,
    x0: &Tensor,
    cond: Option<&Cond>,
    draws: usize,
    rng: &mut Rng,
) -> Result<Tensor> {
    let refuse = |field: &str, expected: &str, got: &str| Error::Config {
        model: "variational bound",
        field: field.into(),
        expected: expected.into(),
        got: got.into(),
    };
    let Levels::Discrete(sigmas) = denoiser.levels() else {
        return Err(refuse("levels", "discrete", "a continuum"));
    };
    let (Some(&lowest), Some(&highest)) = (sigmas.first(), sigmas.last()) else {
        return Err(refuse("levels", "at least 1", "none"));
    };
    if draws == 0 {
        return Err(refuse("draws", "at least 1", "0"));
    }
    let n = x0.dim(0)?;
    let each = x0.elem_count() / n.max(1);
    let key = Rng::new(rng.next_u64());
    let mut streams: Vec<Rng> = (0..n).map(|i| key.split(i as u64)).collect();
    let mut noised = |sigma: f64| -> Result<Tensor> {
        let values: Vec<f32> = streams.iter_mut().flat_map(|rng| rng.normals(each)).collect();
        let noise = Tensor::from_vec(values, x0.shape(), x0.device())?.to_dtype(x0.dtype())?;
        Ok((x0 + (noise * sigma)?)?)
    };
    let squares = |x: &Tensor| -> Result<Vec<f64>> {
        Ok(x.to_dtype(DType::F64)?.sqr()?.flatten_from(1)?.sum(1)?.to_vec1()?)
    };
    // The term of a step, of each event.
    let term = |x: &Tensor, t: usize| -> Result<Vec<f64>> {
        let (denoised, spread) = denoiser.refine_with_spread(x, sigmas[t], cond, None)?;
        if let Some(spread) = spread {
            let steps = vec![Step::down_from(t, sigmas); n];
            let terms = step_terms(x0, &denoised, &spread, &steps)?;
            return Ok(terms.to_dtype(DType::F64)?.flatten_from(1)?.sum(1)?.to_vec1()?);
        }
        let (factor, constant) = match t.checked_sub(1) {
            Some(below) => (0.5 * (sigmas[below].powi(-2) - sigmas[t].powi(-2)), 0.0),
            None => {
                let variance = lowest * lowest;
                (0.5 / variance, 0.5 * each as f64 * (std::f64::consts::TAU * variance).ln())
            }
        };
        let errors = squares(&(x0 - denoised)?)?;
        Ok(errors.into_iter().map(|error| constant + factor * error).collect())
    };

    // KL of N(sqrt(alpha_bar) x0, 1 - alpha_bar) from N(0, 1).
    let alpha_bar = 1.0 / (1.0 + highest * highest);
    let constant = -0.5 * each as f64 * (-alpha_bar - (-alpha_bar).ln_1p());
    let mut bound: Vec<f64> =
        squares(x0)?.into_iter().map(|square| constant - 0.5 * alpha_bar * square).collect();

    let parts = draws as f64;
    // Half the fall of 1 / sigma^2 between two levels, and the running sum of the terms expected.
    let falls: Vec<f64> = sigmas.windows(2).map(|s| 0.5 * (s[0].powi(-2) - s[1].powi(-2))).collect();
    let expected = |t: usize| falls[t] / (1.0 + sigmas[t + 1].powi(-2));
    let mut sums = vec![0.0];
    for t in 0..falls.len() {
        sums.push(sums[t] + expected(t));
    }
    let whole = sums[falls.len()];
    for draw in 0..draws {
        let x = noised(lowest)?;
        bound.iter_mut().zip(term(&x, 0)?).for_each(|(b, term)| *b -= term / parts);
        if whole > 0.0 {
            let at = (draw as f64 + rng.uniform()) / parts * whole;
            let t = sums.partition_point(|&sum| sum <= at).clamp(1, falls.len());
            let chance = expected(t - 1) / whole;
            let x = noised(sigmas[t])?;
            bound.iter_mut().zip(term(&x, t)?).for_each(|(b, term)| *b -= term / chance / parts);
        }
    }
    Ok(Tensor::from_vec(bound, n, x0.device())?)
}

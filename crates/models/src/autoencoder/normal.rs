//! Divergences of normal distributions, in nats.

use candle_core::Tensor;

use crate::Result;

/// $D_{KL}(N(\mu, e^v) \| N(0, 1)) = \frac{1}{2} (e^v + \mu^2 - 1 - v)$ of each number.
///
/// # Source
/// Kingma & Welling 2014, arXiv:1312.6114, appendix B.
///
/// # Errors
/// When shapes differ.
pub fn kl_standard(mean: &Tensor, log_variance: &Tensor) -> Result<Tensor> {
    Ok(((log_variance.exp()? + mean.sqr()?)? - log_variance)?.affine(0.5, -0.5)?)
}

/// $D_{KL}(N(\mu_1, e^{v_1}) \| N(\mu_2, e^{v_2})) = \frac{1}{2} (v_2 - v_1 + (e^{v_1} + (\mu_1 - \mu_2)^2) e^{-v_2} - 1)$ of each
/// number; each pair is mean and logarithm of the variance.
///
/// # Errors
/// When shapes differ.
pub fn kl_between(first: (&Tensor, &Tensor), second: (&Tensor, &Tensor)) -> Result<Tensor> {
    let spread = ((first.1.exp()? + (first.0 - second.0)?.sqr()?)? * second.1.neg()?.exp()?)?;
    Ok(((second.1 - first.1)? + spread)?.affine(0.5, -0.5)?)
}

/// Free bits of a batch: the sum over latents of $\max(\lambda, \overline{D_{KL}})$ of the batch's mean divergence, from
/// divergences `[n, latent]`.
///
/// # Source
/// Kingma et al. 2016, arXiv:1606.04934, equation 15.
///
/// # Errors
/// When the shape is another.
pub fn free_bits(divergence: &Tensor, least: f64) -> Result<Tensor> {
    Ok(divergence.mean(0)?.maximum(least)?.sum_all()?)
}

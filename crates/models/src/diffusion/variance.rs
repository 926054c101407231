//! Learned variances of the steps of a chain.

use candle_core::Tensor;

use super::column;
use crate::Result;

/// The step from noise level sigma to the next below it, whose variance a network chooses between the two extremes
/// $\tilde\beta$ and $\beta$: $\ln \mathrm{var} = v \ln \beta + (1 - v) \ln \tilde\beta$, here for $x_t / \sqrt{\bar\alpha_s}$.
///
/// In these variables $\tilde\beta = \sigma_s^2 (1 - \sigma_s^2 / \sigma_t^2)$ and
/// $\beta = (1 + \sigma_s^2) (\sigma_t^2 - \sigma_s^2) / (1 + \sigma_t^2)$. The last step, to zero noise, has the
/// $\tilde\beta$ of the step before for its lower extreme, as its own is zero.
///
/// # Source
/// Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 15.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    sigma: f64,
    next: f64,
    /// ln of the lower and of the upper extreme.
    range: (f64, f64),
}

impl Step {
    /// The step down from level `t` of ascending levels.
    pub(crate) fn down_from(t: usize, sigmas: &[f64]) -> Self {
        let next = if t == 0 { 0.0 } else { sigmas[t - 1] };
        let step = Self::new(sigmas[t], next);
        match (t, sigmas.get(1)) {
            (0, Some(&above)) => Self { range: (Self::new(above, sigmas[0]).range.0, step.range.1), ..step },
            (0, None) => Self { range: (step.range.1, step.range.1), ..step },
            _ => step,
        }
    }

    /// The step from one level to another.
    pub(crate) fn new(sigma: f64, next: f64) -> Self {
        let (s, t) = (next * next, sigma * sigma);
        let (low, high) = (s * (1.0 - s / t), (1.0 + s) * (t - s) / (1.0 + t));
        Self { sigma, next, range: (low.ln(), high.ln()) }
    }
}

/// One step with the network's own variance: the mean of the posterior, and noise.
///
/// `spread` is v of each number.
pub(crate) fn learned_step(
    x: &Tensor,
    denoised: &Tensor,
    spread: &Tensor,
    step: Step,
    noise: &Tensor,
) -> Result<Tensor> {
    let ratio = (step.next / step.sigma).powi(2);
    let mean = (denoised + ((x - denoised)? * ratio)?)?;
    let half = spread.affine(0.5 * (step.range.1 - step.range.0), 0.5 * step.range.0)?;
    Ok((mean + (half.exp()? * noise)?)?)
}

/// The terms of the variational bound in nats of each number of `x0` `[batch, ..]`, with a step for each example: the
/// divergence of the chain's step from the posterior, or for the last step minus the logarithm of the density.
pub(crate) fn step_terms(x0: &Tensor, denoised: &Tensor, spread: &Tensor, steps: &[Step]) -> Result<Tensor> {
    // (ln var + c0 + (c1 + c2 (x0 - D)^2) / var) / 2.
    let of = |step: &Step| {
        let ratio = (step.next / step.sigma).powi(2);
        match step.next {
            0.0 => (std::f64::consts::TAU.ln(), 0.0, 1.0),
            _ => (-step.range.0 - 1.0, step.range.0.exp(), (1.0 - ratio).powi(2)),
        }
    };
    let of_each = |f: &dyn Fn(&Step) -> f64| column(steps.iter().map(f), x0);
    let (low, width) = (of_each(&|s| s.range.0)?, of_each(&|s| s.range.1 - s.range.0)?);
    let log_variance = spread.broadcast_mul(&width)?.broadcast_add(&low)?;
    let squares = (x0 - denoised)?.sqr()?.broadcast_mul(&of_each(&|s| of(s).2)?)?;
    let above = squares.broadcast_add(&of_each(&|s| of(s).1)?)?;
    let sum = (&log_variance + (above * log_variance.neg()?.exp()?)?)?;
    Ok((sum.broadcast_add(&of_each(&|s| of(s).0)?)? * 0.5)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::diffusion::{Schedule, ancestral_step, sigma_of};

    #[test]
    fn the_extremes_are_those_of_the_schedule() {
        let schedule = Schedule::default();
        let (betas, bars) = (schedule.betas(100), schedule.alphas_bar(100));
        let sigmas: Vec<f64> = bars.iter().copied().map(sigma_of).collect();
        for t in [1, 40, 99] {
            let (low, high) = Step::down_from(t, &sigmas).range;
            let tilde = betas[t] * (1.0 - bars[t - 1]) / (1.0 - bars[t]);
            assert!((high.exp() * bars[t - 1] / betas[t] - 1.0).abs() < 1e-9);
            assert!((low.exp() * bars[t - 1] / tilde - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn at_the_lower_extreme_a_step_is_ancestral_and_its_term_the_square() {
        let tensor = |values: [f64; 2]| Tensor::new(&values, &Device::Cpu).unwrap().reshape((1, 2)).unwrap();
        let (x, denoised, noise) = (tensor([1.0, -2.0]), tensor([0.5, 0.1]), tensor([0.3, -1.2]));
        let (step, zero) = (Step::new(2.0, 0.7), tensor([0.0, 0.0]));
        let got = learned_step(&x, &denoised, &zero, step, &noise).unwrap().to_vec2::<f64>().unwrap();
        let expected = ancestral_step(&x, &denoised, 2.0, 0.7, 1.0, || Ok(noise.clone())).unwrap();
        let expected = expected.to_vec2::<f64>().unwrap();
        assert!((got[0][0] - expected[0][0]).abs() + (got[0][1] - expected[0][1]).abs() < 1e-12);
        let terms = step_terms(&x, &denoised, &zero, &[step]).unwrap().to_vec2::<f64>().unwrap();
        let fall = 0.5 * (0.7f64.powi(-2) - 2f64.powi(-2));
        assert!((terms[0][0] - fall * 0.25).abs() < 1e-12 && (terms[0][1] - fall * 4.41).abs() < 1e-12);
    }
}

//! Posterior sampling: the prior that a denoiser holds, given a linear measurement.

use candle_core::{Device, Tensor, Var};

use super::Levels;
use crate::{Cond, Denoiser, Error, Result};

/// A linear map of events `[n, ...]`, whose rows are orthogonal and of one norm: a mask, a mean over blocks, a choice of
/// Fourier modes.
pub type LinearMap<'a> = dyn Fn(&Tensor) -> Result<Tensor> + 'a;

/// How far the data may lie from the denoised field, as a variance of each number at noise level $\sigma$.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Spread {
    /// None: diffusion posterior sampling (Chung et al. 2023, eq. 16), right only where the noise is low.
    None,
    /// $r^2 = \sigma^2 v / (\sigma^2 + v)$, that of Gaussian data of variance v (Song et al. 2023, section 3): exact for
    /// them.
    Data {
        /// v.
        variance: f64,
    },
}

impl Spread {
    fn at(&self, sigma: f64) -> f64 {
        match *self {
            Self::None => 0.0,
            Self::Data { variance } => sigma * sigma * variance / (sigma * sigma + variance),
        }
    }
}

/// The denoiser of the posterior given $y = A x_0 + N(0, \sigma_y^2)$, from that of the prior.
///
/// The likelihood of x at noise level $\sigma$ is taken as $N(y; A D(x; \sigma), \sigma_y^2 + r^2 a)$, with
/// $A A^T = a$ and r from [`Spread`]; its gradient, found by one backward pass through the network, is added to the score:
///
/// $$D'(x; \sigma) = D(x; \sigma) - \sigma^2 \nabla_x \frac{|y - A D(x; \sigma)|^2}{2 (\sigma_y^2 + r^2 a)}.$$
///
/// It is a [`Denoiser`] itself, so that every sampler draws from the posterior.
///
/// # Source
/// Chung et al. 2023, "Diffusion posterior sampling for general noisy inverse problems"; Song, Vahdat, Mardani & Kautz
/// 2023, "Pseudoinverse-guided diffusion models".
///
/// # Differences
/// No step is scaled by hand, as the former do by $1/|y - A D|$.
pub struct Posterior<'a> {
    prior: &'a dyn Denoiser,
    map: &'a LinearMap<'a>,
    measured: Tensor,
    gram: f64,
    noise: f64,
    spread: Spread,
}

impl<'a> Posterior<'a> {
    /// `measured` is y, `[1, ...]` for all events alike; `gram` is a, `noise` is $\sigma_y$.
    ///
    /// # Errors
    /// [`Error::Config`] when a variance is not positive.
    pub fn new(
        prior: &'a dyn Denoiser,
        map: &'a LinearMap<'a>,
        measured: Tensor,
        gram: f64,
        noise: f64,
        spread: Spread,
    ) -> Result<Self> {
        let positive = |v: f64| v > 0.0 && v.is_finite();
        let spread_ok = !matches!(spread, Spread::Data { variance } if !positive(variance));
        if !(positive(gram) && positive(noise) && spread_ok) {
            return Err(Error::Config {
                model: "posterior",
                field: "gram, noise and spread".into(),
                expected: "positive".into(),
                got: format!("{gram}, {noise} and {spread:?}"),
            });
        }
        Ok(Self { prior, map, measured, gram, noise, spread })
    }
}

impl Denoiser for Posterior<'_> {
    fn event_shape(&self) -> Vec<usize> {
        self.prior.event_shape()
    }

    fn device(&self) -> &Device {
        self.prior.device()
    }

    fn levels(&self) -> &Levels {
        self.prior.levels()
    }

    fn denoise(&self, x: &Tensor, sigma: f64, cond: Option<&Cond>) -> Result<Tensor> {
        let x = Var::from_tensor(&x.detach())?;
        let denoised = self.prior.denoise(&x, sigma, cond)?;
        let seen = (self.map)(&denoised)?;
        let residual = seen.broadcast_sub(&self.measured.to_dtype(seen.dtype())?)?;
        let variance = self.noise * self.noise + self.gram * self.spread.at(sigma);
        let misfit = (residual.sqr()?.sum_all()? * (0.5 / variance))?;
        let gradients = misfit.backward()?;
        let denoised = denoised.detach();
        match gradients.get(&x) {
            Some(gradient) => Ok((denoised - (gradient.detach() * (sigma * sigma))?)?),
            None => Ok(denoised),
        }
    }
}

#[cfg(test)]
mod tests {
    use halocast_core::Rng;

    use super::*;
    use crate::SampleOptions;
    use crate::diffusion::{Sampler, sample};

    const MEAN: f64 = 0.3;
    const VARIANCE: f64 = 0.25;

    /// Independent pixels N(0.3, 0.25).
    struct Gaussian(Levels);

    impl Denoiser for Gaussian {
        fn event_shape(&self) -> Vec<usize> {
            vec![1, 32, 64]
        }
        fn device(&self) -> &Device {
            &Device::Cpu
        }
        fn levels(&self) -> &Levels {
            &self.0
        }
        fn denoise(&self, x: &Tensor, sigma: f64, _: Option<&Cond>) -> Result<Tensor> {
            let gain = VARIANCE / (VARIANCE + sigma * sigma);
            Ok(((x - MEAN)? * gain)?.affine(1.0, MEAN)?)
        }
    }

    fn moments(values: &[f32]) -> (f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        (mean, values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n)
    }

    #[test]
    fn a_gaussian_seen_through_means_of_pairs_has_its_closed_posterior() {
        let prior = Gaussian(Levels::Continuous { min: 1e-3, max: 50.0 });
        // The mean of the left half and the right half of each row: A A^T = 1/2.
        let map = |x: &Tensor| -> Result<Tensor> {
            Ok((x.narrow(3, 0, 32)? + x.narrow(3, 32, 32)?)?.affine(0.5, 0.0)?)
        };
        let (y, noise) = (1.1, 0.2);
        let measured = Tensor::full(y as f32, (1, 1, 32, 32), &Device::Cpu).unwrap();
        let spread = Spread::Data { variance: VARIANCE };
        let posterior = Posterior::new(&prior, &map, measured, 0.5, noise, spread).unwrap();
        for sampler in [Sampler::DpmSolver { steps: 60 }, Sampler::Ancestral { steps: Some(400) }] {
            let options = SampleOptions { sampler, ..Default::default() };
            let x = sample(&posterior, 16, None, &options, &mut Rng::new(2)).unwrap();
            let half = |side: usize| x.narrow(3, 32 * side, 32).unwrap();
            let values = |x: Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            // Sum and difference of a pair are independent: one is measured, the other is not.
            let (mean, variance) = moments(&values(((half(0) + half(1)).unwrap() * 0.5).unwrap()));
            let (_, other) = moments(&values(((half(0) - half(1)).unwrap() * 0.5).unwrap()));
            let (own, seen) = (0.5 * VARIANCE, noise * noise);
            let expected = (MEAN + own / (own + seen) * (y - MEAN), own * seen / (own + seen));
            assert!((mean - expected.0).abs() < 0.01, "{sampler:?}: {mean}, expected {expected:?}");
            assert!((variance / expected.1 - 1.0).abs() < 0.05, "{sampler:?}: {variance}, {expected:?}");
            assert!((other / own - 1.0).abs() < 0.05, "{sampler:?}: {other}, expected {own}");
        }
    }
}

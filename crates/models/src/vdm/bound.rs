//! The variational bound of a cloud, term by term.

use candle_core::{D, Tensor};

use super::schedule::logistic;
use super::{NoiseSchedule, variance_preserving};
use crate::Result;

/// The random numbers of a bound.
pub struct Draws {
    /// Times in [0, 1), `[b]`.
    pub times: Tensor,
    /// Noise of the first state, of the shape of the data.
    pub reconstruction: Tensor,
    /// Noise at the times, of the shape of the data.
    pub diffusion: Tensor,
}

/// The terms of a bound in nats, each of the shape of the data `[b, n, f]`; the bound of $\ln p(x)$ is less their sum.
pub struct Terms {
    /// Of the states between, at the times drawn.
    pub diffusion: Tensor,
    /// Of the last state against the prior.
    pub prior: Tensor,
    /// Of the data given the first state.
    pub reconstruction: Tensor,
}

impl Terms {
    /// The terms of data `x [b, n, f]` for a schedule and a predicted noise, a function of $z_t$ and $\gamma_t$ `[b]`:
    ///
    /// $$ -\tfrac12 \gamma'(t) |\epsilon - \hat\epsilon(z_t, \gamma_t)|^2, \quad
    /// \mathrm{KL}\big( \mathcal N(\alpha_1 x, \sigma_1^2) \,\|\, \mathcal N(0, 1) \big), \quad
    /// -\ln \mathcal N(x;\, z_0 / \alpha_0, s^2) , $$
    ///
    /// with $s$ the `noise_scale`. In `timesteps` T > 0 discrete steps the first is
    /// $\frac T2 (e^{\gamma_s - \gamma_t} - 1) |\epsilon - \hat\epsilon|^2$ with t the end of the step drawn and
    /// $s = t - 1/T$.
    ///
    /// # Source
    /// Kingma et al. 2021, arXiv:2107.00630, eqs. 11, 13 and 17; Cuesta-Lazaro & Mishra-Sharma 2023, arXiv:2311.17141.
    ///
    /// # Errors
    /// When shapes differ.
    pub fn new(
        schedule: &NoiseSchedule,
        x: &Tensor,
        draws: &Draws,
        timesteps: usize,
        noise_scale: f64,
        predict: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<Self> {
        let b = x.dims()[0];
        let column = |t: &Tensor| -> Result<Tensor> {
            let mut shape = vec![1; x.rank()];
            shape[0] = t.elem_count();
            Ok(t.reshape(shape)?.to_dtype(x.dtype())?)
        };
        let ends = Tensor::new(&[0.0f32, 1.0], x.device())?;
        let (ends, _) = schedule.gamma(&ends)?;
        let (first, last) = (ends.narrow(0, 0, 1)?, ends.narrow(0, 1, 1)?);

        let variance = logistic(&last.neg()?)?;
        let log = column(&variance.log()?)?;
        let (signal, variance) = (column(&logistic(&last)?)?, column(&variance)?);
        let prior = x.sqr()?.broadcast_mul(&signal)?.broadcast_add(&((variance - log)? - 1.0)?)?;
        let prior = (prior * 0.5)?;

        // z_0 / alpha_0 - x is the noise times sigma_0 / alpha_0.
        let ratio = column(&(first.neg()?.exp()? * (0.5 / (noise_scale * noise_scale)))?)?;
        let constant = noise_scale.ln() + 0.5 * std::f64::consts::TAU.ln();
        let reconstruction = (draws.reconstruction.sqr()?.broadcast_mul(&ratio)? + constant)?;

        let times = match timesteps {
            0 => draws.times.clone(),
            n => ((&draws.times * n as f64)?.ceil()? / n as f64)?,
        };
        let (gamma, slope) = schedule.gamma(&times)?;
        let z = variance_preserving(x, &gamma, &draws.diffusion)?;
        let error = (&draws.diffusion - predict(&z, &gamma)?)?.sqr()?;
        let weight = match timesteps {
            0 => (slope * -0.5)?,
            n => {
                let (before, _) = schedule.gamma(&(&times - 1.0 / n as f64)?)?;
                (((before - gamma)?.exp()? - 1.0)? * (0.5 * n as f64))?
            }
        };
        debug_assert_eq!(weight.elem_count(), b);
        Ok(Self { diffusion: error.broadcast_mul(&column(&weight)?)?, prior, reconstruction })
    }

    /// The sums over the real points of each example, of which `mask [b, n]` is one: `[b]` each, in the order of the
    /// fields.
    ///
    /// # Errors
    /// When shapes differ.
    pub fn sums(&self, mask: &Tensor) -> Result<[Tensor; 3]> {
        let sum = |term: &Tensor| -> Result<Tensor> { Ok((term.sum(D::Minus1)? * mask)?.sum(1)?) };
        Ok([sum(&self.diffusion)?, sum(&self.prior)?, sum(&self.reconstruction)?])
    }
}

//! Three stochastic differential equations from data to noise.

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use crate::batches::column;
use crate::{Error, Result};

/// A diffusion $\mathrm{d}x = f(t)\,x\,\mathrm{d}t + g(t)\,\mathrm{d}w$ on $t \in [0, 1]$ with Gaussian marginals
/// $x_t = m(t)\,x_0 + s(t)\,n$, $n \sim N(0, 1)$.
///
/// ```
/// use halocast_models::sde::Sde;
/// let sde = Sde::default();
/// let (m, s) = (sde.mean_factor(0.3), sde.std(0.3));
/// assert!((m * m + s * s - 1.0).abs() < 1e-12);
/// // sigma = s / m is the noise level of a denoiser, and t is found back from it.
/// assert!((sde.time(sde.sigma(0.3)) - 0.3).abs() < 1e-12);
/// ```
///
/// # Source
/// Song et al. 2021, section 3.4 and appendices B and C, with the values of their code.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Sde {
    /// Variance preserving: $\beta(t) = \beta_0 + t (\beta_1 - \beta_0)$, $f = -\beta/2$, $g = \sqrt{\beta}$,
    /// $m = \exp(-t^2 (\beta_1 - \beta_0)/4 - t \beta_0/2)$, $s^2 = 1 - m^2$ (eqs. 11 and 32).
    Vp {
        /// $\beta_0$.
        beta_min: f64,
        /// $\beta_1$.
        beta_max: f64,
    },
    /// Below the variance of the former at all times: the same $f$ and $m$, $g = \sqrt{\beta (1 - m^4)}$, $s = 1 - m^2$
    /// (eqs. 12 and 28).
    SubVp {
        /// $\beta_0$.
        beta_min: f64,
        /// $\beta_1$.
        beta_max: f64,
    },
    /// Variance exploding: $f = 0$, $m = 1$, $s = \sigma_0 (\sigma_1/\sigma_0)^t$,
    /// $g = s \sqrt{2 \ln(\sigma_1/\sigma_0)}$ (eqs. 9 and 30).
    ///
    /// # Differences
    /// As in their code $s(0)$ is $\sigma_0$, not 0.
    Ve {
        /// $\sigma_0$.
        sigma_min: f64,
        /// $\sigma_1$.
        sigma_max: f64,
    },
}

impl Default for Sde {
    fn default() -> Self {
        Self::Vp { beta_min: 0.1, beta_max: 20.0 }
    }
}

impl Sde {
    /// Checks that it goes from data to noise.
    ///
    /// # Errors
    /// [`Error::Config`] when its two numbers are not finite, positive and growing.
    pub fn validate(&self) -> Result<()> {
        let (low, high) = match *self {
            Self::Vp { beta_min, beta_max } | Self::SubVp { beta_min, beta_max } => (beta_min, beta_max),
            Self::Ve { sigma_min, sigma_max } => (sigma_min, sigma_max),
        };
        if low > 0.0 && high > low && high.is_finite() {
            return Ok(());
        }
        Err(Error::Config {
            model: "SDE",
            field: "sde".into(),
            expected: "0 < lowest < highest".into(),
            got: format!("{self:?}"),
        })
    }

    fn beta(&self, t: f64) -> f64 {
        match *self {
            Self::Vp { beta_min, beta_max } | Self::SubVp { beta_min, beta_max } => {
                beta_min + t * (beta_max - beta_min)
            }
            Self::Ve { .. } => 0.0,
        }
    }

    fn log_mean_factor(&self, t: f64) -> f64 {
        match *self {
            Self::Vp { beta_min, beta_max } | Self::SubVp { beta_min, beta_max } => {
                -0.25 * t * t * (beta_max - beta_min) - 0.5 * t * beta_min
            }
            Self::Ve { .. } => 0.0,
        }
    }

    /// m(t).
    pub fn mean_factor(&self, t: f64) -> f64 {
        self.log_mean_factor(t).exp()
    }

    /// s(t).
    pub fn std(&self, t: f64) -> f64 {
        let lost = -(2.0 * self.log_mean_factor(t)).exp_m1();
        match *self {
            Self::Vp { .. } => lost.sqrt(),
            Self::SubVp { .. } => lost,
            Self::Ve { sigma_min, sigma_max } => sigma_min * (sigma_max / sigma_min).powf(t),
        }
    }

    /// f(t), by which the drift is f(t) x.
    pub fn drift(&self, t: f64) -> f64 {
        -0.5 * self.beta(t)
    }

    /// g(t).
    pub fn diffusion(&self, t: f64) -> f64 {
        match *self {
            Self::Vp { .. } => self.beta(t).sqrt(),
            Self::SubVp { .. } => (self.beta(t) * -(4.0 * self.log_mean_factor(t)).exp_m1()).sqrt(),
            Self::Ve { sigma_min, sigma_max } => self.std(t) * (2.0 * (sigma_max / sigma_min).ln()).sqrt(),
        }
    }

    /// The noise level $\sigma = s/m$ of $x_t/m = x_0 + \sigma n$.
    pub fn sigma(&self, t: f64) -> f64 {
        self.std(t) / self.mean_factor(t)
    }

    /// The time of a noise level.
    pub fn time(&self, sigma: f64) -> f64 {
        match *self {
            Self::Ve { sigma_min, sigma_max } => (sigma / sigma_min).ln() / (sigma_max / sigma_min).ln(),
            Self::Vp { beta_min, beta_max } | Self::SubVp { beta_min, beta_max } => {
                // -2 ln m = a t^2 / 2 + b t, with 1/m^2 = 1 + sigma^2, or m^2 + sigma m = 1.
                let spread = match self {
                    Self::Vp { .. } => (sigma * sigma).ln_1p(),
                    _ => 2.0 * (0.5 * sigma).asinh(),
                };
                let slope = beta_max - beta_min;
                2.0 * spread / (beta_min + (beta_min * beta_min + 2.0 * slope * spread).sqrt())
            }
        }
    }

    /// The standard deviation of the prior N(0, .) at t = 1.
    pub fn prior_std(&self) -> f64 {
        match *self {
            Self::Vp { .. } | Self::SubVp { .. } => 1.0,
            Self::Ve { sigma_max, .. } => sigma_max,
        }
    }

    /// ln of the prior's density of each event of `x` `[n, ...]`, in nats: `[n]`.
    ///
    /// # Errors
    /// Candle's.
    pub fn prior_log_prob(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.to_dtype(DType::F64)?.flatten_from(1)?;
        let variance = self.prior_std().powi(2);
        let norm = 0.5 * x.dims()[1] as f64 * (2.0 * std::f64::consts::PI * variance).ln();
        Ok(x.sqr()?.sum(1)?.affine(-0.5 / variance, -norm)?)
    }

    /// The index of time `t` among `steps` equal steps.
    pub(super) fn index(t: f64, steps: usize) -> usize {
        let last = steps.saturating_sub(1);
        ((t * last as f64).max(0.0) as usize).min(last)
    }

    /// The variance that step `index` of `steps` of the discrete chain adds: beta of DDPM for VP.
    pub(super) fn discrete_beta(&self, index: usize, steps: usize) -> f64 {
        let along = index as f64 / steps.saturating_sub(1).max(1) as f64;
        self.beta(along) / steps as f64
    }

    /// The noise levels of step `index` of `steps` of the discrete chain and of the one before, 0 before the first: of
    /// SMLD for VE.
    pub(super) fn discrete_sigmas(&self, index: usize, steps: usize) -> (f64, f64) {
        let at = |i: usize| self.std(i as f64 / steps.saturating_sub(1).max(1) as f64);
        (at(index), if index == 0 { 0.0 } else { at(index - 1) })
    }

    /// The forward step $x_{i+1} = x_i + a\,x_i + G\,n$ at time `t` of a chain of `steps` equal ones, as (a, G): that of
    /// DDPM for VP, of SMLD for VE, of Euler and Maruyama for sub-VP (Song et al. 2021, appendix E).
    pub fn discretize(&self, t: f64, steps: usize) -> (f64, f64) {
        let i = Self::index(t, steps);
        match self {
            Self::Vp { .. } => {
                let beta = self.discrete_beta(i, steps);
                ((1.0 - beta).max(0.0).sqrt() - 1.0, beta.sqrt())
            }
            Self::SubVp { .. } => {
                let dt = 1.0 / steps as f64;
                (self.drift(t) * dt, self.diffusion(t) * dt.sqrt())
            }
            Self::Ve { .. } => {
                let (sigma, before) = self.discrete_sigmas(i, steps);
                (0.0, (sigma * sigma - before * before).sqrt())
            }
        }
    }

    /// Drift and diffusion of the equation that runs back from noise to data, given the score of each event of `x` at its
    /// time: $f x - g^2 \nabla \ln p_t$ and $g$; or, for the ordinary equation with the same marginals (`flow`), half of
    /// the second term and 0 (Song et al. 2021, eqs. 6 and 13).
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn reverse(&self, x: &Tensor, score: &Tensor, t: &[f64], flow: bool) -> Result<(Tensor, Vec<f64>)> {
        let terms = t.iter().map(|&t| (self.drift(t), self.diffusion(t))).collect::<Vec<_>>();
        reversed(x, score, &terms, flow)
    }

    /// As [`Sde::reverse`], of the discrete forward step [`Sde::discretize`].
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn reverse_discretized(
        &self,
        x: &Tensor,
        score: &Tensor,
        t: &[f64],
        steps: usize,
        flow: bool,
    ) -> Result<(Tensor, Vec<f64>)> {
        let terms = t.iter().map(|&t| self.discretize(t, steps)).collect::<Vec<_>>();
        reversed(x, score, &terms, flow)
    }
}

fn reversed(x: &Tensor, score: &Tensor, terms: &[(f64, f64)], flow: bool) -> Result<(Tensor, Vec<f64>)> {
    let part = if flow { 0.5 } else { 1.0 };
    let of_x: Vec<f64> = terms.iter().map(|(f, _)| *f).collect();
    let of_score: Vec<f64> = terms.iter().map(|(_, g)| -g * g * part).collect();
    let drift = (x.broadcast_mul(&column(&of_x, x)?)? + score.broadcast_mul(&column(&of_score, x)?)?)?;
    Ok((drift, terms.iter().map(|(_, g)| if flow { 0.0 } else { *g }).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> [Sde; 3] {
        [
            Sde::default(),
            Sde::SubVp { beta_min: 0.1, beta_max: 20.0 },
            Sde::Ve { sigma_min: 0.01, sigma_max: 50.0 },
        ]
    }

    #[test]
    fn the_marginal_obeys_its_own_equation() {
        // dm/dt = f m and d(s^2)/dt = 2 f s^2 + g^2.
        let h = 1e-5;
        for sde in all() {
            for t in [0.1, 0.5, 0.9] {
                let slope = |f: &dyn Fn(f64) -> f64| (f(t + h) - f(t - h)) / (2.0 * h);
                let (m, variance) = (|t| sde.mean_factor(t), |t: f64| sde.std(t).powi(2));
                let expected = 2.0 * sde.drift(t) * variance(t) + sde.diffusion(t).powi(2);
                assert!((slope(&m) - sde.drift(t) * m(t)).abs() < 1e-8, "{sde:?}");
                assert!((slope(&variance) / expected - 1.0).abs() < 1e-7, "{sde:?}");
            }
        }
    }

    #[test]
    fn a_time_comes_back_from_its_noise_level() {
        for sde in all() {
            for t in [1e-5, 0.2, 0.77, 1.0] {
                assert!((sde.time(sde.sigma(t)) - t).abs() < 1e-9, "{sde:?} at {t}");
            }
        }
    }

    #[test]
    fn absurd_equations_are_refused() {
        assert!(Sde::Vp { beta_min: 1.0, beta_max: 0.5 }.validate().is_err());
        assert!(Sde::Ve { sigma_min: 0.0, sigma_max: f64::NAN }.validate().is_err());
        assert!(all().iter().all(|sde| sde.validate().is_ok()));
    }
}

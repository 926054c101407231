//! The general deterministic and stochastic sampler of Karras et al. 2022.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::diffusion::Levels;
use crate::edm::{iddpm_levels, vp_sigma, vp_sigma_inverse};
use crate::{Cond, Denoiser, Error, Result};

/// How a step of the differential equation is taken.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Solver {
    /// First order, one evaluation a step.
    Euler,
    /// Second order, two evaluations a step but for the last: the slope at the fraction `alpha` of the step corrects that at
    /// its beginning; 1 is Heun's method, 1/2 the midpoint.
    Heun {
        /// Where the second slope is taken.
        alpha: f64,
    },
}

/// Where the noise levels of the steps lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Discretization {
    /// Equal steps of $\sigma^{1 / \rho}$ (Karras et al. 2022, eq. 5).
    Edm,
    /// Equal steps of the time of the variance preserving process.
    Vp,
    /// Equal steps of $\ln \sigma$.
    Ve,
    /// Among the levels of improved DDPM.
    Iddpm,
}

/// sigma as a function of the time of the differential equation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeOf {
    /// $\sigma(t) = t$.
    Linear,
    /// $\sigma(t) = \sqrt{e^{\beta_d t^2 / 2 + \beta_\mathrm{min} t} - 1}$.
    Vp,
    /// $\sigma(t) = \sqrt t$.
    Ve,
}

/// The factor s(t) of the field in the differential equation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scaling {
    /// 1.
    None,
    /// $1 / \sqrt{1 + \sigma(t)^2}$.
    Vp,
}

/// The sampler of elucidated diffusion: with $x = s(t) (x_0 + \sigma(t) n)$ it solves
///
/// $$ \frac{dx}{dt} = \left( \frac{\dot\sigma}{\sigma} + \frac{\dot s}{s} \right) x -
/// \frac{\dot\sigma s}{\sigma} D\left( \frac xs; \sigma \right) $$
///
/// from the highest noise level to zero, and before each step may add noise (`churn`): from sigma to
/// $(1 + \gamma) \sigma$ with $\gamma = \min(S_\mathrm{churn} / N, \sqrt 2 - 1)$. It takes `2 steps - 1` evaluations of the
/// denoiser with [`Solver::Heun`], `steps` with [`Solver::Euler`].
///
/// The default is that of Karras et al. 2022 for their own models: 18 steps of Heun's method in sigma.
///
/// # Source
/// Karras et al. 2022, arXiv:2206.00364, algorithms 1 and 2, eq. 4 and table 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Heun {
    /// Number N of steps.
    pub steps: usize,
    /// Lowest noise level before zero; by the discretisation where absent, and never below the denoiser's own.
    pub sigma_min: Option<f64>,
    /// Highest noise level; by the discretisation where absent, and never above the denoiser's own.
    pub sigma_max: Option<f64>,
    /// Exponent $\rho$ of [`Discretization::Edm`].
    pub rho: f64,
    /// How a step is taken.
    pub solver: Solver,
    /// Where the noise levels lie.
    pub discretization: Discretization,
    /// sigma of the time.
    pub schedule: TimeOf,
    /// The factor of the field.
    pub scaling: Scaling,
    /// Least time of the variance preserving process.
    pub epsilon_s: f64,
    /// Least ratio of successive $\bar\alpha$ of [`Discretization::Iddpm`].
    pub c_1: f64,
    /// Offset of the cosine schedule of [`Discretization::Iddpm`].
    pub c_2: f64,
    /// Number of levels of [`Discretization::Iddpm`].
    pub levels: usize,
    /// $S_\mathrm{churn}$: how much noise is added; 0 for a deterministic sampler.
    pub churn: f64,
    /// Noise level below which none is added.
    pub churn_min: f64,
    /// Noise level above which none is added; no bound where absent.
    pub churn_max: Option<f64>,
    /// Standard deviation of what is added, relative to what should be.
    pub churn_noise: f64,
}

impl Default for Heun {
    fn default() -> Self {
        Self {
            steps: 18,
            sigma_min: None,
            sigma_max: None,
            rho: 7.0,
            solver: Solver::Heun { alpha: 1.0 },
            discretization: Discretization::Edm,
            schedule: TimeOf::Linear,
            scaling: Scaling::None,
            epsilon_s: 1e-3,
            c_1: 1e-3,
            c_2: 8e-3,
            levels: 1000,
            churn: 0.0,
            churn_min: 0.0,
            churn_max: None,
            churn_noise: 1.0,
        }
    }
}

/// beta_d and beta_min of the published variance preserving process.
const VP: (f64, f64) = (19.9, 0.1);

impl Heun {
    /// Evaluations of the denoiser for one batch.
    pub fn evaluations(&self) -> usize {
        match self.solver {
            Solver::Euler => self.steps,
            Solver::Heun { .. } => (2 * self.steps).saturating_sub(1),
        }
    }

    /// The range of noise levels for a denoiser of these.
    fn range(&self, levels: &Levels) -> (f64, f64) {
        let vp = |t| vp_sigma(t, VP.0, VP.1);
        let (low, high) = match self.discretization {
            Discretization::Edm => (0.002, 80.0),
            Discretization::Vp => (vp(self.epsilon_s), vp(1.0)),
            Discretization::Ve => (0.02, 100.0),
            Discretization::Iddpm => (0.002, 81.0),
        };
        (self.sigma_min.unwrap_or(low).max(levels.min()), self.sigma_max.unwrap_or(high).min(levels.max()))
    }

    fn path(&self, levels: &Levels) -> Path {
        let (low, high) = self.range(levels);
        let (low, high) = ((low * low).ln_1p(), (high * high).ln_1p());
        let beta_d = 2.0 * (low / self.epsilon_s - high) / (self.epsilon_s - 1.0);
        Path { schedule: self.schedule, scaling: self.scaling, beta_d, beta_min: high - 0.5 * beta_d }
    }

    /// The noise levels of the steps, descending, without the zero at the end.
    ///
    /// # Errors
    /// [`Error::Config`] for absurd options, or where no level lies in the range.
    pub fn sigmas(&self, levels: &Levels) -> Result<Vec<f64>> {
        self.validate()?;
        let (low, high) = self.range(levels);
        if !(low > 0.0 && high >= low && high.is_finite()) {
            return Err(refusal(
                "sigma_min and sigma_max",
                "positive and in order",
                format!("{low}, {high}"),
            ));
        }
        let fractions = (0..self.steps).map(|i| i as f64 / (self.steps - 1).max(1) as f64);
        let sigmas: Vec<f64> = match self.discretization {
            Discretization::Edm => {
                let (a, b) = (high.powf(1.0 / self.rho), low.powf(1.0 / self.rho));
                fractions.map(|f| (a + f * (b - a)).powf(self.rho)).collect()
            }
            Discretization::Vp => {
                let path = self.path(levels);
                let time = |f: f64| 1.0 + f * (self.epsilon_s - 1.0);
                fractions.map(|f| vp_sigma(time(f), path.beta_d, path.beta_min)).collect()
            }
            Discretization::Ve => {
                let ratio = (low * low) / (high * high);
                fractions.map(|f| (high * high * ratio.powf(f)).sqrt()).collect()
            }
            Discretization::Iddpm => {
                let all = iddpm_levels(self.c_1, self.c_2, self.levels, false);
                let within: Vec<f64> = all.into_iter().filter(|u| *u >= low && *u <= high).collect();
                let Some(last) = within.len().checked_sub(1) else {
                    return Err(refusal("levels", "some in the range", format!("none in {low} to {high}")));
                };
                fractions.map(|f| within[(last as f64 * f).round_ties_even() as usize]).collect()
            }
        };
        Ok(sigmas.into_iter().map(|sigma| rounded(levels, sigma)).collect())
    }

    fn validate(&self) -> Result<()> {
        let alpha = match self.solver {
            Solver::Euler => 1.0,
            Solver::Heun { alpha } => alpha,
        };
        let checks = [
            ("steps", self.steps > 0, "at least 1", self.steps.to_string()),
            ("rho", self.rho > 0.0 && self.rho.is_finite(), "positive", self.rho.to_string()),
            ("alpha", alpha > 0.0 && alpha <= 1.0, "in (0, 1]", alpha.to_string()),
            (
                "epsilon_s",
                self.epsilon_s > 0.0 && self.epsilon_s < 1.0,
                "in (0, 1)",
                self.epsilon_s.to_string(),
            ),
            ("levels", self.levels > 0, "at least 1", self.levels.to_string()),
            (
                "c_1 and c_2",
                self.c_1 > 0.0 && self.c_2 >= 0.0,
                "positive",
                format!("{}, {}", self.c_1, self.c_2),
            ),
            ("churn", self.churn >= 0.0 && self.churn_noise >= 0.0, "not negative", self.churn.to_string()),
        ];
        match checks.into_iter().find(|(_, ok, _, _)| !ok) {
            Some((field, _, expected, got)) => Err(refusal(field, expected, got)),
            None => Ok(()),
        }
    }

    /// Walks from standard normal `latents` `[batch, ..]` down to a noise level of zero.
    ///
    /// `noise` gives the standard normal field that is added before a step, by the number of the step; it is asked only
    /// where noise is added. `tick` is called after each evaluation.
    ///
    /// # Errors
    /// As [`Heun::sigmas`], and those of the denoiser.
    pub fn walk(
        &self,
        denoiser: &dyn Denoiser,
        latents: &Tensor,
        cond: Option<&Cond>,
        noise: &mut dyn FnMut(usize) -> Result<Tensor>,
        tick: &mut dyn FnMut(),
    ) -> Result<Tensor> {
        let levels = denoiser.levels();
        let path = self.path(levels);
        let mut times: Vec<f64> = self.sigmas(levels)?.into_iter().map(|sigma| path.time(sigma)).collect();
        times.push(0.0);
        let mut previous: Option<Tensor> = None;
        let mut slope = |x: &Tensor, t: f64| -> Result<Tensor> {
            let (sigma, s) = (path.sigma(t), path.s(t));
            let denoised = denoiser.refine(&scaled(x, 1.0 / s)?, sigma, cond, previous.as_ref())?;
            tick();
            let rate = path.sigma_slope(t) / sigma;
            let slope = (scaled(x, rate + path.s_slope(t) / s)? - scaled(&denoised, rate * s)?)?;
            previous = Some(denoised);
            Ok(slope)
        };
        let gamma = (self.churn / self.steps as f64).min(2f64.sqrt() - 1.0);
        let mut x = scaled(latents, path.sigma(times[0]) * path.s(times[0]))?;
        for (i, pair) in times.windows(2).enumerate() {
            let (now, next) = (pair[0], pair[1]);
            let sigma = path.sigma(now);
            let churns = gamma > 0.0
                && sigma >= self.churn_min
                && self.churn_max.is_none_or(|highest| sigma <= highest);
            let mut hat = now;
            if churns {
                hat = path.time(rounded(levels, sigma * (1.0 + gamma)));
                let more = (path.sigma(hat).powi(2) - sigma * sigma).max(0.0).sqrt();
                let added = scaled(&noise(i)?, more * path.s(hat) * self.churn_noise)?;
                x = (scaled(&x, path.s(hat) / path.s(now))? + added.to_dtype(x.dtype())?)?;
            }
            let h = next - hat;
            let first = slope(&x, hat)?;
            x = match self.solver {
                Solver::Heun { alpha } if i + 1 < self.steps => {
                    let second = slope(&(&x + scaled(&first, alpha * h)?)?, hat + alpha * h)?;
                    let weight = 0.5 / alpha;
                    (x + (scaled(&first, h * (1.0 - weight))? + scaled(&second, h * weight)?)?)?
                }
                _ => (x + scaled(&first, h)?)?,
            };
        }
        Ok(x)
    }
}

fn refusal(field: &str, expected: &str, got: String) -> Error {
    Error::Config { model: "sampler", field: field.into(), expected: expected.into(), got }
}

fn scaled(x: &Tensor, factor: f64) -> Result<Tensor> {
    Ok((x * factor)?)
}

/// The level that a denoiser of discrete levels knows.
fn rounded(levels: &Levels, sigma: f64) -> f64 {
    match levels {
        Levels::Discrete(_) => levels.nearest(sigma),
        Levels::Continuous { .. } => sigma,
    }
}

/// sigma(t), s(t) and their derivatives.
struct Path {
    schedule: TimeOf,
    scaling: Scaling,
    beta_d: f64,
    beta_min: f64,
}

impl Path {
    fn sigma(&self, t: f64) -> f64 {
        match self.schedule {
            TimeOf::Linear => t,
            TimeOf::Vp => vp_sigma(t, self.beta_d, self.beta_min),
            TimeOf::Ve => t.sqrt(),
        }
    }

    fn sigma_slope(&self, t: f64) -> f64 {
        match self.schedule {
            TimeOf::Linear => 1.0,
            TimeOf::Vp => {
                let sigma = self.sigma(t);
                0.5 * (self.beta_min + self.beta_d * t) * (sigma + 1.0 / sigma)
            }
            TimeOf::Ve => 0.5 / t.sqrt(),
        }
    }

    fn time(&self, sigma: f64) -> f64 {
        match self.schedule {
            TimeOf::Linear => sigma,
            TimeOf::Vp => vp_sigma_inverse(sigma, self.beta_d, self.beta_min),
            TimeOf::Ve => sigma * sigma,
        }
    }

    fn s(&self, t: f64) -> f64 {
        match self.scaling {
            Scaling::None => 1.0,
            Scaling::Vp => 1.0 / (1.0 + self.sigma(t).powi(2)).sqrt(),
        }
    }

    fn s_slope(&self, t: f64) -> f64 {
        match self.scaling {
            Scaling::None => 0.0,
            Scaling::Vp => -self.sigma(t) * self.sigma_slope(t) * self.s(t).powi(3),
        }
    }
}

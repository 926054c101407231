//! From the prior to the data: predictor and corrector in turn, or the ordinary equation.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::{Corrector, Predictor, Rk45, Score, Sde, flow_transport};
use crate::{Error, Result};

/// How events are drawn from a score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum SdeSampler {
    /// At each of `steps` times, equally spaced from 1 to `t_min`, a corrector and then a predictor (Song et al. 2021,
    /// algorithm 1); the default is theirs for VP: Euler and Maruyama alone, 1000 steps, `t_min` = 1e-3. It costs
    /// `steps` evaluations of the score for the predictor and as many for each step of the corrector.
    PredictorCorrector {
        /// The predictor.
        #[serde(default)]
        predictor: Predictor,
        /// The corrector.
        #[serde(default)]
        corrector: Corrector,
        /// The number of times.
        steps: usize,
        /// The last time.
        t_min: f64,
        /// The predictor follows the ordinary equation.
        #[serde(default)]
        flow: bool,
        /// The result is the mean of the last step, without its noise.
        denoise: bool,
    },
    /// The ordinary equation of the same marginals, $\mathrm{d}x/\mathrm{d}t = f x - g^2 \nabla \ln p_t / 2$ (eq. 13),
    /// from 1 to `t_min` by [`Rk45`].
    Flow {
        /// The solver.
        solver: Rk45,
        /// The last time.
        t_min: f64,
        /// A last step of reverse diffusion without noise, of a chain of 1000.
        denoise: bool,
    },
}

impl Default for SdeSampler {
    fn default() -> Self {
        Self::PredictorCorrector {
            predictor: Predictor::EulerMaruyama,
            corrector: Corrector::None,
            steps: 1000,
            t_min: 1e-3,
            flow: false,
            denoise: true,
        }
    }
}

impl SdeSampler {
    /// Checks the sampler for an equation.
    ///
    /// # Errors
    /// [`Error::Config`] when there are no steps, the last time is not in (0, 1), or the equation has no such predictor.
    pub fn validate(&self, sde: &Sde) -> Result<()> {
        let (t_min, steps, predictor) = match *self {
            Self::PredictorCorrector { t_min, steps, predictor, .. } => (t_min, steps, predictor),
            Self::Flow { t_min, .. } => (t_min, 1, Predictor::None),
        };
        let flows = matches!(self, Self::PredictorCorrector { flow: true, .. });
        let ancestral = predictor == Predictor::Ancestral;
        let known = !(ancestral && (flows || matches!(sde, Sde::SubVp { .. })));
        if steps > 0 && t_min > 0.0 && t_min < 1.0 && known {
            return Ok(());
        }
        Err(Error::Config {
            model: "SDE sampler",
            field: "sampler".into(),
            expected: "steps, a last time in (0, 1), and a predictor that the equation has".into(),
            got: format!("{self:?} for {sde:?}"),
        })
    }

    /// The number of steps it is known to take, for a progress bar.
    pub fn steps(&self) -> usize {
        match *self {
            Self::PredictorCorrector { steps, .. } => steps,
            Self::Flow { .. } => 1,
        }
    }

    /// Walks from `x` `[n, ...]`, drawn from the prior, to the data; `noise` draws standard normal fields like `x`, and
    /// `tick` is called after each step.
    ///
    /// # Errors
    /// As [`SdeSampler::validate`]; those of the score.
    pub fn walk(
        &self,
        sde: &Sde,
        score: &Score<'_>,
        x: &Tensor,
        noise: &mut dyn FnMut() -> Result<Tensor>,
        tick: &dyn Fn(usize),
    ) -> Result<Tensor> {
        self.validate(sde)?;
        let n = x.dims().first().copied().unwrap_or(0);
        match *self {
            Self::PredictorCorrector { predictor, corrector, steps, t_min, flow, denoise } => {
                let (mut x, mut mean) = (x.clone(), x.clone());
                for i in 0..steps {
                    let along = i as f64 / (steps - 1).max(1) as f64;
                    let t = vec![1.0 + along * (t_min - 1.0); n];
                    (x, mean) = corrector.step(sde, steps, score, &x, &t, noise)?;
                    if predictor != Predictor::None {
                        (x, mean) = predictor.step(sde, steps, flow, score, &x, &t, noise)?;
                    }
                    tick(i);
                }
                Ok(if denoise { mean } else { x })
            }
            Self::Flow { solver, t_min, denoise } => {
                let velocity = flow_velocity(sde, score);
                let none = (vec![], 1.0);
                let end = flow_transport(&velocity, x, (1.0, t_min), &none, &solver, false)?;
                let mut end = end.x.to_dtype(x.dtype())?;
                if denoise {
                    let last = Predictor::ReverseDiffusion;
                    end = last.step(sde, 1000, false, score, &end, &vec![t_min; n], noise)?.1;
                }
                tick(0);
                Ok(end)
            }
        }
    }
}

/// The velocity of the ordinary equation with the marginals of `sde` (Song et al. 2021, eq. 13).
pub fn flow_velocity<'a>(
    sde: &'a Sde,
    score: &'a Score<'_>,
) -> impl Fn(&Tensor, &[f64]) -> Result<Tensor> + 'a {
    move |x, t| Ok(sde.reverse(x, &score(x, t)?, t, true)?.0)
}

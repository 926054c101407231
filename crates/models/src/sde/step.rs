//! One step back in time: predictors follow the reversed equation, correctors draw from the marginal at one time.

use candle_core::{D, DType, Tensor};
use serde::{Deserialize, Serialize};

use super::Sde;
use crate::batches::column;
use crate::{Error, Result};

/// The score $\nabla_x \ln p_t(x)$ of each event of `x` `[n, ...]` at its time.
pub type Score<'a> = dyn Fn(&Tensor, &[f64]) -> Result<Tensor> + 'a;

/// Draws a standard normal field.
pub(super) type Noise<'a> = dyn FnMut() -> Result<Tensor> + 'a;

/// How the reversed equation is followed over one of `steps` equal steps of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Predictor {
    /// Euler and Maruyama: $x - (f x - g^2 \nabla) h + g \sqrt{h}\,n$ with $h$ = 1/steps, of weak order one.
    #[default]
    EulerMaruyama,
    /// The reversal of the discrete forward step (Song et al. 2021, eq. 46): $x - a x + G^2 \nabla + G\,n$.
    ReverseDiffusion,
    /// The posterior of the discrete chain: that of DDPM for VP (eq. 4 of their paper), of SMLD for VE (eq. 47). There is
    /// none for sub-VP.
    Ancestral,
    /// No step: correctors alone.
    None,
}

impl Predictor {
    /// The next x and its mean before noise was added, of `x` `[n, ...]` at the time of each event, in a chain of `steps`
    /// steps. `flow` follows the ordinary equation instead: half the score, no noise.
    ///
    /// # Errors
    /// [`Error::Config`] for the ancestral step of sub-VP, or of the ordinary equation; those of the score.
    pub fn step(
        self,
        sde: &Sde,
        steps: usize,
        flow: bool,
        score: &Score<'_>,
        x: &Tensor,
        t: &[f64],
        noise: &mut dyn FnMut() -> Result<Tensor>,
    ) -> Result<(Tensor, Tensor)> {
        let add = |mean: Tensor, std: Vec<f64>, noise: &mut Noise<'_>| -> Result<(Tensor, Tensor)> {
            if std.iter().all(|s| *s == 0.0) {
                return Ok((mean.clone(), mean));
            }
            let n = noise()?;
            let x = (&mean + n.broadcast_mul(&column(&std, &mean)?)?)?;
            Ok((x, mean))
        };
        match self {
            Self::None => Ok((x.clone(), x.clone())),
            Self::EulerMaruyama => {
                let h = 1.0 / steps as f64;
                let (drift, g) = sde.reverse(x, &score(x, t)?, t, flow)?;
                add((x - (drift * h)?)?, g.iter().map(|g| g * h.sqrt()).collect(), noise)
            }
            Self::ReverseDiffusion => {
                let (drift, g) = sde.reverse_discretized(x, &score(x, t)?, t, steps, flow)?;
                add((x - drift)?, g, noise)
            }
            Self::Ancestral => {
                if flow {
                    return Err(unknown("predictor", "one of the ordinary equation", "ancestral"));
                }
                let s = score(x, t)?;
                let at = |f: &dyn Fn(usize) -> f64| -> Vec<f64> {
                    t.iter().map(|&t| f(Sde::index(t, steps))).collect()
                };
                match sde {
                    Sde::Vp { .. } => {
                        let beta = at(&|i| sde.discrete_beta(i, steps));
                        let rest: Vec<f64> = beta.iter().map(|b| (1.0 - b).sqrt().recip()).collect();
                        let mean = (x + s.broadcast_mul(&column(&beta, x)?)?)?;
                        let mean = mean.broadcast_mul(&column(&rest, x)?)?;
                        add(mean, beta.iter().map(|b| b.sqrt()).collect(), noise)
                    }
                    Sde::Ve { .. } => {
                        let squares = |i| {
                            let (sigma, before) = sde.discrete_sigmas(i, steps);
                            (sigma * sigma, before * before)
                        };
                        let gained = at(&|i| squares(i).0 - squares(i).1);
                        let std =
                            at(&|i| (squares(i).1 * (squares(i).0 - squares(i).1) / squares(i).0).sqrt());
                        add((x + s.broadcast_mul(&column(&gained, x)?)?)?, std, noise)
                    }
                    Sde::SubVp { .. } => {
                        Err(unknown("predictor", "one that the sub-VP equation has", "ancestral"))
                    }
                }
            }
        }
    }
}

/// Over what a Langevin step measures the sizes of score and noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormOver {
    /// Each event by itself, so that its sample does not depend on the others of its batch.
    #[default]
    Event,
    /// The mean over the batch, as in the code of the paper.
    Batch,
}

/// How x is brought nearer to the marginal at its time.
///
/// # Source
/// Song et al. 2021, algorithms 4 and 5, and their code.
///
/// # Differences
/// By default [`NormOver::Event`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Corrector {
    /// None.
    #[default]
    None,
    /// Langevin: $x + \epsilon \nabla + \sqrt{2 \epsilon}\,n$ with
    /// $\epsilon = 2 \alpha (r\,|n| / |\nabla|)^2$; $\alpha$ is that of the discrete chain for VP and 1 for VE.
    Langevin {
        /// Signal to noise r.
        snr: f64,
        /// Steps at each time.
        steps: usize,
        /// Over what the norms are.
        #[serde(default)]
        over: NormOver,
    },
    /// Annealed Langevin: the same with $\epsilon = 2 \alpha (r\,s(t))^2$.
    Annealed {
        /// Signal to noise r.
        snr: f64,
        /// Steps at each time.
        steps: usize,
    },
}

impl Corrector {
    /// The next x and its mean before the last noise was added. `chain` is the number of steps of the whole chain.
    ///
    /// # Errors
    /// Those of the score.
    ///
    /// # Differences
    /// For sub-VP, where their code has no $\alpha$, it is that of VP.
    pub fn step(
        self,
        sde: &Sde,
        chain: usize,
        score: &Score<'_>,
        x: &Tensor,
        t: &[f64],
        noise: &mut dyn FnMut() -> Result<Tensor>,
    ) -> Result<(Tensor, Tensor)> {
        let alpha = |t: f64| match sde {
            Sde::Vp { .. } | Sde::SubVp { .. } => 1.0 - sde.discrete_beta(Sde::index(t, chain), chain),
            Sde::Ve { .. } => 1.0,
        };
        let steps = match self {
            Self::None => 0,
            Self::Langevin { steps, .. } | Self::Annealed { steps, .. } => steps,
        };
        let (mut x, mut mean) = (x.clone(), x.clone());
        for _ in 0..steps {
            let gradient = score(&x, t)?;
            let n = noise()?;
            let size: Vec<f64> = match self {
                Self::None => vec![0.0; t.len()],
                Self::Annealed { snr, .. } => t.iter().map(|&t| (snr * sde.std(t)).powi(2)).collect(),
                Self::Langevin { snr, over, .. } => {
                    let (of_noise, of_score) = (norms(&n, over)?, norms(&gradient, over)?);
                    let ratio = |(n, g): (&f64, &f64)| if *g > 0.0 { snr * n / g } else { 0.0 };
                    of_noise.iter().zip(&of_score).map(ratio).map(|r| r * r).collect()
                }
            };
            let size: Vec<f64> = size.iter().zip(t).map(|(s, &t)| 2.0 * alpha(t) * s).collect();
            let spread: Vec<f64> = size.iter().map(|s| (2.0 * s).sqrt()).collect();
            mean = (&x + gradient.broadcast_mul(&column(&size, &x)?)?)?;
            x = (&mean + n.broadcast_mul(&column(&spread, &x)?)?)?;
        }
        Ok((x, mean))
    }
}

/// The Euclidean norm of each event, or of each the mean over the batch.
fn norms(x: &Tensor, over: NormOver) -> Result<Vec<f64>> {
    let squares = x.to_dtype(DType::F64)?.flatten_from(1)?.sqr()?.sum(D::Minus1)?;
    let norms: Vec<f64> = squares.sqrt()?.to_vec1()?;
    Ok(match over {
        NormOver::Event => norms,
        NormOver::Batch => vec![norms.iter().sum::<f64>() / norms.len().max(1) as f64; norms.len()],
    })
}

fn unknown(field: &str, expected: &str, got: &str) -> Error {
    Error::Config { model: "SDE sampler", field: field.into(), expected: expected.into(), got: got.into() }
}

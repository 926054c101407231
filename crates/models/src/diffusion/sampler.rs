//! Samplers: they take a denoiser and know nothing of how it was trained.

mod heun;

use candle_core::Tensor;
use halocast_core::Rng;
use serde::{Deserialize, Serialize};

pub use heun::{Discretization, Heun, Scaling, Solver, TimeOf};

use super::variance::{Step, learned_step};
use super::{Clip, Clipped, Guided, Levels};
use crate::{Cond, Denoiser, Error, Result, SampleOptions};

/// How a chain of noise levels sigma_0 > sigma_1 > ... > 0 is walked down. In all of them x = x0 + sigma n.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Sampler {
    /// The posterior q(x_s | x_t, x0) with x0 replaced by the denoiser D (Ho et al. 2020, eqs. 6 and 7), over `steps` of
    /// the levels (all of them when `None`). In the variables used here its mean is
    /// D + (sigma_s / sigma_t)^2 (x - D) and its variance sigma_s^2 (1 - sigma_s^2 / sigma_t^2), the variance
    /// beta-tilde of the paper; a model that learned its variances has its own.
    Ancestral {
        /// The number of levels visited.
        steps: Option<usize>,
    },
    /// Denoising diffusion implicit model (Song, Meng & Ermon 2021, eq. 12): the fraction `eta` of the ancestral noise
    /// is drawn anew; `eta` = 0 is deterministic, 1 is [`Sampler::Ancestral`].
    Ddim {
        /// The number of levels visited.
        steps: usize,
        /// Fraction of the ancestral standard deviation.
        eta: f64,
    },
    /// DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): second order in log sigma, deterministic. Its levels are the nearest
    /// to equal steps in log sigma; where two fall together there is one step less.
    DpmSolver {
        /// The number of levels visited.
        steps: usize,
    },
    /// The sampler of elucidated diffusion, of second order with Heun's method, deterministic or stochastic.
    Heun(Heun),
}

impl Default for Sampler {
    fn default() -> Self {
        Self::Ancestral { steps: None }
    }
}

impl Sampler {
    /// The levels visited, descending, from the highest to the lowest.
    ///
    /// # Errors
    /// [`Error::Config`] when the number of steps is zero, more than there are levels, or not said for a continuum.
    pub fn sigmas(&self, levels: &Levels) -> Result<Vec<f64>> {
        let asked = match *self {
            Self::Ancestral { steps } => steps,
            Self::Ddim { steps, .. } | Self::DpmSolver { steps } => Some(steps),
            Self::Heun(heun) => return heun.sigmas(levels),
        };
        let most = levels.count();
        let steps = match asked.or(most) {
            Some(steps) if steps > 0 && most.is_none_or(|most| steps <= most) => steps,
            steps => {
                return Err(Error::Config {
                    model: "sampler",
                    field: "steps".into(),
                    expected: most.map_or("at least 1".into(), |most| format!("1 to {most}")),
                    got: steps.map_or("none, at a continuum of levels".into(), |n| n.to_string()),
                });
            }
        };
        if steps == 1 {
            return Ok(vec![levels.max()]);
        }
        let along = (0..steps).rev().map(|i| i as f64 / (steps - 1) as f64);
        let (low, high) = (levels.min().ln(), levels.max().ln());
        let geometric = |f: f64| levels.nearest((low + f * (high - low)).exp());
        let mut sigmas: Vec<f64> = match (self, levels) {
            (Self::Ancestral { .. } | Self::Ddim { .. }, Levels::Discrete(sigmas)) => {
                along.map(|f| sigmas[(f * (sigmas.len() - 1) as f64).round() as usize]).collect()
            }
            _ => along.map(geometric).collect(),
        };
        sigmas.dedup();
        Ok(sigmas)
    }

    /// Evaluations of the denoiser for a batch that visits these levels.
    fn evaluations(&self, sigmas: &[f64]) -> usize {
        match self {
            Self::Heun(heun) => heun.evaluations(),
            _ => sigmas.len(),
        }
    }

    /// Walks a batch down the levels `sigmas`, which descend, from `x` `[batch, ..]` at the first of them, for the samplers
    /// that [`Heun`] is not.
    ///
    /// `noise` gives standard normal fields, one for each step that draws; `tick` is called after each evaluation.
    ///
    /// # Errors
    /// Those of the denoiser.
    pub fn walk(
        &self,
        denoiser: &dyn Denoiser,
        sigmas: &[f64],
        x: &Tensor,
        cond: Option<&Cond>,
        noise: &mut dyn FnMut() -> Result<Tensor>,
        tick: &mut dyn FnMut(),
    ) -> Result<Tensor> {
        let mut x = x.clone();
        let mut previous: Option<(Tensor, f64)> = None;
        for (i, &sigma) in sigmas.iter().enumerate() {
            let next = sigmas.get(i + 1).copied().unwrap_or(0.0);
            let before = previous.as_ref().map(|(denoised, _)| denoised);
            let (denoised, spread) = denoiser.refine_with_spread(&x, sigma, cond, before)?;
            tick();
            x = if next == 0.0 {
                denoised.clone()
            } else {
                match (*self, &spread) {
                    (Self::Ancestral { .. }, Some(spread)) => {
                        learned_step(&x, &denoised, spread, Step::new(sigma, next), &noise()?)?
                    }
                    (Self::Ancestral { .. }, None) => {
                        ancestral_step(&x, &denoised, sigma, next, 1.0, &mut *noise)?
                    }
                    (Self::Ddim { eta, .. }, _) => {
                        ancestral_step(&x, &denoised, sigma, next, eta, &mut *noise)?
                    }
                    _ => solver_step(&x, &denoised, previous.as_ref(), sigma, next)?,
                }
            };
            previous = Some((denoised, sigma));
        }
        Ok(x)
    }
}

/// Draws `n` events from a denoiser, in batches; each event has its own stream of `rng`, so the batch size does not
/// change the result beyond rounding.
///
/// # Errors
/// When the sampler's options are absurd, the condition does not fit, or a tensor operation fails.
pub fn sample(
    denoiser: &dyn Denoiser,
    n: usize,
    cond: Option<&Cond>,
    options: &SampleOptions<'_>,
    rng: &mut Rng,
) -> Result<Tensor> {
    if n == 0 || options.batch == 0 {
        return Err(Error::Config {
            model: "sampler",
            field: "number of samples and batch".into(),
            expected: "at least 1".into(),
            got: format!("{n} and {}", options.batch),
        });
    }
    let guided = Guided { denoiser, weight: options.guidance };
    let clipped = Clipped { denoiser: &guided, clip: options.clip };
    let denoiser: &dyn Denoiser = if options.clip == Clip::None { &guided } else { &clipped };
    // Guidance asks with and without the condition.
    let each = if options.guidance == 1.0 || cond.is_none() { 1 } else { 2 };
    let sigmas = options.sampler.sigmas(denoiser.levels())?;
    let total = (n.div_ceil(options.batch) * options.sampler.evaluations(&sigmas) * each) as u64;
    let mut done = 0;
    let mut tick = || {
        done += each as u64;
        (options.progress)(done, total);
    };
    // A fresh key for this call: two calls with one generator draw different events.
    let key = Rng::new(rng.next_u64());
    let mut events = Vec::new();
    for start in (0..n).step_by(options.batch) {
        let size = options.batch.min(n - start);
        let cond = cond.map(|c| slice_cond(c, start, size)).transpose()?;
        let mut streams: Vec<Rng> = (start..start + size).map(|i| key.split(i as u64)).collect();
        let latents = noise(denoiser, &mut streams)?;
        events.push(match options.sampler {
            Sampler::Heun(heun) => {
                let mut fresh = |_| noise(denoiser, &mut streams);
                heun.walk(denoiser, &latents, cond.as_ref(), &mut fresh, &mut tick)?
            }
            sampler => {
                let x = (latents * start_scale(sigmas[0]))?;
                let mut fresh = || noise(denoiser, &mut streams);
                sampler.walk(denoiser, &sigmas, &x, cond.as_ref(), &mut fresh, &mut tick)?
            }
        });
    }
    Ok(Tensor::cat(&events, 0)?)
}

/// The standard deviation of x = x0 + sigma n at the highest level when x0 has variance one: at the usual schedules this
/// is sigma to a part in 10^8, and for short ones it keeps x_T = x / sqrt(1 + sigma^2) a standard normal, as published.
fn start_scale(sigma: f64) -> f64 {
    (1.0 + sigma * sigma).sqrt()
}

fn noise(denoiser: &dyn Denoiser, streams: &mut [Rng]) -> Result<Tensor> {
    let event = denoiser.event_shape();
    let size: usize = event.iter().product();
    let mut values = vec![0.0f32; size * streams.len()];
    values.chunks_mut(size).zip(streams.iter_mut()).for_each(|(chunk, rng)| rng.fill_normal(chunk));
    let shape: Vec<usize> = std::iter::once(streams.len()).chain(event).collect();
    Ok(Tensor::from_vec(values, shape, denoiser.device())?)
}

/// One step from noise level `sigma` down to `next` given the denoised field, drawing the fraction `eta` of the ancestral
/// noise anew from the standard normal field `noise`:
///
/// x_s = D + kept (x - D) / sigma + fresh n, with fresh = eta sigma_s sqrt(1 - sigma_s^2 / sigma_t^2) and
/// kept^2 + fresh^2 = sigma_s^2.
///
/// # Source
/// Ho et al. 2020, eqs. 6 and 7 (`eta` = 1); Song, Meng & Ermon 2021, eq. 12.
///
/// # Errors
/// When the shapes differ.
pub fn ancestral_step(
    x: &Tensor,
    denoised: &Tensor,
    sigma: f64,
    next: f64,
    eta: f64,
    noise: impl FnOnce() -> Result<Tensor>,
) -> Result<Tensor> {
    let ratio = next / sigma;
    let fresh = eta * next * (1.0 - ratio * ratio).max(0.0).sqrt();
    let kept = (next * next - fresh * fresh).max(0.0).sqrt() / sigma;
    let mean = (denoised + ((x - denoised)? * kept)?)?;
    if fresh == 0.0 {
        return Ok(mean);
    }
    Ok((mean + (noise()? * fresh)?)?)
}

fn solver_step(
    x: &Tensor,
    denoised: &Tensor,
    previous: Option<&(Tensor, f64)>,
    sigma: f64,
    next: f64,
) -> Result<Tensor> {
    let h = (sigma / next).ln();
    let direction = match previous {
        None => denoised.clone(),
        Some((before, sigma_before)) => {
            let r = (sigma_before / sigma).ln() / h;
            let c = 0.5 / r;
            ((denoised * (1.0 + c))? - (before * c)?)?
        }
    };
    Ok(((x * (next / sigma))? + (direction * (-(-h).exp_m1()))?)?)
}

/// The part of a condition that belongs to `size` events from `start` on.
pub(crate) fn slice_cond(cond: &Cond, start: usize, size: usize) -> Result<Cond> {
    Ok(match cond {
        Cond::Vector(t) => Cond::Vector(t.narrow(0, start, size)?),
        Cond::Field(t) => Cond::Field(t.narrow(0, start, size)?),
        Cond::Set(t) => Cond::Set(t.narrow(0, start, size)?),
    })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::diffusion::{Schedule, sigma_of};

    /// The exact denoiser of independent Gaussian pixels N(mean, std^2): D = mean + std^2 / (std^2 + sigma^2) (x - mean).
    struct Gaussian {
        levels: Levels,
        mean: f64,
        std: f64,
    }

    impl Gaussian {
        fn new(mean: f64, std: f64) -> Self {
            let sigmas = Schedule::default().alphas_bar(1000).into_iter().map(sigma_of).collect();
            Self { levels: Levels::Discrete(sigmas), mean, std }
        }
    }

    impl Denoiser for Gaussian {
        fn event_shape(&self) -> Vec<usize> {
            vec![1, 64, 64]
        }
        fn device(&self) -> &Device {
            &Device::Cpu
        }
        fn levels(&self) -> &Levels {
            &self.levels
        }
        fn denoise(&self, x: &Tensor, sigma: f64, _: Option<&Cond>) -> Result<Tensor> {
            let gain = self.std.powi(2) / (self.std.powi(2) + sigma.powi(2));
            Ok(((x - self.mean)? * gain)?.affine(1.0, self.mean)?)
        }
    }

    fn moments(sampler: Sampler) -> (f64, f64) {
        let options = SampleOptions { sampler, batch: 7, ..Default::default() };
        let x = sample(&Gaussian::new(0.3, 0.5), 16, None, &options, &mut Rng::new(1)).unwrap();
        let values: Vec<f32> = x.flatten_all().unwrap().to_vec1().unwrap();
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
        (mean, variance.sqrt())
    }

    #[test]
    fn with_the_exact_denoiser_every_sampler_gives_the_gaussian() {
        // 65,536 values: standard errors 0.002 of the mean and 0.0014 of the deviation. The chain adds its own
        // discretisation: the last step returns the posterior mean, short of variance by sigma_0^2 = 1e-4.
        for (sampler, tolerance) in [
            (Sampler::Ancestral { steps: None }, 0.008),
            (Sampler::Ddim { steps: 1000, eta: 0.0 }, 0.008),
            (Sampler::DpmSolver { steps: 50 }, 0.008),
        ] {
            let (mean, std) = moments(sampler);
            assert!((mean - 0.3).abs() < 0.01, "{sampler:?}: mean {mean}");
            assert!((std - 0.5).abs() < tolerance, "{sampler:?}: std {std}");
        }
    }

    #[test]
    fn ddim_with_eta_one_is_ancestral() {
        let draw = |sampler| {
            let options = SampleOptions { sampler, ..Default::default() };
            let x = sample(&Gaussian::new(0.0, 1.0), 2, None, &options, &mut Rng::new(4)).unwrap();
            x.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        assert_eq!(draw(Sampler::Ancestral { steps: Some(20) }), draw(Sampler::Ddim { steps: 20, eta: 1.0 }));
    }

    #[test]
    fn the_batch_size_does_not_matter() {
        let draw = |batch| {
            let options = SampleOptions {
                sampler: Sampler::Ancestral { steps: Some(10) },
                batch,
                ..Default::default()
            };
            let x = sample(&Gaussian::new(0.0, 1.0), 5, None, &options, &mut Rng::new(4)).unwrap();
            x.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        assert_eq!(draw(2), draw(5));
    }

    #[test]
    fn levels_start_high_end_low_and_refuse_nonsense() {
        let sampler = Sampler::Ddim { steps: 4, eta: 0.0 };
        let octaves = |n: i32| Levels::Discrete((0..n).map(f64::from).map(f64::exp2).collect());
        assert_eq!(sampler.sigmas(&octaves(10)).unwrap(), [512.0, 64.0, 8.0, 1.0]);
        assert_eq!(Sampler::default().sigmas(&octaves(3)).unwrap(), [4.0, 2.0, 1.0]);
        assert!(sampler.sigmas(&octaves(3)).is_err());
        assert!(Sampler::DpmSolver { steps: 0 }.sigmas(&octaves(10)).is_err());
        // Equal steps in log sigma, however the levels lie.
        let uneven = Levels::Discrete(vec![1.0, 1.1, 1.2, 2.0, 3.9, 4.0, 8.0, 16.0]);
        let solver = Sampler::DpmSolver { steps: 5 };
        assert_eq!(solver.sigmas(&uneven).unwrap(), [16.0, 8.0, 4.0, 2.0, 1.0]);
        let continuum = Levels::Continuous { min: 1.0, max: 16.0 };
        for (got, expected) in solver.sigmas(&continuum).unwrap().into_iter().zip([16.0, 8.0, 4.0, 2.0, 1.0])
        {
            assert!((got / expected - 1.0f64).abs() < 1e-12);
        }
        assert!(Sampler::default().sigmas(&continuum).unwrap_err().to_string().contains("continuum"));
    }
}

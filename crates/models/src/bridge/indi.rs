//! Inversion by direct iteration.

use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;
use halocast_core::{Batch, Rng};
use serde::{Deserialize, Serialize};

use super::pair::{PairNetwork, of_pair, single, steps_asked, uniforms};
use crate::batches::{check_condition, column, in_batches, normals};
use crate::diffusion::LossKind;
use crate::unet::UNetConfig;
use crate::{
    Cond, CondSpec, Configured, Error, Generative, Loss, Parameters, Result, SampleOptions, Trainable,
};

const MODEL: &str = "InDI";

/// The noise $t\,\epsilon_t\,n$ that is added to $x_t = (1-t)\,x + t\,y$.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum IndiNoise {
    /// None.
    #[default]
    None,
    /// $\epsilon_t = \epsilon$: y alone is perturbed, once; no noise is added on the way.
    Constant {
        /// $\epsilon$.
        epsilon: f64,
    },
    /// $\epsilon_t = \epsilon/\sqrt t$: the noise of a Brownian motion of variance $\epsilon^2 t$.
    Brownian {
        /// $\epsilon$.
        epsilon: f64,
    },
}

impl IndiNoise {
    /// The standard deviation $t\,\epsilon_t$ of the noise of $x_t$.
    pub fn std(&self, t: f64) -> f64 {
        match *self {
            Self::None => 0.0,
            Self::Constant { epsilon } => t * epsilon,
            Self::Brownian { epsilon } => epsilon * t.sqrt(),
        }
    }

    /// The standard deviation $s \sqrt{\epsilon_s^2 - \epsilon_t^2}$ of what a step from t to s < t adds.
    pub fn fresh(&self, t: f64, s: f64) -> f64 {
        match *self {
            Self::None | Self::Constant { .. } => 0.0,
            Self::Brownian { epsilon } => epsilon * (s * (t - s) / t).max(0.0).sqrt(),
        }
    }
}

/// An InDI model; by default without noise and with equal weight on all times, for 64x64 maps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IndiConfig {
    /// The network. With `condition_channels` it sees y beside x_t.
    pub unet: UNetConfig,
    /// The map's sides `[y, x]`.
    pub size: [usize; 2],
    /// The noise of x_t.
    pub noise: IndiNoise,
    /// The error of F.
    pub loss: LossKind,
    /// The weight a of the end t = 1 in the times of training, $p(t) \propto 1 + a\,\delta(t - 1)$.
    pub end_weight: f64,
    /// Steps of sampling, where the options do not say: 1 is plain regression.
    pub steps: usize,
}

impl Default for IndiConfig {
    fn default() -> Self {
        Self {
            unet: UNetConfig::default(),
            size: [64, 64],
            noise: IndiNoise::None,
            loss: LossKind::L1,
            end_weight: 0.0,
            steps: 20,
        }
    }
}

/// Inversion by direct iteration: from y to x, restoring a little at a time.
///
/// On the line $x_t = (1-t)\,x + t\,y + t\,\epsilon_t\,n$ a network $F(x_t, t)$ learns x. From $x_1 = y + \epsilon_1 n$
/// each step of length $\delta$ is
///
/// $$x_{t-\delta} = \frac{\delta}{t} F(x_t, t) + \left(1 - \frac{\delta}{t}\right) x_t
///   + (t - \delta) \sqrt{\epsilon_{t-\delta}^2 - \epsilon_t^2}\;n.$$
///
/// With $\delta = 1$ it is the regression of x on y; small steps follow $\mathrm{d}x/\mathrm{d}t = (x - F)/t$, and its
/// samples are sharp where the mean of all x that fit y is not.
///
/// # Source
/// Delbracio & Milanfar 2023, "Inversion by direct iteration", arXiv:2303.11435.
///
/// # Differences
/// The network may see y beside x_t. The time label of the U-Net is 1000 t.
pub struct Indi {
    config: IndiConfig,
    pair: PairNetwork,
}

impl Indi {
    /// The configuration.
    pub fn config(&self) -> &IndiConfig {
        &self.config
    }

    /// The loss of given fields, what they are made from, noise and times.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn loss_at(&self, x: &Tensor, y: &Tensor, noise: &Tensor, t: &[f64]) -> Result<Tensor> {
        let of = |f: &dyn Fn(f64) -> f64| column(&t.iter().map(|&t| f(t)).collect::<Vec<_>>(), x);
        let line = (x.broadcast_mul(&of(&|t| 1.0 - t)?)? + y.broadcast_mul(&of(&|t| t)?)?)?;
        let x_t = (line + noise.broadcast_mul(&of(&|t| self.config.noise.std(t))?)?)?;
        self.config.loss.of(&self.pair.predict(&x_t, t, y)?, x)
    }
}

/// Walks from `x`, the state at t = 1, to t = 0 in `steps` equal steps of InDI, with `predict` as F(x_t, t); `noise`
/// draws standard normal fields, `tick` is called with each step and the state after it.
///
/// # Errors
/// Those of `predict`; [`Error::Config`] when there are no steps.
pub fn restore(
    predict: &dyn Fn(&Tensor, f64) -> Result<Tensor>,
    schedule: IndiNoise,
    x: &Tensor,
    steps: usize,
    noise: &mut dyn FnMut() -> Result<Tensor>,
    tick: &mut dyn FnMut(usize, &Tensor),
) -> Result<Tensor> {
    if steps == 0 {
        return Err(invalid("steps", "at least 1", 0.0));
    }
    let mut x = x.clone();
    for i in 0..steps {
        // t and the next time, of which the last is 0 exactly; delta / t is 1 / (steps left).
        let left = (steps - i) as f64;
        let (t, next) = (left / steps as f64, (left - 1.0) / steps as f64);
        let restored = predict(&x, t)?;
        x = ((restored * left.recip())? + (x * (1.0 - left.recip()))?)?;
        let fresh = schedule.fresh(t, next);
        if fresh > 0.0 {
            x = (x + (noise()? * fresh)?)?;
        }
        tick(i, &x);
    }
    Ok(x)
}

fn invalid(field: &str, expected: &str, got: f64) -> Error {
    Error::Config { model: MODEL, field: field.into(), expected: expected.into(), got: got.to_string() }
}

impl Configured for Indi {
    type Config = IndiConfig;

    fn build(config: &IndiConfig, vb: VarBuilder, parameters: Parameters) -> Result<Self> {
        let usable = |v: f64| v >= 0.0 && v.is_finite();
        if config.steps == 0 {
            return Err(invalid("steps", "at least 1", 0.0));
        }
        if !usable(config.end_weight) {
            return Err(invalid("end_weight", "0 or more", config.end_weight));
        }
        if !usable(config.noise.std(1.0)) {
            return Err(invalid("noise.epsilon", "0 or more", config.noise.std(1.0)));
        }
        let pair = PairNetwork::build(MODEL, &config.unet, config.size, vb, parameters)?;
        Ok(Self { config: config.clone(), pair })
    }
}

impl Generative for Indi {
    fn event_shape(&self) -> Vec<usize> {
        self.pair.event()
    }

    fn condition(&self) -> CondSpec {
        self.pair.condition()
    }

    fn sample(
        &self,
        n: usize,
        cond: Option<&Cond>,
        options: &SampleOptions<'_>,
        rng: &mut Rng,
    ) -> Result<Tensor> {
        let event = self.pair.event();
        check_condition(MODEL, self.pair.condition(), cond, n, &event)?;
        let steps = steps_asked(options.sampler).unwrap_or(self.config.steps);
        let (schedule, dtype) = (self.config.noise, self.pair.parameters.dtype());
        in_batches(n, cond, steps, options, rng, |mut draw| {
            let y = self.pair.field(draw.cond.as_ref())?;
            let mut noise = || normals(&mut draw.streams, &event, dtype, self.pair.device());
            let mut x = y.clone();
            if schedule.std(1.0) > 0.0 {
                x = (x + (noise()? * schedule.std(1.0))?)?;
            }
            let predict = |x: &Tensor, t: f64| Ok(self.pair.predict(x, &vec![t; x.dims()[0]], &y)?.detach());
            let x = restore(&predict, schedule, &x, steps, &mut noise, &mut |i, _| (draw.tick)(i))?;
            Ok(x.to_dtype(DType::F32)?)
        })
    }
}

impl Trainable for Indi {
    of_pair!();

    fn loss(&self, _phase: usize, batch: &Batch, rng: &mut Rng) -> Result<Loss> {
        self.example().check("InDI loss", batch)?;
        let (x, y) = self.pair.of_batch(batch)?;
        // A uniform number beyond the part of the continuum is the end.
        let part = 1.0 + self.config.end_weight;
        let t: Vec<f64> = uniforms(batch, rng).into_iter().map(|u| (u * part).min(1.0)).collect();
        let noise = self.pair.noise(batch, rng)?;
        single(self.loss_at(&x, &y, &noise, &t)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn number(x: &Tensor) -> f64 {
        x.flatten_all().unwrap().to_vec1::<f64>().unwrap()[0]
    }

    fn one(v: f64) -> Tensor {
        Tensor::new(&[v], &Device::Cpu).unwrap()
    }

    #[test]
    fn with_the_oracle_every_intermediate_is_on_the_line() {
        let (x, y) = (one(0.7), one(-2.0));
        for steps in [1, 3, 10] {
            let mut noise = || Ok(one(f64::NAN));
            let mut on_line = |i: usize, state: &Tensor| {
                let t = 1.0 - (i + 1) as f64 / steps as f64;
                assert!((number(state) - ((1.0 - t) * 0.7 + t * -2.0)).abs() < 1e-12);
            };
            let schedule = IndiNoise::Constant { epsilon: 0.3 };
            let end = restore(&|_, _| Ok(x.clone()), schedule, &y, steps, &mut noise, &mut on_line);
            assert_eq!(number(&end.unwrap()), 0.7);
        }
    }

    /// x ~ N(0, s^2), y = x + N(0, sigma^2): x_t = x + t N(0, sigma^2), so E[x | x_t] = s^2 / (s^2 + t^2 sigma^2) x_t.
    #[test]
    fn gaussian_pairs_follow_the_closed_recursion_to_its_limit() {
        let (s, sigma, y) = (1.5f64, 2.0f64, 1.2);
        let gain = |t: f64| s * s / (s * s + t * t * sigma * sigma);
        let walk = |steps: usize| {
            let mut noise = || Ok(one(f64::NAN));
            let predict = |x: &Tensor, t: f64| Ok((x * gain(t))?);
            let end = restore(&predict, IndiNoise::None, &one(y), steps, &mut noise, &mut |_, _| {});
            number(&end.unwrap())
        };
        assert!((walk(1) - y * s * s / (s * s + sigma * sigma)).abs() < 1e-12);
        let closed = |steps: usize| {
            (1..=steps).rev().fold(y, |x, k| {
                let share = 1.0 / k as f64;
                x * (1.0 - share + share * gain(k as f64 / steps as f64))
            })
        };
        assert!((walk(7) - closed(7)).abs() < 1e-12);
        let limit = y * s / (s * s + sigma * sigma).sqrt();
        let errors = [400, 800].map(|steps| (walk(steps) - limit).abs());
        assert!(errors[1] < 2e-3 && (errors[0] / errors[1] - 2.0).abs() < 0.1, "first order: {errors:?}");
    }

    #[test]
    fn the_noise_of_a_step_keeps_that_of_the_line() {
        // What is left of the old noise, (s/t) t eps_t, and the fresh add up to s eps_s.
        for schedule in [IndiNoise::Constant { epsilon: 0.2 }, IndiNoise::Brownian { epsilon: 0.2 }] {
            for (t, s) in [(1.0, 0.9), (0.5, 0.1), (0.1, 0.0)] {
                let left = s / t * schedule.std(t);
                assert!((left.hypot(schedule.fresh(t, s)) - schedule.std(s)).abs() < 1e-12);
            }
        }
    }
}

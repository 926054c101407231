//! The Brownian bridge diffusion model.

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

const MODEL: &str = "BBDM";

/// The bridge $x_t = (1 - m)\,x + m\,y + \sqrt{2 v (m - m^2)}\,n$ with m = t/T.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BrownianBridge {
    /// v, by which the largest variance, in the middle, is v / 2.
    pub variance: f64,
}

impl BrownianBridge {
    /// The variance at m.
    pub fn at(&self, m: f64) -> f64 {
        (2.0 * self.variance * (m - m * m)).max(0.0)
    }

    /// A step from `x` at `m` to `next` < m where `restored` is the end at 0 and `y` that at 1; `eta` is the part of the
    /// posterior's standard deviation that is drawn anew.
    ///
    /// # Source
    /// Li et al. 2023, eqs. 11 and 12.
    ///
    /// # Errors
    /// Those of `noise`, or when the shapes differ.
    pub fn step(
        &self,
        x: &Tensor,
        restored: &Tensor,
        y: &Tensor,
        (m, next): (f64, f64),
        eta: f64,
        noise: &mut dyn FnMut() -> Result<Tensor>,
    ) -> Result<Tensor> {
        let (now, then) = (self.at(m), self.at(next));
        let line = |m: f64| -> Result<Tensor> { Ok(((restored * (1.0 - m))? + (y * m)?)?) };
        // From the end itself, where nothing is known of the noise, all of it is fresh.
        let fresh = if now > 0.0 {
            let kept = then * ((1.0 - m) / (1.0 - next)).powi(2);
            eta * eta * ((now - kept) * then / now).max(0.0)
        } else {
            then
        };
        let mut out = line(next)?;
        if now > 0.0 && then > fresh {
            out = (out + ((x - line(m)?)? * ((then - fresh) / now).sqrt())?)?;
        }
        if fresh > 0.0 {
            out = (out + (noise()? * fresh.sqrt())?)?;
        }
        Ok(out)
    }
}

/// A Brownian bridge model; the default is that of Li et al. 2023 for 64x64 maps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BbdmConfig {
    /// The network. With `condition_channels` it sees y beside x_t.
    pub unet: UNetConfig,
    /// The map's sides `[y, x]`.
    pub size: [usize; 2],
    /// Number T of times.
    pub timesteps: usize,
    /// The bridge's variance.
    pub variance: f64,
    /// The error of the network.
    pub loss: LossKind,
    /// The part of the posterior's standard deviation that each step draws anew: 1 is the chain, 0 deterministic but for
    /// its first step.
    pub eta: f64,
    /// Steps of sampling, where the options do not say.
    pub steps: usize,
}

impl Default for BbdmConfig {
    fn default() -> Self {
        Self {
            unet: UNetConfig::default(),
            size: [64, 64],
            timesteps: 1000,
            variance: 1.0,
            loss: LossKind::L1,
            eta: 1.0,
            steps: 200,
        }
    }
}

/// The Brownian bridge diffusion model: a chain from y to x through states with the variance of a bridge.
///
/// On $x_t$ of [`BrownianBridge`] a network learns $x_t - x = m (y - x) + \sqrt{\delta_t}\,n$; sampling walks from
/// $x_T = y$ down the posterior of the chain given $x = x_t - \epsilon_\theta$.
///
/// # Source
/// Li, Xue, Liu & Lai 2023, "BBDM: image-to-image translation with Brownian bridge diffusion models", eqs. 4 to 13.
///
/// # Differences
/// It works on the maps, not on a latent space. m ends at 1 exactly, where the first step draws from the bridge.
pub struct Bbdm {
    config: BbdmConfig,
    bridge: BrownianBridge,
    pair: PairNetwork,
}

impl Bbdm {
    /// The configuration.
    pub fn config(&self) -> &BbdmConfig {
        &self.config
    }
}

impl Configured for Bbdm {
    type Config = BbdmConfig;

    fn build(config: &BbdmConfig, vb: VarBuilder, parameters: Parameters) -> Result<Self> {
        let steps = config.steps > 0 && config.timesteps > 0;
        let checks = [
            ("timesteps and steps", steps, "at least 1", format!("{}, {}", config.timesteps, config.steps)),
            (
                "variance",
                config.variance > 0.0 && config.variance.is_finite(),
                "positive",
                config.variance.to_string(),
            ),
            ("eta", (0.0..=1.0).contains(&config.eta), "in [0, 1]", config.eta.to_string()),
        ];
        for (field, ok, expected, got) in checks {
            if !ok {
                let (field, expected) = (field.to_owned(), expected.to_owned());
                return Err(Error::Config { model: MODEL, field, expected, got });
            }
        }
        let pair = PairNetwork::build(MODEL, &config.unet, config.size, vb, parameters)?;
        Ok(Self { config: config.clone(), bridge: BrownianBridge { variance: config.variance }, pair })
    }
}

impl Generative for Bbdm {
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
        let dtype = self.pair.parameters.dtype();
        in_batches(n, cond, steps, options, rng, |mut draw| {
            let y = self.pair.field(draw.cond.as_ref())?;
            let mut noise = || normals(&mut draw.streams, &event, dtype, self.pair.device());
            let mut x = y.clone();
            for i in 0..steps {
                let at = |left: usize| left as f64 / steps as f64;
                let (m, next) = (at(steps - i), at(steps - i - 1));
                let error = self.pair.predict(&x, &vec![m; y.dims()[0]], &y)?.detach();
                let restored = (&x - error)?;
                x = self.bridge.step(&x, &restored, &y, (m, next), self.config.eta, &mut noise)?;
                (draw.tick)(i);
            }
            Ok(x.to_dtype(DType::F32)?)
        })
    }
}

impl Trainable for Bbdm {
    of_pair!();

    fn loss(&self, _phase: usize, batch: &Batch, rng: &mut Rng) -> Result<Loss> {
        self.example().check("BBDM loss", batch)?;
        let (x, y) = self.pair.of_batch(batch)?;
        let total = self.config.timesteps as f64;
        let m: Vec<f64> = uniforms(batch, rng)
            .into_iter()
            .map(|u| ((u * total).floor() + 1.0).min(total) / total)
            .collect();
        let noise = self.pair.noise(batch, rng)?;
        let std: Vec<f64> = m.iter().map(|&m| self.bridge.at(m).sqrt()).collect();
        let target =
            ((&y - &x)?.broadcast_mul(&column(&m, &x)?)? + noise.broadcast_mul(&column(&std, &x)?)?)?;
        let x_t = (&x + &target)?;
        single(self.config.loss.of(&self.pair.predict(&x_t, &m, &y)?, &target)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn with_the_oracle_every_state_has_the_moments_of_the_bridge() {
        let bridge = BrownianBridge { variance: 1.5 };
        let (n, steps) = (40_000, 5);
        let constant = |v: f64| Tensor::full(v, n, &Device::Cpu).unwrap();
        let (x0, y) = (constant(0.4), constant(-1.0));
        for eta in [1.0, 0.3, 0.0] {
            let mut rng = Rng::new(3);
            let mut noise = || {
                let values: Vec<f64> = rng.normals(n).into_iter().map(f64::from).collect();
                Ok(Tensor::from_vec(values, n, &Device::Cpu)?)
            };
            let mut x = y.clone();
            for i in 0..steps {
                let at = |left: usize| left as f64 / steps as f64;
                let (m, next) = (at(steps - i), at(steps - i - 1));
                x = bridge.step(&x, &x0, &y, (m, next), eta, &mut noise).unwrap();
                let values = x.to_vec1::<f64>().unwrap();
                let mean = values.iter().sum::<f64>() / n as f64;
                let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64;
                // Five standard errors of mean and variance.
                let error = 5.0 * (bridge.at(next) / n as f64).sqrt() + 1e-12;
                assert!((mean - ((1.0 - next) * 0.4 - next)).abs() < error, "{eta}, step {i}: mean {mean}");
                assert!(
                    (variance - bridge.at(next)).abs() < 0.04 * bridge.at(next) + 1e-12,
                    "{eta}, step {i}"
                );
            }
        }
    }
}

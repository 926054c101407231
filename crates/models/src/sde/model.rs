//! The score of a stochastic differential equation, learnt by a network.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use halocast_core::{Batch, Rng};
use serde::{Deserialize, Serialize};

use super::{Likelihood, ScoreLoss, Sde, SdeSampler, flow_log_prob, flow_velocity};
use crate::batches::{check_condition, column, in_batches, normals};
use crate::diffusion::{Levels, Sampler, sample};
use crate::unet::{UNet, UNetConfig};
use crate::{
    Cond, CondSpec, Configured, Denoiser, Error, ExampleSpec, Generative, LogProb, Loss, Parameters, Result,
    SampleOptions, Trainable,
};

const MODEL: &str = "score SDE";

/// A score model; the default is the variance-preserving equation of Song et al. 2021 for 64x64 maps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScoreSdeConfig {
    /// The network.
    pub unet: UNetConfig,
    /// The map's sides `[y, x]`.
    pub size: [usize; 2],
    /// The equation.
    pub sde: Sde,
    /// How the score's error is weighted.
    pub loss: ScoreLoss,
    /// Training draws times uniformly between this and 1.
    pub t_min: f64,
    /// How events are drawn.
    pub sampler: SdeSampler,
    /// How densities are measured.
    pub likelihood: Likelihood,
}

impl Default for ScoreSdeConfig {
    fn default() -> Self {
        Self {
            unet: UNetConfig::default(),
            size: [64, 64],
            sde: Sde::default(),
            loss: ScoreLoss::default(),
            t_min: 1e-5,
            sampler: SdeSampler::default(),
            likelihood: Likelihood::default(),
        }
    }
}

/// A score-based model in continuous time: $\nabla \ln p_t(x) \approx -\epsilon_\theta(x, t)/s(t)$ with a network
/// $\epsilon_\theta$.
///
/// It draws events by the sampler of its configuration, unless [`SampleOptions::sampler`] names another one than the
/// default: then it is asked as a [`Denoiser`], $D(x; \sigma) = x - \sigma\,\epsilon_\theta$. Its density is that of the
/// ordinary equation with the same marginals, exact up to the solver's tolerance and, unless [`super::Divergence::Exact`]
/// is asked for, the noise of its random directions.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_core::Rng;
/// use halocast_models::sde::{ScoreSde, ScoreSdeConfig};
/// use halocast_models::unet::UNetConfig;
/// use halocast_models::{Configured, LogProb};
///
/// let unet = UNetConfig { dim: 8, dim_mults: vec![1, 2], ..Default::default() };
/// let mut config = ScoreSdeConfig { unet, size: [4, 4], ..Default::default() };
/// (config.likelihood.solver.rtol, config.likelihood.solver.atol) = (1e-2, 1e-2);
/// let model = ScoreSde::new(&config, 1, &Device::Cpu)?;
/// let x = Tensor::zeros((2, 1, 4, 4), candle_core::DType::F32, &Device::Cpu)?;
/// assert_eq!(model.log_prob(&x, None, &mut Rng::new(2))?.dims(), [2]);
/// # Ok::<(), halocast_models::Error>(())
/// ```
///
/// # Source
/// Song et al. 2021, "Score-based generative modeling through stochastic differential equations".
///
/// # Differences
/// The network is the U-Net of this crate, not NCSN++. Its time label is 999 t for all three equations (theirs is the
/// noise level for VE, whose logarithm is linear in t), and its input is divided by $\sqrt{m^2 + s^2}$: one for VP, and of
/// order one for the others where the data are.
pub struct ScoreSde {
    config: ScoreSdeConfig,
    network: UNet,
    parameters: Parameters,
    condition: CondSpec,
    levels: Levels,
}

impl ScoreSde {
    /// The configuration.
    pub fn config(&self) -> &ScoreSdeConfig {
        &self.config
    }

    /// The network's $\epsilon_\theta$ at `x` `[n, ...]` and the time of each event.
    fn noise_at(&self, x: &Tensor, t: &[f64], cond: Option<&Cond>) -> Result<Tensor> {
        let sde = &self.config.sde;
        let scale: Vec<f64> = t.iter().map(|&t| sde.mean_factor(t).hypot(sde.std(t)).recip()).collect();
        let labels: Vec<f64> = t.iter().map(|t| 999.0 * t).collect();
        self.network.forward_on(&x.broadcast_mul(&column(&scale, x)?)?, &labels, cond)
    }

    /// The score at `x` `[n, channel, y, x]` and the time of each event.
    ///
    /// # Errors
    /// When the condition or the shapes do not fit.
    pub fn score(&self, x: &Tensor, t: &[f64], cond: Option<&Cond>) -> Result<Tensor> {
        let factor: Vec<f64> = t.iter().map(|&t| -self.config.sde.std(t).recip()).collect();
        let x_own = x.to_dtype(self.parameters.dtype())?;
        let noise = self.noise_at(&x_own, t, cond)?;
        Ok(noise.broadcast_mul(&column(&factor, &noise)?)?.to_dtype(x.dtype())?)
    }
}

impl Configured for ScoreSde {
    type Config = ScoreSdeConfig;

    fn build(config: &ScoreSdeConfig, vb: VarBuilder, parameters: Parameters) -> Result<Self> {
        config.sde.validate()?;
        config.sampler.validate(&config.sde)?;
        let multiple = config.unet.side_multiple();
        let in_unit = |t: f64| t > 0.0 && t < 1.0;
        let checks = [
            (
                "size",
                config.size.iter().all(|s| *s > 0 && s % multiple == 0),
                format!("multiples of {multiple}"),
                format!("{:?}", config.size),
            ),
            (
                "t_min and likelihood.t_min",
                in_unit(config.t_min) && in_unit(config.likelihood.t_min),
                "in (0, 1)".to_owned(),
                format!("{} and {}", config.t_min, config.likelihood.t_min),
            ),
            (
                "unet.out_channels",
                config.unet.channels_out() == config.unet.channels,
                "0, or those of the maps".to_owned(),
                config.unet.out_channels.to_string(),
            ),
        ];
        for (field, ok, expected, got) in checks {
            if !ok {
                return Err(Error::Config { model: MODEL, field: field.into(), expected, got });
            }
        }
        let levels = Levels::Continuous { min: config.sde.sigma(config.t_min), max: config.sde.sigma(1.0) };
        let condition = config.unet.condition()?;
        let network = UNet::new(&config.unet, vb)?;
        Ok(Self { config: config.clone(), network, parameters, condition, levels })
    }
}

impl Denoiser for ScoreSde {
    fn event_shape(&self) -> Vec<usize> {
        vec![self.config.unet.channels, self.config.size[0], self.config.size[1]]
    }

    fn device(&self) -> &Device {
        self.parameters.device()
    }

    fn levels(&self) -> &Levels {
        &self.levels
    }

    fn denoise(&self, x: &Tensor, sigma: f64, cond: Option<&Cond>) -> Result<Tensor> {
        self.condition.tensor(MODEL, cond)?;
        let n = x.dims().first().copied().unwrap_or(0);
        let t = self.config.sde.time(sigma).clamp(0.0, 1.0);
        let x_own = x.to_dtype(self.parameters.dtype())?;
        let noise = self.noise_at(&(&x_own * self.config.sde.mean_factor(t))?, &vec![t; n], cond)?;
        Ok((x_own - (noise * sigma)?)?.to_dtype(x.dtype())?)
    }
}

impl Generative for ScoreSde {
    fn event_shape(&self) -> Vec<usize> {
        Denoiser::event_shape(self)
    }

    fn condition(&self) -> CondSpec {
        self.condition
    }

    fn sample(
        &self,
        n: usize,
        cond: Option<&Cond>,
        options: &SampleOptions<'_>,
        rng: &mut Rng,
    ) -> Result<Tensor> {
        let event = Denoiser::event_shape(self);
        check_condition(MODEL, self.condition, cond, n, &event)?;
        if options.sampler != Sampler::default() {
            return sample(self, n, cond, options, rng);
        }
        let (sampler, sde) = (self.config.sampler, &self.config.sde);
        let device = self.parameters.device();
        in_batches(n, cond, sampler.steps(), options, rng, |mut draw| {
            let mut noise = || normals(&mut draw.streams, &event, DType::F32, device);
            let start = (noise()? * sde.prior_std())?;
            let score = |x: &Tensor, t: &[f64]| Ok(self.score(x, t, draw.cond.as_ref())?.detach());
            sampler.walk(sde, &score, &start, &mut noise, draw.tick)
        })
    }
}

impl LogProb for ScoreSde {
    /// The density, in nats, of events at time `likelihood.t_min` of the equation.
    fn log_prob(&self, x: &Tensor, cond: Option<&Cond>, rng: &mut Rng) -> Result<Tensor> {
        let event = Denoiser::event_shape(self);
        let n = x.dims().first().copied().unwrap_or(0);
        if x.rank() != 4 || x.dims()[1..] != event[..] || n == 0 {
            return Err(Error::Shape {
                operation: "density of a score SDE",
                what: "x".into(),
                expected: format!("[n, {}, {}, {}]", event[0], event[1], event[2]),
                got: x.dims().to_vec(),
            });
        }
        check_condition(MODEL, self.condition, cond, n, &event)?;
        let Likelihood { divergence, solver, t_min } = self.config.likelihood;
        let sde = &self.config.sde;
        let x = x.to_dtype(self.parameters.dtype())?;
        let score = |x: &Tensor, t: &[f64]| self.score(x, t, cond);
        let velocity = flow_velocity(sde, &score);
        let prior = |z: &Tensor| sde.prior_log_prob(z);
        flow_log_prob(&velocity, &prior, &x, (t_min, 1.0), divergence, &solver, rng)
    }
}

impl Trainable for ScoreSde {
    fn example(&self) -> ExampleSpec {
        ExampleSpec::new(&Denoiser::event_shape(self), self.condition)
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn device(&self) -> &Device {
        self.parameters.device()
    }

    fn loss(&self, _phase: usize, batch: &Batch, rng: &mut Rng) -> Result<Loss> {
        self.example().check("score SDE loss", batch)?;
        let shape = batch.fields.shape().to_vec();
        let tensor = |values: Vec<f32>| {
            Tensor::from_vec(values, &shape[..], self.parameters.device())?.to_dtype(self.parameters.dtype())
        };
        let x0 = tensor(batch.fields.iter().copied().collect())?;
        let t_min = self.config.t_min;
        let draw = |rng: &mut Rng| t_min + (1.0 - t_min) * rng.uniform();
        let t: Vec<f64> = batch.shard.generators(rng).iter_mut().map(draw).collect();
        let noise = tensor(batch.shard.normals(rng, shape[1..].iter().product()))?;
        let cond = self.condition.of_batch(MODEL, batch, &self.parameters)?;
        let score = |x: &Tensor, t: &[f64]| self.score(x, t, cond.as_ref());
        let total = self.config.loss.of(&self.config.sde, &score, &x0, &noise, &t)?;
        let value = total.to_dtype(DType::F32)?.to_scalar::<f32>()?;
        Ok(Loss { total, parts: vec![("loss", value)] })
    }
}

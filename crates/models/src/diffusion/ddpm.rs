//! The denoising diffusion probabilistic model: a network, a schedule and an objective.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use halocast_core::{Batch, Rng, Shard};
use serde::{Deserialize, Serialize};

use super::{Levels, LossKind, Objective, Schedule, sample, sigma_of};
use crate::unet::{UNet, UNetConfig};
use crate::{
    Cond, CondSpec, Configured, Denoiser, Error, ExampleSpec, Generative, Loss, Parameters, Result,
    SampleOptions, Trainable,
};

/// How the time of each example of a batch is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeSampling {
    /// Independent and uniform.
    #[default]
    Uniform,
    /// One uniform offset for the batch, its examples in equal steps from there modulo T: the same mean with less
    /// variance (Kingma et al. 2021, section I.1).
    Stratified,
}

/// A diffusion model; the default is that of Mudur & Finkbeiner 2022 for 64x64 maps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DdpmConfig {
    /// The network.
    pub unet: UNetConfig,
    /// The map's sides `[y, x]`.
    pub size: [usize; 2],
    /// Number T of noise levels.
    pub timesteps: usize,
    /// Their variances.
    pub schedule: Schedule,
    /// What the network predicts.
    pub objective: Objective,
    /// How its error is measured.
    pub loss: LossKind,
    /// How times are drawn.
    pub times: TimeSampling,
}

impl Default for DdpmConfig {
    fn default() -> Self {
        Self {
            unet: UNetConfig::default(),
            size: [64, 64],
            timesteps: 2000,
            schedule: Schedule::default(),
            objective: Objective::Noise,
            loss: LossKind::Huber,
            times: TimeSampling::Uniform,
        }
    }
}

/// A denoising diffusion probabilistic model (Ho et al. 2020).
///
/// Training draws t, eps and minimises the error of the network's prediction of its target from
/// x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps (their algorithm 1); sampling walks the chain back, see
/// [`crate::diffusion::Sampler`].
pub struct Ddpm {
    config: DdpmConfig,
    network: UNet,
    parameters: Parameters,
    alphas_bar: Vec<f64>,
    levels: Levels,
}

impl Ddpm {
    /// The configuration.
    pub fn config(&self) -> &DdpmConfig {
        &self.config
    }

    /// The network.
    pub fn network(&self) -> &UNet {
        &self.network
    }

    /// The loss of given data `[batch, channel, y, x]`, noise and times: the deterministic core of training.
    ///
    /// # Errors
    /// [`Error::Config`] for a time beyond the schedule; [`Error::Shape`] when shapes do not fit.
    pub fn loss_at(&self, x0: &Tensor, noise: &Tensor, t: &[usize], cond: Option<&Tensor>) -> Result<Tensor> {
        let bar = |&t: &usize| self.alphas_bar.get(t).copied().ok_or_else(|| self.no_such_time(t));
        let bars = t.iter().map(bar).collect::<Result<Vec<f64>>>()?;
        if x0.dims() != noise.dims() || x0.dims().first() != Some(&t.len()) {
            return Err(Error::Shape {
                operation: "DDPM loss",
                what: "noise".into(),
                expected: format!("{} times and data of {:?}", t.len(), x0.dims()),
                got: noise.dims().to_vec(),
            });
        }
        let mix = |weights: &dyn Fn(f64) -> (f64, f64)| -> Result<Tensor> {
            let column = |f: &dyn Fn(f64) -> f64| {
                let values: Vec<f32> = bars.iter().map(|&a| f(a) as f32).collect();
                Tensor::from_vec(values, (bars.len(), 1, 1, 1), x0.device())?.to_dtype(x0.dtype())
            };
            let (a, b) = (column(&|a| weights(a).0)?, column(&|a| weights(a).1)?);
            Ok((x0.broadcast_mul(&a)? + noise.broadcast_mul(&b)?)?)
        };
        let x_t = mix(&|a| (a.sqrt(), (1.0 - a).sqrt()))?;
        let target = mix(&|a| self.config.objective.target(a))?;
        let times: Vec<f64> = t.iter().map(|&t| t as f64).collect();
        let prediction = self.network.forward(&x_t, &times, cond)?;
        self.config.loss.of(&prediction, &target)
    }

    fn no_such_time(&self, t: usize) -> Error {
        let expected = format!("below {}", self.alphas_bar.len());
        Error::Config { model: "DDPM", field: "time".into(), expected, got: t.to_string() }
    }

    fn draw_times(&self, shard: Shard, rng: &mut Rng) -> Vec<usize> {
        let total = self.config.timesteps;
        match self.config.times {
            TimeSampling::Uniform => shard.generators(rng).iter_mut().map(|rng| rng.below(total)).collect(),
            TimeSampling::Stratified => {
                let offset = rng.uniform();
                let at =
                    |i: usize| ((offset + i as f64 / shard.total as f64).fract() * total as f64) as usize;
                shard.range().map(|i| at(i).min(total - 1)).collect()
            }
        }
    }
}

impl Configured for Ddpm {
    type Config = DdpmConfig;

    fn build(config: &DdpmConfig, vb: VarBuilder, parameters: Parameters) -> Result<Self> {
        let multiple = config.unet.side_multiple();
        let checks = [
            ("timesteps", config.timesteps > 0, "at least 1".to_owned(), config.timesteps.to_string()),
            (
                "size",
                config.size.iter().all(|s| *s > 0 && s % multiple == 0),
                format!("multiples of {multiple}"),
                format!("{:?}", config.size),
            ),
        ];
        for (field, ok, expected, got) in checks {
            if !ok {
                return Err(Error::Config { model: "DDPM", field: field.into(), expected, got });
            }
        }
        let alphas_bar = config.schedule.alphas_bar(config.timesteps);
        if alphas_bar.iter().any(|a| !(*a > 0.0 && *a < 1.0)) {
            return Err(Error::Config {
                model: "DDPM",
                field: "schedule".into(),
                expected: "every beta in (0, 1)".into(),
                got: format!("{:?} over {} steps", config.schedule, config.timesteps),
            });
        }
        let levels = Levels::Discrete(alphas_bar.iter().copied().map(sigma_of).collect());
        let network = UNet::new(&config.unet, vb)?;
        Ok(Self { config: config.clone(), network, parameters, alphas_bar, levels })
    }
}

impl Denoiser for Ddpm {
    fn event_shape(&self) -> Vec<usize> {
        vec![self.config.unet.channels, self.config.size[0], self.config.size[1]]
    }

    fn device(&self) -> &Device {
        self.parameters.device()
    }

    fn levels(&self) -> &Levels {
        &self.levels
    }

    /// At a level between two the network is asked at the time between, by the logarithm of sigma.
    fn denoise(&self, x: &Tensor, sigma: f64, cond: Option<&Cond>) -> Result<Tensor> {
        let time = self.levels.index(sigma);
        let exact = Some(time as usize).filter(|&t| t as f64 == time);
        let alpha_bar = exact.map_or(1.0 / (1.0 + sigma * sigma), |t| self.alphas_bar[t]);
        let x_t = (x.to_dtype(self.parameters.dtype())? * alpha_bar.sqrt())?;
        let times = vec![time; x.dims().first().copied().unwrap_or(0)];
        let parameters = self.condition().tensor("DDPM", cond)?;
        let prediction = self.network.forward(&x_t, &times, parameters)?;
        let (of_x, of_prediction) = self.config.objective.data(alpha_bar);
        Ok(((x_t * of_x)? + (prediction * of_prediction)?)?.to_dtype(x.dtype())?)
    }
}

impl Generative for Ddpm {
    fn event_shape(&self) -> Vec<usize> {
        Denoiser::event_shape(self)
    }

    fn condition(&self) -> CondSpec {
        match self.config.unet.parameters {
            0 => CondSpec::None,
            n => CondSpec::Vector(n),
        }
    }

    fn sample(
        &self,
        n: usize,
        cond: Option<&Cond>,
        options: &SampleOptions<'_>,
        rng: &mut Rng,
    ) -> Result<Tensor> {
        sample(self, n, cond, options, rng)
    }
}

impl Trainable for Ddpm {
    fn example(&self) -> ExampleSpec {
        ExampleSpec::new(&Denoiser::event_shape(self), self.condition())
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn device(&self) -> &Device {
        self.parameters.device()
    }

    fn loss(&self, _phase: usize, batch: &Batch, rng: &mut Rng) -> Result<Loss> {
        self.example().check("DDPM loss", batch)?;
        let shape = batch.fields.shape().to_vec();
        let each = shape[1..].iter().product();
        let tensor = |values: Vec<f32>, shape: &[usize]| {
            Tensor::from_vec(values, shape, self.parameters.device())?.to_dtype(self.parameters.dtype())
        };
        let x0 = tensor(batch.fields.iter().copied().collect(), &shape)?;
        let t = self.draw_times(batch.shard, rng);
        let noise = tensor(batch.shard.normals(rng, each), &shape)?;
        let cond = self.condition().of_batch("DDPM", batch, &self.parameters)?;
        let cond = self.condition().tensor("DDPM", cond.as_ref())?;
        let total = self.loss_at(&x0, &noise, &t, cond)?;
        let value = total.to_dtype(DType::F32)?.to_scalar::<f32>()?;
        Ok(Loss { total, parts: vec![("loss", value)] })
    }
}

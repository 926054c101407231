//! Denoising diffusion with a Diffusion Mamba as its network.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use halocast_core::{Batch, Rng};
use serde::{Deserialize, Serialize};

use super::{Dim, DimCondition, DimConfig};
use crate::diffusion::{Levels, LossKind, Objective, Schedule, sample, sigma_of};
use crate::{
    Cond, CondSpec, Configured, Denoiser, Error, ExampleSpec, Generative, Loss, Parameters, Result,
    SampleOptions, Trainable,
};

/// A diffusion model with a [`Dim`]; the default is DiM-S for CIFAR-10.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DimDdpmConfig {
    /// The network, which knows the size of the maps.
    pub network: DimConfig,
    /// Number T of noise levels.
    pub timesteps: usize,
    /// Their variances.
    pub schedule: Schedule,
    /// What the network predicts.
    pub objective: Objective,
    /// How its error is measured.
    pub loss: LossKind,
}

impl Default for DimDdpmConfig {
    fn default() -> Self {
        Self {
            network: DimConfig::default(),
            timesteps: 1000,
            schedule: Schedule::default(),
            objective: Objective::Noise,
            loss: LossKind::L2,
        }
    }
}

/// A denoising diffusion probabilistic model (Ho et al. 2020) whose network is a [`Dim`] (Teng et al. 2024).
///
/// Training and sampling are those of [`crate::diffusion::Ddpm`]. It is conditioned on parameters or on a field, as the
/// network is; classes of the network, which a batch has none of, are all that of none.
///
/// ```
/// use candle_core::Device;
/// use halocast_core::Rng;
/// use halocast_models::diffusion::Sampler;
/// use halocast_models::dim::{DimConfig, DimDdpm, DimDdpmConfig};
/// use halocast_models::{Configured, Generative, SampleOptions};
///
/// let network = DimConfig { size: [8, 8], dim: 8, layers: 3, states: 4, ..DimConfig::small() };
/// let model = DimDdpm::new(&DimDdpmConfig { network, timesteps: 10, ..Default::default() }, 1, &Device::Cpu)?;
/// let options = SampleOptions { sampler: Sampler::DpmSolver { steps: 2 }, ..Default::default() };
/// assert_eq!(model.sample(3, None, &options, &mut Rng::new(2))?.dims(), [3, 1, 8, 8]);
/// # Ok::<(), halocast_models::Error>(())
/// ```
pub struct DimDdpm {
    config: DimDdpmConfig,
    network: Dim,
    parameters: Parameters,
    alphas_bar: Vec<f64>,
    levels: Levels,
}

impl DimDdpm {
    /// The configuration.
    pub fn config(&self) -> &DimDdpmConfig {
        &self.config
    }

    /// The network.
    pub fn network(&self) -> &Dim {
        &self.network
    }

    /// The network's prediction, given its condition as one tensor.
    fn predict(&self, x: &Tensor, t: &[f64], cond: Option<&Tensor>) -> Result<Tensor> {
        let given = match self.condition() {
            CondSpec::Field(_) => DimCondition { field: cond, ..Default::default() },
            _ => DimCondition { parameters: cond, ..Default::default() },
        };
        self.network.forward(x, t, given)
    }

    /// The loss of given data `[batch, channel, y, x]`, noise and times: the deterministic core of training.
    ///
    /// # Errors
    /// [`Error::Config`] for a time beyond the schedule; [`Error::Shape`] when shapes do not fit.
    pub fn loss_at(&self, x0: &Tensor, noise: &Tensor, t: &[usize], cond: Option<&Tensor>) -> Result<Tensor> {
        let bar = |&t: &usize| {
            let expected = format!("below {}", self.alphas_bar.len());
            let got = t.to_string();
            let late = || Error::Config { model: "DiM", field: "time".into(), expected, got };
            self.alphas_bar.get(t).copied().ok_or_else(late)
        };
        let bars = t.iter().map(bar).collect::<Result<Vec<f64>>>()?;
        if x0.dims() != noise.dims() || x0.dims().first() != Some(&t.len()) {
            return Err(Error::Shape {
                operation: "DiM loss",
                what: "noise".into(),
                expected: format!("{} times and data of {:?}", t.len(), x0.dims()),
                got: noise.dims().to_vec(),
            });
        }
        let column = |f: &dyn Fn(f64) -> f64| {
            let values: Vec<f32> = bars.iter().map(|&a| f(a) as f32).collect();
            Tensor::from_vec(values, (bars.len(), 1, 1, 1), x0.device())?.to_dtype(x0.dtype())
        };
        let mix = |weights: &dyn Fn(f64) -> (f64, f64)| -> Result<Tensor> {
            let (a, b) = (column(&|a| weights(a).0)?, column(&|a| weights(a).1)?);
            Ok((x0.broadcast_mul(&a)? + noise.broadcast_mul(&b)?)?)
        };
        let x_t = mix(&|a| (a.sqrt(), (1.0 - a).sqrt()))?;
        let target = mix(&|a| self.config.objective.target(a))?;
        let times: Vec<f64> = t.iter().map(|&t| t as f64).collect();
        self.config.loss.of(&self.predict(&x_t, &times, cond)?, &target)
    }
}

impl Configured for DimDdpm {
    type Config = DimDdpmConfig;

    fn build(config: &DimDdpmConfig, vb: VarBuilder, parameters: Parameters) -> Result<Self> {
        let network = &config.network;
        let bars = config.schedule.alphas_bar(config.timesteps);
        let checks = [
            ("timesteps", config.timesteps > 0, "at least 1", config.timesteps.to_string()),
            (
                "network.outputs",
                network.outputs == network.channels,
                "as many as channels: no variance is learned",
                network.outputs.to_string(),
            ),
            (
                "network.field",
                network.field == 0 || network.parameters == 0,
                "0 where it takes parameters",
                network.field.to_string(),
            ),
            (
                "schedule",
                bars.iter().all(|a| *a > 0.0 && *a < 1.0),
                "every beta in (0, 1)",
                format!("{:?} over {} steps", config.schedule, config.timesteps),
            ),
        ];
        for (field, ok, expected, got) in checks {
            if !ok {
                let (field, expected) = (field.to_owned(), expected.to_owned());
                return Err(Error::Config { model: "DiM", field, expected, got });
            }
        }
        let levels = Levels::Discrete(bars.iter().copied().map(sigma_of).collect());
        let network = Dim::new(network, vb)?;
        Ok(Self { config: config.clone(), network, parameters, alphas_bar: bars, levels })
    }
}

impl Denoiser for DimDdpm {
    fn event_shape(&self) -> Vec<usize> {
        let DimConfig { channels, size, .. } = self.config.network;
        vec![channels, size[0], size[1]]
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
        let prediction = self.predict(&x_t, &times, self.condition().tensor("DiM", cond)?)?;
        let (of_x, of_prediction) = self.config.objective.data(alpha_bar);
        Ok(((x_t * of_x)? + (prediction * of_prediction)?)?.to_dtype(x.dtype())?)
    }
}

impl Generative for DimDdpm {
    fn event_shape(&self) -> Vec<usize> {
        Denoiser::event_shape(self)
    }

    fn condition(&self) -> CondSpec {
        match (self.config.network.parameters, self.config.network.field) {
            (0, 0) => CondSpec::None,
            (0, channels) => CondSpec::Field(channels),
            (n, _) => CondSpec::Vector(n),
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

impl Trainable for DimDdpm {
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
        self.example().check("DiM loss", batch)?;
        let shape = batch.fields.shape().to_vec();
        let each = shape[1..].iter().product();
        let tensor = |values: Vec<f32>, shape: &[usize]| {
            Tensor::from_vec(values, shape, self.parameters.device())?.to_dtype(self.parameters.dtype())
        };
        let x0 = tensor(batch.fields.iter().copied().collect(), &shape)?;
        let draw = |rng: &mut Rng| rng.below(self.config.timesteps);
        let t: Vec<usize> = batch.shard.generators(rng).iter_mut().map(draw).collect();
        let noise = tensor(batch.shard.normals(rng, each), &shape)?;
        let cond = self.condition().of_batch("DiM", batch, &self.parameters)?;
        let cond = self.condition().tensor("DiM", cond.as_ref())?;
        let total = self.loss_at(&x0, &noise, &t, cond)?;
        let value = total.to_dtype(DType::F32)?.to_scalar::<f32>()?;
        Ok(Loss { total, parts: vec![("loss", value)] })
    }
}

//! The model: a preconditioned network and the loss of its noise levels.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use halocast_core::{Batch, Rng};
use serde::{Deserialize, Serialize};

use super::precondition::vp_sigma;
use super::{Precondition, SongConfig};
use crate::diffusion::{Conditioned, Heun, Levels, Question, Sampler, column, kept, sample, tensor};
use crate::network::{Network, NetworkConfig};
use crate::{
    Cond, CondSpec, Configured, Denoiser, Error, ExampleSpec, Generative, Loss, Parameters, Result,
    SampleOptions, Trainable,
};

/// Which noise levels are drawn in training, and how the error at each is weighed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum NoiseLoss {
    /// $\ln \sigma \sim N(P_\mathrm{mean}, P_\mathrm{std}^2)$, weight
    /// $(\sigma^2 + \sigma_d^2) / (\sigma \sigma_d)^2$ (Karras et al. 2022).
    Edm {
        /// $P_\mathrm{mean}$.
        p_mean: f64,
        /// $P_\mathrm{std}$.
        p_std: f64,
        /// $\sigma_d$.
        sigma_data: f64,
    },
    /// $\sigma(t)$ of the variance preserving process at t uniform in $[\epsilon_t, 1]$, weight $1 / \sigma^2$ (Song et
    /// al. 2021).
    Vp {
        /// $\beta_d$.
        beta_d: f64,
        /// $\beta_\mathrm{min}$.
        beta_min: f64,
        /// $\epsilon_t$.
        epsilon_t: f64,
    },
    /// $\ln \sigma$ uniform, weight $1 / \sigma^2$ (Song et al. 2021).
    Ve {
        /// The lowest noise level.
        sigma_min: f64,
        /// The highest noise level.
        sigma_max: f64,
    },
}

impl Default for NoiseLoss {
    fn default() -> Self {
        Self::Edm { p_mean: -1.2, p_std: 1.2, sigma_data: 0.5 }
    }
}

impl NoiseLoss {
    /// That of the variance preserving process with the values of Song et al. 2021.
    pub fn vp() -> Self {
        Self::Vp { beta_d: 19.9, beta_min: 0.1, epsilon_t: 1e-5 }
    }

    /// That of the variance exploding process with the values of Song et al. 2021.
    pub fn ve() -> Self {
        Self::Ve { sigma_min: 0.02, sigma_max: 100.0 }
    }

    /// The noise level of a draw: a standard normal number for [`NoiseLoss::Edm`], a uniform one for the others.
    pub fn sigma(&self, draw: f64) -> f64 {
        match *self {
            Self::Edm { p_mean, p_std, .. } => (p_mean + p_std * draw).exp(),
            Self::Vp { beta_d, beta_min, epsilon_t } => {
                vp_sigma(1.0 + draw * (epsilon_t - 1.0), beta_d, beta_min)
            }
            Self::Ve { sigma_min, sigma_max } => sigma_min * (sigma_max / sigma_min).powf(draw),
        }
    }

    /// The weight of the squared error of the denoiser at `sigma`.
    pub fn weight(&self, sigma: f64) -> f64 {
        match *self {
            Self::Edm { sigma_data: data, .. } => (sigma * sigma + data * data) / (sigma * data).powi(2),
            Self::Vp { .. } | Self::Ve { .. } => 1.0 / (sigma * sigma),
        }
    }

    fn draw(&self, rng: &mut Rng) -> f64 {
        if matches!(self, Self::Edm { .. }) { rng.normal() } else { rng.uniform() }
    }

    fn validate(&self) -> Result<()> {
        let fine = match *self {
            Self::Edm { p_mean, p_std, sigma_data } => {
                p_mean.is_finite() && p_std >= 0.0 && p_std.is_finite() && sigma_data > 0.0
            }
            Self::Vp { beta_d, beta_min, epsilon_t } => {
                beta_d > 0.0 && beta_min >= 0.0 && epsilon_t > 0.0 && epsilon_t < 1.0
            }
            Self::Ve { sigma_min, sigma_max } => sigma_min > 0.0 && sigma_max >= sigma_min,
        };
        if fine {
            return Ok(());
        }
        let expected = "finite values, widths not negative, levels positive and in order".into();
        Err(Error::Config { model: "EDM", field: "loss".into(), expected, got: format!("{self:?}") })
    }
}

/// A model of elucidated diffusion; the default is DDPM++ with the preconditioning and loss of Karras et al. 2022, for
/// 64x64 maps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EdmConfig {
    /// The network.
    pub network: NetworkConfig,
    /// The sides of the event, `[y, x]` for maps.
    pub size: Vec<usize>,
    /// How the network becomes a denoiser.
    pub precondition: Precondition,
    /// Which noise levels are drawn, and how they are weighed.
    pub loss: NoiseLoss,
    /// The lowest noise level of samplers, where the preconditioning is for all.
    pub sigma_min: f64,
    /// The highest noise level of samplers, where the preconditioning is for all.
    pub sigma_max: f64,
    /// Channels of a field that the model is conditioned on; 0 for none.
    pub field: usize,
    /// Fraction of the examples whose condition is dropped in training, for classifier-free guidance; 0 for a model that
    /// always has its condition.
    pub unconditional: f64,
}

impl Default for EdmConfig {
    fn default() -> Self {
        Self {
            network: NetworkConfig::Song(SongConfig::default()),
            size: vec![64, 64],
            precondition: Precondition::default(),
            loss: NoiseLoss::default(),
            sigma_min: 0.002,
            sigma_max: 80.0,
            field: 0,
            unconditional: 0.0,
        }
    }
}

/// A denoiser trained at a continuum of noise levels (Karras et al. 2022):
///
/// $$ D(x; \sigma) = c_\mathrm{skip} x + c_\mathrm{out} F(c_\mathrm{in} x; c_\mathrm{noise}), \qquad
/// L = E_{y, \sigma, n}\ \lambda(\sigma)\, |D(y + \sigma n; \sigma) - y|^2 . $$
///
/// # Source
/// Karras et al. 2022, arXiv:2206.00364, eqs. 7 and 8, table 1, and their code: parameters have its names, with `model.`
/// before those of the network.
///
/// # Differences
/// The loss is a mean over pixels, theirs a sum. Condition on parameters in place of labels, or on a field as further input
/// channels; no augmentation of the network's input.
pub struct Edm {
    config: EdmConfig,
    network: Conditioned,
    parameters: Parameters,
    levels: Levels,
}

impl Edm {
    /// The configuration.
    pub fn config(&self) -> &EdmConfig {
        &self.config
    }

    /// The network F.
    pub fn network(&self) -> &dyn Network {
        self.network.network()
    }

    /// D of `x` `[batch, channel, ..]` at a noise level for each example.
    ///
    /// # Errors
    /// When shapes or the condition do not fit.
    pub fn denoise_each(&self, x: &Tensor, sigmas: &[f64], cond: Option<&Cond>) -> Result<Tensor> {
        self.answer(x, sigmas, Question { cond, ..Default::default() })
    }

    fn answer(&self, x: &Tensor, sigmas: &[f64], question: Question<'_>) -> Result<Tensor> {
        let c: Vec<_> = sigmas.iter().map(|&sigma| self.config.precondition.coefficients(sigma)).collect();
        let input = x.broadcast_mul(&column(c.iter().map(|c| c.input), x)?)?;
        let times: Vec<f64> = c.iter().map(|c| c.noise).collect();
        let output = self.network.ask(&input, &times, question)?;
        // Improved DDPM's second half is a variance.
        let output = output.narrow(1, 0, self.config.network.channels())?;
        let (skip, factor) = (column(c.iter().map(|c| c.skip), x)?, column(c.iter().map(|c| c.output), x)?);
        Ok((x.broadcast_mul(&skip)? + output.broadcast_mul(&factor)?)?)
    }
}

impl Configured for Edm {
    type Config = EdmConfig;

    fn build(config: &EdmConfig, vb: VarBuilder, parameters: Parameters) -> Result<Self> {
        config.precondition.validate()?;
        config.loss.validate()?;
        let (min, max) = (config.sigma_min, config.sigma_max);
        let refuse = |field: &str, expected: &str, got: String| {
            Err(Error::Config { model: "EDM", field: field.into(), expected: expected.into(), got })
        };
        if !(min > 0.0 && max > min && max.is_finite()) {
            return refuse("sigma_min and sigma_max", "positive and in order", format!("{min} and {max}"));
        }
        if !(0.0..1.0).contains(&config.unconditional) {
            return refuse("unconditional", "in [0, 1)", config.unconditional.to_string());
        }
        if config.network.self_condition() {
            return refuse("self_condition", "false", "true".into());
        }
        let outputs = config.precondition.outputs(config.network.channels());
        let droppable = config.unconditional > 0.0;
        let vb = vb.pp("model");
        let network =
            Conditioned::new("EDM", &config.network, &config.size, config.field, outputs, droppable, vb)?;
        Ok(Self { levels: config.precondition.levels(min, max), config: config.clone(), network, parameters })
    }
}

impl Denoiser for Edm {
    fn event_shape(&self) -> Vec<usize> {
        std::iter::once(self.config.network.channels()).chain(self.config.size.iter().copied()).collect()
    }

    fn device(&self) -> &Device {
        self.parameters.device()
    }

    fn levels(&self) -> &Levels {
        &self.levels
    }

    fn denoise(&self, x: &Tensor, sigma: f64, cond: Option<&Cond>) -> Result<Tensor> {
        let sigmas = vec![sigma; x.dims().first().copied().unwrap_or(0)];
        let denoised = self.denoise_each(&x.to_dtype(self.parameters.dtype())?, &sigmas, cond)?;
        Ok(denoised.to_dtype(x.dtype())?)
    }
}

impl Generative for Edm {
    fn event_shape(&self) -> Vec<usize> {
        Denoiser::event_shape(self)
    }

    fn condition(&self) -> CondSpec {
        self.network.spec()
    }

    /// Where the sampler asked for goes through all of so many levels, and there is a continuum of them, this takes the
    /// paper's, [`Heun`] with its default.
    fn sample(
        &self,
        n: usize,
        cond: Option<&Cond>,
        options: &SampleOptions<'_>,
        rng: &mut Rng,
    ) -> Result<Tensor> {
        let all = options.sampler == Sampler::default() && self.levels.count().is_none();
        let sampler = if all { Sampler::Heun(Heun::default()) } else { options.sampler };
        sample(self, n, cond, &SampleOptions { sampler, ..*options }, rng)
    }
}

impl Trainable for Edm {
    fn example(&self) -> ExampleSpec {
        ExampleSpec::new(&Denoiser::event_shape(self), self.condition())
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn device(&self) -> &Device {
        self.parameters.device()
    }

    fn trains(&self, _phase: usize, parameter: &str) -> bool {
        self.network.network().trains(parameter)
    }

    fn loss(&self, _phase: usize, batch: &Batch, rng: &mut Rng) -> Result<Loss> {
        self.example().check("EDM loss", batch)?;
        let shape = batch.fields.shape().to_vec();
        let each = shape[1..].iter().product();
        let loss = self.config.loss;
        let sigmas: Vec<f64> =
            batch.shard.generators(rng).iter_mut().map(|rng| loss.sigma(loss.draw(rng))).collect();
        let y = tensor(batch.fields.iter().copied().collect(), &shape, &self.parameters)?;
        let n = tensor(batch.shard.normals(rng, each), &shape, &self.parameters)?;
        let kept = kept(self.config.unconditional, batch.shard, rng);
        let dropout = self.network.dropout(batch.shard, rng);
        let cond = self.network.spec().of_batch("EDM", batch, &self.parameters)?;

        let x = (&y + n.broadcast_mul(&column(sigmas.iter().copied(), &y)?)?)?;
        let question = Question {
            cond: cond.as_ref(),
            kept: kept.as_deref(),
            dropout: dropout.as_ref(),
            ..Default::default()
        };
        let denoised = self.answer(&x, &sigmas, question)?;
        let root = column(sigmas.iter().map(|&sigma| loss.weight(sigma).sqrt()), &y)?;
        let total = (denoised - y)?.broadcast_mul(&root)?.sqr()?.mean_all()?;
        let value = total.to_dtype(DType::F32)?.to_scalar::<f32>()?;
        Ok(Loss { total, parts: vec![("loss", value)] })
    }
}

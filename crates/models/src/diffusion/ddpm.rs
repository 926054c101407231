//! The denoising diffusion probabilistic model: a network, a schedule and an objective.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use halocast_core::{Batch, Rng, Shard};
use halocast_kernels::no_grad;
use serde::{Deserialize, Serialize};

use super::{
    Conditioned, Levels, LossKind, Objective, Question, Schedule, column, kept, sample, sigma_of, tensor,
    variance::{Step, step_terms},
    variational_bound,
};
use crate::network::{Network, NetworkConfig};
use crate::unet::UNetConfig;
use crate::{
    Bound, Cond, CondSpec, Configured, Denoiser, Error, ExampleSpec, Generative, Loss, Parameters, Result,
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

/// How the errors at different times are weighed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Weighting {
    /// All alike.
    #[default]
    Uniform,
    /// As errors of the noise, at most `gamma` of the data: with the signal-to-noise ratio
    /// $r = \bar\alpha / (1 - \bar\alpha)$ and $m = \min(r, \gamma)$, $m / r$ for a network of the noise, m for one of the
    /// data, $m / (r + 1)$ for one of the velocity (Hang et al. 2023, arXiv:2303.09556; there gamma = 5).
    MinSnr {
        /// gamma; no bound where absent.
        gamma: Option<f64>,
    },
}

impl Weighting {
    /// The weight of the error of what a network predicts.
    pub fn weight(&self, objective: Objective, alpha_bar: f64) -> f64 {
        let Self::MinSnr { gamma } = *self else { return 1.0 };
        let ratio = alpha_bar / (1.0 - alpha_bar);
        let least = gamma.map_or(ratio, |gamma| ratio.min(gamma));
        match objective {
            Objective::Noise => least / ratio,
            Objective::Data => least,
            Objective::Velocity => least / (ratio + 1.0),
        }
    }
}

/// A diffusion model; the default is that of Mudur & Finkbeiner 2022 for 64x64 maps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DdpmConfig {
    /// The network, unless `network` names another.
    pub unet: UNetConfig,
    /// Another network in place of `unet`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkConfig>,
    /// The sides of the event: `[y, x]` for maps; lines and cubes need a network for them.
    pub size: Vec<usize>,
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
    /// How the errors at different times are weighed.
    pub weighting: Weighting,
    /// Standard deviation of a number that is added to the noise of a whole channel in training (Guttenberg 2023), so that
    /// the mean of a map can be learned at high noise.
    pub offset_noise: f64,
    /// Weight of the variational term with which the network learns the variances of the chain's steps as further channels
    /// (Nichol & Dhariwal 2021; 0.001 there); absent for the fixed variances beta-tilde.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learned_variance: Option<f64>,
    /// Channels of a field that the model is conditioned on, concatenated to its input (as in Saharia et al. 2021,
    /// arXiv:2111.05826); 0 for none.
    pub field: usize,
    /// Fraction of the examples whose condition is dropped in training, for classifier-free guidance; 0 for a model that
    /// always has its condition.
    pub unconditional: f64,
}

impl DdpmConfig {
    /// The network's configuration.
    pub fn network(&self) -> NetworkConfig {
        self.network.clone().unwrap_or_else(|| NetworkConfig::Unet(self.unet.clone()))
    }
}

impl Default for DdpmConfig {
    fn default() -> Self {
        Self {
            unet: UNetConfig::default(),
            network: None,
            size: vec![64, 64],
            timesteps: 2000,
            schedule: Schedule::default(),
            objective: Objective::Noise,
            loss: LossKind::Huber,
            times: TimeSampling::Uniform,
            weighting: Weighting::Uniform,
            offset_noise: 0.0,
            learned_variance: None,
            field: 0,
            unconditional: 0.0,
        }
    }
}

/// A denoising diffusion probabilistic model (Ho et al. 2020).
///
/// Training draws t, eps and minimises the error of the network's prediction of its target from
/// x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps (their algorithm 1); sampling walks the chain back, see
/// [`crate::diffusion::Sampler`]. Its bound is [`variational_bound`].
///
/// A network that takes its own estimate gets it, in half of the examples, from a first evaluation without gradient (Chen
/// et al. 2022), and in sampling from the step before.
pub struct Ddpm {
    config: DdpmConfig,
    channels: usize,
    network: Conditioned,
    parameters: Parameters,
    alphas_bar: Vec<f64>,
    levels: Levels,
}

/// What a network predicted of a batch.
struct Predicted {
    prediction: Tensor,
    target: Tensor,
    /// Of each example.
    weights: Vec<f64>,
    /// The term of the variational bound of each example, in nats a number, where the variances are learned.
    variational: Option<Tensor>,
}

impl Ddpm {
    /// The configuration.
    pub fn config(&self) -> &DdpmConfig {
        &self.config
    }

    /// The network.
    pub fn network(&self) -> &dyn Network {
        self.network.network()
    }

    /// The loss of given data `[batch, channel, ..]`, noise and times: the deterministic core of training.
    ///
    /// # Errors
    /// [`Error::Config`] for a time beyond the schedule; [`Error::Shape`] when shapes do not fit.
    pub fn loss_at(&self, x0: &Tensor, noise: &Tensor, t: &[usize], cond: Option<&Cond>) -> Result<Tensor> {
        let asked = Question { cond, ..Default::default() };
        let predicted = self.prediction(x0, noise, t, asked, None)?;
        self.weighed(&predicted)
    }

    /// As [`Ddpm::loss_at`], of each example: `[batch]`.
    ///
    /// # Errors
    /// As [`Ddpm::loss_at`].
    pub fn losses_at(&self, x0: &Tensor, noise: &Tensor, t: &[usize], cond: Option<&Cond>) -> Result<Tensor> {
        let asked = Question { cond, ..Default::default() };
        self.weighed_each(&self.prediction(x0, noise, t, asked, None)?)
    }

    /// The loss of data `x0` `[batch, channel, ..]` that stand where `shard` says, with all that training draws.
    pub(crate) fn loss_of(
        &self,
        x0: &Tensor,
        cond: Option<&Cond>,
        shard: Shard,
        rng: &mut Rng,
    ) -> Result<Loss> {
        let (shape, like) = (x0.dims().to_vec(), &self.parameters);
        let each = shape.iter().skip(1).product();
        let t = self.draw_times(shard, rng);
        let mut noise = tensor(shard.normals(rng, each), &shape, like)?;
        if self.config.offset_noise > 0.0 {
            let per_channel: Vec<usize> =
                shape.iter().enumerate().map(|(axis, &n)| if axis < 2 { n } else { 1 }).collect();
            let offsets = tensor(shard.normals(rng, self.channels), &per_channel, like)?;
            noise = noise.broadcast_add(&(offsets * self.config.offset_noise)?)?;
        }
        let kept = kept(self.config.unconditional, shard, rng);
        let seen = self.network.self_condition().then(|| {
            let mut generators = shard.generators(rng);
            generators.iter_mut().map(|rng| f64::from(u8::from(rng.uniform() < 0.5))).collect::<Vec<_>>()
        });
        let dropout = self.network.dropout(shard, rng);
        let asked = Question { cond, kept: kept.as_deref(), previous: None, dropout: dropout.as_ref() };
        let predicted = self.prediction(x0, &noise, &t, asked, seen.as_deref())?;
        let total = self.weighed(&predicted)?;
        let number = |x: &Tensor| -> Result<f32> { Ok(x.to_dtype(DType::F32)?.mean_all()?.to_scalar()?) };
        let mut parts = vec![("loss", number(&total)?)];
        if let Some(variational) = &predicted.variational {
            parts.push(("variational", number(variational)?));
        }
        Ok(Loss { total, parts })
    }

    /// The prediction and what goes with it. Where `seen` says so an example is given the estimate of
    /// a first evaluation.
    fn prediction(
        &self,
        x0: &Tensor,
        noise: &Tensor,
        t: &[usize],
        asked: Question<'_>,
        seen: Option<&[f64]>,
    ) -> Result<Predicted> {
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
        let mix = |a: &Tensor, b: &Tensor, weights: &dyn Fn(f64) -> (f64, f64)| -> Result<Tensor> {
            let of = |f: &dyn Fn(f64) -> f64| column(bars.iter().map(|&bar| f(bar)), a);
            let (first, second) = (of(&|bar| weights(bar).0)?, of(&|bar| weights(bar).1)?);
            Ok((a.broadcast_mul(&first)? + b.broadcast_mul(&second)?)?)
        };
        let objective = self.config.objective;
        let x_t = mix(x0, noise, &|a| (a.sqrt(), (1.0 - a).sqrt()))?;
        let target = mix(x0, noise, &|a| objective.target(a))?;
        let times: Vec<f64> = t.iter().map(|&t| t as f64).collect();
        let mut previous = None;
        if let Some(seen) = seen {
            let first = no_grad(|| self.network.ask(&x_t, &times, asked))?.detach();
            let (first, _) = self.halves(first)?;
            let estimate = mix(&x_t, &first, &|a| objective.data(a))?;
            previous = Some(estimate.broadcast_mul(&column(seen.iter().copied(), x0)?)?);
        }
        let asked = Question { previous: previous.as_ref().or(asked.previous), ..asked };
        let (prediction, spread) = self.halves(self.network.ask(&x_t, &times, asked)?)?;
        let weights = bars.iter().map(|&bar| self.config.weighting.weight(objective, bar)).collect();
        let variational = match (&spread, &self.levels) {
            (Some(spread), Levels::Discrete(sigmas)) => {
                // The mean learns from the other term alone.
                let denoised = mix(&x_t, &prediction.detach(), &|a| objective.data(a))?;
                let steps: Vec<Step> = t.iter().map(|&t| Step::down_from(t, sigmas)).collect();
                Some(step_terms(x0, &denoised, spread, &steps)?.flatten_from(1)?.mean(1)?)
            }
            _ => None,
        };
        Ok(Predicted { prediction, target, weights, variational })
    }

    /// The network's output as a prediction and, where the variances are learned, v.
    fn halves(&self, output: Tensor) -> Result<(Tensor, Option<Tensor>)> {
        if self.config.learned_variance.is_none() {
            return Ok((output, None));
        }
        let spread = output.narrow(1, self.channels, self.channels)?.affine(0.5, 0.5)?;
        Ok((output.narrow(1, 0, self.channels)?, Some(spread)))
    }

    fn weighed(&self, predicted: &Predicted) -> Result<Tensor> {
        if self.config.weighting == Weighting::Uniform && predicted.variational.is_none() {
            return self.config.loss.of(&predicted.prediction, &predicted.target);
        }
        Ok(self.weighed_each(predicted)?.mean_all()?)
    }

    fn weighed_each(&self, predicted: &Predicted) -> Result<Tensor> {
        let each = self.config.loss.of_each(&predicted.prediction, &predicted.target)?;
        let each = (&each * column(predicted.weights.iter().copied(), &each)?)?;
        match (&predicted.variational, self.config.learned_variance) {
            (Some(variational), Some(weight)) => Ok((each + (variational * weight)?)?),
            _ => Ok(each),
        }
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
        let checks = [
            ("timesteps", config.timesteps > 0, "at least 1", config.timesteps.to_string()),
            (
                "offset_noise",
                config.offset_noise >= 0.0 && config.offset_noise.is_finite(),
                "not negative",
                config.offset_noise.to_string(),
            ),
            (
                "learned_variance",
                config.learned_variance.is_none_or(|weight| weight > 0.0 && weight.is_finite()),
                "a positive weight",
                format!("{:?}", config.learned_variance),
            ),
            (
                "unconditional",
                (0.0..1.0).contains(&config.unconditional),
                "in [0, 1)",
                config.unconditional.to_string(),
            ),
        ];
        for (field, ok, expected, got) in checks {
            if !ok {
                let (field, expected) = (field.into(), expected.into());
                return Err(Error::Config { model: "DDPM", field, expected, got });
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
        let (network, droppable) = (config.network(), config.unconditional > 0.0);
        let channels = network.channels();
        let outputs = if config.learned_variance.is_some() { 2 * channels } else { channels };
        let network = Conditioned::new("DDPM", &network, &config.size, config.field, outputs, droppable, vb)?;
        Ok(Self { config: config.clone(), channels, network, parameters, alphas_bar, levels })
    }
}

impl Denoiser for Ddpm {
    fn event_shape(&self) -> Vec<usize> {
        std::iter::once(self.channels).chain(self.config.size.iter().copied()).collect()
    }

    fn device(&self) -> &Device {
        self.parameters.device()
    }

    fn levels(&self) -> &Levels {
        &self.levels
    }

    /// At a level between two the network is asked at the time between, by the logarithm of sigma.
    fn denoise(&self, x: &Tensor, sigma: f64, cond: Option<&Cond>) -> Result<Tensor> {
        self.refine(x, sigma, cond, None)
    }

    fn refine(
        &self,
        x: &Tensor,
        sigma: f64,
        cond: Option<&Cond>,
        previous: Option<&Tensor>,
    ) -> Result<Tensor> {
        Ok(self.refine_with_spread(x, sigma, cond, previous)?.0)
    }

    fn refine_with_spread(
        &self,
        x: &Tensor,
        sigma: f64,
        cond: Option<&Cond>,
        previous: Option<&Tensor>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let time = self.levels.index(sigma);
        let exact = Some(time as usize).filter(|&t| t as f64 == time);
        let alpha_bar = exact.map_or(1.0 / (1.0 + sigma * sigma), |t| self.alphas_bar[t]);
        let dtype = self.parameters.dtype();
        let x_t = (x.to_dtype(dtype)? * alpha_bar.sqrt())?;
        let times = vec![time; x.dims().first().copied().unwrap_or(0)];
        let previous = previous.map(|previous| previous.to_dtype(dtype)).transpose()?;
        let question = Question { cond, previous: previous.as_ref(), ..Default::default() };
        let (prediction, spread) = self.halves(self.network.ask(&x_t, &times, question)?)?;
        let (of_x, of_prediction) = self.config.objective.data(alpha_bar);
        let denoised = ((x_t * of_x)? + (prediction * of_prediction)?)?.to_dtype(x.dtype())?;
        Ok((denoised, spread.map(|spread| spread.to_dtype(x.dtype())).transpose()?))
    }
}

impl Bound for Ddpm {
    fn bound(&self, x: &Tensor, cond: Option<&Cond>, draws: usize, rng: &mut Rng) -> Result<Tensor> {
        variational_bound(self, x, cond, draws, rng)
    }
}

impl Generative for Ddpm {
    fn event_shape(&self) -> Vec<usize> {
        Denoiser::event_shape(self)
    }

    fn condition(&self) -> CondSpec {
        self.network.spec()
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

    fn trains(&self, _phase: usize, parameter: &str) -> bool {
        self.network.network().trains(parameter)
    }

    fn loss(&self, _phase: usize, batch: &Batch, rng: &mut Rng) -> Result<Loss> {
        self.example().check("DDPM loss", batch)?;
        let shape = batch.fields.shape().to_vec();
        let like = &self.parameters;
        let x0 = tensor(batch.fields.iter().copied().collect(), &shape, like)?;
        let cond = self.network.spec().of_batch("DDPM", batch, like)?;
        self.loss_of(&x0, cond.as_ref(), batch.shard, rng)
    }
}

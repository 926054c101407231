//! The point-cloud diffusion model: trained on clouds, drawn from, and a bound of their density.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use halocast_core::{Batch, Rng};

use super::flax::{Dense, Scope, wide};
use super::graph::mask;
use super::score::Score;
use super::{Draws, NoiseSchedule, PointVdmConfig, ScheduleKind, Terms};
use crate::diffusion::{Levels, Sampler, sample};
use crate::{
    Bound, Cond, CondSpec, Configured, Denoiser, Error, ExampleSpec, Generative, Loss, Parameters, Result,
    SampleOptions, Trainable,
};

const MODEL: &str = "point-cloud diffusion";
/// Features of the monotone network of a schedule.
const FEATURES: usize = 1024;

/// Variational diffusion of clouds of points.
///
/// Points `[batch, point, feature]`, standardised, positions first. Noise is added by
/// $z_t = \alpha_t x + \sigma_t \epsilon$; a network of the whole cloud predicts it; training lowers the negative of the
/// bound of [`Terms`] per point. Sampling walks back by any [`Sampler`]: the ancestral one is that of the release in the
/// variables $z / \alpha$, without its last noise of deviation `noise_scale`.
///
/// # Source
/// Cuesta-Lazaro & Mishra-Sharma 2023, arXiv:2311.17141; the release's parameters load by their names, joined with `/`.
///
/// # Differences
/// On the torus (`torus`) positions are $u = z / \alpha$ brought into the box: noise there is the wrapped normal, whose
/// score is the mean of the same regression, and graph networks see nearest images alone, so that the noise predicted
/// moves with the cloud. For positions the bound is then looser by what the noise tells beyond the wrapped state, and its
/// prior term is that of the plain normal. The whole condition reaches all nodes of a graph ([`super::GraphConfig`]).
///
/// ```
/// use candle_core::Device;
/// use halocast_core::Rng;
/// use halocast_models::diffusion::Sampler;
/// use halocast_models::vdm::{EgnnConfig, PointVdm, PointVdmConfig, ScoreConfig};
/// use halocast_models::{Configured, Generative, SampleOptions};
///
/// let egnn = EgnnConfig { k: 4, hidden_size: 8, message_passing_steps: 1, vectors: 1 };
/// let config = PointVdmConfig {
///     points: 10,
///     features: 6,
///     context: 0,
///     torus: true,
///     score: ScoreConfig::Egnn(egnn),
///     ..Default::default()
/// };
/// let model = PointVdm::new(&config, 1, &Device::Cpu)?;
/// let options = SampleOptions { sampler: Sampler::Ancestral { steps: Some(3) }, ..Default::default() };
/// assert_eq!(model.sample(2, None, &options, &mut Rng::new(2))?.dims(), [2, 10, 6]);
/// # Ok::<(), halocast_models::Error>(())
/// ```
pub struct PointVdm {
    config: PointVdmConfig,
    schedule: NoiseSchedule,
    embedding: Option<Dense>,
    score: Score,
    parameters: Parameters,
}

impl PointVdm {
    /// The configuration.
    pub fn config(&self) -> &PointVdmConfig {
        &self.config
    }

    /// The noise schedule.
    pub fn schedule(&self) -> &NoiseSchedule {
        &self.schedule
    }

    /// The condition `[b, parameters]` as the network takes it.
    ///
    /// # Errors
    /// When the shape does not fit.
    pub fn embed(&self, condition: &Tensor) -> Result<Tensor> {
        match &self.embedding {
            Some(dense) => dense.forward(condition),
            None => Ok(condition.clone()),
        }
    }

    /// What the network makes of the time and an embedded condition, `[b, d]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn context(&self, gamma: &Tensor, embedded: Option<&Tensor>) -> Result<Tensor> {
        self.score.context(
            gamma,
            embedded,
            &Tensor::zeros((), self.parameters.dtype(), self.parameters.device())?,
        )
    }

    /// The predicted noise $\hat\epsilon$ in `z [b, n, f]` at log-SNR `gamma [b]`, given an embedded condition; the first
    /// `counts` points of each example are real.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn noise(
        &self,
        z: &Tensor,
        gamma: &Tensor,
        embedded: Option<&Tensor>,
        counts: Option<&[usize]>,
    ) -> Result<Tensor> {
        self.noise_in(z, gamma, &self.score.context(gamma, embedded, z)?, counts)
    }

    /// As [`PointVdm::noise`], given what [`PointVdm::context`] makes of the time and the condition.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn noise_in(
        &self,
        z: &Tensor,
        gamma: &Tensor,
        context: &Tensor,
        counts: Option<&[usize]>,
    ) -> Result<Tensor> {
        self.score.noise(z, gamma, context, counts)
    }

    /// The terms of the bound of `x [b, n, f]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn terms(
        &self,
        x: &Tensor,
        embedded: Option<&Tensor>,
        counts: Option<&[usize]>,
        draws: &Draws,
    ) -> Result<Terms> {
        let predict = |z: &Tensor, gamma: &Tensor| self.noise(z, gamma, embedded, counts);
        Terms::new(&self.schedule, x, draws, self.config.timesteps, self.config.noise_scale, predict)
    }

    /// Draws clouds of which the first `counts` points of each are real, zeros behind them: `[n, points, f]`.
    ///
    /// # Errors
    /// As [`Generative::sample`]; [`Error::Shape`] when a count is above the number of points.
    pub fn sample_counts(
        &self,
        counts: &[usize],
        cond: Option<&Cond>,
        options: &SampleOptions<'_>,
        rng: &mut Rng,
    ) -> Result<Tensor> {
        if counts.iter().any(|&c| c > self.config.points) {
            return Err(Error::Shape {
                operation: "point-cloud diffusion sample",
                what: "counts".into(),
                expected: format!("at most {}", self.config.points),
                got: counts.to_vec(),
            });
        }
        let mut clouds = Vec::new();
        let root = Rng::new(rng.next_u64());
        for (i, &count) in counts.iter().enumerate() {
            let own = match cond {
                Some(Cond::Vector(t)) if t.dims().first() == Some(&counts.len()) => {
                    Some(Cond::Vector(t.narrow(0, i, 1)?))
                }
                other => other.cloned(),
            };
            let cloud = self.draw(1, count, own.as_ref(), options, &mut root.split(i as u64))?;
            clouds.push(cloud.pad_with_zeros(1, 0, self.config.points - count)?);
        }
        Ok(Tensor::cat(&clouds, 0)?)
    }

    fn draw(
        &self,
        n: usize,
        points: usize,
        cond: Option<&Cond>,
        options: &SampleOptions<'_>,
        rng: &mut Rng,
    ) -> Result<Tensor> {
        self.condition().tensor(MODEL, cond)?;
        let (ends, _) = self.schedule.gamma(&Tensor::new(&[0.0f32, 1.0], self.parameters.device())?)?;
        let ends = ends.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        let levels = Levels::Continuous { min: (-0.5 * ends[0]).exp(), max: (-0.5 * ends[1]).exp() };
        let sampler = match options.sampler {
            Sampler::Ancestral { steps: None } => Sampler::Ancestral { steps: Some(self.config.steps) },
            other => other,
        };
        let options = SampleOptions { sampler, ..*options };
        let walk = Walk { model: self, levels, points };
        let x = sample(&walk, n, cond, &options, rng)?;
        if self.config.torus { self.config.geometry().wrap(&x) } else { Ok(x) }
    }

    fn tensor(&self, values: Vec<f32>, shape: &[usize]) -> Result<Tensor> {
        Ok(Tensor::from_vec(values, shape, self.parameters.device())?.to_dtype(self.parameters.dtype())?)
    }

    fn times(&self, times: Vec<f64>) -> Result<Tensor> {
        let n = times.len();
        let like = Tensor::zeros((), self.parameters.dtype(), self.parameters.device())?;
        Ok(Tensor::from_vec(times, n, self.parameters.device())?.to_dtype(wide(&like))?)
    }
}

/// The model as a denoiser of clouds of so many points, $D(u; \sigma) = u - \sigma \hat\epsilon$ of $u = z / \alpha$.
struct Walk<'a> {
    model: &'a PointVdm,
    levels: Levels,
    points: usize,
}

impl Denoiser for Walk<'_> {
    fn event_shape(&self) -> Vec<usize> {
        vec![self.points, self.model.config.features]
    }

    fn device(&self) -> &Device {
        self.model.parameters.device()
    }

    fn levels(&self) -> &Levels {
        &self.levels
    }

    fn denoise(&self, x: &Tensor, sigma: f64, cond: Option<&Cond>) -> Result<Tensor> {
        let model = self.model;
        let b = x.dims()[0];
        let u = x.to_dtype(model.parameters.dtype())?;
        let gamma = model.times(vec![-2.0 * sigma.ln(); b])?;
        let z = (&u / (1.0 + sigma * sigma).sqrt())?;
        let embedded = match model.condition().tensor(MODEL, cond)? {
            Some(c) => Some(model.embed(&c.to_dtype(u.dtype())?)?),
            None => None,
        };
        let mut noise = model.noise(&z, &gamma, embedded.as_ref(), None)?;
        let w = model.config.guidance;
        if let Some(embedded) = embedded.filter(|_| w != 0.0) {
            let free = model.noise(&z, &gamma, Some(&embedded.zeros_like()?), None)?;
            noise = ((noise * (1.0 + w))? - (free * w)?)?;
        }
        Ok((u - (noise * sigma)?)?.to_dtype(x.dtype())?.detach())
    }
}

impl Configured for PointVdm {
    type Config = PointVdmConfig;

    fn build(config: &PointVdmConfig, vb: VarBuilder, parameters: Parameters) -> Result<Self> {
        config.validate()?;
        let (min, max) = (config.gamma_min, config.gamma_max);
        let kind: ScheduleKind = config.noise_schedule;
        let schedule = NoiseSchedule::new(kind, min, max, FEATURES, "params/gamma", vb.clone())?;
        let (context, wide) = (config.context, config.d_context_embedding);
        let embedding = (context > 0 && wide > 0)
            .then(|| Dense::new(context, wide, &Scope::new(vb.clone(), "params/embedding_context")))
            .transpose()?;
        let seen = match (context, wide) {
            (0, _) => 0,
            (n, 0) => n,
            (_, wide) => wide,
        };
        let score = Score::new(config, seen, vb)?;
        Ok(Self { config: config.clone(), schedule, embedding, score, parameters })
    }
}

impl Generative for PointVdm {
    fn event_shape(&self) -> Vec<usize> {
        vec![self.config.points, self.config.features]
    }

    fn condition(&self) -> CondSpec {
        match self.config.context {
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
        self.draw(n, self.config.points, cond, options, rng)
    }
}

impl Bound for PointVdm {
    /// The times of the draws of an example are one random number and equal steps from there.
    fn bound(&self, x: &Tensor, cond: Option<&Cond>, draws: usize, rng: &mut Rng) -> Result<Tensor> {
        let cond = self.condition().tensor(MODEL, cond)?;
        let event = Generative::event_shape(self);
        let fits = x.rank() == 3 && x.dims()[2] == event[1] && x.elem_count() > 0 && draws > 0;
        if !fits || cond.is_some_and(|c| c.dims()[0] != x.dims()[0]) {
            return Err(Error::Shape {
                operation: "bound",
                what: "x".into(),
                expected: format!("[n, points, {}], a condition for each, and at least one draw", event[1]),
                got: x.dims().to_vec(),
            });
        }
        let x = x.to_dtype(self.parameters.dtype())?;
        let (b, n, f) = x.dims3()?;
        let embedded = cond.map(|c| self.embed(&c.to_dtype(x.dtype())?)).transpose()?;
        let root = Rng::new(rng.next_u64());
        let mut streams: Vec<Rng> = (0..b).map(|i| root.split(i as u64)).collect();
        let offsets: Vec<f64> = streams.iter_mut().map(Rng::uniform).collect();
        let all = mask(None, b, n, &x, x.dtype())?;
        let mut total = Tensor::zeros(b, x.dtype(), x.device())?;
        for draw in 0..draws {
            let times = offsets.iter().map(|t| (t + draw as f64 / draws as f64).fract()).collect();
            let mut normal = || -> Result<Tensor> {
                let values = streams.iter_mut().flat_map(|rng| rng.normals(n * f)).collect();
                self.tensor(values, &[b, n, f])
            };
            let draws = Draws { times: self.times(times)?, reconstruction: normal()?, diffusion: normal()? };
            let [a, p, r] = self.terms(&x, embedded.as_ref(), None, &draws)?.sums(&all)?;
            total = (total + ((a + p)? + r)?)?;
        }
        Ok((total.detach() * (-1.0 / draws as f64))?)
    }
}

impl Trainable for PointVdm {
    fn example(&self) -> ExampleSpec {
        ExampleSpec::new(&Generative::event_shape(self), self.condition())
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn device(&self) -> &Device {
        self.parameters.device()
    }

    /// Nats per real point.
    fn loss(&self, _phase: usize, batch: &Batch, rng: &mut Rng) -> Result<Loss> {
        self.example().check("point-cloud diffusion loss", batch)?;
        let shape = batch.fields.shape().to_vec();
        let (b, n, f) = (shape[0], shape[1], shape[2]);
        let counts = batch.counts.as_deref();
        if counts.is_some_and(|c| c.len() != b || c.iter().any(|&c| c == 0 || c > n)) {
            return Err(Error::Shape {
                operation: "point-cloud diffusion loss",
                what: "counts".into(),
                expected: format!("[{b}] of 1 to {n}"),
                got: counts.unwrap_or(&[]).to_vec(),
            });
        }
        let x = self.tensor(batch.fields.iter().copied().collect(), &shape)?;
        let offset = rng.uniform();
        let mut streams = batch.shard.generators(rng);
        let times = if self.config.antithetic_time_sampling {
            batch.shard.range().map(|i| (offset + i as f64 / batch.shard.total as f64).fract()).collect()
        } else {
            streams.iter_mut().map(Rng::uniform).collect()
        };
        let cond = self.condition().of_batch(MODEL, batch, &self.parameters)?;
        let embedded = match self.condition().tensor(MODEL, cond.as_ref())? {
            None => None,
            Some(c) => {
                let kept = |rng: &mut Rng| f32::from(u8::from(rng.uniform() >= self.config.dropout));
                let kept = self.tensor(streams.iter_mut().map(kept).collect(), &[b, 1])?;
                Some(self.embed(c)?.broadcast_mul(&kept)?)
            }
        };
        let normal = |rng: &mut Rng| self.tensor(batch.shard.normals(rng, n * f), &shape);
        let draws =
            Draws { times: self.times(times)?, reconstruction: normal(rng)?, diffusion: normal(rng)? };
        let terms = self.terms(&x, embedded.as_ref(), counts, &draws)?;
        let mask = mask(counts, b, n, &x, x.dtype())?;
        let per_point = mask.sum(1)?.recip()?;
        let sums = terms.sums(&mask)?;
        let mut parts = Vec::new();
        let mut total = Tensor::zeros((), x.dtype(), x.device())?;
        let scales = [1.0 / self.config.beta, 1.0 / self.config.beta, 1.0];
        for ((name, sum), scale) in ["diffusion", "prior", "reconstruction"].into_iter().zip(sums).zip(scales)
        {
            let part = ((sum * &per_point)?.mean_all()? * scale)?;
            parts.push((name, part.to_dtype(DType::F32)?.to_scalar::<f32>()?));
            total = (total + part)?;
        }
        Ok(Loss { total, parts })
    }
}

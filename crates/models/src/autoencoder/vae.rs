//! The variational autoencoder.

use candle_core::{DType, Device, Tensor};
use candle_nn::{Init, VarBuilder};
use halocast_core::{Batch, Rng, Shard};
use halocast_kernels::no_grad;
use serde::{Deserialize, Serialize};

use super::{Coder, CoderConfig, Observation, kl_standard};
use crate::sampling::{check_config, check_event, fields, in_batches, log_normal, normals};
use crate::{
    Bound, Cond, CondSpec, Configured, Error, ExampleSpec, Generative, Loss, Parameters, Result,
    SampleOptions, Trainable,
};

/// A variational autoencoder; the default is that of pytorch/examples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VaeConfig {
    /// The shape of an event: `[feature]`, `[channel, length]` or `[channel, y, x]`.
    pub event: Vec<usize>,
    /// Numbers of the latent.
    pub latent: usize,
    /// The networks.
    pub coder: CoderConfig,
    /// The distribution of an event given its latent.
    pub observation: Observation,
    /// Weight of the divergence in the loss (Higgins et al. 2017); the bound does not know it.
    pub beta: f64,
    /// The divergence, in nats, that each latent has for free.
    pub free_nats: f64,
    /// Whether samples hold the noise of the observation; else they are its means.
    pub noisy_samples: bool,
    /// Number of conditioning parameters; 0 for none.
    pub parameters: usize,
}

impl Default for VaeConfig {
    fn default() -> Self {
        Self {
            event: vec![784],
            latent: 20,
            coder: CoderConfig::default(),
            observation: Observation::Bernoulli,
            beta: 1.0,
            free_nats: 0.0,
            noisy_samples: false,
            parameters: 0,
        }
    }
}

/// A variational autoencoder with latents $z \sim N(0, I)$ and an encoder $q(z | x) = N(\mu(x), e^{v(x)})$; training
/// minimises
///
/// $$ -E_q \ln p(x | z) + \beta \sum_j \max(\lambda, D_{KL}(q(z_j | x) \| N(0, 1))) $$
///
/// with one draw of z an example.
///
/// # Source
/// Kingma & Welling 2014, arXiv:1312.6114, equation 10; beta: Higgins et al. 2017; free bits: Kingma et al. 2016,
/// arXiv:1606.04934, equation 15.
///
/// # Differences
/// The free nats $\lambda$ are those of each example, not of the mean of a batch, so that a loss is a mean over examples
/// ([`super::free_bits`] is the other form). The loss is a mean over examples, in pytorch/examples a sum.
pub struct Vae {
    config: VaeConfig,
    coder: Coder,
    log_sigma: Option<Tensor>,
    parameters: Parameters,
}

impl Vae {
    /// The configuration.
    pub fn config(&self) -> &VaeConfig {
        &self.config
    }

    /// Mean and logarithm of the variance of the latents of events, `[n, latent]` each.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn encode(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        check_event("VAE", x, &self.config.event)?;
        let mut heads = self.coder.encode(x, cond)?.into_iter();
        let misfit = || Error::Config {
            model: "VAE",
            field: "encoder".into(),
            expected: "two heads".into(),
            got: "fewer".into(),
        };
        Ok((heads.next().ok_or_else(misfit)?, heads.next().ok_or_else(misfit)?))
    }

    /// What the decoder says of latents `[n, latent]`: logits of a Bernoulli observation, means of a normal one.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn decode(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<Tensor> {
        self.coder.decode(z, cond)
    }

    /// ln p(x | z) of each event, `[n]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn log_observation(&self, x: &Tensor, z: &Tensor, cond: Option<&Tensor>) -> Result<Tensor> {
        self.config.observation.log_prob(x, &self.decode(z, cond)?, self.log_sigma.as_ref())
    }

    /// $\ln p(x | z) + \ln p(z) - \ln q(z | x)$ at $z = \mu + e^{v / 2} \epsilon$ of given `noise` `[n, latent]`: `[n]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn log_weight(&self, x: &Tensor, noise: &Tensor, cond: Option<&Tensor>) -> Result<Tensor> {
        let (mean, log_variance) = self.encode(x, cond)?;
        let z = latent(&mean, &log_variance, noise)?;
        let log_q = (log_normal(noise)? - (log_variance.sum(1)? * 0.5)?)?;
        Ok(((self.log_observation(x, &z, cond)? + log_normal(&z)?)? - log_q)?)
    }

    /// The importance-weighted bound $\ln \frac{1}{K} \sum_k w_k$ of each event, `[n]`; it rises with the number K of
    /// `draws` towards ln p(x).
    ///
    /// # Source
    /// Burda et al. 2016, arXiv:1509.00519, equation 8.
    ///
    /// # Errors
    /// When shapes or the condition do not fit, or there are no draws.
    pub fn importance_bound(
        &self,
        x: &Tensor,
        cond: Option<&Cond>,
        draws: usize,
        rng: &mut Rng,
    ) -> Result<Tensor> {
        let x = x.to_dtype(self.parameters.dtype())?;
        let weights = self.draws(&x, cond, draws, rng, &|noise, cond| self.log_weight(&x, noise, cond))?;
        Ok((weights.log_sum_exp(0)? - (draws as f64).ln())?)
    }

    /// `[draws, n]` of what `of` says at noise and condition.
    fn draws(
        &self,
        x: &Tensor,
        cond: Option<&Cond>,
        draws: usize,
        rng: &mut Rng,
        of: &dyn Fn(&Tensor, Option<&Tensor>) -> Result<Tensor>,
    ) -> Result<Tensor> {
        check_config("VAE", [("draws", draws > 0, "at least 1", draws.to_string())])?;
        check_event("VAE", x, &self.config.event)?;
        let cond = self.condition().tensor("VAE", cond)?;
        let mut streams = Shard::whole(x.dims()[0]).generators(rng);
        let rows = (0..draws).map(|_| {
            let noise = normals(&mut streams, self.config.latent, x.dtype(), x.device())?;
            Ok(no_grad(|| of(&noise, cond))?.detach())
        });
        Ok(Tensor::stack(&rows.collect::<Result<Vec<_>>>()?, 0)?)
    }
}

fn latent(mean: &Tensor, log_variance: &Tensor, noise: &Tensor) -> Result<Tensor> {
    Ok((mean + ((log_variance * 0.5)?.exp()? * noise)?)?)
}

impl Configured for Vae {
    type Config = VaeConfig;

    fn build(config: &VaeConfig, vb: VarBuilder, parameters: Parameters) -> Result<Self> {
        let sigma = if let Observation::Gaussian(sigma) = config.observation { sigma } else { 1.0 };
        let weight = |x: f64| x.is_finite() && x >= 0.0;
        check_config(
            "VAE",
            [
                ("observation", sigma > 0.0 && sigma.is_finite(), "a positive deviation", sigma.to_string()),
                ("beta", weight(config.beta), "finite, at least 0", config.beta.to_string()),
                ("free_nats", weight(config.free_nats), "finite, at least 0", config.free_nats.to_string()),
            ],
        )?;
        let log_sigma = (config.observation == Observation::LearnedGaussian)
            .then(|| vb.get_with_hints((), "log_sigma", Init::Const(0.0)))
            .transpose()?;
        let (latent, heads) = (config.latent, ["fc21", "fc22"]);
        let coder = Coder::new(&config.coder, &config.event, latent, config.parameters, &heads, vb)?;
        Ok(Self { config: config.clone(), coder, log_sigma, parameters })
    }
}

impl Generative for Vae {
    fn event_shape(&self) -> Vec<usize> {
        self.config.event.clone()
    }

    fn condition(&self) -> CondSpec {
        match self.config.parameters {
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
        self.condition().tensor("VAE", cond)?;
        let (dtype, device) = (self.parameters.dtype(), self.parameters.device());
        in_batches(n, cond, options, rng, |streams, cond| {
            let z = normals(streams, self.config.latent, dtype, device)?;
            let cond = self.condition().tensor("VAE", cond)?;
            let mean = self.config.observation.mean(&self.decode(&z, cond)?)?;
            if !self.config.noisy_samples {
                return Ok(mean);
            }
            let each = self.config.event.iter().product();
            match (self.config.observation, &self.log_sigma) {
                (Observation::Bernoulli, _) => {
                    let mut values = vec![0.0f32; each * streams.len()];
                    let rows = values.chunks_mut(each).zip(streams.iter_mut());
                    rows.for_each(|(row, rng)| rng.fill_uniform(row));
                    let uniform = Tensor::from_vec(values, mean.shape(), device)?.to_dtype(dtype)?;
                    Ok(uniform.lt(&mean)?.to_dtype(dtype)?)
                }
                (observation, log_sigma) => {
                    let noise = normals(streams, each, dtype, device)?.reshape(mean.shape())?;
                    let noise = match (observation, log_sigma) {
                        (Observation::Gaussian(sigma), _) => (noise * sigma)?,
                        (_, Some(log_sigma)) => noise.broadcast_mul(&log_sigma.exp()?)?,
                        _ => noise,
                    };
                    Ok((mean + noise)?)
                }
            }
        })
    }
}

impl Bound for Vae {
    /// The evidence lower bound, whose divergence is exact and whose expectation is a mean of the draws.
    fn bound(&self, x: &Tensor, cond: Option<&Cond>, draws: usize, rng: &mut Rng) -> Result<Tensor> {
        let x = x.to_dtype(self.parameters.dtype())?;
        let bounds = self.draws(&x, cond, draws, rng, &|noise, cond| {
            let (mean, log_variance) = self.encode(&x, cond)?;
            let z = latent(&mean, &log_variance, noise)?;
            Ok((self.log_observation(&x, &z, cond)? - kl_standard(&mean, &log_variance)?.sum(1)?)?)
        })?;
        Ok(bounds.mean(0)?)
    }
}

impl Trainable for Vae {
    fn example(&self) -> ExampleSpec {
        ExampleSpec::new(&self.config.event, self.condition())
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn device(&self) -> &Device {
        self.parameters.device()
    }

    fn loss(&self, _phase: usize, batch: &Batch, rng: &mut Rng) -> Result<Loss> {
        self.example().check("VAE loss", batch)?;
        let x = fields(batch, &self.parameters)?;
        let noise = batch.shard.normals(rng, self.config.latent);
        let shape = (batch.shard.len, self.config.latent);
        let noise = Tensor::from_vec(noise, shape, x.device())?.to_dtype(x.dtype())?;
        let cond = self.condition().of_batch("VAE", batch, &self.parameters)?;
        let cond = self.condition().tensor("VAE", cond.as_ref())?;
        let (mean, log_variance) = self.encode(&x, cond)?;
        let z = latent(&mean, &log_variance, &noise)?;
        let nats = self.log_observation(&x, &z, cond)?.mean_all()?.neg()?;
        let mut divergence = kl_standard(&mean, &log_variance)?;
        if self.config.free_nats > 0.0 {
            divergence = divergence.maximum(self.config.free_nats)?;
        }
        let divergence = divergence.sum(1)?.mean_all()?;
        let value = |t: &Tensor| -> Result<f32> { Ok(t.to_dtype(DType::F32)?.to_scalar()?) };
        let parts = vec![("reconstruction", value(&nats)?), ("divergence", value(&divergence)?)];
        Ok(Loss { total: (nats + (divergence * self.config.beta)?)?, parts })
    }
}

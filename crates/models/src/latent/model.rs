//! A diffusion model of latents.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use halocast_core::{Batch, Rng};
use serde::{Deserialize, Serialize};

use super::{FirstStage, FirstStageConfig};
use crate::diffusion::{Ddpm, DdpmConfig};
use crate::edm::DhariwalConfig;
use crate::network::NetworkConfig;
use crate::sampling::{check_config, fields};
use crate::{
    CheckpointHeader, Cond, CondSpec, Configured, Error, ExampleSpec, Generative, Loss, Parameters, Result,
    SampleOptions, Trainable, load_checkpoint,
};

/// A diffusion model of latents; the default is LDM-4 of Rombach et al. 2022 for CelebA-HQ, of one channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LatentDiffusionConfig {
    /// The autoencoder.
    pub autoencoder: FirstStageConfig,
    /// Its checkpoint, from which the weights are read when the model is begun, as a path from where the program runs; where
    /// absent they are as drawn from the seed. A checkpoint of this model holds them, and needs no other file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<PathBuf>,
    /// What latents are multiplied by to have unit variance, [`LatentDiffusion::scale_of`] of training examples; 1 where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// The diffusion of the latents: its channels and `size` are theirs.
    pub diffusion: DdpmConfig,
}

impl Default for LatentDiffusionConfig {
    fn default() -> Self {
        let network = DhariwalConfig {
            channels: 3,
            dim: 224,
            dim_mults: vec![1, 2, 3, 4],
            blocks: 2,
            attention: vec![32, 16, 8],
            dropout: 0.0,
            ..Default::default()
        };
        let diffusion = DdpmConfig {
            network: Some(NetworkConfig::Dhariwal(network)),
            size: vec![64, 64],
            timesteps: 1000,
            loss: crate::diffusion::LossKind::L2,
            ..Default::default()
        };
        Self { autoencoder: FirstStageConfig::default(), checkpoint: None, scale: None, diffusion }
    }
}

/// Diffusion in the latent space of an autoencoder that is not trained any more: with encoder E, decoder D and a scale s,
///
/// $$ z_0 = s\,E(x), \qquad \min_\theta L_\mathrm{DDPM}(z_0), \qquad x = D(z_0 / s). $$
///
/// The scale $s = 1 / \mathrm{std}(E(x))$ of all numbers of training latents gives them unit variance, as the levels of noise assume.
///
/// ```
/// use candle_core::Device;
/// use halocast_models::autoencoder::{AutoencoderConfig, CoderConfig};
/// use halocast_models::diffusion::DdpmConfig;
/// use halocast_models::latent::{FirstStageConfig, LatentDiffusion, LatentDiffusionConfig};
/// use halocast_models::unet::UNetConfig;
/// use halocast_models::{Configured, Generative};
///
/// let coder = CoderConfig::Mlp { hidden: 20 };
/// let config = LatentDiffusionConfig {
///     autoencoder: FirstStageConfig::Autoencoder(AutoencoderConfig { event: vec![1, 16, 16], latent: 64, coder }),
///     diffusion: DdpmConfig {
///         unet: UNetConfig { dim: 8, dim_mults: vec![1, 2], ..Default::default() },
///         size: vec![8, 8], // 64 latents as a map of one channel
///         ..Default::default()
///     },
///     ..Default::default()
/// };
/// let model = LatentDiffusion::new(&config, 1, &Device::Cpu)?;
/// assert_eq!(model.event_shape(), [1, 16, 16]);
/// # Ok::<(), halocast_models::Error>(())
/// ```
///
/// # Source
/// Rombach et al. 2022, arXiv:2112.10752, equation 2; the scale: section 4.3.2 and appendix G.
///
/// # Differences
/// The latent of a VAE is its mean, where theirs is a draw. The autoencoder is any of this crate, trained without an adversary; one whose
/// latent is a vector gives a map of it row by row, on which the network's convolutions have no meaning of place. The condition is a
/// vector of parameters or none; no cross-attention.
pub struct LatentDiffusion {
    config: LatentDiffusionConfig,
    first: FirstStage,
    diffusion: Ddpm,
    parameters: Parameters,
    scale: f64,
}

/// The names of the parts in their state dicts.
const FIRST: &str = "first_stage_model";
const DIFFUSION: &str = "model";

const MODEL: &str = "latent diffusion";

impl LatentDiffusion {
    /// The configuration.
    pub fn config(&self) -> &LatentDiffusionConfig {
        &self.config
    }

    /// The diffusion of the latents.
    pub fn diffusion(&self) -> &Ddpm {
        &self.diffusion
    }

    /// The scaled latents `[n, channel, ..]` of events.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn encode(&self, x: &Tensor) -> Result<Tensor> {
        Ok((self.first.encode(x)? * self.scale)?)
    }

    /// The events of scaled latents.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn decode(&self, z: &Tensor) -> Result<Tensor> {
        self.first.decode(&(z * (1.0 / self.scale))?)
    }

    /// The scale that gives the latents of these examples unit variance: one over the standard deviation of all their numbers.
    ///
    /// # Errors
    /// When the batch does not fit, or its latents are all the same.
    pub fn scale_of(&self, batch: &Batch) -> Result<f64> {
        self.example().check(MODEL, batch)?;
        let z = self.first.encode(&fields(batch, &self.parameters)?)?;
        let z: Vec<f64> = z.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        let mean = z.iter().sum::<f64>() / z.len() as f64;
        let variance = z.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / z.len() as f64;
        let usable = variance > 0.0 && variance.is_finite();
        check_config(MODEL, [("variance of the latents", usable, "positive", variance.to_string())])?;
        Ok(1.0 / variance.sqrt())
    }
}

/// Overwrites the parameters below [`FIRST`] by those of a checkpoint of the autoencoder.
fn read_first_stage(config: &FirstStageConfig, path: &Path, parameters: &Parameters) -> Result<()> {
    let fail = |reason: String| Error::Checkpoint { path: path.to_path_buf(), reason };
    let (header, tensors) = load_checkpoint::<CheckpointHeader>(path, parameters.device())?;
    let value = |config: serde_json::Result<serde_json::Value>| config.map_err(|e| fail(e.to_string()));
    let (own, found) = (value(serde_json::to_value(config))?, value(serde_json::to_value(&header.config))?);
    if own != found {
        return Err(fail(format!("it holds the model {found}, expected {own}")));
    }
    for (name, var) in parameters.named() {
        let Some(rest) = name.strip_prefix(FIRST).and_then(|rest| rest.strip_prefix('.')) else { continue };
        let tensor = tensors.get(rest).ok_or_else(|| fail(format!("no tensor {rest:?}")))?;
        if tensor.dims() != var.dims() {
            return Err(fail(format!("{rest:?} has shape {:?}, expected {:?}", tensor.dims(), var.dims())));
        }
        var.set(&tensor.to_dtype(parameters.dtype())?)?;
    }
    Ok(())
}

impl Configured for LatentDiffusion {
    type Config = LatentDiffusionConfig;

    fn build(config: &LatentDiffusionConfig, vb: VarBuilder, parameters: Parameters) -> Result<Self> {
        let scale = config.scale.unwrap_or(1.0);
        let field = config.diffusion.field;
        check_config(
            MODEL,
            [
                ("scale", scale > 0.0 && scale.is_finite(), "positive", scale.to_string()),
                ("field of the diffusion", field == 0, "0: a condition of parameters", field.to_string()),
            ],
        )?;
        let channels = config.diffusion.network().channels();
        let latent: Vec<usize> =
            std::iter::once(channels).chain(config.diffusion.size.iter().copied()).collect();
        let first = FirstStage::new(&config.autoencoder, &latent, vb.pp(FIRST), parameters.clone())?;
        // A model on given parameters has them from its own checkpoint, and none here.
        if let Some(path) = config.checkpoint.as_deref()
            && parameters.count() > 0
        {
            read_first_stage(&config.autoencoder, path, &parameters)?;
        }
        let diffusion = Ddpm::build(&config.diffusion, vb.pp(DIFFUSION), parameters.clone())?;
        Ok(Self { config: config.clone(), first, diffusion, parameters, scale })
    }
}

impl Generative for LatentDiffusion {
    fn event_shape(&self) -> Vec<usize> {
        self.first.event().to_vec()
    }

    fn condition(&self) -> CondSpec {
        self.diffusion.condition()
    }

    /// Draws latents as [`Ddpm`] does, with any of its samplers, and decodes them.
    fn sample(
        &self,
        n: usize,
        cond: Option<&Cond>,
        options: &SampleOptions<'_>,
        rng: &mut Rng,
    ) -> Result<Tensor> {
        let z = self.diffusion.sample(n, cond, options, rng)?.to_dtype(self.parameters.dtype())?;
        let decoded = (0..n)
            .step_by(options.batch.max(1))
            .map(|start| self.decode(&z.narrow(0, start, options.batch.min(n - start))?.contiguous()?));
        Ok(Tensor::cat(&decoded.collect::<Result<Vec<_>>>()?, 0)?)
    }
}

impl Trainable for LatentDiffusion {
    fn example(&self) -> ExampleSpec {
        ExampleSpec::new(self.first.event(), self.diffusion.condition())
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn device(&self) -> &Device {
        self.parameters.device()
    }

    /// The autoencoder stays as it is.
    fn trains(&self, phase: usize, parameter: &str) -> bool {
        let own = parameter.strip_prefix(DIFFUSION).and_then(|rest| rest.strip_prefix('.'));
        own.is_some_and(|rest| self.diffusion.trains(phase, rest))
    }

    fn loss(&self, _phase: usize, batch: &Batch, rng: &mut Rng) -> Result<Loss> {
        self.example().check("latent diffusion loss", batch)?;
        let z = self.encode(&fields(batch, &self.parameters)?)?;
        let cond = self.condition().of_batch(MODEL, batch, &self.parameters)?;
        self.diffusion.loss_of(&z, cond.as_ref(), batch.shard, rng)
    }
}

//! The autoencoder between events and latents.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use halocast_kernels::no_grad;
use serde::{Deserialize, Serialize};

use crate::autoencoder::{Autoencoder, AutoencoderConfig, Vae, VaeConfig, VqVae, VqVaeConfig};
use crate::sampling::{check_config, check_event};
use crate::{Configured, Parameters, Result};

/// The autoencoder whose latents are diffused, by the name and with the configuration that it was trained with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "model", rename_all = "snake_case")]
#[non_exhaustive]
pub enum FirstStageConfig {
    /// None: the latents are the events.
    Identity {
        /// The shape of an event.
        event: Vec<usize>,
    },
    /// The plain autoencoder.
    Autoencoder(AutoencoderConfig),
    /// The variational autoencoder; its latents are the means.
    Vae(VaeConfig),
    /// The autoencoder with a codebook; its latents are the vectors of the grid before they become code words, which is the
    /// decoder's first layer.
    VqVae(VqVaeConfig),
}

impl Default for FirstStageConfig {
    /// Two halvings to a grid of three numbers a cell, of 8192 code words: LDM-4 of Rombach et al. 2022 at 256x256.
    fn default() -> Self {
        Self::VqVae(VqVaeConfig { event: vec![1, 256, 256], codes: 8192, dim: 3, ..Default::default() })
    }
}

impl FirstStageConfig {
    /// The shape of an event.
    pub fn event(&self) -> &[usize] {
        match self {
            Self::Identity { event } => event,
            Self::Autoencoder(config) => &config.event,
            Self::Vae(config) => &config.event,
            Self::VqVae(config) => &config.event,
        }
    }
}

enum Stage {
    Identity,
    Autoencoder(Autoencoder),
    Vae(Vae),
    VqVae(VqVae),
}

/// An autoencoder that is not trained. Nothing that it computes is recorded for gradients.
pub struct FirstStage {
    stage: Stage,
    event: Vec<usize>,
    latent: Vec<usize>,
}

impl FirstStage {
    /// An autoencoder on the parameters that `vb` gives, with latents laid out as `latent`: `[dim, ..]` of its grid where it has
    /// one, else any shape of as many numbers.
    ///
    /// # Errors
    /// [`crate::Error::Config`] when the configuration is not usable, is conditioned, or has other latents.
    pub fn new(
        config: &FirstStageConfig,
        latent: &[usize],
        vb: VarBuilder,
        parameters: Parameters,
    ) -> Result<Self> {
        let event = config.event().to_vec();
        let own = match config {
            FirstStageConfig::Identity { event } => event.clone(),
            FirstStageConfig::Autoencoder(config) => vec![config.latent],
            FirstStageConfig::Vae(config) => vec![config.latent],
            FirstStageConfig::VqVae(config) => {
                let coarsest = config.conv.coarsest(&config.event)?;
                std::iter::once(config.dim).chain(coarsest[1..].iter().copied()).collect()
            }
        };
        let conditioned = matches!(config, FirstStageConfig::Vae(config) if config.parameters > 0);
        let vector = matches!(config, FirstStageConfig::Autoencoder(_) | FirstStageConfig::Vae(_));
        let fits = if vector { own[0] == latent.iter().product::<usize>() } else { own == latent };
        check_config(
            MODEL,
            [
                ("autoencoder", !conditioned, "one without parameters", "a conditioned VAE".into()),
                ("diffusion", fits, "of the autoencoder's latents", format!("{latent:?}, not {own:?}")),
            ],
        )?;
        let stage = match config {
            FirstStageConfig::Identity { .. } => Stage::Identity,
            FirstStageConfig::Autoencoder(config) => {
                Stage::Autoencoder(Autoencoder::build(config, vb, parameters)?)
            }
            FirstStageConfig::Vae(config) => Stage::Vae(Vae::build(config, vb, parameters)?),
            FirstStageConfig::VqVae(config) => Stage::VqVae(VqVae::build(config, vb, parameters)?),
        };
        Ok(Self { stage, event, latent: latent.to_vec() })
    }

    /// The shape of an event.
    pub fn event(&self) -> &[usize] {
        &self.event
    }

    /// The latents `[n, ..]` of events `[n, ..]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn encode(&self, x: &Tensor) -> Result<Tensor> {
        check_event(MODEL, x, &self.event)?;
        let z = no_grad(|| match &self.stage {
            Stage::Identity => Ok(x.clone()),
            Stage::Autoencoder(model) => model.encode(x),
            Stage::Vae(model) => Ok(model.encode(x, None)?.0),
            Stage::VqVae(model) => model.vectors(x),
        })?;
        Ok(z.reshape(self.shape(x, &self.latent))?.detach())
    }

    /// The events of latents: of a VAE the means of its observation.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn decode(&self, z: &Tensor) -> Result<Tensor> {
        check_event(MODEL, z, &self.latent)?;
        let x = no_grad(|| match &self.stage {
            Stage::Identity => Ok(z.clone()),
            Stage::Autoencoder(model) => model.decode(&z.flatten_from(1)?),
            Stage::Vae(model) => model.config().observation.mean(&model.decode(&z.flatten_from(1)?, None)?),
            Stage::VqVae(model) => model.decode_vectors(z),
        })?;
        Ok(x.reshape(self.shape(z, &self.event))?.detach())
    }

    fn shape(&self, batch: &Tensor, of: &[usize]) -> Vec<usize> {
        batch.dims().iter().take(1).chain(of).copied().collect()
    }
}

const MODEL: &str = "latent diffusion";

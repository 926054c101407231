//! The registry of the zoo: one tagged configuration builds any model.

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::diffusion::{Ddpm, DdpmConfig};
use crate::{Parameters, Result};

/// The configuration of any model, tagged by its name.
///
/// ```
/// use halocast_models::ModelConfig;
/// let config: ModelConfig = serde_json::from_str(r#"{"model": "ddpm", "timesteps": 1000}"#)?;
/// let ModelConfig::Ddpm(ddpm) = config else { unreachable!() };
/// assert_eq!((ddpm.timesteps, ddpm.unet.dim), (1000, 64));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "model", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ModelConfig {
    /// Denoising diffusion probabilistic model.
    Ddpm(DdpmConfig),
}

/// Any model of the zoo.
#[non_exhaustive]
pub enum Model {
    /// Denoising diffusion probabilistic model.
    Ddpm(Ddpm),
}

impl ModelConfig {
    /// The model with fresh parameters drawn from `seed`.
    ///
    /// # Errors
    /// When the configuration is not usable.
    pub fn build(&self, seed: u64, device: &Device) -> Result<Model> {
        self.build_with(Parameters::new(seed, device))
    }

    /// The model on its own set of fresh parameters, of their float type and device.
    ///
    /// # Errors
    /// When the configuration is not usable.
    pub fn build_with(&self, parameters: Parameters) -> Result<Model> {
        Ok(match self {
            Self::Ddpm(config) => Model::Ddpm(Ddpm::with_parameters(config, parameters)?),
        })
    }

    /// The model on given parameters, to sample from.
    ///
    /// # Errors
    /// When the configuration is not usable or a parameter is absent or of another shape.
    pub fn build_frozen(&self, tensors: HashMap<String, Tensor>, device: &Device) -> Result<Model> {
        Ok(match self {
            Self::Ddpm(config) => Model::Ddpm(Ddpm::frozen(config, tensors, device)?),
        })
    }
}

impl Model {
    /// The model as something to train.
    pub fn trainable(&self) -> &dyn crate::Trainable {
        match self {
            Self::Ddpm(model) => model,
        }
    }

    /// The model as something to sample from.
    pub fn generative(&self) -> &dyn crate::Generative {
        match self {
            Self::Ddpm(model) => model,
        }
    }
}

//! The plain autoencoder.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use halocast_core::{Batch, Rng};
use halocast_kernels::mse_loss;
use serde::{Deserialize, Serialize};

use super::{Coder, CoderConfig};
use crate::sampling::{check_event, fields};
use crate::{CondSpec, Configured, ExampleSpec, Loss, Parameters, Result, Trainable};

/// A plain autoencoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AutoencoderConfig {
    /// The shape of an event: `[feature]`, `[channel, length]` or `[channel, y, x]`.
    pub event: Vec<usize>,
    /// Numbers of the latent.
    pub latent: usize,
    /// The networks.
    pub coder: CoderConfig,
}

impl Default for AutoencoderConfig {
    fn default() -> Self {
        Self { event: vec![784], latent: 30, coder: CoderConfig::default() }
    }
}

/// An autoencoder: training minimises the mean square of x - D(E(x)).
///
/// It has no density and draws no events; its latents are for other models and for the eye.
///
/// # Source
/// Hinton & Salakhutdinov 2006, Science 313, 504.
pub struct Autoencoder {
    config: AutoencoderConfig,
    coder: Coder,
    parameters: Parameters,
}

impl Autoencoder {
    /// The latents `[n, latent]` of events.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn encode(&self, x: &Tensor) -> Result<Tensor> {
        check_event("autoencoder", x, &self.config.event)?;
        Ok(self.coder.encode(x, None)?.remove(0))
    }

    /// The events of latents `[n, latent]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn decode(&self, z: &Tensor) -> Result<Tensor> {
        self.coder.decode(z, None)
    }
}

impl Configured for Autoencoder {
    type Config = AutoencoderConfig;

    fn build(config: &AutoencoderConfig, vb: VarBuilder, parameters: Parameters) -> Result<Self> {
        let coder = Coder::new(&config.coder, &config.event, config.latent, 0, &["fc2"], vb)?;
        Ok(Self { config: config.clone(), coder, parameters })
    }
}

impl Trainable for Autoencoder {
    fn example(&self) -> ExampleSpec {
        ExampleSpec::new(&self.config.event, CondSpec::None)
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn device(&self) -> &Device {
        self.parameters.device()
    }

    fn loss(&self, _phase: usize, batch: &Batch, _rng: &mut Rng) -> Result<Loss> {
        self.example().check("autoencoder loss", batch)?;
        let x = fields(batch, &self.parameters)?;
        let total = mse_loss(&self.decode(&self.encode(&x)?)?, &x)?;
        let value = total.to_dtype(DType::F32)?.to_scalar::<f32>()?;
        Ok(Loss { total, parts: vec![("error", value)] })
    }
}

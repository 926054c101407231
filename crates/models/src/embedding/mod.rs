//! Networks that turn what is known of an object, a vector, a spectrum or a map, into a vector of features.
//!
//! They embed the condition of a flow, the data of a posterior, and what a variational autoencoder encodes.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use halocast_models::Parameters;
//! use halocast_models::embedding::{Embedding, EmbeddingConfig, SpectrumConfig};
//!
//! let parameters = Parameters::new(1, &Device::Cpu);
//! let config = EmbeddingConfig::Spectrum(SpectrumConfig { width: 8, features: 5, ..Default::default() });
//! let network = Embedding::new(&config, &[1, 64], parameters.builder())?;
//! let spectra = Tensor::zeros((3, 1, 64), DType::F32, &Device::Cpu)?;
//! assert_eq!(network.forward(&spectra)?.dims(), [3, 5]);
//! # Ok::<(), halocast_models::Error>(())
//! ```

mod convolution;
mod mlp;
mod spectrum;

use candle_core::Tensor;
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

pub use convolution::{ConvConfig, ConvDecoder, ConvDown, ConvEncoder, ConvUp};
pub use mlp::{Mlp, MlpConfig};
pub use spectrum::{SpectrumConfig, SpectrumNet};

use crate::Result;
use crate::sampling::check_event;

/// A network from data to features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EmbeddingConfig {
    /// Of vectors; data of other shapes are flattened.
    Mlp(MlpConfig),
    /// Of spectra and maps `[channel, length]`, `[channel, y, x]`.
    Conv(ConvConfig),
    /// Of spectra `[channel, length]`, with residual blocks.
    Spectrum(SpectrumConfig),
}

impl Default for EmbeddingConfig {
    fn default() -> Self {
        Self::Mlp(MlpConfig::default())
    }
}

impl EmbeddingConfig {
    /// The number of features.
    pub fn features(&self) -> usize {
        match self {
            Self::Mlp(c) => c.features,
            Self::Conv(c) => c.features,
            Self::Spectrum(c) => c.features,
        }
    }
}

enum Network {
    Mlp(Mlp),
    Conv(ConvEncoder),
    Spectrum(SpectrumNet),
}

/// A network from data of a shape to features.
pub struct Embedding {
    network: Network,
    event: Vec<usize>,
}

impl Embedding {
    /// The network for data of shape `event`, `[feature]`, `[channel, length]` or `[channel, y, x]`.
    ///
    /// # Errors
    /// [`crate::Error::Config`] when the configuration does not fit the shape.
    pub fn new(config: &EmbeddingConfig, event: &[usize], vb: VarBuilder) -> Result<Self> {
        let network = match config {
            EmbeddingConfig::Mlp(c) => Network::Mlp(Mlp::new(c, event.iter().product(), vb)?),
            EmbeddingConfig::Conv(c) => Network::Conv(ConvEncoder::new(c, event, vb)?),
            EmbeddingConfig::Spectrum(c) => Network::Spectrum(SpectrumNet::new(c, event, vb)?),
        };
        Ok(Self { network, event: event.to_vec() })
    }

    /// The features `[n, feature]` of data `[n, ..]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the data are of another shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        check_event("embedding", x, &self.event)?;
        match &self.network {
            Network::Mlp(network) => network.forward(&x.flatten_from(1)?),
            Network::Conv(network) => network.forward(x),
            Network::Spectrum(network) => network.forward(x),
        }
    }
}

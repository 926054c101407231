//! The networks that an objective can be put on.

use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

use super::Network;
use crate::Result;
use crate::edm::{DhariwalConfig, DhariwalUNet, SongConfig, SongUNet};
use crate::unet::{Lucidrains, LucidrainsConfig, UNet, UNetConfig};

/// What an objective needs of a network, beside the network's own configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkShape {
    /// Axes of the event: 1 for lines, 2 for maps, 3 for cubes.
    pub axes: usize,
    /// Channels of the event.
    pub channels: usize,
    /// Channels of a field that is concatenated to the event.
    pub field: usize,
    /// Parameters that the network is conditioned on.
    pub vector: usize,
    /// The first side of the event.
    pub side: usize,
    /// Channels of the output.
    pub outputs: usize,
}

/// The configuration of any network, tagged by its name.
///
/// ```
/// use halocast_models::network::NetworkConfig;
/// let config: NetworkConfig = serde_json::from_str(r#"{"network": "lucidrains", "dim": 32}"#)?;
/// assert_eq!(config.side_multiple(), 8);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "network", rename_all = "snake_case")]
#[non_exhaustive]
pub enum NetworkConfig {
    /// The U-Net of Mudur & Finkbeiner 2022.
    Unet(UNetConfig),
    /// The U-Net of lucidrains' denoising diffusion, in one, two or three dimensions.
    Lucidrains(LucidrainsConfig),
    /// DDPM++ and NCSN++ (Song et al. 2021).
    Song(SongConfig),
    /// ADM (Dhariwal & Nichol 2021).
    Dhariwal(DhariwalConfig),
}

impl NetworkConfig {
    /// The network of this shape on the parameters of `vb`.
    ///
    /// # Errors
    /// [`crate::Error::Config`] when it cannot be built.
    pub fn build(&self, shape: &NetworkShape, vb: VarBuilder) -> Result<Box<dyn Network>> {
        Ok(match self {
            Self::Unet(config) => Box::new(UNet::of_shape(config, shape, vb)?),
            Self::Lucidrains(config) => Box::new(Lucidrains::new(config, shape, vb)?),
            Self::Song(config) => Box::new(SongUNet::new(config, shape, vb)?),
            Self::Dhariwal(config) => Box::new(DhariwalUNet::new(config, shape, vb)?),
        })
    }

    /// Channels of the event.
    pub fn channels(&self) -> usize {
        match self {
            Self::Unet(config) => config.channels,
            Self::Lucidrains(config) => config.channels,
            Self::Song(config) => config.channels,
            Self::Dhariwal(config) => config.channels,
        }
    }

    /// Parameters that it is conditioned on.
    pub fn parameters(&self) -> usize {
        match self {
            Self::Unet(config) => config.parameters,
            Self::Lucidrains(config) => config.parameters,
            Self::Song(config) => config.parameters,
            Self::Dhariwal(config) => config.parameters,
        }
    }

    /// Each side of the event must be a multiple of this.
    pub fn side_multiple(&self) -> usize {
        match self {
            Self::Unet(config) => config.side_multiple(),
            Self::Lucidrains(config) => config.side_multiple(),
            Self::Song(config) => config.side_multiple(),
            Self::Dhariwal(config) => config.side_multiple(),
        }
    }

    /// Whether it takes its own estimate of the step before.
    pub fn self_condition(&self) -> bool {
        matches!(self, Self::Lucidrains(config) if config.self_condition)
    }

    /// Whether it drops numbers while training.
    pub fn drops(&self) -> bool {
        match self {
            Self::Unet(_) => false,
            Self::Lucidrains(config) => config.dropout > 0.0,
            Self::Song(config) => config.dropout > 0.0,
            Self::Dhariwal(config) => config.dropout > 0.0,
        }
    }
}

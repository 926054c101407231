//! The generators from map to map, by name.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use halocast_core::Rng;
use serde::{Deserialize, Serialize};

use super::{ResnetGenerator, ResnetGeneratorConfig, UnetGenerator, UnetGeneratorConfig};
use crate::{Error, Result};

/// Which generator, and its shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum GeneratorConfig {
    /// That of pix2pix.
    Unet(UnetGeneratorConfig),
    /// That of CycleGAN.
    Resnet(ResnetGeneratorConfig),
}

impl GeneratorConfig {
    /// The side of a map must be a multiple of this.
    pub fn side_multiple(&self) -> usize {
        match self {
            Self::Unet(config) => config.side_multiple(),
            Self::Resnet(config) => config.side_multiple(),
        }
    }

    /// Checks that sides fit.
    ///
    /// # Errors
    /// [`Error::Config`] naming the size.
    pub(super) fn check_size(&self, model: &'static str, size: [usize; 2]) -> Result<()> {
        let multiple = self.side_multiple();
        let least = if matches!(self, Self::Resnet(_)) { 2 * multiple } else { multiple };
        if size.iter().all(|&s| s >= least && s % multiple == 0 && s <= 1 << 20) {
            return Ok(());
        }
        Err(Error::Config {
            model,
            field: "size".into(),
            expected: format!("multiples of {multiple} from {least}"),
            got: format!("{size:?}"),
        })
    }
}

/// A generator from map to map.
pub enum Generator {
    /// That of pix2pix.
    Unet(Box<UnetGenerator>),
    /// That of CycleGAN.
    Resnet(Box<ResnetGenerator>),
}

impl Generator {
    /// Builds the network for maps of so many channels in and out on the parameters of `vb`.
    ///
    /// # Errors
    /// [`Error::Config`] when the configuration is not usable; Candle's when a parameter does not fit.
    pub fn new(inputs: usize, outputs: usize, config: &GeneratorConfig, vb: VarBuilder) -> Result<Self> {
        Ok(match config {
            GeneratorConfig::Unet(config) => {
                Self::Unet(Box::new(UnetGenerator::new(inputs, outputs, config, vb)?))
            }
            GeneratorConfig::Resnet(config) => {
                Self::Resnet(Box::new(ResnetGenerator::new(inputs, outputs, config, vb)?))
            }
        })
    }

    /// The output of `x` `[batch, channel, y, x]`, as [`UnetGenerator::forward`] and [`ResnetGenerator::forward`].
    ///
    /// # Errors
    /// As there.
    pub fn forward(&self, x: &Tensor, train: bool, noise: Option<&mut [Rng]>) -> Result<Tensor> {
        match self {
            Self::Unet(network) => network.forward(x, train, noise),
            Self::Resnet(network) => network.forward(x, train, noise),
        }
    }
}

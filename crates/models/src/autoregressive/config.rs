//! What a PixelCNN is made of.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::sampling::check_config;

/// The distribution of a pixel given those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PixelDistribution {
    /// A probability for each level.
    #[default]
    Categorical,
    /// A mixture of so many discretised logistic distributions: levels know their order.
    LogisticMixture(usize),
}

/// A PixelCNN; the default is the network of jzbontar/pixelcnn-pytorch with a mask-B output layer, for 64x64 maps in
/// [-1, 1].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PixelCnnConfig {
    /// Channels of the maps; those of a pixel are independent given the pixels before it.
    pub channels: usize,
    /// The map's sides `[y, x]`.
    pub size: [usize; 2],
    /// Number of levels.
    pub levels: usize,
    /// The range of values that the levels divide evenly; values beyond are taken as at its ends.
    pub range: [f64; 2],
    /// The distribution of a pixel.
    pub distribution: PixelDistribution,
    /// Channels of the hidden layers.
    pub hidden: usize,
    /// Window of the first layer, odd.
    pub first_kernel: usize,
    /// Window of the other layers, odd.
    pub kernel: usize,
    /// Hidden layers behind the first.
    pub layers: usize,
    /// Number of conditioning parameters; 0 for none.
    pub parameters: usize,
}

impl Default for PixelCnnConfig {
    fn default() -> Self {
        Self {
            channels: 1,
            size: [64, 64],
            levels: 256,
            range: [-1.0, 1.0],
            distribution: PixelDistribution::Categorical,
            hidden: 64,
            first_kernel: 7,
            kernel: 7,
            layers: 7,
            parameters: 0,
        }
    }
}

impl PixelCnnConfig {
    /// The width of a level.
    pub fn width(&self) -> f64 {
        (self.range[1] - self.range[0]) / self.levels as f64
    }

    /// Numbers that the network gives for each channel of a pixel.
    pub fn outputs(&self) -> usize {
        match self.distribution {
            PixelDistribution::Categorical => self.levels,
            PixelDistribution::LogisticMixture(m) => 3 * m,
        }
    }

    /// Checks that the model can be built.
    ///
    /// # Errors
    /// [`crate::Error::Config`] naming the first field that is not usable.
    pub fn validate(&self) -> Result<()> {
        let kernels = [self.first_kernel, self.kernel];
        let wide = self.range[0] < self.range[1] && self.range.iter().all(|v| v.is_finite());
        let components = self.distribution != PixelDistribution::LogisticMixture(0);
        check_config(
            "PixelCNN",
            [
                ("channels", self.channels > 0, "at least 1", self.channels.to_string()),
                ("size", !self.size.contains(&0), "at least 1", format!("{:?}", self.size)),
                ("levels", (2..=1 << 20).contains(&self.levels), "2 to 2^20", self.levels.to_string()),
                ("range", wide, "a lower and a higher finite number", format!("{:?}", self.range)),
                ("distribution", components, "at least one component", format!("{:?}", self.distribution)),
                ("hidden", self.hidden > 0, "at least 1", self.hidden.to_string()),
                (
                    "first_kernel and kernel",
                    kernels.iter().all(|k| k % 2 == 1) && self.first_kernel > 1,
                    "odd, the first above 1",
                    format!("{kernels:?}"),
                ),
            ],
        )
    }
}

//! The shape of a Diffusion Mamba.

use halocast_kernels::PadMode;
use serde::{Deserialize, Serialize};

use super::MambaConfig;
use crate::{Error, Result};

/// A Diffusion Mamba for maps; the default is DiM-S of Teng et al. 2024 for CIFAR-10.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DimConfig {
    /// Channels of the maps.
    pub channels: usize,
    /// Channels of the output; twice those of the maps where a variance is learned too.
    pub outputs: usize,
    /// The map's sides `[y, x]`.
    pub size: [usize; 2],
    /// Side of a patch.
    pub patch: usize,
    /// Width of a token.
    pub dim: usize,
    /// Blocks, an odd number: a first one, as many in the encoder as in the decoder.
    pub layers: usize,
    /// Inner width of a Mamba block, in units of `dim`.
    pub expand: usize,
    /// States of a channel.
    pub states: usize,
    /// Taps of the causal convolution.
    pub conv: usize,
    /// Learned padding tokens at the end of each row, extra rows of them, and tokens between the first tokens and the grid.
    pub pad: usize,
    /// How many of the scans (rows, rows backwards, columns, columns backwards) the blocks cycle through: 1 to 4.
    pub directions: usize,
    /// Whether encoder and decoder are joined by long skips.
    pub skips: bool,
    /// Whether the tokens between the first tokens and the grid follow the grid in every other block.
    pub alternate_split: bool,
    /// Whether the time token passes through a network of its own.
    pub time_network: bool,
    /// Classes of the class token, without the class of none; 0 for no such token.
    pub classes: usize,
    /// How the smoothing convolutions see past the edge: `circular` for periodic maps.
    pub padding: PadMode,
    /// Number of conditioning parameters; 0 for none.
    pub parameters: usize,
    /// Channels of a conditioning field, which are put beside those of the map; 0 for none.
    pub field: usize,
}

impl Default for DimConfig {
    fn default() -> Self {
        Self {
            channels: 3,
            outputs: 3,
            size: [32, 32],
            patch: 2,
            dim: 512,
            layers: 25,
            expand: 2,
            states: 16,
            conv: 3,
            pad: 3,
            directions: 4,
            skips: true,
            alternate_split: true,
            time_network: false,
            classes: 10,
            padding: PadMode::Zeros,
            parameters: 0,
            field: 0,
        }
    }
}

impl DimConfig {
    /// DiM-S: CIFAR-10, 3x32x32.
    pub fn s() -> Self {
        Self::default()
    }

    /// DiM-L: latent fields 4x32x32 of ImageNet at 256x256.
    pub fn l() -> Self {
        Self {
            channels: 4,
            outputs: 4,
            dim: 1024,
            layers: 49,
            alternate_split: false,
            classes: 1000,
            ..Self::default()
        }
    }

    /// DiM-H: as [`DimConfig::l`], wider.
    pub fn h() -> Self {
        Self { dim: 1536, ..Self::l() }
    }

    /// A small one for single-channel 64x64 maps on a CPU: 4.2 million parameters, 1229 tokens.
    pub fn small() -> Self {
        Self {
            channels: 1,
            outputs: 1,
            size: [64, 64],
            dim: 192,
            layers: 13,
            alternate_split: false,
            classes: 0,
            ..Self::default()
        }
    }

    /// The grid of patches `[y, x]`.
    pub fn grid(&self) -> [usize; 2] {
        self.size.map(|side| side / self.patch.max(1))
    }

    /// The tokens before the grid: time, and class where there are classes.
    pub fn first_tokens(&self) -> usize {
        1 + usize::from(self.classes > 0)
    }

    /// The length of the sequence.
    pub fn tokens(&self) -> usize {
        let [y, x] = self.grid();
        self.first_tokens() + self.pad + (y + self.pad) * (x + self.pad)
    }

    /// The Mamba of a block.
    pub fn mamba(&self) -> MambaConfig {
        MambaConfig { dim: self.dim, states: self.states, conv: self.conv, expand: self.expand }
    }

    /// Checks that the network can be built.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first field that is not usable.
    pub fn validate(&self) -> Result<()> {
        let sides = self.size.iter().all(|s| *s > 0 && self.patch > 0 && s.is_multiple_of(self.patch));
        let least = |field, value: usize| (field, value > 0, "at least 1", value.to_string());
        let checks = [
            least("channels", self.channels),
            least("outputs", self.outputs),
            least("patch", self.patch),
            ("size", sides, "multiples of the patch", format!("{:?}", self.size)),
            ("dim", self.dim > 1 && self.dim.is_multiple_of(2), "even, at least 2", self.dim.to_string()),
            ("layers", self.layers % 2 == 1, "odd", self.layers.to_string()),
            least("expand", self.expand),
            least("states", self.states),
            least("conv", self.conv),
            ("directions", (1..=4).contains(&self.directions), "1 to 4", self.directions.to_string()),
        ];
        for (field, ok, expected, got) in checks {
            if !ok {
                let (field, expected) = (field.to_owned(), expected.to_owned());
                return Err(Error::Config { model: "DiM", field, expected, got });
            }
        }
        let sizes = [self.dim, self.layers, self.expand, self.states, self.tokens()];
        if sizes.iter().any(|&n| n > 1 << 20) {
            let (field, expected) = ("size, dim, layers, expand or states".into(), "at most 2^20".into());
            return Err(Error::Config { model: "DiM", field, expected, got: format!("{sizes:?}") });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_sizes_have_their_sequences() {
        // 16x16 patches, 3 of padding at each row, 3 rows more, 3 split tokens, time and class.
        assert_eq!(DimConfig::s().tokens(), 19 * 19 + 3 + 2);
        assert_eq!(DimConfig::small().tokens(), 1229);
        for config in [DimConfig::s(), DimConfig::l(), DimConfig::h(), DimConfig::small()] {
            config.validate().unwrap();
        }
    }

    #[test]
    fn absurd_shapes_are_named() {
        let message = |config: DimConfig| config.validate().unwrap_err().to_string();
        let small = DimConfig::small;
        assert!(message(DimConfig { layers: 12, ..small() }).contains("layers"));
        assert!(message(DimConfig { patch: 0, ..small() }).contains("patch"));
        assert!(message(DimConfig { size: [30, 31], ..small() }).contains("[30, 31]"));
        assert!(message(DimConfig { directions: 5, ..small() }).contains("directions"));
        assert!(message(DimConfig { dim: 1 << 40, ..small() }).contains("2^20"));
    }
}

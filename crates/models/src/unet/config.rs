//! The shape of a U-Net.

use halocast_kernels::PadMode;
use serde::{Deserialize, Serialize};

use crate::{CondSpec, Error, Result};

/// Where a U-Net attends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attention {
    /// Linear attention at every level and full attention in the middle, as published.
    #[default]
    Everywhere,
    /// Full attention in the middle alone.
    Middle,
    /// None.
    Nowhere,
}

/// A U-Net for maps; the default is the network of Mudur & Finkbeiner 2022 with its 31,234,497 parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UNetConfig {
    /// Channels of the maps, in and out.
    pub channels: usize,
    /// Width: level i has `dim * dim_mults[i]` channels, and the time embedding `4 dim`.
    pub dim: usize,
    /// Width of each level relative to `dim`; each level after the first has half the resolution.
    pub dim_mults: Vec<usize>,
    /// Groups of the group normalisations.
    pub groups: usize,
    /// Where it attends.
    pub attention: Attention,
    /// Attention heads.
    pub heads: usize,
    /// Channels of a head.
    pub dim_head: usize,
    /// How convolutions see past the edge: `circular` for periodic maps.
    pub padding: PadMode,
    /// Number of conditioning parameters, added to the time embedding by a linear layer; 0 for none.
    pub parameters: usize,
    /// Channels of a conditioning field on the grid of the maps, behind those of the maps at the network's input; 0 for
    /// none.
    pub condition_channels: usize,
    /// Channels of the output; 0 for those of the maps.
    pub out_channels: usize,
}

impl Default for UNetConfig {
    fn default() -> Self {
        Self {
            channels: 1,
            dim: 64,
            dim_mults: vec![1, 2, 4, 8],
            groups: 8,
            attention: Attention::Everywhere,
            heads: 4,
            dim_head: 32,
            padding: PadMode::Zeros,
            parameters: 0,
            condition_channels: 0,
            out_channels: 0,
        }
    }
}

impl UNetConfig {
    /// The side of a map must be a multiple of this.
    pub fn side_multiple(&self) -> usize {
        1 << self.dim_mults.len().saturating_sub(1)
    }

    /// Channels that the network takes: of the maps and of the conditioning field.
    pub fn channels_in(&self) -> usize {
        self.channels + self.condition_channels
    }

    /// Channels that the network gives.
    pub fn channels_out(&self) -> usize {
        if self.out_channels == 0 { self.channels } else { self.out_channels }
    }

    /// What the network is conditioned on beside the time: parameters, or a field, or nothing.
    ///
    /// # Errors
    /// [`Error::Config`] when the configuration asks for both.
    pub fn condition(&self) -> Result<CondSpec> {
        match (self.parameters, self.condition_channels) {
            (0, 0) => Ok(CondSpec::None),
            (n, 0) => Ok(CondSpec::Vector(n)),
            (0, n) => Ok(CondSpec::Field(n)),
            (n, m) => Err(Error::Config {
                model: "U-Net",
                field: "parameters and condition_channels".into(),
                expected: "one of them 0".into(),
                got: format!("{n} and {m}"),
            }),
        }
    }

    /// Checks that the network can be built.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first field that is not usable.
    pub fn validate(&self) -> Result<()> {
        let widths = self.dim_mults.iter().map(|m| m * self.dim);
        let odd_width =
            widths.clone().find(|w| self.groups == 0 || !w.is_multiple_of(self.groups) || *w == 0);
        let checks = [
            ("channels", self.channels > 0, "at least 1", self.channels.to_string()),
            ("dim", self.dim >= 4 && self.dim.is_multiple_of(2), "even, at least 4", self.dim.to_string()),
            (
                "dim_mults",
                !self.dim_mults.is_empty() && self.dim_mults.len() < 16,
                "1 to 15 levels",
                format!("{:?}", self.dim_mults),
            ),
            (
                "groups",
                odd_width.is_none(),
                "a divisor of the width of every level",
                format!("{} with widths {:?}", self.groups, widths.collect::<Vec<_>>()),
            ),
            (
                "heads and dim_head",
                self.attention == Attention::Nowhere || self.heads * self.dim_head > 0,
                "at least 1",
                format!("{} and {}", self.heads, self.dim_head),
            ),
        ];
        for (field, ok, expected, got) in checks {
            if !ok {
                let (field, expected) = (field.to_owned(), expected.to_owned());
                return Err(Error::Config { model: "U-Net", field, expected, got });
            }
        }
        Ok(())
    }
}

//! The shape of the U-Net of lucidrains.

use halocast_kernels::PadMode;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How the time enters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TimeFeatures {
    /// sin and cos of $t\,\theta^{-i/(d/2 - 1)}$.
    Sinusoidal {
        /// The longest period over $2 \pi$.
        theta: f64,
    },
    /// t beside sin and cos of $2 \pi t w_i$ with learned w.
    Learned {
        /// The number of sines and cosines together.
        dim: usize,
    },
    /// As learned, but w stays as drawn from a standard normal distribution.
    Random {
        /// The number of sines and cosines together.
        dim: usize,
    },
}

impl Default for TimeFeatures {
    fn default() -> Self {
        Self::Sinusoidal { theta: 10_000.0 }
    }
}

/// The U-Net of lucidrains' denoising-diffusion-pytorch for lines, maps or cubes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LucidrainsConfig {
    /// Channels of the event.
    pub channels: usize,
    /// Width: level i has `dim * dim_mults[i]` channels, and the time embedding `4 dim`.
    pub dim: usize,
    /// Width of the first convolution; `dim` where it is absent.
    pub init_dim: Option<usize>,
    /// Width of each level relative to `dim`.
    pub dim_mults: Vec<usize>,
    /// Whether the network also takes its own estimate of the clean field.
    pub self_condition: bool,
    /// How the time enters.
    pub time: TimeFeatures,
    /// Fraction of the numbers dropped between the two halves of a block, while training.
    pub dropout: f64,
    /// Channels of a head: one for all levels, or one each.
    pub attn_dim_head: Vec<usize>,
    /// Attention heads: one for all levels, or one each.
    pub attn_heads: Vec<usize>,
    /// Whether a level has full attention in place of linear: one for all levels, or one each; when empty, the innermost
    /// alone.
    pub full_attn: Vec<bool>,
    /// Learned keys and values beside those of the field.
    pub memory: usize,
    /// How convolutions see past the edge: `circular` for periodic fields.
    pub padding: PadMode,
    /// Number of conditioning parameters, added to the time embedding behind a small network of their own; 0 for none.
    pub parameters: usize,
}

impl Default for LucidrainsConfig {
    fn default() -> Self {
        Self {
            channels: 1,
            dim: 64,
            init_dim: None,
            dim_mults: vec![1, 2, 4, 8],
            self_condition: false,
            time: TimeFeatures::default(),
            dropout: 0.0,
            attn_dim_head: vec![32],
            attn_heads: vec![4],
            full_attn: vec![],
            memory: 4,
            padding: PadMode::Zeros,
            parameters: 0,
        }
    }
}

/// One setting of a level, of a list of one for all or one each.
fn of_level<T: Copy>(list: &[T], level: usize) -> Option<T> {
    if list.len() == 1 { list.first().copied() } else { list.get(level).copied() }
}

impl LucidrainsConfig {
    /// Each side of the event must be a multiple of this.
    pub fn side_multiple(&self) -> usize {
        1 << self.dim_mults.len().saturating_sub(1).min(30)
    }

    /// Whether the attention of a level is full.
    pub(super) fn full(&self, level: usize) -> bool {
        of_level(&self.full_attn, level).unwrap_or(level + 1 == self.dim_mults.len())
    }

    /// Heads of a level, and channels of each.
    pub(super) fn heads(&self, level: usize) -> (usize, usize) {
        (of_level(&self.attn_heads, level).unwrap_or(0), of_level(&self.attn_dim_head, level).unwrap_or(0))
    }

    /// Checks that the network can be built.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first field that is not usable.
    pub fn validate(&self) -> Result<()> {
        let levels = self.dim_mults.len();
        let each = |list: &[usize]| (list.len() == 1 || list.len() == levels) && list.iter().all(|n| *n > 0);
        let features = match self.time {
            TimeFeatures::Sinusoidal { theta } => self.dim >= 4 && self.dim.is_multiple_of(2) && theta > 0.0,
            TimeFeatures::Learned { dim } | TimeFeatures::Random { dim } => dim > 0 && dim.is_multiple_of(2),
        };
        let checks = [
            ("channels", self.channels > 0, "at least 1", self.channels.to_string()),
            ("dim", self.dim > 0, "at least 1", self.dim.to_string()),
            ("init_dim", self.init_dim != Some(0), "at least 1", format!("{:?}", self.init_dim)),
            (
                "dim_mults",
                (1..16).contains(&levels) && self.dim_mults.iter().all(|m| *m > 0),
                "1 to 15 levels of at least 1",
                format!("{:?}", self.dim_mults),
            ),
            (
                "time",
                features,
                "an even number of sines and cosines (`dim` of them, at least 4, when sinusoidal)",
                format!("{:?} with dim {}", self.time, self.dim),
            ),
            ("dropout", (0.0..1.0).contains(&self.dropout), "in [0, 1)", self.dropout.to_string()),
            ("attn_heads", each(&self.attn_heads), "one, or one a level", format!("{:?}", self.attn_heads)),
            (
                "attn_dim_head",
                each(&self.attn_dim_head),
                "one, or one a level",
                format!("{:?}", self.attn_dim_head),
            ),
            (
                "full_attn",
                [0, 1, levels].contains(&self.full_attn.len()),
                "none, one, or one a level",
                format!("{:?}", self.full_attn),
            ),
        ];
        for (field, ok, expected, got) in checks {
            if !ok {
                let (field, expected) = (field.to_owned(), expected.to_owned());
                return Err(Error::Config { model: "lucidrains' U-Net", field, expected, got });
            }
        }
        Ok(())
    }
}

//! The residual network of spectra.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use halocast_kernels::nn::{Conv1d, GroupNorm, Linear};
use halocast_kernels::{Activation, ConvSpec, PadMode, add, average_pool};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::sampling::check_config;

/// A residual network of spectra.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpectrumConfig {
    /// Channels.
    pub width: usize,
    /// Levels; each after the first has half the resolution of the one before.
    pub levels: usize,
    /// Residual blocks a level.
    pub blocks: usize,
    /// Length of the convolutions, odd.
    pub kernel: usize,
    /// Groups of the group normalisations.
    pub groups: usize,
    /// How convolutions see past the edge.
    pub padding: PadMode,
    /// Number of features.
    pub features: usize,
}

impl Default for SpectrumConfig {
    fn default() -> Self {
        Self {
            width: 32,
            levels: 3,
            blocks: 2,
            kernel: 5,
            groups: 4,
            padding: PadMode::Reflect,
            features: 32,
        }
    }
}

struct Block {
    norms: [GroupNorm; 2],
    convs: [Conv1d; 2],
}

impl Block {
    fn new(config: &SpectrumConfig, spec: ConvSpec, vb: VarBuilder) -> Result<Self> {
        let norm = |name| -> Result<GroupNorm> {
            let norm = GroupNorm::new(config.groups, config.width, 1e-5, vb.pp(name))?;
            Ok(norm.with_activation(Activation::Silu))
        };
        let conv = |name| Conv1d::new(config.width, config.width, config.kernel, spec, vb.pp(name));
        Ok(Self { norms: [norm("norm1")?, norm("norm2")?], convs: [conv("conv1")?, conv("conv2")?] })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut h = x.clone();
        for (norm, conv) in self.norms.iter().zip(&self.convs) {
            h = conv.forward(&norm.forward(&h)?)?;
        }
        Ok(add(&h, x)?)
    }
}

/// A pre-activation residual network in one dimension:
///
/// $$ h \leftarrow h + C_2 \, \phi(N_2 \, C_1 \, \phi(N_1 h)) $$
///
/// with convolutions $C$, group normalisations $N$ and $\phi$ = SiLU; levels are joined by averages of pairs. The features
/// are a linear map of the whole coarsest level.
///
/// # Source
/// He et al. 2016, arXiv:1603.05027, figure 4e.
///
/// # Differences
/// Group instead of batch normalisation, SiLU instead of ReLU; the features keep the place along the spectrum instead of
/// an average over it.
pub struct SpectrumNet {
    stem: Conv1d,
    levels: Vec<Vec<Block>>,
    norm: GroupNorm,
    out: Linear,
}

impl SpectrumNet {
    /// The network of spectra of shape `event`, `[channel, length]`.
    ///
    /// # Errors
    /// [`crate::Error::Config`] when the configuration does not fit the shape.
    pub fn new(config: &SpectrumConfig, event: &[usize], vb: VarBuilder) -> Result<Self> {
        let SpectrumConfig { width, levels, blocks, kernel, groups, features, .. } = *config;
        let factor = 1usize << levels.saturating_sub(1).min(30);
        let length = event.get(1).copied().unwrap_or(0);
        let fits = event.len() == 2 && !event.contains(&0) && length.is_multiple_of(factor);
        let deep = length / factor > kernel / 2 && levels > 0 && blocks > 0 && levels < 30;
        let expected = format!("[channel, length] with a length that {factor} divides");
        let grouped = groups > 0 && width > 0 && width.is_multiple_of(groups);
        check_config(
            "network of spectra",
            [
                ("event", fits, expected.as_str(), format!("{event:?}")),
                ("width and groups", grouped, "a width that groups divides", format!("{width}, {groups}")),
                ("kernel", kernel % 2 == 1, "odd", kernel.to_string()),
                ("levels and blocks", deep, "few enough", format!("{levels} and {blocks}")),
                ("features", features > 0, "at least 1", features.to_string()),
            ],
        )?;
        let spec = ConvSpec { padding: kernel / 2, pad_mode: config.padding, ..Default::default() };
        let level = |i: usize| -> Result<Vec<Block>> {
            (0..blocks).map(|j| Block::new(config, spec, vb.pp("levels").pp(i).pp(j))).collect()
        };
        Ok(Self {
            stem: Conv1d::new(event[0], width, kernel, spec, vb.pp("stem"))?,
            levels: (0..levels).map(level).collect::<Result<_>>()?,
            norm: GroupNorm::new(groups, width, 1e-5, vb.pp("norm"))?.with_activation(Activation::Silu),
            out: Linear::new(width * (length / factor), features, vb.pp("out"))?,
        })
    }

    /// The features `[n, feature]` of spectra `[n, channel, length]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut h = self.stem.forward(x)?;
        for (i, level) in self.levels.iter().enumerate() {
            if i > 0 {
                h = average_pool(&h, 2)?;
            }
            h = level.iter().try_fold(h, |h, block| block.forward(&h))?;
        }
        Ok(self.out.forward(&self.norm.forward(&h)?.flatten_from(1)?)?)
    }
}

//! Convolutional encoders and decoders of spectra and maps.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use halocast_kernels::nn::{Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d, Linear};
use halocast_kernels::{Activation, ConvSpec, PadMode, activate};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::sampling::check_config;

/// A convolutional encoder, or the decoder that mirrors it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConvConfig {
    /// Channels of each level; each has half the resolution of the one before.
    pub channels: Vec<usize>,
    /// Number of features.
    pub features: usize,
    /// What follows each convolution.
    pub activation: Activation,
    /// How the encoder's convolutions see past the edge: `circular` for periodic maps. A decoder sees zeros there.
    pub padding: PadMode,
}

impl Default for ConvConfig {
    fn default() -> Self {
        Self {
            channels: vec![16, 32, 64],
            features: 32,
            activation: Activation::Silu,
            padding: PadMode::Zeros,
        }
    }
}

impl ConvConfig {
    /// The shape `[channel, ..]` of the coarsest level for data of shape `event`.
    ///
    /// # Errors
    /// [`crate::Error::Config`] when the data are neither `[channel, length]` nor `[channel, y, x]`, or a side cannot be
    /// halved often enough.
    pub fn coarsest(&self, event: &[usize]) -> Result<Vec<usize>> {
        let factor = 1usize << self.channels.len().min(30);
        let axes = (2..=3).contains(&event.len()) && !event.contains(&0);
        let sides = event.iter().skip(1).all(|side| side.is_multiple_of(factor));
        let (channels, features) = (&self.channels, self.features);
        let some = !channels.is_empty() && !channels.contains(&0) && features > 0;
        let expected = format!("[channel, length] or [channel, y, x] with sides that {factor} divides");
        check_config(
            "convolutional network",
            [
                ("channels and features", some, "at least 1", format!("{channels:?}, {features}")),
                ("event", axes && sides, &expected, format!("{event:?}")),
            ],
        )?;
        let last = channels.last().copied().unwrap_or(1);
        Ok(std::iter::once(last).chain(event[1..].iter().map(|side| side / factor)).collect())
    }
}

enum Down {
    Line(Conv1d),
    Map(Conv2d),
}

/// Strided 4-convolutions, each followed by an activation. Its parameters are `0.weight`, `0.bias`, ...
pub struct ConvDown {
    levels: Vec<Down>,
    activation: Activation,
}

impl ConvDown {
    /// The levels for data of shape `event`.
    ///
    /// # Errors
    /// As [`ConvConfig::coarsest`].
    pub fn new(config: &ConvConfig, event: &[usize], vb: VarBuilder) -> Result<Self> {
        config.coarsest(event)?;
        let spec = ConvSpec { stride: 2, padding: 1, pad_mode: config.padding, ..Default::default() };
        let widths = [&event[..1], &config.channels[..]].concat();
        let level = |(i, pair): (usize, &[usize])| {
            Ok(match event.len() {
                2 => Down::Line(Conv1d::new(pair[0], pair[1], 4, spec, vb.pp(i))?),
                _ => Down::Map(Conv2d::new(pair[0], pair[1], 4, spec, vb.pp(i))?),
            })
        };
        let levels = widths.windows(2).enumerate().map(level).collect::<Result<_>>()?;
        Ok(Self { levels, activation: config.activation })
    }

    /// The coarsest level, `[n, channel, ..]`, of `x` `[n, channel, ..]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.levels.iter().try_fold(x.clone(), |h, level| {
            let y = match level {
                Down::Line(conv) => conv.forward(&h)?,
                Down::Map(conv) => conv.forward(&h)?,
            };
            Ok(activate(&y, self.activation)?)
        })
    }
}

/// [`ConvDown`], then a linear layer of the whole coarsest level.
///
/// Its parameters are `levels.0.weight`, ..., `out.weight`, `out.bias`.
pub struct ConvEncoder {
    levels: ConvDown,
    out: Linear,
}

impl ConvEncoder {
    /// The encoder of data of shape `event`.
    ///
    /// # Errors
    /// As [`ConvConfig::coarsest`].
    pub fn new(config: &ConvConfig, event: &[usize], vb: VarBuilder) -> Result<Self> {
        let coarsest: usize = config.coarsest(event)?.iter().product();
        Ok(Self {
            levels: ConvDown::new(config, event, vb.pp("levels"))?,
            out: Linear::new(coarsest, config.features, vb.pp("out"))?,
        })
    }

    /// The features `[n, feature]` of `x` `[n, channel, ..]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.out.forward(&self.levels.forward(x)?.flatten_from(1)?)?)
    }
}

enum Up {
    Line(ConvTranspose1d),
    Map(ConvTranspose2d),
}

/// The mirror of [`ConvDown`]: transposed 4-convolutions, each behind an activation. Its parameters are `0.weight`,
/// `0.bias`, ...
pub struct ConvUp {
    levels: Vec<Up>,
    activation: Activation,
}

impl ConvUp {
    /// The levels to data of shape `event`.
    ///
    /// # Errors
    /// As [`ConvConfig::coarsest`].
    pub fn new(config: &ConvConfig, event: &[usize], vb: VarBuilder) -> Result<Self> {
        config.coarsest(event)?;
        let spec = ConvSpec { stride: 2, padding: 1, ..Default::default() };
        let widths: Vec<usize> =
            config.channels.iter().rev().copied().chain(event.first().copied()).collect();
        let level = |(i, pair): (usize, &[usize])| {
            Ok(match event.len() {
                2 => Up::Line(ConvTranspose1d::new(pair[0], pair[1], 4, spec, vb.pp(i))?),
                _ => Up::Map(ConvTranspose2d::new(pair[0], pair[1], 4, spec, vb.pp(i))?),
            })
        };
        let levels = widths.windows(2).enumerate().map(level).collect::<Result<_>>()?;
        Ok(Self { levels, activation: config.activation })
    }

    /// The data `[n, channel, ..]` of the coarsest level `[n, channel, ..]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn forward(&self, h: &Tensor) -> Result<Tensor> {
        self.levels.iter().try_fold(h.clone(), |h, level| {
            let h = activate(&h, self.activation)?;
            Ok(match level {
                Up::Line(conv) => conv.forward(&h)?,
                Up::Map(conv) => conv.forward(&h)?,
            })
        })
    }
}

/// The mirror of [`ConvEncoder`]: a linear layer to the coarsest level, then [`ConvUp`].
///
/// Its parameters are `in.weight`, `in.bias`, `levels.0.weight`, ...
pub struct ConvDecoder {
    inlet: Linear,
    levels: ConvUp,
    coarsest: Vec<usize>,
}

impl ConvDecoder {
    /// The decoder to data of shape `event`.
    ///
    /// # Errors
    /// As [`ConvConfig::coarsest`].
    pub fn new(config: &ConvConfig, event: &[usize], vb: VarBuilder) -> Result<Self> {
        let coarsest = config.coarsest(event)?;
        let inlet = Linear::new(config.features, coarsest.iter().product(), vb.pp("in"))?;
        Ok(Self { inlet, levels: ConvUp::new(config, event, vb.pp("levels"))?, coarsest })
    }

    /// The data `[n, channel, ..]` of `features` `[n, feature]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn forward(&self, features: &Tensor) -> Result<Tensor> {
        let n = features.dims().first().copied().unwrap_or(0);
        let shape: Vec<usize> = std::iter::once(n).chain(self.coarsest.iter().copied()).collect();
        self.levels.forward(&self.inlet.forward(features)?.reshape(shape)?)
    }
}

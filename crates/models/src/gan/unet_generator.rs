//! The U-Net generator of pix2pix.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use halocast_core::Rng;
use halocast_kernels::nn::{Conv2d, ConvTranspose2d};
use halocast_kernels::{Activation, Conv2dSpec, PadMode, activate, concat_channels};
use serde::{Deserialize, Serialize};

use super::layers::{LEAKY, NormLayer, check, conv, conv_transpose, dropout};
use super::{Initial, Norm};
use crate::{Error, Result};

const MODEL: &str = "U-Net generator";

/// The shape of a [`UnetGenerator`]; the default is that of the paper for maps of 256 pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UnetGeneratorConfig {
    /// Number of halvings; sides are multiples of 2 to this power.
    pub downs: usize,
    /// Channels of the outermost level; each further one has twice as many, up to eight times.
    pub width: usize,
    /// Normalisation.
    pub norm: Norm,
    /// Probability that dropout, the generator's only noise, sets a number to zero.
    pub dropout: f64,
    /// How convolutions see past the edge: `zeros`, or `circular` for periodic maps.
    pub padding: PadMode,
    /// Whether the output ends in a hyperbolic tangent: for maps between -1 and 1.
    pub tanh: bool,
    /// How weights begin.
    pub initial: Initial,
}

impl Default for UnetGeneratorConfig {
    fn default() -> Self {
        Self {
            downs: 8,
            width: 64,
            norm: Norm::Batch,
            dropout: 0.5,
            padding: PadMode::Zeros,
            tanh: true,
            initial: Initial::default(),
        }
    }
}

impl UnetGeneratorConfig {
    /// The side of a map must be a multiple of this.
    pub fn side_multiple(&self) -> usize {
        1 << self.downs.min(30)
    }

    /// Checks that the network can be built.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first field that is not usable.
    pub fn validate(&self) -> Result<()> {
        let padding = format!("{:?}", self.padding);
        check(
            MODEL,
            &[
                ("downs", (2..=16).contains(&self.downs), "2 to 16", self.downs.to_string()),
                ("width", (1..=1024).contains(&self.width), "1 to 1024", self.width.to_string()),
                ("dropout", (0.0..1.0).contains(&self.dropout), "in [0, 1)", self.dropout.to_string()),
                ("padding", self.padding != PadMode::Reflect, "zeros or circular", padding),
            ],
        )?;
        self.initial.validate(MODEL)
    }

    /// Whether dropout follows the decoder of level `i`.
    fn drops(&self, i: usize) -> bool {
        let inner = i > 0 && i + 1 < self.downs;
        // Networks of fewer levels than the reference has drop in their innermost block with a normalised encoder.
        if self.downs >= 5 { inner && i >= 4 } else { inner && i + 2 == self.downs }
    }
}

/// A U-Net of nested levels: a 4x4 convolution of stride 2, the level within, a 4x4 transposed convolution back, and the
/// level's input beside its output.
///
/// With encoder $a_{i+1} = \mathrm{lrelu}(\mathrm{norm}(\mathrm{conv}\, a_i))$ and decoder
/// $y_i = \mathrm{drop}(\mathrm{norm}(\mathrm{conv}^\mathsf{T} \mathrm{relu}[a_{i+1}, y_{i+1}]))$; the outermost level has no
/// normalisation, the innermost none in its encoder. `[batch, channel, y, x]` to the same grid.
///
/// # Source
/// Isola et al. 2017, arXiv:1611.07004, section 6.1.1, with the parameter names of `UnetGenerator` of their PyTorch
/// code: its state dicts load. As there the skip connections carry the activated input.
///
/// # Differences
/// Circular padding, an output without tanh, layer normalisation, and fewer than five levels are options of ours.
pub struct UnetGenerator {
    levels: Vec<Level>,
    dropout: f64,
    tanh: bool,
    channels: usize,
    multiple: usize,
}

struct Level {
    down: Conv2d,
    down_norm: Option<NormLayer>,
    up: ConvTranspose2d,
    up_norm: Option<NormLayer>,
    drops: bool,
}

impl UnetGenerator {
    /// Builds the network for maps of so many channels in and out on the parameters of `vb`.
    ///
    /// # Errors
    /// [`Error::Config`] when the configuration is not usable; Candle's when a parameter does not fit.
    pub fn new(inputs: usize, outputs: usize, config: &UnetGeneratorConfig, vb: VarBuilder) -> Result<Self> {
        config.validate()?;
        let counts = format!("{inputs} and {outputs}");
        check(MODEL, &[("channels", inputs > 0 && outputs > 0, "at least 1", counts)])?;
        let width = |i: usize| config.width * (1 << i.min(3));
        let spec = Conv2dSpec { stride: 2, padding: 1, pad_mode: config.padding, ..Default::default() };
        let biased = config.norm.biased();
        let initial = config.initial;
        let norm = |channels, activation, vb| NormLayer::new(config.norm, channels, initial, activation, vb);
        let mut levels = Vec::with_capacity(config.downs);
        let mut path = vb.pp("model");
        for i in 0..config.downs {
            let (outermost, innermost) = (i == 0, i + 1 == config.downs);
            // The places of convolution, inner level, transposed convolution in the sequence of a level.
            let (down, inner, up) = match (outermost, innermost) {
                (true, _) => (0, 1, 3),
                (_, true) => (1, 0, 3),
                _ => (1, 3, 5),
            };
            let at = |place: usize| path.pp(format!("model.{place}"));
            let from = if outermost { inputs } else { width(i - 1) };
            let back = if outermost { outputs } else { width(i - 1) };
            let joined = if innermost { width(i) } else { 2 * width(i) };
            let down_norm =
                (!outermost && !innermost).then(|| norm(width(i), LEAKY, at(down + 1))).transpose()?;
            let up_norm = (!outermost).then(|| norm(back, Activation::None, at(up + 1))).transpose()?;
            levels.push(Level {
                down: conv([from, width(i)], 4, spec, biased, initial, at(down))?,
                down_norm,
                up: conv_transpose([joined, back], 4, spec, biased || outermost, initial, at(up))?,
                up_norm,
                drops: config.drops(i),
            });
            path = at(inner);
        }
        Ok(Self {
            levels,
            dropout: config.dropout,
            tanh: config.tanh,
            channels: inputs,
            multiple: config.side_multiple(),
        })
    }

    /// The output of `x` `[batch, channel, y, x]`. `train` chooses the statistics of batch normalisations; `noise` are the
    /// generators of dropout, one for each example, without which nothing is dropped.
    ///
    /// # Errors
    /// [`Error::Shape`] when a side is no multiple of 2^downs or the channels differ.
    pub fn forward(&self, x: &Tensor, train: bool, mut noise: Option<&mut [Rng]>) -> Result<Tensor> {
        let (dims, m) = (x.dims(), self.multiple);
        if dims.len() != 4 || dims[1] != self.channels || dims[2..].iter().any(|s| s % m != 0 || *s == 0) {
            return Err(Error::Shape {
                operation: MODEL,
                what: "x".into(),
                expected: format!("[batch, {}, multiple of {m}, multiple of {m}]", self.channels),
                got: dims.to_vec(),
            });
        }
        let mut skips: Vec<Tensor> = Vec::with_capacity(self.levels.len());
        let mut x = x.clone();
        for (i, level) in self.levels.iter().enumerate() {
            let h = level.down.forward(&x)?;
            x = match &level.down_norm {
                Some(norm) => norm.forward(&h, train)?,
                None if i + 1 == self.levels.len() => activate(&h, Activation::Relu)?,
                None => activate(&h, LEAKY)?,
            };
            skips.push(x.clone());
        }
        skips.pop();
        for level in self.levels.iter().rev() {
            x = level.up.forward(&x)?;
            let Some(norm) = &level.up_norm else { continue };
            x = norm.forward(&x, train)?;
            if level.drops {
                x = dropout(&x, self.dropout, &mut noise)?;
            }
            if let Some(skip) = skips.pop() {
                x = activate(&concat_channels(&skip, &x)?, Activation::Relu)?;
            }
        }
        Ok(if self.tanh { activate(&x, Activation::Tanh)? } else { x })
    }
}

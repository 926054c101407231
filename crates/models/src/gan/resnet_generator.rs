//! The residual generator of CycleGAN.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use halocast_core::Rng;
use halocast_kernels::nn::{Conv2d, ConvTranspose2d};
use halocast_kernels::{Activation, Conv2dSpec, PadMode, activate, add};
use serde::{Deserialize, Serialize};

use super::layers::{NormLayer, check, conv, conv_transpose, dropout};
use super::{Initial, Norm};
use crate::{Error, Result};

const MODEL: &str = "residual generator";

/// How a [`ResnetGenerator`] sees past the edge of a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResnetPadding {
    /// Mirrored in the residual blocks and the first and last convolution, zeros in those that change the resolution.
    #[default]
    Reflect,
    /// As `reflect`, but that the residual blocks repeat the outermost pixels.
    Replicate,
    /// As `reflect`, but that the residual blocks see zeros.
    Zeros,
    /// Periodic in every layer.
    Circular,
}

/// The shape of a [`ResnetGenerator`]; the default is that of the paper for maps of 256 pixels (six blocks for 128).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResnetGeneratorConfig {
    /// Number of residual blocks.
    pub blocks: usize,
    /// Channels of the outermost level; two halvings double them.
    pub width: usize,
    /// Normalisation.
    pub norm: Norm,
    /// Probability that dropout between the convolutions of a block sets a number to zero.
    pub dropout: f64,
    /// How convolutions see past the edge.
    pub padding: ResnetPadding,
    /// Whether the output ends in a hyperbolic tangent: for maps between -1 and 1.
    pub tanh: bool,
    /// How weights begin.
    pub initial: Initial,
}

impl Default for ResnetGeneratorConfig {
    fn default() -> Self {
        Self {
            blocks: 9,
            width: 64,
            norm: Norm::Instance,
            dropout: 0.0,
            padding: ResnetPadding::Reflect,
            tanh: true,
            initial: Initial::default(),
        }
    }
}

impl ResnetGeneratorConfig {
    /// The side of a map must be a multiple of this.
    pub fn side_multiple(&self) -> usize {
        4
    }

    /// Checks that the network can be built.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first field that is not usable.
    pub fn validate(&self) -> Result<()> {
        check(
            MODEL,
            &[
                ("blocks", self.blocks <= 256, "at most 256", self.blocks.to_string()),
                ("width", (1..=1024).contains(&self.width), "1 to 1024", self.width.to_string()),
                ("dropout", (0.0..1.0).contains(&self.dropout), "in [0, 1)", self.dropout.to_string()),
            ],
        )?;
        self.initial.validate(MODEL)
    }
}

/// A 7x7 convolution, two 3x3 of stride 2, residual blocks of two 3x3 convolutions, two transposed 3x3 of stride 2, a 7x7
/// convolution; each but the last with normalisation and rectifier. `[batch, channel, y, x]` to the same grid, where sides
/// are multiples of 4.
///
/// # Source
/// Zhu et al. 2017, arXiv:1703.10593, section 7.2, after Johnson et al. 2016, with the parameter names of
/// `ResnetGenerator` of their PyTorch code: its state dicts load.
///
/// # Differences
/// Circular padding, an output without tanh and layer normalisation are options of ours.
pub struct ResnetGenerator {
    first: (Conv2d, NormLayer),
    downs: Vec<(Conv2d, NormLayer)>,
    blocks: Vec<Block>,
    ups: Vec<(ConvTranspose2d, NormLayer)>,
    last: Conv2d,
    dropout: f64,
    tanh: bool,
    channels: usize,
}

struct Block {
    conv1: Conv2d,
    norm1: NormLayer,
    conv2: Conv2d,
    norm2: NormLayer,
    replicate: bool,
}

impl Block {
    fn new(width: usize, config: &ResnetGeneratorConfig, vb: VarBuilder) -> Result<Self> {
        let (padding, pad_mode) = match config.padding {
            ResnetPadding::Reflect => (1, PadMode::Reflect),
            ResnetPadding::Replicate => (0, PadMode::Zeros),
            ResnetPadding::Zeros => (1, PadMode::Zeros),
            ResnetPadding::Circular => (1, PadMode::Circular),
        };
        // In the reference a padding that is not the convolution's own is a layer, and dropout is one where there is any.
        let layer = usize::from(config.padding != ResnetPadding::Zeros);
        let (first, second) = (layer, 3 + 2 * layer + usize::from(config.dropout > 0.0));
        let spec = Conv2dSpec { padding, pad_mode, ..Default::default() };
        let at = |place: usize| vb.pp(format!("conv_block.{place}"));
        let convolution =
            |place| conv([width, width], 3, spec, config.norm.biased(), config.initial, at(place));
        let norm = |act, place| NormLayer::new(config.norm, width, config.initial, act, at(place));
        Ok(Self {
            conv1: convolution(first)?,
            norm1: norm(Activation::Relu, first + 1)?,
            conv2: convolution(second)?,
            norm2: norm(Activation::None, second + 1)?,
            replicate: config.padding == ResnetPadding::Replicate,
        })
    }

    fn forward(
        &self,
        x: &Tensor,
        train: bool,
        probability: f64,
        noise: &mut Option<&mut [Rng]>,
    ) -> Result<Tensor> {
        let h = self.norm1.forward(&self.conv1.forward(&self.padded(x)?)?, train)?;
        let h = dropout(&h, probability, noise)?;
        let h = self.norm2.forward(&self.conv2.forward(&self.padded(&h)?)?, train)?;
        Ok(add(x, &h)?)
    }

    fn padded(&self, x: &Tensor) -> Result<Tensor> {
        if !self.replicate {
            return Ok(x.clone());
        }
        Ok(x.pad_with_same(2, 1, 1)?.pad_with_same(3, 1, 1)?)
    }
}

impl ResnetGenerator {
    /// Builds the network for maps of so many channels in and out on the parameters of `vb`.
    ///
    /// # Errors
    /// [`Error::Config`] when the configuration is not usable; Candle's when a parameter does not fit.
    pub fn new(
        inputs: usize,
        outputs: usize,
        config: &ResnetGeneratorConfig,
        vb: VarBuilder,
    ) -> Result<Self> {
        config.validate()?;
        let counts = format!("{inputs} and {outputs}");
        check(MODEL, &[("channels", inputs > 0 && outputs > 0, "at least 1", counts)])?;
        let torus = config.padding == ResnetPadding::Circular;
        let pad_mode = |other| if torus { PadMode::Circular } else { other };
        let wide = Conv2dSpec { padding: 3, pad_mode: pad_mode(PadMode::Reflect), ..Default::default() };
        let strided =
            Conv2dSpec { stride: 2, padding: 1, pad_mode: pad_mode(PadMode::Zeros), ..Default::default() };
        // A torus returns to twice the side by itself.
        let back = Conv2dSpec { output_padding: usize::from(!torus), ..strided };
        let (w, biased, initial) = (config.width, config.norm.biased(), config.initial);
        let at = |place: usize| vb.pp(format!("model.{place}"));
        let norm =
            |channels, place| NormLayer::new(config.norm, channels, initial, Activation::Relu, at(place));
        let first = (conv([inputs, w], 7, wide, biased, initial, at(1))?, norm(w, 2)?);
        let down = |i: usize| -> Result<_> {
            let channels = [w << i, w << (i + 1)];
            let place = 4 + 3 * i;
            Ok((conv(channels, 3, strided, biased, initial, at(place))?, norm(channels[1], place + 1)?))
        };
        let up = |i: usize| -> Result<_> {
            let channels = [w << (2 - i), w << (1 - i)];
            let place = 10 + config.blocks + 3 * i;
            let up = conv_transpose(channels, 3, back, biased, initial, at(place))?;
            Ok((up, norm(channels[1], place + 1)?))
        };
        Ok(Self {
            first,
            downs: (0..2).map(down).collect::<Result<_>>()?,
            blocks: (0..config.blocks)
                .map(|i| Block::new(4 * w, config, at(10 + i)))
                .collect::<Result<_>>()?,
            ups: (0..2).map(up).collect::<Result<_>>()?,
            last: conv([w, outputs], 7, wide, true, initial, at(17 + config.blocks))?,
            dropout: config.dropout,
            tanh: config.tanh,
            channels: inputs,
        })
    }

    /// The output of `x` `[batch, channel, y, x]`. `train` chooses the statistics of batch normalisations; `noise` are the
    /// generators of dropout, one for each example, without which nothing is dropped.
    ///
    /// # Errors
    /// [`Error::Shape`] when the channels differ or a side is less than 4; the kernels' for a padding that does not fit.
    pub fn forward(&self, x: &Tensor, train: bool, mut noise: Option<&mut [Rng]>) -> Result<Tensor> {
        let dims = x.dims();
        if dims.len() != 4 || dims[1] != self.channels || dims[2..].iter().any(|s| *s < 4) {
            return Err(Error::Shape {
                operation: MODEL,
                what: "x".into(),
                expected: format!("[batch, {}, y, x] with sides from 4", self.channels),
                got: dims.to_vec(),
            });
        }
        let mut x = self.first.1.forward(&self.first.0.forward(x)?, train)?;
        for (conv, norm) in &self.downs {
            x = norm.forward(&conv.forward(&x)?, train)?;
        }
        for block in &self.blocks {
            x = block.forward(&x, train, self.dropout, &mut noise)?;
        }
        for (conv, norm) in &self.ups {
            x = norm.forward(&conv.forward(&x)?, train)?;
        }
        let x = self.last.forward(&x)?;
        Ok(if self.tanh { activate(&x, Activation::Tanh)? } else { x })
    }
}

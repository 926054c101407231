//! Discriminators: sequences of convolutions, normalisations and leaky rectifiers that know their derivative along a
//! direction.

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};
use halocast_kernels::nn::Conv2d;
use halocast_kernels::{Activation, Conv2dSpec, PadMode, activate};
use serde::{Deserialize, Serialize};

use super::layers::{LEAKY, NormLayer, check, conv, slopes};
use super::{Initial, Norm};
use crate::{Error, Result};

const MODEL: &str = "discriminator";

/// Which discriminator, by what it looks at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DiscriminatorConfig {
    /// Patches that overlap.
    Patch(PatchConfig),
    /// Single pixels.
    Pixel(PixelConfig),
}

impl Default for DiscriminatorConfig {
    fn default() -> Self {
        Self::Patch(PatchConfig::default())
    }
}

impl DiscriminatorConfig {
    /// Builds the discriminator for maps of so many channels on the parameters of `vb`.
    ///
    /// # Errors
    /// [`Error::Config`] when the configuration is not usable; Candle's when a parameter does not fit.
    pub fn build(&self, channels: usize, vb: VarBuilder) -> Result<Critic> {
        match self {
            Self::Patch(config) => Critic::patch(channels, config, vb),
            Self::Pixel(config) => Critic::pixel(channels, config, vb),
        }
    }

    /// Checks that a map of this size has a patch, and more than one pixel wherever instances are normalised.
    pub(super) fn check_size(&self, model: &'static str, size: [usize; 2]) -> Result<()> {
        let Self::Patch(config) = self else { return Ok(()) };
        let layers = config.layers.min(16);
        let mut sides = size;
        for i in 0..layers + 2 {
            // 4x4 with one more pixel at each edge.
            sides = sides.map(|side| if i < layers { side / 2 } else { side.saturating_sub(1) });
            let normalised = (1..=layers).contains(&i) && config.norm == Norm::Instance;
            if sides.contains(&0) || (normalised && sides == [1, 1]) {
                return Err(Error::Config {
                    model,
                    field: "discriminator.layers".into(),
                    expected: format!("few enough that maps of {size:?} have a patch"),
                    got: config.layers.to_string(),
                });
            }
        }
        Ok(())
    }
}

/// The discriminator of patches; the default looks at 70 x 70 pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PatchConfig {
    /// Convolutions of stride 2; two more of stride 1 follow.
    pub layers: usize,
    /// Channels of the first; each further one has twice as many, up to eight times.
    pub width: usize,
    /// Normalisation, of all but the first and the last.
    pub norm: Norm,
    /// How convolutions see past the edge: `zeros`, or `circular` for periodic maps.
    pub padding: PadMode,
    /// How weights begin.
    pub initial: Initial,
}

impl Default for PatchConfig {
    fn default() -> Self {
        let (norm, padding) = (Norm::Batch, PadMode::Zeros);
        Self { layers: 3, width: 64, norm, padding, initial: Initial::default() }
    }
}

/// The discriminator of single pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PixelConfig {
    /// Channels of the first layer; the second has twice as many.
    pub width: usize,
    /// Normalisation of the second layer.
    pub norm: Norm,
    /// How weights begin.
    pub initial: Initial,
}

impl Default for PixelConfig {
    fn default() -> Self {
        Self { width: 64, norm: Norm::Batch, initial: Initial::default() }
    }
}

/// A discriminator D, called critic where it scores without bounds: a sequence of layers that are linear, piecewise linear
/// or normalisations.
///
/// Beside its value it gives its derivative along a direction ([`Critic::tangent`]), from which the gradient of a penalty
/// on its slope is made: see [`super::Penalty`].
pub struct Critic {
    layers: Vec<Layer>,
    channels: usize,
}

#[derive(Clone)]
enum Layer {
    /// A convolution, and itself without bias.
    Conv { conv: Conv2d, linear: Conv2d, spec: Conv2dSpec },
    /// A normalisation and the activation behind it.
    Norm(NormLayer),
    /// A piecewise linear function.
    Activate(Activation),
}

impl Layer {
    fn conv(conv: Conv2d, spec: Conv2dSpec) -> Self {
        let linear = Conv2d::from_parts(conv.weight().clone(), None, spec);
        Self::Conv { conv, linear, spec }
    }

    fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        match self {
            Self::Conv { conv, .. } => Ok(conv.forward(x)?),
            Self::Norm(norm) => norm.forward(x, train),
            Self::Activate(activation) => Ok(activate(x, *activation)?),
        }
    }
}

impl Critic {
    /// The discriminator of patches: 4x4 convolutions, `layers` of stride 2 and two of stride 1, the last with one output.
    /// `[batch, channel, y, x]` to `[batch, 1, y', x']`, one logit a patch.
    ///
    /// # Source
    /// Isola et al. 2017, arXiv:1611.07004, section 6.1.2, with the parameter names of `NLayerDiscriminator` of their
    /// PyTorch code: its state dicts load.
    ///
    /// # Errors
    /// [`Error::Config`] when the configuration is not usable; Candle's when a parameter does not fit.
    pub fn patch(channels: usize, config: &PatchConfig, vb: VarBuilder) -> Result<Self> {
        let padding = format!("{:?}", config.padding);
        check(
            MODEL,
            &[
                ("channels", channels > 0, "at least 1", channels.to_string()),
                ("layers", (1..=16).contains(&config.layers), "1 to 16", config.layers.to_string()),
                ("width", (1..=1024).contains(&config.width), "1 to 1024", config.width.to_string()),
                ("padding", config.padding != PadMode::Reflect, "zeros or circular", padding),
            ],
        )?;
        config.initial.validate(MODEL)?;
        let spec = |stride| Conv2dSpec { stride, padding: 1, pad_mode: config.padding, ..Default::default() };
        let width = |i: usize| config.width * (1 << i.min(3));
        let at = |place: usize| vb.pp(format!("model.{place}"));
        let layer = |io: [usize; 2], stride, bias, place| -> Result<Layer> {
            Ok(Layer::conv(conv(io, 4, spec(stride), bias, config.initial, at(place))?, spec(stride)))
        };
        let mut layers = vec![layer([channels, width(0)], 2, true, 0)?, Layer::Activate(LEAKY)];
        for i in 1..=config.layers {
            let (stride, place) = (if i < config.layers { 2 } else { 1 }, 3 * i - 1);
            layers.push(layer([width(i - 1), width(i)], stride, config.norm.biased(), place)?);
            let norm = NormLayer::new(config.norm, width(i), config.initial, LEAKY, at(place + 1))?;
            layers.push(Layer::Norm(norm));
        }
        layers.push(layer([width(config.layers), 1], 1, true, 3 * config.layers + 2)?);
        Ok(Self { layers, channels })
    }

    /// The discriminator of pixels: three 1x1 convolutions. `[batch, channel, y, x]` to `[batch, 1, y, x]`.
    ///
    /// # Source
    /// Isola et al. 2017, arXiv:1611.07004, section 6.1.2, with the parameter names of `PixelDiscriminator` of their
    /// PyTorch code: its state dicts load.
    ///
    /// # Errors
    /// [`Error::Config`] when the configuration is not usable; Candle's when a parameter does not fit.
    pub fn pixel(channels: usize, config: &PixelConfig, vb: VarBuilder) -> Result<Self> {
        check(
            MODEL,
            &[
                ("channels", channels > 0, "at least 1", channels.to_string()),
                ("width", (1..=1024).contains(&config.width), "1 to 1024", config.width.to_string()),
            ],
        )?;
        config.initial.validate(MODEL)?;
        let (w, biased, spec) = (config.width, config.norm.biased(), Conv2dSpec::default());
        let at = |place: usize| vb.pp(format!("net.{place}"));
        let layer = |io: [usize; 2], bias, place| -> Result<Layer> {
            Ok(Layer::conv(conv(io, 1, spec, bias, config.initial, at(place))?, spec))
        };
        let layers = vec![
            layer([channels, w], true, 0)?,
            Layer::Activate(LEAKY),
            layer([w, 2 * w], biased, 2)?,
            Layer::Norm(NormLayer::new(config.norm, 2 * w, config.initial, LEAKY, at(3))?),
            layer([2 * w, 1], biased, 5)?,
        ];
        Ok(Self { layers, channels })
    }

    /// The discriminator of whole maps: `levels` 4x4 convolutions of stride 2, each with twice the channels of the one
    /// before, and one over what is left. `[batch, channel, y, x]` to `[batch, 1, 1, 1]`.
    ///
    /// # Source
    /// Radford et al. 2015, arXiv:1511.06434, with the parameter names of the DCGAN example of PyTorch.
    ///
    /// # Errors
    /// Candle's when a parameter does not fit.
    pub(super) fn whole(
        channels: usize,
        base: [usize; 2],
        levels: usize,
        config: &PatchConfig,
        vb: VarBuilder,
    ) -> Result<Self> {
        let spec = Conv2dSpec { stride: 2, padding: 1, pad_mode: config.padding, ..Default::default() };
        let at = |place: usize| vb.pp(format!("main.{place}"));
        let bias = config.norm != Norm::Batch;
        let mut layers = Vec::new();
        for i in 0..levels {
            let to = config.width << i;
            let from = if i == 0 { channels } else { to / 2 };
            let place = if i == 0 { 0 } else { 3 * i - 1 };
            layers.push(Layer::conv(conv([from, to], 4, spec, bias, config.initial, at(place))?, spec));
            layers.push(match i {
                0 => Layer::Activate(LEAKY),
                _ => Layer::Norm(NormLayer::new(config.norm, to, config.initial, LEAKY, at(place + 1))?),
            });
        }
        let (last, vb, spec) = (config.width << (levels - 1), at(3 * levels - 1), Conv2dSpec::default());
        let (init, start) = config.initial.of_fan_in(last * base[0] * base[1]);
        let weight = vb.get_with_hints((1, last, base[0], base[1]), "weight", init)?;
        let bias = bias.then(|| vb.get_with_hints(1, "bias", start)).transpose()?;
        layers.push(Layer::conv(Conv2d::from_parts(weight, bias, spec), spec));
        Ok(Self { layers, channels })
    }

    /// Whether the value at one example depends on the others of the batch.
    pub fn mixes_examples(&self) -> bool {
        self.layers.iter().any(|layer| matches!(layer, Layer::Norm(norm) if norm.mixes_examples()))
    }

    /// D(x) of `x` `[batch, channel, y, x]`. `train` chooses the statistics of batch normalisations.
    ///
    /// # Errors
    /// [`Error::Shape`] when the channels differ; the kernels' when the map is smaller than a patch needs.
    pub fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.check(x)?;
        self.layers.iter().try_fold(x.clone(), |x, layer| layer.forward(&x, train))
    }

    /// D(x) and its derivative along `v`, d/ds D(x + s v) at s = 0, both differentiable by the parameters.
    ///
    /// # Errors
    /// As [`Critic::forward`]; [`Error::Config`] for a batch normalisation that trains, which mixes examples.
    pub fn tangent(&self, x: &Tensor, v: &Tensor, train: bool) -> Result<(Tensor, Tensor)> {
        self.check(x)?;
        self.check(v)?;
        self.layers.iter().try_fold((x.clone(), v.clone()), |(x, v), layer| {
            let y = layer.forward(&x, train)?;
            let dy = match layer {
                Layer::Conv { linear, .. } => linear.forward(&v)?,
                Layer::Norm(norm) => norm.tangent(&x, &v, &y, train)?,
                Layer::Activate(activation) => slopes(&v, &y, *activation)?,
            };
            Ok((y, dy))
        })
    }

    /// The same function on the same parameters, but constants: through it flows a gradient to `x` alone. Batch
    /// normalisations keep theirs.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn detached(&self) -> Result<Self> {
        let layer = |layer: &Layer| -> Result<Layer> {
            Ok(match layer {
                Layer::Conv { conv, spec, .. } => {
                    let bias = conv.bias().map(Tensor::detach);
                    Layer::conv(Conv2d::from_parts(conv.weight().detach(), bias, *spec), *spec)
                }
                Layer::Norm(norm) => Layer::Norm(norm.detached()?),
                Layer::Activate(_) => layer.clone(),
            })
        };
        let layers = self.layers.iter().map(layer).collect::<Result<_>>()?;
        Ok(Self { layers, channels: self.channels })
    }

    fn check(&self, x: &Tensor) -> Result<()> {
        if x.rank() == 4 && x.dims()[1] == self.channels {
            return Ok(());
        }
        Err(Error::Shape {
            operation: MODEL,
            what: "x".into(),
            expected: format!("[batch, {}, y, x]", self.channels),
            got: x.dims().to_vec(),
        })
    }
}

impl Initial {
    /// Of a weight and of its bias.
    pub(super) fn of_fan_in(self, fan_in: usize) -> (Init, Init) {
        match self {
            Self::Normal(stdev) => (Init::Randn { mean: 0.0, stdev }, Init::Const(0.0)),
            Self::FanIn => {
                let bound = 1.0 / (fan_in.max(1) as f64).sqrt();
                let uniform = Init::Uniform { lo: -bound, up: bound };
                (uniform, uniform)
            }
        }
    }
}

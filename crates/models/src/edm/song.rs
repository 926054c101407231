//! DDPM++ and NCSN++ (Song et al. 2021), as EDM has them.

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};
use halocast_kernels::nn::{GroupNorm, Linear};
use halocast_kernels::{Activation, PadMode, add, concat_channels, silu};
use serde::{Deserialize, Serialize};

use super::block::{Block, Style};
use super::layers::{Begin, Change, ResampleConv, Rule, norm};
use super::{check_input, check_shape};
use crate::network::{Context, Network, NetworkShape, sinusoids, times};
use crate::{Error, Result};

/// How the noise level enters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoiseEmbedding {
    /// Sinusoids of periods in a geometric series (DDPM++).
    #[default]
    Positional,
    /// Sinusoids of random frequencies of standard deviation 16, which stay as drawn (NCSN++).
    Fourier,
}

/// What accompanies the encoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoder {
    /// Nothing.
    #[default]
    Standard,
    /// The input at each resolution, through a 1x1 convolution.
    Skip,
    /// The input through a chain of convolutions, one a level (NCSN++).
    Residual,
}

/// What accompanies the decoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decoder {
    /// Nothing.
    #[default]
    Standard,
    /// The output is a sum over the resolutions.
    Skip,
}

/// The shape of a [`SongUNet`]; the default is DDPM++ with the values of Karras et al. 2022.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SongConfig {
    /// Channels of the maps.
    pub channels: usize,
    /// Width: level i has `dim * dim_mults[i]` channels.
    pub dim: usize,
    /// Width of each level relative to `dim`; each after the first has half the resolution.
    pub dim_mults: Vec<usize>,
    /// Width of the embedding relative to `dim`.
    pub embedding_mult: usize,
    /// Residual blocks of a level.
    pub blocks: usize,
    /// Sides of the maps at which it attends.
    pub attention: Vec<usize>,
    /// Fraction of the numbers dropped in each block, while training.
    pub dropout: f64,
    /// How the noise level enters.
    pub noise: NoiseEmbedding,
    /// Width of the features of the noise level relative to `dim`: 1 for DDPM++, 2 for NCSN++.
    pub noise_mult: usize,
    /// What accompanies the encoder.
    pub encoder: Encoder,
    /// What accompanies the decoder.
    pub decoder: Decoder,
    /// One side of the filter of a change of resolution: `[1, 1]` for DDPM++, `[1, 3, 3, 1]` for NCSN++.
    pub filter: Vec<f64>,
    /// Factor of the initial weights of the convolutions that end a residual branch, and of the last one.
    pub last_weight: f64,
    /// How convolutions see past the edge: `circular` for periodic maps.
    pub padding: PadMode,
    /// Number of conditioning parameters; 0 for none.
    pub parameters: usize,
}

impl Default for SongConfig {
    fn default() -> Self {
        Self {
            channels: 1,
            dim: 128,
            dim_mults: vec![1, 2, 2, 2],
            embedding_mult: 4,
            blocks: 4,
            attention: vec![16],
            dropout: 0.1,
            noise: NoiseEmbedding::Positional,
            noise_mult: 1,
            encoder: Encoder::Standard,
            decoder: Decoder::Standard,
            filter: vec![1.0, 1.0],
            last_weight: 1e-5,
            padding: PadMode::Zeros,
            parameters: 0,
        }
    }
}

impl SongConfig {
    /// Each side of the maps must be a multiple of this.
    pub fn side_multiple(&self) -> usize {
        1 << self.dim_mults.len().saturating_sub(1).min(30)
    }

    /// Checks that the network can be built.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first field that is not usable.
    pub fn validate(&self) -> Result<()> {
        let noise = self.dim * self.noise_mult;
        let sum: f64 = self.filter.iter().sum();
        let checks = [
            ("channels", self.channels > 0, "at least 1", self.channels.to_string()),
            ("dim", self.dim >= 4, "at least 4", self.dim.to_string()),
            (
                "noise_mult",
                noise >= 4 && noise.is_multiple_of(2),
                "an even number of features, at least 4",
                format!("{} with dim {}", self.noise_mult, self.dim),
            ),
            (
                "dim_mults",
                (1..16).contains(&self.dim_mults.len()) && self.dim_mults.iter().all(|m| *m > 0),
                "1 to 15 levels of at least 1",
                format!("{:?}", self.dim_mults),
            ),
            ("embedding_mult", self.embedding_mult > 0, "at least 1", self.embedding_mult.to_string()),
            ("dropout", (0.0..1.0).contains(&self.dropout), "in [0, 1)", self.dropout.to_string()),
            (
                "filter",
                !self.filter.is_empty() && self.filter.len().is_multiple_of(2) && sum.is_normal(),
                "an even number of weights whose sum is not zero",
                format!("{:?}", self.filter),
            ),
        ];
        check("SongUNet", &checks)
    }
}

pub(super) fn check(model: &'static str, checks: &[(&str, bool, &str, String)]) -> Result<()> {
    match checks.iter().find(|(_, ok, _, _)| !ok) {
        None => Ok(()),
        Some((field, _, expected, got)) => Err(Error::Config {
            model,
            field: (*field).to_owned(),
            expected: (*expected).to_owned(),
            got: got.clone(),
        }),
    }
}

/// DDPM++ or NCSN++ for maps `[batch, channel, y, x]`.
///
/// A U-Net of residual blocks that end in a factor $1/\sqrt 2$, group normalisation of 4 or more channels, attention of
/// one head at chosen resolutions, and for NCSN++ the input carried along the encoder, smooth resampling and random
/// Fourier features of the noise level.
///
/// # Source
/// Song et al. 2021, arXiv:2011.13456, as in the code of Karras et al. 2022, arXiv:2206.00364 (`SongUNet`), with its
/// parameter names: its state dicts load, without the buffers `resample_filter`, which the configuration holds.
///
/// # Differences
/// Periodic padding and further input channels for a conditioning field are options of ours; there are no labels of
/// augmentation. Parameters take the place of class labels.
pub struct SongUNet {
    noise: Noise,
    label: Option<Linear>,
    layers: (Linear, Linear),
    encoder: Vec<Encode>,
    decoder: Vec<Decode>,
    shape: NetworkShape,
    multiple: usize,
}

enum Noise {
    Positional(Vec<f64>),
    Fourier(Tensor),
}

enum Encode {
    Conv(ResampleConv),
    Block(Box<Block>),
    AuxDown(ResampleConv),
    AuxSkip(ResampleConv),
    AuxResidual(ResampleConv),
}

enum Decode {
    /// A block, behind the concatenation of a skip or not.
    Block(Box<Block>, bool),
    AuxUp(ResampleConv),
    Out(Box<(GroupNorm, ResampleConv)>),
}

impl SongUNet {
    /// Builds the network on the parameters of `vb`.
    ///
    /// # Errors
    /// [`Error::Config`] when the configuration is not usable; Candle's when a parameter does not fit.
    pub fn new(config: &SongConfig, shape: &NetworkShape, vb: VarBuilder) -> Result<Self> {
        config.validate()?;
        check_shape("SongUNet", shape, config.side_multiple())?;
        let (dim, embedding) = (config.dim, config.dim * config.embedding_mult);
        let begin = Begin { rule: Rule::Xavier, weight: 1.0, bias: 0.0 };
        let style = Style {
            embedding,
            heads: Some(1),
            dropout: config.dropout,
            skip_scale: 0.5f64.sqrt(),
            eps: 1e-6,
            filter: config.filter.clone(),
            resample_proj: true,
            adaptive_scale: false,
            padding: config.padding,
            begin,
            begin_last: begin.scaled(config.last_weight),
            begin_attention: begin.scaled(0.2f64.sqrt()),
        };
        let conv = |channels, kernel, change, begin, vb| {
            ResampleConv::new(channels, kernel, (change, &config.filter), config.padding, begin, vb)
        };
        let block =
            |channels, change, attend, vb| Block::new(channels, change, attend, &style, vb).map(Box::new);
        let side = |level: usize| shape.side >> level;
        let name = |level: usize, part: &str| format!("{0}x{0}_{part}", side(level));

        let inputs = shape.channels + shape.field;
        let (mut encoder, mut skips, enc) = (Vec::new(), Vec::new(), vb.pp("enc"));
        let (mut width, mut aux) = (dim, inputs);
        for (level, mult) in config.dim_mults.iter().enumerate() {
            if level == 0 {
                let vb = enc.pp(name(level, "conv"));
                encoder.push(Encode::Conv(conv((inputs, dim), 3, Change::None, begin, vb)?));
            } else {
                let vb = enc.pp(name(level, "down"));
                encoder.push(Encode::Block(block((width, width), Change::Down, false, vb)?));
                match config.encoder {
                    Encoder::Standard => {}
                    Encoder::Skip => {
                        let vb = enc.pp(name(level, "aux_down"));
                        encoder.push(Encode::AuxDown(conv((aux, aux), 0, Change::Down, begin, vb)?));
                        let vb = enc.pp(name(level, "aux_skip"));
                        encoder.push(Encode::AuxSkip(conv((aux, width), 1, Change::None, begin, vb)?));
                    }
                    Encoder::Residual => {
                        let vb = enc.pp(name(level, "aux_residual"));
                        let layer = conv((aux, width), 3, Change::Down, begin, vb)?.fused();
                        encoder.push(Encode::AuxResidual(layer));
                        aux = width;
                    }
                }
            }
            skips.push(width);
            for i in 0..config.blocks {
                let (from, to) = (width, dim * mult);
                let vb = enc.pp(name(level, &format!("block{i}")));
                let attend = config.attention.contains(&side(level));
                encoder.push(Encode::Block(block((from, to), Change::None, attend, vb)?));
                width = to;
                skips.push(width);
            }
        }

        let (mut decoder, dec, levels) = (Vec::new(), vb.pp("dec"), config.dim_mults.len());
        for (level, mult) in config.dim_mults.iter().enumerate().rev() {
            let same = (width, width);
            if level + 1 == levels {
                for (part, attend) in [("in0", true), ("in1", false)] {
                    let vb = dec.pp(name(level, part));
                    decoder.push(Decode::Block(block(same, Change::None, attend, vb)?, false));
                }
            } else {
                let vb = dec.pp(name(level, "up"));
                decoder.push(Decode::Block(block(same, Change::Up, false, vb)?, false));
            }
            for i in 0..=config.blocks {
                let (from, to) = (width + skips.pop().unwrap_or(0), dim * mult);
                let attend = i == config.blocks && config.attention.contains(&side(level));
                let vb = dec.pp(name(level, &format!("block{i}")));
                decoder.push(Decode::Block(block((from, to), Change::None, attend, vb)?, true));
                width = to;
            }
            let sums = config.decoder == Decoder::Skip;
            if sums && level + 1 < levels {
                let (both, vb) = ((shape.outputs, shape.outputs), dec.pp(name(level, "aux_up")));
                decoder.push(Decode::AuxUp(conv(both, 0, Change::Up, begin, vb)?));
            }
            if sums || level == 0 {
                let vb = dec.pp(name(level, "aux_norm"));
                let norm = norm(width, 1e-6, vb)?.with_activation(Activation::Silu);
                let vb = dec.pp(name(level, "aux_conv"));
                let last = conv((width, shape.outputs), 3, Change::None, style.begin_last, vb)?;
                decoder.push(Decode::Out(Box::new((norm, last))));
            }
        }

        let features = dim * config.noise_mult;
        let noise = match config.noise {
            NoiseEmbedding::Positional => Noise::Positional(positional(features, true)),
            NoiseEmbedding::Fourier => {
                let normal = Init::Randn { mean: 0.0, stdev: 16.0 };
                Noise::Fourier(vb.get_with_hints(features / 2, "map_noise.freqs", normal)?.detach())
            }
        };
        Ok(Self {
            noise,
            label: (shape.vector > 0)
                .then(|| begin.linear(shape.vector, features, vb.pp("map_label")))
                .transpose()?,
            layers: (
                begin.linear(features, embedding, vb.pp("map_layer0"))?,
                begin.linear(embedding, embedding, vb.pp("map_layer1"))?,
            ),
            encoder,
            decoder,
            shape: *shape,
            multiple: config.side_multiple(),
        })
    }

    fn embed(&self, t: &[f64], context: &Context<'_>, like: &Tensor) -> Result<Tensor> {
        let mut embedding = match &self.noise {
            Noise::Positional(frequencies) => sinusoids(t, frequencies, like)?,
            Noise::Fourier(frequencies) => {
                let frequencies = (frequencies * std::f64::consts::TAU)?.unsqueeze(0)?;
                let phases = times(t, like)?.matmul(&frequencies)?;
                Tensor::cat(&[&phases.sin()?, &phases.cos()?], 1)?
            }
        };
        if let (Some(label), Some(vector)) = (&self.label, context.vector) {
            let vector = (vector * (vector.dim(1)? as f64).sqrt())?;
            embedding = (embedding + label.forward(&vector)?)?;
        }
        let embedding = silu(&self.layers.0.forward(&embedding)?)?;
        Ok(silu(&self.layers.1.forward(&embedding)?)?)
    }
}

/// Frequencies in a geometric series from 1 to 1/10,000, the last one included or not.
pub(super) fn positional(features: usize, endpoint: bool) -> Vec<f64> {
    let half = features / 2;
    let steps = half as f64 - if endpoint { 1.0 } else { 0.0 };
    (0..half).map(|i| 1e-4f64.powf(i as f64 / steps)).collect()
}

impl Network for SongUNet {
    fn forward(&self, x: &Tensor, t: &[f64], context: &Context<'_>) -> Result<Tensor> {
        check_input("SongUNet", &self.shape, self.multiple, x, t, context)?;
        let embedding = self.embed(t, context, x)?;
        let mut skips: Vec<Tensor> = Vec::new();
        let (mut aux, mut x) = (x.clone(), x.clone());
        for layer in &self.encoder {
            match layer {
                Encode::Conv(conv) => x = conv.forward(&x)?,
                Encode::Block(block) => x = block.forward(&x, &embedding, context)?,
                Encode::AuxDown(conv) => {
                    aux = conv.forward(&aux)?;
                    continue;
                }
                Encode::AuxSkip(conv) => x = add(&x, &conv.forward(&aux)?)?,
                Encode::AuxResidual(conv) => {
                    x = (add(&x, &conv.forward(&aux)?)? * 0.5f64.sqrt())?;
                    aux = x.clone();
                }
            }
            if matches!(layer, Encode::AuxSkip(_) | Encode::AuxResidual(_)) {
                skips.pop();
            }
            skips.push(x.clone());
        }
        let mut out: Option<Tensor> = None;
        for layer in &self.decoder {
            match layer {
                Decode::Block(block, joins) => {
                    if let Some(skip) = if *joins { skips.pop() } else { None } {
                        x = concat_channels(&x, &skip)?;
                    }
                    x = block.forward(&x, &embedding, context)?;
                }
                Decode::AuxUp(conv) => out = out.map(|out| conv.forward(&out)).transpose()?,
                Decode::Out(last) => {
                    let (norm, conv) = last.as_ref();
                    let this = conv.forward(&norm.forward(&x)?)?;
                    out = Some(match out {
                        Some(out) => add(&this, &out)?,
                        None => this,
                    });
                }
            }
        }
        Ok(out.unwrap_or(x))
    }

    fn trains(&self, parameter: &str) -> bool {
        !parameter.ends_with("map_noise.freqs")
    }
}

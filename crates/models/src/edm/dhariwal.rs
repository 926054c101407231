//! ADM (Dhariwal & Nichol 2021), as EDM has it.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use halocast_kernels::nn::{GroupNorm, Linear};
use halocast_kernels::{Activation, PadMode, concat_channels, silu};
use serde::{Deserialize, Serialize};

use super::block::{Block, Style};
use super::layers::{Begin, Change, ResampleConv, Rule, norm};
use super::song::{check, positional};
use super::{check_input, check_shape};
use crate::Result;
use crate::network::{Context, Network, NetworkShape, sinusoids};

/// The shape of a [`DhariwalUNet`]; the default has the values of Karras et al. 2022.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DhariwalConfig {
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
    /// Sides of the maps at which it attends, with a head for each 64 channels (none below 64).
    pub attention: Vec<usize>,
    /// Fraction of the numbers dropped in each block, while training.
    pub dropout: f64,
    /// Factor of the initial weights of the convolutions that end a residual branch, and of the last one.
    pub last_weight: f64,
    /// How convolutions see past the edge: `circular` for periodic maps.
    pub padding: PadMode,
    /// Number of conditioning parameters; 0 for none.
    pub parameters: usize,
}

impl Default for DhariwalConfig {
    fn default() -> Self {
        Self {
            channels: 1,
            dim: 192,
            dim_mults: vec![1, 2, 3, 4],
            embedding_mult: 4,
            blocks: 3,
            attention: vec![32, 16, 8],
            dropout: 0.1,
            last_weight: 0.0,
            padding: PadMode::Zeros,
            parameters: 0,
        }
    }
}

impl DhariwalConfig {
    /// Each side of the maps must be a multiple of this.
    pub fn side_multiple(&self) -> usize {
        1 << self.dim_mults.len().saturating_sub(1).min(30)
    }

    /// Checks that the network can be built.
    ///
    /// # Errors
    /// [`crate::Error::Config`] naming the first field that is not usable.
    pub fn validate(&self) -> Result<()> {
        let checks = [
            ("channels", self.channels > 0, "at least 1", self.channels.to_string()),
            ("dim", self.dim >= 4 && self.dim.is_multiple_of(2), "even, at least 4", self.dim.to_string()),
            (
                "dim_mults",
                (1..16).contains(&self.dim_mults.len()) && self.dim_mults.iter().all(|m| *m > 0),
                "1 to 15 levels of at least 1",
                format!("{:?}", self.dim_mults),
            ),
            ("embedding_mult", self.embedding_mult > 0, "at least 1", self.embedding_mult.to_string()),
            ("dropout", (0.0..1.0).contains(&self.dropout), "in [0, 1)", self.dropout.to_string()),
        ];
        check("DhariwalUNet", &checks)
    }
}

/// ADM for maps `[batch, channel, y, x]`.
///
/// A U-Net of residual blocks whose channels the embedding scales and shifts, with attention at chosen resolutions. The
/// last convolution of each residual branch begins at zero, so that the network does.
///
/// # Source
/// Dhariwal & Nichol 2021, arXiv:2105.05233, as in the code of Karras et al. 2022, arXiv:2206.00364 (`DhariwalUNet`),
/// with its parameter names: its state dicts load, without the buffers `resample_filter`.
///
/// # Differences
/// Periodic padding and further input channels for a conditioning field are options of ours; there are no labels of
/// augmentation. Parameters take the place of class labels.
pub struct DhariwalUNet {
    frequencies: Vec<f64>,
    label: Option<Linear>,
    layers: (Linear, Linear),
    first: ResampleConv,
    encoder: Vec<Block>,
    /// Each behind the concatenation of a skip or not.
    decoder: Vec<(Block, bool)>,
    out: (GroupNorm, ResampleConv),
    shape: NetworkShape,
    multiple: usize,
}

impl DhariwalUNet {
    /// Builds the network on the parameters of `vb`.
    ///
    /// # Errors
    /// [`crate::Error::Config`] when the configuration is not usable; Candle's when a parameter does not fit.
    pub fn new(config: &DhariwalConfig, shape: &NetworkShape, vb: VarBuilder) -> Result<Self> {
        config.validate()?;
        check_shape("DhariwalUNet", shape, config.side_multiple())?;
        let (dim, embedding) = (config.dim, config.dim * config.embedding_mult);
        let third = (1.0f64 / 3.0).sqrt();
        let begin = Begin { rule: Rule::Kaiming, weight: third, bias: third };
        let last = begin.scaled(config.last_weight);
        let filter = [1.0, 1.0];
        let style = Style {
            embedding,
            heads: None,
            dropout: config.dropout,
            skip_scale: 1.0,
            eps: 1e-5,
            filter: filter.to_vec(),
            resample_proj: false,
            adaptive_scale: true,
            padding: config.padding,
            begin,
            begin_last: last,
            begin_attention: begin,
        };
        let conv = |channels, begin, vb| {
            ResampleConv::new(channels, 3, (Change::None, &filter), config.padding, begin, vb)
        };
        let block = |channels, change, attend, vb| Block::new(channels, change, attend, &style, vb);
        let side = |level: usize| shape.side >> level;
        let name = |level: usize, part: &str| format!("{0}x{0}_{part}", side(level));
        let (enc, dec, levels) = (vb.pp("enc"), vb.pp("dec"), config.dim_mults.len());

        let mut width = dim * config.dim_mults.first().copied().unwrap_or(1);
        let first = conv((shape.channels + shape.field, width), begin, enc.pp(name(0, "conv")))?;
        let (mut encoder, mut skips) = (Vec::new(), vec![width]);
        for (level, mult) in config.dim_mults.iter().enumerate() {
            if level > 0 {
                let vb = enc.pp(name(level, "down"));
                encoder.push(block((width, width), Change::Down, false, vb)?);
                skips.push(width);
            }
            for i in 0..config.blocks {
                let to = dim * mult;
                let vb = enc.pp(name(level, &format!("block{i}")));
                let attend = config.attention.contains(&side(level));
                encoder.push(block((width, to), Change::None, attend, vb)?);
                width = to;
                skips.push(width);
            }
        }
        let mut decoder = Vec::new();
        for (level, mult) in config.dim_mults.iter().enumerate().rev() {
            let same = (width, width);
            if level + 1 == levels {
                for (part, attend) in [("in0", true), ("in1", false)] {
                    decoder.push((block(same, Change::None, attend, dec.pp(name(level, part)))?, false));
                }
            } else {
                decoder.push((block(same, Change::Up, false, dec.pp(name(level, "up")))?, false));
            }
            for i in 0..=config.blocks {
                let (from, to) = (width + skips.pop().unwrap_or(0), dim * mult);
                let vb = dec.pp(name(level, &format!("block{i}")));
                let attend = config.attention.contains(&side(level));
                decoder.push((block((from, to), Change::None, attend, vb)?, true));
                width = to;
            }
        }
        let label = Begin { rule: Rule::Normal, weight: (shape.vector as f64).sqrt(), bias: 0.0 };
        Ok(Self {
            frequencies: positional(dim, false),
            label: (shape.vector > 0)
                .then(|| label.linear_no_bias(shape.vector, embedding, vb.pp("map_label")))
                .transpose()?,
            layers: (
                begin.linear(dim, embedding, vb.pp("map_layer0"))?,
                begin.linear(embedding, embedding, vb.pp("map_layer1"))?,
            ),
            first,
            encoder,
            decoder,
            out: (
                norm(width, 1e-5, vb.pp("out_norm"))?.with_activation(Activation::Silu),
                conv((width, shape.outputs), last, vb.pp("out_conv"))?,
            ),
            shape: *shape,
            multiple: config.side_multiple(),
        })
    }

    fn embed(&self, t: &[f64], context: &Context<'_>, like: &Tensor) -> Result<Tensor> {
        let sines_first = sinusoids(t, &self.frequencies, like)?;
        let half = self.frequencies.len();
        let features =
            Tensor::cat(&[&sines_first.narrow(1, half, half)?, &sines_first.narrow(1, 0, half)?], 1)?;
        let mut embedding = self.layers.1.forward(&silu(&self.layers.0.forward(&features)?)?)?;
        if let (Some(label), Some(vector)) = (&self.label, context.vector) {
            embedding = (embedding + label.forward(vector)?)?;
        }
        Ok(silu(&embedding)?)
    }
}

impl Network for DhariwalUNet {
    fn forward(&self, x: &Tensor, t: &[f64], context: &Context<'_>) -> Result<Tensor> {
        check_input("DhariwalUNet", &self.shape, self.multiple, x, t, context)?;
        let embedding = self.embed(t, context, x)?;
        let mut x = self.first.forward(x)?;
        let mut skips = vec![x.clone()];
        for block in &self.encoder {
            x = block.forward(&x, &embedding, context)?;
            skips.push(x.clone());
        }
        for (block, joins) in &self.decoder {
            if let Some(skip) = if *joins { skips.pop() } else { None } {
                x = concat_channels(&x, &skip)?;
            }
            x = block.forward(&x, &embedding, context)?;
        }
        self.out.1.forward(&self.out.0.forward(&x)?)
    }
}

//! The U-Net of lucidrains' denoising-diffusion-pytorch, over one, two or three axes.

mod attention;
mod blocks;
mod config;

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};
use halocast_kernels::nn::Linear;
use halocast_kernels::{ConvSpec, concat_channels, gelu, silu};

use attention::AttentionBlock;
use blocks::{Layout, Resample, ResidualBlock};
pub use config::{LucidrainsConfig, TimeFeatures};

use crate::network::{Context, Conv, Network, NetworkShape, sinusoids, times};
use crate::{Error, Result};

/// The U-Net of lucidrains' denoising diffusion, F(x, t), on `[batch, channel, ..]` of one to three axes.
///
/// A 7x7 convolution; down: two residual blocks, linear or full attention, blocks of 2x2 pixels into channels; middle:
/// block, full attention, block; up: the mirror image, each block with its skip, by nearest neighbours; last a block on
/// the output beside that of the first convolution, and a 1x1 convolution. Normalisation is by the root mean square of the
/// channels, the embedding of the time scales and shifts the channels of every block, attention has `memory` learned keys
/// and values.
///
/// # Source
/// <https://github.com/lucidrains/denoising-diffusion-pytorch>, class `Unet`, with its parameter names: its state dicts
/// load. After Ho et al. 2020 and Nichol & Dhariwal 2021; self-conditioning is of Chen et al. 2022.
///
/// # Differences
/// One and three axes, periodic or reflected padding, conditioning on parameters (two linear layers `param_mlp` whose output
/// is added to the embedding of the time, so that they scale and shift every block) and on a field (as further input
/// channels) are options of ours.
///
/// # Cost
/// $O(N)$ in the pixels but for full attention, which is $O(N^2)$ at its levels.
pub struct Lucidrains {
    embedding: Embedding,
    init_conv: Conv,
    downs: Vec<Level>,
    middle: (ResidualBlock, AttentionBlock, ResidualBlock),
    ups: Vec<Level>,
    final_block: ResidualBlock,
    final_conv: Conv,
    config: LucidrainsConfig,
    shape: NetworkShape,
}

struct Level {
    block1: ResidualBlock,
    block2: ResidualBlock,
    attention: AttentionBlock,
    resample: Resample,
}

impl Lucidrains {
    /// Builds the network on the parameters of `vb`.
    ///
    /// # Errors
    /// [`Error::Config`] when the configuration is not usable; Candle's when a parameter does not fit.
    pub fn new(config: &LucidrainsConfig, shape: &NetworkShape, vb: VarBuilder) -> Result<Self> {
        config.validate()?;
        let first = config.init_dim.unwrap_or(config.dim);
        let axes = shape.axes;
        let spec = ConvSpec { pad_mode: config.padding, ..Default::default() };
        let layout = Layout { axes, spec, time: 4 * config.dim, dropout: config.dropout };
        let block = |from, to, vb| ResidualBlock::new(from, to, layout, vb);
        let attend = |dim, level, full, vb| {
            AttentionBlock::new(dim, config.heads(level), config.memory, full, axes, vb)
        };
        let widths: Vec<usize> =
            std::iter::once(first).chain(config.dim_mults.iter().map(|m| m * config.dim)).collect();
        let pairs: Vec<(usize, usize)> = widths.windows(2).map(|pair| (pair[0], pair[1])).collect();
        let (levels, inner) = (pairs.len(), pairs.last().map_or(first, |pair| pair.1));

        let mut downs = Vec::new();
        for (i, &(from, to)) in pairs.iter().enumerate() {
            let vb = vb.pp(format!("downs.{i}"));
            downs.push(Level {
                block1: block(from, from, vb.pp("0"))?,
                block2: block(from, from, vb.pp("1"))?,
                attention: attend(from, i, config.full(i), vb.pp("2"))?,
                resample: Resample::down(from, to, i + 1 == levels, layout, vb.pp("3"))?,
            });
        }
        let middle = (
            block(inner, inner, vb.pp("mid_block1"))?,
            attend(inner, levels - 1, true, vb.pp("mid_attn"))?,
            block(inner, inner, vb.pp("mid_block2"))?,
        );
        let mut ups = Vec::new();
        for (i, &(to, from)) in pairs.iter().rev().enumerate() {
            let (vb, level) = (vb.pp(format!("ups.{i}")), levels - 1 - i);
            ups.push(Level {
                block1: block(from + to, from, vb.pp("0"))?,
                block2: block(from + to, from, vb.pp("1"))?,
                attention: attend(from, level, config.full(level), vb.pp("2"))?,
                resample: Resample::up(from, to, i + 1 == levels, layout, vb.pp("3"))?,
            });
        }
        let inputs = shape.channels * (1 + usize::from(config.self_condition)) + shape.field;
        Ok(Self {
            embedding: Embedding::new(config, shape.vector, vb.clone())?,
            init_conv: Conv::new(axes, inputs, first, 7, spec, vb.pp("init_conv"))?,
            downs,
            middle,
            ups,
            final_block: block(2 * first, first, vb.pp("final_res_block"))?,
            final_conv: Conv::new(axes, first, shape.outputs, 1, ConvSpec::default(), vb.pp("final_conv"))?,
            config: config.clone(),
            shape: *shape,
        })
    }

    /// The embedding of time and parameters, `[batch, 4 dim]`.
    ///
    /// # Errors
    /// When the parameters do not fit.
    pub fn embed(&self, t: &[f64], vector: Option<&Tensor>, like: &Tensor) -> Result<Tensor> {
        self.embedding.forward(t, vector, like)
    }
}

impl Network for Lucidrains {
    fn forward(&self, x: &Tensor, t: &[f64], context: &Context<'_>) -> Result<Tensor> {
        let (shape, m, inputs) =
            (x.dims(), self.config.side_multiple(), self.shape.channels + self.shape.field);
        let fits = shape.len() == self.shape.axes + 2
            && shape[..2] == [t.len(), inputs]
            && shape[2..].iter().all(|side| *side > 0 && side.is_multiple_of(m));
        if !fits {
            return Err(Error::Shape {
                operation: "lucidrains' U-Net",
                what: "x".into(),
                expected: format!("[{}, {inputs}] and {} multiples of {m}", t.len(), self.shape.axes),
                got: shape.to_vec(),
            });
        }
        let embedding = silu(&self.embedding.forward(t, context.vector, x)?)?;
        let mut x = x.clone();
        if self.config.self_condition {
            let previous = match context.previous {
                Some(previous) => previous.clone(),
                None => x.narrow(1, 0, self.shape.channels)?.zeros_like()?,
            };
            x = concat_channels(&previous, &x)?;
        }
        x = self.init_conv.forward(&x)?;
        let first = x.clone();
        let mut skips = Vec::new();
        for level in &self.downs {
            x = level.block1.forward(&x, &embedding, context)?;
            skips.push(x.clone());
            x = level.attention.forward(&level.block2.forward(&x, &embedding, context)?)?;
            skips.push(x.clone());
            x = level.resample.forward(&x)?;
        }
        let (block1, attention, block2) = &self.middle;
        x = attention.forward(&block1.forward(&x, &embedding, context)?)?;
        x = block2.forward(&x, &embedding, context)?;
        let mut join = |x: &Tensor| match skips.pop() {
            Some(skip) => Ok(concat_channels(x, &skip)?),
            None => Ok::<_, Error>(x.clone()),
        };
        for level in &self.ups {
            x = level.block1.forward(&join(&x)?, &embedding, context)?;
            x = level.attention.forward(&level.block2.forward(&join(&x)?, &embedding, context)?)?;
            x = level.resample.forward(&x)?;
        }
        x = self.final_block.forward(&concat_channels(&x, &first)?, &embedding, context)?;
        self.final_conv.forward(&x)
    }

    fn trains(&self, parameter: &str) -> bool {
        let fixed = matches!(self.config.time, TimeFeatures::Random { .. });
        !(fixed && parameter.ends_with("time_mlp.0.weights"))
    }
}

/// Features of t, a linear layer, GELU, a linear layer; parameters are added behind two layers of their own.
struct Embedding {
    features: Features,
    first: Linear,
    second: Linear,
    parameters: Option<(Linear, Linear)>,
}

enum Features {
    Fixed(Vec<f64>),
    Weights(Tensor),
}

impl Embedding {
    fn new(config: &LucidrainsConfig, vector: usize, vb: VarBuilder) -> Result<Self> {
        let hidden = 4 * config.dim;
        let weights = |dim: usize, fixed: bool| -> Result<(Features, usize)> {
            let normal = Init::Randn { mean: 0.0, stdev: 1.0 };
            let weights = vb.get_with_hints(dim / 2, "time_mlp.0.weights", normal)?;
            Ok((Features::Weights(if fixed { weights.detach() } else { weights }), dim + 1))
        };
        let (features, inputs) = match config.time {
            TimeFeatures::Sinusoidal { theta } => {
                let rate = -theta.ln() / (config.dim as f64 / 2.0 - 1.0);
                let frequencies = (0..config.dim / 2).map(|i| (rate * i as f64).exp()).collect();
                (Features::Fixed(frequencies), config.dim)
            }
            TimeFeatures::Learned { dim } => weights(dim, false)?,
            TimeFeatures::Random { dim } => weights(dim, true)?,
        };
        let layers = |vb: VarBuilder| -> Result<(Linear, Linear)> {
            Ok((Linear::new(vector, hidden, vb.pp("0"))?, Linear::new(hidden, hidden, vb.pp("2"))?))
        };
        Ok(Self {
            features,
            first: Linear::new(inputs, hidden, vb.pp("time_mlp.1"))?,
            second: Linear::new(hidden, hidden, vb.pp("time_mlp.3"))?,
            parameters: (vector > 0).then(|| layers(vb.pp("param_mlp"))).transpose()?,
        })
    }

    fn forward(&self, t: &[f64], vector: Option<&Tensor>, like: &Tensor) -> Result<Tensor> {
        let features = match &self.features {
            Features::Fixed(frequencies) => sinusoids(t, frequencies, like)?,
            Features::Weights(weights) => {
                let t = times(t, like)?;
                let phases = (t.matmul(&weights.unsqueeze(0)?)? * std::f64::consts::TAU)?;
                Tensor::cat(&[&t, &phases.sin()?, &phases.cos()?], 1)?
            }
        };
        let embedding = self.second.forward(&gelu(&self.first.forward(&features)?)?)?;
        match (&self.parameters, vector) {
            (Some((first, second)), Some(vector)) => {
                Ok((embedding + second.forward(&gelu(&first.forward(vector)?)?)?)?)
            }
            (None, None) => Ok(embedding),
            (layers, _) => {
                let name = |given: bool| if given { "parameters" } else { "none" }.to_owned();
                let (expected, got) = (name(layers.is_some()), name(vector.is_some()));
                Err(Error::Condition { model: "lucidrains' U-Net", expected, got })
            }
        }
    }
}

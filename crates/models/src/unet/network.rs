//! The network itself.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use halocast_kernels::nn::{Conv2d, ConvTranspose2d, Linear};
use halocast_kernels::{Conv2dSpec, concat_channels, gelu, silu};

use super::blocks::{AttentionBlock, ResidualBlock};
use super::{Attention, UNetConfig};
use crate::network::{Context, Network, NetworkShape};
use crate::{Cond, Error, Result};

/// A U-Net eps(x, t) on maps `[batch, channel, y, x]`.
///
/// Down: two residual blocks, linear attention, a 4x4 convolution of stride 2; middle: block, full attention, block; up:
/// concatenation, two residual blocks, linear attention, a 4x4 transposed convolution; last a residual block without
/// time and a 1x1 convolution.
///
/// # Source
/// Ho et al. 2020, in the variant of Mudur & Finkbeiner 2022, with their parameter names: their state dicts load. As in
/// their code the skip of the first level is not used.
///
/// # Differences
/// Circular padding, leaving out attention, and conditioning on parameters and on a field (as further input channels) are
/// options of ours.
pub struct UNet {
    time: TimeEmbedding,
    downs: Vec<Level>,
    middle: (ResidualBlock, Option<AttentionBlock>, ResidualBlock),
    ups: Vec<Level>,
    final_block: ResidualBlock,
    final_conv: Conv2d,
    channels: usize,
    side_multiple: usize,
}

struct Level {
    block1: ResidualBlock,
    block2: ResidualBlock,
    attention: Option<AttentionBlock>,
    resample: Resample,
}

enum Resample {
    Down(Conv2d),
    Up(ConvTranspose2d),
    Keep,
}

impl UNet {
    /// Builds the network on the parameters of `vb`.
    ///
    /// # Errors
    /// [`Error::Config`] when the configuration is not usable; Candle's when a parameter does not fit.
    pub fn new(config: &UNetConfig, vb: VarBuilder) -> Result<Self> {
        let (channels, vector, field) = (config.channels, config.parameters, config.condition_channels);
        let shape =
            NetworkShape { axes: 2, side: 0, channels, field, vector, outputs: config.channels_out() };
        Self::of_shape(config, &shape, vb)
    }

    /// As [`UNet::new`], with the channels and parameters of `shape`: further input channels hold a conditioning field.
    ///
    /// # Errors
    /// As [`UNet::new`], and for events that are no maps.
    pub fn of_shape(config: &UNetConfig, shape: &NetworkShape, vb: VarBuilder) -> Result<Self> {
        config.validate()?;
        if shape.axes != 2 {
            return Err(Error::Config {
                model: "U-Net",
                field: "axes of the event".into(),
                expected: "2 (lines and cubes have the network \"lucidrains\")".into(),
                got: shape.axes.to_string(),
            });
        }
        for (field, own, wanted) in [
            ("condition_channels", config.condition_channels, shape.field),
            ("out_channels", config.out_channels, shape.outputs),
        ] {
            if own != 0 && own != wanted {
                let (field, expected) = (field.to_owned(), format!("0 or {wanted}, as the model has it"));
                return Err(Error::Config { model: "U-Net", field, expected, got: own.to_string() });
            }
        }
        let widths: Vec<usize> = config.dim_mults.iter().map(|m| m * config.dim).collect();
        let time_dim = 4 * config.dim;
        let time = TimeEmbedding::new(config, shape.vector, vb.clone())?;
        let residual = |from, to, vb| ResidualBlock::new(from, to, Some(time_dim), config, vb);
        let linear = config.attention == Attention::Everywhere;
        let attend = |dim, vb| linear.then(|| AttentionBlock::new(dim, true, config, vb)).transpose();
        let spec = Conv2dSpec { stride: 2, padding: 1, pad_mode: config.padding, ..Default::default() };

        let mut downs = Vec::new();
        let mut from = shape.channels + shape.field;
        for (i, &to) in widths.iter().enumerate() {
            let vb = vb.pp(format!("downs.{i}"));
            let last = i + 1 == widths.len();
            downs.push(Level {
                block1: residual(from, to, vb.pp("0"))?,
                block2: residual(to, to, vb.pp("1"))?,
                attention: attend(to, vb.pp("2"))?,
                resample: if last {
                    Resample::Keep
                } else {
                    Resample::Down(Conv2d::new(to, to, 4, spec, vb.pp("3"))?)
                },
            });
            from = to;
        }

        let full = (config.attention != Attention::Nowhere)
            .then(|| AttentionBlock::new(from, false, config, vb.pp("mid_attn")))
            .transpose()?;
        let middle =
            (residual(from, from, vb.pp("mid_block1"))?, full, residual(from, from, vb.pp("mid_block2"))?);

        let mut ups = Vec::new();
        for (i, pair) in widths.windows(2).rev().enumerate() {
            let vb = vb.pp(format!("ups.{i}"));
            let (to, from) = (pair[0], pair[1]);
            ups.push(Level {
                block1: residual(2 * from, to, vb.pp("0"))?,
                block2: residual(to, to, vb.pp("1"))?,
                attention: attend(to, vb.pp("2"))?,
                resample: Resample::Up(ConvTranspose2d::new(to, to, 4, spec, vb.pp("3"))?),
            });
        }

        let first = widths.first().copied().unwrap_or(config.dim);
        let pointwise = Conv2dSpec::default();
        Ok(Self {
            time,
            downs,
            middle,
            ups,
            final_block: ResidualBlock::new(first, first, None, config, vb.pp("final_conv.0"))?,
            final_conv: Conv2d::new(first, shape.outputs, 1, pointwise, vb.pp("final_conv.1"))?,
            channels: shape.channels + shape.field,
            side_multiple: config.side_multiple(),
        })
    }

    /// The network's output on maps `x` `[batch, channel, y, x]` at the time `t` of each example, with whatever it was
    /// built to be conditioned on: parameters go to the time embedding, a field behind the channels of the maps.
    ///
    /// # Errors
    /// [`Error::Condition`] for a set; [`Error::Shape`] as [`UNet::forward`].
    pub fn forward_on(&self, x: &Tensor, t: &[f64], cond: Option<&Cond>) -> Result<Tensor> {
        match cond {
            None => self.forward(x, t, None),
            Some(Cond::Vector(parameters)) => self.forward(x, t, Some(&parameters.to_dtype(x.dtype())?)),
            Some(Cond::Field(field)) => {
                let fits = field.rank() == 4
                    && x.rank() == 4
                    && field.dims()[0] == x.dims()[0]
                    && field.dims()[2..] == x.dims()[2..];
                if !fits {
                    return Err(Error::Shape {
                        operation: "U-Net",
                        what: "conditioning field".into(),
                        expected: format!("the batch and the grid of {:?}", x.dims()),
                        got: field.dims().to_vec(),
                    });
                }
                self.forward(&concat_channels(x, &field.to_dtype(x.dtype())?)?, t, None)
            }
            Some(other) => Err(Error::Condition {
                model: "U-Net",
                expected: "parameters or a field".into(),
                got: format!("{other:?}"),
            }),
        }
    }

    /// The network's output at the time `t` of each example of `x` `[batch, channel, y, x]`, whose channels are those of
    /// the maps and behind them those of the conditioning field, with conditioning parameters `[batch, parameter]` if it
    /// was built with them. It has the shape of `x` but for its channels.
    ///
    /// # Errors
    /// [`Error::Shape`] when a side is no multiple of 2^(levels - 1) or the channels differ.
    pub fn forward(&self, x: &Tensor, t: &[f64], parameters: Option<&Tensor>) -> Result<Tensor> {
        let shape = x.dims().to_vec();
        let m = self.side_multiple;
        if shape.len() != 4
            || shape[1] != self.channels
            || shape[2] % m + shape[3] % m != 0
            || shape[0] != t.len()
        {
            return Err(Error::Shape {
                operation: "U-Net",
                what: "x".into(),
                expected: format!("[{}, {}, multiple of {m}, multiple of {m}]", t.len(), self.channels),
                got: shape,
            });
        }
        let time = self.time.forward(t, parameters, x)?;
        let mut skips = Vec::new();
        let mut x = x.clone();
        for level in &self.downs {
            x = level.blocks(&x, &time)?;
            skips.push(x.clone());
            x = level.resample(&x)?;
        }
        let (block1, attention, block2) = &self.middle;
        x = block1.forward(&x, &time)?;
        if let Some(attention) = attention {
            x = attention.forward(&x)?;
        }
        x = block2.forward(&x, &time)?;
        for (level, skip) in self.ups.iter().zip(skips.iter().rev()) {
            x = level.blocks(&concat_channels(&x, skip)?, &time)?;
            x = level.resample(&x)?;
        }
        Ok(self.final_conv.forward(&self.final_block.forward(&x, &time)?)?)
    }
}

impl Network for UNet {
    fn forward(&self, x: &Tensor, t: &[f64], context: &Context<'_>) -> Result<Tensor> {
        self.forward(x, t, context.vector)
    }
}

impl Level {
    fn blocks(&self, x: &Tensor, time: &Tensor) -> Result<Tensor> {
        let x = self.block2.forward(&self.block1.forward(x, time)?, time)?;
        match &self.attention {
            Some(attention) => attention.forward(&x),
            None => Ok(x),
        }
    }

    fn resample(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match &self.resample {
            Resample::Down(conv) => conv.forward(x)?,
            Resample::Up(conv) => conv.forward(x)?,
            Resample::Keep => x.clone(),
        })
    }
}

/// Sinusoids of t, a linear layer, GELU, a linear layer; parameters are added by a linear layer of their own.
struct TimeEmbedding {
    dim: usize,
    first: Linear,
    second: Linear,
    parameters: Option<Linear>,
}

impl TimeEmbedding {
    fn new(config: &UNetConfig, parameters: usize, vb: VarBuilder) -> Result<Self> {
        let hidden = 4 * config.dim;
        Ok(Self {
            dim: config.dim,
            first: Linear::new(config.dim, hidden, vb.pp("time_mlp.1"))?,
            second: Linear::new(hidden, hidden, vb.pp("time_mlp.3"))?,
            parameters: (parameters > 0)
                .then(|| Linear::new(parameters, hidden, vb.pp("label_mlp")))
                .transpose()?,
        })
    }

    /// SiLU of the embedding, as every block takes it, of the float type and device of `x`.
    fn forward(&self, t: &[f64], parameters: Option<&Tensor>, x: &Tensor) -> Result<Tensor> {
        let half = self.dim / 2;
        let rate = -(10_000f64.ln()) / (half as f64 - 1.0).max(1.0);
        let mut values = Vec::with_capacity(t.len() * self.dim);
        for &t in t {
            let phases = (0..half).map(|i| t * (rate * i as f64).exp());
            values.extend(phases.clone().map(|p| p.sin() as f32));
            values.extend(phases.map(|p| p.cos() as f32));
        }
        let sinusoids = Tensor::from_vec(values, (t.len(), self.dim), x.device())?.to_dtype(x.dtype())?;
        let mut embedding = self.second.forward(&gelu(&self.first.forward(&sinusoids)?)?)?;
        match (&self.parameters, parameters) {
            (Some(layer), Some(p)) => embedding = (embedding + layer.forward(p)?)?,
            (None, None) => {}
            (layer, _) => {
                let name = |given: bool| if given { "parameters" } else { "none" }.to_owned();
                return Err(Error::Condition {
                    model: "U-Net",
                    expected: name(layer.is_some()),
                    got: name(parameters.is_some()),
                });
            }
        }
        Ok(silu(&embedding)?)
    }
}

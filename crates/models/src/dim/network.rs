//! The network itself.

use candle_core::{Device, Tensor};
use candle_nn::{Init, VarBuilder};
use halocast_kernels::nn::{Conv2d, Linear};
use halocast_kernels::{
    Conv2dSpec, ScanOrder, add, gated_add, index_select, linear, modulated_rms_norm, silu,
};

use super::embedding::{Embedding, condition};
use super::order::orders;
use super::{DimConfig, Mamba};
use crate::{Error, Result};

/// The largest width at which a long skip is joined by one linear map of both; above it there is one of each.
const JOINT_SKIP: usize = 512;
const EPS: f64 = 1e-5;

/// A Diffusion Mamba on maps `[batch, channel, y, x]`.
///
/// Patches of the map become tokens $s$, each with a learned embedding of its place; a depthwise 3x3 convolution smooths
/// them on their grid, learned tokens pad its rows and columns, and a token of the time (and one of the class) comes
/// first. Each block adds
///
/// $$ s \leftarrow s + (1 + g) \, \mathrm{Mamba}\left( (1 + \sigma) \frac{\gamma s}{\sqrt{\langle s^2 \rangle + \epsilon}}
///    + \tau \right) $$
///
/// where shift $\tau$, scale $\sigma$ and gate $g$ are a map of the time that all blocks share and a table of its own, and the
/// Mamba reads the grid by rows or columns, forwards or backwards, as its turn comes. In the second half each block first joins
/// $s$ with that of its counterpart in the first by a linear map. A second smoothing and a norm modulated by the time
/// end in patches of the output. Cost is linear in the number of tokens.
///
/// # Source
/// Teng et al. 2024, arXiv:2405.14224, sections 3.2 and 3.3, with the parameter names of the authors' program.
///
/// # Differences
/// The tokens stay in the order of the rows and each block's scan follows an order over them: the published program
/// permutes them before each block, with the same result. Circular padding of the smoothing convolutions, conditioning on
/// parameters (a network of them is added to the embeddings of the time) and on a field are options of ours.
pub struct Dim {
    config: DimConfig,
    embedding: Embedding,
    patches: Conv2d,
    place: Tensor,
    smoothers: [Conv2d; 2],
    padding: Option<(Tensor, Tensor)>,
    blocks: Vec<Block>,
    norm: Tensor,
    modulation: Linear,
    output: Linear,
}

/// What a network is conditioned on beside the time; the default is nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct DimCondition<'a> {
    /// The class of each example; the class of none where absent.
    pub labels: Option<&'a [u32]>,
    /// `[batch, parameter]`.
    pub parameters: Option<&'a Tensor>,
    /// `[batch, channel, y, x]`.
    pub field: Option<&'a Tensor>,
}

struct Block {
    order: ScanOrder,
    table: Tensor,
    norm: Tensor,
    mamba: Mamba,
    skip: Option<Skip>,
}

/// The linear map of a token and its counterpart of the encoder.
enum Skip {
    Joint(Linear),
    Apart(Linear, Linear),
}

impl Dim {
    /// Builds the network on the parameters of `vb`.
    ///
    /// # Errors
    /// [`Error::Config`] when the configuration is not usable; Candle's when a parameter does not fit.
    pub fn new(config: &DimConfig, vb: VarBuilder) -> Result<Self> {
        config.validate()?;
        let &DimConfig { dim, patch, pad, .. } = config;
        let patches = Conv2dSpec { stride: patch, ..Default::default() };
        let smooth = Conv2dSpec { padding: 1, groups: dim, pad_mode: config.padding, ..Default::default() };
        let adapter = vb.pp("a4m_adapter");
        let smoother = |name: &str| Conv2d::new(dim, dim, 3, smooth, adapter.pp(name));
        let little = Init::Randn { mean: 0.0, stdev: 0.02 };
        let padding = || -> Result<_> {
            let split = adapter.get_with_hints((1, pad, dim), "pad_token_dec_split", little)?;
            Ok((split, adapter.get_with_hints((1, dim, pad), "pad_token", little)?))
        };
        let [y, x] = config.grid();
        let skipping = |i: usize| config.skips && i > config.layers / 2;
        let blocks = orders(config)?.into_iter().enumerate().map(|(i, order)| {
            Block::new(config, order, skipping(i), vb.pp(format!("transformer_blocks.{i}")))
        });
        Ok(Self {
            embedding: Embedding::new(config, vb.clone())?,
            patches: Conv2d::new(
                config.channels + config.field,
                dim,
                patch,
                patches,
                vb.pp("pos_embed.proj"),
            )?,
            place: vb.get_with_hints(
                (1, config.first_tokens() + y * x, dim),
                "additional_embed",
                Init::Const(0.0),
            )?,
            smoothers: [smoother("first_smoother")?, smoother("last_smoother")?],
            padding: (pad > 0).then(padding).transpose()?,
            blocks: blocks.collect::<Result<_>>()?,
            norm: vb.get_with_hints(dim, "norm_out.norm.weight", Init::Const(1.0))?,
            modulation: Linear::new(dim, 2 * dim, vb.pp("proj_out_1"))?,
            output: Linear::new(dim, patch * patch * config.outputs, vb.pp("proj_out_2"))?,
            config: config.clone(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &DimConfig {
        &self.config
    }

    /// The output `[batch, output, y, x]` for `x` `[batch, channel, y, x]` at the time `t` of each example.
    ///
    /// # Errors
    /// [`Error::Shape`] when `x` or the conditioning field has another shape, [`Error::Condition`] when a condition is absent
    /// or superfluous.
    pub fn forward(&self, x: &Tensor, t: &[f64], given: DimCondition<'_>) -> Result<Tensor> {
        self.forward_with(x, t, given, |_, _| {})
    }

    /// As [`Dim::forward`], showing the tokens `[batch, token, dim]` after each block, in memory's order, and that order.
    ///
    /// # Errors
    /// As there.
    pub fn forward_with(
        &self,
        x: &Tensor,
        t: &[f64],
        given: DimCondition<'_>,
        mut show: impl FnMut(&Tensor, &ScanOrder),
    ) -> Result<Tensor> {
        let x = self.input(x, t.len(), given.field)?;
        if let Some(labels) = given.labels.filter(|labels| labels.len() != t.len()) {
            return Err(shape("labels", format!("[{}]", t.len()), &[labels.len()]));
        }
        let embedded = self.embedding.forward(t, given.labels, given.parameters, &x)?;
        let first: Vec<&Tensor> = [&embedded.time].into_iter().chain(&embedded.class).collect();
        let mut tokens = self.sequence(&x, &first)?;
        let mut kept = Vec::new();
        let half = self.config.layers / 2;
        for (i, block) in self.blocks.iter().enumerate() {
            if let Some(skip) = &block.skip {
                // There is one for each block of the second half.
                let there = kept.pop();
                tokens = skip.join(&tokens, there.as_ref().unwrap_or(&tokens))?;
            }
            tokens = block.forward(&tokens, &embedded.modulation)?;
            show(&tokens, &block.order);
            if (1..=half).contains(&i) && self.config.skips {
                kept.push(tokens.clone());
            }
        }
        let mut condition = embedded.time;
        if let Some(class) = embedded.class {
            condition = (condition + class)?;
        }
        self.map(&tokens, &condition)
    }

    /// The map with its conditioning field beside it, of the shape that the network takes.
    fn input(&self, x: &Tensor, batch: usize, field: Option<&Tensor>) -> Result<Tensor> {
        let [y, w] = self.config.size;
        let check = |what: &str, x: &Tensor, channels: usize| {
            let expected = [batch, channels, y, w];
            let fits = x.dims() == expected && batch > 0;
            if fits { Ok(()) } else { Err(shape(what, format!("{expected:?}"), x.dims())) }
        };
        check("x", x, self.config.channels)?;
        match (self.config.field, field) {
            (0, None) => Ok(x.clone()),
            (n, Some(field)) if n > 0 => {
                check("field", field, n)?;
                Ok(Tensor::cat(&[x, field], 1)?)
            }
            (n, _) => Err(condition("a field", n > 0)),
        }
    }

    /// First tokens, split tokens, the padded grid row by row: `[batch, token, dim]`.
    fn sequence(&self, x: &Tensor, first: &[&Tensor]) -> Result<Tensor> {
        let (batch, dim, pad) = (x.dim(0)?, self.config.dim, self.config.pad);
        let [h, w] = self.config.grid();
        let everyone = Tensor::new(vec![0u32; batch], x.device())?;
        let place = index_select(&self.place, &everyone, 0)?;
        let patches = self.patches.forward(x)?;
        let places = place.narrow(1, first.len(), h * w)?.transpose(1, 2)?.contiguous()?;
        let grid = add(&patches, &places.reshape(patches.shape())?)?;
        let grid = self.smoothers[0].forward(&grid)?.flatten_from(2)?.transpose(1, 2)?;

        // All rows that the sequence is made of, and then which is where.
        let mut rows = vec![grid.contiguous()?.reshape((batch * h * w, dim))?];
        for (i, token) in first.iter().enumerate() {
            rows.push((*token + place.narrow(1, i, 1)?.squeeze(1)?)?);
        }
        if let Some((split, pads)) = &self.padding {
            rows.extend([split.squeeze(0)?, pads.squeeze(0)?.t()?.contiguous()?]);
        }
        let rows = Tensor::cat(&rows, 0)?;
        let (tokens, splits) = (batch * h * w, batch * (h * w + first.len()));
        let pads = splits + pad;
        let mut picks = Vec::with_capacity(batch * self.config.tokens());
        for n in 0..batch {
            picks.extend((0..first.len()).map(|i| tokens + i * batch + n));
            picks.extend(splits..pads);
            for i in 0..h + pad {
                let row = (0..w).map(|j| if i < h { (n * h + i) * w + j } else { pads + i - h });
                picks.extend(row.chain((0..pad).map(|j| if i < h { pads + j } else { pads + i - h })));
            }
        }
        let picks = indices(picks, x.device())?;
        Ok(index_select(&rows, &picks, 0)?.reshape((batch, self.config.tokens(), dim))?)
    }

    /// The output of the tokens of the grid, without its padding.
    fn map(&self, tokens: &Tensor, condition: &Tensor) -> Result<Tensor> {
        let (batch, dim) = (tokens.dim(0)?, self.config.dim);
        let [h, w] = self.config.grid();
        let before = self.config.first_tokens() + self.config.pad;
        let places = (0..h * w).map(|i| before + i / w * (w + self.config.pad) + i % w).collect();
        let grid = index_select(tokens, &indices(places, tokens.device())?, 1)?;
        let grid = grid.transpose(1, 2)?.contiguous()?.reshape((batch, dim, h, w))?;
        let grid = self.smoothers[1].forward(&grid)?.flatten_from(2)?.transpose(1, 2)?.contiguous()?;
        let modulation = self.modulation.forward(&silu(condition)?)?;
        let (shift, scale) = (modulation.narrow(1, 0, dim)?, modulation.narrow(1, dim, dim)?);
        let normal = modulated_rms_norm(&grid, &self.norm, &scale, &shift, EPS)?;
        let (p, c) = (self.config.patch, self.config.outputs);
        let patches = self.output.forward(&normal)?.reshape(vec![batch, h, w, p, p, c])?;
        Ok(patches.permute(vec![0, 5, 1, 3, 2, 4])?.reshape((batch, c, h * p, w * p))?)
    }
}

impl Block {
    fn new(config: &DimConfig, order: ScanOrder, skip: bool, vb: VarBuilder) -> Result<Self> {
        let dim = config.dim;
        let table = Init::Randn { mean: 0.0, stdev: (dim as f64).sqrt().recip() };
        Ok(Self {
            order,
            table: vb.get_with_hints((3, dim), "scale_shift_table", table)?,
            norm: vb.get_with_hints(dim, "norm1.norm.weight", Init::Const(1.0))?,
            mamba: Mamba::new(&config.mamba(), vb.pp("attn1"))?,
            skip: skip.then(|| Skip::new(dim, vb.pp("skip_linear"))).transpose()?,
        })
    }

    fn forward(&self, tokens: &Tensor, modulation: &Tensor) -> Result<Tensor> {
        let modulation = modulation.broadcast_add(&self.table)?;
        let part = |i| modulation.narrow(1, i, 1)?.squeeze(1);
        let (shift, scale, gate) = (part(0)?, part(1)?, part(2)?);
        let normal = modulated_rms_norm(tokens, &self.norm, &scale, &shift, EPS)?;
        Ok(gated_add(tokens, &self.mamba.forward(&normal, &self.order)?, &gate)?)
    }
}

impl Skip {
    fn new(dim: usize, vb: VarBuilder) -> Result<Self> {
        Ok(match dim {
            0..=JOINT_SKIP => Self::Joint(Linear::new(2 * dim, dim, vb)?),
            _ => Self::Apart(Linear::new(dim, dim, vb.pp("0"))?, Linear::new(dim, dim, vb.pp("1"))?),
        })
    }

    fn join(&self, here: &Tensor, there: &Tensor) -> Result<Tensor> {
        let (here, there) = match self {
            // Half of the weight for each spares a copy of both.
            Self::Joint(layer) => {
                let dim = layer.weight().dim(0)?;
                let half = |start| layer.weight().narrow(1, start, dim)?.contiguous();
                (linear(here, &half(0)?, layer.bias())?, linear(there, &half(dim)?, None)?)
            }
            Self::Apart(first, second) => (first.forward(here)?, second.forward(there)?),
        };
        Ok(add(&here, &there)?)
    }
}

fn indices(places: Vec<usize>, device: &Device) -> Result<Tensor> {
    let places: Vec<u32> = places.into_iter().map(|place| place as u32).collect();
    Ok(Tensor::new(places, device)?)
}

fn shape(what: &str, expected: String, got: &[usize]) -> Error {
    Error::Shape { operation: "DiM", what: what.into(), expected, got: got.to_vec() }
}

//! Layers of the networks of EDM: initial values, convolution with resampling, group normalisation.

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};
use halocast_kernels::nn::{GroupNorm, Linear};
use halocast_kernels::{Conv2dSpec, PadMode, average_pool, conv_transpose2d, conv2d, upsample_nearest};

use crate::Result;

/// How weights begin, and the factors of weights and biases.
#[derive(Clone, Copy)]
pub(super) struct Begin {
    pub(super) rule: Rule,
    pub(super) weight: f64,
    pub(super) bias: f64,
}

/// The standard deviation or half width of an initial value, by the number of inputs and outputs.
#[derive(Clone, Copy)]
pub(super) enum Rule {
    /// Uniform in $\pm\sqrt{6 / (\mathrm{in} + \mathrm{out})}$ (Glorot & Bengio 2010).
    Xavier,
    /// Uniform in $\pm\sqrt{3 / \mathrm{in}}$ (He et al. 2015).
    Kaiming,
    /// Normal of variance $1 / \mathrm{in}$.
    Normal,
}

impl Begin {
    pub(super) fn scaled(self, factor: f64) -> Self {
        Self { weight: self.weight * factor, bias: self.bias * factor, ..self }
    }

    fn init(self, inputs: usize, outputs: usize, factor: f64) -> Init {
        let uniform = |bound: f64| match bound * factor {
            0.0 => Init::Const(0.0),
            bound => Init::Uniform { lo: -bound, up: bound },
        };
        match self.rule {
            Rule::Xavier => uniform((6.0 / (inputs + outputs) as f64).sqrt()),
            Rule::Kaiming => uniform((3.0 / inputs as f64).sqrt()),
            Rule::Normal => Init::Randn { mean: 0.0, stdev: factor / (inputs as f64).sqrt() },
        }
    }

    pub(super) fn linear(self, inputs: usize, outputs: usize, vb: VarBuilder) -> Result<Linear> {
        let weight =
            vb.get_with_hints((outputs, inputs), "weight", self.init(inputs, outputs, self.weight))?;
        let bias = vb.get_with_hints(outputs, "bias", self.init(inputs, outputs, self.bias))?;
        Ok(Linear::from_parts(weight, Some(bias)))
    }

    /// Weight and bias of a pointwise convolution.
    pub(super) fn pointwise(self, inputs: usize, outputs: usize, vb: VarBuilder) -> Result<(Tensor, Tensor)> {
        let init = |factor| self.init(inputs, outputs, factor);
        Ok((
            vb.get_with_hints((outputs, inputs, 1, 1), "weight", init(self.weight))?,
            vb.get_with_hints(outputs, "bias", init(self.bias))?,
        ))
    }

    pub(super) fn linear_no_bias(self, inputs: usize, outputs: usize, vb: VarBuilder) -> Result<Linear> {
        let weight =
            vb.get_with_hints((outputs, inputs), "weight", self.init(inputs, outputs, self.weight))?;
        Ok(Linear::from_parts(weight, None))
    }
}

/// Group normalisation over at most 32 groups of at least 4 channels.
pub(super) fn norm(channels: usize, eps: f64, vb: VarBuilder) -> Result<GroupNorm> {
    Ok(GroupNorm::new((channels / 4).clamp(1, 32), channels, eps, vb)?)
}

/// A change of resolution by a separable filter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Up,
    Down,
}

/// A change of resolution and a convolution, either of which may be absent.
pub(super) struct ResampleConv {
    weight: Option<(Tensor, Tensor)>,
    change: Change,
    /// One side of the separable filter; `None` for a mean over blocks and its adjoint.
    filter: Option<Vec<f64>>,
    /// Whether the filter comes after the convolution, whose padding then covers both.
    after: bool,
    padding: PadMode,
}

impl ResampleConv {
    /// `kernel` 0 for the change of resolution alone.
    pub(super) fn new(
        (from, to): (usize, usize),
        kernel: usize,
        (change, filter): (Change, &[f64]),
        padding: PadMode,
        begin: Begin,
        vb: VarBuilder,
    ) -> Result<Self> {
        let fan = |channels: usize| channels * kernel * kernel;
        let weight = |factor: f64| begin.init(fan(from), fan(to), factor);
        let weights = || -> Result<(Tensor, Tensor)> {
            let shape = (to, from, kernel, kernel);
            Ok((
                vb.get_with_hints(shape, "weight", weight(begin.weight))?,
                vb.get_with_hints(to, "bias", weight(begin.bias))?,
            ))
        };
        Ok(Self {
            weight: (kernel > 0).then(weights).transpose()?,
            change,
            filter: (filter != [1.0, 1.0]).then(|| filter.to_vec()),
            after: false,
            padding,
        })
    }

    /// The convolution first, the filter behind it.
    pub(super) fn fused(self) -> Self {
        Self { after: true, ..self }
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let width = self.filter.as_ref().map_or(2, Vec::len);
        let beyond = (width - 1) / 2;
        match (&self.weight, self.after && self.change == Change::Down) {
            (Some((weight, bias)), true) => {
                let padding = weight.dim(3)? / 2 + beyond;
                let x = conv2d(x, weight, Some(bias), self.spec(padding))?;
                self.resample(&x, 0)
            }
            (Some((weight, bias)), false) => {
                let x = self.resample(x, beyond)?;
                Ok(conv2d(&x, weight, Some(bias), self.spec(weight.dim(3)? / 2))?)
            }
            (None, _) => self.resample(x, beyond),
        }
    }

    fn spec(&self, padding: usize) -> Conv2dSpec {
        Conv2dSpec { padding, pad_mode: self.padding, ..Default::default() }
    }

    fn resample(&self, x: &Tensor, padding: usize) -> Result<Tensor> {
        let Some(side) = &self.filter else {
            return Ok(match self.change {
                Change::None => x.clone(),
                Change::Up => upsample_nearest(x, 2)?,
                Change::Down => average_pool(x, 2)?,
            });
        };
        let (channels, sum) = (x.dim(1)?, side.iter().sum::<f64>());
        let gain = if self.change == Change::Up { 4.0 } else { 1.0 } / (sum * sum);
        let values: Vec<f64> = side.iter().flat_map(|a| side.iter().map(move |b| a * b * gain)).collect();
        let filter = Tensor::from_vec(values, (1, 1, side.len(), side.len()), x.device())?;
        let filter =
            filter.to_dtype(x.dtype())?.broadcast_as((channels, 1, side.len(), side.len()))?.contiguous()?;
        let spec = Conv2dSpec { stride: 2, groups: channels, ..self.spec(padding) };
        Ok(match self.change {
            Change::None => x.clone(),
            Change::Down => conv2d(x, &filter, None, spec)?,
            Change::Up => {
                // A transposed convolution has no mirrored edge.
                let pad_mode =
                    if spec.pad_mode == PadMode::Circular { spec.pad_mode } else { PadMode::Zeros };
                conv_transpose2d(x, &filter, None, Conv2dSpec { pad_mode, ..spec })?
            }
        })
    }
}

//! The residual networks that give a coupling its parameters.

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};
use halocast_kernels::nn::{Conv2d, Linear};
use halocast_kernels::{Activation, ConvSpec, activate, add, sigmoid};

use crate::Result;

/// The shape of a residual network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResidualShape {
    /// Width.
    pub hidden: usize,
    /// Number of blocks.
    pub blocks: usize,
    /// Features of the condition; 0 for none.
    pub context: usize,
    /// The activation.
    pub activation: Activation,
}

/// A layer that begins near zero, so that a fresh block is near the identity.
const SMALL: Init = Init::Uniform { lo: -1e-3, up: 1e-3 };

enum Affine {
    Dense(Linear),
    Conv(Conv2d),
}

impl Affine {
    /// A linear layer for vectors, a convolution of a window for maps.
    fn new(from: usize, to: usize, window: Option<usize>, small: bool, vb: VarBuilder) -> Result<Self> {
        let spec = ConvSpec { padding: window.unwrap_or(1) / 2, ..Default::default() };
        Ok(match (window, small) {
            (None, false) => Self::Dense(Linear::new(from, to, vb)?),
            (None, true) => {
                let weight = vb.get_with_hints((to, from), "weight", SMALL)?;
                Self::Dense(Linear::from_parts(weight, Some(vb.get_with_hints(to, "bias", SMALL)?)))
            }
            (Some(k), false) => Self::Conv(Conv2d::new(from, to, k, spec, vb)?),
            (Some(k), true) => {
                let weight = vb.get_with_hints((to, from, k, k), "weight", SMALL)?;
                Self::Conv(Conv2d::from_parts(weight, Some(vb.get_with_hints(to, "bias", SMALL)?), spec))
            }
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Dense(layer) => layer.forward(x)?,
            Self::Conv(layer) => layer.forward(x)?,
        })
    }
}

struct Block {
    layers: [Affine; 2],
    context: Option<Affine>,
    activation: Activation,
}

impl Block {
    fn new(shape: &ResidualShape, map: bool, vb: VarBuilder) -> Result<Self> {
        let ResidualShape { hidden, context, activation, .. } = *shape;
        let (name, window) = if map { ("conv_layers", Some(3)) } else { ("linear_layers", None) };
        let layer = |i: usize| Affine::new(hidden, hidden, window, i == 1, vb.pp(name).pp(i));
        let context = (context > 0)
            .then(|| Affine::new(context, hidden, map.then_some(1), false, vb.pp("context_layer")))
            .transpose()?;
        Ok(Self { layers: [layer(0)?, layer(1)?], context, activation })
    }

    fn forward(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<Tensor> {
        let mut h = x.clone();
        for layer in &self.layers {
            h = layer.forward(&activate(&h, self.activation)?)?;
        }
        if let (Some(layer), Some(cond)) = (&self.context, cond) {
            h = (h * sigmoid(&layer.forward(cond)?)?)?;
        }
        Ok(add(&h, x)?)
    }
}

/// A residual network of vectors or maps, with parameters named as in nflows:
///
/// $$ h_0 = W_0 [x, c], \quad h_{i+1} = h_i + \sigma(V_i c) \odot B_i \, \phi(A_i \, \phi(h_i)), \quad y = W_1 h_L, $$
///
/// where the gate $\sigma(V_i c)$ and the condition $c$ are absent in an unconditional network.
///
/// # Source
/// `ResidualNet` and `ConvResidualNet` of nflows (Durkan et al. 2019, arXiv:1906.04032, appendix B.1).
///
/// # Differences
/// The condition of a network of maps is a vector, the same at every pixel.
pub struct ResidualNet {
    initial: Affine,
    blocks: Vec<Block>,
    last: Affine,
    context: usize,
}

impl ResidualNet {
    /// A network of `inputs` features, or channels of maps, to `outputs`.
    ///
    /// # Errors
    /// When the builder has no such parameters.
    pub fn new(
        inputs: usize,
        outputs: usize,
        shape: &ResidualShape,
        map: bool,
        vb: VarBuilder,
    ) -> Result<Self> {
        let window = map.then_some(1);
        let block = |i: usize| Block::new(shape, map, vb.pp("blocks").pp(i));
        let from = inputs + shape.context;
        Ok(Self {
            initial: Affine::new(from, shape.hidden, window, false, vb.pp("initial_layer"))?,
            blocks: (0..shape.blocks).map(block).collect::<Result<_>>()?,
            last: Affine::new(shape.hidden, outputs, window, false, vb.pp("final_layer"))?,
            context: shape.context,
        })
    }

    /// The outputs of `x` `[n, feature, ..]` under a condition `[n, feature]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn forward(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<Tensor> {
        let cond = cond.filter(|_| self.context > 0).map(|c| spread(c, x)).transpose()?;
        let input = match &cond {
            Some(cond) => Tensor::cat(&[x, cond], 1)?,
            None => x.clone(),
        };
        let mut h = self.initial.forward(&input)?;
        for block in &self.blocks {
            h = block.forward(&h, cond.as_ref())?;
        }
        self.last.forward(&h)
    }
}

/// A vector at every pixel of maps like `x`.
fn spread(cond: &Tensor, x: &Tensor) -> Result<Tensor> {
    if x.rank() < 3 {
        return Ok(cond.clone());
    }
    let (n, features) = cond.dims2()?;
    let ones = vec![1; x.rank() - 2];
    let shape = [&[n, features], &ones[..]].concat();
    let full = [&[n, features], &x.dims()[2..]].concat();
    Ok(cond.reshape(shape)?.broadcast_as(full)?.contiguous()?)
}

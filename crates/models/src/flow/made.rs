//! Networks whose output i depends on inputs before i alone.

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};
use halocast_kernels::nn::Linear;
use halocast_kernels::{Activation, activate, add, linear};

use super::layer::constant;
use super::residual::ResidualShape;
use crate::Result;
use crate::sampling::check_config;

/// A linear layer some of whose weights count as zero.
struct MaskedLinear {
    weight: Tensor,
    bias: Tensor,
    mask: Tensor,
}

impl MaskedLinear {
    /// `mask` holds a row for each output. Fresh weights are uniform in `+-bound`.
    fn new(mask: &[Vec<bool>], bound: Option<f64>, vb: VarBuilder) -> Result<Self> {
        let (outputs, inputs) = (mask.len(), mask.first().map_or(0, Vec::len));
        let bound = bound.unwrap_or(1.0 / (inputs.max(1) as f64).sqrt());
        let init = Init::Uniform { lo: -bound, up: bound };
        let weight = vb.get_with_hints((outputs, inputs), "weight", init)?;
        let bias = vb.get_with_hints(outputs, "bias", init)?;
        let values = mask.iter().flatten().map(|&m| f64::from(u8::from(m))).collect();
        Ok(Self { mask: constant(values, &[outputs, inputs], &weight)?, weight, bias })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(linear(x, &(&self.weight * &self.mask)?, Some(&self.bias))?)
    }
}

/// Which outputs of a layer may see which inputs: those of a degree at or, strictly, above theirs.
fn mask(outputs: &[usize], inputs: &[usize], strict: bool) -> Vec<Vec<bool>> {
    let row = |o: &usize| inputs.iter().map(|i| if strict { o > i } else { o >= i }).collect();
    outputs.iter().map(row).collect()
}

enum Block {
    Residual { layers: [MaskedLinear; 2], context: Option<Linear> },
    Feedforward(MaskedLinear),
}

/// The masked autoencoder for distribution estimation: output group i depends on inputs 0 to i - 1, and on a condition.
///
/// Unit j of a hidden layer has degree $j \bmod (D - 1) + 1$ and sees units of degree at most its own; outputs of feature
/// i (from 1) see units of degree below i. Parameters are named as in nflows.
///
/// # Source
/// Germain et al. 2015, arXiv:1502.03509, equations 12 and 13; residual blocks of `MADE` in nflows.
pub struct Made {
    initial: MaskedLinear,
    context: Option<Linear>,
    blocks: Vec<Block>,
    last: MaskedLinear,
    activation: Activation,
}

impl Made {
    /// A network of `features` inputs with `each` outputs for each of them, in order `[feature, each]`.
    ///
    /// # Errors
    /// When the builder has no such parameters.
    pub fn new(
        features: usize,
        each: usize,
        shape: &ResidualShape,
        residual: bool,
        vb: VarBuilder,
    ) -> Result<Self> {
        let degrees: Vec<usize> = (1..=features).collect();
        let (most, least) = ((features.max(2)) - 1, features.saturating_sub(1).min(1));
        let hidden: Vec<usize> = (0..shape.hidden).map(|j| j % most + least).collect();
        let inner = mask(&hidden, &hidden, false);
        let context = |vb: VarBuilder| -> Result<Option<Linear>> {
            let layer = || Linear::new(shape.context, shape.hidden, vb.pp("context_layer"));
            Ok((shape.context > 0).then(layer).transpose()?)
        };
        let block = |i: usize| -> Result<Block> {
            let vb = vb.pp("blocks").pp(i);
            Ok(if residual {
                let layers = [
                    MaskedLinear::new(&inner, None, vb.pp("linear_layers.0"))?,
                    MaskedLinear::new(&inner, Some(1e-3), vb.pp("linear_layers.1"))?,
                ];
                Block::Residual { layers, context: context(vb)? }
            } else {
                Block::Feedforward(MaskedLinear::new(&inner, None, vb.pp("linear"))?)
            })
        };
        let outputs: Vec<usize> = degrees.iter().flat_map(|&d| vec![d; each]).collect();
        Ok(Self {
            initial: MaskedLinear::new(&mask(&hidden, &degrees, false), None, vb.pp("initial_layer"))?,
            context: context(vb.clone())?,
            blocks: (0..shape.blocks).map(block).collect::<Result<_>>()?,
            last: MaskedLinear::new(&mask(&outputs, &hidden, true), None, vb.pp("final_layer"))?,
            activation: shape.activation,
        })
    }

    /// The outputs `[n, feature each]` of `x` `[n, feature]` under a condition `[n, feature]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn forward(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<Tensor> {
        let act = |x: &Tensor| activate(x, self.activation);
        let mut h = self.initial.forward(x)?;
        if let (Some(layer), Some(cond)) = (&self.context, cond) {
            h = add(&h, &act(&layer.forward(cond)?)?)?;
        }
        if matches!(self.blocks.first(), Some(Block::Feedforward(_))) {
            h = act(&h)?;
        }
        for block in &self.blocks {
            h = match block {
                Block::Feedforward(layer) => act(&layer.forward(&h)?)?,
                Block::Residual { layers, context } => {
                    let mut inner = layers[0].forward(&act(&h)?)?;
                    if let (Some(layer), Some(cond)) = (context, cond) {
                        inner = add(&inner, &layer.forward(cond)?)?;
                    }
                    add(&layers[1].forward(&act(&inner)?)?, &h)?
                }
            };
        }
        self.last.forward(&h)
    }
}

/// A masked multilayer perceptron: output group i depends on the inputs whose place in an order is before that of i, and
/// on a condition.
///
/// Parameters are named as in zuko: `0.weight`, `2.weight`, ... A hidden unit belongs to one of the sets of inputs that an
/// output may see, in turn, and sees the units of subsets of its own.
///
/// # Source
/// `MaskedMLP` of zuko; Germain et al. 2015, arXiv:1502.03509.
pub struct MaskedMlp {
    layers: Vec<MaskedLinear>,
    activation: Activation,
}

impl MaskedMlp {
    /// A network of `order.len()` inputs and `context` features of a condition behind them, with `each` outputs an input.
    ///
    /// # Errors
    /// [`crate::Error::Config`] when a width is zero, or there are no hidden layers.
    pub fn new(
        order: &[usize],
        context: usize,
        each: usize,
        widths: &[usize],
        activation: Activation,
        vb: VarBuilder,
    ) -> Result<Self> {
        let some = !widths.is_empty() && !widths.contains(&0);
        check_config(
            "masked MLP",
            [("widths", some, "at least one, each at least 1", format!("{widths:?}"))],
        )?;
        // What each feature's outputs see of the inputs and the condition.
        let sees = |own: &usize| -> Vec<bool> {
            order.iter().map(|other| own > other).chain(vec![true; context]).collect()
        };
        let rows: Vec<Vec<bool>> = order.iter().map(sees).collect();
        let mut sets = rows.clone();
        sets.sort();
        sets.dedup();
        let within = |a: &[bool], b: &[bool]| a.iter().zip(b).all(|(a, b)| !a || *b);
        let precedes: Vec<Vec<bool>> =
            sets.iter().map(|own| sets.iter().map(|other| within(other, own)).collect()).collect();
        let mut units: Vec<usize> = vec![];
        let mut layers = Vec::new();
        for i in 0..=widths.len() {
            let table: Vec<Vec<bool>> = match i {
                0 => sets.clone(),
                _ => precedes.iter().map(|row| units.iter().map(|&u| row[u]).collect()).collect(),
            };
            let rows: Vec<Vec<bool>> = match widths.get(i) {
                Some(&width) => {
                    let reachable: Vec<usize> =
                        (0..table.len()).filter(|&set| table[set].contains(&true)).collect();
                    let found = !reachable.is_empty();
                    let expected = "an input that an output may see";
                    check_config("masked MLP", [("features", found, expected, order.len().to_string())])?;
                    units = (0..width).map(|unit| reachable[unit % reachable.len()]).collect();
                    units.iter().map(|&set| table[set].clone()).collect()
                }
                None => {
                    let set = |row: &Vec<bool>| sets.iter().position(|other| other == row).unwrap_or(0);
                    rows.iter().flat_map(|row| vec![table[set(row)].clone(); each]).collect()
                }
            };
            layers.push(MaskedLinear::new(&rows, None, vb.pp(2 * i))?);
        }
        Ok(Self { layers, activation })
    }

    /// The outputs `[n, feature each]` of `x` `[n, feature]` under a condition `[n, feature]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn forward(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<Tensor> {
        let mut h = match cond {
            Some(cond) => Tensor::cat(&[x, cond], 1)?,
            None => x.clone(),
        };
        for (i, layer) in self.layers.iter().enumerate() {
            if i > 0 {
                h = activate(&h, self.activation)?;
            }
            h = layer.forward(&h)?;
        }
        Ok(h)
    }

    /// The masks of the layers, `[output, input]`, zeros and ones.
    pub fn masks(&self) -> Vec<Tensor> {
        self.layers.iter().map(|layer| layer.mask.clone()).collect()
    }
}

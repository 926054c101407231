//! What a flow is made of.

use candle_nn::VarBuilder;
use halocast_core::Rng;
use halocast_kernels::Activation;
use serde::{Deserialize, Serialize};

use super::{
    ActNorm, Composite, Coupler, Coupling, InvertibleConv, Layer, MaskedAffine, MultiScale, Permutation,
    ResidualShape, SplineShape, Squeeze,
};
use crate::embedding::EmbeddingConfig;
use crate::sampling::check_config;
use crate::{Parameters, Result};

/// The layers of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FlowKind {
    /// Couplings that shift and scale, of every second feature in turn: `SimpleRealNVP` of nflows.
    RealNvp,
    /// Couplings that shift alone, so that volume is kept (NICE).
    Nice,
    /// Masked autoregressive layers and permutations: `MaskedAutoregressiveFlow` of nflows.
    #[default]
    Maf,
    /// Masked autoregressive layers of plain masked networks, in rising and falling order in turn: `zuko.flows.MAF`.
    MafMlp,
    /// Couplings by rational-quadratic splines, of every second feature in turn.
    Spline,
    /// Glow: levels of squeezing, activation normalisation, 1x1 convolution and couplings of channels. Events are maps.
    Glow,
}

/// The permutations between the layers of [`FlowKind::Maf`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Order {
    /// Reversals.
    #[default]
    Reverse,
    /// Random ones of a seed.
    Random(u64),
    /// These, one a layer.
    Given(Vec<Vec<usize>>),
}

/// A normalizing flow; the default is the MAF of five layers of Papamakarios et al. 2017 in the form of nflows, of two
/// features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowConfig {
    /// The shape of an event, `[feature]`, `[channel, length]` or `[channel, y, x]`; all but Glow see its numbers in a row.
    pub event: Vec<usize>,
    /// Its layers.
    pub kind: FlowKind,
    /// Their number; of Glow, on each level.
    pub layers: usize,
    /// Width of the networks.
    pub hidden: usize,
    /// Residual blocks of each network.
    pub blocks: usize,
    /// Widths of the hidden layers of [`FlowKind::MafMlp`].
    pub widths: Vec<usize>,
    /// Whether the blocks of [`FlowKind::Maf`] are residual.
    pub residual: bool,
    /// The activation of the networks.
    pub activation: Activation,
    /// The permutations of [`FlowKind::Maf`].
    pub order: Order,
    /// Bins of splines.
    pub bins: usize,
    /// Splines act between plus and minus this.
    pub bound: f64,
    /// Levels of Glow.
    pub levels: usize,
    /// Whether the 1x1 convolutions of Glow have the LU form.
    pub lu: bool,
    /// Number of conditioning parameters; 0 for none.
    pub parameters: usize,
    /// Channels of a conditioning field on the grid of the event; 0 for none.
    pub field: usize,
    /// The network that the condition passes; parameters may do without, a field may not.
    pub embedding: Option<EmbeddingConfig>,
}

impl Default for FlowConfig {
    fn default() -> Self {
        Self {
            event: vec![2],
            kind: FlowKind::Maf,
            layers: 5,
            hidden: 64,
            blocks: 2,
            widths: vec![64, 64],
            residual: true,
            activation: Activation::Relu,
            order: Order::Reverse,
            bins: 8,
            bound: 4.0,
            levels: 2,
            lu: true,
            parameters: 0,
            field: 0,
            embedding: None,
        }
    }
}

impl FlowConfig {
    /// The number of features of the condition that reach the layers.
    pub fn context(&self) -> usize {
        match &self.embedding {
            Some(embedding) if self.parameters + self.field > 0 => embedding.features(),
            _ => self.parameters,
        }
    }

    /// Checks that the flow can be built.
    ///
    /// # Errors
    /// [`crate::Error::Config`] naming the first field that is not usable.
    pub fn validate(&self) -> Result<()> {
        let event = &self.event;
        let size: usize = event.iter().product();
        let glow = self.kind == FlowKind::Glow;
        let factor = 1usize << self.levels.min(30);
        let halved = event.iter().skip(1).all(|side| side.is_multiple_of(factor));
        let coupled = matches!(self.kind, FlowKind::RealNvp | FlowKind::Nice | FlowKind::Spline);
        let given = match &self.order {
            Order::Given(orders) => orders.len() == self.layers && orders.iter().all(|o| o.len() == size),
            _ => true,
        };
        let conditions = match (self.parameters, self.field, &self.embedding) {
            (0, 0, _) | (_, 0, _) => true,
            (0, _, Some(_)) => event.len() > 1,
            _ => false,
        };
        let whole = |n: usize| (n > 0, n.to_string());
        let (layers, hidden, levels) = (whole(self.layers), whole(self.hidden), whole(self.levels));
        check_config(
            "flow",
            [
                (
                    "event",
                    (1..=3).contains(&event.len()) && size > 0,
                    "one to three sides",
                    format!("{event:?}"),
                ),
                ("layers", layers.0, "at least 1", layers.1),
                ("hidden", hidden.0, "at least 1", hidden.1),
                ("levels", levels.0 && self.levels < 30, "1 to 29", levels.1),
                ("event", !coupled || size > 1, "at least two features for couplings", format!("{event:?}")),
                (
                    "event",
                    !glow || event.len() == 3 && halved,
                    "[channel, y, x] with sides that Glow can halve at every level",
                    format!("{event:?} at {} levels", self.levels),
                ),
                ("order", given, "a permutation of all features for each layer", format!("{:?}", self.order)),
                ("bins", (2..=500).contains(&self.bins), "2 to 500", self.bins.to_string()),
                (
                    "bound",
                    self.bound > 0.0 && self.bound.is_finite(),
                    "finite, positive",
                    self.bound.to_string(),
                ),
                (
                    "parameters, field and embedding",
                    conditions,
                    "parameters or a field, and an embedding of a field on the grid of the event",
                    format!("{}, {}, {:?}", self.parameters, self.field, self.embedding),
                ),
            ],
        )
    }

    /// The layers, from events (in a row of features, but for Glow) to noise `[n, feature]`, under a condition of
    /// `context` features; their parameters are named as in nflows or zuko. `parameters` is the set behind the builder.
    ///
    /// # Errors
    /// [`crate::Error::Config`] when the configuration is not usable.
    pub fn layers(&self, context: usize, vb: VarBuilder, parameters: &Parameters) -> Result<Box<dyn Layer>> {
        self.validate()?;
        let size: usize = self.event.iter().product();
        let shape =
            ResidualShape { hidden: self.hidden, blocks: self.blocks, context, activation: self.activation };
        let mut layers: Vec<Box<dyn Layer>> = Vec::new();
        let vb = if self.kind == FlowKind::MafMlp {
            vb.pp("transform.transforms")
        } else {
            vb.pp("_transform._transforms")
        };
        let coupler = match self.kind {
            FlowKind::Nice => Coupler::Additive,
            FlowKind::Spline => Coupler::Spline(SplineShape { bins: self.bins, bound: self.bound }),
            _ => Coupler::Affine,
        };
        match self.kind {
            FlowKind::RealNvp | FlowKind::Nice | FlowKind::Spline => {
                // The first coupling of nflows changes odd features, its alternating mask even ones.
                let first = usize::from(self.kind != FlowKind::Spline);
                for i in 0..self.layers {
                    let change: Vec<usize> = ((first + i) % 2..size).step_by(2).collect();
                    layers.push(Box::new(Coupling::new(size, &change, coupler, &shape, false, vb.pp(i))?));
                }
            }
            FlowKind::Maf => {
                for i in 0..self.layers {
                    layers.push(Box::new(match &self.order {
                        Order::Reverse => Permutation::reverse(size),
                        Order::Random(seed) => {
                            let mut order: Vec<usize> = (0..size).collect();
                            Rng::new(*seed).split(i as u64).shuffle(&mut order);
                            Permutation::new(&order)?
                        }
                        Order::Given(orders) => Permutation::new(&orders[i])?,
                    }));
                    let vb = vb.pp(2 * i + 1);
                    layers.push(Box::new(MaskedAffine::made(size, &shape, self.residual, vb)?));
                }
            }
            FlowKind::MafMlp => {
                for i in 0..self.layers {
                    let order: Vec<usize> = match i % 2 {
                        0 => (0..size).collect(),
                        _ => (0..size).rev().collect(),
                    };
                    let (widths, act) = (&self.widths, self.activation);
                    layers.push(Box::new(MaskedAffine::masked_mlp(&order, context, widths, act, vb.pp(i))?));
                }
            }
            FlowKind::Glow => return self.glow(&shape, vb, parameters),
        }
        Ok(Box::new(Composite::new(layers)))
    }

    fn glow(&self, shape: &ResidualShape, vb: VarBuilder, parameters: &Parameters) -> Result<Box<dyn Layer>> {
        let mut levels: Vec<Box<dyn Layer>> = Vec::new();
        let mut shapes = Vec::new();
        let (mut channels, mut sides) = (self.event[0], [self.event[1], self.event[2]]);
        for level in 0..self.levels {
            channels *= 4;
            sides = sides.map(|side| side / 2);
            let vb = vb.pp(level).pp("_transforms");
            let mut layers: Vec<Box<dyn Layer>> = vec![Box::new(Squeeze)];
            for i in 0..self.layers {
                let at = |j: usize| vb.pp(1 + 3 * i + j);
                layers.push(Box::new(ActNorm::new(channels, at(0))?));
                layers.push(Box::new(if self.lu {
                    let mut order: Vec<usize> = (0..channels).collect();
                    Rng::new((level * self.layers + i) as u64).split_named("glow").shuffle(&mut order);
                    InvertibleConv::lu(&order, at(1))?
                } else {
                    InvertibleConv::plain(channels, at(1), parameters)?
                }));
                let change: Vec<usize> = (channels / 2..channels).collect();
                layers.push(Box::new(Coupling::new(channels, &change, Coupler::Affine, shape, true, at(2))?));
            }
            levels.push(Box::new(Composite::new(layers)));
            shapes.push(vec![channels, sides[0], sides[1]]);
            if level + 1 < self.levels {
                channels /= 2;
            }
        }
        Ok(Box::new(MultiScale::new(levels, shapes)?))
    }
}

//! The graph score network: message passing between a point and its nearest ones.

use candle_core::{D, DType, Tensor};
use halocast_kernels::{gather_points, index_select, scatter_add};

use super::flax::{LayerNorm, Mlp, Scope, gelu};
use super::graph::Edges;
use super::{GraphConfig, GraphNorm, fourier_features, pair_norm};
use crate::Result;

struct Step {
    edge: Mlp,
    node: Mlp,
    attention: Option<Mlp>,
    norm: Option<LayerNorm>,
}

/// Steps of: an edge from its old self, its nodes and the condition; a node from its old self, the sum of the edges that it
/// receives and the condition.
pub(super) struct GraphNet {
    config: GraphConfig,
    embed: Mlp,
    embed_edge: Option<Mlp>,
    steps: Vec<Step>,
    decode: Mlp,
}

impl GraphNet {
    pub(super) fn new(
        config: &GraphConfig,
        nodes: usize,
        axes: usize,
        condition: usize,
        out: usize,
        scope: &Scope,
    ) -> Result<Self> {
        let widths = |last: usize| [vec![config.hidden_size; config.num_mlp_layers], vec![last]].concat();
        let latent = config.latent_size;
        let condition = if config.as_released { 1 } else { condition };
        let of_edge = match (config.use_absolute_distances, config.use_fourier_features) {
            (true, true) => 2 * config.n_fourier_features + 1,
            (true, false) => 1,
            _ => axes,
        };
        let embed = Mlp::new(nodes, &widths(latent), &scope.at("MLP_0"))?;
        let embed_edge =
            config.use_edges.then(|| Mlp::new(of_edge, &widths(latent), &scope.at("MLP_1"))).transpose()?;
        let ends = if config.relative_updates { latent } else { 2 * latent };
        let step = |i: usize| -> Result<Step> {
            let edges = if i > 0 || config.use_edges { latent } else { 0 };
            let at = |name: &str| scope.at(format_args!("{name}_{i}"));
            let attention =
                config.attention.then(|| Mlp::new(3 * latent + condition, &[1], &at("attention_logit_fn")));
            let norm = (config.norm == GraphNorm::Layer).then(|| LayerNorm::new(latent, &at("LayerNorm")));
            Ok(Step {
                edge: Mlp::new(edges + ends + condition, &widths(latent), &at("update_edge_fn"))?,
                node: Mlp::new(2 * latent + condition, &widths(latent), &at("update_node_fn"))?,
                attention: attention.transpose()?,
                norm: norm.transpose()?,
            })
        };
        let steps = (0..config.message_passing_steps).map(step).collect::<Result<_>>()?;
        let last = if config.use_edges { "MLP_2" } else { "MLP_1" };
        let decode = Mlp::new(latent, &widths(out), &scope.at(last))?;
        Ok(Self { config: config.clone(), embed, embed_edge, steps, decode })
    }

    /// Of nodes `[b, n, c]` and standardised displacements, with a condition `[b, d]`.
    pub(super) fn forward(&self, nodes: &Tensor, edges: &Edges, condition: &Tensor) -> Result<Tensor> {
        let config = &self.config;
        let (b, n, k) = edges.receivers.dims3()?;
        let mut nodes = self.embed.forward(nodes)?;
        let mut known = None;
        if let Some(embed) = &self.embed_edge {
            let mut at = edges.displacements.clone();
            if config.use_absolute_distances {
                at = at.sum_keepdim(D::Minus1)?;
                if config.use_fourier_features {
                    at = fourier_features(&at, config.n_fourier_features)?;
                }
            }
            known = Some(embed.forward(&at)?);
        }
        let (of_node, of_edge) = self.conditions(condition, (b, n, k))?;
        let weights = edges.weights.as_ref().filter(|_| !config.as_released);
        let receivers = Receivers::new(&edges.receivers)?;
        for step in &self.steps {
            let there = gather_points(&nodes, &edges.receivers)?;
            let here = nodes.unsqueeze(2)?.broadcast_as(there.shape())?.contiguous()?;
            let mut inputs: Vec<Tensor> = known.iter().cloned().collect();
            match config.relative_updates {
                true => inputs.push((&here - &there)?),
                false => inputs.extend([here.clone(), there.clone()]),
            }
            inputs.push(of_edge.clone());
            let mut messages = step.edge.forward(&Tensor::cat(&inputs, D::Minus1)?)?;
            if let Some(attention) = &step.attention {
                let logits =
                    attention.forward(&Tensor::cat(&[&messages, &here, &there, &of_edge], D::Minus1)?)?;
                messages = messages.broadcast_mul(&receivers.softmax(&gelu(&logits)?, weights)?)?;
            } else if let Some(weights) = weights {
                messages = messages.broadcast_mul(weights)?;
            }
            let received = receivers.sum(&messages)?;
            let new = step.node.forward(&Tensor::cat(&[&nodes, &received, &of_node], D::Minus1)?)?;
            nodes = if config.skip_connections { (nodes + new)? } else { new };
            let kept = known.filter(|_| config.skip_connections && config.edge_skip_connections);
            let edges = match kept {
                Some(kept) => (kept + messages)?,
                None => messages,
            };
            let normal = |x: &Tensor| -> Result<Tensor> {
                match (config.norm, &step.norm) {
                    (GraphNorm::Layer, Some(norm)) => norm.forward(x),
                    (GraphNorm::Pair, _) => {
                        let (rows, channels) = (x.elem_count() / b / config.latent_size, config.latent_size);
                        Ok(pair_norm(&x.reshape((b, rows, channels))?)?.reshape(x.shape())?)
                    }
                    _ => Ok(x.clone()),
                }
            };
            nodes = normal(&nodes)?;
            known = Some(normal(&edges)?);
        }
        self.decode.forward(&nodes)
    }

    /// The condition as nodes and as edges see it.
    fn conditions(&self, condition: &Tensor, (b, n, k): (usize, usize, usize)) -> Result<(Tensor, Tensor)> {
        let d = condition.dims()[1];
        if !self.config.as_released {
            let node = condition.reshape((b, 1, d))?.broadcast_as((b, n, d))?.contiguous()?;
            let edge = condition.reshape((b, 1, 1, d))?.broadcast_as((b, n, k, d))?.contiguous()?;
            return Ok((node, edge));
        }
        let node = condition.narrow(1, 0, 1)?.reshape((b, 1, 1))?.broadcast_as((b, n, 1))?.contiguous()?;
        let place: Vec<u32> = (0..n).map(|i| i.min(d - 1) as u32).collect();
        let own = index_select(&condition.contiguous()?, &Tensor::new(place, condition.device())?, 1)?;
        Ok((node, own.reshape((b, n, 1, 1))?.broadcast_as((b, n, k, 1))?.contiguous()?))
    }
}

/// Edges sorted by who receives them, over the whole batch.
struct Receivers {
    flat: Tensor,
    places: Vec<u32>,
    sizes: (usize, usize, usize),
}

impl Receivers {
    fn new(receivers: &Tensor) -> Result<Self> {
        let (b, n, k) = receivers.dims3()?;
        let mut places = receivers.flatten_all()?.to_vec1::<u32>()?;
        places.iter_mut().enumerate().for_each(|(e, to)| *to += (e / (n * k) * n) as u32);
        let flat = Tensor::from_slice(&places, places.len(), receivers.device())?;
        Ok(Self { flat, places, sizes: (b, n, k) })
    }

    /// The sum of the messages `[b, n, k, c]` that each point receives, `[b, n, c]`.
    fn sum(&self, messages: &Tensor) -> Result<Tensor> {
        let ((b, n, k), c) = (self.sizes, messages.dims()[3]);
        let none = Tensor::zeros((b * n, c), messages.dtype(), messages.device())?;
        let rows = messages.contiguous()?.reshape((b * n * k, c))?;
        Ok(scatter_add(&none, &self.flat, &rows, 0)?.reshape((b, n, c))?)
    }

    /// The softmax of logits `[b, n, k, 1]` over the edges that one point receives; edges of weight zero do not count.
    fn softmax(&self, logits: &Tensor, weights: Option<&Tensor>) -> Result<Tensor> {
        let (b, n, k) = self.sizes;
        let values = logits.detach().to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        let mut most = vec![f64::NEG_INFINITY; b * n];
        for (value, &to) in values.iter().zip(&self.places) {
            let most = &mut most[to as usize];
            *most = most.max(*value);
        }
        let shift: Vec<f64> = self.places.iter().map(|&to| most[to as usize]).collect();
        let shift = Tensor::from_vec(shift, logits.shape(), logits.device())?.to_dtype(logits.dtype())?;
        let mut heights = (logits - shift)?.exp()?;
        if let Some(weights) = weights {
            heights = (heights * weights)?;
        }
        let sums = self.sum(&heights)?.reshape((b * n, 1))?;
        let own = index_select(&sums, &self.flat, 0)?.reshape((b, n, k, 1))?;
        Ok((heights / own)?)
    }
}

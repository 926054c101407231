//! The score networks behind one door: what noise is in a cloud.

use candle_core::Tensor;
use candle_nn::VarBuilder;

use super::egnn::Egnn;
use super::flax::{Mlp, Scope};
use super::graph::{Edges, mask, neighbors};
use super::graph_net::GraphNet;
use super::transformer::Transformer;
use super::{Geometry, PointVdmConfig, ScoreConfig, nearest_neighbors, time_embedding};
use crate::Result;

/// Waves of the box by which a transformer on the torus knows a position, in each coordinate.
const WAVES: usize = 4;

enum Net {
    Graph(GraphNet),
    Transformer(Transformer),
    Egnn(Egnn),
}

pub(super) struct Score {
    config: PointVdmConfig,
    geometry: Geometry,
    context: Mlp,
    net: Net,
}

impl Score {
    pub(super) fn new(config: &PointVdmConfig, context: usize, vb: VarBuilder) -> Result<Self> {
        let scope = Scope::new(vb, "params/score_model");
        let d = config.d_t_embedding + context;
        let (f, axes) = (config.features, config.mean.len());
        let rest = if config.torus { f - axes } else { f };
        let net = match &config.score {
            ScoreConfig::Graph(c) => {
                Net::Graph(GraphNet::new(c, rest.max(1), axes, d, f, &scope.at("GraphConvNet_0"))?)
            }
            ScoreConfig::Transformer(c) => {
                let inputs = if config.torus { rest + 2 * WAVES * axes } else { f };
                Net::Transformer(Transformer::new(c, inputs, d, f, &scope.at("Transformer_0"))?)
            }
            ScoreConfig::Egnn(c) => {
                let known = c.vectors + usize::from(!config.torus);
                let scalars = f - axes * (1 + c.vectors);
                Net::Egnn(Egnn::new(c, known, scalars, d, 1 + c.vectors, &scope.at("EGNN_0"))?)
            }
        };
        let context = Mlp::new(d, &[4 * d, 4 * d, d], &scope.at("MLP_0"))?;
        Ok(Self { config: config.clone(), geometry: config.geometry(), context, net })
    }

    /// What the network is told of the time and of an embedded condition, `[b, d]`.
    pub(super) fn context(
        &self,
        gamma: &Tensor,
        condition: Option<&Tensor>,
        like: &Tensor,
    ) -> Result<Tensor> {
        let time = time_embedding(gamma, self.config.d_t_embedding)?.to_dtype(like.dtype())?;
        let both = match condition {
            Some(condition) => Tensor::cat(&[&time, condition], 1)?,
            None => time,
        };
        self.context.forward(&both)
    }

    /// The noise in `z [b, n, f]` at log-SNR `gamma [b]`, given what [`Score::context`] gives.
    pub(super) fn noise(
        &self,
        z: &Tensor,
        gamma: &Tensor,
        context: &Tensor,
        counts: Option<&[usize]>,
    ) -> Result<Tensor> {
        let (b, n, f) = z.dims3()?;
        let axes = self.geometry.axes();
        let torus = self.config.torus;
        // On the torus positions are those before they were scaled, in the box.
        let placed = if torus {
            let scale = ((gamma.neg()?.exp()? + 1.0)?.sqrt()?.reshape((b, 1, 1))?).to_dtype(z.dtype())?;
            self.geometry.wrap(&z.narrow(2, 0, axes)?.broadcast_mul(&scale)?)?
        } else {
            z.clone()
        };
        let rest = if torus { z.narrow(2, axes, f - axes)?.contiguous()? } else { z.clone() };
        let side = self.geometry.side.filter(|_| torus);
        match &self.net {
            Net::Graph(net) => {
                let ScoreConfig::Graph(config) = &self.config.score else { return Ok(z.clone()) };
                let side = self.geometry.side.filter(|_| torus || config.use_pbc);
                let at = self.geometry.positions(&placed)?;
                let edges = self.standard(nearest_neighbors(&at, config.k, counts, side)?)?;
                let nodes = match rest.dims()[2] {
                    0 => Tensor::ones((b, n, 1), z.dtype(), z.device())?,
                    _ => rest,
                };
                let h = net.forward(&nodes, &edges, context)?;
                self.relative(z, &h.neg()?)
            }
            Net::Transformer(net) => {
                let points = if torus { self.waves(&placed, &rest)? } else { rest };
                let mask = counts.map(|_| mask(counts, b, n, z, z.dtype())).transpose()?;
                self.relative(z, &net.forward(&points, context, mask.as_ref())?)
            }
            Net::Egnn(net) => {
                let ScoreConfig::Egnn(config) = &self.config.score else { return Ok(z.clone()) };
                let at = self.geometry.positions(&placed)?;
                let edges = self.standard(neighbors(&at, config.k, counts, side, 0.0)?)?;
                let vectors = axes * (config.vectors + usize::from(!torus));
                let scalars = rest.dims()[2] - vectors;
                let v = (vectors > 0)
                    .then(|| rest.narrow(2, 0, vectors)?.contiguous()?.reshape((b, n, vectors / axes, axes)))
                    .transpose()?;
                let s = (scalars > 0).then(|| rest.narrow(2, vectors, scalars)?.contiguous()).transpose()?;
                let (vectors, scalars) = net.forward(v.as_ref(), s.as_ref(), &edges, context)?;
                let mut h = vectors.reshape((b, n, axes * (1 + config.vectors)))?;
                if let Some(scalars) = scalars {
                    h = Tensor::cat(&[h, scalars], 2)?;
                }
                self.relative(z, &h)
            }
        }
    }

    /// Displacements in units of the deviations.
    fn standard(&self, edges: Edges) -> Result<Edges> {
        let std = self.geometry.row(&self.geometry.std, &edges.displacements)?.unsqueeze(0)?;
        Ok(Edges { displacements: edges.displacements.broadcast_div(&std)?, ..edges })
    }

    /// The cloud and what the network adds; on the torus positions have no meaning by themselves.
    fn relative(&self, z: &Tensor, h: &Tensor) -> Result<Tensor> {
        let axes = self.geometry.axes();
        if !self.config.torus {
            return Ok((z + h)?);
        }
        let rest = z.dims()[2] - axes;
        let at = h.narrow(2, 0, axes)?;
        if rest == 0 {
            return Ok(at.contiguous()?);
        }
        let other = (z.narrow(2, axes, rest)? + h.narrow(2, axes, rest)?)?;
        Ok(Tensor::cat(&[at.contiguous()?, other], 2)?)
    }

    /// Positions by waves of the box, beside the other features.
    fn waves(&self, placed: &Tensor, rest: &Tensor) -> Result<Tensor> {
        let side = self.geometry.side.unwrap_or(1.0);
        let phase = (self.geometry.positions(placed)? * (std::f64::consts::TAU / side))?;
        let mut parts = Vec::new();
        for wave in 1..=WAVES {
            let phase = (&phase * wave as f64)?;
            parts.extend([phase.sin()?, phase.cos()?]);
        }
        if rest.dims()[2] > 0 {
            parts.push(rest.clone());
        }
        Ok(Tensor::cat(&parts, 2)?)
    }
}

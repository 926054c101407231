//! The equivariant score network: messages from invariants, vectors from displacements.

use candle_core::{D, Tensor};
use halocast_kernels::gather_points;

use super::EgnnConfig;
use super::flax::{Mlp, Scope, gelu};
use super::graph::Edges;
use crate::Result;

struct Step {
    message: Mlp,
    /// Absent where nothing reads the invariants any more.
    node: Option<Mlp>,
}

/// A graph network that commutes with rotations and reflections. With displacements $r_{ij} = x_i - x_j$ of the nearest
/// points, vectors $v_i$ and invariants $h_i$ of a point,
///
/// $$ m_{ij} = \phi_e(h_i, h_j, \ln(1 + r_{ij}^2), v_i \circ r_{ij}, v_j \circ r_{ij}), \quad
/// h_i \leftarrow h_i + \phi_h(h_i, \langle m_{ij} \rangle_j), \quad
/// \hat\epsilon_i = \Big\langle \frac{r_{ij}}{\sqrt{1 + r_{ij}^2}} \phi_r(m_{ij}) \Big\rangle_j + \sum_a \psi_a(h_i) v_i^a , $$
///
/// where $v \circ r = v \cdot r / \sqrt{(1 + v^2)(1 + r^2)}$.
///
/// # Source
/// Satorras et al. 2021, arXiv:2102.09844, eqs. 3 to 6.
///
/// # Differences
/// Vectors beside the positions. Displacements are bounded, and invariants grow like logarithms: at the noisiest levels
/// points are far apart, and squares of their distances would carry an untrained network out of all bounds.
pub(super) struct Egnn {
    embed: Mlp,
    steps: Vec<Step>,
    along: Mlp,
    mix: Option<Mlp>,
    scalars: Option<Mlp>,
    outputs: usize,
}

impl Egnn {
    /// For `vectors` vectors and `scalars` scalars of a point, of which `outputs` vectors and the scalars are predicted.
    pub(super) fn new(
        config: &EgnnConfig,
        vectors: usize,
        scalars: usize,
        condition: usize,
        outputs: usize,
        scope: &Scope,
    ) -> Result<Self> {
        let wide = config.hidden_size;
        let step = |i: usize| -> Result<Step> {
            let inputs = 2 * wide + 1 + 2 * vectors;
            let read = i + 1 < config.message_passing_steps || vectors + scalars > 0;
            let node = || Mlp::new(2 * wide, &[wide, wide], &scope.at(format_args!("node_{i}")));
            Ok(Step {
                message: Mlp::new(inputs, &[wide, wide], &scope.at(format_args!("message_{i}")))?,
                node: read.then(node).transpose()?,
            })
        };
        let mlp = |name: &str, inputs: usize, out: usize| Mlp::new(inputs, &[wide, out], &scope.at(name));
        Ok(Self {
            embed: mlp("embed", scalars + vectors + condition, wide)?,
            steps: (0..config.message_passing_steps).map(step).collect::<Result<_>>()?,
            along: mlp("along", wide, outputs)?,
            mix: (vectors > 0).then(|| mlp("mix", wide, outputs * vectors)).transpose()?,
            scalars: (scalars > 0).then(|| mlp("scalars", wide, scalars)).transpose()?,
            outputs,
        })
    }

    /// Of vectors `[b, n, a, axes]` and scalars `[b, n, s]` of each point (`None` where there are none), with standardised
    /// displacements and a condition `[b, d]`: vectors `[b, n, outputs, axes]`, and scalars `[b, n, s]` where there are some.
    pub(super) fn forward(
        &self,
        vectors: Option<&Tensor>,
        scalars: Option<&Tensor>,
        edges: &Edges,
        condition: &Tensor,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let (b, n, k) = edges.receivers.dims3()?;
        let r = &edges.displacements;
        let axes = r.dims()[3];
        let d = condition.dims()[1];
        let mut inputs: Vec<Tensor> = scalars.into_iter().cloned().collect();
        let length = (r.sqr()?.sum_keepdim(D::Minus1)? + 1.0)?;
        let scale = length.sqrt()?.recip()?;
        let mut invariants = vec![length.log()?];
        if let Some(v) = vectors {
            let a = v.dims()[2];
            let length = (v.sqr()?.sum_keepdim(D::Minus1)? + 1.0)?;
            inputs.push(length.squeeze(D::Minus1)?.log()?);
            let bounded = v.broadcast_div(&length.sqrt()?)?;
            let there = gather_points(&bounded.reshape((b, n, a * axes))?.contiguous()?, &edges.receivers)?;
            let there = there.reshape((b, n, k, a, axes))?;
            let r = r.broadcast_mul(&scale)?.unsqueeze(3)?;
            for v in [bounded.unsqueeze(2)?, there] {
                invariants.push(v.broadcast_mul(&r)?.sum(D::Minus1)?);
            }
        }
        inputs.push(condition.reshape((b, 1, d))?.broadcast_as((b, n, d))?.contiguous()?);
        let mut h = self.embed.forward(&Tensor::cat(&inputs, D::Minus1)?)?;
        let wide = h.dims()[2];
        let mut last = None;
        for step in &self.steps {
            let there = gather_points(&h, &edges.receivers)?;
            let here = h.unsqueeze(2)?.broadcast_as((b, n, k, wide))?.contiguous()?;
            let parts: Vec<Tensor> = [here, there].into_iter().chain(invariants.iter().cloned()).collect();
            let messages = gelu(&step.message.forward(&Tensor::cat(&parts, D::Minus1)?)?)?;
            if let Some(node) = &step.node {
                let mean = messages.mean(2)?;
                h = (&h + node.forward(&Tensor::cat(&[&h, &mean], D::Minus1)?)?)?;
            }
            last = Some(messages);
        }
        let out = self.outputs;
        let mut noise = Tensor::zeros((b, n, out, axes), r.dtype(), r.device())?;
        if let Some(messages) = last {
            let along = self.along.forward(&messages)?.broadcast_mul(&scale)?;
            let moved = along.unsqueeze(4)?.broadcast_mul(&r.unsqueeze(3)?)?;
            noise = moved.mean(2)?;
        }
        if let (Some(mix), Some(v)) = (&self.mix, vectors) {
            let a = v.dims()[2];
            let weights = mix.forward(&h)?.reshape((b, n, out, a, 1))?;
            noise = (noise + weights.broadcast_mul(&v.unsqueeze(2)?)?.sum(3)?)?;
        }
        let scalars = self.scalars.as_ref().map(|mlp| mlp.forward(&h)).transpose()?;
        Ok((noise, scalars))
    }
}

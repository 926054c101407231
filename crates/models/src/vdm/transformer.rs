//! The transformer score network: attention over the points of a set.

use candle_core::{D, Tensor};
use candle_nn::Init;
use halocast_kernels::{Activation, AttentionSpec, attention_masked, layer_norm};

use super::TransformerConfig;
use super::flax::{Dense, EPS, Kernel, LayerNorm, Scope, gelu};
use crate::Result;

/// A normalisation, of its own scale and bias or of the condition's.
enum Norm {
    Own(LayerNorm),
    Adaptive { dense: Dense, dim: usize },
}

impl Norm {
    fn new(dim: usize, adaptive: Option<usize>, index: usize, scope: &Scope) -> Result<Self> {
        let Some(condition) = adaptive else {
            return Ok(Self::Own(LayerNorm::new(dim, &scope.at(format_args!("LayerNorm_{index}")))?));
        };
        let scope = scope.at(format_args!("AdaLayerNorm_{index}")).at("Dense_0");
        Ok(Self::Adaptive { dense: Dense::new(condition, 2 * dim, &scope)?, dim })
    }

    fn forward(&self, x: &Tensor, condition: &Tensor) -> Result<Tensor> {
        let (dense, dim) = match self {
            Self::Own(norm) => return norm.forward(x),
            Self::Adaptive { dense, dim } => (dense, *dim),
        };
        let both = gelu(&dense.forward(condition)?)?.unsqueeze(1)?;
        let (scale, shift) = (both.narrow(2, 0, dim)?, both.narrow(2, dim, dim)?);
        let one = Tensor::ones(dim, x.dtype(), x.device())?;
        let plain = layer_norm(x, &one, &one.zeros_like()?, EPS, Activation::None)?;
        Ok(plain.broadcast_mul(&(scale + 1.0)?)?.broadcast_add(&shift)?)
    }
}

/// Attention and a perceptron, each behind a normalisation and with a residual.
struct Layer {
    norm: Norm,
    memory_norm: Option<Norm>,
    maps: [Dense; 3],
    out: Dense,
    mlp_norm: Norm,
    mlp: (Dense, Dense),
    heads: usize,
}

impl Layer {
    fn new(
        config: &TransformerConfig,
        adaptive: Option<usize>,
        crossed: bool,
        scope: &Scope,
    ) -> Result<Self> {
        let (dim, heads) = (config.d_model, config.n_heads);
        let split = [heads, dim / heads];
        let attention = scope.at("MultiHeadDotProductAttention_0");
        let map = |name: &str| Dense::with(&[dim], &split, Kernel::Xavier, &attention.at(name));
        Ok(Self {
            norm: Norm::new(dim, adaptive, 0, scope)?,
            memory_norm: crossed.then(|| Norm::new(dim, None, 1, scope)).transpose()?,
            maps: [map("query")?, map("key")?, map("value")?],
            out: Dense::with(&split, &[dim], Kernel::Xavier, &attention.at("out"))?,
            mlp_norm: Norm::new(dim, adaptive, 1 + usize::from(crossed), scope)?,
            mlp: (
                Dense::new(dim, config.d_mlp, &scope.at("Dense_0"))?,
                Dense::new(config.d_mlp, dim, &scope.at("Dense_1"))?,
            ),
            heads,
        })
    }

    /// Of `x [b, n, c]`, which sees itself or `memory [b, m, c]`; keys of `mask` zero do not count.
    fn forward(
        &self,
        x: &Tensor,
        memory: Option<&Tensor>,
        condition: &Tensor,
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (b, n, c) = x.dims3()?;
        let own = self.norm.forward(x, condition)?;
        let other = match (memory, &self.memory_norm) {
            (Some(memory), Some(norm)) => norm.forward(memory, condition)?,
            _ => own.clone(),
        };
        let split = |t: Tensor| -> Result<Tensor> {
            let m = t.dims()[1];
            Ok(t.reshape((b, m, self.heads, c / self.heads))?.transpose(1, 2)?.contiguous()?)
        };
        let [q, k, v] = &self.maps;
        let (q, k, v) = (split(q.forward(&own)?)?, split(k.forward(&other)?)?, split(v.forward(&other)?)?);
        let spec = AttentionSpec { scale: 1.0 / ((c / self.heads) as f64).sqrt(), causal: false };
        let seen = attention_masked(&q, &k, &v, mask, spec)?;
        let seen = seen.transpose(1, 2)?.contiguous()?.reshape((b, n, c))?;
        let x = (x + self.out.forward(&seen)?)?;
        let h = gelu(&self.mlp.0.forward(&self.mlp_norm.forward(&x, condition)?)?)?;
        Ok((x + self.mlp.1.forward(&h)?)?)
    }
}

/// A layer, behind one that gathers the points in a few where attention is mediated.
struct Stage {
    pool: Option<(Tensor, Layer)>,
    layer: Layer,
}

pub(super) struct Transformer {
    config: TransformerConfig,
    input: Dense,
    condition: Option<Dense>,
    join: Option<Dense>,
    stages: Vec<Stage>,
    norm: Norm,
    output: Dense,
}

impl Transformer {
    pub(super) fn new(
        config: &TransformerConfig,
        inputs: usize,
        condition: usize,
        out: usize,
        scope: &Scope,
    ) -> Result<Self> {
        let dim = config.d_model;
        let adaptive = config.adanorm.then_some(condition);
        let mut next = 0;
        let mut dense = |inputs: usize, outputs: usize, kernel: Kernel| -> Result<Dense> {
            next += 1;
            Dense::with(&[inputs], &[outputs], kernel, &scope.at(format_args!("Dense_{}", next - 1)))
        };
        let input = dense(inputs, dim, Kernel::Lecun)?;
        let of_condition =
            (!config.adanorm).then(|| dense(condition, config.d_conditioning, Kernel::Lecun)).transpose()?;
        let join = config
            .concat_conditioning
            .then(|| dense(dim + config.d_conditioning, dim, Kernel::Lecun))
            .transpose()?;
        let output = dense(dim, out, Kernel::Zeros)?;
        let block = if config.adanorm { "MultiHeadSelfAttentionBlock" } else { "MultiHeadAttentionBlock" };
        let few = config.n_inducing_points;
        let stage = |i: usize| -> Result<Stage> {
            let pool = (few > 0)
                .then(|| -> Result<_> {
                    let scope = scope.at(format_args!("PoolingByMultiHeadAttention_{i}"));
                    let init = Init::Randn { mean: 0.0, stdev: (1.0 / dim as f64).sqrt() };
                    let seeds = scope.get((few, dim), "seed_vectors", init)?;
                    Ok((seeds, Layer::new(config, None, true, &scope.at("MultiHeadAttentionBlock_0"))?))
                })
                .transpose()?;
            let scope = scope.at(format_args!("{block}_{i}"));
            Ok(Stage { pool, layer: Layer::new(config, adaptive, few > 0, &scope)? })
        };
        let stages = (0..config.n_layers).map(stage).collect::<Result<_>>()?;
        let norm = Norm::new(dim, adaptive, 0, scope)?;
        Ok(Self { config: config.clone(), input, condition: of_condition, join, stages, norm, output })
    }

    /// Of points `[b, n, c]` with a condition `[b, d]`; points of `mask [b, n]` zero are seen by none.
    pub(super) fn forward(&self, x: &Tensor, condition: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let mut x = self.input.forward(x)?;
        let (b, n, _) = x.dims3()?;
        let mut added = None;
        if let Some(dense) = &self.condition {
            let c = dense.forward(condition)?.unsqueeze(1)?;
            match &self.join {
                Some(join) => {
                    let c = c.broadcast_as((b, n, self.config.d_conditioning))?.contiguous()?;
                    x = join.forward(&Tensor::cat(&[x, c], D::Minus1)?)?;
                }
                None => added = Some(c),
            }
        }
        for Stage { pool, layer } in &self.stages {
            if let Some(c) = &added {
                x = x.broadcast_add(c)?;
            }
            x = match pool {
                Some((seeds, pool)) => {
                    let (few, dim) = seeds.dims2()?;
                    let seeds = seeds.unsqueeze(0)?.broadcast_as((b, few, dim))?.contiguous()?;
                    let gathered = pool.forward(&seeds, Some(&x), condition, mask)?;
                    layer.forward(&x, Some(&gathered), condition, None)?
                }
                None => layer.forward(&x, None, condition, mask)?,
            };
        }
        self.output.forward(&self.norm.forward(&x, condition)?)
    }
}

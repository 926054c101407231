//! Every model of the registry in a size that a law can be checked on: one line a model.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use halocast::core::{Batch, Rng};
use halocast::kernels::PadMode;
use halocast::models::adapointr::{
    AdaPoinTrConfig, Block, Combine, DecoderConfig, EncoderConfig, EncoderKind, HeadKind,
};
use halocast::models::diffusion::{DdpmConfig, LossKind, Objective, Schedule, TimeSampling};
use halocast::models::unet::{Attention, UNetConfig};
use halocast::models::vdm::{
    EgnnConfig, GraphConfig, GraphNorm, PointVdmConfig, ScheduleKind, ScoreConfig, TransformerConfig,
};
use halocast::models::{Model, ModelConfig};
use ndarray::ArrayD;

/// The name of each case and its model.
pub fn zoo() -> Vec<(&'static str, ModelConfig)> {
    vec![
        ("ddpm: noise, Huber, attention everywhere", ddpm(|_| {})),
        (
            "ddpm: data, squares, attention in the middle, circular",
            ddpm(|c| {
                (c.objective, c.loss) = (Objective::Data, LossKind::L2);
                (c.unet.attention, c.unet.padding) = (Attention::Middle, PadMode::Circular);
            }),
        ),
        (
            "ddpm: velocity, absolute values, no attention, two channels",
            ddpm(|c| {
                (c.objective, c.loss) = (Objective::Velocity, LossKind::L1);
                (c.unet.attention, c.unet.channels) = (Attention::Nowhere, 2);
            }),
        ),
        (
            "ddpm: six parameters, circular, cosine, stratified, not square",
            ddpm(|c| {
                (c.unet.parameters, c.unet.padding, c.size) = (6, PadMode::Circular, [8, 12]);
                (c.schedule, c.times) = (Schedule::Cosine, TimeSampling::Stratified);
            }),
        ),
        (
            "ddpm: three levels, one head, one group",
            ddpm(|c| {
                c.unet.dim_mults = vec![1, 2, 3];
                (c.unet.heads, c.unet.groups) = (1, 1);
            }),
        ),
        ("adapointr: dynamic graph, perceptron", adapointr(|_| {})),
        (
            "adapointr: folds, features, learned ranking, one by one",
            adapointr(|c| {
                (c.encoder_type, c.decoder_type) = (EncoderKind::Graph, HeadKind::Fold);
                (c.num_query, c.num_points, c.decoder_config.k, c.denoise) = (2, 128, 2, 1);
                (c.features_in, c.features_out, c.ranking_gradient, c.skip_within) = (1, 2, true, None);
                (c.encoder_config.combine_style, c.encoder_config.init_values) =
                    (Combine::OneByOne, Some(0.5));
                c.decoder_config.embed_dim = 12;
                c.decoder_config.cross_attn_combine_style = Combine::OneByOne;
                c.decoder_config.self_attn_block_style_list = vec![Block::Graph];
            }),
        ),
        ("point vdm: graph, learned line", point_vdm(|_| {})),
        (
            "point vdm: graph without edges or box, sums, pairs, discrete time, not antithetic",
            point_vdm(|c| {
                (c.timesteps, c.antithetic_time_sampling, c.box_size, c.dropout) = (10, false, None, 0.5);
                c.score = ScoreConfig::Graph(GraphConfig {
                    use_pbc: false,
                    use_edges: false,
                    attention: false,
                    relative_updates: false,
                    norm: GraphNorm::Pair,
                    ..graph()
                });
            }),
        ),
        (
            "point vdm: graph as released, sinusoids of distances, edges kept",
            point_vdm(|c| {
                c.score = ScoreConfig::Graph(GraphConfig {
                    as_released: true,
                    use_absolute_distances: true,
                    use_fourier_features: true,
                    n_fourier_features: 2,
                    edge_skip_connections: true,
                    norm: GraphNorm::None,
                    ..graph()
                });
            }),
        ),
        (
            "point vdm: transformer, learned network, no condition",
            point_vdm(|c| {
                (c.noise_schedule, c.context) = (ScheduleKind::LearnedNet, 0);
                c.score = ScoreConfig::Transformer(transformer());
            }),
        ),
        (
            "point vdm: transformer with few mediators, condition joined, on the torus",
            point_vdm(|c| {
                (c.torus, c.d_context_embedding) = (true, 0);
                c.score = ScoreConfig::Transformer(TransformerConfig {
                    n_inducing_points: 3,
                    concat_conditioning: true,
                    ..transformer()
                });
            }),
        ),
        (
            "point vdm: transformer, adaptive, fixed line",
            point_vdm(|c| {
                c.noise_schedule = ScheduleKind::Linear;
                c.score = ScoreConfig::Transformer(TransformerConfig { adanorm: true, ..transformer() });
            }),
        ),
        ("point vdm: equivariant", point_vdm(|c| c.score = ScoreConfig::Egnn(egnn(1)))),
        (
            "point vdm: equivariant on the torus, positions alone",
            point_vdm(|c| {
                (c.torus, c.features) = (true, 3);
                c.score = ScoreConfig::Egnn(egnn(0));
            }),
        ),
    ]
}

fn adapointr(change: impl Fn(&mut AdaPoinTrConfig)) -> ModelConfig {
    let mut config = AdaPoinTrConfig {
        input_points: 36,
        num_points: 16,
        num_query: 8,
        center_num: [20, 10],
        global_feature_dim: 12,
        hidden_dim: 10,
        encoder_config: EncoderConfig {
            embed_dim: 8,
            num_heads: 2,
            k: 3,
            block_style_list: vec![Block::AttnGraph, Block::Attn],
            ..Default::default()
        },
        decoder_config: DecoderConfig {
            embed_dim: 8,
            num_heads: 2,
            k: 3,
            self_attn_block_style_list: vec![Block::AttnGraph],
            cross_attn_block_style_list: vec![Block::AttnGraph],
            ..Default::default()
        },
        denoise: 6,
        // Wide enough that candidates do not fall together, where their order is that of rounding.
        init_std: 0.12,
        ..Default::default()
    };
    change(&mut config);
    ModelConfig::Adapointr(config)
}

fn graph() -> GraphConfig {
    GraphConfig {
        k: 3,
        num_mlp_layers: 1,
        latent_size: 6,
        hidden_size: 8,
        message_passing_steps: 2,
        ..Default::default()
    }
}

fn transformer() -> TransformerConfig {
    TransformerConfig {
        d_model: 8,
        d_mlp: 12,
        n_layers: 2,
        n_heads: 2,
        d_conditioning: 8,
        ..Default::default()
    }
}

fn egnn(vectors: usize) -> EgnnConfig {
    EgnnConfig { k: 4, hidden_size: 8, message_passing_steps: 2, vectors }
}

fn point_vdm(change: impl Fn(&mut PointVdmConfig)) -> ModelConfig {
    let mut config = PointVdmConfig {
        points: 7,
        d_t_embedding: 4,
        d_context_embedding: 3,
        score: ScoreConfig::Graph(graph()),
        ..Default::default()
    };
    change(&mut config);
    ModelConfig::PointVdm(config)
}

fn ddpm(change: impl Fn(&mut DdpmConfig)) -> ModelConfig {
    let unet =
        UNetConfig { dim: 8, dim_mults: vec![1, 2], groups: 4, heads: 2, dim_head: 4, ..Default::default() };
    let mut config = DdpmConfig { unet, size: [8, 8], timesteps: 20, ..Default::default() };
    change(&mut config);
    ModelConfig::Ddpm(config)
}

/// A batch of standard normal numbers that fits a model.
///
/// # Errors
/// Of the shapes.
pub fn batch(model: &Model, examples: usize, rng: &mut Rng) -> Result<Batch> {
    let spec = model.trainable().example();
    let mut draw = |shape: &[usize]| -> Result<ArrayD<f32>> {
        let shape: Vec<usize> = std::iter::once(examples).chain(shape.iter().copied()).collect();
        Ok(ArrayD::from_shape_vec(shape.clone(), rng.normals(shape.iter().product()))?)
    };
    let fields = draw(&spec.fields)?;
    let parameters = spec.parameters.map(|n| draw(&[n])?.into_dimensionality().context("parameters"));
    let condition = spec.condition.as_deref().map(&mut draw).transpose()?;
    Ok(Batch { condition, ..Batch::new(fields, parameters.transpose()?) })
}

/// The tag of a configuration.
///
/// # Errors
/// When it has none.
pub fn tag(config: &ModelConfig) -> Result<String> {
    let tagged = serde_json::to_value(config)?;
    Ok(tagged["model"].as_str().context("a configuration without the tag `model`")?.to_owned())
}

/// The tags of all models of the registry: it names them itself when asked for one that it does not have.
pub fn registered() -> BTreeSet<String> {
    let unknown = serde_json::json!({ "model": "?" });
    let told =
        serde_json::from_value::<ModelConfig>(unknown).err().map(|e| e.to_string()).unwrap_or_default();
    let (_, known) = told.split_once("expected").unwrap_or_default();
    known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

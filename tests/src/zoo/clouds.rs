//! Models of clouds of points.

use halocast::models::ModelConfig;
use halocast::models::adapointr::{
    AdaPoinTrConfig, Block, Combine, DecoderConfig, EncoderConfig, EncoderKind, HeadKind,
};
use halocast::models::pointnet::PointNetConfig;
use halocast::models::vdm::{
    EgnnConfig, GraphConfig, GraphNorm, PointVdmConfig, ScheduleKind, ScoreConfig, TransformerConfig,
};

pub(super) fn cases() -> Vec<(&'static str, ModelConfig)> {
    vec![
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
        (
            "pointnet: features transformed, one number beside the coordinates",
            ModelConfig::Pointnet(PointNetConfig {
                points: 9,
                features: 4,
                widths: [4, 5, 6],
                head: [6, 5],
                feature_transform: true,
                // Two examples that are dropped alike are two equal ones, at the corner of a rectifier.
                dropout: 0.0,
                ..Default::default()
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

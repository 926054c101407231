//! Denoising diffusion.

use halocast::kernels::PadMode;
use halocast::models::ModelConfig;
use halocast::models::diffusion::{DdpmConfig, LossKind, Objective, Schedule, TimeSampling, Weighting};
use halocast::models::edm::{
    Decoder, DhariwalConfig, EdmConfig, Encoder, NoiseEmbedding, NoiseLoss, Precondition, SongConfig,
};
use halocast::models::network::NetworkConfig;
use halocast::models::unet::{Attention, LucidrainsConfig, TimeFeatures, UNetConfig};

pub(super) fn cases() -> Vec<(&'static str, ModelConfig)> {
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
                (c.unet.parameters, c.unet.padding, c.size) = (6, PadMode::Circular, vec![8, 12]);
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
        (
            "ddpm: a field, squares at most five times those of the data, offset noise",
            ddpm(|c| {
                (c.field, c.objective, c.loss) = (2, Objective::Velocity, LossKind::L2);
                (c.weighting, c.offset_noise) = (Weighting::MinSnr { gamma: Some(5.0) }, 0.1);
            }),
        ),
        (
            "ddpm: three parameters dropped from half, sigmoid, Huber with weights",
            ddpm(|c| {
                (c.unet.parameters, c.unconditional) = (3, 0.5);
                (c.schedule, c.weighting) = (Schedule::sigmoid(), Weighting::MinSnr { gamma: None });
                c.objective = Objective::Data;
            }),
        ),
        (
            "ddpm: lucidrains, learned features, dropout, parameters, reflected",
            ddpm(|c| {
                let time = TimeFeatures::Learned { dim: 4 };
                c.network = lucidrains(|n| {
                    (n.time, n.dropout, n.parameters, n.padding) = (time, 0.3, 2, PadMode::Reflect)
                });
                c.size = vec![4, 4];
            }),
        ),
        (
            "ddpm: lucidrains over lines, circular, random features, full attention, a field",
            ddpm(|c| {
                let time = TimeFeatures::Random { dim: 4 };
                c.network = lucidrains(|n| {
                    (n.time, n.full_attn, n.padding) = (time, vec![true], PadMode::Circular);
                });
                (c.size, c.field, c.loss) = (vec![8], 1, LossKind::L2);
            }),
        ),
        (
            "ddpm: lucidrains over cubes",
            ddpm(|c| {
                c.network = lucidrains(|n| {
                    (n.dim, n.init_dim) = (4, Some(3));
                });
                (c.size, c.loss) = (vec![2, 2, 2], LossKind::L2);
            }),
        ),
        ("edm: DDPM++, dropout", edm(|_| {})),
        (
            "edm: NCSN++, variance exploding, six parameters",
            edm(|c| {
                c.network = NetworkConfig::Song(SongConfig {
                    noise: NoiseEmbedding::Fourier,
                    dim: 4,
                    noise_mult: 2,
                    encoder: Encoder::Residual,
                    filter: vec![1.0, 3.0, 3.0, 1.0],
                    parameters: 6,
                    ..song()
                });
                (c.precondition, c.loss) = (Precondition::ve(), NoiseLoss::ve());
            }),
        ),
        (
            "edm: skips of the input and the output, variance preserving, a field dropped from half, circular",
            edm(|c| {
                c.network = NetworkConfig::Song(SongConfig {
                    encoder: Encoder::Skip,
                    decoder: Decoder::Skip,
                    padding: PadMode::Circular,
                    ..song()
                });
                (c.precondition, c.loss, c.field, c.unconditional) =
                    (Precondition::vp(), NoiseLoss::vp(), 2, 0.5);
            }),
        ),
        (
            "edm: ADM, improved DDPM, three parameters",
            edm(|c| {
                c.network = NetworkConfig::Dhariwal(DhariwalConfig {
                    dim: 8,
                    dim_mults: vec![1, 8],
                    embedding_mult: 2,
                    blocks: 1,
                    attention: vec![2],
                    last_weight: 1.0,
                    parameters: 3,
                    ..Default::default()
                });
                c.precondition = Precondition::iddpm();
            }),
        ),
    ]
}

fn ddpm(change: impl Fn(&mut DdpmConfig)) -> ModelConfig {
    let unet =
        UNetConfig { dim: 8, dim_mults: vec![1, 2], groups: 4, heads: 2, dim_head: 4, ..Default::default() };
    let mut config = DdpmConfig { unet, size: vec![8, 8], timesteps: 20, ..Default::default() };
    change(&mut config);
    ModelConfig::Ddpm(config)
}

/// A small network of lucidrains.
fn lucidrains(change: impl Fn(&mut LucidrainsConfig)) -> Option<NetworkConfig> {
    let mut config = LucidrainsConfig {
        dim: 8,
        dim_mults: vec![1, 2],
        attn_heads: vec![2],
        attn_dim_head: vec![4],
        ..Default::default()
    };
    change(&mut config);
    Some(NetworkConfig::Lucidrains(config))
}

fn song() -> SongConfig {
    SongConfig {
        dim: 8,
        dim_mults: vec![1, 2],
        embedding_mult: 2,
        blocks: 1,
        attention: vec![2],
        last_weight: 1.0,
        ..Default::default()
    }
}

fn edm(change: impl Fn(&mut EdmConfig)) -> ModelConfig {
    let network = NetworkConfig::Song(song());
    let mut config = EdmConfig { network, size: vec![4, 4], ..Default::default() };
    change(&mut config);
    ModelConfig::Edm(config)
}

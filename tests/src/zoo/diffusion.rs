//! Denoising diffusion.

use halocast::kernels::PadMode;
use halocast::models::ModelConfig;
use halocast::models::diffusion::{DdpmConfig, LossKind, Objective, Schedule, TimeSampling};
use halocast::models::unet::{Attention, UNetConfig};

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
    ]
}

fn ddpm(change: impl Fn(&mut DdpmConfig)) -> ModelConfig {
    let unet =
        UNetConfig { dim: 8, dim_mults: vec![1, 2], groups: 4, heads: 2, dim_head: 4, ..Default::default() };
    let mut config = DdpmConfig { unet, size: [8, 8], timesteps: 20, ..Default::default() };
    change(&mut config);
    ModelConfig::Ddpm(config)
}

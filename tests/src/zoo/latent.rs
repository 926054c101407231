//! Diffusion of latents.

use halocast::models::ModelConfig;
use halocast::models::autoencoder::{AutoencoderConfig, CoderConfig, Observation, VaeConfig, VqVaeConfig};
use halocast::models::diffusion::{DdpmConfig, LossKind, Objective, Schedule};
use halocast::models::embedding::ConvConfig;
use halocast::models::latent::{FirstStageConfig, LatentDiffusionConfig};
use halocast::models::unet::UNetConfig;

pub(super) fn cases() -> Vec<(&'static str, ModelConfig)> {
    let conv = || ConvConfig { channels: vec![4], features: 5, ..Default::default() };
    let vq_vae = VqVaeConfig { event: vec![1, 16, 16], conv: conv(), codes: 6, dim: 3, ..Default::default() };
    let vae = VaeConfig {
        event: vec![2, 8, 8],
        latent: 16,
        coder: CoderConfig::Conv(conv()),
        observation: Observation::LearnedGaussian,
        ..Default::default()
    };
    let coder = CoderConfig::Mlp { hidden: 8 };
    let plain = AutoencoderConfig { event: vec![1, 6, 6], latent: 32, coder };
    vec![
        (
            "latent diffusion: a grid of vectors, velocity",
            latent(FirstStageConfig::VqVae(vq_vae), 3, [8, 8], |c| {
                (c.diffusion.objective, c.diffusion.schedule) = (Objective::Velocity, Schedule::Cosine);
                c.scale = Some(2.5);
            }),
        ),
        (
            "latent diffusion: of a VAE, three parameters, squares",
            latent(FirstStageConfig::Vae(vae), 1, [4, 4], |c| {
                (c.diffusion.unet.parameters, c.diffusion.loss) = (3, LossKind::L2);
            }),
        ),
        (
            "latent diffusion: of a plain autoencoder, two channels",
            latent(FirstStageConfig::Autoencoder(plain), 2, [4, 4], |_| {}),
        ),
    ]
}

fn latent(
    autoencoder: FirstStageConfig,
    channels: usize,
    size: [usize; 2],
    change: impl Fn(&mut LatentDiffusionConfig),
) -> ModelConfig {
    let unet = UNetConfig {
        channels,
        dim: 8,
        dim_mults: vec![1, 2],
        groups: 4,
        heads: 2,
        dim_head: 4,
        ..Default::default()
    };
    let diffusion = DdpmConfig { unet, size: size.to_vec(), timesteps: 20, ..Default::default() };
    let mut config = LatentDiffusionConfig { autoencoder, checkpoint: None, scale: None, diffusion };
    change(&mut config);
    ModelConfig::LatentDiffusion(config)
}

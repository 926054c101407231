//! Continuous-time diffusion, and bridges between fields.

use halocast::models::ModelConfig;
use halocast::models::bridge::{
    BbdmConfig, FlowMatchingConfig, IndiConfig, IndiNoise, RectifiedFlowConfig, RegressionConfig,
};
use halocast::models::diffusion::LossKind;
use halocast::models::sde::{ScoreSdeConfig, Sde};
use halocast::models::unet::UNetConfig;

pub(super) fn cases() -> Vec<(&'static str, ModelConfig)> {
    vec![
        ("score SDE: VP", score_sde(|_| {})),
        (
            "score SDE: sub-VP, likelihood weight, six parameters",
            score_sde(|c| {
                c.sde = Sde::SubVp { beta_min: 0.1, beta_max: 20.0 };
                (c.loss.likelihood, c.t_min, c.unet.parameters) = (true, 1e-2, 6);
            }),
        ),
        (
            "score SDE: VE, sums, two channels given a field of three",
            score_sde(|c| {
                c.sde = Sde::Ve { sigma_min: 0.01, sigma_max: 50.0 };
                (c.loss.mean, c.unet.channels, c.unet.condition_channels) = (false, 2, 3);
            }),
        ),
        ("InDI: no noise, absolute values", indi(|_| {})),
        (
            "InDI: Brownian noise, squares, the end more often, the condition beside",
            indi(|c| {
                (c.noise, c.loss) = (IndiNoise::Brownian { epsilon: 0.1 }, LossKind::L2);
                (c.end_weight, c.unet.condition_channels) = (0.5, 1);
            }),
        ),
        ("BBDM", ModelConfig::Bbdm(BbdmConfig { unet: small(), size: [8, 8], ..Default::default() })),
        (
            "flow matching: six parameters",
            ModelConfig::FlowMatching(FlowMatchingConfig {
                unet: UNetConfig { parameters: 6, ..small() },
                size: [8, 8],
                ..Default::default()
            }),
        ),
        (
            "rectified flow: two channels, noise, the condition beside",
            ModelConfig::RectifiedFlow(RectifiedFlowConfig {
                unet: UNetConfig { channels: 2, condition_channels: 2, ..small() },
                size: [8, 8],
                noise: 0.1,
                ..Default::default()
            }),
        ),
        (
            "regression: two channels from three",
            ModelConfig::Regression(RegressionConfig {
                unet: UNetConfig { channels: 2, condition_channels: 3, ..small() },
                size: [8, 8],
                loss: LossKind::L2,
            }),
        ),
    ]
}

fn small() -> UNetConfig {
    UNetConfig { dim: 8, dim_mults: vec![1, 2], groups: 4, heads: 2, dim_head: 4, ..Default::default() }
}

fn indi(change: impl Fn(&mut IndiConfig)) -> ModelConfig {
    let mut config = IndiConfig { unet: small(), size: [8, 8], ..Default::default() };
    change(&mut config);
    ModelConfig::Indi(config)
}

fn score_sde(change: impl Fn(&mut ScoreSdeConfig)) -> ModelConfig {
    let mut config = ScoreSdeConfig { unet: small(), size: [8, 8], ..Default::default() };
    change(&mut config);
    ModelConfig::ScoreSde(config)
}

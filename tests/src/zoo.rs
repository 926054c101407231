//! Every model of the registry in a size that a law can be checked on: one line a model.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use halocast::core::{Batch, Rng};
use halocast::kernels::PadMode;
use halocast::models::bridge::{
    BbdmConfig, FlowMatchingConfig, IndiConfig, IndiNoise, RectifiedFlowConfig, RegressionConfig,
};
use halocast::models::diffusion::{DdpmConfig, LossKind, Objective, Schedule, TimeSampling};
use halocast::models::sde::{ScoreSdeConfig, Sde};
use halocast::models::unet::{Attention, UNetConfig};
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

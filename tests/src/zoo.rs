//! Every model of the registry in a size that a law can be checked on: one line a model.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use halocast::core::{Batch, Rng};
use halocast::kernels::PadMode;
use halocast::models::diffusion::{DdpmConfig, LossKind, Objective, Schedule, TimeSampling};
use halocast::models::dim::{DimConfig, DimDdpmConfig};
use halocast::models::gan::{
    CycleGanConfig, DiscriminatorConfig, GanConfig, GanLoss, GeneratorConfig, Initial, Norm, PatchConfig,
    Penalty, Pix2PixConfig, PixelConfig, ResnetGeneratorConfig, ResnetPadding, UnetGeneratorConfig,
};
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
        ("pix2pix: batch normalisation, logits", pix2pix(unet(Norm::Batch), patch(Norm::Batch))),
        (
            "pix2pix: instance normalisation, circular, squares, pixels, no tanh",
            ModelConfig::Pix2pix(Pix2PixConfig {
                generator: GeneratorConfig::Unet(UnetGeneratorConfig {
                    padding: PadMode::Circular,
                    tanh: false,
                    ..unet(Norm::Instance)
                }),
                discriminator: DiscriminatorConfig::Pixel(PixelConfig {
                    width: 3,
                    norm: Norm::Batch,
                    initial: Initial::FanIn,
                }),
                channels: 2,
                loss: GanLoss::LeastSquares,
                size: [8, 16],
                ..Default::default()
            }),
        ),
        (
            "cyclegan: repeated edges, patches, a pool, identity",
            ModelConfig::Cyclegan(CycleGanConfig {
                generator: GeneratorConfig::Resnet(resnet(ResnetPadding::Replicate)),
                discriminator: DiscriminatorConfig::Patch(patch(Norm::Instance)),
                size: [16, 16],
                pool: 3,
                ..Default::default()
            }),
        ),
        (
            "cyclegan: other channels, circular, dropout, layer normalisation",
            ModelConfig::Cyclegan(CycleGanConfig {
                generator: GeneratorConfig::Resnet(ResnetGeneratorConfig {
                    dropout: 0.25,
                    norm: Norm::Layer,
                    ..resnet(ResnetPadding::Circular)
                }),
                discriminator: DiscriminatorConfig::Patch(patch(Norm::Layer)),
                size: [8, 16],
                channels: 2,
                lambda_identity: 0.0,
                pool: 0,
                ..Default::default()
            }),
        ),
        ("gan: Wasserstein with gradient penalty", gan(|_| {})),
        (
            "gan: Wasserstein, three parameters, normalised by layers, circular, not square",
            gan(|c| {
                (c.parameters, c.size, c.padding) = (3, [8, 12], PadMode::Circular);
                (c.generator_norm, c.discriminator_norm) = (Norm::Layer, Norm::Layer);
            }),
        ),
        (
            "gan: Wasserstein, normalised by instances",
            gan(|c| {
                (c.size, c.generator_norm, c.discriminator_norm) = ([16, 16], Norm::Instance, Norm::Instance);
            }),
        ),
        (
            "gan: logits, penalty at the data",
            gan(|c| {
                (c.loss, c.penalty) = (GanLoss::Vanilla, Penalty::Zero(10.0));
                c.parameters = 2;
            }),
        ),
        (
            "gan: as of Radford et al.",
            ModelConfig::Gan(GanConfig {
                size: [16, 16],
                levels: 3,
                width: 3,
                latent: 5,
                ..GanConfig::dcgan()
            }),
        ),
        ("dim: noise, long skips, padding", dim(|_| {})),
        (
            "dim: velocity, classes, alternating split, circular, two channels, not square",
            dim(|c| {
                (c.objective, c.network.classes, c.network.alternate_split) = (Objective::Velocity, 3, true);
                (c.network.channels, c.network.outputs, c.network.size) = (2, 2, [4, 6]);
                c.network.padding = PadMode::Circular;
            }),
        ),
        (
            "dim: data, three parameters, no padding, no skips, two directions",
            dim(|c| {
                (c.objective, c.network.parameters, c.network.directions) = (Objective::Data, 3, 2);
                (c.network.pad, c.network.skips, c.network.time_network) = (0, false, true);
            }),
        ),
        ("dim: a field of two channels", dim(|c| c.network.field = 2)),
    ]
}

fn unet(norm: Norm) -> UnetGeneratorConfig {
    UnetGeneratorConfig { downs: 3, width: 3, norm, ..Default::default() }
}

fn resnet(padding: ResnetPadding) -> ResnetGeneratorConfig {
    ResnetGeneratorConfig { blocks: 1, width: 3, padding, initial: Initial::FanIn, ..Default::default() }
}

fn patch(norm: Norm) -> PatchConfig {
    PatchConfig { layers: 1, width: 3, norm, ..Default::default() }
}

fn pix2pix(generator: UnetGeneratorConfig, discriminator: PatchConfig) -> ModelConfig {
    ModelConfig::Pix2pix(Pix2PixConfig {
        generator: GeneratorConfig::Unet(generator),
        discriminator: DiscriminatorConfig::Patch(discriminator),
        size: [16, 16],
        ..Default::default()
    })
}

fn gan(change: impl Fn(&mut GanConfig)) -> ModelConfig {
    let mut config = GanConfig { size: [8, 8], levels: 2, width: 4, latent: 5, ..Default::default() };
    change(&mut config);
    ModelConfig::Gan(config)
}

fn ddpm(change: impl Fn(&mut DdpmConfig)) -> ModelConfig {
    let unet =
        UNetConfig { dim: 8, dim_mults: vec![1, 2], groups: 4, heads: 2, dim_head: 4, ..Default::default() };
    let mut config = DdpmConfig { unet, size: [8, 8], timesteps: 20, ..Default::default() };
    change(&mut config);
    ModelConfig::Ddpm(config)
}

fn dim(change: impl Fn(&mut DimDdpmConfig)) -> ModelConfig {
    let network = DimConfig { size: [4, 4], dim: 8, layers: 5, states: 4, pad: 2, ..DimConfig::small() };
    let mut config = DimDdpmConfig { network, timesteps: 20, ..Default::default() };
    change(&mut config);
    ModelConfig::Dim(config)
}

/// Whether a model makes the same event of the same condition every time.
pub fn deterministic(config: &ModelConfig) -> bool {
    let tag = tag(config).unwrap_or_default();
    // A generator of one map without dropout; a regression; a code.
    ["pix2pix", "cyclegan", "regression"].contains(&tag.as_str())
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

//! Every model of the registry in a size that a law can be checked on: one line a model.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use halocast::core::{Batch, Rng};
use halocast::kernels::PadMode;
use halocast::models::autoencoder::{AutoencoderConfig, CoderConfig, Observation, VaeConfig, VqVaeConfig};
use halocast::models::autoregressive::{PixelCnnConfig, PixelDistribution};
use halocast::models::diffusion::{DdpmConfig, LossKind, Objective, Schedule, TimeSampling};
use halocast::models::embedding::{ConvConfig, EmbeddingConfig, MlpConfig, SpectrumConfig};
use halocast::models::flow::{FlowConfig, FlowKind, Order};
use halocast::models::inference::PosteriorConfig;
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
        ("flow: affine couplings, parameters", flow(FlowKind::RealNvp, |c| c.parameters = 3)),
        ("flow: additive couplings", flow(FlowKind::Nice, |c| c.layers = 3)),
        ("flow: masked autoregressive, parameters", flow(FlowKind::Maf, |c| c.parameters = 2)),
        (
            "flow: masked autoregressive, no residuals, random order, embedded parameters",
            flow(FlowKind::Maf, |c| {
                (c.residual, c.order, c.parameters) = (false, Order::Random(3), 2);
                c.embedding = Some(mlp());
            }),
        ),
        (
            "flow: masked networks, parameters",
            flow(FlowKind::MafMlp, |c| (c.widths, c.parameters) = (vec![12, 10], 2)),
        ),
        ("flow: splines, parameters", flow(FlowKind::Spline, |c| (c.bins, c.parameters) = (5, 2))),
        ("flow: Glow, LU", flow(FlowKind::Glow, |c| (c.event, c.layers) = (vec![1, 8, 8], 1))),
        (
            "flow: Glow, plain, a field",
            flow(FlowKind::Glow, |c| {
                (c.event, c.levels, c.layers, c.lu, c.field) = (vec![2, 4, 4], 1, 1, false, 1);
                let conv = ConvConfig { channels: vec![4], features: 3, ..Default::default() };
                c.embedding = Some(EmbeddingConfig::Conv(conv));
            }),
        ),
        (
            "autoencoder",
            ModelConfig::Autoencoder(AutoencoderConfig {
                event: vec![6],
                latent: 2,
                coder: CoderConfig::Mlp { hidden: 8 },
            }),
        ),
        ("vae: Bernoulli", vae(|_| {})),
        (
            "vae: beta, free nats, learned deviation, convolutions, parameters",
            vae(|c| {
                (c.event, c.beta, c.free_nats, c.parameters) = (vec![1, 8, 8], 2.0, 0.05, 2);
                c.observation = Observation::LearnedGaussian;
                let conv = ConvConfig { channels: vec![4, 6], features: 5, ..Default::default() };
                c.coder = CoderConfig::Conv(conv);
            }),
        ),
        (
            "vae: a residual network of spectra",
            vae(|c| {
                (c.event, c.observation) = (vec![1, 16], Observation::Gaussian(0.5));
                c.coder = CoderConfig::Spectrum(spectrum());
            }),
        ),
        (
            "vq-vae",
            ModelConfig::VqVae(VqVaeConfig {
                event: vec![1, 8, 8],
                conv: ConvConfig { channels: vec![4, 6], ..Default::default() },
                codes: 6,
                dim: 3,
                ..Default::default()
            }),
        ),
        ("pixelcnn: levels", pixelcnn(|_| {})),
        (
            "pixelcnn: mixture, two channels, parameters",
            pixelcnn(|c| {
                (c.channels, c.parameters, c.levels) = (2, 3, 16);
                c.distribution = PixelDistribution::LogisticMixture(2);
            }),
        ),
        (
            "posterior: of vectors",
            ModelConfig::Posterior(PosteriorConfig {
                parameters: 1,
                data: vec![5],
                embedding: mlp(),
                flow: FlowConfig { layers: 2, hidden: 8, blocks: 1, ..Default::default() },
            }),
        ),
        (
            "posterior: of spectra",
            ModelConfig::Posterior(PosteriorConfig {
                parameters: 3,
                data: vec![1, 16],
                embedding: EmbeddingConfig::Spectrum(spectrum()),
                flow: FlowConfig {
                    kind: FlowKind::RealNvp,
                    layers: 2,
                    hidden: 8,
                    blocks: 1,
                    ..Default::default()
                },
            }),
        ),
    ]
}

/// Whether the gradient of a parameter is an estimate by design, and no derivative of the loss: where it passes straight
/// through a choice of code words, or is kept from one side of it.
pub fn estimated(config: &ModelConfig, parameter: &str) -> bool {
    let through = ["encoder", "to_codes", "codebook"];
    matches!(config, ModelConfig::VqVae(_)) && through.iter().any(|part| parameter.starts_with(part))
}

fn mlp() -> EmbeddingConfig {
    EmbeddingConfig::Mlp(MlpConfig { hidden: vec![7, 7], features: 4, residual: true, ..Default::default() })
}

fn spectrum() -> SpectrumConfig {
    SpectrumConfig { width: 4, levels: 2, blocks: 1, kernel: 3, groups: 2, features: 4, ..Default::default() }
}

fn flow(kind: FlowKind, change: impl Fn(&mut FlowConfig)) -> ModelConfig {
    let mut config =
        FlowConfig { event: vec![4], kind, layers: 2, hidden: 8, blocks: 1, ..Default::default() };
    change(&mut config);
    ModelConfig::Flow(config)
}

fn vae(change: impl Fn(&mut VaeConfig)) -> ModelConfig {
    let mut config =
        VaeConfig { event: vec![6], latent: 2, coder: CoderConfig::Mlp { hidden: 8 }, ..Default::default() };
    change(&mut config);
    ModelConfig::Vae(config)
}

fn pixelcnn(change: impl Fn(&mut PixelCnnConfig)) -> ModelConfig {
    let mut config = PixelCnnConfig {
        size: [4, 6],
        levels: 5,
        range: [-2.0, 2.0],
        hidden: 6,
        first_kernel: 5,
        kernel: 3,
        layers: 1,
        ..Default::default()
    };
    change(&mut config);
    ModelConfig::PixelCnn(config)
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

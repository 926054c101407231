//! Models with a likelihood, and those that encode.

use halocast::models::ModelConfig;
use halocast::models::autoencoder::{AutoencoderConfig, CoderConfig, Observation, VaeConfig, VqVaeConfig};
use halocast::models::autoregressive::{PixelCnnConfig, PixelDistribution};
use halocast::models::embedding::{ConvConfig, EmbeddingConfig, MlpConfig, SpectrumConfig};
use halocast::models::flow::{FlowConfig, FlowKind, Order};
use halocast::models::inference::PosteriorConfig;

pub(super) fn cases() -> Vec<(&'static str, ModelConfig)> {
    vec![
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

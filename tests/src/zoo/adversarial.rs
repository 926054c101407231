//! The adversarial models.

use halocast::kernels::PadMode;
use halocast::models::ModelConfig;
use halocast::models::gan::{
    CycleGanConfig, DiscriminatorConfig, GanConfig, GanLoss, GeneratorConfig, Initial, Norm, PatchConfig,
    Penalty, Pix2PixConfig, PixelConfig, ResnetGeneratorConfig, ResnetPadding, UnetGeneratorConfig,
};

pub(super) fn cases() -> Vec<(&'static str, ModelConfig)> {
    vec![
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

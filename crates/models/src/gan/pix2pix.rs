//! pix2pix: a conditional adversarial network from a map to a map.

use candle_core::{Device, Tensor};
use candle_nn::VarBuilder;
use halocast_core::{Batch, Rng};
use halocast_kernels::concat_channels;
use halocast_kernels::nn::BatchNorm;
use serde::{Deserialize, Serialize};

use super::layers::check;
use super::play::{constant_fakes, fields, in_batches, no_such_phase, require_shape, required, sum};
use super::{Critic, DiscriminatorConfig, GanLoss, Generator, GeneratorConfig, UnetGeneratorConfig};
use crate::{
    Cond, CondSpec, Configured, ExampleSpec, Generative, Loss, Parameters, Result, SampleOptions, Trainable,
};

const MODEL: &str = "pix2pix";
const DISCRIMINATOR: usize = 0;
const GENERATOR: usize = 1;

/// The configuration of a [`Pix2Pix`]; the default is the paper's for maps of 256 pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pix2PixConfig {
    /// The generator.
    pub generator: GeneratorConfig,
    /// The discriminator, of condition and map together.
    pub discriminator: DiscriminatorConfig,
    /// Channels of the maps it makes.
    pub channels: usize,
    /// Channels of the maps it makes them from.
    pub condition_channels: usize,
    /// The maps' sides `[y, x]`.
    pub size: [usize; 2],
    /// The game: `vanilla` or `least_squares`.
    pub loss: GanLoss,
    /// Weight of the mean absolute difference from the true map.
    pub lambda_l1: f64,
    /// Whether dropout acts when it samples, too: without it one condition gives one map.
    pub sample_dropout: bool,
}

impl Default for Pix2PixConfig {
    fn default() -> Self {
        Self {
            generator: GeneratorConfig::Unet(UnetGeneratorConfig::default()),
            discriminator: DiscriminatorConfig::default(),
            channels: 1,
            condition_channels: 1,
            size: [256, 256],
            loss: GanLoss::Vanilla,
            lambda_l1: 100.0,
            sample_dropout: true,
        }
    }
}

/// A generator G of maps y from maps x and a discriminator D of pairs. With $\ell$ the score of [`GanLoss`]
///
/// $$ L_D = \tfrac12 \left[ \ell_\mathrm{real}(D(x, y)) + \ell_\mathrm{fake}(D(x, G(x))) \right], \quad
/// L_G = \ell_\mathrm{real}(D(x, G(x))) + \lambda \langle |y - G(x)| \rangle. $$
///
/// A batch holds y as its fields and x as its condition. A step is a phase `discriminator`, then a phase `generator`.
///
/// # Source
/// Isola et al. 2017, arXiv:1611.07004, equations 1 to 4 and section 3.3, as in their PyTorch code, under whose names of
/// parameters, behind `netG.` and `netD.`, its state dicts load.
///
/// # Differences
/// Dropout is drawn anew in the generator's phase. Samples normalise by the running averages of training, not by the
/// moments of the condition's batch, so that a sample does not depend on others.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_core::Rng;
/// use halocast_models::gan::{GeneratorConfig, Pix2Pix, Pix2PixConfig, UnetGeneratorConfig};
/// use halocast_models::{Cond, Configured, Generative, SampleOptions};
///
/// let generator = UnetGeneratorConfig { downs: 3, width: 4, ..Default::default() };
/// let config =
///     Pix2PixConfig { generator: GeneratorConfig::Unet(generator), size: [32, 32], ..Default::default() };
/// let model = Pix2Pix::new(&config, 1, &Device::Cpu)?;
/// let gas = Cond::Field(Tensor::zeros((2, 1, 32, 32), candle_core::DType::F32, &Device::Cpu)?);
/// let stars = model.sample(2, Some(&gas), &SampleOptions::default(), &mut Rng::new(2))?;
/// assert_eq!(stars.dims(), [2, 1, 32, 32]);
/// # Ok::<(), halocast_models::Error>(())
/// ```
pub struct Pix2Pix {
    config: Pix2PixConfig,
    generator: Generator,
    discriminator: Critic,
    frozen: Critic,
    parameters: Parameters,
}

impl Pix2Pix {
    /// The configuration.
    pub fn config(&self) -> &Pix2PixConfig {
        &self.config
    }

    /// The generator.
    pub fn generator(&self) -> &Generator {
        &self.generator
    }

    /// The discriminator of `[batch, condition channels + channels, y, x]`.
    pub fn discriminator(&self) -> &Critic {
        &self.discriminator
    }
}

impl Configured for Pix2Pix {
    type Config = Pix2PixConfig;

    fn build(config: &Pix2PixConfig, vb: VarBuilder, parameters: Parameters) -> Result<Self> {
        let (inputs, outputs) = (config.condition_channels, config.channels);
        let lambda = config.lambda_l1;
        check(
            MODEL,
            &[
                ("channels", (1..=4096).contains(&outputs), "1 to 4096", outputs.to_string()),
                ("condition_channels", (1..=4096).contains(&inputs), "1 to 4096", inputs.to_string()),
                (
                    "loss",
                    config.loss != GanLoss::Wasserstein,
                    "vanilla or least_squares",
                    format!("{:?}", config.loss),
                ),
                ("lambda_l1", lambda >= 0.0 && lambda.is_finite(), "not negative", lambda.to_string()),
            ],
        )?;
        config.generator.check_size(MODEL, config.size)?;
        config.discriminator.check_size(MODEL, config.size)?;
        let generator = Generator::new(inputs, outputs, &config.generator, vb.pp("netG"))?;
        let discriminator = config.discriminator.build(inputs + outputs, vb.pp("netD"))?;
        let frozen = discriminator.detached()?;
        Ok(Self { config: config.clone(), generator, discriminator, frozen, parameters })
    }
}

impl Generative for Pix2Pix {
    fn event_shape(&self) -> Vec<usize> {
        vec![self.config.channels, self.config.size[0], self.config.size[1]]
    }

    fn condition(&self) -> CondSpec {
        CondSpec::Field(self.config.condition_channels)
    }

    fn sample(
        &self,
        n: usize,
        cond: Option<&Cond>,
        options: &SampleOptions<'_>,
        rng: &mut Rng,
    ) -> Result<Tensor> {
        let x = required(MODEL, self.condition(), cond)?;
        let [h, w] = self.config.size;
        require_shape("pix2pix sampling", x, n, &[self.config.condition_channels, h, w])?;
        in_batches(n, &self.event_shape(), x, options, rng, |start, generators| {
            let x = x.narrow(0, start, generators.len())?;
            self.generator.forward(&x, false, self.config.sample_dropout.then_some(generators))
        })
    }
}

impl Trainable for Pix2Pix {
    fn example(&self) -> ExampleSpec {
        ExampleSpec::new(&self.event_shape(), self.condition())
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn device(&self) -> &Device {
        self.parameters.device()
    }

    fn phases(&self) -> usize {
        2
    }

    fn phase_name(&self, phase: usize) -> &'static str {
        if phase == DISCRIMINATOR { "discriminator" } else { "generator" }
    }

    fn trains(&self, phase: usize, parameter: &str) -> bool {
        let network = if phase == DISCRIMINATOR { "netD." } else { "netG." };
        parameter.starts_with(network) && !BatchNorm::is_buffer(parameter)
    }

    fn loss(&self, phase: usize, batch: &Batch, rng: &mut Rng) -> Result<Loss> {
        self.example().check("pix2pix loss", batch)?;
        let y = fields(batch, &self.parameters)?;
        let cond = self.condition().of_batch(MODEL, batch, &self.parameters)?;
        let x = required(MODEL, self.condition(), cond.as_ref())?;
        let mut generators = batch.shard.generators(rng);
        let noise = Some(&mut generators[..]);
        let game = self.config.loss;
        match phase {
            DISCRIMINATOR => {
                let fake = constant_fakes(&self.generator, x, true, noise)?;
                let score = |y: &Tensor, real| -> Result<Tensor> {
                    game.of(&self.discriminator.forward(&concat_channels(x, y)?, true)?, real)
                };
                sum(vec![("real", 0.5, score(&y, true)?), ("fake", 0.5, score(&fake, false)?)])
            }
            GENERATOR => {
                let fake = self.generator.forward(x, true, noise)?;
                let score = game.of(&self.frozen.forward(&concat_channels(x, &fake)?, true)?, true)?;
                let distance = (fake - y)?.abs()?.mean_all()?;
                sum(vec![("adversarial", 1.0, score), ("l1", self.config.lambda_l1, distance)])
            }
            _ => Err(no_such_phase(MODEL, phase, 2)),
        }
    }
}

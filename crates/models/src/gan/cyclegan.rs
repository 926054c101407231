//! CycleGAN: from the maps of one set to those of another without pairs.

use candle_core::{Device, Tensor};
use candle_nn::VarBuilder;
use halocast_core::{Batch, Rng};
use halocast_kernels::nn::BatchNorm;
use serde::{Deserialize, Serialize};

use super::layers::check;
use super::play::{constant_fakes, fields, in_batches, no_such_phase, require_shape, required, sum};
use super::pool::Pool;
use super::{
    Critic, DiscriminatorConfig, GanLoss, Generator, GeneratorConfig, Norm, PatchConfig,
    ResnetGeneratorConfig,
};
use crate::{
    Cond, CondSpec, Configured, ExampleSpec, Generative, Loss, Parameters, Result, SampleOptions, Trainable,
};

const MODEL: &str = "CycleGAN";
const GENERATOR: usize = 0;
const DISCRIMINATOR: usize = 1;

/// The configuration of a [`CycleGan`]; the default is the paper's for maps of 256 pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CycleGanConfig {
    /// Each generator.
    pub generator: GeneratorConfig,
    /// Each discriminator.
    pub discriminator: DiscriminatorConfig,
    /// Channels of the maps b that it makes.
    pub channels: usize,
    /// Channels of the maps a that it makes them from.
    pub condition_channels: usize,
    /// The maps' sides `[y, x]`.
    pub size: [usize; 2],
    /// The game: `vanilla` or `least_squares`.
    pub loss: GanLoss,
    /// Weight of the way from a to b and back.
    pub lambda_a: f64,
    /// Weight of the way from b to a and back.
    pub lambda_b: f64,
    /// Weight of leaving alone what is of the right kind already, relative to the two others; 0 where the channels differ.
    pub lambda_identity: f64,
    /// Number of earlier fakes that each discriminator is shown again; 0 for none.
    pub pool: usize,
}

impl Default for CycleGanConfig {
    fn default() -> Self {
        let patch = PatchConfig { norm: Norm::Instance, ..Default::default() };
        Self {
            generator: GeneratorConfig::Resnet(ResnetGeneratorConfig::default()),
            discriminator: DiscriminatorConfig::Patch(patch),
            channels: 1,
            condition_channels: 1,
            size: [256, 256],
            loss: GanLoss::LeastSquares,
            lambda_a: 10.0,
            lambda_b: 10.0,
            lambda_identity: 0.5,
            pool: 50,
        }
    }
}

/// Two generators $G_A$: a to b and $G_B$: b to a, and two discriminators, $D_A$ of maps b and $D_B$ of maps a. With
/// $\ell$ the score of [`GanLoss`] and means of absolute differences,
///
/// $$ L_G = \ell_\mathrm{real}(D_A(G_A(a))) + \ell_\mathrm{real}(D_B(G_B(b)))
/// + \lambda_A \langle |G_B(G_A(a)) - a| \rangle + \lambda_B \langle |G_A(G_B(b)) - b| \rangle
/// + \lambda_I \left[ \lambda_B \langle |G_A(b) - b| \rangle + \lambda_A \langle |G_B(a) - a| \rangle \right] $$
///
/// and $L_D$ is the sum over both discriminators of half the scores of data and of fakes, some of them old.
///
/// A batch holds b as its fields and a as its condition: not of the same object. A step is a phase `generator`, then a phase
/// `discriminator`.
///
/// # Source
/// Zhu et al. 2017, arXiv:1703.10593, equations 1 to 3, section 4 and 5.2, as in their PyTorch code, under whose names of
/// parameters, behind `netG_A.`, `netG_B.`, `netD_A.`, `netD_B.`, its state dicts load.
///
/// # Differences
/// Of the earlier fakes: they are kept by the generator's phase and shown in the discriminator's, half of the time each, and
/// are part of the model's state, as the parameters `fake_A_pool.*` and `fake_B_pool.*`.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use halocast_core::Rng;
/// use halocast_models::gan::{CycleGan, CycleGanConfig, GeneratorConfig, ResnetGeneratorConfig};
/// use halocast_models::{Cond, Configured, Generative, SampleOptions};
///
/// let generator = ResnetGeneratorConfig { blocks: 1, width: 4, ..Default::default() };
/// let config = CycleGanConfig {
///     generator: GeneratorConfig::Resnet(generator),
///     size: [32, 32],
///     pool: 4,
///     ..Default::default()
/// };
/// let model = CycleGan::new(&config, 1, &Device::Cpu)?;
/// let one_simulation = Cond::Field(Tensor::zeros((2, 1, 32, 32), DType::F32, &Device::Cpu)?);
/// let as_the_other = model.sample(2, Some(&one_simulation), &SampleOptions::default(), &mut Rng::new(2))?;
/// assert_eq!(as_the_other.dims(), [2, 1, 32, 32]);
/// # Ok::<(), halocast_models::Error>(())
/// ```
pub struct CycleGan {
    config: CycleGanConfig,
    /// From a to b.
    a: Side,
    /// From b to a.
    b: Side,
    parameters: Parameters,
}

/// A generator, the discriminator of what it makes, and its earlier fakes.
struct Side {
    generator: Generator,
    discriminator: Critic,
    frozen: Critic,
    pool: Option<Pool>,
}

impl CycleGan {
    /// The configuration.
    pub fn config(&self) -> &CycleGanConfig {
        &self.config
    }

    /// The generator from the condition's kind to that of the fields, and the one back.
    pub fn generators(&self) -> [&Generator; 2] {
        [&self.a.generator, &self.b.generator]
    }

    fn generator_loss(&self, a: &Tensor, b: &Tensor, noise: &mut [Rng], keep: &mut [Rng]) -> Result<Loss> {
        let config = &self.config;
        let distance = |x: &Tensor, y: &Tensor| -> Result<Tensor> { Ok((x - y)?.abs()?.mean_all()?) };
        let fake_b = self.a.generator.forward(a, true, Some(&mut *noise))?;
        let fake_a = self.b.generator.forward(b, true, Some(&mut *noise))?;
        let back_a = self.b.generator.forward(&fake_b, true, Some(&mut *noise))?;
        let back_b = self.a.generator.forward(&fake_a, true, Some(&mut *noise))?;
        let score = |side: &Side, fake: &Tensor| config.loss.of(&side.frozen.forward(fake, true)?, true);
        let mut parts = vec![
            ("adversarial_a", 1.0, score(&self.a, &fake_b)?),
            ("adversarial_b", 1.0, score(&self.b, &fake_a)?),
            ("cycle_a", config.lambda_a, distance(&back_a, a)?),
            ("cycle_b", config.lambda_b, distance(&back_b, b)?),
        ];
        if config.lambda_identity > 0.0 {
            let (to_b, to_a) =
                (config.lambda_b * config.lambda_identity, config.lambda_a * config.lambda_identity);
            let same_b = self.a.generator.forward(b, true, Some(&mut *noise))?;
            let same_a = self.b.generator.forward(a, true, Some(&mut *noise))?;
            parts.push(("identity_a", to_b, distance(&same_b, b)?));
            parts.push(("identity_b", to_a, distance(&same_a, a)?));
        }
        for (side, fakes) in [(&self.a, &fake_b), (&self.b, &fake_a)] {
            if let Some(pool) = &side.pool {
                pool.keep(fakes, keep)?;
            }
        }
        sum(parts)
    }

    fn discriminator_loss(
        &self,
        a: &Tensor,
        b: &Tensor,
        noise: &mut [Rng],
        show: &mut [Rng],
    ) -> Result<Loss> {
        let mut parts = Vec::new();
        let sides = [(&self.a, a, b, "real_b", "fake_b"), (&self.b, b, a, "real_a", "fake_a")];
        for (side, from, data, real, fake) in sides {
            let mut fakes = constant_fakes(&side.generator, from, true, Some(&mut *noise))?;
            if let Some(pool) = &side.pool {
                fakes = pool.show(&fakes, show)?;
            }
            let score = |x: &Tensor, real| self.config.loss.of(&side.discriminator.forward(x, true)?, real);
            parts.push((real, 0.5, score(data, true)?));
            parts.push((fake, 0.5, score(&fakes, false)?));
        }
        sum(parts)
    }
}

impl Side {
    fn new(
        config: &CycleGanConfig,
        [from, to]: [usize; 2],
        [generator, discriminator, pool]: [&str; 3],
        vb: &VarBuilder,
    ) -> Result<Self> {
        let generator = Generator::new(from, to, &config.generator, vb.pp(generator))?;
        let discriminator = config.discriminator.build(to, vb.pp(discriminator))?;
        let frozen = discriminator.detached()?;
        let pool = Pool::new(config.pool, &[to, config.size[0], config.size[1]], vb.pp(pool))?;
        Ok(Self { generator, discriminator, frozen, pool })
    }
}

impl Configured for CycleGan {
    type Config = CycleGanConfig;

    fn build(config: &CycleGanConfig, vb: VarBuilder, parameters: Parameters) -> Result<Self> {
        let (a, b) = (config.condition_channels, config.channels);
        let weights = [config.lambda_a, config.lambda_b, config.lambda_identity];
        check(
            MODEL,
            &[
                ("channels", (1..=4096).contains(&b), "1 to 4096", b.to_string()),
                ("condition_channels", (1..=4096).contains(&a), "1 to 4096", a.to_string()),
                (
                    "loss",
                    config.loss != GanLoss::Wasserstein,
                    "vanilla or least_squares",
                    format!("{:?}", config.loss),
                ),
                (
                    "lambda_a, lambda_b, lambda_identity",
                    weights.iter().all(|w| *w >= 0.0 && w.is_finite()),
                    "not negative",
                    format!("{weights:?}"),
                ),
                (
                    "lambda_identity",
                    a == b || config.lambda_identity == 0.0,
                    "0 where the channels of both kinds differ",
                    format!("{} for {a} and {b} channels", config.lambda_identity),
                ),
                ("pool", config.pool <= 4096, "at most 4096", config.pool.to_string()),
            ],
        )?;
        config.generator.check_size(MODEL, config.size)?;
        config.discriminator.check_size(MODEL, config.size)?;
        Ok(Self {
            config: config.clone(),
            a: Side::new(config, [a, b], ["netG_A", "netD_A", "fake_B_pool"], &vb)?,
            b: Side::new(config, [b, a], ["netG_B", "netD_B", "fake_A_pool"], &vb)?,
            parameters,
        })
    }
}

impl Generative for CycleGan {
    fn event_shape(&self) -> Vec<usize> {
        vec![self.config.channels, self.config.size[0], self.config.size[1]]
    }

    fn condition(&self) -> CondSpec {
        CondSpec::Field(self.config.condition_channels)
    }

    /// The maps b of maps a. There is no noise: the generator is not asked.
    fn sample(
        &self,
        n: usize,
        cond: Option<&Cond>,
        options: &SampleOptions<'_>,
        rng: &mut Rng,
    ) -> Result<Tensor> {
        let a = required(MODEL, self.condition(), cond)?;
        let [h, w] = self.config.size;
        require_shape("CycleGAN sampling", a, n, &[self.config.condition_channels, h, w])?;
        in_batches(n, &self.event_shape(), a, options, rng, |start, generators| {
            self.a.generator.forward(&a.narrow(0, start, generators.len())?, false, None)
        })
    }
}

impl Trainable for CycleGan {
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
        if phase == GENERATOR { "generator" } else { "discriminator" }
    }

    fn trains(&self, phase: usize, parameter: &str) -> bool {
        let networks = if phase == GENERATOR { ["netG_A.", "netG_B."] } else { ["netD_A.", "netD_B."] };
        networks.iter().any(|network| parameter.starts_with(network)) && !BatchNorm::is_buffer(parameter)
    }

    fn loss(&self, phase: usize, batch: &Batch, rng: &mut Rng) -> Result<Loss> {
        self.example().check("CycleGAN loss", batch)?;
        let b = fields(batch, &self.parameters)?;
        let cond = self.condition().of_batch(MODEL, batch, &self.parameters)?;
        let a = required(MODEL, self.condition(), cond.as_ref())?;
        let mut noise = batch.shard.generators(rng);
        let mut history = batch.shard.generators(rng);
        match phase {
            GENERATOR => self.generator_loss(a, &b, &mut noise, &mut history),
            DISCRIMINATOR => self.discriminator_loss(a, &b, &mut noise, &mut history),
            _ => Err(no_such_phase(MODEL, phase, 2)),
        }
    }
}

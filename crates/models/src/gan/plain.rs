//! A generator of maps from noise: the deep convolutional adversarial network, plain or of Wasserstein.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use halocast_core::{Batch, Rng, Shard};
use halocast_kernels::nn::{BatchNorm, ConvTranspose2d};
use halocast_kernels::{Activation, Conv2dSpec, PadMode, activate, concat_channels, no_grad};
use serde::{Deserialize, Serialize};

use super::layers::{NormLayer, check, conv_transpose};
use super::play::{fields, in_batches, no_such_phase, sum};
use super::{Critic, GanLoss, Initial, Norm, PatchConfig, Penalty, between};
use crate::{
    Cond, CondSpec, Configured, Error, ExampleSpec, Generative, Loss, Parameters, Result, SampleOptions,
    Trainable,
};

const MODEL: &str = "GAN";
const DISCRIMINATOR: usize = 0;
const GENERATOR: usize = 1;

/// The configuration of a [`Gan`]; the default is a Wasserstein network with the penalty of Gulrajani et al. 2017 for maps
/// of 64 pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GanConfig {
    /// Channels of the maps.
    pub channels: usize,
    /// The maps' sides `[y, x]`.
    pub size: [usize; 2],
    /// Number of doublings of the resolution; sides are multiples of 2 to this power.
    pub levels: usize,
    /// Channels of the finest level; each coarser one has twice as many.
    pub width: usize,
    /// Dimensions of the noise.
    pub latent: usize,
    /// Number of conditioning parameters; 0 for none.
    pub parameters: usize,
    /// Normalisation of the generator.
    pub generator_norm: Norm,
    /// Normalisation of the discriminator; not `batch` with a penalty, which is of each example.
    pub discriminator_norm: Norm,
    /// The game.
    pub loss: GanLoss,
    /// The penalty on the discriminator's slope.
    pub penalty: Penalty,
    /// How convolutions see past the edge: `zeros`, or `circular` for periodic maps.
    pub padding: PadMode,
    /// Whether the output ends in a hyperbolic tangent: for maps between -1 and 1.
    pub tanh: bool,
    /// How weights begin.
    pub initial: Initial,
}

impl Default for GanConfig {
    fn default() -> Self {
        Self {
            channels: 1,
            size: [64, 64],
            levels: 4,
            width: 64,
            latent: 128,
            parameters: 0,
            generator_norm: Norm::Batch,
            discriminator_norm: Norm::None,
            loss: GanLoss::Wasserstein,
            penalty: Penalty::Gradient(10.0),
            padding: PadMode::Zeros,
            tanh: true,
            initial: Initial::FanIn,
        }
    }
}

impl GanConfig {
    /// The plain game of Radford et al. 2015: logits, batch normalisation on both sides, no penalty, normal weights.
    pub fn dcgan() -> Self {
        Self {
            latent: 100,
            discriminator_norm: Norm::Batch,
            loss: GanLoss::Vanilla,
            penalty: Penalty::None,
            initial: Initial::Normal(0.02),
            ..Self::default()
        }
    }

    /// The sides of the coarsest map.
    fn base(&self) -> [usize; 2] {
        self.size.map(|side| side >> self.levels.min(12))
    }

    /// Checks that the model can be built.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first field that is not usable.
    pub fn validate(&self) -> Result<()> {
        let levels = (1..=12).contains(&self.levels);
        let multiple = 1usize << self.levels.min(12);
        let fits = |s: &usize| *s >= multiple && s.is_multiple_of(multiple) && *s <= 1 << 20;
        let weight = self.penalty.weight();
        let penalised = self.penalty != Penalty::None;
        let norms = [self.generator_norm, self.discriminator_norm];
        check(
            MODEL,
            &[
                ("channels", (1..=4096).contains(&self.channels), "1 to 4096", self.channels.to_string()),
                ("levels", levels, "1 to 12", self.levels.to_string()),
                (
                    "size",
                    self.size.iter().all(fits),
                    &format!("multiples of {multiple}, 2 to the power of levels"),
                    format!("{:?}", self.size),
                ),
                (
                    "width",
                    (1..=1024).contains(&self.width) && self.width << self.levels.min(12) <= 1 << 14,
                    "1 to 1024, and at most 16384 when it is doubled at every level",
                    format!("{} with {} levels", self.width, self.levels),
                ),
                ("latent", (1..=4096).contains(&self.latent), "1 to 4096", self.latent.to_string()),
                ("parameters", self.parameters <= 4096, "at most 4096", self.parameters.to_string()),
                (
                    "penalty",
                    weight >= 0.0 && weight.is_finite(),
                    "a weight that is not negative",
                    weight.to_string(),
                ),
                (
                    "discriminator_norm",
                    !(penalised && self.discriminator_norm == Norm::Batch),
                    "one that does not mix the examples of a batch, for a penalty of each",
                    "batch".into(),
                ),
                (
                    "generator_norm and discriminator_norm",
                    self.base() != [1, 1] || !norms.contains(&Norm::Instance),
                    "no instance normalisation where the coarsest map is one pixel",
                    format!("{norms:?} with size {:?} and {} levels", self.size, self.levels),
                ),
                (
                    "padding",
                    self.padding != PadMode::Reflect,
                    "zeros or circular",
                    format!("{:?}", self.padding),
                ),
            ],
        )?;
        self.initial.validate(MODEL)
    }
}

/// Noise z to a map: a transposed convolution of one pixel to the coarsest map, then transposed 4x4 convolutions of stride
/// 2, each but the last with normalisation and rectifier.
///
/// # Source
/// Radford et al. 2015, arXiv:1511.06434, with the parameter names of the DCGAN example of PyTorch.
struct Decoder {
    ups: Vec<(ConvTranspose2d, NormLayer)>,
    last: ConvTranspose2d,
    tanh: bool,
}

impl Decoder {
    fn new(config: &GanConfig, vb: VarBuilder) -> Result<Self> {
        let at = |place: usize| vb.pp(format!("main.{place}"));
        let bias = config.generator_norm != Norm::Batch;
        let norm = |channels, place| {
            NormLayer::new(config.generator_norm, channels, config.initial, Activation::Relu, at(place))
        };
        let width = |level: usize| config.width << level;
        let top = width(config.levels - 1);
        let (inputs, [h, w]) = (config.latent + config.parameters, config.base());
        // Each output sees one pixel alone.
        let (init, start) = config.initial.of_fan_in(inputs);
        let weight = at(0).get_with_hints((inputs, top, h, w), "weight", init)?;
        let offset = bias.then(|| at(0).get_with_hints(top, "bias", start)).transpose()?;
        let first = ConvTranspose2d::from_parts(weight, offset, Conv2dSpec::default());
        let mut ups = vec![(first, norm(top, 1)?)];
        let spec = Conv2dSpec { stride: 2, padding: 1, pad_mode: config.padding, ..Default::default() };
        for i in 1..config.levels {
            let (from, to) = (width(config.levels - i), width(config.levels - i - 1));
            let up = conv_transpose([from, to], 4, spec, bias, config.initial, at(3 * i))?;
            ups.push((up, norm(to, 3 * i + 1)?));
        }
        let place = at(3 * config.levels);
        let last = conv_transpose([config.width, config.channels], 4, spec, bias, config.initial, place)?;
        Ok(Self { ups, last, tanh: config.tanh })
    }

    /// `z` `[batch, dimension]`.
    fn forward(&self, z: &Tensor, train: bool) -> Result<Tensor> {
        let mut x = z.reshape((z.dims()[0], z.dims()[1], 1, 1))?;
        for (up, norm) in &self.ups {
            x = norm.forward(&up.forward(&x)?, train)?;
        }
        let x = self.last.forward(&x)?;
        Ok(if self.tanh { activate(&x, Activation::Tanh)? } else { x })
    }
}

/// A generator G of maps from normal noise z and a discriminator D of maps. With $\ell$ the score of [`GanLoss`] and P a
/// [`Penalty`]
///
/// $$ L_D = \ell_\mathrm{real}(D(x)) + \ell_\mathrm{fake}(D(G(z))) + P, \quad L_G = \ell_\mathrm{real}(D(G(z))). $$
///
/// Conditioning parameters follow z, and are laid over the discriminator's map as channels that are constant. A step is a
/// phase `discriminator`, which the training configuration may repeat (five times in Gulrajani et al.), then a phase
/// `generator`.
///
/// # Source
/// Goodfellow et al. 2014, arXiv:1406.2661; networks of Radford et al. 2015, arXiv:1511.06434; Wasserstein game with
/// gradient penalty of Gulrajani et al. 2017, arXiv:1704.00028, Algorithm 1.
///
/// # Differences
/// Conditioning, circular padding and sizes other than 64 pixels are options of ours. Samples normalise by the running
/// averages of training, so that a sample does not depend on others.
///
/// ```
/// use candle_core::Device;
/// use halocast_core::Rng;
/// use halocast_models::gan::{Gan, GanConfig};
/// use halocast_models::{Configured, Generative, SampleOptions};
///
/// let config = GanConfig { size: [16, 16], levels: 2, width: 4, latent: 8, ..Default::default() };
/// let model = Gan::new(&config, 1, &Device::Cpu)?;
/// let maps = model.sample(3, None, &SampleOptions::default(), &mut Rng::new(2))?;
/// assert_eq!(maps.dims(), [3, 1, 16, 16]);
/// # Ok::<(), halocast_models::Error>(())
/// ```
pub struct Gan {
    config: GanConfig,
    generator: Decoder,
    discriminator: Critic,
    frozen: Critic,
    parameters: Parameters,
    dtype: DType,
    device: Device,
}

impl Gan {
    /// The configuration.
    pub fn config(&self) -> &GanConfig {
        &self.config
    }

    /// The discriminator of `[batch, channels + parameters, y, x]`.
    pub fn discriminator(&self) -> &Critic {
        &self.discriminator
    }

    /// The maps of noise `z` `[batch, latent]` and parameters `[batch, parameter]`.
    ///
    /// # Errors
    /// [`Error::Condition`] when there are parameters for a model that takes none, or none for one that takes some;
    /// others when shapes do not fit.
    pub fn generate(&self, z: &Tensor, parameters: Option<&Tensor>, train: bool) -> Result<Tensor> {
        let latent = self.config.latent;
        if z.rank() != 2 || z.dims()[1] != latent || z.dims()[0] == 0 {
            return Err(Error::Shape {
                operation: MODEL,
                what: "z".into(),
                expected: format!("[batch, {latent}]"),
                got: z.dims().to_vec(),
            });
        }
        match parameters {
            Some(p) => self.generator.forward(&Tensor::cat(&[z, &p.to_dtype(z.dtype())?], 1)?, train),
            None => self.generator.forward(z, train),
        }
    }

    /// Parameters `[batch, parameter]` as channels of maps.
    fn planes(&self, parameters: Option<&Tensor>) -> Result<Option<Tensor>> {
        let [h, w] = self.config.size;
        let plane = |p: &Tensor| -> Result<Tensor> {
            let (n, k) = p.dims2()?;
            Ok(p.reshape((n, k, 1, 1))?.broadcast_as((n, k, h, w))?.contiguous()?)
        };
        parameters.map(plane).transpose()
    }

    fn noise(&self, generators: &mut [Rng]) -> Result<Tensor> {
        let each = self.config.latent;
        let values: Vec<f32> = generators.iter_mut().flat_map(|rng| rng.normals(each)).collect();
        Ok(Tensor::from_vec(values, (generators.len(), each), &self.device)?.to_dtype(self.dtype)?)
    }
}

impl Configured for Gan {
    type Config = GanConfig;

    fn build(config: &GanConfig, vb: VarBuilder, parameters: Parameters) -> Result<Self> {
        config.validate()?;
        let generator = Decoder::new(config, vb.pp("netG"))?;
        let critic = PatchConfig {
            layers: config.levels,
            width: config.width,
            norm: config.discriminator_norm,
            padding: config.padding,
            initial: config.initial,
        };
        let channels = config.channels + config.parameters;
        let discriminator = Critic::whole(channels, config.base(), config.levels, &critic, vb.pp("netD"))?;
        let frozen = discriminator.detached()?;
        let (dtype, device) = (vb.dtype(), vb.device().clone());
        Ok(Self { config: config.clone(), generator, discriminator, frozen, parameters, dtype, device })
    }
}

impl Generative for Gan {
    fn event_shape(&self) -> Vec<usize> {
        vec![self.config.channels, self.config.size[0], self.config.size[1]]
    }

    fn condition(&self) -> CondSpec {
        match self.config.parameters {
            0 => CondSpec::None,
            n => CondSpec::Vector(n),
        }
    }

    fn sample(
        &self,
        n: usize,
        cond: Option<&Cond>,
        options: &SampleOptions<'_>,
        rng: &mut Rng,
    ) -> Result<Tensor> {
        let parameters = self.condition().tensor(MODEL, cond)?;
        if let Some(p) = parameters.filter(|p| p.dims()[0] != n) {
            return Err(Error::Shape {
                operation: "GAN sampling",
                what: "condition".into(),
                expected: format!("[{n}, {}]", self.config.parameters),
                got: p.dims().to_vec(),
            });
        }
        let like = Tensor::zeros(0, self.dtype, &self.device)?;
        in_batches(n, &self.event_shape(), &like, options, rng, |start, generators| {
            let parameters = parameters.map(|p| p.narrow(0, start, generators.len())).transpose()?;
            self.generate(&self.noise(generators)?, parameters.as_ref(), false)
        })
    }
}

impl Trainable for Gan {
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
        self.example().check("GAN loss", batch)?;
        let cond = self.condition().of_batch(MODEL, batch, &self.parameters)?;
        let parameters = self.condition().tensor(MODEL, cond.as_ref())?;
        let planes = self.planes(parameters)?;
        let shard: Shard = batch.shard;
        let mut generators = shard.generators(rng);
        let z = self.noise(&mut generators)?;
        let seen = |x: &Tensor| -> Result<Tensor> {
            planes.as_ref().map_or_else(|| Ok(x.clone()), |planes| Ok(concat_channels(x, planes)?))
        };
        let game = self.config.loss;
        match phase {
            DISCRIMINATOR => {
                let real = fields(batch, &self.parameters)?;
                let fake = no_grad(|| self.generate(&z, parameters, true))?.detach();
                let score = |x: &Tensor, real| game.of(&self.discriminator.forward(&seen(x)?, true)?, real);
                let mut parts = vec![("real", 1.0, score(&real, true)?), ("fake", 1.0, score(&fake, false)?)];
                let penalty = self.config.penalty;
                let at = match penalty {
                    Penalty::None => None,
                    Penalty::Zero(_) => Some(real),
                    Penalty::Gradient(_) => {
                        let fractions: Vec<f64> = generators.iter_mut().map(Rng::uniform).collect();
                        Some(between(&real, &fake, &fractions)?)
                    }
                };
                if let Some(x) = at {
                    let (value, _) = penalty.of(&self.discriminator, &x, planes.as_ref(), true)?;
                    parts.push(("penalty", 1.0, value));
                }
                sum(parts)
            }
            GENERATOR => {
                let fake = self.generate(&z, parameters, true)?;
                sum(vec![("adversarial", 1.0, game.of(&self.frozen.forward(&seen(&fake)?, true)?, true)?)])
            }
            _ => Err(no_such_phase(MODEL, phase, 2)),
        }
    }
}

//! What every model of the zoo promises; a capability is a trait.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use halocast_core::{Batch, Progress, Rng};

use crate::diffusion::{Clip, Levels, Sampler};
use crate::{Error, Parameters, Result};

/// What a sample or a loss is conditioned on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Cond {
    /// Parameters, `[batch, parameter]`.
    Vector(Tensor),
    /// A field on the grid of the event, `[batch, channel, y, x]`.
    Field(Tensor),
    /// A set of points, `[batch, point, feature]`.
    Set(Tensor),
}

/// What a model takes as its condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CondSpec {
    /// Nothing: the model is unconditional.
    None,
    /// So many parameters.
    Vector(usize),
    /// A field of so many channels.
    Field(usize),
    /// A set of points of so many features.
    Set(usize),
}

impl CondSpec {
    /// The tensor of `cond`, when the model takes one and it fits; `None` for a model that takes none.
    ///
    /// # Errors
    /// [`Error::Condition`] when `cond` is not what this specification says.
    pub fn tensor<'a>(&self, model: &'static str, cond: Option<&'a Cond>) -> Result<Option<&'a Tensor>> {
        match (self, cond) {
            (CondSpec::None, None) => Ok(None),
            (CondSpec::Vector(n), Some(Cond::Vector(t))) if t.rank() == 2 && t.dims()[1] == *n => Ok(Some(t)),
            (CondSpec::Field(n), Some(Cond::Field(t))) if t.rank() > 2 && t.dims()[1] == *n => Ok(Some(t)),
            (CondSpec::Set(n), Some(Cond::Set(t))) if t.rank() == 3 && t.dims()[2] == *n => Ok(Some(t)),
            _ => Err(Error::Condition {
                model,
                expected: format!("{self:?}"),
                got: cond.map_or("none".into(), |c| format!("{c:?}")),
            }),
        }
    }

    /// The condition that a batch holds for a model that takes this one.
    ///
    /// # Errors
    /// [`Error::Condition`] when the batch lacks it or it does not fit. What a model takes none of is passed over.
    pub fn of_batch(&self, model: &'static str, batch: &Batch, like: &Parameters) -> Result<Option<Cond>> {
        let tensor = |values: Vec<f32>, shape: &[usize]| -> Result<Tensor> {
            Ok(Tensor::from_vec(values, shape, like.device())?.to_dtype(like.dtype())?)
        };
        let cond = match (self, &batch.parameters, &batch.condition) {
            (CondSpec::Vector(_), Some(p), _) => {
                Some(Cond::Vector(tensor(p.iter().copied().collect(), p.shape())?))
            }
            (CondSpec::Field(_), _, Some(c)) => {
                Some(Cond::Field(tensor(c.iter().copied().collect(), c.shape())?))
            }
            (CondSpec::Set(_), _, Some(c)) => {
                Some(Cond::Set(tensor(c.iter().copied().collect(), c.shape())?))
            }
            _ => None,
        };
        self.tensor(model, cond.as_ref())?;
        Ok(cond)
    }
}

/// How samples are drawn.
pub struct SampleOptions<'a> {
    /// The sampler of diffusion models; others ignore it.
    pub sampler: Sampler,
    /// A range that denoised fields are kept within, of diffusion models.
    pub clip: Clip,
    /// The weight of classifier-free guidance, of diffusion models that were trained with and without their condition: 1
    /// for none. See [`crate::diffusion::Guided`].
    pub guidance: f64,
    /// The most events drawn at once.
    pub batch: usize,
    /// Called after each network evaluation with (done, total).
    pub progress: &'a Progress<'a>,
}

impl Default for SampleOptions<'_> {
    fn default() -> Self {
        Self { sampler: Sampler::default(), clip: Clip::None, guidance: 1.0, batch: 32, progress: &|_, _| {} }
    }
}

/// A model that its configuration, plain data, builds.
pub trait Configured: Sized {
    /// The configuration; its default holds the values of the paper.
    type Config: Clone;

    /// Builds the model on the parameters that `builder` gives; `parameters` is the set behind it, or an empty one for
    /// a model that is not to be trained.
    ///
    /// # Errors
    /// [`Error::Config`] when the configuration is not usable; others when a parameter is absent or of another shape.
    fn build(config: &Self::Config, builder: VarBuilder, parameters: Parameters) -> Result<Self>;

    /// A model with fresh parameters drawn from `seed`.
    ///
    /// # Errors
    /// [`Error::Config`] when the configuration is not usable.
    fn new(config: &Self::Config, seed: u64, device: &Device) -> Result<Self> {
        Self::with_parameters(config, Parameters::new(seed, device))
    }

    /// A model on its own set of fresh parameters, of their float type and device.
    ///
    /// # Errors
    /// [`Error::Config`] when the configuration is not usable.
    fn with_parameters(config: &Self::Config, parameters: Parameters) -> Result<Self> {
        Self::build(config, parameters.builder(), parameters)
    }

    /// A model to sample from, on given parameters; it records nothing for gradients.
    ///
    /// # Errors
    /// When the configuration is not usable or a parameter is absent or of another shape.
    fn frozen(config: &Self::Config, tensors: HashMap<String, Tensor>, device: &Device) -> Result<Self> {
        let builder = VarBuilder::from_tensors(tensors, DType::F32, device);
        Self::build(config, builder, Parameters::new(0, device))
    }
}

/// A model whose density is known exactly.
pub trait LogProb {
    /// ln p(x | condition) of each event of `x` `[n, ...]`, in nats: `[n]`, in the model's own normalised space.
    ///
    /// Where the density is found by solving an equation at random directions, these come from `rng`.
    ///
    /// # Errors
    /// When shapes or the condition do not fit, or a tensor operation fails.
    fn log_prob(&self, x: &Tensor, cond: Option<&Cond>, rng: &mut Rng) -> Result<Tensor>;
}

/// A model that bounds its density from below.
pub trait Bound {
    /// An unbiased estimate of a lower bound of ln p(x | condition) of each event of `x` `[n, ...]`, in nats: `[n]`. It
    /// averages over `draws` random draws, which come from `rng`.
    ///
    /// # Errors
    /// When shapes or the condition do not fit, or a tensor operation fails.
    fn bound(&self, x: &Tensor, cond: Option<&Cond>, draws: usize, rng: &mut Rng) -> Result<Tensor>;
}

/// An invertible map with a known change of volume.
pub trait Bijection {
    /// z = f(x) of `x` `[n, ...]`, and ln |det df/dx| of each event, `[n]`.
    ///
    /// # Errors
    /// When shapes do not fit or a tensor operation fails.
    fn forward(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<(Tensor, Tensor)>;

    /// x with f(x) = z, and ln |det dx/dz| of each event, `[n]`.
    ///
    /// # Errors
    /// When shapes do not fit or a tensor operation fails.
    fn inverse(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<(Tensor, Tensor)>;
}

/// A model that draws new events.
pub trait Generative {
    /// The shape of one event, `[channel, y, x]` for maps.
    fn event_shape(&self) -> Vec<usize>;

    /// What it must be conditioned on.
    fn condition(&self) -> CondSpec;

    /// Draws `n` events, `[n, channel, y, x]`, in the model's own normalised space.
    ///
    /// The same generator state gives the same events, however large the batches.
    ///
    /// # Errors
    /// When the condition does not fit, or a tensor operation fails.
    fn sample(
        &self,
        n: usize,
        cond: Option<&Cond>,
        options: &SampleOptions<'_>,
        rng: &mut Rng,
    ) -> Result<Tensor>;
}

/// A training loss and what it is made of.
#[derive(Debug)]
pub struct Loss {
    /// The scalar to differentiate.
    pub total: Tensor,
    /// Named parts, for the log.
    pub parts: Vec<(&'static str, f32)>,
}

/// What a model takes as an example of a batch: the shapes of its parts without the axis of the batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExampleSpec {
    /// Of [`Batch::fields`].
    pub fields: Vec<usize>,
    /// The number of [`Batch::parameters`], where it needs them.
    pub parameters: Option<usize>,
    /// Of [`Batch::condition`], where it needs one.
    pub condition: Option<Vec<usize>>,
}

impl ExampleSpec {
    /// The example of a model of events of a shape `[channel, ...]` and a condition; a conditioning field lies on the
    /// grid of the event, a conditioning set has as many points as the event.
    pub fn new(event: &[usize], condition: CondSpec) -> Self {
        let mut like = event.to_vec();
        let (parameters, condition) = match condition {
            CondSpec::None => (None, None),
            CondSpec::Vector(n) => (Some(n), None),
            CondSpec::Field(n) => {
                like.iter_mut().take(1).for_each(|channels| *channels = n);
                (None, Some(like))
            }
            CondSpec::Set(n) => {
                like.iter_mut().skip(1).for_each(|features| *features = n);
                (None, Some(like))
            }
        };
        Self { fields: event.to_vec(), parameters, condition }
    }

    /// Checks that a batch is of such examples.
    ///
    /// # Errors
    /// [`Error::Shape`] naming the part that is not, with what was expected and what found.
    pub fn check(&self, operation: &'static str, batch: &Batch) -> Result<()> {
        let n = batch.shard.len;
        let part = |what: &str, expected: &[usize], got: Option<&[usize]>| {
            let expected: Vec<usize> = std::iter::once(n).chain(expected.iter().copied()).collect();
            if n > 0 && got == Some(&expected[..]) {
                return Ok(());
            }
            let got = got.unwrap_or(&[]).to_vec();
            Err(Error::Shape { operation, what: what.into(), expected: format!("{expected:?}"), got })
        };
        part("batch", &self.fields, Some(batch.fields.shape()))?;
        if let Some(parameters) = self.parameters {
            part("parameters of a batch", &[parameters], batch.parameters.as_ref().map(|p| p.shape()))?;
        }
        if let Some(condition) = &self.condition {
            part("condition of a batch", condition, batch.condition.as_ref().map(|c| c.shape()))?;
        }
        Ok(())
    }
}

/// A model that can be trained.
pub trait Trainable {
    /// What an example of its batches is.
    fn example(&self) -> ExampleSpec;

    /// Its trainable parameters.
    fn parameters(&self) -> &Parameters;

    /// The device it lives on.
    fn device(&self) -> &Device;

    /// The number of phases of a step: two for adversarial models, one for all others.
    fn phases(&self) -> usize {
        1
    }

    /// The name of a phase, by which a training configuration finds it.
    fn phase_name(&self, phase: usize) -> &'static str {
        let _ = phase;
        "all"
    }

    /// Whether a phase moves the parameter of this name; its loss must depend on every one that it moves. A parameter
    /// that no phase moves stays as it is.
    fn trains(&self, phase: usize, parameter: &str) -> bool {
        let _ = (phase, parameter);
        true
    }

    /// The loss of a phase on a batch, a mean over its examples; all randomness comes from `rng`.
    ///
    /// When ranks share the batch of a step, each calls this with its part and a generator in the same state. Draws for
    /// one example come from [`halocast_core::Shard::generators`] of `batch.shard`, draws for the whole batch from `rng`
    /// itself, so that the mean of the parts' losses, weighted by their examples, is the loss of the whole batch.
    ///
    /// # Errors
    /// When the batch does not fit the model, or a tensor operation fails.
    fn loss(&self, phase: usize, batch: &Batch, rng: &mut Rng) -> Result<Loss>;
}

/// A network and an objective as a denoiser: the boundary between training and sampling.
///
/// In the convention of Karras et al. 2022, x = x0 + sigma n with n a standard normal field, and the denoiser is the
/// posterior mean D(x; sigma) = E[x0 | x].
pub trait Denoiser {
    /// The shape of one event.
    fn event_shape(&self) -> Vec<usize>;

    /// The device it lives on.
    fn device(&self) -> &Device;

    /// The noise levels it was trained on; a sampler picks its steps from them.
    fn levels(&self) -> &Levels;

    /// D(x; sigma) of `x` `[batch, ...]` at noise level `sigma`. A denoiser of discrete levels takes one between two as
    /// its network sees fit.
    ///
    /// # Errors
    /// When the condition does not fit, or a tensor operation fails.
    fn denoise(&self, x: &Tensor, sigma: f64, cond: Option<&Cond>) -> Result<Tensor>;

    /// As [`Denoiser::denoise`], with what the step before gave: for a network that is conditioned on its own estimate.
    /// Others pass it over.
    ///
    /// # Errors
    /// As [`Denoiser::denoise`].
    fn refine(
        &self,
        x: &Tensor,
        sigma: f64,
        cond: Option<&Cond>,
        previous: Option<&Tensor>,
    ) -> Result<Tensor> {
        let _ = previous;
        self.denoise(x, sigma, cond)
    }

    /// As [`Denoiser::refine`], and where the model learned the variances of its steps, v of each number: the logarithm of
    /// the variance is v of the way from that of beta-tilde to that of beta (Nichol & Dhariwal 2021, eq. 15).
    ///
    /// # Errors
    /// As [`Denoiser::denoise`].
    fn refine_with_spread(
        &self,
        x: &Tensor,
        sigma: f64,
        cond: Option<&Cond>,
        previous: Option<&Tensor>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        Ok((self.refine(x, sigma, cond, previous)?, None))
    }
}

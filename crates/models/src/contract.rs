//! What every model of the zoo promises; a capability is a trait.

use candle_core::{Device, Tensor};
use halocast_core::{Batch, Progress, Rng};

use crate::diffusion::Sampler;
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
}

impl CondSpec {
    /// The parameters of `cond`, when the model takes some and they fit.
    ///
    /// # Errors
    /// [`Error::Condition`] when `cond` is not what this specification says.
    pub fn vector<'a>(&self, model: &'static str, cond: Option<&'a Cond>) -> Result<Option<&'a Tensor>> {
        match (self, cond) {
            (CondSpec::None, None) => Ok(None),
            (CondSpec::Vector(n), Some(Cond::Vector(v))) if v.dims().last() == Some(n) => Ok(Some(v)),
            _ => Err(Error::Condition {
                model,
                expected: format!("{self:?}"),
                got: cond.map_or("none".into(), |c| format!("{c:?}")),
            }),
        }
    }
}

/// How samples are drawn.
pub struct SampleOptions<'a> {
    /// The sampler of diffusion models; others ignore it.
    pub sampler: Sampler,
    /// The most events drawn at once.
    pub batch: usize,
    /// Called after each network evaluation with (done, total).
    pub progress: &'a Progress<'a>,
}

impl Default for SampleOptions<'_> {
    fn default() -> Self {
        Self { sampler: Sampler::default(), batch: 32, progress: &|_, _| {} }
    }
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

/// A model that can be trained.
pub trait Trainable {
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

    /// The noise levels it was trained on, ascending; a sampler picks its steps from them.
    fn sigmas(&self) -> &[f64];

    /// D(x; sigma) of `x` `[batch, ...]` at noise level `index` of [`Denoiser::sigmas`].
    ///
    /// # Errors
    /// When the condition does not fit, or a tensor operation fails.
    fn denoise(&self, x: &Tensor, index: usize, cond: Option<&Cond>) -> Result<Tensor>;
}

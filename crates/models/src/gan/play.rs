//! What every game of generator and discriminator does with its batches.

use candle_core::{DType, Tensor};
use halocast_core::{Batch, Rng, Shard};
use halocast_kernels::no_grad;

use super::Generator;
use crate::{Cond, CondSpec, Error, Loss, Parameters, Result, SampleOptions};

/// The fields of a batch as the model's tensors.
pub(super) fn fields(batch: &Batch, like: &Parameters) -> Result<Tensor> {
    let values: Vec<f32> = batch.fields.iter().copied().collect();
    Ok(Tensor::from_vec(values, batch.fields.shape(), like.device())?.to_dtype(like.dtype())?)
}

/// A loss of named parts, each with its weight.
pub(super) fn sum(parts: Vec<(&'static str, f64, Tensor)>) -> Result<Loss> {
    let mut told = Vec::with_capacity(parts.len());
    let mut total: Option<Tensor> = None;
    for (name, weight, part) in parts {
        told.push((name, part.to_dtype(DType::F32)?.to_scalar::<f32>()?));
        let part = (part * weight)?;
        total = Some(match total {
            None => part,
            Some(sum) => (sum + part)?,
        });
    }
    let total = total.ok_or_else(|| Error::Shape {
        operation: "loss",
        what: "parts".into(),
        expected: "at least one".into(),
        got: vec![0],
    })?;
    Ok(Loss { total, parts: told })
}

/// The tensor of a condition that a model cannot do without.
pub(super) fn required<'a>(
    model: &'static str,
    spec: CondSpec,
    cond: Option<&'a Cond>,
) -> Result<&'a Tensor> {
    spec.tensor(model, cond)?.ok_or_else(|| Error::Condition {
        model,
        expected: format!("{spec:?}"),
        got: "none".into(),
    })
}

/// A phase of a model that has `phases` of them.
pub(super) fn no_such_phase(model: &'static str, phase: usize, phases: usize) -> Error {
    let expected = format!("below {phases}");
    Error::Config { model, field: "phase".into(), expected, got: phase.to_string() }
}

/// What a generator makes of maps, as constants.
pub(super) fn constant_fakes(
    generator: &Generator,
    x: &Tensor,
    train: bool,
    noise: Option<&mut [Rng]>,
) -> Result<Tensor> {
    Ok(no_grad(|| generator.forward(x, train, noise))?.detach())
}

/// Draws `n` events batch by batch: `draw` makes those of the positions from `start` on, one for each generator. Each
/// event has its own, so that the batches do not matter.
pub(super) fn in_batches(
    n: usize,
    event: &[usize],
    like: &Tensor,
    options: &SampleOptions<'_>,
    rng: &mut Rng,
    draw: impl Fn(usize, &mut [Rng]) -> Result<Tensor>,
) -> Result<Tensor> {
    let mut generators = Shard::whole(n).generators(rng);
    let mut parts = Vec::new();
    let mut done = 0;
    for part in generators.chunks_mut(options.batch.max(1)) {
        parts.push(no_grad(|| draw(done, part))?.detach());
        done += part.len();
        // One evaluation of the generator a batch.
        (options.progress)(parts.len() as u64, n.div_ceil(options.batch.max(1)) as u64);
    }
    if parts.is_empty() {
        let shape: Vec<usize> = std::iter::once(0).chain(event.iter().copied()).collect();
        return Ok(Tensor::zeros(shape, like.dtype(), like.device())?);
    }
    Ok(Tensor::cat(&parts, 0)?)
}

/// Requires maps of the shape `[n, event...]`.
pub(super) fn require_shape(operation: &'static str, x: &Tensor, n: usize, event: &[usize]) -> Result<()> {
    let expected: Vec<usize> = std::iter::once(n).chain(event.iter().copied()).collect();
    if x.dims() == expected {
        return Ok(());
    }
    Err(Error::Shape {
        operation,
        what: "condition".into(),
        expected: format!("{expected:?}"),
        got: x.dims().to_vec(),
    })
}

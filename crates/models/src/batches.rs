//! What samplers share: one stream of random numbers an event, batches, a column of numbers an event.

use candle_core::{DType, Device, Tensor};
use halocast_core::Rng;

use crate::diffusion::slice_cond;
use crate::{Cond, CondSpec, Error, Result, SampleOptions};

/// `values`, one an event, as a tensor that broadcasts against `like` `[event, ...]`.
pub(crate) fn column(values: &[f64], like: &Tensor) -> Result<Tensor> {
    let mut shape = vec![1; like.rank().max(1)];
    shape[0] = values.len();
    Ok(Tensor::from_slice(values, shape, like.device())?.to_dtype(like.dtype())?)
}

/// Standard normal numbers `[stream, ...event]`, each event from its own stream.
pub(crate) fn normals(streams: &mut [Rng], event: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
    let size: usize = event.iter().product();
    let mut values = vec![0.0f32; size * streams.len()];
    if size > 0 {
        values.chunks_mut(size).zip(streams.iter_mut()).for_each(|(chunk, rng)| rng.fill_normal(chunk));
    }
    let shape: Vec<usize> = std::iter::once(streams.len()).chain(event.iter().copied()).collect();
    Ok(Tensor::from_vec(values, shape, device)?.to_dtype(dtype)?)
}

/// One batch of events to draw.
pub(crate) struct Draw<'a> {
    /// A generator for each event.
    pub(crate) streams: Vec<Rng>,
    /// The condition of these events.
    pub(crate) cond: Option<Cond>,
    /// Called after step i of the batch.
    pub(crate) tick: &'a dyn Fn(usize),
}

/// Draws `n` events in batches by `draw`, each of which takes `steps` steps; each event has its own stream of `rng`, so
/// that the batch size does not change the result beyond rounding.
pub(crate) fn in_batches(
    n: usize,
    cond: Option<&Cond>,
    steps: usize,
    options: &SampleOptions<'_>,
    rng: &mut Rng,
    mut draw: impl FnMut(Draw<'_>) -> Result<Tensor>,
) -> Result<Tensor> {
    if n == 0 || options.batch == 0 || steps == 0 {
        return Err(Error::Config {
            model: "sampler",
            field: "number of samples, batch and steps".into(),
            expected: "at least 1".into(),
            got: format!("{n}, {} and {steps}", options.batch),
        });
    }
    let total = (n.div_ceil(options.batch) * steps) as u64;
    // A fresh key for this call: two calls with one generator draw different events.
    let key = Rng::new(rng.next_u64());
    let mut events = Vec::new();
    for (b, start) in (0..n).step_by(options.batch).enumerate() {
        let size = options.batch.min(n - start);
        let cond = cond.map(|c| slice_cond(c, start, size)).transpose()?;
        let streams: Vec<Rng> = (start..start + size).map(|i| key.split(i as u64)).collect();
        let done = (b * steps) as u64;
        let tick = |i: usize| (options.progress)(done + i as u64 + 1, total);
        events.push(draw(Draw { streams, cond, tick: &tick })?);
    }
    Ok(Tensor::cat(&events, 0)?)
}

/// Checks that a condition is what a model takes, for `n` events of shape `event`.
pub(crate) fn check_condition(
    model: &'static str,
    spec: CondSpec,
    cond: Option<&Cond>,
    n: usize,
    event: &[usize],
) -> Result<()> {
    let Some(tensor) = spec.tensor(model, cond)? else { return Ok(()) };
    let grid = matches!(spec, CondSpec::Field(_)).then(|| &event[1..]);
    if tensor.dims()[0] != n || grid.is_some_and(|grid| &tensor.dims()[2..] != grid) {
        return Err(Error::Shape {
            operation: model,
            what: "condition".into(),
            expected: format!("{spec:?} for {n} events of {event:?}"),
            got: tensor.dims().to_vec(),
        });
    }
    Ok(())
}

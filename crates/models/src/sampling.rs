//! What models that draw events at once share: batches, and a stream of random numbers for each event.

use candle_core::{DType, Device, Tensor};
use halocast_core::{Batch, Rng};
use halocast_kernels::no_grad;

use crate::{Cond, Error, Parameters, Result, SampleOptions};

/// Draws `n` events in batches of `options.batch`; `draw` is given a generator for each event of a batch and its part of
/// the condition. An event's generator depends on its number alone, so the size of batches changes nothing beyond
/// rounding.
///
/// # Errors
/// [`Error::Config`] when no event or an empty batch is asked for; [`Error::Shape`] when there are not `n` conditions.
pub(crate) fn in_batches(
    n: usize,
    cond: Option<&Cond>,
    options: &SampleOptions<'_>,
    rng: &mut Rng,
    draw: impl Fn(&mut [Rng], Option<&Cond>) -> Result<Tensor>,
) -> Result<Tensor> {
    if n == 0 || options.batch == 0 {
        return Err(Error::Config {
            model: "sampler",
            field: "number of samples and batch".into(),
            expected: "at least 1".into(),
            got: format!("{n} and {}", options.batch),
        });
    }
    // A fresh key for this call: two calls with one generator draw different events.
    let key = Rng::new(rng.next_u64());
    let total = n.div_ceil(options.batch) as u64;
    let mut events = Vec::new();
    for (b, start) in (0..n).step_by(options.batch).enumerate() {
        let size = options.batch.min(n - start);
        let cond = cond.map(|c| part(c, n, start, size)).transpose()?;
        let mut streams: Vec<Rng> = (start..start + size).map(|i| key.split(i as u64)).collect();
        events.push(no_grad(|| draw(&mut streams, cond.as_ref()))?.detach());
        (options.progress)(b as u64 + 1, total);
    }
    Ok(Tensor::cat(&events, 0)?)
}

/// The rows of a condition from `start` on; one of a single row is that of every event.
fn part(cond: &Cond, n: usize, start: usize, size: usize) -> Result<Cond> {
    let rows = |t: &Tensor| -> Result<Tensor> {
        match t.dims().first() {
            Some(&rows) if rows == n => Ok(t.narrow(0, start, size)?),
            Some(1) => {
                let shape: Vec<usize> = std::iter::once(size).chain(t.dims()[1..].iter().copied()).collect();
                Ok(t.broadcast_as(shape)?.contiguous()?)
            }
            _ => Err(Error::Shape {
                operation: "sampling",
                what: "condition".into(),
                expected: format!("[{n}, ..] or [1, ..]"),
                got: t.dims().to_vec(),
            }),
        }
    };
    Ok(match cond {
        Cond::Vector(t) => Cond::Vector(rows(t)?),
        Cond::Field(t) => Cond::Field(rows(t)?),
        Cond::Set(t) => Cond::Set(rows(t)?),
    })
}

/// Standard normal numbers, a row for each generator: `[generators, each]`.
pub(crate) fn normals(streams: &mut [Rng], each: usize, dtype: DType, device: &Device) -> Result<Tensor> {
    let mut values = vec![0.0f32; each * streams.len()];
    values.chunks_mut(each.max(1)).zip(streams.iter_mut()).for_each(|(row, rng)| rng.fill_normal(row));
    Ok(Tensor::from_vec(values, (streams.len(), each), device)?.to_dtype(dtype)?)
}

/// The fields of a batch as a tensor of the type and on the device of a model.
pub(crate) fn fields(batch: &Batch, like: &Parameters) -> Result<Tensor> {
    let values: Vec<f32> = batch.fields.iter().copied().collect();
    Ok(Tensor::from_vec(values, batch.fields.shape(), like.device())?.to_dtype(like.dtype())?)
}

/// The sum over all axes but the first: `[n, ..]` gives `[n]`.
pub(crate) fn sum_event(x: &Tensor) -> Result<Tensor> {
    Ok(if x.rank() < 2 { x.clone() } else { x.flatten_from(1)?.sum(1)? })
}

/// ln N(z; 0, I) of each event: `[n, ..]` gives `[n]`.
pub(crate) fn log_normal(z: &Tensor) -> Result<Tensor> {
    let each: usize = z.dims().iter().skip(1).product();
    let constant = 0.5 * each as f64 * std::f64::consts::TAU.ln();
    Ok(sum_event(&z.sqr()?)?.affine(-0.5, -constant)?)
}

/// Checks that a tensor is a batch of events of a shape.
///
/// # Errors
/// [`Error::Shape`] otherwise.
pub(crate) fn check_event(operation: &'static str, x: &Tensor, event: &[usize]) -> Result<()> {
    if x.rank() == event.len() + 1 && x.dims()[1..] == *event && x.dims()[0] > 0 {
        return Ok(());
    }
    let expected = format!("[n, {}]", event.iter().map(usize::to_string).collect::<Vec<_>>().join(", "));
    Err(Error::Shape { operation, what: "events".into(), expected, got: x.dims().to_vec() })
}

/// Checks fields of a configuration: a name, whether it is usable, what is expected, and what was found.
///
/// # Errors
/// [`Error::Config`] for the first that is not usable.
pub(crate) fn check_config<'a>(
    model: &'static str,
    checks: impl IntoIterator<Item = (&'a str, bool, &'a str, String)>,
) -> Result<()> {
    for (field, ok, expected, got) in checks {
        if !ok {
            return Err(Error::Config { model, field: field.into(), expected: expected.into(), got });
        }
    }
    Ok(())
}

//! Times as sinusoids.

use candle_core::Tensor;

use crate::Result;

/// The times as a column `[batch, 1]`, of the float type and device of `like`.
pub(crate) fn times(t: &[f64], like: &Tensor) -> Result<Tensor> {
    Ok(Tensor::from_slice(t, (t.len(), 1), like.device())?.to_dtype(like.dtype())?)
}

/// sin and cos of t f for each frequency f: `[batch, 2 frequencies]`, all sines first. They are computed in double
/// precision: the times reach a thousand.
pub(crate) fn sinusoids(t: &[f64], frequencies: &[f64], like: &Tensor) -> Result<Tensor> {
    let mut values = Vec::with_capacity(t.len() * frequencies.len() * 2);
    for &t in t {
        values.extend(frequencies.iter().map(|f| (t * f).sin()));
        values.extend(frequencies.iter().map(|f| (t * f).cos()));
    }
    let shape = (t.len(), 2 * frequencies.len());
    Ok(Tensor::from_vec(values, shape, like.device())?.to_dtype(like.dtype())?)
}

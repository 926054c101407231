//! The recurrences along a sequence, position by position.

use candle_core::Tensor;

use super::{activate, silu};
use crate::{Activation, Result, ScanOptions};

/// [`crate::selective_scan`].
///
/// # Errors
/// As there.
pub fn selective_scan(
    u: &Tensor,
    delta: &Tensor,
    a: &Tensor,
    b: &Tensor,
    c: &Tensor,
    options: &ScanOptions,
) -> Result<Tensor> {
    let (n, d, l) = u.dims3()?;
    let states = a.dim(1)?;
    if u.elem_count() == 0 {
        return Ok(u.clone());
    }
    let mut delta = match options.delta_bias {
        Some(bias) => delta.broadcast_add(&bias.reshape((1, d, 1))?)?,
        None => delta.clone(),
    };
    if options.delta_softplus {
        // ln(1 + e^x) = max(x, 0) + ln(1 + e^{-|x|})
        delta = (delta.relu()? + ((delta.abs()?.neg()?.exp()? + 1.0)?).log()?)?;
    }
    // The coefficients of one position, `[n, d, states]`.
    let at = |x: &Tensor, t: usize| -> Result<Tensor> {
        let x = match *x.dims() {
            [_, _] => x.unsqueeze(0)?,
            [_, _, _] => x.narrow(2, t, 1)?.reshape((n, 1, states))?,
            _ => {
                let groups = x.dim(1)?;
                let x = x.narrow(3, t, 1)?.reshape((n, groups, 1, states))?;
                x.broadcast_as((n, groups, d / groups, states))?.reshape((n, d, states))?
            }
        };
        Ok(x.broadcast_as((n, d, states))?)
    };
    let mut h = u.zeros_like()?.narrow(2, 0, 1)?.broadcast_as((n, d, states))?;
    let mut outputs = vec![];
    for t in 0..l {
        let dt = delta.narrow(2, t, 1)?;
        let new = at(b, t)?.broadcast_mul(&(&dt * u.narrow(2, t, 1)?)?)?;
        h = ((dt.broadcast_mul(&a.unsqueeze(0)?)?.exp()? * h)? + new)?;
        outputs.push((&h * at(c, t)?)?.sum_keepdim(2)?);
    }
    let mut y = Tensor::cat(&outputs, 2)?;
    if let Some(skip) = options.skip {
        y = (y + u.broadcast_mul(&skip.reshape((1, d, 1))?)?)?;
    }
    match options.gate {
        Some(z) => Ok((y * silu(z)?)?),
        None => Ok(y),
    }
}

/// [`crate::causal_conv1d`].
///
/// # Errors
/// As there.
pub fn causal_conv1d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    let (_, d, l) = x.dims3()?;
    let weight = weight.reshape((d, ()))?;
    let taps = weight.dim(1)?;
    let padded = x.pad_with_zeros(2, taps - 1, 0)?;
    let mut y = x.zeros_like()?;
    for j in 0..taps {
        let tap = weight.narrow(1, j, 1)?.unsqueeze(0)?;
        y = (y + padded.narrow(2, j, l)?.broadcast_mul(&tap)?)?;
    }
    if let Some(bias) = bias {
        y = y.broadcast_add(&bias.reshape((1, d, 1))?)?;
    }
    activate(&y, activation)
}

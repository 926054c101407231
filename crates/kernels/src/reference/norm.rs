//! Norms of groups and of rows.

use candle_core::{D, Tensor};

use super::activate;
use crate::Result;
use crate::activation::Activation;

/// [`crate::group_norm`].
///
/// # Errors
/// As there.
pub fn group_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    eps: f64,
    activation: Activation,
) -> Result<Tensor> {
    let dims = x.dims();
    let grouped = x.reshape((dims[0], groups, x.elem_count() / (dims[0] * groups).max(1)))?;
    let centred = grouped.broadcast_sub(&grouped.mean_keepdim(2)?)?;
    let variance = centred.sqr()?.mean_keepdim(2)?;
    let normal = centred.broadcast_div(&(variance + eps)?.sqrt()?)?.reshape(dims)?;
    let mut channel = vec![1; dims.len()];
    channel[1] = dims[1];
    let y =
        normal.broadcast_mul(&weight.reshape(channel.as_slice())?)?.broadcast_add(&bias.reshape(channel)?)?;
    activate(&y, activation)
}

/// [`crate::batch_norm`] of one rank, with its mean and variance `[c]`.
///
/// # Errors
/// As there.
pub fn batch_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    activation: Activation,
) -> Result<(Tensor, Tensor, Tensor)> {
    let c = x.dims()[1];
    let rows = x.transpose(0, 1)?.contiguous()?.reshape((c, x.elem_count() / c.max(1)))?;
    let mean = rows.mean_keepdim(1)?;
    let centred = rows.broadcast_sub(&mean)?;
    let variance = centred.sqr()?.mean_keepdim(1)?;
    let normal = centred.broadcast_div(&(&variance + eps)?.sqrt()?)?;
    let normal = normal.broadcast_mul(&weight.reshape((c, 1))?)?.broadcast_add(&bias.reshape((c, 1))?)?;
    let mut swapped = x.dims().to_vec();
    swapped.swap(0, 1);
    let y = normal.reshape(swapped)?.transpose(0, 1)?.contiguous()?;
    Ok((activate(&y, activation)?, mean.flatten_all()?.detach(), variance.flatten_all()?.detach()))
}

/// [`crate::layer_norm`].
///
/// # Errors
/// As there.
pub fn layer_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    activation: Activation,
) -> Result<Tensor> {
    let rows = x.flatten_from(x.rank() - weight.rank())?;
    let normal = standardised(&rows, eps)?.reshape(x.dims())?;
    activate(&normal.broadcast_mul(weight)?.broadcast_add(bias)?, activation)
}

/// [`crate::rms_norm`].
///
/// # Errors
/// As there.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64, activation: Activation) -> Result<Tensor> {
    let rows = x.flatten_from(x.rank() - weight.rank())?;
    let square = rows.sqr()?.mean_keepdim(D::Minus1)?;
    let normal = rows.broadcast_div(&(square + eps)?.sqrt()?)?.reshape(x.dims())?;
    activate(&normal.broadcast_mul(weight)?, activation)
}

/// [`crate::modulated_norm`].
///
/// # Errors
/// As there.
pub fn modulated_norm(x: &Tensor, scale: &Tensor, shift: &Tensor, eps: f64) -> Result<Tensor> {
    let (n, c) = scale.dims2()?;
    let normal = standardised(x, eps)?.reshape((n, (), c))?;
    let y = normal.broadcast_mul(&(scale.reshape((n, 1, c))? + 1.0)?)?;
    Ok(y.broadcast_add(&shift.reshape((n, 1, c))?)?.reshape(x.dims())?)
}

fn standardised(rows: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = rows.broadcast_sub(&rows.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    Ok(centred.broadcast_div(&(variance + eps)?.sqrt()?)?)
}

//! The sequence operations on tokens: permuted, transposed, and back.

use candle_core::Tensor;

use crate::{Activation, Result, ScanOptions, ScanOrder, TokenScan};

/// [`crate::causal_conv_tokens`], composed of [`crate::causal_conv1d`].
///
/// # Errors
/// As there.
pub fn causal_conv_tokens(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
    order: &ScanOrder,
) -> Result<Tensor> {
    let y = crate::causal_conv1d(&read(x, order)?, weight, bias, activation)?;
    put_back(&y, order)
}

/// [`crate::selective_scan_tokens`], composed of [`crate::selective_scan`].
///
/// # Errors
/// As there.
pub fn selective_scan_tokens(scan: &TokenScan<'_>, order: &ScanOrder) -> Result<Tensor> {
    let (rank, states) = (scan.step_weight.dim(1)?, scan.a.dim(1)?);
    let part = |start, len| scan.coefficients.narrow(2, start, len)?.contiguous();
    let delta = crate::linear(&part(0, rank)?, scan.step_weight, None)?;
    let (b, c) = (part(rank, states)?, part(rank + states, states)?);
    let gate = read(scan.gate, order)?;
    let options = ScanOptions {
        skip: Some(scan.skip),
        gate: Some(&gate),
        delta_bias: Some(scan.step_bias),
        delta_softplus: true,
    };
    let [u, delta, b, c] = [scan.u, &delta, &b, &c].map(|x| read(x, order));
    put_back(&crate::selective_scan(&u?, &delta?, scan.a, &b?, &c?, &options)?, order)
}

/// [`crate::gated_add`].
///
/// # Errors
/// As there.
pub fn gated_add(x: &Tensor, branch: &Tensor, gate: &Tensor) -> Result<Tensor> {
    let (n, c) = gate.dims2()?;
    let rows = branch.reshape((n, (), c))?.broadcast_mul(&(gate.reshape((n, 1, c))? + 1.0)?)?;
    Ok((x + rows.reshape(x.dims())?)?)
}

/// `[n, l, d]` as `[n, d, l]` in the order.
fn read(x: &Tensor, order: &ScanOrder) -> Result<Tensor> {
    let [positions, _] = order.indices(x.device())?;
    Ok(crate::index_select(x, &positions, 1)?.transpose(1, 2)?.contiguous()?)
}

/// The inverse.
fn put_back(y: &Tensor, order: &ScanOrder) -> Result<Tensor> {
    let [_, turns] = order.indices(y.device())?;
    crate::index_select(&y.transpose(1, 2)?.contiguous()?, &turns, 1)
}

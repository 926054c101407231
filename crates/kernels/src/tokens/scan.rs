//! The selective scan of tokens.

use candle_core::Tensor;

use super::ScanOrder;
use crate::linear::linear;
use crate::memory::on_cpu;
use crate::scan::ScanOptions;
use crate::{Error, Result, reference};

/// What a selective scan of tokens reads.
#[derive(Clone, Copy, Debug)]
pub struct TokenScan<'a> {
    /// What is scanned, $u$ `[n, l, d]`.
    pub u: &'a Tensor,
    /// Of each token: $r$ numbers that its step sizes are made of, then $B$, then $C$: `[n, l, r + 2 s]`.
    pub coefficients: &'a Tensor,
    /// The map $W$ to the step sizes, `[d, r]`.
    pub step_weight: &'a Tensor,
    /// Its bias $\beta$, `[d]`.
    pub step_bias: &'a Tensor,
    /// The rates $A$, `[d, s]`.
    pub a: &'a Tensor,
    /// $D$ `[d]`.
    pub skip: &'a Tensor,
    /// $z$ `[n, l, d]`.
    pub gate: &'a Tensor,
}

/// The selective scan of tokens in an order, as a block of Mamba has it: [`selective_scan`](crate::selective_scan()) with
/// the channels last, step sizes from few numbers, a skip and a gate,
///
/// $$ \Delta_t = \mathrm{softplus}(W \delta_t + \beta), \qquad
///    h_t = e^{\Delta_t A} h_{t-1} + \Delta_t B_t u_t, \qquad y_t = (C_t h_t + D u_t) \, z_t \, \sigma(z_t) $$
///
/// where $t$ counts the turns of the order. The output is `[n, l, d]`. Time $O(n d l (s + r))$.
///
/// # Source
/// Gu & Dao 2023, arXiv:2312.00752, algorithm 2 and section 3.4.
///
/// # Errors
/// Where a shape does not fit, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use halocast_kernels::{ScanOrder, TokenScan, selective_scan_tokens};
/// // One channel and state, no decay, steps of softplus(large) = large: a running sum, from the last token.
/// let u = Tensor::new(&[[[1.0f32], [2.0], [3.0]]], &Device::Cpu)?;
/// let zero = Tensor::zeros(1, DType::F32, &Device::Cpu)?;
/// let scan = TokenScan {
///     u: &u,
///     coefficients: &Tensor::new(&[[[100.0f32, 0.01, 1.0]; 3]], &Device::Cpu)?,
///     step_weight: &Tensor::new(&[[1.0f32]], &Device::Cpu)?,
///     step_bias: &zero,
///     a: &zero.reshape((1, 1))?,
///     skip: &zero,
///     gate: &Tensor::new(&[[[100.0f32], [100.0], [100.0]]], &Device::Cpu)?,
/// };
/// let y = selective_scan_tokens(&scan, &ScanOrder::new(vec![2, 1, 0])?)?.flatten_all()?.to_vec1::<f32>()?;
/// assert!(y.iter().zip([600.0, 500.0, 300.0]).all(|(y, sum)| (y - sum).abs() < 1e-2));
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn selective_scan_tokens(scan: &TokenScan<'_>, order: &ScanOrder) -> Result<Tensor> {
    const OP: &str = "selective_scan_tokens";
    let &[n, l, d] = scan.u.dims() else { return Err(Error::shape(OP, "u", "[n, l, d]", scan.u.dims())) };
    order.check(OP, l)?;
    let &[_, states] = scan.a.dims() else { return Err(Error::shape(OP, "a", "[d, s]", scan.a.dims())) };
    let &[_, rank] = scan.step_weight.dims() else {
        return Err(Error::shape(OP, "step_weight", "[d, r]", scan.step_weight.dims()));
    };
    let checks: [(&str, &Tensor, &[usize]); 6] = [
        ("coefficients", scan.coefficients, &[n, l, rank + 2 * states]),
        ("step_weight", scan.step_weight, &[d, rank]),
        ("step_bias", scan.step_bias, &[d]),
        ("a", scan.a, &[d, states]),
        ("skip", scan.skip, &[d]),
        ("gate", scan.gate, &[n, l, d]),
    ];
    for (name, tensor, expected) in checks {
        if tensor.dims() != expected {
            return Err(Error::shape(OP, name, format!("{expected:?}"), tensor.dims()));
        }
    }
    let inputs = [scan.u, scan.coefficients, scan.step_weight, scan.step_bias, scan.a, scan.skip, scan.gate];
    if !on_cpu(&inputs) || inputs.iter().any(|x| x.elem_count() == 0) {
        return reference::selective_scan_tokens(scan, order);
    }
    let part = |start, len| scan.coefficients.narrow(2, start, len)?.contiguous();
    let delta = linear(&part(0, rank)?, scan.step_weight, None)?;
    let (b, c) = (part(rank, states)?, part(rank + states, states)?);
    let options = ScanOptions {
        skip: Some(scan.skip),
        gate: Some(scan.gate),
        delta_bias: Some(scan.step_bias),
        delta_softplus: true,
    };
    crate::scan::on_tokens([scan.u, &delta, scan.a, &b, &c], &options, order)
}

//! The selective scan of Mamba: a linear recurrence whose coefficients depend on the input.

mod kernel;
mod op;

use candle_core::Tensor;

use crate::memory::on_cpu;
use crate::{Error, Result, autograd, device, reference};

/// What a selective scan may have beside its five main inputs. Default: nothing of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScanOptions<'a> {
    /// `D [d]`: adds $D_d u$ to the output.
    pub skip: Option<&'a Tensor>,
    /// `z [n, d, l]`: multiplies the output by $z / (1 + e^{-z})$.
    pub gate: Option<&'a Tensor>,
    /// `[d]`: added to `delta`.
    pub delta_bias: Option<&'a Tensor>,
    /// Whether the step is $\ln(1 + e^{\Delta})$ rather than $\Delta$.
    pub delta_softplus: bool,
}

/// The selective scan, for each example and channel $d$ over positions $t$, with states $s$:
///
/// $$ \Delta_t = \mathrm{softplus}(\delta_{d t} + \beta_d), \qquad
///    h_{s t} = e^{\Delta_t A_{d s}} h_{s, t-1} + \Delta_t B_{s t} u_{d t}, \qquad
///    y_{d t} = \Big( \sum_s C_{s t} h_{s t} + D_d u_{d t} \Big) \, z_{d t} \, \sigma(z_{d t}) $$
///
/// from $h = 0$; softplus, $\beta$, $D$ and $z$ as `options` say. `u`, `delta` `[n, d, l]`; `a` `[d, s]`; `b` and `c`
/// `[n, s, l]`, or `[n, g, s, l]` where $g$ groups divide the channels in order, or constant `[d, s]`. The output is
/// `[n, d, l]`. Time $O(n d l s)$; the gradient keeps the states at every 16th position and recomputes the others.
///
/// Constant or unlike `b` and `c` take the [reference](crate::reference::selective_scan) path.
///
/// # Source
/// Gu & Dao 2023, arXiv:2312.00752, algorithm 2, with the discretisation of the authors' program: exact for $A$, Euler for
/// $B$.
///
/// # Errors
/// Where a shape does not fit, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use halocast_kernels::{ScanOptions, selective_scan};
/// // One channel and state, no decay: a running sum.
/// let u = Tensor::new(&[[[1.0f32, 2.0, 3.0]]], &Device::Cpu)?;
/// let ones = u.ones_like()?;
/// let a = Tensor::zeros((1, 1), DType::F32, &Device::Cpu)?;
/// let y = selective_scan(&u, &ones, &a, &ones, &ones, &ScanOptions::default())?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1.0, 3.0, 6.0]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn selective_scan(
    u: &Tensor,
    delta: &Tensor,
    a: &Tensor,
    b: &Tensor,
    c: &Tensor,
    options: &ScanOptions,
) -> Result<Tensor> {
    const OP: &str = "selective_scan";
    let &[n, d, l] = u.dims() else { return Err(Error::shape(OP, "u", "[n, d, l]", u.dims())) };
    for (name, tensor) in [("delta", Some(delta)), ("gate", options.gate)] {
        if let Some(tensor) = tensor.filter(|t| t.dims() != [n, d, l]) {
            return Err(Error::shape(OP, name, format!("[{n}, {d}, {l}]"), tensor.dims()));
        }
    }
    for (name, tensor) in [("skip", options.skip), ("delta_bias", options.delta_bias)] {
        if let Some(tensor) = tensor.filter(|t| t.dims() != [d]) {
            return Err(Error::shape(OP, name, format!("[{d}]"), tensor.dims()));
        }
    }
    let &[_, states] = a.dims() else { return Err(Error::shape(OP, "a", "[d, s]", a.dims())) };
    if a.dims() != [d, states] {
        return Err(Error::shape(OP, "a", format!("[{d}, s]"), a.dims()));
    }
    let mut groups = [None; 2];
    for (groups, (name, tensor)) in groups.iter_mut().zip([("b", b), ("c", c)]) {
        *groups = match *tensor.dims() {
            [i, s, t] if [i, s, t] == [n, states, l] => Some(1),
            [i, g, s, t] if [i, s, t] == [n, states, l] && g > 0 && d.is_multiple_of(g) => Some(g),
            [i, s] if [i, s] == [d, states] => None,
            _ => {
                let expected = format!("[{n}, {states}, {l}], [{n}, g, {states}, {l}] or [{d}, {states}]");
                return Err(Error::shape(OP, name, expected, tensor.dims()));
            }
        };
    }
    let optional = [options.skip, options.gate, options.delta_bias];
    let inputs: Vec<&Tensor> =
        [u, delta, a, b, c].into_iter().chain(optional.into_iter().flatten()).collect();
    let empty = u.elem_count() == 0 || states == 0;
    match groups {
        [Some(g), Some(same)] if g == same && !empty && on_cpu(&inputs) => {
            let op = op::SelectiveScan::new([n, d, l], states, g, options);
            Ok(autograd::apply(op, &inputs)?)
        }
        [Some(g), Some(same)]
            if g == same && !empty && states <= device::MOST_STATES && device::takes(&inputs) =>
        {
            Ok(device::selective_scan([u, delta, a, b, c], g, options)?)
        }
        _ => reference::selective_scan(u, delta, a, b, c, options),
    }
}

/// The scan of `u`, `delta` and the gate `[n, l, d]` with `b` and `c` `[n, l, s]`, of checked shapes, not empty, in `f32` on
/// the CPU.
pub(crate) fn on_tokens(
    [u, delta, a, b, c]: [&Tensor; 5],
    options: &ScanOptions,
    order: &crate::tokens::ScanOrder,
) -> Result<Tensor> {
    let (n, l, d) = u.dims3()?;
    let optional = [options.skip, options.gate, options.delta_bias];
    let inputs: Vec<&Tensor> =
        [u, delta, a, b, c].into_iter().chain(optional.into_iter().flatten()).collect();
    let op = op::SelectiveScan::new([n, d, l], a.dim(1)?, 1, options).on_tokens(order);
    Ok(autograd::apply(op, &inputs)?)
}

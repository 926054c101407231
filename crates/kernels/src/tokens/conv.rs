//! Depthwise causal convolution of tokens.

use candle_core::Tensor;

use super::ScanOrder;
use crate::activation::Activation;
use crate::{Error, Result, reference};

/// Depthwise causal convolution of tokens in an order, then an activation $\phi$: [`causal_conv1d`](crate::causal_conv1d())
/// with the channels last,
///
/// $$ y_{o(t), d} = \phi\Big( \beta_d + \sum_{j=0}^{k-1} w_{d j} \, x_{o(t - (k - 1) + j), d} \Big) $$
///
/// where $o(t)$ is the token read at turn $t$, and those before the first are zero. `x [n, l, d]`, `weight [d, k]` or
/// `[d, 1, k]`, `bias [d]`; the output is as `x`.
///
/// # Source
/// The local mixing of Gu & Dao 2023, arXiv:2312.00752, figure 3.
///
/// # Errors
/// Where a shape does not fit, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_kernels::{Activation, ScanOrder, causal_conv_tokens};
/// let x = Tensor::new(&[[[1.0f32], [2.0], [3.0]]], &Device::Cpu)?;
/// let before_and_now = Tensor::new(&[[10.0f32, 1.0]], &Device::Cpu)?;
/// let backwards = ScanOrder::new(vec![2, 1, 0])?;
/// let y = causal_conv_tokens(&x, &before_and_now, None, Activation::None, &backwards)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [21.0, 32.0, 3.0]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn causal_conv_tokens(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
    order: &ScanOrder,
) -> Result<Tensor> {
    const OP: &str = "causal_conv_tokens";
    let &[_, l, d] = x.dims() else { return Err(Error::shape(OP, "x", "[n, l, d]", x.dims())) };
    order.check(OP, l)?;
    match *weight.dims() {
        [c, k] | [c, 1, k] if c == d && k > 0 => {}
        _ => return Err(Error::shape(OP, "weight", format!("[{d}, k] or [{d}, 1, k]"), weight.dims())),
    };
    if let Some(bias) = bias.filter(|b| b.dims() != [d]) {
        return Err(Error::shape(OP, "bias", format!("[{d}]"), bias.dims()));
    }
    reference::causal_conv_tokens(x, weight, bias, activation, order)
}

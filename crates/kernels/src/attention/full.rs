//! Softmax attention for tensors of either layout, with masks.

use candle_core::Tensor;

use super::softmax::{Attention, slot};
use super::{Mask, Sizes};
use crate::memory::on_cpu;
use crate::{Result, autograd, device, reference};

/// How [`attention_masked`] weighs its keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionSpec {
    /// What scores are multiplied with; usually $1/\sqrt d$.
    pub scale: f64,
    /// Whether query `i` attends to keys `j <= i` alone.
    pub causal: bool,
}

/// Scaled dot-product attention, $o = \mathrm{softmax}(s \, q k^\mathsf{T}) v$ with the softmax over the keys.
///
/// `q [b, heads, n, d]`, `k [b, heads, m, d]`, `v [b, heads, m, e]` give `[b, heads, n, e]`. Cost `O(n m (d + e))`; memory
/// linear in `n` and `m`: scores are computed a block at a time, again in the gradient, with a running softmax.
///
/// # Source
/// Vaswani et al. 2017, arXiv:1706.03762, eq. 1 (there `scale` is $1/\sqrt d$); in blocks as Dao et al. 2022,
/// arXiv:2205.14135.
///
/// # Errors
/// Where a shape does not fit, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// let q = Tensor::zeros((1, 1, 1, 2), DType::F32, &Device::Cpu)?;
/// let v = Tensor::new(&[[[[1.0f32, 2.0], [3.0, 6.0]]]], &Device::Cpu)?;
/// // Equal scores: the mean of the values.
/// let o = halocast_kernels::attention(&q, &v, &v, 0.5)?;
/// assert_eq!(o.flatten_all()?.to_vec1::<f32>()?, [2.0, 4.0]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64) -> Result<Tensor> {
    masked("attention", q, k, v, None, AttentionSpec { scale, causal: false })
}

/// [`attention`] in which some keys do not count:
///
/// $$ o_i = \frac{\sum_j a_{ij} e^{s \, q_i \cdot k_j} v_j}{\sum_j a_{ij} e^{s \, q_i \cdot k_j}} $$
///
/// where $a_{ij} = 0$ if `mask [b, m]` (of any type) is zero at key `j`, or if the attention is causal and `j > i`, and else
/// $a_{ij} = 1$. A query without keys gives zeros, and neither it nor a masked key gets any gradient. So point clouds of
/// different sizes are padded to one length.
///
/// # Source
/// As [`attention`].
///
/// # Errors
/// As [`attention`].
///
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use halocast_kernels::{AttentionSpec, attention_masked};
/// let q = Tensor::zeros((1, 1, 1, 1), DType::F32, &Device::Cpu)?;
/// let v = Tensor::new(&[[[[1.0f32], [3.0], [80.0]]]], &Device::Cpu)?;
/// let mask = Tensor::new(&[[1u8, 1, 0]], &Device::Cpu)?;
/// let o = attention_masked(&q, &v, &v, Some(&mask), AttentionSpec { scale: 1.0, causal: false })?;
/// assert_eq!(o.flatten_all()?.to_vec1::<f32>()?, [2.0]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn attention_masked(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: Option<&Tensor>,
    spec: AttentionSpec,
) -> Result<Tensor> {
    masked("attention_masked", q, k, v, mask, spec)
}

fn masked(
    op: &'static str,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: Option<&Tensor>,
    spec: AttentionSpec,
) -> Result<Tensor> {
    let sizes = Sizes::new(op, q, k, v)?;
    let mask_of = (sizes.batch, sizes.heads / sizes.batch, sizes.m);
    if sizes.on_device(&[q, k, v]) && mask.is_none_or(|mask| mask.dims() == [sizes.batch, sizes.m]) {
        return Ok(device::attention(q, k, v, mask, spec)?);
    }
    let checked = Mask::new(op, mask, spec.causal, mask_of)?;
    if !on_cpu(&[q, k, v]) {
        return reference::attention_masked(q, k, v, mask, spec);
    }
    let (views, shape) = sizes.rows();
    let scale = spec.scale as f32;
    let op = Attention { sizes, scale, mask: checked, views, shape, kept: slot(&[q, k, v]) };
    Ok(autograd::apply(op, &[q, k, v])?)
}

/// [`attention`] without moving axes: `qkv [b, 3 heads d, ..]` holds the channels of all queries, then keys, then values,
/// head by head, as a 1x1 convolution gives them; the result is `[b, heads d, ..]`.
///
/// $$ o_{e x} = \sum_{x'} \mathrm{softmax}_{x'}\Big( s \sum_d q_{d x} k_{d x'} \Big) v_{e x'} $$
///
/// # Source
/// As [`attention`].
///
/// # Errors
/// Where `3 heads` does not divide the channels, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// let qkv = Tensor::ones((2, 3 * 4 * 8, 6, 6), DType::F32, &Device::Cpu)?;
/// let o = halocast_kernels::attention_map(&qkv, 4, 1.0)?;
/// assert_eq!(o.dims(), [2, 4 * 8, 6, 6]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn attention_map(qkv: &Tensor, heads: usize, scale: f64) -> Result<Tensor> {
    const OP: &str = "attention_map";
    let sizes = Sizes::of_map(OP, qkv, heads)?;
    if !on_cpu(&[qkv]) {
        if sizes.on_device(&[qkv]) {
            let spec = AttentionSpec { scale, causal: false };
            return Ok(device::of_map(qkv, heads, |q, k, v| device::attention(q, k, v, None, spec))?);
        }
        return reference::attention_map(qkv, heads, scale);
    }
    let (views, shape) = sizes.map(qkv);
    let mask = Mask::new(OP, None, false, (sizes.batch, heads, sizes.m))?;
    let op = Attention { sizes, scale: scale as f32, mask, views, shape, kept: slot(&[qkv]) };
    Ok(autograd::apply(op, &[qkv])?)
}

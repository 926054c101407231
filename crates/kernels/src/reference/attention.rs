//! Attention of both kinds, of tokens and of maps.

use candle_core::Tensor;

use super::softmax;
use crate::Result;
use crate::attention::AttentionSpec;

/// [`crate::attention`].
///
/// # Errors
/// As there.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64) -> Result<Tensor> {
    let scores = (q.contiguous()?.matmul(&k.transpose(2, 3)?.contiguous()?)? * scale)?;
    Ok(softmax(&scores, 3)?.matmul(&v.contiguous()?)?)
}

/// [`crate::attention_masked`].
///
/// # Errors
/// As there.
pub fn attention_masked(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: Option<&Tensor>,
    spec: AttentionSpec,
) -> Result<Tensor> {
    let scores = (q.contiguous()?.matmul(&k.transpose(2, 3)?.contiguous()?)? * spec.scale)?;
    let (n, m) = (scores.dim(2)?, scores.dim(3)?);
    let mut kept = Tensor::ones((1, 1, n, m), scores.dtype(), scores.device())?;
    if let Some(mask) = mask {
        let mask = mask.ne(0.0)?.to_dtype(scores.dtype())?;
        kept = kept.broadcast_mul(&mask.reshape(((), 1, 1, m))?)?;
    }
    if spec.causal {
        let index = |n: usize| Tensor::arange(0u32, n as u32, scores.device());
        let kept_keys = index(m)?.reshape((1, m))?.broadcast_le(&index(n)?.reshape((n, 1))?)?;
        kept = kept.broadcast_mul(&kept_keys.to_dtype(scores.dtype())?.reshape((1, 1, n, m))?)?;
    }
    // The largest of the scores that count, which no exponential then exceeds.
    let lowered = scores.detach().broadcast_add(&((&kept - 1.0)? * 1e30)?)?;
    let most = lowered.max_keepdim(3)?.maximum(-1e29)?;
    let scores = scores.broadcast_mul(&kept)?.broadcast_sub(&most)?.broadcast_mul(&kept)?;
    let e = scores.exp()?.broadcast_mul(&kept)?;
    // Where nothing counts the sum is zero, and so is the output.
    let sum = e.sum_keepdim(3)?;
    let empty = sum.eq(0.0)?.to_dtype(sum.dtype())?;
    Ok(e.broadcast_div(&(sum + empty)?)?.matmul(&v.contiguous()?)?)
}

/// [`crate::attention_map`].
///
/// # Errors
/// As there.
pub fn attention_map(qkv: &Tensor, heads: usize, scale: f64) -> Result<Tensor> {
    of_map(qkv, heads, |q, k, v| attention(q, k, v, scale))
}

/// [`crate::linear_attention`].
///
/// # Errors
/// As there.
pub fn linear_attention(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64) -> Result<Tensor> {
    let q = (softmax(q, 3)? * scale)?;
    let context = softmax(k, 2)?.transpose(2, 3)?.contiguous()?.matmul(&v.contiguous()?)?;
    Ok(q.contiguous()?.matmul(&context)?)
}

/// [`crate::linear_attention_map`].
///
/// # Errors
/// As there.
pub fn linear_attention_map(qkv: &Tensor, heads: usize, scale: f64) -> Result<Tensor> {
    of_map(qkv, heads, |q, k, v| linear_attention(q, k, v, scale))
}

/// An attention of the queries, keys and values that are the channels of a map.
fn of_map(
    qkv: &Tensor,
    heads: usize,
    attend: impl Fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let mut dims = qkv.dims().to_vec();
    let d = dims[1] / (3 * heads);
    let parts = qkv.reshape((dims[0], 3, heads, d, ()))?;
    let part = |i: usize| parts.narrow(1, i, 1)?.squeeze(1)?.transpose(2, 3)?.contiguous();
    let o = attend(&part(0)?, &part(1)?, &part(2)?)?;
    dims[1] /= 3;
    Ok(o.transpose(2, 3)?.contiguous()?.reshape(dims)?)
}

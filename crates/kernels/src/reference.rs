//! Every operation again, composed of Candle's own differentiable operations.
//!
//! Slow, plain, and of any float type and device: the test oracle of the kernels (in `f64`), and the path that the
//! operations of this crate take for tensors that are not `f32` on the CPU. On CUDA and Metal it is not verified by
//! the tests of this crate.
//!
//! Only operations whose gradients Candle 0.11 has right are used: its nearest-neighbour upsampling overwrites
//! gradients, and its fused softmax and layer norm have none.

mod fourier;
mod gather;
mod scan;

use candle_core::{D, DType, Tensor};
pub use fourier::{fft, irfft, rfft};
pub use gather::{gather_rows, index_select, scatter_add};
pub use scan::{causal_conv1d, selective_scan};

use crate::conv::{Conv2dSpec, Geometry, PadMode};
use crate::norm::Activation;
use crate::{Error, Result};

/// [`crate::conv2d`].
///
/// # Errors
/// As there.
pub fn conv2d(x: &Tensor, w: &Tensor, b: Option<&Tensor>, spec: Conv2dSpec) -> Result<Tensor> {
    let g = Geometry::conv(x.dims(), w.dims(), spec)?;
    let Conv2dSpec { stride, padding, pad_mode } = spec;
    let padded = match pad_mode {
        PadMode::Zeros => x.pad_with_zeros(2, padding, padding)?.pad_with_zeros(3, padding, padding)?,
        PadMode::Circular => wrap(&wrap(x, 2, padding)?, 3, padding)?,
    };
    // Without the rows and columns that no tap reads: Candle's gradient fails where they differ in number.
    let (rows, columns) = ((g.oh - 1) * stride + g.kh, (g.ow - 1) * stride + g.kw);
    let x = padded.narrow(2, 0, rows)?.narrow(3, 0, columns)?.contiguous()?;
    add_bias(x.conv2d(w, 0, stride, 1, 1)?, b)
}

/// [`crate::conv_transpose2d`].
///
/// # Errors
/// As there.
pub fn conv_transpose2d(x: &Tensor, w: &Tensor, b: Option<&Tensor>, spec: Conv2dSpec) -> Result<Tensor> {
    let g = Geometry::transposed(x.dims(), w.dims(), spec)?;
    let y = match spec.pad_mode {
        PadMode::Zeros => x.conv_transpose2d(w, spec.padding, 0, spec.stride, 1)?,
        PadMode::Circular => {
            let y = x.conv_transpose2d(w, 0, 0, spec.stride, 1)?;
            fold(&fold(&y, 2, g.h, spec.padding)?, 3, g.w, spec.padding)?
        }
    };
    add_bias(y, b)
}

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
    match activation {
        Activation::None => Ok(y),
        Activation::Silu => silu(&y),
    }
}

/// [`crate::add_channel`].
///
/// # Errors
/// As there.
pub fn add_channel(x: &Tensor, t: &Tensor) -> Result<Tensor> {
    let mut dims = t.dims().to_vec();
    dims.resize(x.rank(), 1);
    Ok(x.broadcast_add(&t.reshape(dims)?)?)
}

/// [`crate::concat_channels`].
///
/// # Errors
/// As there.
pub fn concat_channels(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Ok(Tensor::cat(&[a, b], 1)?)
}

/// [`crate::linear`].
///
/// # Errors
/// As there.
pub fn linear(x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    let inputs = x.dim(D::Minus1)?;
    let y = x.reshape(((), inputs))?.matmul(&w.t()?)?;
    let mut dims = x.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = w.dim(0)?;
    }
    let y = y.reshape(dims)?;
    Ok(match b {
        Some(b) => y.broadcast_add(b)?,
        None => y,
    })
}

/// [`crate::silu`].
///
/// # Errors
/// As there.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    Ok(x.silu()?)
}

/// [`crate::gelu`].
///
/// # Errors
/// As there.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    Ok(x.gelu_erf()?)
}

/// [`crate::attention`].
///
/// # Errors
/// As there.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64) -> Result<Tensor> {
    let scores = (q.contiguous()?.matmul(&k.transpose(2, 3)?.contiguous()?)? * scale)?;
    Ok(softmax(&scores, 3)?.matmul(&v.contiguous()?)?)
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
    let mut dims = qkv.dims().to_vec();
    let d = dims[1] / (3 * heads);
    let parts = qkv.reshape((dims[0], 3, heads, d, ()))?;
    let part = |i: usize| parts.narrow(1, i, 1)?.squeeze(1)?.transpose(2, 3)?.contiguous();
    let o = linear_attention(&part(0)?, &part(1)?, &part(2)?, scale)?;
    dims[1] /= 3;
    Ok(o.transpose(2, 3)?.contiguous()?.reshape(dims)?)
}

/// [`crate::upsample_nearest2x`].
///
/// # Errors
/// As there.
pub fn upsample_nearest2x(x: &Tensor) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    let x = x.reshape((n, c, h, 1, w, 1))?.broadcast_as((n, c, h, 2, w, 2))?;
    Ok(x.reshape((n, c, 2 * h, 2 * w))?)
}

/// [`crate::huber_loss`].
///
/// # Errors
/// As there.
pub fn huber_loss(prediction: &Tensor, target: &Tensor, delta: f64) -> Result<Tensor> {
    let error = (prediction - target)?.abs()?;
    // With m = min(e, delta) both branches are m (e - m / 2).
    let m = error.clamp(0.0, delta)?;
    Ok((&m * (error - (&m * 0.5)?)?)?.mean_all()?)
}

/// [`crate::mse_loss`].
///
/// # Errors
/// As there.
pub fn mse_loss(prediction: &Tensor, target: &Tensor) -> Result<Tensor> {
    Ok((prediction - target)?.sqr()?.mean_all()?)
}

/// A copy of a tensor in double precision on the same device, for use as an oracle.
///
/// # Errors
/// Where Candle fails.
pub fn to_f64(x: &Tensor) -> Result<Tensor> {
    Ok(x.to_dtype(DType::F64)?)
}

fn add_bias(y: Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    match b {
        Some(b) => Ok(y.broadcast_add(&b.reshape((1, (), 1, 1))?)?),
        None => Ok(y),
    }
}

fn softmax(x: &Tensor, dim: usize) -> Result<Tensor> {
    let e = x.broadcast_sub(&x.detach().max_keepdim(dim)?)?.exp()?;
    Ok(e.broadcast_div(&e.sum_keepdim(dim)?)?)
}

/// Continues a periodic axis by `padding` at both ends.
fn wrap(x: &Tensor, dim: usize, padding: usize) -> Result<Tensor> {
    let size = x.dim(dim)?;
    if size == 0 {
        return Err(Error::shape("conv2d", "x", "of at least one pixel", x.dims()));
    }
    let copies = padding.div_ceil(size);
    let tiled = Tensor::cat(&vec![x; 2 * copies + 1], dim)?;
    Ok(tiled.narrow(dim, copies * size - padding, size + 2 * padding)?)
}

/// The adjoint of [`wrap`] with room on the right: adds element `i` of an axis to `(i - padding) mod size`.
fn fold(x: &Tensor, dim: usize, size: usize, padding: usize) -> Result<Tensor> {
    let left = (size - padding % size) % size;
    let turns = (left + x.dim(dim)?).div_ceil(size);
    let padded = x.pad_with_zeros(dim, left, turns * size - left - x.dim(dim)?)?;
    let mut sum = padded.narrow(dim, 0, size)?;
    for turn in 1..turns {
        sum = (sum + padded.narrow(dim, turn * size, size)?)?;
    }
    Ok(sum)
}

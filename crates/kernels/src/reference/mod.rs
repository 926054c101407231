//! Every operation again, composed of Candle's own differentiable operations.
//!
//! Slow, plain, and of any float type and device: the test oracle of the kernels (in `f64`), and the path that the
//! operations of this crate take for tensors that have no kernel: of other types, or on a CUDA or Metal device where
//! there is none. On such devices it is not verified by the tests of this crate.
//!
//! Only operations whose gradients Candle 0.11 has right are used: its nearest-neighbour upsampling overwrites
//! gradients, and its fused softmax and layer norm have none.

mod attention;
mod convolution;
mod fourier;
mod gather;
mod norm;
mod resample;
mod scan;

pub use attention::{attention, attention_map, attention_masked, linear_attention, linear_attention_map};
use candle_core::{D, DType, Tensor};
pub use convolution::{conv_transpose1d, conv_transpose2d, conv_transpose3d, conv1d, conv2d, conv3d};
pub(crate) use convolution::{convolve, convolve_transposed};
pub use fourier::{fft, irfft, rfft};
pub use gather::{gather_rows, index_select, scatter_add};
pub use norm::{batch_norm, group_norm, layer_norm, modulated_norm, rms_norm};
pub use resample::{
    average_pool, max_pool2d, pixel_shuffle, pixel_unshuffle, upsample_linear, upsample_nearest,
    upsample_nearest2x,
};
pub use scan::{causal_conv1d, selective_scan};

use crate::Result;
use crate::activation::Activation;

pub use crate::points::reference as points;

/// [`crate::activate`].
///
/// # Errors
/// As there.
pub fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    Ok(match activation {
        Activation::None => x.clone(),
        Activation::Silu => x.silu()?,
        Activation::Gelu => x.gelu_erf()?,
        Activation::Relu => x.relu()?,
        // The negative part is x less its positive part.
        Activation::LeakyRelu(slope) => {
            let positive = x.relu()?;
            (&positive + ((x - &positive)? * f64::from(slope))?)?
        }
        Activation::Tanh => x.tanh()?,
        Activation::Sigmoid => sigmoid(x)?,
        // |x| as a sum of positive parts, whose gradients Candle has right.
        Activation::Softplus => {
            let size = (x.relu()? + x.neg()?.relu()?)?;
            (x.relu()? + (size.neg()?.exp()? + 1.0)?.log()?)?
        }
        Activation::Exp => x.exp()?,
    })
}

/// [`crate::silu`].
///
/// # Errors
/// As there.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    activate(x, Activation::Silu)
}

/// [`crate::gelu`].
///
/// # Errors
/// As there.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    activate(x, Activation::Gelu)
}

fn sigmoid(x: &Tensor) -> Result<Tensor> {
    Ok(((x.neg()?.exp()? + 1.0)?).recip()?)
}

/// [`crate::add`].
///
/// # Errors
/// As there.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Ok((a + b)?)
}

/// [`crate::softmax`].
///
/// # Errors
/// As there.
pub fn softmax_last(x: &Tensor) -> Result<Tensor> {
    softmax(x, x.rank() - 1)
}

/// [`crate::scale_shift_channel`].
///
/// # Errors
/// As there.
pub fn scale_shift_channel(x: &Tensor, scale: &Tensor, shift: &Tensor) -> Result<Tensor> {
    let mut dims = scale.dims().to_vec();
    dims.resize(x.rank(), 1);
    let y = x.broadcast_mul(&(scale.reshape(dims.as_slice())? + 1.0)?)?;
    Ok(y.broadcast_add(&shift.reshape(dims)?)?)
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

fn softmax(x: &Tensor, dim: usize) -> Result<Tensor> {
    let e = x.broadcast_sub(&x.detach().max_keepdim(dim)?)?.exp()?;
    Ok(e.broadcast_div(&e.sum_keepdim(dim)?)?)
}

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

use crate::activation::Activation;
use crate::attention::AttentionSpec;
use crate::conv::{ConvSpec, PadMode, Sizes, source};
use crate::{Error, Result};

pub use crate::points::reference as points;

macro_rules! convolutions {
    ($($axes:literal $conv:ident $transposed:ident),*) => {$(
        #[doc = concat!("[`crate::", stringify!($conv), "`].")]
        ///
        /// # Errors
        /// As there.
        pub fn $conv(x: &Tensor, w: &Tensor, b: Option<&Tensor>, spec: ConvSpec) -> Result<Tensor> {
            convolve(&Sizes::conv(stringify!($conv), $axes, x.dims(), w.dims(), spec)?, x, w, b)
        }

        #[doc = concat!("[`crate::", stringify!($transposed), "`].")]
        ///
        /// # Errors
        /// As there.
        pub fn $transposed(x: &Tensor, w: &Tensor, b: Option<&Tensor>, spec: ConvSpec) -> Result<Tensor> {
            let sizes = Sizes::transposed(stringify!($transposed), $axes, x.dims(), w.dims(), spec)?;
            convolve_transposed(&sizes, x, w, b)
        }
    )*};
}
convolutions!(1 conv1d conv_transpose1d, 2 conv2d conv_transpose2d, 3 conv3d conv_transpose3d);

/// A convolution of any sizes: Candle's own where it has it, else a sum over taps of matrix products.
pub(crate) fn convolve(s: &Sizes, x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    let Some(g) = s.plane().filter(|_| s.axes == 2 && s.n > 0) else { return by_taps(s, x, w, b) };
    let ConvSpec { stride, padding, pad_mode, .. } = g.spec;
    let padded = match pad_mode {
        PadMode::Circular => wrap(&wrap(x, 2, padding)?, 3, padding)?,
        _ => x.pad_with_zeros(2, padding, padding)?.pad_with_zeros(3, padding, padding)?,
    };
    // Without the rows and columns that no tap reads: Candle's gradient fails where they differ in number.
    let (rows, columns) = ((g.oh - 1) * stride + g.kh, (g.ow - 1) * stride + g.kw);
    let x = padded.narrow(2, 0, rows)?.narrow(3, 0, columns)?.contiguous()?;
    add_bias(x.conv2d(w, 0, stride, 1, 1)?, b)
}

/// The adjoint of [`convolve`].
pub(crate) fn convolve_transposed(s: &Sizes, x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    let Some(g) = s.plane().filter(|_| s.axes == 2 && s.n > 0) else {
        return by_taps_transposed(s, x, w, b);
    };
    let ConvSpec { stride, padding, pad_mode, .. } = g.spec;
    let y = match pad_mode {
        PadMode::Circular => {
            let y = x.conv_transpose2d(w, 0, 0, stride, 1)?;
            fold(&fold(&y, 2, g.h, padding)?, 3, g.w, padding)?
        }
        _ => {
            let full = |out: usize, kernel: usize| (out - 1) * stride + kernel;
            let more = (g.h + 2 * padding).saturating_sub(full(g.oh, g.kh));
            x.conv_transpose2d(w, padding, more, stride, 1)?
        }
    };
    add_bias(y, b)
}

/// The taps of a kernel, `[z, y, x]`.
fn taps(s: &Sizes) -> impl Iterator<Item = [usize; 3]> {
    let [kd, kh, kw] = s.kernel;
    (0..kd * kh * kw).map(move |tap| [tap / (kh * kw), tap / kw % kh, tap % kw])
}

/// One tap of the weights of one group, `[co / groups, ci / groups]`.
fn tap_weights(s: &Sizes, w: &Tensor, group: usize, [z, y, x]: [usize; 3]) -> Result<Tensor> {
    let (outputs, inputs) = (s.co / s.groups, s.ci / s.groups);
    let tap = (z * s.kernel[1] + y) * s.kernel[2] + x;
    let w = w.narrow(0, group * outputs, outputs)?.reshape((outputs, inputs, s.window()))?;
    Ok(w.narrow(2, tap, 1)?.squeeze(2)?)
}

/// A convolution by its definition: for each tap, the pixels that it reads times its weights.
fn by_taps(s: &Sizes, x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    let (inputs, volume) = (s.ci / s.groups, s.out_volume());
    let [d, h, width] = s.size;
    // A pixel of zeros behind every axis stands for what lies beyond the edge.
    let mut padded = x.reshape((s.n, s.ci, d, h, width))?;
    for axis in 2..5 {
        padded = padded.pad_with_zeros(axis, 0, 1)?;
    }
    let mut groups: Vec<Option<Tensor>> = vec![None; s.groups];
    for tap in taps(s) {
        let mut read = padded.clone();
        for axis in 0..3 {
            let places: Vec<u32> = (0..s.out[axis])
                .map(|o| {
                    let at = o * s.stride[axis] + tap[axis];
                    source(at, s.padding[axis], s.size[axis], s.mode).unwrap_or(s.size[axis]) as u32
                })
                .collect();
            let places = Tensor::from_vec(places, s.out[axis], x.device())?;
            read = read.index_select(&places, axis + 2)?;
        }
        let read = read.reshape((s.n, s.ci, volume))?;
        for (group, sum) in groups.iter_mut().enumerate() {
            let read = read.narrow(1, group * inputs, inputs)?.contiguous()?;
            let product = tap_weights(s, w, group, tap)?.contiguous()?.broadcast_matmul(&read)?;
            *sum = Some(match sum.take() {
                Some(sum) => (sum + product)?,
                None => product,
            });
        }
    }
    let groups: Vec<Tensor> = groups.into_iter().flatten().collect();
    add_bias(Tensor::cat(&groups, 1)?.reshape(s.out_shape())?, b)
}

/// The adjoint of [`by_taps`]: for each tap, its weights times the pixels, `stride` apart and displaced by the tap.
fn by_taps_transposed(s: &Sizes, x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    let outputs = s.co / s.groups;
    let x = x.reshape((s.n, s.co, s.out_volume()))?;
    let mut groups = Vec::with_capacity(s.groups);
    for group in 0..s.groups {
        let x = x.narrow(1, group * outputs, outputs)?.contiguous()?;
        let mut sum: Option<Tensor> = None;
        for tap in taps(s) {
            let product = tap_weights(s, w, group, tap)?.t()?.contiguous()?.broadcast_matmul(&x)?;
            let mut full = product.reshape((s.n, s.ci / s.groups, s.out[0], s.out[1], s.out[2]))?;
            for axis in 0..3 {
                full = spread(&full, axis + 2, s.stride[axis])?;
                full = full.pad_with_zeros(axis + 2, tap[axis], s.kernel[axis] - 1 - tap[axis])?;
            }
            sum = Some(match sum {
                Some(sum) => (sum + full)?,
                None => full,
            });
        }
        groups.extend(sum);
    }
    let mut y = Tensor::cat(&groups, 1)?;
    for axis in 0..3 {
        let (size, padding) = (s.size[axis], s.padding[axis]);
        y = if s.mode == PadMode::Circular {
            fold(&y, axis + 2, size, padding)?
        } else {
            let more = (size + 2 * padding).saturating_sub(y.dim(axis + 2)?);
            y.pad_with_zeros(axis + 2, 0, more)?.narrow(axis + 2, padding, size)?
        };
    }
    add_bias(y.reshape(s.in_shape())?, b)
}

/// The elements of an axis with `stride - 1` zeros between them.
fn spread(x: &Tensor, axis: usize, stride: usize) -> Result<Tensor> {
    let size = x.dim(axis)?;
    let mut dims = x.dims().to_vec();
    let x = x.unsqueeze(axis + 1)?.pad_with_zeros(axis + 1, 0, stride - 1)?;
    dims[axis] = size * stride;
    Ok(x.reshape(dims)?.narrow(axis, 0, (size - 1) * stride + 1)?)
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
    activate(&y, activation)
}

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

fn standardised(rows: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = rows.broadcast_sub(&rows.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    Ok(centred.broadcast_div(&(variance + eps)?.sqrt()?)?)
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

/// [`crate::upsample_nearest2x`].
///
/// # Errors
/// As there.
pub fn upsample_nearest2x(x: &Tensor) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    let x = x.reshape((n, c, h, 1, w, 1))?.broadcast_as((n, c, h, 2, w, 2))?;
    Ok(x.reshape((n, c, 2 * h, 2 * w))?)
}

/// [`crate::upsample_nearest`].
///
/// # Errors
/// As there.
pub fn upsample_nearest(x: &Tensor, factor: usize) -> Result<Tensor> {
    along_axes(x, |x, outer, len, inner| {
        let x = x.reshape((outer, len, 1, inner))?.broadcast_as((outer, len, factor, inner))?;
        Ok(x.reshape((outer, len * factor, inner))?)
    })
}

/// [`crate::average_pool`].
///
/// # Errors
/// As there.
pub fn average_pool(x: &Tensor, size: usize) -> Result<Tensor> {
    along_axes(x, |x, outer, len, inner| {
        let x = x.narrow(1, 0, len / size * size)?.contiguous()?.reshape((outer, len / size, size, inner))?;
        Ok(x.mean(2)?)
    })
}

/// [`crate::upsample_linear`].
///
/// # Errors
/// As there.
pub fn upsample_linear(x: &Tensor, factor: usize) -> Result<Tensor> {
    along_axes(x, |x, _, len, _| {
        let position = |i: usize| ((i as f64 + 0.5) / factor as f64 - 0.5).max(0.0);
        let rows = len * factor;
        let below: Vec<u32> = (0..rows).map(|i| position(i) as u32).collect();
        let above: Vec<u32> = below.iter().map(|&i| (i + 1).min(len as u32 - 1)).collect();
        let weights: Vec<f64> = (0..rows).map(|i| position(i).fract()).collect();
        let weights = Tensor::from_vec(weights, (1, rows, 1), x.device())?.to_dtype(x.dtype())?;
        let take = |index: Vec<u32>| x.index_select(&Tensor::from_vec(index, rows, x.device())?, 1);
        let (below, above) = (take(below)?, take(above)?);
        Ok((&below + (above - &below)?.broadcast_mul(&weights)?)?)
    })
}

/// [`crate::pixel_shuffle`].
///
/// # Errors
/// As there.
pub fn pixel_shuffle(x: &Tensor, factor: usize) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    let c = c / (factor * factor);
    let x = x.reshape(vec![n, c, factor, factor, h, w])?.permute(vec![0, 1, 4, 2, 5, 3])?.contiguous()?;
    Ok(x.reshape((n, c, h * factor, w * factor))?)
}

/// [`crate::pixel_unshuffle`].
///
/// # Errors
/// As there.
pub fn pixel_unshuffle(x: &Tensor, factor: usize) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    let (h, w) = (h / factor, w / factor);
    let x = x.reshape(vec![n, c, h, factor, w, factor])?.permute(vec![0, 1, 3, 5, 2, 4])?.contiguous()?;
    Ok(x.reshape((n, c * factor * factor, h, w))?)
}

/// [`crate::max_pool2d`].
///
/// # Errors
/// As there.
pub fn max_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: usize) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    // One index a window and tap, found outside the graph; the numbers are gathered within it.
    let (oh, ow) = ((h + 2 * padding - kernel) / stride + 1, (w + 2 * padding - kernel) / stride + 1);
    let values = x.detach().to_dtype(DType::F64)?.to_device(&candle_core::Device::Cpu)?;
    let values = values.reshape((n * c, h * w))?.to_vec2::<f64>()?;
    let mut index = Vec::with_capacity(n * c * oh * ow);
    for plane in &values {
        for (i, j) in (0..oh).flat_map(|i| (0..ow).map(move |j| (i, j))) {
            let rows = (i * stride).saturating_sub(padding)..(i * stride + kernel - padding).min(h);
            let columns = (j * stride).saturating_sub(padding)..(j * stride + kernel - padding).min(w);
            let taps = rows.flat_map(|y| columns.clone().map(move |x| y * w + x));
            let best = taps.reduce(|a, b| if plane[b] > plane[a] { b } else { a });
            index.push(best.unwrap_or(0) as u32);
        }
    }
    let index = Tensor::from_vec(index, (n * c, oh * ow), x.device())?;
    Ok(x.reshape((n * c, h * w))?.gather(&index, 1)?.reshape((n, c, oh, ow))?)
}

/// Applies a map of `[outer, axis, inner]` along every axis after the first two.
fn along_axes(x: &Tensor, map: impl Fn(&Tensor, usize, usize, usize) -> Result<Tensor>) -> Result<Tensor> {
    let mut x = x.clone();
    for axis in 2..x.rank() {
        let mut dims = x.dims().to_vec();
        let (outer, inner) = (dims[..axis].iter().product(), dims[axis + 1..].iter().product());
        let y = map(&x.contiguous()?.reshape((outer, dims[axis], inner))?, outer, dims[axis], inner)?;
        dims[axis] = y.dim(1)?;
        x = y.reshape(dims)?;
    }
    Ok(x)
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
        Some(b) => {
            let mut dims = vec![1; y.rank()];
            dims[1] = b.elem_count();
            Ok(y.broadcast_add(&b.reshape(dims)?)?)
        }
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

//! Convolution and its transpose.

use candle_core::Tensor;

use crate::conv::{ConvSpec, PadMode, Sizes, source};
use crate::{Error, Result};

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

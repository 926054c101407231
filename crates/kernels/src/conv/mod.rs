//! Convolution over lines, maps and cubes and its transpose: zero-padded, periodic or reflected, in groups.

mod depthwise;
mod direct;
mod direct_weight;
mod geometry;
mod lowering;
mod outer;
mod planar;
mod pointwise;
mod sizes;
mod sums;
mod winograd;

use candle_core::{Shape, Tensor};

pub(crate) use geometry::source;
pub use geometry::{Conv2dSpec, ConvSpec, PadMode};
pub(crate) use sizes::Sizes;
pub(crate) use sums::{channel_sums, sum, sum_parts};

use crate::autograd::{self, Gradient, Op};
use crate::memory::on_cpu;
use crate::{Error, Result, reference};

/// Cross-correlation of lines with a kernel, [`conv2d`] over one axis: `x [n, ci, l]`, `w [co, ci / groups, k]`, `b [co]`
/// give `[n, co, (l + 2P - k)/s + 1]`.
///
/// # Errors
/// Where a shape does not fit, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_kernels::{ConvSpec, PadMode, conv1d};
/// let x = Tensor::new(&[[[1f32, 2.0, 4.0]]], &Device::Cpu)?;
/// let w = Tensor::new(&[[[1f32, 1.0, 1.0]]], &Device::Cpu)?;
/// let spec = ConvSpec { padding: 1, pad_mode: PadMode::Reflect, ..Default::default() };
/// assert_eq!(conv1d(&x, &w, None, spec)?.get(0)?.to_vec2::<f32>()?, [[5.0, 7.0, 8.0]]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn conv1d(x: &Tensor, w: &Tensor, b: Option<&Tensor>, spec: ConvSpec) -> Result<Tensor> {
    conv("conv1d", 1, x, w, b, spec)
}

/// Cross-correlation of maps with a kernel, as in every deep-learning library:
///
/// $$ y_{n o y x} = b_o + \sum_{i,p,q} w_{o i p q} \, x_{n, i, s y + p - P, s x + q - P} $$
///
/// with stride `s` and padding `P`; beyond the edge `x` is zero, periodic or reflected ([`PadMode`]). With `groups` the
/// channels are as many parts, each with its own outputs.
///
/// `x [n, ci, h, w]`, `w [co, ci / groups, kh, kw]`, `b [co]` give
/// `[n, co, (h + 2P - kh)/s + 1, (w + 2P - kw)/s + 1]`.
///
/// # Errors
/// Where a shape does not fit, the stride is zero, `groups` divides not both numbers of channels, a reflected padding is not
/// smaller than the map, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_kernels::{Conv2dSpec, conv2d};
/// let x = Tensor::ones((1, 1, 4, 4), candle_core::DType::F32, &Device::Cpu)?;
/// let w = Tensor::ones((1, 1, 3, 3), candle_core::DType::F32, &Device::Cpu)?;
/// let y = conv2d(&x, &w, None, Conv2dSpec { padding: 1, ..Default::default() })?;
/// assert_eq!(y.get(0)?.get(0)?.get(0)?.to_vec1::<f32>()?, [4.0, 6.0, 6.0, 4.0]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn conv2d(x: &Tensor, w: &Tensor, b: Option<&Tensor>, spec: Conv2dSpec) -> Result<Tensor> {
    conv("conv2d", 2, x, w, b, spec)
}

/// Cross-correlation of cubes with a kernel, [`conv2d`] over three axes: `x [n, ci, d, h, w]`,
/// `w [co, ci / groups, kd, kh, kw]`, `b [co]` give `[n, co, (d + 2P - kd)/s + 1, ..]`.
///
/// # Errors
/// Where a shape does not fit, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use halocast_kernels::{ConvSpec, PadMode, conv3d};
/// let x = Tensor::ones((1, 1, 4, 4, 4), DType::F32, &Device::Cpu)?;
/// let w = Tensor::ones((2, 1, 3, 3, 3), DType::F32, &Device::Cpu)?;
/// let spec = ConvSpec { padding: 1, pad_mode: PadMode::Circular, ..Default::default() };
/// let y = conv3d(&x, &w, None, spec)?;
/// assert_eq!(y.dims(), [1, 2, 4, 4, 4]);
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [27.0; 128]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn conv3d(x: &Tensor, w: &Tensor, b: Option<&Tensor>, spec: ConvSpec) -> Result<Tensor> {
    conv("conv3d", 3, x, w, b, spec)
}

/// The adjoint of [`conv1d`], [`conv_transpose2d`] over one axis: `x [n, ci, l]`, `w [ci, co / groups, k]`, `b [co]`.
///
/// # Errors
/// As [`conv_transpose2d`].
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_kernels::{ConvSpec, conv_transpose1d};
/// let x = Tensor::new(&[[[1f32, 2.0]]], &Device::Cpu)?;
/// let w = Tensor::new(&[[[1f32, 10.0, 100.0]]], &Device::Cpu)?;
/// let spec = ConvSpec { stride: 2, ..Default::default() };
/// let y = conv_transpose1d(&x, &w, None, spec)?;
/// assert_eq!(y.get(0)?.to_vec2::<f32>()?, [[1.0, 10.0, 102.0, 20.0, 200.0]]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn conv_transpose1d(x: &Tensor, w: &Tensor, b: Option<&Tensor>, spec: ConvSpec) -> Result<Tensor> {
    transposed("conv_transpose1d", 1, x, w, b, spec)
}

/// The adjoint of [`conv2d`]: `x [n, ci, h, w]`, `w [ci, co / groups, kh, kw]`, `b [co]` give
/// `[n, co, (h - 1) s + kh - 2P + Q, (w - 1) s + kw - 2P + Q]` between zeros, with `Q` the output padding, and
/// `[n, co, s h, s w]` on a torus, so that
///
/// $$ \langle \mathrm{conv}(u), x \rangle = \langle u, \mathrm{conv}^\mathsf{T}(x) \rangle $$
///
/// for every `u` of the output's shape (without bias).
///
/// # Errors
/// Where a shape does not fit or the padding is to be reflected; on a torus also where not `1 <= kernel - 2P <= s`, for
/// then no convolution takes a torus of `s h` pixels to one of `h`.
///
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use halocast_kernels::{Conv2dSpec, conv_transpose2d};
/// let x = Tensor::ones((1, 1, 4, 4), DType::F32, &Device::Cpu)?;
/// let w = Tensor::ones((1, 2, 4, 4), DType::F32, &Device::Cpu)?;
/// let y = conv_transpose2d(&x, &w, None, Conv2dSpec { stride: 2, padding: 1, ..Default::default() })?;
/// assert_eq!(y.dims(), [1, 2, 8, 8]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn conv_transpose2d(x: &Tensor, w: &Tensor, b: Option<&Tensor>, spec: Conv2dSpec) -> Result<Tensor> {
    transposed("conv_transpose2d", 2, x, w, b, spec)
}

/// The adjoint of [`conv3d`], [`conv_transpose2d`] over three axes: `x [n, ci, d, h, w]`,
/// `w [ci, co / groups, kd, kh, kw]`, `b [co]`.
///
/// # Errors
/// As [`conv_transpose2d`].
///
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use halocast_kernels::{ConvSpec, conv_transpose3d};
/// let x = Tensor::ones((1, 2, 4, 4, 4), DType::F32, &Device::Cpu)?;
/// let w = Tensor::ones((2, 3, 3, 3, 3), DType::F32, &Device::Cpu)?;
/// let spec = ConvSpec { stride: 2, padding: 1, output_padding: 1, ..Default::default() };
/// assert_eq!(conv_transpose3d(&x, &w, None, spec)?.dims(), [1, 3, 8, 8, 8]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn conv_transpose3d(x: &Tensor, w: &Tensor, b: Option<&Tensor>, spec: ConvSpec) -> Result<Tensor> {
    transposed("conv_transpose3d", 3, x, w, b, spec)
}

fn conv(
    name: &'static str,
    axes: usize,
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    spec: ConvSpec,
) -> Result<Tensor> {
    let sizes = Sizes::conv(name, axes, x.dims(), w.dims(), spec)?;
    check_bias(name, b, sizes.co)?;
    if !on_cpu(&[&[x, w], b.as_slice()].concat()) {
        return reference::convolve(&sizes, x, w, b);
    }
    apply(x, w, b, Convolution { name, sizes, transposed: false })
}

fn transposed(
    name: &'static str,
    axes: usize,
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    spec: ConvSpec,
) -> Result<Tensor> {
    let sizes = Sizes::transposed(name, axes, x.dims(), w.dims(), spec)?;
    check_bias(name, b, sizes.ci)?;
    if !on_cpu(&[&[x, w], b.as_slice()].concat()) {
        return reference::convolve_transposed(&sizes, x, w, b);
    }
    apply(x, w, b, Convolution { name, sizes, transposed: true })
}

fn check_bias(op: &'static str, b: Option<&Tensor>, channels: usize) -> Result<()> {
    match b {
        Some(b) if b.dims() != [channels] => Err(Error::shape(op, "bias", format!("[{channels}]"), b.dims())),
        _ => Ok(()),
    }
}

fn apply(x: &Tensor, w: &Tensor, b: Option<&Tensor>, op: Convolution) -> Result<Tensor> {
    Ok(autograd::apply(op, &[&[x, w], b.as_slice()].concat())?)
}

/// `y = conv(x, w) + b` by the way that the sizes ask for.
fn forward(x: &[f32], w: &[f32], b: Option<&[f32]>, s: &Sizes) -> Vec<f32> {
    if s.n == 0 {
        return Vec::new();
    }
    match s.plane() {
        Some(g) => planar::forward(x, w, b, &g),
        None if s.depthwise() => depthwise::forward(x, w, b, s),
        None => lowering::forward(x, w, b, s),
    }
}

fn backward_input(dy: &[f32], w: &[f32], b: Option<&[f32]>, s: &Sizes) -> Vec<f32> {
    if s.n == 0 {
        return Vec::new();
    }
    match s.plane() {
        Some(g) => planar::backward_input(dy, w, b, &g),
        None if s.depthwise() => depthwise::backward_input(dy, w, b, s),
        None => lowering::backward_input(dy, w, b, s),
    }
}

fn backward_weight(x: &[f32], dy: &[f32], s: &Sizes) -> Vec<f32> {
    if s.n == 0 {
        return vec![0.0; s.co * s.ci / s.groups * s.window()];
    }
    match s.plane() {
        Some(g) => planar::backward_weight(x, dy, &g),
        None if s.depthwise() => depthwise::backward_weight(x, dy, s),
        None => lowering::backward_weight(x, dy, s),
    }
}

/// A convolution, or with `transposed` the adjoint of the convolution of these sizes.
struct Convolution {
    name: &'static str,
    sizes: Sizes,
    transposed: bool,
}

impl Op for Convolution {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let s = &self.sizes;
        let (x, w, b) = (inputs[0], inputs[1], inputs.get(2).copied());
        Ok(if self.transposed {
            (backward_input(x, w, b, s), s.in_shape().into())
        } else {
            (forward(x, w, b, s), s.out_shape().into())
        })
    }

    fn backward(&self, inputs: &[&[f32]], dy: &[f32], wanted: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let s = &self.sizes;
        let (x, w) = (inputs[0], inputs[1]);
        let mut grads = vec![
            Gradient::when(wanted[0], || {
                if self.transposed { forward(dy, w, None, s) } else { backward_input(dy, w, None, s) }
            }),
            Gradient::when(wanted[1], || {
                if self.transposed { backward_weight(dy, x, s) } else { backward_weight(x, dy, s) }
            }),
        ];
        if let Some(&wanted) = wanted.get(2) {
            let (channels, volume) =
                if self.transposed { (s.ci, s.in_volume()) } else { (s.co, s.out_volume()) };
            grads.push(Gradient::when(wanted, || channel_sums(dy, s.n, channels, volume)));
        }
        Ok(grads)
    }

    fn keeps(&self, index: usize) -> bool {
        index < 2
    }
}

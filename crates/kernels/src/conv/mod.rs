//! Two-dimensional convolution and its transpose, zero-padded or periodic.

mod direct;
mod direct_weight;
mod geometry;
mod pointwise;
mod sums;
mod winograd;

use candle_core::{Shape, Tensor};

pub(crate) use geometry::Geometry;
pub use geometry::{Conv2dSpec, PadMode};
pub(crate) use sums::{channel_sums, sum, sum_parts};

use crate::autograd::{self, Gradient, Op};
use crate::memory::on_cpu;
use crate::{Error, Result, reference};

/// Cross-correlation of maps with a kernel, as in every deep-learning library:
///
/// $$ y_{n o y x} = b_o + \sum_{i,p,q} w_{o i p q} \, x_{n, i, s y + p - P, s x + q - P} $$
///
/// with stride `s` and padding `P`; beyond the edge `x` is zero or periodic ([`PadMode`]).
///
/// `x [n, ci, h, w]`, `w [co, ci, kh, kw]`, `b [co]` give `[n, co, (h + 2P - kh)/s + 1, (w + 2P - kw)/s + 1]`.
///
/// # Errors
/// Where a shape does not fit, the stride is zero, or Candle fails.
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
    let g = Geometry::conv(x.dims(), w.dims(), spec)?;
    check_bias("conv2d", b, g.co)?;
    if !on_cpu(&[&[x, w], b.as_slice()].concat()) {
        return reference::conv2d(x, w, b, spec);
    }
    apply(x, w, b, Convolution { g, transposed: false })
}

/// The adjoint of [`conv2d`]: `x [n, ci, h, w]`, `w [ci, co, kh, kw]`, `b [co]` give
/// `[n, co, (h - 1) s + kh - 2P, (w - 1) s + kw - 2P]` between zeros, and `[n, co, s h, s w]` on a torus, so that
///
/// $$ \langle \mathrm{conv}(u), x \rangle = \langle u, \mathrm{conv}^\mathsf{T}(x) \rangle $$
///
/// for every `u` of the output's shape (without bias).
///
/// # Errors
/// Where a shape does not fit; on a torus also where not `1 <= kernel - 2P <= s`, for then no convolution takes a torus
/// of `s h` pixels to one of `h`.
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
    let g = Geometry::transposed(x.dims(), w.dims(), spec)?;
    check_bias("conv_transpose2d", b, g.ci)?;
    if !on_cpu(&[&[x, w], b.as_slice()].concat()) {
        return reference::conv_transpose2d(x, w, b, spec);
    }
    apply(x, w, b, Convolution { g, transposed: true })
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

/// `y = conv(x, w) + b` by the faster algorithm.
fn forward(x: &[f32], w: &[f32], b: Option<&[f32]>, g: &Geometry) -> Vec<f32> {
    if winograd::fits(g) {
        winograd::forward(x, w, b, g)
    } else if g.pointwise() {
        pointwise::forward(x, w, b, g)
    } else {
        direct::forward(x, w, b, g)
    }
}

fn backward_input(dy: &[f32], w: &[f32], b: Option<&[f32]>, g: &Geometry) -> Vec<f32> {
    if winograd::fits(g) {
        winograd::backward_input(dy, w, b, g)
    } else if g.pointwise() {
        pointwise::backward_input(dy, w, b, g)
    } else {
        direct::backward_input(dy, w, b, g)
    }
}

fn backward_weight(x: &[f32], dy: &[f32], g: &Geometry) -> Vec<f32> {
    if winograd::fits(g) {
        winograd::backward_weight(x, dy, g)
    } else if g.pointwise() {
        pointwise::backward_weight(x, dy, g)
    } else {
        direct_weight::backward_weight(x, dy, g)
    }
}

/// A convolution, or with `transposed` the adjoint of the convolution `g`.
struct Convolution {
    g: Geometry,
    transposed: bool,
}

impl Op for Convolution {
    fn name(&self) -> &'static str {
        if self.transposed { "conv_transpose2d" } else { "conv2d" }
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let g = &self.g;
        let (x, w, b) = (inputs[0], inputs[1], inputs.get(2).copied());
        Ok(if self.transposed {
            (backward_input(x, w, b, g), (g.n, g.ci, g.h, g.w).into())
        } else {
            (forward(x, w, b, g), (g.n, g.co, g.oh, g.ow).into())
        })
    }

    fn backward(&self, inputs: &[&[f32]], dy: &[f32], wanted: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let g = &self.g;
        let (x, w) = (inputs[0], inputs[1]);
        let mut grads = vec![
            Gradient::when(wanted[0], || {
                if self.transposed { forward(dy, w, None, g) } else { backward_input(dy, w, None, g) }
            }),
            Gradient::when(wanted[1], || {
                if self.transposed { backward_weight(dy, x, g) } else { backward_weight(x, dy, g) }
            }),
        ];
        if let Some(&wanted) = wanted.get(2) {
            let (channels, plane) =
                if self.transposed { (g.ci, g.in_plane()) } else { (g.co, g.out_plane()) };
            grads.push(Gradient::when(wanted, || channel_sums(dy, g.n, channels, plane)));
        }
        Ok(grads)
    }

    fn keeps(&self, index: usize) -> bool {
        index < 2
    }
}

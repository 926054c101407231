//! Two-dimensional convolution and its transpose, zero-padded or periodic.

mod direct;
mod direct_weight;
mod geometry;
mod pointwise;
mod sums;
mod winograd;

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Shape, Tensor};

pub(crate) use geometry::Geometry;
pub use geometry::{Conv2dSpec, PadMode};
pub(crate) use sums::{channel_sums, sum, sum_parts};

use crate::memory::{numbers, on_cpu, tensor, with_numbers};
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
    let (x, w) = (x.contiguous()?, w.contiguous()?);
    Ok(match b {
        None => x.apply_op2(&w, op)?,
        Some(b) => x.apply_op3(&w, &b.contiguous()?, op)?,
    })
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

impl Convolution {
    fn forward(&self, x: &[f32], w: &[f32], b: Option<&[f32]>) -> (CpuStorage, Shape) {
        let g = &self.g;
        if self.transposed {
            (CpuStorage::F32(backward_input(x, w, b, g)), (g.n, g.ci, g.h, g.w).into())
        } else {
            (CpuStorage::F32(forward(x, w, b, g)), (g.n, g.co, g.oh, g.ow).into())
        }
    }

    fn backward(
        &self,
        x: &Tensor,
        w: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let g = &self.g;
        with_numbers(dy, |d| {
            let dx = if x.track_op() {
                Some(with_numbers(w, |w| {
                    let dx =
                        if self.transposed { forward(d, w, None, g) } else { backward_input(d, w, None, g) };
                    tensor(dx, x.shape())
                })?)
            } else {
                None
            };
            let dw = if w.track_op() {
                Some(with_numbers(x, |x| {
                    let dw =
                        if self.transposed { backward_weight(d, x, g) } else { backward_weight(x, d, g) };
                    tensor(dw, w.shape())
                })?)
            } else {
                None
            };
            Ok((dx, dw))
        })
    }
}

impl CustomOp2 for Convolution {
    fn name(&self) -> &'static str {
        if self.transposed { "conv_transpose2d" } else { "conv2d" }
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok(self.forward(numbers(x, xl)?, numbers(w, wl)?, None))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        self.backward(x, w, dy)
    }
}

impl CustomOp3 for Convolution {
    fn name(&self) -> &'static str {
        CustomOp2::name(self)
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok(self.forward(numbers(x, xl)?, numbers(w, wl)?, Some(numbers(b, bl)?)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dx, dw) = self.backward(x, w, dy)?;
        let (n, c, h, w) = dy.dims4()?;
        let db = with_numbers(dy, |dy| tensor(channel_sums(dy, n, c, h * w), b.shape()))?;
        Ok((dx, dw, Some(db)))
    }
}

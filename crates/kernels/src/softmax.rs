//! Softmax along the last axis, with the gradient that Candle's fused one lacks.

use std::sync::OnceLock;

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use crate::autograd::{self, Gradient, Op};
use crate::memory::{Output, on_cpu};
use crate::simd::math::{SUM_LANES, exp, fold};
use crate::simd::{Level, fma, multiversion};
use crate::{Error, Result, device, reference};

/// $y_i = e^{x_i} / \sum_j e^{x_j}$ along the last axis.
///
/// # Errors
/// Where `x` has no axis or is empty, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// let y = halocast_kernels::softmax(&Tensor::new(&[[0.0f32, 0.0]], &Device::Cpu)?)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[0.5, 0.5]]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    if x.rank() == 0 || x.elem_count() == 0 {
        return Err(Error::shape("softmax", "x", "of at least one axis and not empty", x.dims()));
    }
    if !on_cpu(&[x]) {
        if device::takes(&[x]) {
            return Ok(device::softmax(x)?);
        }
        return reference::softmax_last(x);
    }
    let width = x.dims()[x.rank() - 1];
    Ok(autograd::apply(Softmax { width, shape: x.shape().clone(), moments: OnceLock::new() }, &[x])?)
}

struct Softmax {
    width: usize,
    shape: Shape,
    /// The largest number of each row and the reciprocal of its sum, from the forward pass.
    moments: OnceLock<Vec<(f32, f32)>>,
}

impl Softmax {
    fn rows(&self) -> usize {
        (8 * 1024 / self.width).max(1)
    }
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let (x, level, width) = (inputs[0], Level::current(), self.width);
        let mut y = Output::new(x.len());
        let out = y.shared();
        let mut moments = vec![(0.0, 0.0); x.len() / width];
        moments.par_iter_mut().enumerate().with_min_len(self.rows()).for_each(|(row, moments)| {
            // SAFETY: each task writes its own rows.
            let y = unsafe { out.slice(row * width, width) };
            *moments = softmax_row(level, &x[row * width..][..width], y);
        });
        let _ = self.moments.set(moments);
        // SAFETY: the rows cover the output.
        Ok((unsafe { y.finish() }, self.shape.clone()))
    }

    fn backward(&self, inputs: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let (x, level, width) = (inputs[0], Level::current(), self.width);
        let mut dx = Output::new(x.len());
        let out = dx.shared();
        let moments = self.moments.get();
        (0..x.len() / width).into_par_iter().with_min_len(self.rows()).for_each(|row| {
            let (x, dy) = (&x[row * width..][..width], &dy[row * width..][..width]);
            // SAFETY: each task writes its own rows.
            let dx = unsafe { out.slice(row * width, width) };
            let (most, factor) = match moments {
                Some(moments) => moments[row],
                None => softmax_row(level, x, dx),
            };
            softmax_row_gradient(level, x, dy, dx, most, factor);
        });
        // SAFETY: the rows cover the gradient.
        Ok(vec![Gradient::Values(unsafe { dx.finish() })])
    }
}

multiversion! {
    /// The softmax of a row; gives its largest number and the reciprocal of its sum.
    fn softmax_row(x: &[f32], y: &mut [f32]) -> (f32, f32) {
        // Short rows would leave most of the lanes of a long sum empty.
        if x.len() < 4 * SUM_LANES { row::<FMA, 8>(x, y) } else { row::<FMA, SUM_LANES>(x, y) }
    }
}

#[inline(always)]
fn row<const FMA: bool, const N: usize>(x: &[f32], y: &mut [f32]) -> (f32, f32) {
    let mut lanes = [f32::NEG_INFINITY; N];
    let (chunks, rest) = x.as_chunks::<N>();
    for x in chunks {
        for lane in 0..N {
            lanes[lane] = if x[lane] > lanes[lane] { x[lane] } else { lanes[lane] };
        }
    }
    let most = lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
    let (out, out_rest) = y.as_chunks_mut::<N>();
    let mut lanes = [0.0; N];
    for (x, y) in chunks.iter().zip(out) {
        for lane in 0..N {
            y[lane] = exp::<FMA>(x[lane] - most);
            lanes[lane] += y[lane];
        }
    }
    for ((x, y), lane) in rest.iter().zip(out_rest).zip(&mut lanes) {
        *y = exp::<FMA>(x - most);
        *lane += *y;
    }
    let factor = 1.0 / fold(lanes);
    y.iter_mut().for_each(|y| *y *= factor);
    (most, factor)
}

multiversion! {
    /// `dx = p (dy - sum(p dy))` with `p = factor e^(x - most)`.
    fn softmax_row_gradient(x: &[f32], dy: &[f32], dx: &mut [f32], most: f32, factor: f32) {
        const N: usize = 16;
        for (x, p) in x.iter().zip(dx.iter_mut()) {
            *p = exp::<FMA>(x - most) * factor;
        }
        let mut lanes = [0.0; N];
        let ((p, p_rest), (d, d_rest)) = (dx.as_chunks::<N>(), dy.as_chunks::<N>());
        for (p, d) in p.iter().zip(d) {
            for lane in 0..N {
                lanes[lane] = fma::<FMA>(p[lane], d[lane], lanes[lane]);
            }
        }
        for ((p, d), lane) in p_rest.iter().zip(d_rest).zip(&mut lanes) {
            *lane = fma::<FMA>(*p, *d, *lane);
        }
        let mean = fold(lanes);
        for (p, d) in dx.iter_mut().zip(dy) {
            *p *= d - mean;
        }
    }
}

//! The largest number of each window.

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use crate::autograd::{self, Gradient, Op};
use crate::memory::{Output, on_cpu};
use crate::{Error, Result, reference};

/// The largest number of each `kernel x kernel` window, `stride` apart, of a map with `padding` pixels around it that
/// never are the largest: `[n, c, h, w] -> [n, c, h', w']`, $h' = \lfloor (h + 2p - k) / s \rfloor + 1$. The gradient goes to
/// the first of equal numbers.
///
/// # Errors
/// Where `x` has not four axes or is empty, the window does not fit, `2 padding > kernel`, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[[[1.0f32, 5.0, 2.0, 0.0], [3.0, 4.0, 8.0, 1.0]]]], &Device::Cpu)?;
/// let y = halocast_kernels::max_pool2d(&x, 2, 2, 0)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [5.0, 8.0]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn max_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: usize) -> Result<Tensor> {
    const OP: &str = "max_pool2d";
    let &[n, c, h, w] = x.dims() else { return Err(Error::shape(OP, "x", "[n, c, h, w]", x.dims())) };
    if x.elem_count() == 0 {
        return Err(Error::shape(OP, "x", "not empty", x.dims()));
    }
    if kernel == 0 || kernel > h.min(w) + 2 * padding {
        return Err(Error::argument(
            OP,
            "kernel",
            format!("at least 1 and to fit {h}x{w} with padding"),
            kernel,
        ));
    }
    if stride == 0 {
        return Err(Error::argument(OP, "stride", "at least 1", stride));
    }
    if 2 * padding > kernel {
        return Err(Error::argument(OP, "padding", format!("at most half of {kernel}"), padding));
    }
    if !on_cpu(&[x]) {
        return reference::max_pool2d(x, kernel, stride, padding);
    }
    let (oh, ow) = ((h + 2 * padding - kernel) / stride + 1, (w + 2 * padding - kernel) / stride + 1);
    let op = MaxPool { planes: n * c, h, w, oh, ow, kernel, stride, padding, shape: (n, c, oh, ow).into() };
    Ok(autograd::apply(op, &[x])?)
}

struct MaxPool {
    planes: usize,
    h: usize,
    w: usize,
    oh: usize,
    ow: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    shape: Shape,
}

impl MaxPool {
    /// Where the largest number of window `(i, j)` is; the first where there are several, or one that is no number.
    fn largest(&self, x: &[f32], i: usize, j: usize) -> usize {
        let range = |i: usize, size: usize| {
            let start = i * self.stride;
            start.saturating_sub(self.padding)..(start + self.kernel - self.padding).min(size)
        };
        let (rows, columns) = (range(i, self.h), range(j, self.w));
        let mut best = rows.start * self.w + columns.start;
        for row in rows {
            for at in row * self.w + columns.start..row * self.w + columns.end {
                if x[at] > x[best] || x[at].is_nan() {
                    best = at;
                }
            }
        }
        best
    }
}

impl Op for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let Self { planes, h, w, oh, ow, .. } = *self;
        let mut y = Output::new(planes * oh * ow);
        let out = y.shared();
        (0..planes).into_par_iter().for_each(|plane| {
            let x = &inputs[0][plane * h * w..][..h * w];
            // SAFETY: each task writes its own plane.
            let y = unsafe { out.slice(plane * oh * ow, oh * ow) };
            for (at, y) in y.iter_mut().enumerate() {
                *y = x[self.largest(x, at / ow, at % ow)];
            }
        });
        // SAFETY: the planes cover the output.
        Ok((unsafe { y.finish() }, self.shape.clone()))
    }

    fn backward(&self, inputs: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let Self { h, w, oh, ow, .. } = *self;
        let mut dx = vec![0.0; inputs[0].len()];
        dx.par_chunks_mut(h * w).enumerate().for_each(|(plane, dx)| {
            let x = &inputs[0][plane * h * w..][..h * w];
            for (at, dy) in dy[plane * oh * ow..][..oh * ow].iter().enumerate() {
                dx[self.largest(x, at / ow, at % ow)] += dy;
            }
        });
        Ok(vec![Gradient::Values(dx)])
    }
}

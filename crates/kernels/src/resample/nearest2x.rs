//! Nearest-neighbour upsampling of images by two, as decoders of U-Nets use it.

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use crate::autograd::{self, Gradient, Op};
use crate::channels::min_planes;
use crate::memory::{Output, on_cpu};
use crate::{Error, Result, reference};

/// Doubles each pixel in both directions: $y_{i j} = x_{\lfloor i/2 \rfloor \lfloor j/2 \rfloor}$,
/// `[n, c, h, w] -> [n, c, 2h, 2w]`.
///
/// # Errors
/// Where `x` has not four axes, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[[[1.0f32, 2.0]]]], &Device::Cpu)?;
/// let y = halocast_kernels::upsample_nearest2x(&x)?;
/// assert_eq!(y.get(0)?.get(0)?.to_vec2::<f32>()?, [[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn upsample_nearest2x(x: &Tensor) -> Result<Tensor> {
    if x.rank() != 4 || x.elem_count() == 0 {
        return Err(Error::shape("upsample_nearest2x", "x", "[n, c, h, w] and not empty", x.dims()));
    }
    if !on_cpu(&[x]) {
        return reference::upsample_nearest2x(x);
    }
    let (n, c, h, w) = x.dims4()?;
    let op = Upsample { planes: n * c, h, w, shape: (n, c, 2 * h, 2 * w).into() };
    Ok(autograd::apply(op, &[x])?)
}

/// From planes of `[h, w]`.
struct Upsample {
    planes: usize,
    h: usize,
    w: usize,
    shape: Shape,
}

impl Op for Upsample {
    fn name(&self) -> &'static str {
        "upsample_nearest2x"
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let Self { planes, h, w, .. } = *self;
        let x = inputs[0];
        let mut y = Output::new(4 * x.len());
        let out = y.shared();
        (0..planes).into_par_iter().with_min_len(min_planes(4 * h * w)).for_each(|i| {
            // SAFETY: each task writes its own planes.
            let y = unsafe { out.slice(4 * i * h * w, 4 * h * w) };
            for (x, y) in x[i * h * w..].chunks_exact(w).zip(y.chunks_exact_mut(4 * w)) {
                let (first, second) = y.split_at_mut(2 * w);
                for (x, y) in x.iter().zip(first.as_chunks_mut::<2>().0) {
                    *y = [*x, *x];
                }
                second.copy_from_slice(first);
            }
        });
        // SAFETY: the planes cover the output.
        Ok((unsafe { y.finish() }, self.shape.clone()))
    }

    fn backward(&self, _: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let Self { planes, h, w, .. } = *self;
        let mut dx = Output::new(planes * h * w);
        let out = dx.shared();
        (0..planes).into_par_iter().with_min_len(min_planes(4 * h * w)).for_each(|i| {
            // SAFETY: each task writes its own planes.
            let dx = unsafe { out.slice(i * h * w, h * w) };
            for (dx, dy) in dx.chunks_exact_mut(w).zip(dy[4 * i * h * w..].chunks_exact(4 * w)) {
                let (first, second) = dy.split_at(2 * w);
                let (first, second) = (first.as_chunks::<2>().0, second.as_chunks::<2>().0);
                for ((dx, a), b) in dx.iter_mut().zip(first).zip(second) {
                    *dx = (a[0] + a[1]) + (b[0] + b[1]);
                }
            }
        });
        // SAFETY: the planes cover the output.
        Ok(vec![Gradient::Values(unsafe { dx.finish() })])
    }

    fn keeps(&self, _: usize) -> bool {
        false
    }
}

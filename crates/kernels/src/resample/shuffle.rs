//! Pixels to channels and back.

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use crate::autograd::{self, Gradient, Op};
use crate::memory::{Output, on_cpu};
use crate::{Error, Result, reference};

/// Makes pixels of channels: $y_{n, c, f i + a, f j + b} = x_{n, c f^2 + a f + b, i, j}$,
/// `[n, c f^2, h, w] -> [n, c, f h, f w]`.
///
/// # Source
/// Shi et al. 2016, arXiv:1609.05158, eq. 4, in the order of PyTorch.
///
/// # Errors
/// Where `x` has not four axes or is empty, the squared factor does not divide the channels, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[[[1.0f32]], [[2.0]], [[3.0]], [[4.0]]]], &Device::Cpu)?;
/// let y = halocast_kernels::pixel_shuffle(&x, 2)?;
/// assert_eq!(y.get(0)?.get(0)?.to_vec2::<f32>()?, [[1.0, 2.0], [3.0, 4.0]]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn pixel_shuffle(x: &Tensor, factor: usize) -> Result<Tensor> {
    const OP: &str = "pixel_shuffle";
    let [n, c, h, w] = four_axes(OP, x, factor)?;
    if !c.is_multiple_of(factor * factor) {
        return Err(Error::argument(
            OP,
            "factor",
            format!("with a square that divides {c} channels"),
            factor,
        ));
    }
    if !on_cpu(&[x]) {
        return reference::pixel_shuffle(x, factor);
    }
    let c = c / (factor * factor);
    let shape = (n, c, h * factor, w * factor).into();
    Ok(autograd::apply(Shuffle { name: OP, finer: true, planes: n * c, h, w, factor, shape }, &[x])?)
}

/// The inverse of [`pixel_shuffle`]: `[n, c, f h, f w] -> [n, c f^2, h, w]`.
///
/// # Source
/// As [`pixel_shuffle`].
///
/// # Errors
/// Where `x` has not four axes or is empty, the factor does not divide height and width, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// let x = Tensor::ones((1, 3, 8, 4), DType::F32, &Device::Cpu)?;
/// assert_eq!(halocast_kernels::pixel_unshuffle(&x, 2)?.dims(), [1, 12, 4, 2]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn pixel_unshuffle(x: &Tensor, factor: usize) -> Result<Tensor> {
    const OP: &str = "pixel_unshuffle";
    let [n, c, h, w] = four_axes(OP, x, factor)?;
    if !h.is_multiple_of(factor) || !w.is_multiple_of(factor) {
        return Err(Error::argument(OP, "factor", format!("a divisor of {h} and {w}"), factor));
    }
    if !on_cpu(&[x]) {
        return reference::pixel_unshuffle(x, factor);
    }
    let (h, w) = (h / factor, w / factor);
    let shape = (n, c * factor * factor, h, w).into();
    Ok(autograd::apply(Shuffle { name: OP, finer: false, planes: n * c, h, w, factor, shape }, &[x])?)
}

fn four_axes(op: &'static str, x: &Tensor, factor: usize) -> Result<[usize; 4]> {
    if factor == 0 {
        return Err(Error::argument(op, "factor", "at least 1", factor));
    }
    match *x.dims() {
        [n, c, h, w] if x.elem_count() > 0 => Ok([n, c, h, w]),
        _ => Err(Error::shape(op, "x", "[n, c, h, w] and not empty", x.dims())),
    }
}

/// Between `factor^2` planes of `[h, w]` and one that is `factor` times finer, `planes` times.
struct Shuffle {
    name: &'static str,
    finer: bool,
    planes: usize,
    h: usize,
    w: usize,
    factor: usize,
    shape: Shape,
}

impl Shuffle {
    fn apply(&self, x: &[f32], finer: bool) -> Vec<f32> {
        let Self { planes, h, w, factor, .. } = *self;
        let size = factor * factor * h * w;
        let mut y = Output::new(planes * size);
        let out = y.shared();
        (0..planes).into_par_iter().for_each(|plane| {
            let x = &x[plane * size..][..size];
            // SAFETY: each task writes its own plane.
            let y = unsafe { out.slice(plane * size, size) };
            for a in 0..factor {
                for b in 0..factor {
                    for i in 0..h {
                        let coarse = ((a * factor + b) * h + i) * w;
                        let fine = (i * factor + a) * w * factor + b;
                        for j in 0..w {
                            match finer {
                                true => y[fine + j * factor] = x[coarse + j],
                                false => y[coarse + j] = x[fine + j * factor],
                            }
                        }
                    }
                }
            }
        });
        // SAFETY: the planes cover the output, and each number of a plane has one place.
        unsafe { y.finish() }
    }
}

impl Op for Shuffle {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        Ok((self.apply(inputs[0], self.finer), self.shape.clone()))
    }

    fn backward(&self, _: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        Ok(vec![Gradient::Values(self.apply(dy, !self.finer))])
    }

    fn keeps(&self, _: usize) -> bool {
        false
    }
}

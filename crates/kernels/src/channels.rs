//! Channels of maps: a number added to each, a scale and a shift for each, two maps stacked.

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use crate::autograd::{self, Gradient, Op};
use crate::conv::sum;
use crate::memory::{Output, on_cpu};
use crate::simd::math::{SUM_LANES, fold};
use crate::simd::{Level, fma, multiversion};
use crate::{Error, Result, reference};

/// Adds a number to each channel: $y_{n c y x} = x_{n c y x} + t_{n c}$, as a time embedding is added to a map.
/// `x [n, c, ..]`, `t [n, c]`.
///
/// # Errors
/// Where the shapes do not fit, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// let x = Tensor::zeros((1, 2, 1, 2), DType::F32, &Device::Cpu)?;
/// let t = Tensor::new(&[[1.0f32, 2.0]], &Device::Cpu)?;
/// let y = halocast_kernels::add_channel(&x, &t)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1.0, 1.0, 2.0, 2.0]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn add_channel(x: &Tensor, t: &Tensor) -> Result<Tensor> {
    const OP: &str = "add_channel";
    let dims = x.dims();
    if dims.len() < 2 || x.elem_count() == 0 {
        return Err(Error::shape(OP, "x", "[n, c, ..] and not empty", dims));
    }
    if t.dims() != &dims[..2] {
        return Err(Error::shape(OP, "t", format!("{:?}", &dims[..2]), t.dims()));
    }
    if !on_cpu(&[x, t]) {
        return reference::add_channel(x, t);
    }
    let op = AddChannel { planes: t.elem_count(), shape: x.shape().clone() };
    Ok(autograd::apply(op, &[x, t])?)
}

struct AddChannel {
    planes: usize,
    shape: Shape,
}

impl Op for AddChannel {
    fn name(&self) -> &'static str {
        "add_channel"
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let (x, t) = (inputs[0], inputs[1]);
        let plane = x.len() / t.len();
        let mut y = Output::new(x.len());
        let out = y.shared();
        t.par_iter().enumerate().with_min_len(min_planes(plane)).for_each(|(i, t)| {
            // SAFETY: each task writes its own planes.
            let y = unsafe { out.slice(i * plane, plane) };
            for (y, x) in y.iter_mut().zip(&x[i * plane..]) {
                *y = x + t;
            }
        });
        // SAFETY: the planes cover the output.
        Ok((unsafe { y.finish() }, self.shape.clone()))
    }

    fn backward(&self, _: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let level = Level::current();
        let mut dt = vec![0.0; self.planes];
        let plane = dy.len() / dt.len();
        dt.par_iter_mut().enumerate().with_min_len(min_planes(plane)).for_each(|(i, dt)| {
            *dt = sum(level, &dy[i * plane..][..plane]);
        });
        Ok(vec![Gradient::Output, Gradient::Values(dt)])
    }

    fn keeps(&self, _: usize) -> bool {
        false
    }
}

/// Scales and shifts each channel, as an embedding modulates a map (FiLM):
///
/// $$ y_{n c x} = (1 + s_{n c}) \, x_{n c x} + t_{n c} $$
///
/// `x [n, c, ..]`, `scale` $s$ and `shift` $t$ `[n, c]`.
///
/// # Source
/// Perez et al. 2018, arXiv:1709.07871, eq. 2 (there the scale is $1 + s$).
///
/// # Errors
/// Where the shapes do not fit, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[[1.0f32, 2.0]]], &Device::Cpu)?;
/// let (scale, shift) = (Tensor::new(&[[1.0f32]], &Device::Cpu)?, Tensor::new(&[[3.0f32]], &Device::Cpu)?);
/// let y = halocast_kernels::scale_shift_channel(&x, &scale, &shift)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [5.0, 7.0]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn scale_shift_channel(x: &Tensor, scale: &Tensor, shift: &Tensor) -> Result<Tensor> {
    const OP: &str = "scale_shift_channel";
    let dims = x.dims();
    if dims.len() < 2 || x.elem_count() == 0 {
        return Err(Error::shape(OP, "x", "[n, c, ..] and not empty", dims));
    }
    for (name, parameter) in [("scale", scale), ("shift", shift)] {
        if parameter.dims() != &dims[..2] {
            return Err(Error::shape(OP, name, format!("{:?}", &dims[..2]), parameter.dims()));
        }
    }
    if !on_cpu(&[x, scale, shift]) {
        return reference::scale_shift_channel(x, scale, shift);
    }
    Ok(autograd::apply(ScaleShift { shape: x.shape().clone() }, &[x, scale, shift])?)
}

struct ScaleShift {
    shape: Shape,
}

impl Op for ScaleShift {
    fn name(&self) -> &'static str {
        "scale_shift_channel"
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let &[x, scale, shift] = inputs else { candle_core::bail!("scale_shift_channel takes three inputs") };
        let (level, plane) = (Level::current(), x.len() / scale.len());
        let mut y = Output::new(x.len());
        let out = y.shared();
        (0..scale.len()).into_par_iter().with_min_len(min_planes(plane)).for_each(|i| {
            // SAFETY: each task writes its own planes.
            let y = unsafe { out.slice(i * plane, plane) };
            affine(level, &x[i * plane..][..plane], y, 1.0 + scale[i], shift[i]);
        });
        // SAFETY: the planes cover the output.
        Ok((unsafe { y.finish() }, self.shape.clone()))
    }

    fn backward(&self, inputs: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let &[x, scale, _] = inputs else { candle_core::bail!("scale_shift_channel takes three inputs") };
        let (level, plane) = (Level::current(), x.len() / scale.len());
        let mut dx = Output::new(x.len());
        let out = dx.shared();
        let mut sums = vec![(0.0, 0.0); scale.len()];
        sums.par_iter_mut().enumerate().with_min_len(min_planes(plane)).for_each(|(i, sums)| {
            let (x, dy) = (&x[i * plane..][..plane], &dy[i * plane..][..plane]);
            // SAFETY: each task writes its own planes.
            let dx = unsafe { out.slice(i * plane, plane) };
            affine(level, dy, dx, 1.0 + scale[i], 0.0);
            *sums = (dot(level, dy, x), sum(level, dy));
        });
        let (dscale, dshift) = sums.into_iter().unzip();
        // SAFETY: the planes cover the gradient.
        let dx = unsafe { dx.finish() };
        Ok([dx, dscale, dshift].map(Gradient::Values).into())
    }

    fn keeps(&self, index: usize) -> bool {
        index < 2
    }
}

multiversion! {
    /// `y = scale x + shift`.
    fn affine(x: &[f32], y: &mut [f32], scale: f32, shift: f32) {
        for (x, y) in x.iter().zip(y) {
            *y = fma::<FMA>(*x, scale, shift);
        }
    }
}

multiversion! {
    fn dot(a: &[f32], b: &[f32]) -> f32 {
        let mut lanes = [0.0; SUM_LANES];
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<SUM_LANES>(), b.as_chunks::<SUM_LANES>());
        for (a, b) in a.iter().zip(b) {
            for lane in 0..SUM_LANES {
                lanes[lane] = fma::<FMA>(a[lane], b[lane], lanes[lane]);
            }
        }
        for ((a, b), lane) in a_rest.iter().zip(b_rest).zip(&mut lanes) {
            *lane = fma::<FMA>(*a, *b, *lane);
        }
        fold(lanes)
    }
}

/// Puts the channels of `b [n, cb, ..]` after those of `a [n, ca, ..]`: `[n, ca + cb, ..]`.
///
/// # Errors
/// Where the shapes differ beyond the channels, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{DType, Device, Tensor};
/// let a = Tensor::zeros((2, 3, 4, 4), DType::F32, &Device::Cpu)?;
/// let b = Tensor::zeros((2, 1, 4, 4), DType::F32, &Device::Cpu)?;
/// assert_eq!(halocast_kernels::concat_channels(&a, &b)?.dims(), [2, 4, 4, 4]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn concat_channels(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    const OP: &str = "concat_channels";
    let (da, db) = (a.dims(), b.dims());
    if da.len() < 2 || a.elem_count() == 0 {
        return Err(Error::shape(OP, "a", "[n, c, ..] and not empty", da));
    }
    if db.len() != da.len() || db[0] != da[0] || db[1] == 0 || db[2..] != da[2..] {
        return Err(Error::shape(OP, "b", format!("like {da:?} but for the channels"), db));
    }
    if !on_cpu(&[a, b]) {
        return reference::concat_channels(a, b);
    }
    let mut dims = da.to_vec();
    dims[1] += db[1];
    let sizes = [a, b].map(|x| x.elem_count() / da[0]);
    let op = ConcatChannels { examples: da[0], sizes, shape: dims.into() };
    Ok(autograd::apply(op, &[a, b])?)
}

/// Both inputs example by example: `sizes` numbers of each.
struct ConcatChannels {
    examples: usize,
    sizes: [usize; 2],
    shape: Shape,
}

impl Op for ConcatChannels {
    fn name(&self) -> &'static str {
        "concat_channels"
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let [size_a, size_b] = self.sizes;
        let mut y = Output::new(self.examples * (size_a + size_b));
        let out = y.shared();
        (0..2 * self.examples).into_par_iter().for_each(|task| {
            let (i, part) = (task / 2, task % 2);
            let (size, start) = (self.sizes[part], i * (size_a + size_b) + part * size_a);
            // SAFETY: each task writes the part of one input in one example.
            unsafe { out.slice(start, size) }.copy_from_slice(&inputs[part][i * size..][..size]);
        });
        // SAFETY: the parts cover the output.
        Ok((unsafe { y.finish() }, self.shape.clone()))
    }

    fn backward(&self, _: &[&[f32]], dy: &[f32], wanted: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let [size_a, size_b] = self.sizes;
        let mut parts = self.sizes.map(|size| Output::new(self.examples * size));
        let [a, b] = &mut parts;
        let out = [a.shared(), b.shared()];
        (0..2 * self.examples).into_par_iter().filter(|task| wanted[task % 2]).for_each(|task| {
            let (i, part) = (task / 2, task % 2);
            let (size, start) = (self.sizes[part], i * (size_a + size_b) + part * size_a);
            // SAFETY: each task writes the part of one example.
            unsafe { out[part].slice(i * size, size) }.copy_from_slice(&dy[start..][..size]);
        });
        // SAFETY: the examples cover a gradient that is wanted.
        let gradient = |(part, &wanted): (Output, &bool)| Gradient::when(wanted, || unsafe { part.finish() });
        Ok(parts.into_iter().zip(wanted).map(gradient).collect())
    }

    fn keeps(&self, _: usize) -> bool {
        false
    }
}

/// Planes that one task takes at least, for a task to be worth its cost.
pub(crate) fn min_planes(plane: usize) -> usize {
    (8 * 1024 / plane.max(1)).max(1)
}

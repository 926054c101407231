//! Moving channels about: a number added to each channel, two maps stacked, nearest-neighbour upsampling.

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use crate::autograd::{self, Gradient, Op};
use crate::conv::sum;
use crate::memory::{Output, on_cpu};
use crate::simd::Level;
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
        let part = |start: usize, size: usize| {
            let mut d = Output::new(self.examples * size);
            let out = d.shared();
            (0..self.examples).into_par_iter().for_each(|i| {
                // SAFETY: each task writes its own example.
                let d = unsafe { out.slice(i * size, size) };
                d.copy_from_slice(&dy[i * (size_a + size_b) + start..][..size]);
            });
            // SAFETY: the examples cover the output.
            unsafe { d.finish() }
        };
        Ok(vec![
            Gradient::when(wanted[0], || part(0, size_a)),
            Gradient::when(wanted[1], || part(size_a, size_b)),
        ])
    }

    fn keeps(&self, _: usize) -> bool {
        false
    }
}

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

/// Planes that one task takes at least, for a task to be worth its cost.
fn min_planes(plane: usize) -> usize {
    (8 * 1024 / plane.max(1)).max(1)
}

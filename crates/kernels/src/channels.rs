//! Moving channels about: a number added to each channel, two maps stacked, nearest-neighbour upsampling.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Shape, Tensor};
use rayon::prelude::*;

use crate::conv::sum;
use crate::memory::{Output, numbers, on_cpu, tensor, with_numbers};
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
    Ok(x.contiguous()?.apply_op2(&t.contiguous()?, AddChannel)?)
}

struct AddChannel;

impl CustomOp2 for AddChannel {
    fn name(&self) -> &'static str {
        "add_channel"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        t: &CpuStorage,
        tl: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (x, t) = (numbers(x, xl)?, numbers(t, tl)?);
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
        Ok((CpuStorage::F32(unsafe { y.finish() }), xl.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        t: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let level = Level::current();
        let mut dt = vec![0.0; t.elem_count()];
        with_numbers(dy, |dy| {
            let plane = dy.len() / dt.len();
            dt.par_iter_mut().enumerate().with_min_len(min_planes(plane)).for_each(|(i, dt)| {
                *dt = sum(level, &dy[i * plane..][..plane]);
            });
            Ok(())
        })?;
        let dx = x.track_op().then(|| dy.clone());
        Ok((dx, Some(tensor(dt, t.shape())?)))
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
    Ok(a.contiguous()?.apply_op2(&b.contiguous()?, ConcatChannels)?)
}

struct ConcatChannels;

impl CustomOp2 for ConcatChannels {
    fn name(&self) -> &'static str {
        "concat_channels"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        al: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (a, b) = (numbers(a, al)?, numbers(b, bl)?);
        let mut dims = al.dims().to_vec();
        let n = dims[0];
        dims[1] += bl.dims()[1];
        let (size_a, size_b) = (a.len() / n, b.len() / n);
        let mut y = Output::new(a.len() + b.len());
        let out = y.shared();
        (0..2 * n).into_par_iter().for_each(|task| {
            let (i, second) = (task / 2, task % 2 == 1);
            let start = i * (size_a + size_b);
            // SAFETY: each task writes the part of one input in one example.
            unsafe {
                if second {
                    out.slice(start + size_a, size_b).copy_from_slice(&b[i * size_b..][..size_b]);
                } else {
                    out.slice(start, size_a).copy_from_slice(&a[i * size_a..][..size_a]);
                }
            }
        });
        // SAFETY: the parts cover the output.
        Ok((CpuStorage::F32(unsafe { y.finish() }), dims.into()))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let n = a.dim(0)?;
        let (size_a, size_b) = (a.elem_count() / n, b.elem_count() / n);
        let part = |of: &Tensor, start: usize, size: usize| {
            if !of.track_op() {
                return Ok(None);
            }
            let data = with_numbers(dy, |dy| {
                let mut d = Output::new(n * size);
                let out = d.shared();
                (0..n).into_par_iter().for_each(|i| {
                    // SAFETY: each task writes its own example.
                    let d = unsafe { out.slice(i * size, size) };
                    d.copy_from_slice(&dy[i * (size_a + size_b) + start..][..size]);
                });
                // SAFETY: the examples cover the output.
                Ok(unsafe { d.finish() })
            })?;
            tensor(data, of.shape()).map(Some)
        };
        Ok((part(a, 0, size_a)?, part(b, size_a, size_b)?))
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
    Ok(x.contiguous()?.apply_op1(Upsample)?)
}

struct Upsample;

impl CustomOp1 for Upsample {
    fn name(&self) -> &'static str {
        "upsample_nearest2x"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let x = numbers(x, layout)?;
        let (n, c, h, w) = layout.shape().dims4()?;
        let mut y = Output::new(4 * x.len());
        let out = y.shared();
        (0..n * c).into_par_iter().with_min_len(min_planes(4 * h * w)).for_each(|i| {
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
        Ok((CpuStorage::F32(unsafe { y.finish() }), (n, c, 2 * h, 2 * w).into()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let (n, c, h, w) = x.dims4()?;
        let dx = with_numbers(dy, |dy| {
            let mut dx = Output::new(n * c * h * w);
            let out = dx.shared();
            (0..n * c).into_par_iter().with_min_len(min_planes(4 * h * w)).for_each(|i| {
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
            Ok(unsafe { dx.finish() })
        })?;
        Ok(Some(tensor(dx, x.shape())?))
    }
}

/// Planes that one task takes at least, for a task to be worth its cost.
fn min_planes(plane: usize) -> usize {
    (8 * 1024 / plane.max(1)).max(1)
}

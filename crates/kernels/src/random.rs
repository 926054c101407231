//! Tensors of random numbers from the counter-based generator.

use candle_core::{Device, Shape, Tensor};
use halocast_core::{Rng, stream};

use crate::Result;
use crate::device::{Draw, makes_random};
use crate::memory::{Output, tensor};
use crate::simd::{Level, multiversion};

/// Independent standard normal numbers: bit for bit those of [`Rng::fill_normal`], at any number of threads and on any
/// device that rounds as the standard says.
///
/// # Source
/// Salmon et al. 2011 (Philox4x32-10), doi:10.1145/2063384.2063405; Box & Muller 1958, doi:10.1214/aoms/1177706645.
///
/// # Errors
/// Where Candle fails.
///
/// # Example
/// ```
/// use candle_core::Device;
/// use halocast_core::Rng;
/// let x = halocast_kernels::random_normal((2, 3), &mut Rng::new(1), &Device::Cpu)?;
/// assert_eq!(x.flatten_all()?.to_vec1::<f32>()?, Rng::new(1).normals(6));
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn random_normal(shape: impl Into<Shape>, rng: &mut Rng, device: &Device) -> Result<Tensor> {
    random(shape.into(), rng, device, Draw::Normal)
}

/// Independent uniform numbers in [0, 1) with 24 random bits: bit for bit those of [`Rng::fill_uniform`], at any number of
/// threads and on any device.
///
/// # Source
/// As [`random_normal`].
///
/// # Errors
/// Where Candle fails.
///
/// # Example
/// ```
/// use candle_core::Device;
/// use halocast_core::Rng;
/// let x = halocast_kernels::random_uniform(1000, &mut Rng::new(1), &Device::Cpu)?;
/// assert!(x.to_vec1::<f32>()?.iter().all(|x| (0.0..1.0).contains(x)));
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn random_uniform(shape: impl Into<Shape>, rng: &mut Rng, device: &Device) -> Result<Tensor> {
    random(shape.into(), rng, device, Draw::Uniform)
}

fn random(shape: Shape, rng: &mut Rng, device: &Device, draw: Draw) -> Result<Tensor> {
    if makes_random(device, shape.elem_count()) {
        return Ok(crate::device::random(shape, rng, device, draw)?);
    }
    let fill = match draw {
        Draw::Uniform => uniforms,
        Draw::Normal => normals,
    };
    let level = Level::current();
    let mut numbers = Output::new(shape.elem_count());
    // SAFETY: the whole of the output, used here alone.
    let out = unsafe { numbers.shared().slice(0, shape.elem_count()) };
    rng.fill_with(out, |key, first, part| fill(level, key, first, part));
    // SAFETY: the generator fills all of it.
    Ok(tensor(unsafe { numbers.finish() }, shape)?.to_device(device)?)
}

multiversion! {
    fn normals(key: u64, first: u64, out: &mut [f32]) {
        stream::normals(key, first, out);
    }
}

multiversion! {
    fn uniforms(key: u64, first: u64, out: &mut [f32]) {
        stream::uniforms(key, first, out);
    }
}

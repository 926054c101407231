//! Random numbers made on the device that wants them.

use candle_core::{DType, Device, Result, Shape, Tensor};
use halocast_core::{Rng, RngState};

use super::queue::{Arg, Block, launch_each};
use super::source;

/// Which distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Draw {
    Uniform,
    Normal,
}

/// Whether numbers of this shape can be made on the device.
pub(crate) fn makes_random(device: &Device, count: usize) -> bool {
    super::serves(device) && (1..super::queue::MOST).contains(&count)
}

/// The numbers of [`Rng::fill_uniform`] or [`Rng::fill_normal`]; advances the generator as they do.
pub(crate) fn random(shape: Shape, rng: &mut Rng, device: &Device, draw: Draw) -> Result<Tensor> {
    let count = shape.elem_count();
    let RngState { key, position } = rng.state();
    let first = position.div_ceil(4);
    let mut out = Block::new(device, count, DType::F32)?;
    let kernel = match draw {
        Draw::Uniform => source::RANDOM_UNIFORMS,
        Draw::Normal => source::RANDOM_NORMALS,
    };
    let [low, high] = [|x: u64| Arg::Int(x as u32 as usize), |x: u64| Arg::Int((x >> 32) as usize)];
    let args = &mut [out.out(), Arg::Int(count), low(key), high(key), low(first), high(first)];
    launch_each(device, kernel, count.div_ceil(4), args)?;
    *rng = Rng::from_state(RngState { key, position: 4 * (first + count.div_ceil(4) as u64) });
    Ok(out.tensor(shape))
}

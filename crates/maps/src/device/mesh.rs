//! Mass assignment on a device.

use candle_core::{DType, Tensor};

use super::{inside, precise, scatter, wrapped};
use crate::{Error, Result, Scheme};

const OPERATION: &str = "mass assignment on a device";

/// Mass on a grid of `shape` cells about its cells' centres, `[x, y]` or `[x, y, z]`, from positions `[particle, 2]` or
/// `[particle, 3]` over a box from the origin to `sides`; `masses` `[particle]`, of ones where there are none.
///
/// In a periodic box what leaves one side enters at the other; else it is lost. Gradients flow to masses and positions.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_maps::{Scheme, assign_tensor};
/// let positions = Tensor::new(&[[2.0f32, 0.5]], &Device::Cpu)?;
/// let grid = assign_tensor(&positions, None, &[4, 4], &[4.0, 4.0], true, Scheme::Cic)?;
/// assert_eq!(grid.to_vec2::<f32>()?[1], [0.5, 0.0, 0.0, 0.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::Value`] for shapes that do not fit, an empty grid or an absurd side; [`Error::Candle`] and [`Error::Kernels`].
pub fn assign_tensor(
    positions: &Tensor,
    masses: Option<&Tensor>,
    shape: &[usize],
    sides: &[f64],
    periodic: bool,
    scheme: Scheme,
) -> Result<Tensor> {
    let value = |what: &str, expected, got: String| {
        Err(Error::Value { operation: OPERATION, what: what.into(), expected, got })
    };
    let axes = shape.len();
    if !(2..=3).contains(&axes) || sides.len() != axes {
        return value("the shape", "two or three axes, with a side each", format!("{shape:?} and {sides:?}"));
    }
    if shape.contains(&0) || shape.iter().product::<usize>() > u32::MAX as usize {
        return value("the number of cells", "at least 1 along each axis, below 2^32", format!("{shape:?}"));
    }
    if sides.iter().any(|s| !(s.is_finite() && *s > 0.0)) {
        return value("the sides", "finite and positive", format!("{sides:?}"));
    }
    let count = match positions.dims() {
        [count, width] if *width == axes => *count,
        dims => return value("the positions", "[particle, axis]", format!("{dims:?} for {axes} axes")),
    };
    if let Some(masses) = masses.filter(|m| m.dims() != [count]) {
        return value("the masses", "[particle]", format!("{:?} for {count} particles", masses.dims()));
    }
    let cells = shape.iter().product();
    let device = positions.device();
    if count == 0 {
        return Ok(Tensor::zeros(shape, DType::F32, device)?);
    }
    let dtype = precise(device);
    let positions = positions.to_dtype(dtype)?;
    // Of every particle and corner of its cloud: the place and the weight, `[particle, corners]`.
    let mut place = Tensor::zeros((count, 1), dtype, device)?;
    let mut weight = match masses {
        Some(masses) => masses.to_dtype(dtype)?.unsqueeze(1)?,
        None => Tensor::ones((count, 1), dtype, device)?,
    };
    for axis in 0..axes {
        let n = shape[axis];
        let at = positions.narrow(1, axis, 1)?.affine(n as f64 / sides[axis], -0.5)?;
        let (first, weights) = weights(scheme, &at)?;
        let steps = Tensor::arange(0u32, weights.dims()[1] as u32, device)?.to_dtype(dtype)?;
        let along = first.broadcast_add(&steps.unsqueeze(0)?)?;
        let (along, weights) = match periodic {
            true => (wrapped(&along, n)?, weights),
            false => {
                let weights = (weights * inside(&along, n)?)?;
                (along.clamp(0.0, (n - 1) as f64)?, weights)
            }
        };
        let corners = place.dims()[1] * along.dims()[1];
        place = (place * n as f64)?
            .unsqueeze(2)?
            .broadcast_add(&along.unsqueeze(1)?)?
            .reshape((count, corners))?;
        weight = weight.unsqueeze(2)?.broadcast_mul(&weights.unsqueeze(1)?)?.reshape((count, corners))?;
    }
    Ok(scatter(cells, &place, &weight)?.reshape(shape)?)
}

/// The first point `[particle, 1]` and the weights `[particle, points]` along one axis, of positions in units of the grid.
fn weights(scheme: Scheme, at: &Tensor) -> Result<(Tensor, Tensor)> {
    let floor = |x: &Tensor| -> Result<Tensor> { Ok(x.detach().floor()?) };
    let nearest = floor(&(at + 0.5)?)?;
    Ok(match scheme {
        Scheme::Ngp => (nearest.clone(), nearest.ones_like()?),
        Scheme::Cic => {
            let first = floor(at)?;
            let u = (at - &first)?;
            (first, Tensor::cat(&[&u.affine(-1.0, 1.0)?, &u], 1)?)
        }
        Scheme::Tsc => {
            let u = (at - &nearest)?;
            let half = |sign: f64| -> Result<Tensor> { Ok((u.affine(sign, 0.5)?.sqr()? * 0.5)?) };
            let middle = u.sqr()?.affine(-1.0, 0.75)?;
            ((nearest - 1.0)?, Tensor::cat(&[&half(-1.0)?, &middle, &half(1.0)?], 1)?)
        }
        Scheme::Pcs => {
            let first = floor(at)?;
            let u = (at - &first)?;
            let v = u.affine(-1.0, 1.0)?;
            let far = |s: &Tensor| -> Result<Tensor> { Ok(((s.sqr()? * s)? / 6.0)?) };
            // (4 - 6 s^2 + 3 s^3) / 6.
            let near = |s: &Tensor| -> Result<Tensor> {
                Ok((s.sqr()? * s.affine(0.5, -1.0)?)?.affine(1.0, 2.0 / 3.0)?)
            };
            ((first - 1.0)?, Tensor::cat(&[&far(&v)?, &near(&u)?, &near(&v)?, &far(&u)?], 1)?)
        }
    })
}

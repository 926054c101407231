//! Projection of kernels on a device.

use candle_core::{DType, Device, Tensor};

use super::{inside, precise, scatter, wrapped};
use crate::kernel::CELLS;
use crate::smooth::Profile;
use crate::{Error, Kernel, Method, Result};

const OPERATION: &str = "projection on a device";
/// Pixels of kernels that are laid at a time.
const ROOM: usize = 1 << 22;

/// The mass per pixel `[y, x]` of particles at `positions` `[particle, 2]` in the order x, y, over an image of `shape` pixels from
/// the origin to `sides`, both `[y, x]`, by any [`Method`]; as [`project`](crate::project) but for the division by a pixel's area.
///
/// `radii` `[particle]` are radii of support, needed by methods with a kernel. Pixels are square for those. Particles are taken in
/// groups of similar radius, each as squares of that many pixels. Gradients flow to masses.
///
/// # Errors
/// [`Error::Value`] for shapes that do not fit, an empty image, an absurd side, pixels that are not square, or radii that are not given;
/// [`Error::Candle`] and [`Error::Kernels`].
pub fn project_tensor(
    positions: &Tensor,
    masses: &Tensor,
    radii: Option<&Tensor>,
    shape: [usize; 2],
    sides: [f64; 2],
    periodic: bool,
    method: Method,
) -> Result<Tensor> {
    let value = |what: &str, expected, got: String| {
        Err(Error::Value { operation: OPERATION, what: what.into(), expected, got })
    };
    let [ny, nx] = shape;
    let Some(kernel) = method.kernel() else {
        let grid = super::assign_tensor(
            positions,
            Some(masses),
            &[nx, ny],
            &[sides[1], sides[0]],
            periodic,
            method.scheme(),
        )?;
        return Ok(grid.t()?.contiguous()?);
    };
    let Some(radii) = radii else {
        return value("the particles' radii", "given, for a method with a kernel", "none".into());
    };
    let count = positions.dims().first().copied().unwrap_or(0);
    for (what, tensor, dims) in [
        ("the positions", positions, vec![count, 2]),
        ("the masses", masses, vec![count]),
        ("the radii", radii, vec![count]),
    ] {
        if tensor.dims() != dims {
            return value(what, "one for each particle", format!("{:?} of {count} particles", tensor.dims()));
        }
    }
    if ny == 0 || nx == 0 || sides.iter().any(|s| !(s.is_finite() && *s > 0.0)) {
        return value("the image", "pixels and positive sides", format!("{shape:?} over {sides:?}"));
    }
    let pixel = [sides[0] / ny as f64, sides[1] / nx as f64];
    if (pixel[0] / pixel[1] - 1.0).abs() > 1e-9 {
        return value("the pixels", "square, for a method with a kernel", format!("{pixel:?}"));
    }
    let device = positions.device();
    let dtype = precise(device);
    let at = (positions.to_dtype(dtype)?.detach() / pixel[0])?;
    let radius = (radii.to_dtype(dtype)?.detach() / pixel[0])?;
    let known: Vec<f64> = radius.to_dtype(DType::F64)?.to_vec1()?;
    if let Some((i, r)) = known.iter().enumerate().find(|(_, r)| !(r.is_finite() && **r >= 0.0)) {
        return value(&format!("radius of particle {i}"), "finite and not negative", r.to_string());
    }
    let wide = match method {
        Method::Sphere => f64::INFINITY,
        Method::WendlandC4 => 8.0,
        _ => 6.0,
    };
    // Groups of one width of square: from 2 pixels on, each width a quarter more than the one before.
    let mut groups: std::collections::BTreeMap<(bool, usize), Vec<u32>> = Default::default();
    for (i, r) in known.iter().enumerate() {
        let mut width = 2usize;
        while (width as f64) < 2.0 * r + 2.0 {
            width += (width / 4).max(1);
        }
        groups.entry((*r >= wide, width)).or_default().push(i as u32);
    }
    let mut image = Tensor::zeros(ny * nx, DType::F32, device)?;
    for ((smooth, width), members) in groups {
        for members in members.chunks((ROOM / (width * width)).max(1)) {
            let members = Tensor::from_slice(members, members.len(), device)?;
            let at = at.index_select(&members, 0)?;
            let radius = radius.index_select(&members, 0)?.unsqueeze(1)?;
            let mass = halocast_kernels::index_select(masses, &members, 0)?.to_dtype(dtype)?.unsqueeze(1)?;
            let first = |axis: usize| -> Result<Tensor> { Ok((at.narrow(1, axis, 1)? - &radius)?.floor()?) };
            let (x0, y0) = (first(0)?, first(1)?);
            let steps = |n: usize| Tensor::arange(0u32, n as u32, device)?.to_dtype(dtype)?.unsqueeze(0);
            // Pixels along each axis, `[particle, width]`.
            let (xs, ys) = (x0.broadcast_add(&steps(width)?)?, y0.broadcast_add(&steps(width)?)?);
            let weights = if smooth {
                let centre = |cells: &Tensor, axis: usize| -> Result<Tensor> {
                    let d = (cells + 0.5)?.broadcast_sub(&at.narrow(1, axis, 1)?)?;
                    Ok(d.broadcast_div(&radius)?.sqr()?)
                };
                profile(kernel, &centre(&ys, 1)?, &centre(&xs, 0)?, &radius)?
            } else {
                let edges = |first: &Tensor, axis: usize| -> Result<Tensor> {
                    let d =
                        first.broadcast_add(&steps(width + 1)?)?.broadcast_sub(&at.narrow(1, axis, 1)?)?;
                    // A radius of nothing is one of very little.
                    Ok(d.broadcast_div(&radius.maximum(1e-30)?)?.clamp(-1.0, 1.0)?)
                };
                table(kernel, &edges(&y0, 1)?, &edges(&x0, 0)?)?
            };
            let (rows, columns) = match periodic {
                true => (wrapped(&ys, ny)?, wrapped(&xs, nx)?),
                false => (ys.clamp(0.0, (ny - 1) as f64)?, xs.clamp(0.0, (nx - 1) as f64)?),
            };
            let weights = match periodic {
                true => weights,
                false => {
                    let seen =
                        inside(&ys, ny)?.unsqueeze(2)?.broadcast_mul(&inside(&xs, nx)?.unsqueeze(1)?)?;
                    (weights * seen)?
                }
            };
            let place = (rows * nx as f64)?.unsqueeze(2)?.broadcast_add(&columns.unsqueeze(1)?)?;
            let weights = weights.flatten_from(1)?.broadcast_mul(&mass)?;
            image = (image + scatter(ny * nx, &place, &weights)?)?;
        }
    }
    Ok(image.reshape((ny, nx))?)
}

/// Weights `[particle, y, x]` from squared distances along each axis in radii, normalised.
fn profile(kernel: Kernel, dy2: &Tensor, dx2: &Tensor, radius: &Tensor) -> Result<Tensor> {
    let t = dy2.unsqueeze(2)?.broadcast_add(&dx2.unsqueeze(1)?)?;
    // The share of the Laplacian, 1 / (24 r^2).
    let share = (radius.sqr()?.recip()? / 24.0)?.unsqueeze(2)?;
    let horner = |c: &[f64], u: &Tensor| -> Result<Tensor> {
        let mut sum = u.zeros_like()?;
        for c in c.iter().rev() {
            sum = ((sum * u)? + *c)?;
        }
        Ok(sum)
    };
    let both = |value: &[f64], laplacian: &[f64], u: &Tensor| -> Result<Tensor> {
        Ok((horner(value, u)? + horner(laplacian, u)?.broadcast_mul(&share)?)?)
    };
    let values = match Profile::of(kernel) {
        Profile::Squared { value, laplacian } => {
            let [inner, outer] = [0, 1].map(|p| {
                let (middle, half) = crate::smooth::place(p);
                both(&value[p], &laplacian[p], &t.affine(1.0 / half, -middle / half)?)
            });
            t.lt(crate::smooth::KNOT)?.where_cond(&inner?, &outer?)?
        }
        Profile::Linear { value, laplacian } => both(value, laplacian, &t.sqrt()?)?,
        Profile::Sphere => ((t.affine(-1.0, 1.0)?.relu()?.sqrt()?) * (1.5 / std::f64::consts::PI))?,
    };
    let within = t.lt(1.0)?.to_dtype(t.dtype())?;
    let values = (values.relu()? * within)?;
    let total = values.sum_keepdim(2)?.sum_keepdim(1)?;
    Ok(values.broadcast_div(&total)?)
}

/// Masses `[particle, y, x]` between edges in radii, from the kernel's table.
fn table(kernel: Kernel, ys: &Tensor, xs: &Tensor) -> Result<Tensor> {
    let device = ys.device();
    let nodes = tabulated(kernel, device)?.to_dtype(ys.dtype())?;
    let side = CELLS as f64;
    let place = |e: &Tensor| -> Result<[Tensor; 3]> {
        let t = (e.abs()? * side)?;
        let node = t.floor()?.clamp(0.0, side - 1.0)?;
        let sign = (e.ge(0.0)?.to_dtype(e.dtype())?.affine(2.0, -1.0))?;
        Ok([node.clone(), (t - node)?, sign])
    };
    let ([yn, yf, ysign], [xn, xf, xsign]) = (place(ys)?, place(xs)?);
    let shape = (ys.dims()[0], ys.dims()[1], xs.dims()[1]);
    let q = |dy: f64, dx: f64| -> Result<Tensor> {
        let row = ((&yn + dy)? * (side + 1.0))?;
        let index = row.unsqueeze(2)?.broadcast_add(&(&xn + dx)?.unsqueeze(1)?)?;
        let index = index.flatten_all()?.to_dtype(DType::U32)?;
        Ok(nodes.index_select(&index, 0)?.reshape(shape)?)
    };
    let (yf, xf) = (yf.unsqueeze(2)?, xf.unsqueeze(1)?);
    let along = |dx: f64| -> Result<Tensor> {
        let (low, high) = (q(0.0, dx)?, q(1.0, dx)?);
        Ok((&low + (high - &low)?.broadcast_mul(&yf)?)?)
    };
    let (left, right) = (along(0.0)?, along(1.0)?);
    let q = (&left + (right - &left)?.broadcast_mul(&xf)?)?;
    let q = q.broadcast_mul(&ysign.unsqueeze(2)?)?.broadcast_mul(&xsign.unsqueeze(1)?)?;
    let (ny, nx) = (shape.1 - 1, shape.2 - 1);
    let across = (q.narrow(2, 1, nx)? - q.narrow(2, 0, nx)?)?;
    Ok((across.narrow(1, 1, ny)? - across.narrow(1, 0, ny)?)?.relu()?)
}

fn tabulated(kernel: Kernel, device: &Device) -> Result<Tensor> {
    let nodes = kernel.quadrant().nodes();
    let dtype = precise(device);
    Ok(Tensor::from_slice(nodes, nodes.len(), &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?)
}

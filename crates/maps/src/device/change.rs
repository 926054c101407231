//! Augmentation on a device: the changes of [`Augmentation`], [`Octahedral`] and [`CloudAugmentation`] on tensors.

use candle_core::{D, DType, Tensor};
use halocast_core::Rng;

use super::precise;
use crate::{Augmentation, CloudAugmentation, Dihedral, Error, Octahedral, Recipe, Result, Rotation};

const OPERATION: &str = "augmentation on a device";

fn refuse<T>(what: &str, expected: &'static str, got: String) -> Result<T> {
    Err(Error::Value { operation: OPERATION, what: what.into(), expected, got })
}

/// The tensor with an axis in the opposite order.
fn reversed(x: &Tensor, axis: usize) -> Result<Tensor> {
    let n = x.dims()[axis] as u32;
    let order: Vec<u32> = (0..n).rev().collect();
    Ok(halocast_kernels::index_select(x, &Tensor::new(order, x.device())?, axis)?)
}

/// The tensor moved by whole cells along its last axes, one number for each, with what leaves one side entering at the other.
///
/// # Errors
/// [`Error::Value`] for more numbers than axes; [`Error::Candle`] and [`Error::Kernels`].
pub fn shift_tensor(x: &Tensor, by: &[i64]) -> Result<Tensor> {
    let Some(first) = x.rank().checked_sub(by.len()) else {
        return refuse("the shift", "at most one number an axis", format!("{by:?} for {:?}", x.dims()));
    };
    let mut out = x.clone();
    for (axis, by) in by.iter().enumerate() {
        let n = x.dims()[first + axis];
        let order: Vec<u32> =
            (0..n).map(|i| (i as i64 - by % n.max(1) as i64).rem_euclid(n as i64) as u32).collect();
        out = halocast_kernels::index_select(&out, &Tensor::new(order, x.device())?, first + axis)?;
    }
    Ok(out)
}

impl Dihedral {
    /// The element on the last two axes, `[.., y, x]`, of a tensor: as [`Dihedral::apply`] on each map.
    ///
    /// # Errors
    /// [`Error::Candle`] and [`Error::Kernels`].
    pub fn apply_tensor(self, x: &Tensor) -> Result<Tensor> {
        let axis = x.rank().saturating_sub(2);
        let mut out =
            if self.transpose { x.transpose(D::Minus2, D::Minus1)?.contiguous()? } else { x.clone() };
        if self.flip_y {
            out = reversed(&out, axis)?;
        }
        if self.flip_x {
            out = reversed(&out, axis + 1)?;
        }
        Ok(out)
    }
}

/// An element of the symmetries of the cube on the last three axes, `[.., x, y, z]`, of a tensor: as [`Octahedral::apply`] on each cube.
///
/// # Errors
/// [`Error::Value`] for fewer than three axes; [`Error::Candle`] and [`Error::Kernels`].
pub fn symmetry_tensor(x: &Tensor, element: Octahedral) -> Result<Tensor> {
    let Some(first) = x.rank().checked_sub(3) else {
        return refuse("the cubes", "[.., x, y, z]", format!("{:?}", x.dims()));
    };
    let (axes, flip) = element.parts();
    let order: Vec<usize> = (0..first).chain(axes.map(|a| first + a)).collect();
    let mut out = x.permute(order)?.contiguous()?;
    for axis in (0..3).filter(|&a| flip[a]) {
        out = reversed(&out, first + axis)?;
    }
    Ok(out)
}

impl Augmentation {
    /// Changed maps `[map, channel, y, x]`: the change of map i depends on the generator's key and i alone, and is that of
    /// [`Augmentation::apply_all`]; the channels of a map share it. Maps must be square where they are turned.
    ///
    /// # Errors
    /// As [`Augmentation::apply`]; [`Error::Value`] for a tensor of other axes; [`Error::Candle`] and [`Error::Kernels`].
    pub fn apply_tensor(&self, maps: &Tensor, periodic: bool, rng: &Rng) -> Result<Tensor> {
        let &[count, channels, ny, nx] = maps.dims() else {
            return refuse("the maps", "[map, channel, y, x]", format!("{:?}", maps.dims()));
        };
        if self.shift && !periodic {
            return refuse("a shift of maps", "periodic", "open ones".into());
        }
        if self.dihedral && ny != nx {
            return refuse("the maps", "square, to be turned in one tensor", format!("{ny} x {nx}"));
        }
        let one = |i: usize| -> Result<Tensor> {
            let mut rng = rng.split(i as u64);
            let mut map = maps.get(i)?;
            if self.dihedral {
                map = Dihedral::random(&mut rng).apply_tensor(&map)?;
            }
            if self.shift {
                map = shift_tensor(&map, &[rng.below(ny) as i64, rng.below(nx) as i64])?;
            }
            if let Some([height, width]) = self.crop {
                if height == 0 || width == 0 || height > ny || width > nx {
                    let got = format!("[{height}, {width}] of [{ny}, {nx}]");
                    return refuse("the shape of the crop", "at least a pixel and at most the map", got);
                }
                let (y, x) = (rng.below(ny - height + 1), rng.below(nx - width + 1));
                map = map.narrow(1, y, height)?.narrow(2, x, width)?.contiguous()?;
            }
            if let Some([low, high]) = self.scale {
                if !(low > 0.0 && low <= high && high.is_finite()) {
                    let got = format!("{low}..{high}");
                    return refuse("the range of the factor", "positive, the lower first", got);
                }
                map = (map * f64::from((f64::from(low) * f64::from(high / low).powf(rng.uniform())) as f32))?;
            }
            if let Some(sigma) = self.noise {
                if !(sigma >= 0.0 && sigma.is_finite()) {
                    return refuse("the noise", "finite and not negative", sigma.to_string());
                }
                let normals = halocast_kernels::random_normal(map.shape(), &mut rng, map.device())?;
                map = (map + (normals * f64::from(sigma))?)?;
            }
            Ok(map)
        };
        let changed = (0..count).map(one).collect::<Result<Vec<_>>>()?;
        if changed.is_empty() {
            let [height, width] = self.crop.unwrap_or([ny, nx]);
            return Ok(Tensor::zeros((0, channels, height, width), maps.dtype(), maps.device())?);
        }
        Ok(Tensor::stack(&changed, 0)?)
    }
}

impl Recipe {
    /// The copies of a map `[channel, y, x]`, `[copy, channel, y, x]`: as [`Recipe::apply`]; square maps, periodic where they are shifted.
    ///
    /// # Errors
    /// [`Error::Value`] for a tensor of other axes, or a map that is not square; [`Error::Candle`] and [`Error::Kernels`].
    pub fn apply_tensor(self, map: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        let &[_, ny, nx] = map.dims() else {
            return refuse("the map", "[channel, y, x]", format!("{:?}", map.dims()));
        };
        if ny != nx {
            return refuse("the map", "square", format!("{ny} x {nx}"));
        }
        let copies = self
            .elements([ny, nx], rng)
            .into_iter()
            .map(|(by, element)| element.apply_tensor(&shift_tensor(map, &by)?))
            .collect::<Result<Vec<_>>>()?;
        Ok(Tensor::stack(&copies, 0)?)
    }
}

/// Maps `[.., y, x]` turned about their centre by an angle in degrees with bilinear interpolation: as [`rotate`](crate::rotate).
///
/// # Errors
/// [`Error::Value`] for an angle that is not finite or fewer than two axes; [`Error::Candle`] and [`Error::Kernels`].
pub fn rotate_tensor(maps: &Tensor, degrees: f64, periodic: bool) -> Result<Tensor> {
    if !degrees.is_finite() {
        return refuse("the angle", "finite", degrees.to_string());
    }
    let Some(first) = maps.rank().checked_sub(2) else {
        return refuse("the maps", "[.., y, x]", format!("{:?}", maps.dims()));
    };
    let (ny, nx) = (maps.dims()[first], maps.dims()[first + 1]);
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (cy, cx) = (0.5 * ny as f64 - 0.5, 0.5 * nx as f64 - 0.5);
    // Of every pixel its four sources and their weights.
    let mut sources = [const { Vec::new() }; 4];
    let mut weights = [const { Vec::new() }; 4];
    for i in 0..ny * nx {
        let (dy, dx) = ((i / nx) as f64 - cy, (i % nx) as f64 - cx);
        let (sy, sx) = (cy - sin * dx + cos * dy, cx + cos * dx + sin * dy);
        let (v, u) = (sy - sy.floor(), sx - sx.floor());
        for corner in 0..4 {
            let (below, right) = (corner / 2, corner % 2);
            let (y, x) = (sy.floor() as i64 + below as i64, sx.floor() as i64 + right as i64);
            let share = if below == 1 { v } else { 1.0 - v } * if right == 1 { u } else { 1.0 - u };
            let seen = periodic || ((0..ny as i64).contains(&y) && (0..nx as i64).contains(&x));
            let (y, x) = (y.rem_euclid(ny as i64) as u32, x.rem_euclid(nx as i64) as u32);
            sources[corner].push(y * nx as u32 + x);
            weights[corner].push(if seen { share as f32 } else { 0.0 });
        }
    }
    let mut dims = maps.dims()[..first].to_vec();
    dims.push(ny * nx);
    let flat = maps.reshape(dims)?;
    let mut turned = flat.zeros_like()?;
    for (sources, weights) in sources.into_iter().zip(weights) {
        let picked = halocast_kernels::index_select(&flat, &Tensor::new(sources, maps.device())?, first)?;
        let weights = Tensor::new(weights, maps.device())?.to_dtype(maps.dtype())?;
        turned = (turned + picked.broadcast_mul(&weights)?)?;
    }
    Ok(turned.reshape(maps.shape())?)
}

/// Vectors `[.., 3]` turned by a matrix: positions about the origin, velocities.
///
/// # Errors
/// [`Error::Value`] for vectors of another length; [`Error::Candle`].
pub fn rotate_points(vectors: &Tensor, rotation: &Rotation) -> Result<Tensor> {
    if vectors.dims().last() != Some(&3) {
        return refuse("the vectors", "[.., 3]", format!("{:?}", vectors.dims()));
    }
    let (dtype, device) = (precise(vectors.device()), vectors.device());
    let matrix = Tensor::from_vec(rotation.rows.concat(), (3, 3), &candle_core::Device::Cpu)?;
    let matrix = matrix.to_dtype(dtype)?.to_device(device)?.t()?.contiguous()?;
    let flat = vectors.to_dtype(dtype)?.reshape(((), 3))?;
    Ok(flat.matmul(&matrix)?.reshape(vectors.shape())?.to_dtype(vectors.dtype())?)
}

impl CloudAugmentation {
    /// A changed cloud: positions and velocities `[point, 3]`, as [`CloudAugmentation::apply`] with a generator in the same state.
    ///
    /// # Errors
    /// As [`CloudAugmentation::apply`]; [`Error::Value`] for vectors of another length; [`Error::Candle`].
    pub fn apply_tensor(
        self,
        positions: &Tensor,
        velocities: Option<&Tensor>,
        box_side: Option<f64>,
        rng: &mut Rng,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let dtype = precise(positions.device());
        let (mut places, mut speeds) = (positions.to_dtype(dtype)?, velocities.cloned());
        let mut turn = |rotation: &Rotation, centre: f64| -> Result<()> {
            places = (rotate_points(&(&places - centre)?, rotation)? + centre)?;
            speeds = speeds.as_ref().map(|v| rotate_points(v, rotation)).transpose()?;
            Ok(())
        };
        if self.octahedral {
            turn(&Octahedral::random(rng).matrix(), 0.5 * box_side.unwrap_or(0.0))?;
        }
        match (self.rotation, box_side) {
            (true, Some(_)) => return refuse("a rotated cloud", "open", "periodic".into()),
            (true, None) => turn(&Rotation::random(rng), 0.0)?,
            (false, _) => {}
        }
        match (self.translation, box_side) {
            (true, None) => return refuse("a translated cloud", "periodic", "open".into()),
            (true, Some(side)) => {
                let by: Vec<f64> = (0..3).map(|_| side * rng.uniform()).collect();
                let by = Tensor::new(by, &candle_core::Device::Cpu)?
                    .to_dtype(dtype)?
                    .to_device(places.device())?;
                let moved = places.broadcast_add(&by)?;
                places = (&moved - ((&moved / side)?.floor()? * side)?)?;
            }
            (false, _) => {}
        }
        let places = places.to_dtype(positions.dtype())?;
        // Rounding may bring the side itself back.
        let places = match box_side.filter(|_| self.translation) {
            Some(side) => {
                let below = places.to_dtype(DType::F64)?.lt(side)?.to_dtype(places.dtype())?;
                (places * below)?
            }
            None => places,
        };
        Ok((places, speeds))
    }
}

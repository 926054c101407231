//! Clouds on the host: checked, wrapped into the box, padded to three axes.

use candle_core::{DType, Tensor};

use super::space::{Boundary, Space, wrap};
use crate::{Error, Result, device};

/// The largest coordinate whose squared differences cannot overflow.
const LARGEST: f32 = 1e18;

/// The sizes of `[batch, points, axes]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) points: usize,
    pub(super) axes: usize,
}

/// Checks that a tensor is a batch of clouds.
pub(super) fn sizes(op: &'static str, name: &'static str, cloud: &Tensor) -> Result<Sizes> {
    match *cloud.dims() {
        [batch, points, axes] if axes > 0 => Ok(Sizes { batch, points, axes }),
        _ => Err(Error::shape(op, name, "[batch, points, axes]", cloud.dims())),
    }
}

/// Checks that two tensors are clouds of as many examples and axes, in a type that has distances.
pub(super) fn pair(
    op: &'static str,
    (name_a, a): (&'static str, &Tensor),
    (name_b, b): (&'static str, &Tensor),
) -> Result<(Sizes, Sizes)> {
    let (size_a, size_b) = (sizes(op, name_a, a)?, sizes(op, name_b, b)?);
    if size_a.batch != size_b.batch || size_a.axes != size_b.axes || a.dtype() != b.dtype() {
        let expected = format!("[{}, points, {}] of type {:?}", size_a.batch, size_a.axes, a.dtype());
        return Err(Error::shape(op, name_b, expected, b.dims()));
    }
    real(op, name_a, a)?;
    Ok((size_a, size_b))
}

/// Checks that a tensor holds real numbers.
pub(super) fn real(op: &'static str, name: &'static str, cloud: &Tensor) -> Result<()> {
    match cloud.dtype() {
        DType::F32 | DType::F64 => Ok(()),
        other => Err(Error::argument(op, name, "of type F32 or F64", format!("{other:?}"))),
    }
}

/// Refuses coordinates that have no distance.
pub(super) fn finite(op: &'static str, name: &'static str, values: &[f32]) -> Result<()> {
    // Written so that NaN fails, and without an early end so that it vectorises.
    if values.iter().fold(true, |good, v| good & (v.abs() < LARGEST)) {
        return Ok(());
    }
    let fits = |v: &f32| v.abs() < LARGEST;
    let bad = values.iter().copied().find(|v| !fits(v)).unwrap_or(f32::NAN);
    Err(Error::argument(op, name, "finite coordinates below 1e18", bad))
}

/// Points of up to three axes as points of three: wrapped into the box, the missing axes zero.
pub(super) fn lift(
    op: &'static str,
    name: &'static str,
    values: &[f32],
    axes: usize,
    space: &Space,
) -> Result<Vec<[f32; 3]>> {
    finite(op, name, values)?;
    let point = |p: &[f32]| {
        let mut q = [0.0; 3];
        for ((to, &from), &side) in q.iter_mut().zip(p).zip(&space.sides) {
            *to = if space.periodic { wrap(from, side) } else { from };
        }
        q
    };
    Ok(values.chunks_exact(axes).map(point).collect())
}

/// The numbers of a single-precision CPU tensor of clouds, lifted.
pub(super) fn lifted(
    op: &'static str,
    name: &'static str,
    cloud: &Tensor,
    boundary: &Boundary,
) -> Result<Vec<[f32; 3]>> {
    let axes = sizes(op, name, cloud)?.axes;
    let space = Space::new(op, boundary, axes)?;
    Ok(crate::memory::with_numbers(cloud, |values| Ok(lift(op, name, values, axes, &space)?))?)
}

/// Clouds of a device, of whose examples the first `counts` points are checked as [`lifted`] checks those of the CPU.
pub(super) fn on_device(
    op: &'static str,
    name: &'static str,
    cloud: &Tensor,
    counts: Option<&Tensor>,
    space: &Space,
) -> Result<device::Cloud> {
    device::Cloud::new(cloud, counts, &space.on_device())?
        .ok_or_else(|| Error::argument(op, name, "finite coordinates below 1e18", "others"))
}

/// Checks indices `[batch, ..]` into clouds of `points` points, and copies them to the host.
pub(super) fn indices(
    op: &'static str,
    indices: &Tensor,
    batch: usize,
    points: usize,
    rank: &[usize],
) -> Result<Vec<u32>> {
    let dims = indices.dims();
    if !rank.contains(&dims.len()) || dims.first() != Some(&batch) {
        let expected = format!("[{batch}, ..] of {rank:?} axes");
        return Err(Error::shape(op, "indices", expected, dims));
    }
    if indices.dtype() != DType::U32 {
        return Err(Error::argument(op, "indices", "of type U32", format!("{:?}", indices.dtype())));
    }
    let values = indices.flatten_all()?.to_vec1::<u32>()?;
    match values.iter().find(|&&i| i as usize >= points) {
        Some(bad) => Err(Error::argument(op, "indices", format!("below {points}"), bad)),
        None => Ok(values),
    }
}

//! The k nearest points, and the points in a ball.

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::cloud::{Sizes, finite, lifted, on_device, pair};
use super::search::{self, Key, index_of, nearest_ordered, squared_of};
use super::space::{Boundary, Space};
use super::tree::{Tree, trees};
use super::{features, reference};
use crate::memory::{on_cpu, with_numbers};
use crate::{Error, Result, device};

/// The answer of [`knn`].
#[derive(Clone, Debug)]
pub struct Neighbors {
    /// Which points: `[batch, queries, k]` of type U32, nearest first.
    pub indices: Tensor,
    /// Their squared distances, in the type of the points.
    pub squared_distances: Tensor,
}

/// The `k` nearest of `points [batch, n, axes]` to each of `queries [batch, m, axes]`, nearest first, equal distances
/// by index. A query that is among the points finds itself.
///
/// $$ d^2_{ij} = \sum_a (q_{ia} - p_{ja})^2, $$
///
/// of the nearest images in a periodic box. The result is that of comparing all pairs with $d^2$ summed in single
/// precision (see the exactness rule of the crate). Indices have no gradient, and `squared_distances` none either.
///
/// O((n + m) log n) up to three axes, O(n m axes) beyond; memory is linear.
///
/// # Source
/// Friedman, Bentley & Finkel 1977, ACM Trans. Math. Softw. 3, 209.
///
/// # Errors
/// Where the shapes do not fit, `k` is 0 or above `n`, a coordinate is not finite (or above 1e18), a box is given with
/// more than three axes, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_kernels::{Boundary, knn};
/// let points = Tensor::new(&[[[0.5f32], [4.0], [9.0]]], &Device::Cpu)?;
/// let queries = Tensor::new(&[[[0.0f32]]], &Device::Cpu)?;
/// let open = knn(&points, &queries, 2, &Boundary::Open)?;
/// assert_eq!(open.indices.to_vec3::<u32>()?, [[[0, 1]]]);
/// // In a box of side 10 the point at 9 is at distance 1.
/// let periodic = knn(&points, &queries, 2, &Boundary::cube(10.0))?;
/// assert_eq!(periodic.indices.to_vec3::<u32>()?, [[[0, 2]]]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn knn(points: &Tensor, queries: &Tensor, k: usize, boundary: &Boundary) -> Result<Neighbors> {
    const OP: &str = "knn";
    let (p, q) = pair(OP, ("points", points), ("queries", queries))?;
    if k == 0 || k > p.points {
        return Err(Error::argument(OP, "k", format!("between 1 and {} points", p.points), k));
    }
    boundary.sides(OP, p.axes)?;
    if p.axes <= 3 && k <= device::MOST_NEIGHBORS && device::takes(&[points, queries]) {
        let space = Space::new(OP, boundary, p.axes)?;
        let cloud = on_device(OP, "points", points, None, &space)?;
        let targets = on_device(OP, "queries", queries, None, &space)?;
        let [indices, squared_distances] = device::knn(&cloud, &targets, k, &space.on_device())?;
        return Ok(Neighbors { indices, squared_distances });
    }
    if !points.device().is_cpu() {
        let near = knn(&host(points)?, &host(queries)?, k, boundary)?;
        let device = points.device();
        return Ok(Neighbors {
            indices: near.indices.to_device(device)?,
            squared_distances: near.squared_distances.to_device(device)?,
        });
    }
    if !on_cpu(&[points, queries]) {
        return reference::knn(points, queries, k, boundary);
    }
    let found = if p.axes > 3 {
        wide(OP, points, queries, k, p, q)?
    } else {
        let same = points.id() == queries.id();
        let space = Space::new(OP, boundary, p.axes)?;
        let cloud = lifted(OP, "points", points, boundary)?;
        let targets = if same { vec![] } else { lifted(OP, "queries", queries, boundary)? };
        let targets = if same { &cloud } else { &targets };
        let forest = trees(&cloud, p.points);
        let each = |(tree, targets): (&Tree, &[[f32; 3]])| {
            if same {
                nearest_ordered(tree, targets, tree, k, &space)
            } else {
                search::nearest(tree, targets, k, &space)
            }
        };
        let found: Vec<Vec<Key>> =
            forest.par_iter().zip(targets.par_chunks(q.points.max(1))).map(each).collect();
        concat(found)
    };
    let indices: Vec<u32> = found.par_iter().map(|&key| index_of(key)).collect();
    let squared: Vec<f32> = found.par_iter().map(|&key| squared_of(key)).collect();
    let shape = (q.batch, q.points, k);
    Ok(Neighbors {
        indices: Tensor::from_vec(indices, shape, &Device::Cpu)?,
        squared_distances: Tensor::from_vec(squared, shape, &Device::Cpu)?,
    })
}

fn wide(
    op: &'static str,
    points: &Tensor,
    queries: &Tensor,
    k: usize,
    p: Sizes,
    q: Sizes,
) -> Result<Vec<Key>> {
    Ok(with_numbers(points, |points| {
        finite(op, "points", points)?;
        with_numbers(queries, |queries| {
            finite(op, "queries", queries)?;
            let found: Vec<Vec<Key>> = points
                .par_chunks(p.points * p.axes)
                .zip(queries.par_chunks((q.points * q.axes).max(1)))
                .map(|(points, queries)| features::nearest(points, queries, p.axes, k))
                .collect();
            Ok(concat(found))
        })
    })?)
}

/// The answer of [`ball_query`].
#[derive(Clone, Debug)]
pub struct Ball {
    /// Which points: `[batch, queries, most]` of type U32, ascending, then the first of them again.
    pub indices: Tensor,
    /// How many of them are not repetitions: `[batch, queries]` of type U32.
    pub counts: Tensor,
}

/// The points closer than `radius` to each query: the `most` of smallest index, in ascending order. Where there are
/// fewer, the first is repeated; where there is none, index 0 is, and the count is 0.
///
/// A point is inside where the squared distance of [`knn`] is below $r^2$, both in the type of the points. One to three
/// axes; O(log n + points inside) a query.
///
/// # Source
/// PointNet++ (Qi et al. 2017, arXiv:1706.02413), whose convention of order and padding this is.
///
/// # Errors
/// Where the shapes do not fit, there are no points, `most` is 0, `radius` is not positive, a coordinate is not finite,
/// there are more than three axes, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_kernels::{Boundary, ball_query};
/// let points = Tensor::new(&[[[5.0f32, 0.0], [0.5, 0.0], [0.0, 0.2]]], &Device::Cpu)?;
/// let queries = Tensor::new(&[[[0.0f32, 0.0]]], &Device::Cpu)?;
/// let ball = ball_query(&points, &queries, 1.0, 3, &Boundary::Open)?;
/// assert_eq!(ball.indices.to_vec3::<u32>()?, [[[1, 2, 1]]]);
/// assert_eq!(ball.counts.to_vec2::<u32>()?, [[2]]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn ball_query(
    points: &Tensor,
    queries: &Tensor,
    radius: f64,
    most: usize,
    boundary: &Boundary,
) -> Result<Ball> {
    const OP: &str = "ball_query";
    let (p, q) = pair(OP, ("points", points), ("queries", queries))?;
    if p.axes > 3 || p.points == 0 {
        return Err(Error::shape(OP, "points", "[batch, 1 or more, 1 to 3]", points.dims()));
    }
    if most == 0 {
        return Err(Error::argument(OP, "most", "at least 1", most));
    }
    if !(radius > 0.0 && radius < 1e18) {
        return Err(Error::argument(OP, "radius", "positive and finite", radius));
    }
    boundary.sides(OP, p.axes)?;
    if device::takes(&[points, queries]) {
        let space = Space::new(OP, boundary, p.axes)?;
        let cloud = on_device(OP, "points", points, None, &space)?;
        let targets = on_device(OP, "queries", queries, None, &space)?;
        let limit = radius as f32 * radius as f32;
        let [indices, counts] = device::ball_query(&cloud, &targets, limit, most, &space.on_device())?;
        return Ok(Ball { indices, counts });
    }
    if !points.device().is_cpu() {
        let ball = ball_query(&host(points)?, &host(queries)?, radius, most, boundary)?;
        let device = points.device();
        return Ok(Ball { indices: ball.indices.to_device(device)?, counts: ball.counts.to_device(device)? });
    }
    if !on_cpu(&[points, queries]) {
        return reference::ball_query(points, queries, radius, most, boundary);
    }
    let space = Space::new(OP, boundary, p.axes)?;
    let cloud = lifted(OP, "points", points, boundary)?;
    let targets = lifted(OP, "queries", queries, boundary)?;
    let limit = radius as f32 * radius as f32;
    let found: Vec<Vec<u32>> = trees(&cloud, p.points)
        .par_iter()
        .zip(targets.par_chunks(q.points.max(1)))
        .map(|(tree, targets)| search::within(tree, targets, limit, most, &space))
        .collect();
    padded(concat(found), q, most)
}

/// A [`Ball`] of rows that end with `u32::MAX`.
pub(super) fn padded(mut found: Vec<u32>, q: Sizes, most: usize) -> Result<Ball> {
    let count = |row: &mut [u32]| {
        let count = row.partition_point(|&i| i != u32::MAX);
        let first = if count > 0 { row[0] } else { 0 };
        row[count..].fill(first);
        count as u32
    };
    let counts: Vec<u32> = found.par_chunks_mut(most).map(count).collect();
    Ok(Ball {
        indices: Tensor::from_vec(found, (q.batch, q.points, most), &Device::Cpu)?,
        counts: Tensor::from_vec(counts, (q.batch, q.points), &Device::Cpu)?,
    })
}

/// A copy on the CPU in a type that has distances there.
pub(super) fn host(x: &Tensor) -> Result<Tensor> {
    let dtype = if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
    Ok(x.to_device(&Device::Cpu)?.to_dtype(dtype)?)
}

fn concat<T: Copy>(mut parts: Vec<Vec<T>>) -> Vec<T> {
    if parts.len() == 1 {
        return parts.pop().unwrap_or_default();
    }
    parts.concat()
}

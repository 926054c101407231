//! The operations on points again, by comparing all pairs in plain loops, in single or double precision on the host;
//! those with gradients composed of Candle's operations. For tests, and for tensors that the fast path does not take.

use candle_core::{D, DType, Device, Tensor, WithDType};

use super::cloud::{Sizes, pair, sizes};
use super::knn::padded;
use super::space::wrap;
use super::transport::assign;
use super::{Ball, Boundary, ChamferCfg, ChamferNorm, EdgeLayout, Ground, Neighbors, SampleCfg, SinkhornCfg};
use crate::{Error, Result};

/// A batch of clouds of numbers `T`.
struct Clouds<T> {
    values: Vec<T>,
    size: Sizes,
    sides: Option<Vec<T>>,
}

impl<T: WithDType> Clouds<T> {
    fn new(op: &'static str, cloud: &Tensor, boundary: &Boundary) -> Result<Self> {
        let size = sizes(op, "points", cloud)?;
        let values = cloud.to_device(&Device::Cpu)?.to_dtype(T::DTYPE)?.flatten_all()?.to_vec1::<T>()?;
        if let Some(bad) = values.iter().find(|v| v.to_f64().abs() >= 1e18 || !v.to_f64().is_finite()) {
            return Err(Error::argument(op, "points", "finite coordinates below 1e18", bad));
        }
        let sides = boundary.sides(op, size.axes)?;
        let sides: Option<Vec<T>> = sides.map(|sides| sides.into_iter().map(T::from_f64).collect());
        let mut clouds = Self { values, size, sides };
        if let Some(sides) = &clouds.sides {
            for point in clouds.values.chunks_exact_mut(size.axes) {
                for (x, &side) in point.iter_mut().zip(sides) {
                    *x = wrap(*x, side);
                }
            }
        }
        Ok(clouds)
    }

    fn point(&self, example: usize, i: usize) -> &[T] {
        &self.values[(example * self.size.points + i) * self.size.axes..][..self.size.axes]
    }

    fn squared(&self, a: &[T], b: &[T]) -> T {
        let zero = T::zero();
        let mut sum = zero;
        for axis in 0..self.size.axes {
            let mut d = a[axis] - b[axis];
            if let Some(sides) = &self.sides {
                d = if d < zero { zero - d } else { d };
                let other = sides[axis] - d;
                d = if other < d { other } else { d };
            }
            sum += d * d;
        }
        sum
    }
}

/// [`crate::knn`], O(n m).
///
/// # Errors
/// As there.
pub fn knn(points: &Tensor, queries: &Tensor, k: usize, boundary: &Boundary) -> Result<Neighbors> {
    match points.dtype() {
        DType::F64 => knn_of::<f64>(points, queries, k, boundary),
        _ => knn_of::<f32>(points, queries, k, boundary),
    }
}

fn knn_of<T: WithDType>(
    points: &Tensor,
    queries: &Tensor,
    k: usize,
    boundary: &Boundary,
) -> Result<Neighbors> {
    const OP: &str = "knn";
    let (p, q) = pair(OP, ("points", points), ("queries", queries))?;
    if k == 0 || k > p.points {
        return Err(Error::argument(OP, "k", format!("between 1 and {} points", p.points), k));
    }
    let (cloud, targets) =
        (Clouds::<T>::new(OP, points, boundary)?, Clouds::<T>::new(OP, queries, boundary)?);
    let (mut indices, mut squared) = (vec![], vec![]);
    for example in 0..q.batch {
        for i in 0..q.points {
            let query = targets.point(example, i);
            let mut all: Vec<(T, u32)> =
                (0..p.points).map(|j| (cloud.squared(cloud.point(example, j), query), j as u32)).collect();
            // Stable: equal distances stay in the order of their indices.
            all.sort_by(|a, b| a.0.to_f64().total_cmp(&b.0.to_f64()));
            indices.extend(all[..k].iter().map(|&(_, j)| j));
            squared.extend(all[..k].iter().map(|&(d, _)| d));
        }
    }
    let shape = (q.batch, q.points, k);
    Ok(Neighbors {
        indices: Tensor::from_vec(indices, shape, &Device::Cpu)?,
        squared_distances: Tensor::from_vec(squared, shape, &Device::Cpu)?,
    })
}

/// [`crate::ball_query`], O(n m).
///
/// # Errors
/// As there.
pub fn ball_query(
    points: &Tensor,
    queries: &Tensor,
    radius: f64,
    most: usize,
    boundary: &Boundary,
) -> Result<Ball> {
    match points.dtype() {
        DType::F64 => ball_of::<f64>(points, queries, radius, most, boundary),
        _ => ball_of::<f32>(points, queries, radius, most, boundary),
    }
}

fn ball_of<T: WithDType>(
    points: &Tensor,
    queries: &Tensor,
    radius: f64,
    most: usize,
    boundary: &Boundary,
) -> Result<Ball> {
    const OP: &str = "ball_query";
    let (p, q) = pair(OP, ("points", points), ("queries", queries))?;
    let (cloud, targets) =
        (Clouds::<T>::new(OP, points, boundary)?, Clouds::<T>::new(OP, queries, boundary)?);
    let limit = T::from_f64(radius) * T::from_f64(radius);
    let mut found = vec![];
    for example in 0..q.batch {
        for i in 0..q.points {
            let query = targets.point(example, i);
            let inside = (0..p.points).filter(|&j| cloud.squared(cloud.point(example, j), query) < limit);
            let row = inside.map(|j| j as u32).chain(std::iter::repeat(u32::MAX));
            found.extend(row.take(most));
        }
    }
    padded(found, q, most)
}

/// [`crate::farthest_points`], O(n m).
///
/// # Errors
/// As there.
pub fn farthest_points(points: &Tensor, m: usize, cfg: &SampleCfg) -> Result<Tensor> {
    match points.dtype() {
        DType::F64 => farthest_of::<f64>(points, m, cfg),
        _ => farthest_of::<f32>(points, m, cfg),
    }
}

fn farthest_of<T: WithDType>(points: &Tensor, m: usize, cfg: &SampleCfg) -> Result<Tensor> {
    let cloud = Clouds::<T>::new("farthest_points", points, &cfg.boundary)?;
    let n = cloud.size.points;
    let mut chosen = vec![];
    for example in 0..cloud.size.batch {
        let origin = vec![T::zero(); cloud.size.axes];
        let norm = |j: usize| cloud.squared(cloud.point(example, j), &origin).to_f64();
        let candidates: Vec<usize> = (0..n)
            .filter(|&j| cfg.skip_within.is_none_or(|limit| norm(j) > f64::from(limit as f32)))
            .collect();
        let mut distance = vec![f64::INFINITY; n];
        let mut last = cfg.start;
        for _ in 0..m {
            chosen.push(last as u32);
            let mut next = (f64::NEG_INFINITY, 0);
            for &j in &candidates {
                let d = cloud.squared(cloud.point(example, j), cloud.point(example, last)).to_f64();
                distance[j] = distance[j].min(d);
                if distance[j] > next.0 {
                    next = (distance[j], j);
                }
            }
            last = next.1;
        }
    }
    Ok(Tensor::from_vec(chosen, (cloud.size.batch, m), points.device())?)
}

/// [`crate::gather_points`].
///
/// # Errors
/// As there.
pub fn gather_points(features: &Tensor, indices: &Tensor) -> Result<Tensor> {
    let (batch, n, c) = features.dims3()?;
    let mut dims = indices.dims().to_vec();
    let offsets = Tensor::arange(0u32, batch as u32, features.device())?.affine(n as f64, 0.0)?;
    let flat = indices.reshape((batch, ()))?.broadcast_add(&offsets.reshape((batch, 1))?)?;
    let rows = features.contiguous()?.reshape((batch * n, c))?.index_select(&flat.flatten_all()?, 0)?;
    dims.push(c);
    Ok(rows.reshape(dims)?)
}

/// [`crate::interpolate_points`].
///
/// # Errors
/// As there.
pub fn interpolate_points(
    features: &Tensor,
    points: &Tensor,
    queries: &Tensor,
    k: usize,
    boundary: &Boundary,
) -> Result<Tensor> {
    let near = knn(&points.detach(), &queries.detach(), k, boundary)?;
    let device = features.device();
    let inverse = (near.squared_distances.to_device(device)?.to_dtype(features.dtype())? + 1e-8)?.recip()?;
    let weights = inverse.broadcast_div(&inverse.sum_keepdim(2)?)?.unsqueeze(3)?;
    let gathered = gather_points(features, &near.indices.to_device(device)?)?;
    Ok(gathered.broadcast_mul(&weights)?.sum(2)?)
}

/// Candle's operations on the squared distance of each point of `a` to its nearest in `b`.
fn nearest_squared(a: &Tensor, b: &Tensor, boundary: &Boundary) -> Result<Tensor> {
    let near = knn(&b.detach(), &a.detach(), 1, boundary)?.indices.squeeze(2)?.to_device(b.device())?;
    let mut difference = (a - gather_points(b, &near)?)?;
    if let Some(sides) = boundary.sides("chamfer", a.dim(2)?)? {
        let sides = Tensor::new(sides, a.device())?.to_dtype(a.dtype())?;
        let turns = difference.detach().broadcast_div(&sides)?.round()?;
        difference = (difference - turns.broadcast_mul(&sides)?)?;
    }
    Ok(difference.sqr()?.sum(D::Minus1)?)
}

/// [`crate::nearest_distance`].
///
/// # Errors
/// As there.
pub fn nearest_distance(a: &Tensor, b: &Tensor, norm: ChamferNorm, boundary: &Boundary) -> Result<Tensor> {
    let squared = nearest_squared(a, b, boundary)?;
    match norm {
        ChamferNorm::L2 => Ok(squared),
        ChamferNorm::L1 => root(&squared),
    }
}

/// [`crate::chamfer_directions`].
///
/// # Errors
/// As there.
pub fn chamfer_directions(a: &Tensor, b: &Tensor, cfg: &ChamferCfg) -> Result<Tensor> {
    let batch = a.dim(0)?;
    let counts = cfg.counts_of("chamfer", [a, b])?;
    let weights = cfg.weights.as_ref();
    let mut rows = vec![];
    for example in 0..batch {
        let part = |x: &Tensor, side: usize| x.narrow(0, example, 1)?.narrow(1, 0, counts[side][example]);
        let (x, y) = (part(a, 0)?, part(b, 1)?);
        let mut means = vec![];
        for (side, (from, to)) in [(&x, &y), (&y, &x)].into_iter().enumerate() {
            let distance = nearest_distance(from, to, cfg.norm, &cfg.boundary)?;
            means.push(match weights.map(|w| &w[side]) {
                Some(w) => {
                    let w = part(w, side)?.to_dtype(a.dtype())?.detach();
                    distance.mul(&w)?.sum_all()?.div(&w.sum_all()?)?
                }
                None => distance.mean_all()?,
            });
        }
        rows.push(Tensor::stack(&means, 0)?);
    }
    Ok(Tensor::stack(&rows, 0)?)
}

/// [`crate::chamfer_loss`].
///
/// # Errors
/// As there.
pub fn chamfer_loss(a: &Tensor, b: &Tensor, cfg: &ChamferCfg) -> Result<Tensor> {
    Ok((chamfer_directions(a, b, cfg)?.sum(1)?.mean_all()? * cfg.factor())?)
}

/// [`crate::edge_features`].
///
/// # Errors
/// As there.
pub fn edge_features(
    queries: &Tensor,
    keys: &Tensor,
    indices: &Tensor,
    layout: EdgeLayout,
) -> Result<Tensor> {
    let neighbors = gather_points(keys, indices)?;
    let own = queries.unsqueeze(2)?.broadcast_as(neighbors.shape())?;
    let edges = Tensor::cat(&[&(neighbors - &own)?, &own.contiguous()?], 3)?;
    match layout {
        EdgeLayout::PointsFirst => Ok(edges),
        EdgeLayout::ChannelsFirst => Ok(edges.permute((0, 3, 1, 2))?.contiguous()?),
    }
}

/// [`crate::max_over_neighbors`].
///
/// # Errors
/// As there.
pub fn max_over_neighbors(x: &Tensor, layout: EdgeLayout) -> Result<Tensor> {
    let axis = if layout == EdgeLayout::PointsFirst { 2 } else { 3 };
    // The largest through its index, so that ties give their gradient to the first alone.
    let at = x.detach().argmax_keepdim(axis)?;
    Ok(x.contiguous()?.gather(&at.contiguous()?, axis)?.squeeze(axis)?)
}

/// [`crate::edge_max`].
///
/// # Errors
/// As there.
pub fn edge_max(keys: &Tensor, queries: &Tensor, indices: &Tensor) -> Result<Tensor> {
    let sums = gather_points(keys, indices)?.broadcast_add(&queries.unsqueeze(2)?)?;
    max_over_neighbors(&sums, EdgeLayout::PointsFirst)
}

/// Costs of all pairs, `[batch, n, m]`, by Candle's operations.
fn costs(a: &Tensor, b: &Tensor, ground: Ground, boundary: &Boundary) -> Result<Tensor> {
    let mut difference = a.unsqueeze(2)?.broadcast_sub(&b.unsqueeze(1)?)?;
    if let Some(sides) = boundary.sides("transport", a.dim(2)?)? {
        let sides = Tensor::new(sides, a.device())?.to_dtype(a.dtype())?;
        let turns = difference.detach().broadcast_div(&sides)?.round()?;
        difference = (difference - turns.broadcast_mul(&sides)?)?;
    }
    let squared = difference.sqr()?.sum(D::Minus1)?;
    match ground {
        Ground::Squared => Ok(squared),
        Ground::Distance => root(&squared),
    }
}

/// The square root, without slope at zero.
fn root(squared: &Tensor) -> Result<Tensor> {
    let positive = squared.gt(0.0)?;
    let safe = positive.where_cond(squared, &squared.ones_like()?)?.sqrt()?;
    Ok(positive.where_cond(&safe, &squared.zeros_like()?)?)
}

/// [`crate::earth_movers_distance`].
///
/// # Errors
/// As there.
pub fn earth_movers_distance(a: &Tensor, b: &Tensor, ground: Ground, boundary: &Boundary) -> Result<Tensor> {
    let all = costs(a, b, ground, boundary)?;
    let (batch, n, _) = all.dims3()?;
    let numbers = all.detach().to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
    let mut partners = vec![];
    for example in 0..batch {
        let numbers = numbers.get(example)?.flatten_all()?.to_vec1::<f64>()?;
        partners.extend(assign(&numbers, n).into_iter().map(|j| j as u32));
    }
    let partners = Tensor::from_vec(partners, (batch, n, 1), a.device())?;
    Ok(all.gather(&partners, 2)?.squeeze(2)?.mean(1)?)
}

/// [`crate::sinkhorn_distance`] with all its iterations in the graph, without stopping early.
///
/// # Errors
/// As there.
pub fn sinkhorn_distance(a: &Tensor, b: &Tensor, cfg: &SinkhornCfg) -> Result<Tensor> {
    let masses = |side: usize, cloud: &Tensor| -> Result<Tensor> {
        let masses = cfg.masses("sinkhorn_distance", side, cloud)?;
        Ok(Tensor::from_vec(masses, (cloud.dim(0)?, cloud.dim(1)?), cloud.device())?
            .to_dtype(cloud.dtype())?)
    };
    let (u, v) = (masses(0, a)?, masses(1, b)?);
    let between = |a: &Tensor, u: &Tensor, b: &Tensor, v: &Tensor| -> Result<Tensor> {
        let all = (costs(a, b, cfg.ground, &cfg.boundary)? / cfg.epsilon)?;
        let (log_u, log_v) = (u.log()?, v.log()?);
        let mut f = u.zeros_like()?;
        let mut g = v.zeros_like()?;
        for _ in 0..cfg.iterations {
            g = (f + &log_u)?.unsqueeze(2)?.broadcast_sub(&all)?.log_sum_exp(1)?.neg()?;
            f = (&g + &log_v)?.unsqueeze(1)?.broadcast_sub(&all)?.log_sum_exp(2)?.neg()?;
        }
        Ok((((f * u)?.sum(1)? + (g * v)?.sum(1)?)? * cfg.epsilon)?)
    };
    let value = between(a, &u, b, &v)?;
    if !cfg.debias {
        return Ok(value);
    }
    let own = (between(a, &u, a, &u)? + between(b, &v, b, &v)?)?;
    Ok((value - (own * 0.5)?)?)
}

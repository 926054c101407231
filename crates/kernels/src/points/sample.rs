//! Farthest point sampling: a subset that covers a cloud evenly.
//!
//! Each step takes the point farthest from all taken so far, which asks for the distance of every point to the newest.
//! Most points are nearer to an older one, and a k-d tree that knows the largest distance in every box skips them by
//! whole boxes: the result is the same as without, at a cost that falls with each step.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::cloud::{lifted, on_device, real, sizes};
use super::knn::host;
use super::reference;
use super::space::{Boundary, Space};
use super::tree::{BLOCK, LEAF, Tree};
use crate::memory::on_cpu;
use crate::simd::{Level, multiversion};
use crate::{Error, Result, device};

/// Where [`farthest_points`] starts and what it leaves out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SampleCfg {
    /// The index of the first point taken.
    pub start: usize,
    /// Open space or a periodic box.
    pub boundary: Boundary,
    /// Never takes a point (but the first) whose squared distance from the origin is no larger than this. The CUDA code
    /// of PointNet++ does so with 0.001, which keeps clouds padded with zeros from being sampled in the padding.
    pub skip_within: Option<f64>,
}

/// The indices of `m` points of each cloud, `[batch, m]` of type U32: first `start`, then always the point farthest from
/// its nearest among those already taken,
///
/// $$ i_{s+1} = \arg\max_i \min_{t \le s} |x_i - x_{i_t}|^2, $$
///
/// the smallest index where several are equally far. `points [batch, n, axes]`, one to three axes. When all that is
/// left coincides with points taken, the smallest index is taken again.
///
/// The same as by comparing all pairs (see the exactness rule of the crate), in about O(n log m) instead of O(n m).
///
/// # Source
/// PointNet++ (Qi et al. 2017, arXiv:1706.02413); Eldar et al. 1997, IEEE Trans. Image Process. 6, 1305. Pruning by boxes
/// as in QuickFPS (Han et al. 2023).
///
/// # Errors
/// Where the shape does not fit, `m` is above `n`, `start` is not below `n`, a coordinate is not finite, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_kernels::{SampleCfg, farthest_points};
/// let points = Tensor::new(&[[[0.0f32], [0.1], [1.0], [0.6]]], &Device::Cpu)?;
/// let chosen = farthest_points(&points, 3, &SampleCfg::default())?;
/// assert_eq!(chosen.to_vec2::<u32>()?, [[0, 2, 3]]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn farthest_points(points: &Tensor, m: usize, cfg: &SampleCfg) -> Result<Tensor> {
    const OP: &str = "farthest_points";
    let size = sizes(OP, "points", points)?;
    real(OP, "points", points)?;
    if size.axes > 3 {
        return Err(Error::shape(OP, "points", "[batch, points, 1 to 3]", points.dims()));
    }
    if m > size.points {
        return Err(Error::argument(OP, "m", format!("at most {} points", size.points), m));
    }
    if m > 0 && cfg.start >= size.points {
        return Err(Error::argument(OP, "start", format!("below {}", size.points), cfg.start));
    }
    let space = Space::new(OP, &cfg.boundary, size.axes)?;
    if m > 0 && device::takes(&[points]) {
        let cloud = on_device(OP, "points", points, None, &space)?;
        let limit = cfg.skip_within.map(|limit| limit as f32);
        return Ok(device::farthest_points(&cloud, m, cfg.start, limit, &space.on_device())?);
    }
    if !points.device().is_cpu() {
        return Ok(farthest_points(&host(points)?, m, cfg)?.to_device(points.device())?);
    }
    if !on_cpu(&[points]) {
        return reference::farthest_points(points, m, cfg);
    }
    let cloud = lifted(OP, "points", points, &cfg.boundary)?;
    let level = Level::current();
    let chosen: Vec<Vec<u32>> =
        cloud.par_chunks(size.points.max(1)).map(|cloud| sample(level, cloud, m, cfg, &space)).collect();
    Ok(Tensor::from_vec(chosen.concat(), (size.batch, m), &Device::Cpu)?)
}

fn sample(level: Level, cloud: &[[f32; 3]], m: usize, cfg: &SampleCfg, space: &Space) -> Vec<u32> {
    let limit = cfg.skip_within.map(|limit| limit as f32);
    let mut candidates: Vec<u32> = (0..cloud.len() as u32).collect();
    if let Some(limit) = limit {
        candidates.retain(|&i| space.squared(cloud[i as usize], [0.0; 3]) > limit);
    }
    let points: Vec<[f32; 3]> = candidates.iter().map(|&i| cloud[i as usize]).collect();
    let tree = Tree::new(&points);
    let mut chosen = Vec::with_capacity(m);
    run(level, &tree, &candidates, cloud, m, cfg.start as u32, space, &mut chosen);
    chosen
}

multiversion! {
    fn run(
        tree: &Tree,
        candidates: &[u32],
        cloud: &[[f32; 3]],
        m: usize,
        start: u32,
        space: &Space,
        chosen: &mut Vec<u32>,
    ) {
        let _ = FMA;
        if space.periodic {
            take::<true>(tree, candidates, cloud, m, start, space, chosen);
        } else {
            take::<false>(tree, candidates, cloud, m, start, space, chosen);
        }
    }
}

#[inline(always)]
fn take<const PERIODIC: bool>(
    tree: &Tree,
    candidates: &[u32],
    cloud: &[[f32; 3]],
    m: usize,
    start: u32,
    space: &Space,
    chosen: &mut Vec<u32>,
) {
    let mut distance: Vec<f32> =
        tree.order.iter().map(|&i| if i == u32::MAX { 0.0 } else { f32::MAX }).collect();
    // Of each node the farthest point as a number: the distance above, and below it the index the other way round, so
    // that the smallest wins among equals. A place without a point is 0, below all points.
    let mut farthest = vec![u64::from(f32::MAX.to_bits()) << 32; tree.nodes.len()];
    let mut path = Vec::with_capacity(64);
    let mut last = start;
    for step in 0..m {
        chosen.push(last);
        if step + 1 == m {
            break;
        }
        let q = cloud[last as usize];
        path.clear();
        // A node is visited twice: on the way down, and after its children.
        path.extend((!tree.nodes.is_empty()).then_some((0usize, false)));
        while let Some((at, done)) = path.pop() {
            let node = &tree.nodes[at];
            let (left, right) = (at + 1, at + node.right());
            if done {
                farthest[at] = farthest[left].max(farthest[right]);
                continue;
            }
            let bound = space.squared_to_box::<PERIODIC>(q, node.low, node.high);
            if bound >= f32::from_bits((farthest[at] >> 32) as u32) {
                continue;
            }
            if node.leaves == 1 {
                let leaf = node.first as usize;
                farthest[at] = update::<PERIODIC>(
                    &tree.blocks[leaf * BLOCK..][..BLOCK],
                    &tree.order[leaf * LEAF..][..LEAF],
                    &mut distance[leaf * LEAF..][..LEAF],
                    q,
                    space,
                );
            } else {
                path.extend([(at, true), (left, false), (right, false)]);
            }
        }
        let index = farthest.first().map_or(u32::MAX, |&best| !(best as u32));
        // Without candidates it is the first point again, as in the source.
        last = candidates.get(index as usize).copied().unwrap_or(0);
    }
}

/// Lowers the distances of a leaf's points to that from `q`; gives the farthest, as `farthest` has it.
#[inline(always)]
fn update<const PERIODIC: bool>(
    block: &[f32],
    order: &[u32],
    distance: &mut [f32],
    q: [f32; 3],
    space: &Space,
) -> u64 {
    let mut keys = [0u64; LEAF];
    let (x, rest) = block.split_at(LEAF);
    let (y, z) = rest.split_at(LEAF);
    for i in 0..LEAF {
        let part = |x: f32, axis: usize| {
            let d = (x - q[axis]).abs();
            if PERIODIC {
                let other = space.sides[axis] - d;
                if other < d { other } else { d }
            } else {
                d
            }
        };
        let d = [part(x[i], 0), part(y[i], 1), part(z[i], 2)];
        let squared = (d[0] * d[0] + d[1] * d[1]) + d[2] * d[2];
        distance[i] = if squared < distance[i] { squared } else { distance[i] };
        keys[i] = u64::from(distance[i].to_bits()) << 32 | u64::from(!order[i]);
    }
    keys.iter().fold(0, |best, &key| best.max(key))
}

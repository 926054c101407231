//! Features of edges between points and their neighbours, and the maximum over the neighbours.

use std::sync::OnceLock;

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use super::cloud;
use super::gather::{Chosen, add};
use super::reference;
use crate::autograd::{self, Gradient, Op};
use crate::memory::{Output, on_cpu};
use crate::{Error, Result};

/// Points of one task.
const ROWS: usize = 64;

/// The order of the axes of edge features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EdgeLayout {
    /// `[batch, points, neighbours, channels]`: an edge's features side by side, as [`crate::linear`] wants them.
    #[default]
    PointsFirst,
    /// `[batch, channels, points, neighbours]`: a map for each channel, as [`crate::conv2d`] and [`crate::group_norm`]
    /// want them.
    ChannelsFirst,
}

/// The edge features of a dynamic graph network, $[x_j - q_i,\ q_i]$ for every neighbour $j$ of query $i$.
///
/// `queries [batch, m, c]`, `keys [batch, n, c]`, `indices [batch, m, k]` of type U32 into the keys
/// -> `[batch, m, k, 2c]` or `[batch, 2c, m, k]`.
///
/// # Source
/// Wang et al. 2019, arXiv:1801.07829 (EdgeConv); the order difference, then own, as in PoinTr.
///
/// # Errors
/// Where the shapes do not fit, an index is not below `n`, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_kernels::{EdgeLayout, edge_features};
/// let x = Tensor::new(&[[[1.0f32], [5.0]]], &Device::Cpu)?;
/// let indices = Tensor::new(&[[[1u32], [1]]], &Device::Cpu)?;
/// let edges = edge_features(&x, &x, &indices, EdgeLayout::PointsFirst)?;
/// assert_eq!(edges.flatten_all()?.to_vec1::<f32>()?, [4.0, 1.0, 0.0, 5.0]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn edge_features(
    queries: &Tensor,
    keys: &Tensor,
    indices: &Tensor,
    layout: EdgeLayout,
) -> Result<Tensor> {
    let (chosen, sizes) = checked("edge_features", queries, keys, indices)?;
    if !on_cpu(&[queries, keys]) {
        return reference::edge_features(queries, keys, indices, layout);
    }
    Ok(autograd::apply(EdgeFeatures { chosen, sizes, layout }, &[queries, keys])?)
}

/// The largest of each channel over the neighbours, the gradient of which goes to the first that attains it.
/// `[batch, m, k, c] -> [batch, m, c]`, or `[batch, c, m, k] -> [batch, c, m]`.
///
/// # Errors
/// Where `x` has not four axes or no neighbours, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_kernels::{EdgeLayout, max_over_neighbors};
/// let x = Tensor::new(&[[[[1.0f32, 8.0], [3.0, 2.0]]]], &Device::Cpu)?;
/// let y = max_over_neighbors(&x, EdgeLayout::PointsFirst)?;
/// assert_eq!(y.to_vec3::<f32>()?, [[[3.0, 8.0]]]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn max_over_neighbors(x: &Tensor, layout: EdgeLayout) -> Result<Tensor> {
    let &[batch, second, third, fourth] = x.dims() else {
        return Err(Error::shape("max_over_neighbors", "x", "of four axes", x.dims()));
    };
    let (k, c, shape) = match layout {
        EdgeLayout::PointsFirst => (third, fourth, (batch, second, fourth)),
        EdgeLayout::ChannelsFirst => (fourth, 1, (batch, second, third)),
    };
    if k == 0 {
        return Err(Error::shape("max_over_neighbors", "x", "of at least one neighbour", x.dims()));
    }
    if !on_cpu(&[x]) {
        return reference::max_over_neighbors(x, layout);
    }
    Ok(autograd::apply(Max { k, c, shape: shape.into(), at: OnceLock::new() }, &[x])?)
}

/// A linear edge convolution and its maximum over the neighbours, without the edges in memory:
///
/// $$ y_{ic} = v_{ic} + \max_j u_{jc} . $$
///
/// `keys` $u$ `[batch, n, c]`, `queries` $v$ `[batch, m, c]`, `indices [batch, m, k]` of type U32 -> `[batch, m, c]`.
/// A layer $W_1 (x_j - q_i) + W_2 q_i + b$ is this with $u = W_1 x$ and $v = (W_2 - W_1) q + b$: the matrices meet every
/// point once instead of `k` times. An increasing activation (ReLU and its kin) may follow the maximum instead of
/// preceding it. The gradient of a maximum goes to the first neighbour that attains it.
///
/// # Source
/// Wang et al. 2019, arXiv:1801.07829, eq. 7 and 8; the splitting follows from linearity.
///
/// # Errors
/// Where the shapes do not fit, there are no neighbours, an index is not below `n`, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// let u = Tensor::new(&[[[1.0f32], [5.0], [3.0]]], &Device::Cpu)?;
/// let v = Tensor::new(&[[[10.0f32]]], &Device::Cpu)?;
/// let indices = Tensor::new(&[[[0u32, 2]]], &Device::Cpu)?;
/// assert_eq!(halocast_kernels::edge_max(&u, &v, &indices)?.to_vec3::<f32>()?, [[[13.0]]]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn edge_max(keys: &Tensor, queries: &Tensor, indices: &Tensor) -> Result<Tensor> {
    const OP: &str = "edge_max";
    let (chosen, sizes) = checked(OP, queries, keys, indices)?;
    if sizes.k == 0 {
        return Err(Error::shape(OP, "indices", "of at least one neighbour", indices.dims()));
    }
    if !on_cpu(&[queries, keys]) {
        return reference::edge_max(keys, queries, indices);
    }
    Ok(autograd::apply(EdgeMax { chosen, sizes, at: OnceLock::new() }, &[keys, queries])?)
}

#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    m: usize,
    k: usize,
    c: usize,
}

fn checked(op: &'static str, queries: &Tensor, keys: &Tensor, indices: &Tensor) -> Result<(Chosen, Sizes)> {
    let &[batch, m, c] = queries.dims() else {
        return Err(Error::shape(op, "queries", "[batch, m, c]", queries.dims()));
    };
    let n = match *keys.dims() {
        [b, n, channels] if b == batch && channels == c && keys.dtype() == queries.dtype() => n,
        _ => {
            let expected = format!("[{batch}, n, {c}] of type {:?}", queries.dtype());
            return Err(Error::shape(op, "keys", expected, keys.dims()));
        }
    };
    let chosen = cloud::indices(op, indices, batch, n, &[3])?;
    if indices.dim(1)? != m {
        return Err(Error::shape(op, "indices", format!("[{batch}, {m}, k]"), indices.dims()));
    }
    let sizes = Sizes { batch, m, k: indices.dim(2)?, c };
    Ok((Chosen { indices: chosen, batch, points: n }, sizes))
}

struct EdgeFeatures {
    chosen: Chosen,
    sizes: Sizes,
    layout: EdgeLayout,
}

impl EdgeFeatures {
    /// The gradient in the layout with points first.
    fn points_first<'a>(&self, dy: &'a [f32], copy: &'a mut Vec<f32>) -> &'a [f32] {
        let Sizes { m, k, c, .. } = self.sizes;
        if self.layout == EdgeLayout::PointsFirst || dy.is_empty() {
            return dy;
        }
        copy.resize(dy.len(), 0.0);
        let (plane, example) = (m * k, 2 * c * m * k);
        copy.par_chunks_mut(ROWS * 2 * c).enumerate().for_each(|(task, rows)| {
            for (i, row) in rows.chunks_exact_mut(2 * c).enumerate() {
                let edge = task * ROWS + i;
                let dy = &dy[edge / plane * example + edge % plane..];
                for (channel, to) in row.iter_mut().enumerate() {
                    *to = dy[channel * plane];
                }
            }
        });
        copy
    }
}

impl Op for EdgeFeatures {
    fn name(&self) -> &'static str {
        "edge_features"
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let Sizes { batch, m, k, c } = self.sizes;
        let (queries, keys) = (inputs[0], inputs[1]);
        let mut y = Output::new(batch * m * k * 2 * c);
        let out = y.shared();
        match self.layout {
            EdgeLayout::PointsFirst => {
                let task = ROWS * k.max(1);
                self.chosen.indices.par_chunks(task).enumerate().for_each(|(t, indices)| {
                    // SAFETY: each task writes its own edges.
                    let y = unsafe { out.slice(t * task * 2 * c, indices.len() * 2 * c) };
                    for (i, &index) in indices.iter().enumerate() {
                        let place = t * task + i;
                        let own = &queries[place / k * c..][..c];
                        let other = &keys[self.chosen.row(place, index) * c..][..c];
                        let (difference, copy) = y[i * 2 * c..][..2 * c].split_at_mut(c);
                        for ((d, x), q) in difference.iter_mut().zip(other).zip(own) {
                            *d = x - q;
                        }
                        copy.copy_from_slice(own);
                    }
                });
            }
            EdgeLayout::ChannelsFirst => {
                (0..batch * c).into_par_iter().for_each(|task| {
                    let (example, channel) = (task / c, task % c);
                    let plane = m * k;
                    // SAFETY: each task writes two planes of its own.
                    let difference = unsafe { out.slice((example * 2 * c + channel) * plane, plane) };
                    // SAFETY: as above.
                    let own = unsafe { out.slice((example * 2 * c + c + channel) * plane, plane) };
                    for edge in 0..plane {
                        let place = example * plane + edge;
                        let q = queries[place / k * c + channel];
                        let row = self.chosen.row(place, self.chosen.indices[place]);
                        difference[edge] = keys[row * c + channel] - q;
                        own[edge] = q;
                    }
                });
            }
        }
        let shape: Shape = match self.layout {
            EdgeLayout::PointsFirst => (batch, m, k, 2 * c).into(),
            EdgeLayout::ChannelsFirst => (batch, 2 * c, m, k).into(),
        };
        // SAFETY: the tasks cover the output.
        Ok((unsafe { y.finish() }, shape))
    }

    fn backward(&self, _: &[&[f32]], dy: &[f32], wanted: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let Sizes { batch, m, k, c } = self.sizes;
        let mut copy = vec![];
        let dy = self.points_first(dy, &mut copy);
        let own = || {
            let mut sums = vec![0.0; batch * m * c];
            if dy.is_empty() {
                return sums;
            }
            sums.par_chunks_mut(c).zip(dy.par_chunks(k * 2 * c)).for_each(|(sum, edges)| {
                for edge in edges.chunks_exact(2 * c) {
                    for ((sum, difference), own) in sum.iter_mut().zip(&edge[..c]).zip(&edge[c..]) {
                        *sum += own - difference;
                    }
                }
            });
            sums
        };
        Ok(vec![
            Gradient::when(wanted[0], own),
            Gradient::when(wanted[1], || {
                self.chosen.sum_back(c, |place, sum| add(sum, &dy[place * 2 * c..][..c]))
            }),
        ])
    }

    fn keeps(&self, _: usize) -> bool {
        false
    }
}

/// Over the middle axis of `[rows, k, c]`.
struct Max {
    k: usize,
    c: usize,
    shape: Shape,
    /// Which neighbour is the largest, from the forward pass.
    at: OnceLock<Vec<u32>>,
}

impl Max {
    fn largest(&self, x: &[f32]) -> (Vec<f32>, Vec<u32>) {
        let Self { k, c, .. } = *self;
        let len = self.shape.elem_count();
        let (mut y, mut at) = (vec![0.0; len], vec![0u32; len]);
        if len == 0 {
            return (y, at);
        }
        let part = (ROWS * c).max(1);
        y.par_chunks_mut(part).zip(at.par_chunks_mut(part)).zip(x.par_chunks(part * k)).for_each(
            |((y, at), x)| {
                for ((y, at), x) in
                    y.chunks_exact_mut(c).zip(at.chunks_exact_mut(c)).zip(x.chunks_exact(k * c))
                {
                    let (first, rest) = x.split_at(c);
                    y.copy_from_slice(first);
                    for (j, row) in rest.chunks_exact(c).enumerate() {
                        raise(y, at, row, j as u32 + 1);
                    }
                }
            },
        );
        (y, at)
    }
}

/// Puts in what is larger, and where it came from.
#[inline(always)]
fn raise(y: &mut [f32], at: &mut [u32], row: &[f32], from: u32) {
    for ((y, at), &x) in y.iter_mut().zip(at).zip(row) {
        let larger = x > *y;
        *y = if larger { x } else { *y };
        *at = if larger { from } else { *at };
    }
}

impl Op for Max {
    fn name(&self) -> &'static str {
        "max_over_neighbors"
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let (y, at) = self.largest(inputs[0]);
        let _ = self.at.set(at);
        Ok((y, self.shape.clone()))
    }

    fn backward(&self, _: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let Self { k, c, .. } = *self;
        let Some(at) = self.at.get() else {
            candle_core::bail!("max_over_neighbors: backward before forward")
        };
        let mut dx = vec![0.0; dy.len() * k];
        if !dy.is_empty() {
            dx.par_chunks_mut(k * c).zip(at.par_chunks(c)).zip(dy.par_chunks(c)).with_min_len(ROWS).for_each(
                |((dx, at), dy)| {
                    for (channel, (&at, &dy)) in at.iter().zip(dy).enumerate() {
                        dx[at as usize * c + channel] = dy;
                    }
                },
            );
        }
        Ok(vec![Gradient::Values(dx)])
    }

    fn keeps(&self, _: usize) -> bool {
        false
    }
}

struct EdgeMax {
    chosen: Chosen,
    sizes: Sizes,
    /// Which neighbour is the largest, from the forward pass.
    at: OnceLock<Vec<u32>>,
}

impl Op for EdgeMax {
    fn name(&self) -> &'static str {
        "edge_max"
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let Sizes { batch, m, k, c } = self.sizes;
        let (keys, queries) = (inputs[0], inputs[1]);
        let (mut y, mut at) = (vec![0.0; batch * m * c], vec![0u32; batch * m * c]);
        if !y.is_empty() {
            y.par_chunks_mut(ROWS * c).zip(at.par_chunks_mut(ROWS * c)).enumerate().for_each(
                |(task, (y, at))| {
                    for (i, (y, at)) in y.chunks_exact_mut(c).zip(at.chunks_exact_mut(c)).enumerate() {
                        let row = task * ROWS + i;
                        y.fill(f32::NEG_INFINITY);
                        for j in 0..k {
                            let place = row * k + j;
                            let key = self.chosen.row(place, self.chosen.indices[place]);
                            raise(y, at, &keys[key * c..][..c], j as u32);
                        }
                        add(y, &queries[row * c..][..c]);
                    }
                },
            );
        }
        let _ = self.at.set(at);
        Ok((y, (batch, m, c).into()))
    }

    fn backward(&self, _: &[&[f32]], dy: &[f32], wanted: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let Sizes { k, c, .. } = self.sizes;
        let Some(at) = self.at.get() else { candle_core::bail!("edge_max: backward before forward") };
        let keys = || {
            self.chosen.sum_back(c, |place, sum| {
                let (row, j) = (place / k, (place % k) as u32);
                let (at, dy) = (&at[row * c..][..c], &dy[row * c..][..c]);
                for ((sum, &at), &dy) in sum.iter_mut().zip(at).zip(dy) {
                    *sum += if at == j { dy } else { 0.0 };
                }
            })
        };
        let queries = if wanted[1] { Gradient::Output } else { Gradient::None };
        Ok(vec![Gradient::when(wanted[0], keys), queries])
    }

    fn keeps(&self, _: usize) -> bool {
        false
    }
}

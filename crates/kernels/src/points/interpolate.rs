//! Features carried from points to other places by inverse distance.

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use super::cloud::pair;
use super::gather::Chosen;
use super::knn::knn;
use super::reference;
use super::space::Boundary;
use crate::autograd::{self, Gradient, Op};
use crate::memory::{Output, on_cpu};
use crate::{Error, Result, device};

/// Queries of one task.
const ROWS: usize = 128;

/// Features at `queries` from those of the `k` nearest points (3 in PointNet++), weighted by inverse squared distance:
///
/// $$ y_i = \frac{\sum_j w_{ij} x_j}{\sum_j w_{ij}}, \qquad w_{ij} = \frac{1}{d_{ij}^2 + 10^{-8}}. $$
///
/// `features [batch, n, c]`, `points [batch, n, axes]`, `queries [batch, m, axes]` -> `[batch, m, c]`. Differentiable in
/// the features; positions count as constants, as in the source.
///
/// # Source
/// PointNet++ (Qi et al. 2017, arXiv:1706.02413), eq. 2 with p = 2.
///
/// # Errors
/// Where the shapes do not fit, there are fewer than `k` points, as in [`knn`], or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_kernels::{Boundary, interpolate_points};
/// let points = Tensor::new(&[[[0.0f32], [1.0]]], &Device::Cpu)?;
/// let features = Tensor::new(&[[[10.0f32], [20.0]]], &Device::Cpu)?;
/// let queries = Tensor::new(&[[[0.5f32], [0.0]]], &Device::Cpu)?;
/// let y = interpolate_points(&features, &points, &queries, 2, &Boundary::Open)?.flatten_all()?.to_vec1::<f32>()?;
/// assert!((y[0] - 15.0).abs() < 1e-4 && (y[1] - 10.0).abs() < 1e-4);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn interpolate_points(
    features: &Tensor,
    points: &Tensor,
    queries: &Tensor,
    k: usize,
    boundary: &Boundary,
) -> Result<Tensor> {
    const OP: &str = "interpolate_points";
    let (p, q) = pair(OP, ("points", points), ("queries", queries))?;
    let c = match *features.dims() {
        [batch, n, c] if batch == p.batch && n == p.points => c,
        _ => {
            let expected = format!("[{}, {}, c]", p.batch, p.points);
            return Err(Error::shape(OP, "features", expected, features.dims()));
        }
    };
    if p.axes <= 3 && k <= device::MOST_NEIGHBORS && device::takes(&[features, points, queries]) {
        let near = knn(points, queries, k, boundary)?;
        let weights = device::inverse_weights(&near.squared_distances)?;
        let picks = near.indices.flatten_all()?.to_vec1()?;
        let rows = device::Rows { name: OP, outer: p.batch, rows: p.points, inner: c, picks, own: true };
        return Ok(device::gather_weighted(features, rows, k, weights, (q.batch, q.points, c))?);
    }
    if !on_cpu(&[features, points, queries]) {
        return reference::interpolate_points(features, points, queries, k, boundary);
    }
    let near = knn(points, queries, k, boundary)?;
    let mut weights = near.squared_distances.flatten_all()?.to_vec1::<f32>()?;
    weights.par_chunks_mut(k).for_each(|weights| {
        let mut sum = 0.0;
        for w in weights.iter_mut() {
            *w = 1.0 / (*w + 1e-8);
            sum += *w;
        }
        for w in weights {
            *w /= sum;
        }
    });
    let chosen = Chosen { indices: near.indices.flatten_all()?.to_vec1()?, batch: p.batch, points: p.points };
    let op = Interpolate { chosen, weights, k, c, shape: (q.batch, q.points, c).into() };
    Ok(autograd::apply(op, &[features])?)
}

struct Interpolate {
    chosen: Chosen,
    weights: Vec<f32>,
    k: usize,
    c: usize,
    shape: Shape,
}

impl Op for Interpolate {
    fn name(&self) -> &'static str {
        "interpolate_points"
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let Self { k, c, .. } = *self;
        let mut y = Output::new(self.shape.elem_count());
        let out = y.shared();
        self.chosen.indices.par_chunks(ROWS * k).enumerate().for_each(|(task, indices)| {
            // SAFETY: each task writes its own rows.
            let y = unsafe { out.slice(task * ROWS * c, indices.len() / k * c) };
            y.fill(0.0);
            for (i, &index) in indices.iter().enumerate() {
                let place = task * ROWS * k + i;
                let row = self.chosen.row(place, index);
                axpy(self.weights[place], &inputs[0][row * c..][..c], &mut y[i / k * c..][..c]);
            }
        });
        // SAFETY: the rows cover the output.
        Ok((unsafe { y.finish() }, self.shape.clone()))
    }

    fn backward(&self, _: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let Self { k, c, .. } = *self;
        Ok(vec![Gradient::Values(
            self.chosen.sum_back(c, |place, sum| axpy(self.weights[place], &dy[place / k * c..][..c], sum)),
        )])
    }

    fn keeps(&self, _: usize) -> bool {
        false
    }
}

fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

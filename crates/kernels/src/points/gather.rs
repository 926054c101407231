//! Features of chosen points, and the gradient that goes back to them.

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use super::cloud;
use super::reference;
use crate::autograd::{self, Gradient, Op};
use crate::memory::{Output, on_cpu};
use crate::{Error, Result, device};

/// Rows of one task.
const ROWS: usize = 256;

/// The features of chosen points: $y_{b\ldots c} = x_{b\, i_{b\ldots}\, c}$.
///
/// `features [batch, n, c]`, `indices [batch, m]` or `[batch, m, k]` of type U32 -> `[batch, m, c]` or
/// `[batch, m, k, c]`. The gradient of a point is the sum over the places it went to, in their order.
///
/// # Errors
/// Where the shapes do not fit, an index is not below `n`, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[[1.0f32, 2.0], [3.0, 4.0]]], &Device::Cpu)?;
/// let indices = Tensor::new(&[[1u32, 1, 0]], &Device::Cpu)?;
/// let y = halocast_kernels::gather_points(&x, &indices)?;
/// assert_eq!(y.to_vec3::<f32>()?, [[[3.0, 4.0], [3.0, 4.0], [1.0, 2.0]]]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn gather_points(features: &Tensor, indices: &Tensor) -> Result<Tensor> {
    const OP: &str = "gather_points";
    let &[batch, n, c] = features.dims() else {
        return Err(Error::shape(OP, "features", "[batch, n, c]", features.dims()));
    };
    let chosen = cloud::indices(OP, indices, batch, n, &[2, 3])?;
    let mut dims = indices.dims().to_vec();
    dims.push(c);
    if !on_cpu(&[features]) {
        if device::takes(&[features]) && !chosen.is_empty() {
            let rows = device::Rows { name: OP, outer: batch, rows: n, inner: c, picks: chosen, own: true };
            return Ok(device::gather(features, rows, dims)?);
        }
        return reference::gather_points(features, indices);
    }
    let op = Gather { chosen: Chosen { indices: chosen, batch, points: n }, c, shape: dims.into() };
    Ok(autograd::apply(op, &[features])?)
}

struct Gather {
    chosen: Chosen,
    c: usize,
    shape: Shape,
}

impl Op for Gather {
    fn name(&self) -> &'static str {
        "gather_points"
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let c = self.c;
        let mut y = Output::new(self.shape.elem_count());
        let out = y.shared();
        let x = inputs[0];
        self.chosen.indices.par_chunks(ROWS).enumerate().for_each(|(task, indices)| {
            // SAFETY: each task writes its own rows.
            let y = unsafe { out.slice(task * ROWS * c, indices.len() * c) };
            for (i, &index) in indices.iter().enumerate() {
                let row = self.chosen.row(task * ROWS + i, index);
                y[i * c..][..c].copy_from_slice(&x[row * c..][..c]);
            }
        });
        // SAFETY: the rows cover the output.
        Ok((unsafe { y.finish() }, self.shape.clone()))
    }

    fn backward(&self, _: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let c = self.c;
        Ok(vec![Gradient::Values(self.chosen.sum_back(c, |place, sum| add(sum, &dy[place * c..][..c])))])
    }

    fn keeps(&self, _: usize) -> bool {
        false
    }
}

#[inline(always)]
pub(super) fn add(sum: &mut [f32], row: &[f32]) {
    for (sum, x) in sum.iter_mut().zip(row) {
        *sum += x;
    }
}

/// Indices of each example of a batch into its cloud.
pub(super) struct Chosen {
    pub(super) indices: Vec<u32>,
    pub(super) batch: usize,
    pub(super) points: usize,
}

impl Chosen {
    /// The point that `place` of the indices refers to, in the batch as one list.
    #[inline(always)]
    pub(super) fn row(&self, place: usize, index: u32) -> usize {
        place / (self.indices.len() / self.batch) * self.points + index as usize
    }

    /// For each point of the batch the sum over the places that refer to it, in their order: `take` adds a place's
    /// row of `c` numbers. The same at any number of threads, for every point is summed by one task.
    pub(super) fn sum_back(&self, c: usize, take: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
        let rows = self.batch * self.points;
        let mut sums = vec![0.0; rows * c];
        if self.indices.is_empty() || c == 0 {
            return sums;
        }
        // Places by point: a counting sort keeps them in order.
        let mut starts = vec![0u32; rows + 1];
        for (place, &index) in self.indices.iter().enumerate() {
            starts[self.row(place, index) + 1] += 1;
        }
        for row in 0..rows {
            starts[row + 1] += starts[row];
        }
        let mut next = starts.clone();
        let mut places = vec![0u32; self.indices.len()];
        for (place, &index) in self.indices.iter().enumerate() {
            let next = &mut next[self.row(place, index)];
            places[*next as usize] = place as u32;
            *next += 1;
        }
        sums.par_chunks_mut(ROWS * c).enumerate().for_each(|(task, sums)| {
            for (i, sum) in sums.chunks_exact_mut(c).enumerate() {
                let row = task * ROWS + i;
                for &place in &places[starts[row] as usize..starts[row + 1] as usize] {
                    take(place as usize, sum);
                }
            }
        });
        sums
    }
}

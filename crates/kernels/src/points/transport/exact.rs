//! The earth mover's distance of clouds of as many points, by assignment.

use std::sync::OnceLock;

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use super::{Ground, assign};
use crate::autograd::{self, Gradient, Op};
use crate::memory::on_cpu;
use crate::points::cloud::{lift, pair};
use crate::points::reference;
use crate::points::space::{Boundary, Space};
use crate::{Error, Result};

/// The earth mover's distance of two clouds of `n` points each, `[batch]`:
///
/// $$ \min_\sigma \frac{1}{n} \sum_i c(a_i, b_{\sigma(i)}) $$
///
/// over all permutations, exact. `a`, `b` `[batch, n, axes]`, one to three axes. Differentiable in both clouds: the best
/// permutation is locally constant, so the gradient is that of its costs.
///
/// O(n^3) time at worst and n^2 numbers of memory an example: for up to a thousand points or so. For more see
/// [`crate::sinkhorn_distance`].
///
/// # Source
/// Jonker & Volgenant 1987, Computing 38, 325.
///
/// # Errors
/// Where the shapes differ, the clouds are empty, a coordinate is not finite, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_kernels::{Boundary, Ground, earth_movers_distance};
/// let a = Tensor::new(&[[[0.0f32], [1.0]]], &Device::Cpu)?;
/// let b = Tensor::new(&[[[1.5f32], [0.0]]], &Device::Cpu)?;
/// let d = earth_movers_distance(&a, &b, Ground::Distance, &Boundary::Open)?;
/// assert_eq!(d.to_vec1::<f32>()?, [0.25]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn earth_movers_distance(a: &Tensor, b: &Tensor, ground: Ground, boundary: &Boundary) -> Result<Tensor> {
    const OP: &str = "earth_movers_distance";
    let (p, q) = pair(OP, ("a", a), ("b", b))?;
    if p.axes > 3 || p.points == 0 {
        return Err(Error::shape(OP, "a", "[batch, 1 or more, 1 to 3]", a.dims()));
    }
    if p.points != q.points {
        return Err(Error::shape(OP, "b", format!("{:?}", a.dims()), b.dims()));
    }
    let space = Space::new(OP, boundary, p.axes)?;
    if !on_cpu(&[a, b]) {
        return reference::earth_movers_distance(a, b, ground, boundary);
    }
    let op =
        EarthMovers { batch: p.batch, n: p.points, axes: p.axes, ground, space, columns: OnceLock::new() };
    Ok(autograd::apply(op, &[a, b])?)
}

struct EarthMovers {
    batch: usize,
    n: usize,
    axes: usize,
    ground: Ground,
    space: Space,
    /// The partner of each point of `a`, from the forward pass.
    columns: OnceLock<Vec<Vec<usize>>>,
}

impl EarthMovers {
    fn clouds(&self, inputs: &[&[f32]], example: usize) -> Result<[Vec<[f32; 3]>; 2]> {
        let size = self.n * self.axes;
        let cloud = |side: usize, name| {
            lift(self.name(), name, &inputs[side][example * size..][..size], self.axes, &self.space)
        };
        Ok([cloud(0, "a")?, cloud(1, "b")?])
    }
}

impl Op for EarthMovers {
    fn name(&self) -> &'static str {
        "earth_movers_distance"
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let n = self.n;
        let solve = |example: usize| {
            let [a, b] = self.clouds(inputs, example)?;
            let cost = |p: &[f32; 3], q: &[f32; 3]| f64::from(self.ground.cost(self.space.squared(*p, *q)));
            let costs: Vec<f64> = a.iter().flat_map(|p| b.iter().map(move |q| cost(p, q))).collect();
            let columns = assign(&costs, n);
            let total: f64 = columns.iter().enumerate().map(|(i, j)| costs[i * n + j]).sum();
            Ok(((total / n as f64) as f32, columns))
        };
        let solved = (0..self.batch).into_par_iter().map(solve).collect::<Result<Vec<_>>>()?;
        let (means, columns): (Vec<f32>, Vec<_>) = solved.into_iter().unzip();
        let _ = self.columns.set(columns);
        Ok((means, self.batch.into()))
    }

    fn backward(&self, inputs: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let Some(columns) = self.columns.get() else {
            candle_core::bail!("earth_movers_distance: backward before forward")
        };
        let size = self.n * self.axes;
        let (mut da, mut db) = (vec![0.0; self.batch * size], vec![0.0; self.batch * size]);
        da.par_chunks_mut(size).zip(db.par_chunks_mut(size)).enumerate().try_for_each(
            |(example, (da, db))| {
                let [a, b] = self.clouds(inputs, example)?;
                for (i, &j) in columns[example].iter().enumerate() {
                    let d = self.space.difference(a[i], b[j]);
                    let slope =
                        self.ground.slope(self.space.squared(a[i], b[j])) * dy[example] / self.n as f32;
                    for axis in 0..self.axes {
                        da[i * self.axes + axis] = slope * d[axis];
                        db[j * self.axes + axis] = -slope * d[axis];
                    }
                }
                Ok::<(), Error>(())
            },
        )?;
        Ok(vec![Gradient::Values(da), Gradient::Values(db)])
    }
}

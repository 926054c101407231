//! Resampling that works along one axis after the other: each is a sparse matrix, and its gradient the transpose.

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use crate::autograd::{self, Gradient, Op};
use crate::memory::{Output, on_cpu};
use crate::simd::{Level, fma, multiversion};
use crate::{Error, Result, reference};

/// Numbers that one task handles at least.
const CHUNK: usize = 8 * 1024;

/// Repeats each number `factor` times along every axis but the first two: $y_i = x_{\lfloor i / f \rfloor}$,
/// `[n, c, ..]` of one to three more axes.
///
/// # Errors
/// Where `x` has another number of axes or is empty, `factor` is zero, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[[1.0f32, 2.0]]], &Device::Cpu)?;
/// let y = halocast_kernels::upsample_nearest(&x, 3)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn upsample_nearest(x: &Tensor, factor: usize) -> Result<Tensor> {
    checked("upsample_nearest", x, "factor", factor, usize::MAX)?;
    if !on_cpu(&[x]) {
        return reference::upsample_nearest(x, factor);
    }
    along_axes("upsample_nearest", x, |len| Matrix {
        columns: len,
        rows: (0..len * factor).map(|i| vec![(i / factor, 1.0)]).collect(),
    })
}

/// Interpolates linearly along every axis but the first two (bilinear for images, trilinear for cubes), with the
/// centres of the cells of both grids where they are in space, and the outermost numbers continued:
///
/// $$ y_i = (1 - t) x_a + t x_{a + 1}, \quad a + t = \max\left( \frac{i + 1/2}{f} - \frac12, 0 \right) $$
///
/// This is PyTorch's `interpolate` with `align_corners=False`. `[n, c, ..]` of one to three more axes.
///
/// # Errors
/// As [`upsample_nearest`].
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[[0.0f32, 4.0]]], &Device::Cpu)?;
/// let y = halocast_kernels::upsample_linear(&x, 2)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [0.0, 1.0, 3.0, 4.0]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn upsample_linear(x: &Tensor, factor: usize) -> Result<Tensor> {
    checked("upsample_linear", x, "factor", factor, usize::MAX)?;
    if !on_cpu(&[x]) {
        return reference::upsample_linear(x, factor);
    }
    along_axes("upsample_linear", x, |len| {
        let row = |i: usize| {
            let at = ((i as f64 + 0.5) / factor as f64 - 0.5).max(0.0);
            let (below, t) = (at as usize, at.fract() as f32);
            match below + 1 < len {
                true => vec![(below, 1.0 - t), (below + 1, t)],
                false => vec![(len - 1, 1.0)],
            }
        };
        Matrix { columns: len, rows: (0..len * factor).map(row).collect() }
    })
}

/// Means over blocks of `size` along every axis but the first two; what does not fill a block at the end is left out.
/// `[n, c, ..]` of one to three more axes.
///
/// # Errors
/// Where `x` has another number of axes or is empty, `size` is zero or larger than an axis, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[[1.0f32, 3.0, 5.0, 7.0, 9.0]]], &Device::Cpu)?;
/// let y = halocast_kernels::average_pool(&x, 2)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [2.0, 6.0]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn average_pool(x: &Tensor, size: usize) -> Result<Tensor> {
    let least = x.dims().iter().skip(2).min().copied().unwrap_or(0);
    checked("average_pool", x, "size", size, least)?;
    if !on_cpu(&[x]) {
        return reference::average_pool(x, size);
    }
    along_axes("average_pool", x, |len| {
        let weight = 1.0 / size as f32;
        let row = |i: usize| (i * size..(i + 1) * size).map(|j| (j, weight)).collect();
        Matrix { columns: len, rows: (0..len / size).map(row).collect() }
    })
}

fn checked(op: &'static str, x: &Tensor, argument: &'static str, got: usize, most: usize) -> Result<()> {
    if !(3..=5).contains(&x.rank()) || x.elem_count() == 0 {
        return Err(Error::shape(op, "x", "[n, c, ..] of three to five axes and not empty", x.dims()));
    }
    if got == 0 || got > most {
        let most = if most == usize::MAX { String::new() } else { format!(" and at most {most}") };
        return Err(Error::argument(op, argument, format!("at least 1{most}"), got));
    }
    Ok(())
}

/// Applies the matrix for its length to every axis but the first two.
fn along_axes(name: &'static str, x: &Tensor, matrix: impl Fn(usize) -> Matrix) -> Result<Tensor> {
    let mut x = x.clone();
    // The shortest rows first: the last axes are resampled while there is least.
    for axis in (2..x.rank()).rev() {
        let mut dims = x.dims().to_vec();
        let matrix = matrix(dims[axis]);
        let inner = dims[axis + 1..].iter().product();
        dims[axis] = matrix.rows.len();
        let transpose = matrix.transpose();
        x = autograd::apply(Axis { name, inner, matrix, transpose, shape: dims.into() }, &[&x])?;
    }
    Ok(x)
}

/// A sparse matrix: of each row the columns with their weights.
struct Matrix {
    columns: usize,
    rows: Vec<Vec<(usize, f32)>>,
}

impl Matrix {
    fn transpose(&self) -> Self {
        let mut rows = vec![vec![]; self.columns];
        for (i, row) in self.rows.iter().enumerate() {
            for &(j, weight) in row {
                rows[j].push((i, weight));
            }
        }
        Self { columns: self.rows.len(), rows }
    }

    /// `y [outer, rows, inner]` of `x [outer, columns, inner]`.
    fn apply(&self, x: &[f32], inner: usize) -> Vec<f32> {
        let level = Level::current();
        let (from, to) = (self.columns * inner, self.rows.len() * inner);
        let outer = x.len() / from;
        let mut y = Output::new(outer * to);
        let out = y.shared();
        (0..outer).into_par_iter().with_min_len((CHUNK / to.max(from)).max(1)).for_each(|i| {
            let x = &x[i * from..][..from];
            // SAFETY: each task writes its own part.
            let y = unsafe { out.slice(i * to, to) };
            if inner == 1 {
                for (y, row) in y.iter_mut().zip(&self.rows) {
                    *y = row.iter().map(|&(j, weight)| weight * x[j]).sum();
                }
                return;
            }
            for (y, row) in y.chunks_exact_mut(inner).zip(&self.rows) {
                y.fill(0.0);
                for &(j, weight) in row {
                    add_scaled(level, y, &x[j * inner..][..inner], weight);
                }
            }
        });
        // SAFETY: the parts cover the output.
        unsafe { y.finish() }
    }
}

/// A matrix along one axis.
struct Axis {
    name: &'static str,
    /// Numbers between neighbours along the axis.
    inner: usize,
    matrix: Matrix,
    transpose: Matrix,
    shape: Shape,
}

impl Op for Axis {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        Ok((self.matrix.apply(inputs[0], self.inner), self.shape.clone()))
    }

    fn backward(&self, _: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        Ok(vec![Gradient::Values(self.transpose.apply(dy, self.inner))])
    }

    fn keeps(&self, _: usize) -> bool {
        false
    }
}

multiversion! {
    fn add_scaled(y: &mut [f32], x: &[f32], weight: f32) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = fma::<FMA>(weight, *x, *y);
        }
    }
}

//! The affine map of the last axis.

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use crate::autograd::{self, Gradient, Op};
use crate::conv::sum_parts;
use crate::gemm::{Matrix, product};
use crate::memory::{Output, on_cpu, with_scratch};
use crate::{Error, Result, reference};

/// Rows of the input that one task multiplies, at least: the weights are packed once a task.
const ROWS: usize = 128;
/// `gemm` sums products of at most this many outputs in another order. They are filled up with rows of zeros, so that an
/// example's numbers do not depend on how many others share its batch.
const SMALL: usize = 256;
/// Parts whose weight gradients are summed in order.
const WEIGHT_PARTS: usize = 8;

/// $y = x W^\mathsf{T} + b$ over the last axis: `x [.., i]`, `w [o, i]`, `b [o]` give `[.., o]`.
///
/// # Errors
/// Where a shape does not fit, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[1.0f32, 2.0]], &Device::Cpu)?;
/// let w = Tensor::new(&[[3.0f32, 4.0]], &Device::Cpu)?;
/// let b = Tensor::new(&[0.5f32], &Device::Cpu)?;
/// assert_eq!(halocast_kernels::linear(&x, &w, Some(&b))?.to_vec2::<f32>()?, [[11.5]]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn linear(x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    const OP: &str = "linear";
    let &[outputs, inputs] = w.dims() else { return Err(Error::shape(OP, "weight", "[o, i]", w.dims())) };
    if x.dims().last() != Some(&inputs) || inputs == 0 {
        return Err(Error::shape(OP, "x", format!("[.., {inputs}]"), x.dims()));
    }
    if let Some(b) = b.filter(|b| b.dims() != [outputs]) {
        return Err(Error::shape(OP, "bias", format!("[{outputs}]"), b.dims()));
    }
    if !on_cpu(&[&[x, w], b.as_slice()].concat()) {
        return reference::linear(x, w, b);
    }
    let mut dims = x.dims().to_vec();
    dims.pop();
    dims.push(outputs);
    let op = Linear { inputs, outputs, shape: dims.into() };
    Ok(autograd::apply(op, &[&[x, w], b.as_slice()].concat())?)
}

struct Linear {
    inputs: usize,
    outputs: usize,
    shape: Shape,
}

impl Linear {
    /// Rows of a task: no row's sum depends on it.
    fn task_rows(rows: usize) -> usize {
        rows.div_ceil(rayon::current_num_threads()).clamp(ROWS, 8 * ROWS)
    }

    fn affine(&self, x: &[f32], w: &[f32], b: Option<&[f32]>) -> Vec<f32> {
        let Self { inputs, outputs, .. } = *self;
        let rows = x.len() / inputs;
        let mut y = Output::new(rows * outputs);
        let out = y.shared();
        let step = Self::task_rows(rows);
        (0..rows.div_ceil(step)).into_par_iter().for_each(|task| {
            let first = task * step;
            let rows = step.min(rows - first);
            // SAFETY: each task writes its own rows.
            let y = unsafe { out.slice(first * outputs, rows * outputs) };
            if let Some(b) = b.filter(|_| outputs > 0) {
                y.chunks_exact_mut(outputs).for_each(|y| y.copy_from_slice(b));
            }
            let x = &x[first * inputs..];
            let w = Matrix::rows(w.as_ptr(), inputs).t();
            // SAFETY: `[rows, i] x [i, o]` into this task's rows.
            unsafe { rowwise((rows, outputs, inputs), x, w, y.as_mut_ptr(), b.is_some()) };
        });
        // SAFETY: the tasks cover the rows.
        unsafe { y.finish() }
    }

    fn backward_weight(&self, x: &[f32], dy: &[f32]) -> Vec<f32> {
        let Self { inputs, outputs, .. } = *self;
        let rows = x.len() / inputs;
        let parts = rows.div_ceil(ROWS).clamp(1, WEIGHT_PARTS);
        let size = outputs * inputs;
        let mut dw = vec![0.0; parts * size];
        dw.par_chunks_mut(size.max(1)).enumerate().for_each(|(part, dw)| {
            let (first, end) = (part * rows / parts, (part + 1) * rows / parts);
            let dy = Matrix::rows(dy[first * outputs..].as_ptr(), outputs).t();
            let x = Matrix::rows(x[first * inputs..].as_ptr(), inputs);
            // SAFETY: `[o, rows] x [rows, i]` into this task's part.
            unsafe { product((outputs, inputs, end - first), dy, x, dw.as_mut_ptr(), inputs, false) };
        });
        sum_parts(&mut dw, size);
        dw
    }

    fn backward_input(&self, dy: &[f32], w: &[f32]) -> Vec<f32> {
        let Self { inputs, outputs, .. } = *self;
        let rows = dy.len().checked_div(outputs).unwrap_or(0);
        let mut dx = Output::new(rows * inputs);
        let out = dx.shared();
        let step = Self::task_rows(rows);
        (0..rows.div_ceil(step)).into_par_iter().for_each(|task| {
            let first = task * step;
            let rows = step.min(rows - first);
            let w = Matrix::rows(w.as_ptr(), inputs);
            // SAFETY: `[rows, o] x [o, i]` into this task's rows.
            unsafe {
                rowwise((rows, inputs, outputs), &dy[first * outputs..], w, out.at(first * inputs), false);
            }
        });
        // SAFETY: the tasks cover the rows.
        unsafe { dx.finish() }
    }

    fn backward_bias(&self, dy: &[f32]) -> Vec<f32> {
        let mut db = vec![0.0; self.outputs];
        for row in dy.chunks_exact(self.outputs.max(1)) {
            for (db, dy) in db.iter_mut().zip(row) {
                *db += dy;
            }
        }
        db
    }
}

/// `C (+)= A B` with `A [m, k]` and `C [m, n]` row by row, each row the same however many there are.
///
/// # Safety
/// As [`product`].
unsafe fn rowwise((m, n, k): (usize, usize, usize), a: &[f32], b: Matrix, c: *mut f32, add: bool) {
    // One row alone is yet another case.
    let least = (SMALL / n.max(1) + 1).max(2);
    // SAFETY: the caller's promise; the scratch holds what it is given for.
    unsafe {
        if m >= least {
            return product((m, n, k), Matrix::rows(a.as_ptr(), k), b, c, n, add);
        }
        with_scratch(least * (k + n), |scratch| {
            let (rows, sums) = scratch.split_at_mut(least * k);
            rows[..m * k].copy_from_slice(&a[..m * k]);
            rows[m * k..].fill(0.0);
            let c = std::slice::from_raw_parts_mut(c, m * n);
            if add {
                sums[..m * n].copy_from_slice(c);
                sums[m * n..].fill(0.0);
            }
            product((least, n, k), Matrix::rows(rows.as_ptr(), k), b, sums.as_mut_ptr(), n, add);
            c.copy_from_slice(&sums[..m * n]);
        });
    }
}

impl Op for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let y = self.affine(inputs[0], inputs[1], inputs.get(2).copied());
        Ok((y, self.shape.clone()))
    }

    fn backward(&self, inputs: &[&[f32]], dy: &[f32], wanted: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let (x, w) = (inputs[0], inputs[1]);
        let mut grads = vec![
            Gradient::when(wanted[0], || self.backward_input(dy, w)),
            Gradient::when(wanted[1], || self.backward_weight(x, dy)),
        ];
        if let Some(&wanted) = wanted.get(2) {
            grads.push(Gradient::when(wanted, || self.backward_bias(dy)));
        }
        Ok(grads)
    }

    fn keeps(&self, index: usize) -> bool {
        index < 2
    }
}

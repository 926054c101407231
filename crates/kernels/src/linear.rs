//! The affine map of the last axis.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Shape, Tensor};
use rayon::prelude::*;

use crate::conv::sum_parts;
use crate::gemm::{Matrix, product};
use crate::memory::{Output, numbers, on_cpu, tensor, with_numbers};
use crate::{Error, Result, reference};

/// Rows of the input that one task multiplies.
const ROWS: usize = 128;
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
    let op = Linear { inputs, outputs };
    let (x, w) = (x.contiguous()?, w.contiguous()?);
    Ok(match b {
        None => x.apply_op2(&w, op)?,
        Some(b) => x.apply_op3(&w, &b.contiguous()?, op)?,
    })
}

struct Linear {
    inputs: usize,
    outputs: usize,
}

impl Linear {
    fn forward(&self, x: &[f32], w: &[f32], b: Option<&[f32]>, shape: &Shape) -> (CpuStorage, Shape) {
        let Self { inputs, outputs } = *self;
        let rows = x.len() / inputs;
        let mut y = Output::new(rows * outputs);
        let out = y.shared();
        (0..rows.div_ceil(ROWS)).into_par_iter().for_each(|task| {
            let first = task * ROWS;
            let rows = ROWS.min(rows - first);
            // SAFETY: each task writes its own rows.
            let y = unsafe { out.slice(first * outputs, rows * outputs) };
            if let Some(b) = b.filter(|_| outputs > 0) {
                y.chunks_exact_mut(outputs).for_each(|y| y.copy_from_slice(b));
            }
            let x = Matrix::rows(x[first * inputs..].as_ptr(), inputs);
            let w = Matrix::rows(w.as_ptr(), inputs).t();
            // SAFETY: `[rows, i] x [i, o]` into this task's rows.
            unsafe { product((rows, outputs, inputs), x, w, y.as_mut_ptr(), outputs, b.is_some()) };
        });
        let mut dims = shape.dims().to_vec();
        dims.pop();
        dims.push(outputs);
        // SAFETY: the tasks cover the rows.
        (CpuStorage::F32(unsafe { y.finish() }), dims.into())
    }

    fn backward(
        &self,
        x: &Tensor,
        w: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let Self { inputs, outputs } = *self;
        let rows = x.elem_count() / inputs;
        with_numbers(dy, |dy| {
            let dx = if x.track_op() {
                Some(with_numbers(w, |w| tensor(self.backward_input(dy, w, rows), x.shape()))?)
            } else {
                None
            };
            let dw = with_numbers(x, |x| {
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
                tensor(dw, w.shape())
            })?;
            Ok((dx, Some(dw)))
        })
    }

    fn backward_input(&self, dy: &[f32], w: &[f32], rows: usize) -> Vec<f32> {
        let Self { inputs, outputs } = *self;
        let mut dx = Output::new(rows * inputs);
        let out = dx.shared();
        (0..rows.div_ceil(ROWS)).into_par_iter().for_each(|task| {
            let first = task * ROWS;
            let rows = ROWS.min(rows - first);
            let dy = Matrix::rows(dy[first * outputs..].as_ptr(), outputs);
            let w = Matrix::rows(w.as_ptr(), inputs);
            // SAFETY: `[rows, o] x [o, i]` into this task's rows.
            unsafe { product((rows, inputs, outputs), dy, w, out.at(first * inputs), inputs, false) };
        });
        // SAFETY: the tasks cover the rows.
        unsafe { dx.finish() }
    }
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok(self.forward(numbers(x, xl)?, numbers(w, wl)?, None, xl.shape()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        self.backward(x, w, dy)
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok(self.forward(numbers(x, xl)?, numbers(w, wl)?, Some(numbers(b, bl)?), xl.shape()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dx, dw) = self.backward(x, w, dy)?;
        let mut db = vec![0.0; self.outputs];
        with_numbers(dy, |dy| {
            for row in dy.chunks_exact(self.outputs.max(1)) {
                for (db, dy) in db.iter_mut().zip(row) {
                    *db += dy;
                }
            }
            Ok(())
        })?;
        Ok((dx, dw, Some(tensor(db, b.shape())?)))
    }
}

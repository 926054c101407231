//! A residual connection with a gate for each channel of each example.

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use crate::autograd::{self, Gradient, Op};
use crate::memory::{Output, Shared, on_cpu};
use crate::simd::{Level, fma, multiversion};
use crate::{Error, Result, reference};

/// Numbers that one task handles, about.
const CHUNK: usize = 32 * 1024;

/// A residual connection of tokens with a gate: $y_{n t c} = x_{n t c} + (1 + g_{n c}) \, b_{n t c}$.
///
/// `x` and `branch` $b$ `[n, .., c]`, `gate` $g$ `[n, c]`.
///
/// # Source
/// Peebles & Xie 2023, arXiv:2212.09748, section 3.2, with a gate around one as in Teng et al. 2024, arXiv:2405.14224.
///
/// # Errors
/// Where a shape does not fit, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[[1.0f32, 2.0]]], &Device::Cpu)?;
/// let gate = Tensor::new(&[[0.0f32, 9.0]], &Device::Cpu)?;
/// let y = halocast_kernels::gated_add(&x, &x, &gate)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [2.0, 22.0]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn gated_add(x: &Tensor, branch: &Tensor, gate: &Tensor) -> Result<Tensor> {
    const OP: &str = "gated_add";
    let dims = x.dims();
    if dims.len() < 2 || x.elem_count() == 0 {
        return Err(Error::shape(OP, "x", "[n, .., c] and not empty", dims));
    }
    let (n, c) = (dims[0], dims[dims.len() - 1]);
    if branch.dims() != dims {
        return Err(Error::shape(OP, "branch", format!("{dims:?}"), branch.dims()));
    }
    if gate.dims() != [n, c] {
        return Err(Error::shape(OP, "gate", format!("[{n}, {c}]"), gate.dims()));
    }
    if !on_cpu(&[x, branch, gate]) {
        return reference::gated_add(x, branch, gate);
    }
    let op = GatedAdd { n, rows: x.elem_count() / (n * c), c, shape: x.shape().clone() };
    Ok(autograd::apply(op, &[x, branch, gate])?)
}

struct GatedAdd {
    n: usize,
    rows: usize,
    c: usize,
    shape: Shape,
}

impl GatedAdd {
    /// Runs `body(task, example, start, end)` for parts of whole rows.
    fn each(&self, body: impl Fn(usize, usize, usize, usize) + Sync) {
        let (step, parts) = self.parts();
        (0..self.n * parts).into_par_iter().for_each(|task| {
            let (example, part) = (task / parts, task % parts);
            let first = example * self.rows + part * step;
            let end = (first + step).min((example + 1) * self.rows);
            body(task, example, first * self.c, end * self.c);
        });
    }

    /// Rows of a part, and parts of an example.
    fn parts(&self) -> (usize, usize) {
        let step = (CHUNK / self.c).clamp(1, self.rows);
        (step, self.rows.div_ceil(step))
    }
}

impl Op for GatedAdd {
    fn name(&self) -> &'static str {
        "gated_add"
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let (x, branch, gate, level) = (inputs[0], inputs[1], inputs[2], Level::current());
        let mut y = Output::new(x.len());
        let out = y.shared();
        self.each(|_, example, start, end| {
            // SAFETY: each task writes its own rows.
            let y = unsafe { out.slice(start, end - start) };
            let gate = &gate[example * self.c..][..self.c];
            let rows = x[start..end].chunks_exact(self.c).zip(branch[start..end].chunks_exact(self.c));
            for ((x, branch), y) in rows.zip(y.chunks_exact_mut(self.c)) {
                gated(level, x, branch, gate, y);
            }
        });
        // SAFETY: the parts cover the rows.
        Ok((unsafe { y.finish() }, self.shape.clone()))
    }

    fn backward(&self, inputs: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let (branch, gate, level) = (inputs[1], inputs[2], Level::current());
        let (mut dbranch, parts) = (Output::new(dy.len()), self.parts().1);
        let mut sums = vec![0.0; self.n * parts * self.c];
        let (out, sums_out) = (dbranch.shared(), Shared::new(&mut sums));
        self.each(|task, example, start, end| {
            // SAFETY: each task writes its own rows and sums.
            let (db, dg) = unsafe { (out.slice(start, end - start), sums_out.slice(task * self.c, self.c)) };
            let gate = &gate[example * self.c..][..self.c];
            let rows = dy[start..end].chunks_exact(self.c).zip(branch[start..end].chunks_exact(self.c));
            for ((dy, branch), db) in rows.zip(db.chunks_exact_mut(self.c)) {
                gated_back(level, dy, branch, gate, db, dg);
            }
        });
        let mut dgate = vec![0.0; self.n * self.c];
        for (task, part) in sums.chunks_exact(self.c).enumerate() {
            let total = &mut dgate[task / parts * self.c..][..self.c];
            total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
        }
        // SAFETY: the parts cover the rows.
        let dbranch = unsafe { dbranch.finish() };
        Ok(vec![Gradient::Output, Gradient::Values(dbranch), Gradient::Values(dgate)])
    }

    fn keeps(&self, index: usize) -> bool {
        index > 0
    }
}

multiversion! {
    fn gated(x: &[f32], branch: &[f32], gate: &[f32], y: &mut [f32]) {
        for ((y, x), (b, g)) in y.iter_mut().zip(x).zip(branch.iter().zip(gate)) {
            *y = fma::<FMA>(1.0 + g, *b, *x);
        }
    }
}

multiversion! {
    fn gated_back(dy: &[f32], branch: &[f32], gate: &[f32], db: &mut [f32], dg: &mut [f32]) {
        for (((dy, b), g), (db, dg)) in dy.iter().zip(branch).zip(gate).zip(db.iter_mut().zip(dg)) {
            *db = (1.0 + g) * dy;
            *dg = fma::<FMA>(*dy, *b, *dg);
        }
    }
}

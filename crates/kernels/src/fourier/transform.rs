//! Batches of transforms by rustfft and realfft: rows, then blocks of columns that are made contiguous.

use std::cell::RefCell;
use std::sync::Arc;

use rayon::prelude::*;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustfft::num_complex::Complex;
use rustfft::{Fft, FftDirection, FftPlanner};

use crate::memory::{Output, Shared, with_scratch};

/// Columns that are moved together: complex numbers of one cache line.
const BLOCK: usize = 8;
/// Numbers that one task handles, about.
const TASK: usize = 16 * 1024;

/// Columns of a half spectrum that stand for their conjugates too: all but the first and, for an even size, the last.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Columns {
    AsTheyAre,
    Halved,
    Doubled,
}

thread_local! {
    /// Planners keep what they planned.
    static PLANNERS: RefCell<(RealFftPlanner<f32>, FftPlanner<f32>)> =
        RefCell::new((RealFftPlanner::new(), FftPlanner::new()));
}

/// `batch` transforms of shape `[n0, n1, n2]` each; fewer axes have leading ones.
pub(super) struct Transform {
    shape: [usize; 3],
    batch: usize,
    rows: Arc<dyn RealToComplex<f32>>,
    rows_back: Arc<dyn ComplexToReal<f32>>,
    /// Forward and inverse along each axis.
    lines: [[Arc<dyn Fft<f32>>; 2]; 3],
}

impl Transform {
    pub(super) fn new(shape: [usize; 3], batch: usize) -> Self {
        PLANNERS.with(|planners| {
            let (real, complex) = &mut *planners.borrow_mut();
            let lines = shape.map(|n| {
                [FftDirection::Forward, FftDirection::Inverse].map(|direction| complex.plan_fft(n, direction))
            });
            let rows = real.plan_fft_forward(shape[2]);
            let rows_back = real.plan_fft_inverse(shape[2]);
            Self { shape, batch, rows, rows_back, lines }
        })
    }

    /// The shape of one transform, and how many there are.
    pub(super) fn sizes(&self) -> ([usize; 3], usize) {
        (self.shape, self.batch)
    }

    /// Real numbers to `scale` times their half spectra.
    pub(super) fn real(&self, x: &[f32], scale: f32, columns: Columns) -> Vec<f32> {
        let [n0, n1, n2] = self.shape;
        let half = n2 / 2 + 1;
        let (points, size) = (n0 * n1 * n2, 2 * n0 * n1 * half);
        let mut y = Output::new(self.batch * size);
        let out = y.shared();
        self.each(|i| {
            let x = &x[i * points..][..points];
            tasks(n0 * n1, TASK / n2, |first, rows| {
                let scratch = self.rows.get_scratch_len();
                with_scratch(n2 + 2 * scratch, |memory| {
                    let (scratch, line) = memory.split_at_mut(2 * scratch);
                    let scratch = complex_mut(scratch);
                    for row in first..first + rows {
                        for (line, x) in line.iter_mut().zip(&x[row * n2..]) {
                            *line = scale * x;
                        }
                        // SAFETY: each task writes its own rows.
                        let y = complex_mut(unsafe { out.slice(i * size + 2 * row * half, 2 * half) });
                        // The lengths are the plan's own: this cannot fail.
                        let _ = self.rows.process_with_scratch(line, y, scratch);
                        if columns == Columns::Doubled {
                            shared_columns(y, n2).iter_mut().for_each(|y| *y *= 2.0);
                        }
                    }
                });
            });
            // SAFETY: this is the part of example `i`, whose rows are written.
            unsafe {
                self.columns(out, i * size, half, 1, false);
                self.columns(out, i * size, half, 0, false);
            }
        });
        // SAFETY: the examples cover the output, the rows each example.
        unsafe { y.finish() }
    }

    /// Half spectra to `scale` times the sums over whole ones.
    pub(super) fn real_inverse(&self, x: &[f32], scale: f32, columns: Columns) -> Vec<f32> {
        let [n0, n1, n2] = self.shape;
        let half = n2 / 2 + 1;
        let (points, size) = (n0 * n1 * n2, 2 * n0 * n1 * half);
        let mut y = Output::new(self.batch * points);
        let out = y.shared();
        self.each(|i| {
            with_scratch(size, |work| {
                work.copy_from_slice(&x[i * size..][..size]);
                let work = Shared::new(work);
                // SAFETY: the working space of this example alone.
                unsafe {
                    self.columns(work, 0, half, 0, true);
                    self.columns(work, 0, half, 1, true);
                }
                tasks(n0 * n1, TASK / n2, |first, rows| {
                    let scratch = self.rows_back.get_scratch_len();
                    with_scratch(2 * scratch, |scratch| {
                        let scratch = complex_mut(scratch);
                        for row in first..first + rows {
                            // SAFETY: each task uses its own rows, of the working space and the output.
                            let (x, y) = unsafe {
                                (work.slice(2 * row * half, 2 * half), out.slice(i * points + row * n2, n2))
                            };
                            let x = complex_mut(x);
                            // A real line has real ends; realfft refuses others.
                            x[0].im = 0.0;
                            if n2.is_multiple_of(2) {
                                x[half - 1].im = 0.0;
                            }
                            if columns == Columns::Halved {
                                shared_columns(x, n2).iter_mut().for_each(|x| *x *= 0.5);
                            }
                            // The lengths are the plan's own: this cannot fail.
                            let _ = self.rows_back.process_with_scratch(x, y, scratch);
                            y.iter_mut().for_each(|y| *y *= scale);
                        }
                    });
                });
            });
        });
        // SAFETY: the rows of all examples cover the output.
        unsafe { y.finish() }
    }

    /// Complex numbers to `scale` times their spectra.
    pub(super) fn complex(&self, x: &[f32], inverse: bool, scale: f32) -> Vec<f32> {
        let [n0, n1, n2] = self.shape;
        let size = 2 * n0 * n1 * n2;
        let mut y = Output::new(self.batch * size);
        let out = y.shared();
        let plan = &self.lines[2][usize::from(inverse)];
        self.each(|i| {
            let x = &x[i * size..][..size];
            tasks(n0 * n1, TASK / n2, |first, rows| {
                // SAFETY: each task writes its own rows.
                let y = unsafe { out.slice(i * size + 2 * first * n2, 2 * rows * n2) };
                for (y, x) in y.iter_mut().zip(&x[2 * first * n2..]) {
                    *y = scale * x;
                }
                with_scratch(2 * plan.get_inplace_scratch_len(), |scratch| {
                    plan.process_with_scratch(complex_mut(y), complex_mut(scratch));
                });
            });
            // SAFETY: this is the part of example `i`, whose rows are written.
            unsafe {
                self.columns(out, i * size, n2, 1, inverse);
                self.columns(out, i * size, n2, 0, inverse);
            }
        });
        // SAFETY: the examples cover the output, the rows each example.
        unsafe { y.finish() }
    }

    /// Runs `body` for each example.
    fn each(&self, body: impl Fn(usize) + Sync) {
        let points: usize = self.shape.iter().product();
        tasks(self.batch, TASK / points, |first, count| (first..first + count).for_each(&body));
    }

    /// Transforms along axis 0 or 1 of complex numbers `[n0, n1, width]` that start at `start` of `data`.
    ///
    /// # Safety
    /// They lie within `data`, hold values, and no other task uses them.
    unsafe fn columns(&self, data: Shared, start: usize, width: usize, axis: usize, inverse: bool) {
        let n = self.shape[axis];
        if n < 2 {
            return;
        }
        // Axis 1 has n0 planes of `width` columns, axis 0 one of `n1 * width`.
        let (planes, width) = if axis == 1 { (self.shape[0], width) } else { (1, self.shape[1] * width) };
        let plan = &self.lines[axis][usize::from(inverse)];
        let blocks = width.div_ceil(BLOCK);
        tasks(planes * blocks, TASK / (n * BLOCK), |first, count| {
            let scratch = 2 * plan.get_inplace_scratch_len();
            with_scratch(scratch + 2 * BLOCK * n, |memory| {
                let (scratch, block) = memory.split_at_mut(scratch);
                let (scratch, block) = (complex_mut(scratch), complex_mut(block));
                for task in first..first + count {
                    let column = task % blocks * BLOCK;
                    let count = BLOCK.min(width - column);
                    let start = start + 2 * (task / blocks * n * width + column);
                    for (y, row) in (0..n).map(|y| (y, start + 2 * y * width)) {
                        // SAFETY: each task uses its own columns.
                        let row = complex_mut(unsafe { data.slice(row, 2 * count) });
                        for (c, value) in row.iter().enumerate() {
                            block[c * n + y] = *value;
                        }
                    }
                    plan.process_with_scratch(&mut block[..count * n], scratch);
                    for (y, row) in (0..n).map(|y| (y, start + 2 * y * width)) {
                        // SAFETY: as above.
                        let row = complex_mut(unsafe { data.slice(row, 2 * count) });
                        for (c, value) in row.iter_mut().enumerate() {
                            *value = block[c * n + y];
                        }
                    }
                }
            });
        });
    }
}

/// Runs `body(first, count)` over `0..total` in parts of about `size`; a single part stays on this thread.
fn tasks(total: usize, size: usize, body: impl Fn(usize, usize) + Sync) {
    let size = size.max(1);
    if total <= size {
        return body(0, total);
    }
    (0..total.div_ceil(size)).into_par_iter().for_each(|part| {
        let first = part * size;
        body(first, size.min(total - first));
    });
}

/// The numbers of a half spectrum of `n` points that stand for their conjugates too.
fn shared_columns(row: &mut [Complex<f32>], n: usize) -> &mut [Complex<f32>] {
    &mut row[1..n.div_ceil(2)]
}

/// Pairs of numbers as complex ones.
fn complex_mut(x: &mut [f32]) -> &mut [Complex<f32>] {
    let len = x.len() / 2;
    // SAFETY: `Complex<f32>` is two `f32` in C's layout, and as aligned as they are.
    unsafe { std::slice::from_raw_parts_mut(x.as_mut_ptr().cast(), len) }
}

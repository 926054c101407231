//! Convolution with a kernel of one pixel: a product of matrices, `y = W x`, for each image.

use rayon::prelude::*;

use super::geometry::Geometry;
use super::sums::sum_parts;
use crate::gemm::{Matrix, product};
use crate::memory::Output;

/// Pixels of an image that one task multiplies.
const PIXELS: usize = 1024;
/// Parts of the batch whose weight gradients are summed apart.
const SUMS: usize = 8;

/// `y = W x + b`.
pub(super) fn forward(x: &[f32], w: &[f32], b: Option<&[f32]>, g: &Geometry) -> Vec<f32> {
    multiply(x, Matrix::rows(w.as_ptr(), g.ci), b, g.n, (g.ci, g.co), g.out_plane())
}

/// `dx = W^T dy`, plus a bias for each channel of `dx`.
pub(super) fn backward_input(dy: &[f32], w: &[f32], b: Option<&[f32]>, g: &Geometry) -> Vec<f32> {
    multiply(dy, Matrix::rows(w.as_ptr(), g.ci).t(), b, g.n, (g.co, g.ci), g.out_plane())
}

/// `A x + b` for the planes of each of `n` images.
fn multiply(
    x: &[f32],
    a: Matrix,
    b: Option<&[f32]>,
    n: usize,
    (inputs, outputs): (usize, usize),
    plane: usize,
) -> Vec<f32> {
    let mut y = Output::new(n * outputs * plane);
    let out = y.shared();
    let parts = plane.div_ceil(PIXELS);
    (0..n * parts).into_par_iter().for_each(|task| {
        let (image, first) = (task / parts, (task % parts) * PIXELS);
        let pixels = PIXELS.min(plane - first);
        let start = image * outputs * plane + first;
        if let Some(b) = b {
            for (channel, &b) in b.iter().enumerate() {
                // SAFETY: these pixels of this image are written by this task alone.
                unsafe { out.slice(start + channel * plane, pixels) }.fill(b);
            }
        }
        let x = Matrix::rows(x[image * inputs * plane + first..].as_ptr(), plane);
        // SAFETY: `[outputs, inputs] x [inputs, pixels]` into this task's pixels.
        unsafe { product((outputs, pixels, inputs), a, x, out.at(start), plane, b.is_some()) };
    });
    // SAFETY: the tasks cover the pixels of every image.
    unsafe { y.finish() }
}

/// `dW = dy x^T`, summed over images.
pub(super) fn backward_weight(x: &[f32], dy: &[f32], g: &Geometry) -> Vec<f32> {
    let plane = g.out_plane();
    let (sums, size) = (g.n.clamp(1, SUMS), g.co * g.ci);
    let mut dw = vec![0.0; sums * size];
    dw.par_chunks_mut(size.max(1)).enumerate().for_each(|(sum, dw)| {
        let images = sum * g.n / sums..(sum + 1) * g.n / sums;
        for image in images.clone() {
            let dy = Matrix::rows(dy[image * g.co * plane..].as_ptr(), plane);
            let x = Matrix::rows(x[image * g.ci * plane..].as_ptr(), plane).t();
            // SAFETY: `[co, plane] x [plane, ci]` into this task's sum.
            unsafe { product((g.co, g.ci, plane), dy, x, dw.as_mut_ptr(), g.ci, image > images.start) };
        }
    });
    sum_parts(&mut dw, size);
    dw
}

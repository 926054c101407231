//! Convolution of stride two as one of stride one.
//!
//! Output `Y` of a kernel with `P` pixels of padding reads the pixels `2 Y + k - P`. The map is split into its even and
//! odd rows and columns, four phases: tap `k` then reads pixel `Y + t - 1` of phase `p`, with $k = 2 (t - 1) + p + P$. For
//! kernels of three to six pixels padded to half the size, `t` is 0, 1 or 2: a 3x3 convolution of four times the
//! channels, and of the kernel of four, two taps of three in each phase, which leaves 25 points of 36.

use rayon::prelude::*;

use super::forward::{Problem, convolve};
use super::weight_gradient::weight_gradient;
use super::weights::Use;
use super::zeros::{Ends, Phases, Zeros};
use crate::conv::PadMode;
use crate::conv::geometry::Geometry;
use crate::memory::{Output, Shared, with_scratch};

/// Whether a convolution is of this kind.
pub(super) fn fits(g: &Geometry) -> bool {
    let axis = |kernel: usize, padding: usize| matches!((kernel, padding), (3 | 4, 1) | (5 | 6, 2));
    let even = g.h.is_multiple_of(2) && g.w.is_multiple_of(2) && g.h.min(g.w) >= 4;
    g.spec.stride == 2
        && g.spec.pad_mode != PadMode::Reflect
        && even
        && axis(g.kh, g.spec.padding)
        && axis(g.kw, g.spec.padding)
}

/// `y = conv(x, w) + b`.
pub(super) fn forward(x: &[f32], w: &[f32], b: Option<&[f32]>, g: &Geometry) -> Vec<f32> {
    let p = problem(g);
    with_scratch(x.len() + p.outputs * p.inputs * 9, |scratch| {
        let (phases, filters) = scratch.split_at_mut(x.len());
        split(x, g, phases);
        expand(w, g, filters);
        convolve(phases, filters, b, &p, Use::Forward)
    })
}

/// `dx` of `y = conv(x, w)`, plus a bias for each channel of `dx`.
pub(super) fn backward_input(dy: &[f32], w: &[f32], b: Option<&[f32]>, g: &Geometry) -> Vec<f32> {
    let p = problem(g);
    let b = b.map(|b| b.repeat(4));
    let adjoint =
        Problem { inputs: p.outputs, outputs: p.inputs, zeros: Zeros::Outputs(phases(g).reversed()), ..p };
    with_scratch(p.outputs * p.inputs * 9, |filters| {
        expand(w, g, filters);
        merge(&convolve(dy, filters, b.as_deref(), &adjoint, Use::Adjoint), g)
    })
}

/// `dW` of `y = conv(x, w)`.
pub(super) fn backward_weight(x: &[f32], dy: &[f32], g: &Geometry) -> Vec<f32> {
    let filters = with_scratch(x.len(), |phases| {
        split(x, g, phases);
        weight_gradient(phases, dy, &problem(g))
    });
    collect(&filters, g)
}

fn problem(g: &Geometry) -> Problem {
    Problem {
        n: g.n,
        inputs: 4 * g.ci,
        outputs: g.co,
        h: g.oh,
        w: g.ow,
        oh: g.oh,
        ow: g.ow,
        padding: 1,
        mode: g.spec.pad_mode,
        zeros: Zeros::Inputs(phases(g)),
    }
}

fn phases(g: &Geometry) -> Phases {
    let axis = |kernel: usize, padding: usize| Ends {
        first: [0, 1].map(|p| tap(0, p, kernel, padding).is_some()),
        last: [0, 1].map(|p| tap(2, p, kernel, padding).is_some()),
    };
    Phases { channels: g.ci, y: axis(g.kh, g.spec.padding), x: axis(g.kw, g.spec.padding) }
}

/// The tap of the kernel that is tap `t` of phase `p`.
fn tap(t: usize, p: usize, kernel: usize, padding: usize) -> Option<usize> {
    (2 * t + p + padding).checked_sub(2).filter(|&k| k < kernel)
}

/// For each tap of a filter of each phase, `[2][2][3][3]`, the tap of the kernel.
fn taps(g: &Geometry) -> [Option<usize>; 36] {
    std::array::from_fn(|i| {
        let (py, px, ty, tx) = (i / 18, i / 9 % 2, i / 3 % 3, i % 3);
        let y = tap(ty, py, g.kh, g.spec.padding)?;
        Some(y * g.kw + tap(tx, px, g.kw, g.spec.padding)?)
    })
}

/// Filters `[co, 2, 2, ci, 3, 3]` of kernels `w [co, ci, kh, kw]`.
fn expand(w: &[f32], g: &Geometry, filters: &mut [f32]) {
    let (taps, window) = (taps(g), g.kh * g.kw);
    filters.par_chunks_exact_mut(9 * g.ci).enumerate().for_each(|(i, filters)| {
        let (o, phase) = (i / 4, i % 4);
        let kernels = w[o * g.ci * window..].chunks_exact(window);
        for (filter, kernel) in filters.as_chunks_mut::<9>().0.iter_mut().zip(kernels) {
            for (value, tap) in filter.iter_mut().zip(&taps[9 * phase..]) {
                *value = tap.map_or(0.0, |tap| kernel[tap]);
            }
        }
    });
}

/// The adjoint of [`expand`].
fn collect(filters: &[f32], g: &Geometry) -> Vec<f32> {
    let (taps, window) = (taps(g), g.kh * g.kw);
    let mut w = vec![0.0; g.co * g.ci * window];
    w.par_chunks_exact_mut(g.ci * window).enumerate().for_each(|(o, w)| {
        for phase in 0..4 {
            let filters = filters[(o * 4 + phase) * g.ci * 9..].as_chunks::<9>().0;
            for (kernel, filter) in w.chunks_exact_mut(window).zip(filters) {
                for (value, tap) in filter.iter().zip(&taps[9 * phase..]) {
                    if let Some(tap) = *tap {
                        kernel[tap] = *value;
                    }
                }
            }
        }
    });
    w
}

/// Phases `[n, 2, 2, ci, oh, ow]` of `x [n, ci, h, w]`.
fn split(x: &[f32], g: &Geometry, phases: &mut [f32]) {
    let out = Shared::new(phases);
    let plane = g.out_plane();
    x.par_chunks_exact(g.in_plane()).enumerate().for_each(|(i, x)| {
        let (image, c) = (i / g.ci, i % g.ci);
        for (row, x) in x.chunks_exact(g.w).enumerate() {
            let start = ((image * 4 + row % 2 * 2) * g.ci + c) * plane + row / 2 * g.ow;
            // SAFETY: each task writes the rows of its own channel in the four phases of its image.
            let (even, odd) = unsafe { (out.slice(start, g.ow), out.slice(start + g.ci * plane, g.ow)) };
            for ((even, odd), x) in even.iter_mut().zip(odd).zip(x.as_chunks::<2>().0) {
                [*even, *odd] = *x;
            }
        }
    });
}

/// The inverse of [`split`].
fn merge(phases: &[f32], g: &Geometry) -> Vec<f32> {
    let plane = g.out_plane();
    let mut x = Output::new(phases.len());
    let out = x.shared();
    (0..g.n * g.ci).into_par_iter().for_each(|i| {
        let (image, c) = (i / g.ci, i % g.ci);
        // SAFETY: each task writes its own plane.
        let x = unsafe { out.slice(i * g.in_plane(), g.in_plane()) };
        for (row, x) in x.chunks_exact_mut(g.w).enumerate() {
            let start = ((image * 4 + row % 2 * 2) * g.ci + c) * plane + row / 2 * g.ow;
            let (even, odd) = (&phases[start..][..g.ow], &phases[start + g.ci * plane..][..g.ow]);
            for ((even, odd), x) in even.iter().zip(odd).zip(x.as_chunks_mut::<2>().0) {
                *x = [*even, *odd];
            }
        }
    });
    // SAFETY: the planes cover the output.
    unsafe { x.finish() }
}

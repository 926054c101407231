//! The filters at the points, and back.
//!
//! `U [panel][point][ci][columns]`: a panel is two vectors of output channels (the last may be one), so that a product
//! reads it from front to back.

use rayon::prelude::*;

use super::transform::{SIDE, filter, taps};
use crate::memory::Shared;
use crate::simd::Level;
use crate::simd::vector::{Kernel, Simd, dispatch};

/// Whose filters: the convolution's own, or those of its adjoint (channels exchanged, taps reversed).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Forward,
    Adjoint,
}

/// The transformed filters of `w [co, ci, 3, 3]` for a product of `inputs` and `outputs` channels (with
/// [`Use::Adjoint`] `inputs = co` and `outputs = ci`), into `u [36 inputs padded(outputs)]`.
pub(super) fn transform_filters(
    level: Level,
    w: &[f32],
    inputs: usize,
    outputs: usize,
    usage: Use,
    u: &mut [f32],
) {
    let lanes = level.lanes();
    let u = Shared::new(u);
    let vectors = outputs.div_ceil(lanes);
    const GROUP: usize = 8;
    let groups = inputs.div_ceil(GROUP);
    (0..vectors * groups).into_par_iter().for_each(|task| {
        let (vector, group) = (task / groups, task % groups);
        for input in group * GROUP..(group * GROUP + GROUP).min(inputs) {
            dispatch(level, Filter { w, inputs, outputs, usage, vector, input, u });
        }
    });
}

struct Filter<'a> {
    w: &'a [f32],
    inputs: usize,
    outputs: usize,
    usage: Use,
    vector: usize,
    input: usize,
    u: Shared,
}

impl Kernel for Filter<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { w, inputs, outputs, usage, vector, input, u } = self;
        let first = vector * S::LANES;
        let mut g = [[0.0f32; 16]; 9];
        for lane in 0..S::LANES.min(outputs - first) {
            let start = match usage {
                Use::Forward => ((first + lane) * inputs + input) * 9,
                Use::Adjoint => (input * outputs + first + lane) * 9,
            };
            for tap in 0..9 {
                g[if usage == Use::Forward { tap } else { 8 - tap }][lane] = w[start + tap];
            }
        }
        let (panel, half) = (vector / 2, vector % 2);
        let width = S::LANES * if vector % 2 == 0 && first + S::LANES >= outputs { 1 } else { 2 };
        // SAFETY: `g` holds 16 numbers a row; `u` holds `36 inputs` numbers for each output of every panel before,
        // and each task writes its own lanes of its own inputs.
        unsafe {
            let mut rows = [[S::splat(0.0); 6]; 3];
            for (i, row) in rows.iter_mut().enumerate() {
                let load = g[3 * i..].as_ptr().cast::<f32>();
                *row = filter::<S>([S::load(load), S::load(load.add(16)), S::load(load.add(32))]);
            }
            let start = panel * 2 * S::LANES * SIDE * SIDE * inputs + half * S::LANES;
            for j in 0..SIDE {
                let column = filter::<S>([rows[0][j], rows[1][j], rows[2][j]]);
                for i in 0..SIDE {
                    S::store(u.at(start + ((i * SIDE + j) * inputs + input) * width), column[i]);
                }
            }
        }
    }
}

/// `dw [co, ci, 3, 3]` of the products `z [36][co padded][ci padded]`, points `z_point` apart.
pub(super) fn transform_gradient(
    level: Level,
    z: &[f32],
    z_point: usize,
    z_row: usize,
    (co, ci): (usize, usize),
    dw: Shared,
) {
    (0..co).into_par_iter().with_min_len(4).for_each(|o| {
        // SAFETY: each task writes the filters of its own output channel.
        let dw = unsafe { dw.slice(o * ci * 9, ci * 9) };
        dispatch(level, Gradient { z: &z[o * z_row..], z_point, dw });
    });
}

struct Gradient<'a> {
    z: &'a [f32],
    z_point: usize,
    dw: &'a mut [f32],
}

impl Kernel for Gradient<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { z, z_point, dw } = self;
        let mut buffer = [0.0f32; 9 * 16];
        for (block, dw) in dw.chunks_mut(9 * S::LANES).enumerate() {
            // SAFETY: rows of `z` are padded to whole vectors; `buffer` holds nine vectors.
            unsafe {
                let mut rows = [[S::splat(0.0); 3]; 6];
                for i in 0..SIDE {
                    let mut row = [S::splat(0.0); 6];
                    for j in 0..SIDE {
                        row[j] = S::load(z.as_ptr().add((i * SIDE + j) * z_point + block * S::LANES));
                    }
                    rows[i] = taps::<S>(row);
                }
                for j in 0..3 {
                    let mut column = [S::splat(0.0); 6];
                    for i in 0..SIDE {
                        column[i] = rows[i][j];
                    }
                    let column = taps::<S>(column);
                    for i in 0..3 {
                        S::store(buffer.as_mut_ptr().add((3 * i + j) * S::LANES), column[i]);
                    }
                }
            }
            for (lane, dw) in dw.as_chunks_mut::<9>().0.iter_mut().enumerate() {
                for (tap, dw) in dw.iter_mut().enumerate() {
                    *dw = buffer[tap * S::LANES + lane];
                }
            }
        }
    }
}

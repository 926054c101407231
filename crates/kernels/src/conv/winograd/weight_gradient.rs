//! The gradient with respect to the filters: at each point, a sum over tiles of products of gradients and inputs.

use std::ops::Range;

use rayon::prelude::*;

use super::forward::Problem;
use super::plan::{BLOCK, Plan, Strip};
use super::product::{Operands, strip as product};
use super::tiles::{Planes, Points, pixels, transform_gradients, transform_inputs};
use super::weights::transform_gradient;
use super::{POINTS, SKEW};
use crate::conv::{PadMode, sum_parts};
use crate::memory::{Output, Shared, with_scratch};
use crate::simd::Level;
use crate::simd::vector::{Kernel, Simd, dispatch};

/// Gradients at the points of at most this many numbers are summed by a few tasks that each hold their own sum.
const FUSED: usize = 256 * 1024;
/// Numbers in the sums of all such tasks together.
const SUMS: usize = 1024 * 1024;
/// Numbers of points that a group of tiles may have otherwise.
const GROUP: usize = 3 * 1024 * 1024;

/// `dw [outputs, inputs, 3, 3]` of `p`.
pub(super) fn weight_gradient(x: &[f32], dy: &[f32], p: &Problem) -> Vec<f32> {
    let level = Level::current();
    let lanes = level.lanes();
    let plan = Plan::new(p.n, p.oh, p.ow);
    let (x_row, y_row) = (p.inputs.next_multiple_of(lanes), p.outputs.next_multiple_of(lanes));
    let job = Job { x, dy, p, plan: &plan, x_row, y_row, lanes };
    let size = POINTS * x_row * y_row;
    let mut dw = Output::new(p.outputs * p.inputs * 9);
    // The choice must not depend on the vector length, or the sums would.
    let filters = POINTS * p.inputs.next_multiple_of(16) * p.outputs.next_multiple_of(16);
    let sums = if filters <= FUSED { (SUMS / filters).clamp(1, 8).min(plan.blocks.len()) } else { 1 };
    let mut z = vec![0.0; sums * size];
    if filters <= FUSED {
        job.fused(level, sums, size, Shared::new(&mut z));
        sum_parts(&mut z, size);
    } else {
        job.grouped(level, Shared::new(&mut z));
    }
    transform_gradient(level, &z, x_row * y_row, x_row, (p.outputs, p.inputs), dw.shared());
    // SAFETY: every filter was written.
    unsafe { dw.finish() }
}

#[derive(Clone, Copy)]
struct Job<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    p: &'a Problem,
    plan: &'a Plan,
    x_row: usize,
    y_row: usize,
    lanes: usize,
}

impl Job<'_> {
    fn inputs(&self, strip: &Strip) -> Planes<'_> {
        let p = self.p;
        let size = p.inputs * p.h * p.w;
        let data = &self.x[strip.image * size..][..size];
        Planes { data, channels: p.inputs, h: p.h, w: p.w, padding: p.padding, mode: p.mode }
    }

    fn gradients(&self, strip: &Strip) -> Planes<'_> {
        let p = self.p;
        let size = p.outputs * p.oh * p.ow;
        let data = &self.dy[strip.image * size..][..size];
        // Outputs that a tile has beyond the edge do not exist: their gradient is zero.
        Planes { data, channels: p.outputs, h: p.oh, w: p.ow, padding: 0, mode: PadMode::Zeros }
    }

    fn pixels(&self, strips: Range<usize>) -> usize {
        self.plan.strips[strips].iter().map(|s| pixels(s, self.lanes)).max().unwrap_or(0)
    }

    /// Each of `sums` tasks takes a run of blocks and adds their products to its own `z`.
    fn fused(&self, level: Level, sums: usize, size: usize, z: Shared) {
        let (v_point, m_point) = (BLOCK * self.x_row + SKEW, BLOCK * self.y_row + SKEW);
        (0..sums).into_par_iter().for_each(|sum| {
            let blocks = sum * self.plan.blocks.len() / sums..(sum + 1) * self.plan.blocks.len() / sums;
            let buffer = self.pixels(0..self.plan.strips.len());
            with_scratch(POINTS * (v_point + m_point) + buffer, |scratch| {
                let (v, rest) = scratch.split_at_mut(POINTS * v_point);
                let (m, buffer) = rest.split_at_mut(POINTS * m_point);
                let v = Points { data: v.as_mut_ptr(), point: v_point, row: self.x_row };
                let m = Points { data: m.as_mut_ptr(), point: m_point, row: self.y_row };
                // SAFETY: each task has its own part of `z`.
                let z = unsafe { z.at(sum * size) };
                dispatch(level, Blocks { job: self, blocks, v, m, z, buffer: buffer.as_mut_ptr() });
            });
        });
    }

    /// The two steps one after another for a large group of tiles: transforms over strips and channels, products over
    /// points and output channels.
    fn grouped(&self, level: Level, z: Shared) {
        let (x_row, y_row, lanes) = (self.x_row, self.y_row, self.lanes);
        let rows16 = self.p.inputs.next_multiple_of(16) + self.p.outputs.next_multiple_of(16);
        let most = (GROUP / (POINTS * rows16) / BLOCK * BLOCK).max(BLOCK);
        for group in self.plan.runs(0..self.plan.strips.len(), most) {
            let tiles = self.plan.tiles(group.clone());
            let (v_point, m_point) = (tiles * x_row + SKEW, tiles * y_row + SKEW);
            let first = self.plan.strips[group.start].start;
            let strips = &self.plan.strips[group.clone()];
            let buffer = self.pixels(group);
            with_scratch(POINTS * (v_point + m_point), |scratch| {
                let (v, m) = scratch.split_at_mut(POINTS * v_point);
                let (v, m) = (Shared::new(v), Shared::new(m));
                let (x_vectors, y_vectors) = (x_row / lanes, y_row / lanes);
                let vectors = x_vectors + y_vectors;
                (0..strips.len() * vectors).into_par_iter().for_each(|task| {
                    let (strip, vector) = (&strips[task / vectors], task % vectors);
                    let tile = strip.start - first;
                    with_scratch(buffer, |buffer| {
                        let buffer = buffer.as_mut_ptr();
                        let of_inputs = vector < x_vectors;
                        // SAFETY: the strip's tiles lie in `v` and `m`; this task writes its own channels of them.
                        let points = unsafe {
                            if of_inputs {
                                Points { data: v.at(tile * x_row), point: v_point, row: x_row }
                            } else {
                                Points { data: m.at(tile * y_row), point: m_point, row: y_row }
                            }
                        };
                        let (planes, vector) = if of_inputs {
                            (self.inputs(strip), vector)
                        } else {
                            (self.gradients(strip), vector - x_vectors)
                        };
                        dispatch(level, Transform { planes, of_inputs, vector, strip, buffer, points });
                    });
                });
                let add = first > 0;
                (0..POINTS * y_vectors).into_par_iter().for_each(|task| {
                    let (point, vector) = (task / y_vectors, task % y_vectors);
                    // SAFETY: this point's tiles lie in `v` and `m`; this task writes its own rows of `z`.
                    let (v, m, z) = unsafe {
                        let row = vector * lanes;
                        let z = z.at(point * x_row * y_row + row * x_row);
                        (v.at(point * v_point), m.at(point * m_point + row), z)
                    };
                    dispatch(level, Product { job: self, point, rows: lanes, tiles, v, m, z, add });
                });
            });
        }
    }

    /// `z [rows, inputs] (+)= m^T v` over `tiles` at a point; `z` is zero where the filters vanish.
    ///
    /// # Safety
    /// The pointers are valid for that; the machine has the instructions of `S`.
    #[inline(always)]
    unsafe fn multiply<S: Simd>(
        &self,
        point: usize,
        rows: usize,
        tiles: usize,
        v: *const f32,
        m: *const f32,
        z: *mut f32,
        add: bool,
    ) {
        let vectors = self.x_row / S::LANES;
        let mut vector = 0;
        while vector < vectors {
            let wide = (vectors - vector).min(2);
            let first = vector * S::LANES;
            if self.p.zeros.skip(point, first..first + wide * S::LANES) {
                vector += wide;
                continue;
            }
            // SAFETY: the caller's promise; the vectors lie within a row.
            unsafe {
                let (b, c) = (v.add(vector * S::LANES), z.add(vector * S::LANES));
                let o = Operands {
                    a: m,
                    a_row: 1,
                    a_step: self.y_row,
                    b,
                    b_step: self.x_row,
                    c,
                    c_row: self.x_row,
                };
                product::<S>(o, rows, wide, tiles, add);
            }
            vector += wide;
        }
    }
}

struct Blocks<'a> {
    job: &'a Job<'a>,
    blocks: Range<usize>,
    v: Points,
    m: Points,
    z: *mut f32,
    buffer: *mut f32,
}

impl Kernel for Blocks<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { job, blocks, v, m, z, buffer } = self;
        for block in blocks.clone() {
            let strips = &job.plan.strips[job.plan.blocks[block].clone()];
            let first = strips[0].start;
            let tiles = job.plan.tiles(job.plan.blocks[block].clone());
            // SAFETY: `fused` made `v`, `m`, `z` and `buffer` large enough for a block.
            unsafe {
                for strip in strips {
                    let tile = strip.start - first;
                    let v = Points { data: v.data.add(tile * v.row), ..v };
                    let m = Points { data: m.data.add(tile * m.row), ..m };
                    let (inputs, gradients) = (job.inputs(strip), job.gradients(strip));
                    let mut channel = 0;
                    while channel < job.p.inputs {
                        transform_inputs::<S>(&inputs, channel, strip, buffer, v);
                        channel += S::LANES;
                    }
                    let mut channel = 0;
                    while channel < job.p.outputs {
                        transform_gradients::<S>(&gradients, channel, strip, buffer, m);
                        channel += S::LANES;
                    }
                }
                for point in 0..POINTS {
                    let (v, m) = (v.data.add(point * v.point), m.data.add(point * m.point));
                    let z = z.add(point * job.x_row * job.y_row);
                    job.multiply::<S>(point, job.y_row, tiles, v, m, z, block > blocks.start);
                }
            }
        }
    }
}

struct Transform<'a> {
    planes: Planes<'a>,
    of_inputs: bool,
    vector: usize,
    strip: &'a Strip,
    buffer: *mut f32,
    points: Points,
}

impl Kernel for Transform<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { planes, of_inputs, vector, strip, buffer, points } = self;
        let channel = vector * S::LANES;
        // SAFETY: `grouped` made room for the strip.
        unsafe {
            if of_inputs {
                transform_inputs::<S>(&planes, channel, strip, buffer, points);
            } else {
                transform_gradients::<S>(&planes, channel, strip, buffer, points);
            }
        }
    }
}

struct Product<'a> {
    job: &'a Job<'a>,
    point: usize,
    rows: usize,
    tiles: usize,
    v: *const f32,
    m: *const f32,
    z: *mut f32,
    add: bool,
}

impl Kernel for Product<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { job, point, rows, tiles, v, m, z, add } = self;
        // SAFETY: `grouped` made room for the rows and tiles.
        unsafe { job.multiply::<S>(point, rows, tiles, v, m, z, add) };
    }
}

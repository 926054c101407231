//! The convolution itself, and with the adjoint's filters its gradient with respect to the input.

use rayon::prelude::*;

use super::plan::{BLOCK, Plan, Strip};
use super::product::{Operands, strip as product};
use super::tiles::{OutPlanes, Planes, Points, pixels, transform_inputs, transform_outputs};
use super::transform::SIDE;
use super::weights::{Use, transform_filters};
use super::zeros::Zeros;
use super::{POINTS, SKEW};
use crate::conv::PadMode;
use crate::memory::{Output, Shared, with_scratch};
use crate::simd::Level;
use crate::simd::vector::{Kernel, Simd, dispatch};

/// Filters beyond this many numbers are read once for a large group of tiles instead of once for each block.
const FUSED: usize = 256 * 1024;
/// Numbers of points that such a group of tiles may have.
const GROUP: usize = 3 * 1024 * 1024;

/// One use of the filters: `inputs` channels of `h x w` pixels to `outputs` channels.
#[derive(Clone, Copy)]
pub(super) struct Problem {
    pub(super) n: usize,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) h: usize,
    pub(super) w: usize,
    pub(super) oh: usize,
    pub(super) ow: usize,
    pub(super) padding: usize,
    pub(super) mode: PadMode,
    /// Where the filters are known to vanish.
    pub(super) zeros: Zeros,
}

/// Convolves `x [n, inputs, h, w]` to `[n, outputs, oh, ow]`.
pub(super) fn convolve(x: &[f32], w: &[f32], bias: Option<&[f32]>, p: &Problem, usage: Use) -> Vec<f32> {
    let level = Level::current();
    let lanes = level.lanes();
    let mut y = Output::new(p.n * p.outputs * p.oh * p.ow);
    let plan = Plan::new(p.n, p.oh, p.ow);
    let filters = POINTS * p.inputs * p.outputs.next_multiple_of(lanes);
    with_scratch(filters, |u| {
        transform_filters(level, w, p.inputs, p.outputs, usage, u);
        let job = Job { x, u, bias, p, plan: &plan, y: y.shared(), lanes };
        if filters <= FUSED {
            job.fused(level);
        } else {
            job.grouped(level);
        }
    });
    // SAFETY: the strips cover every pixel of every channel.
    unsafe { y.finish() }
}

#[derive(Clone, Copy)]
struct Job<'a> {
    x: &'a [f32],
    u: &'a [f32],
    bias: Option<&'a [f32]>,
    p: &'a Problem,
    plan: &'a Plan,
    y: Shared,
    lanes: usize,
}

impl Job<'_> {
    fn planes(&self, strip: &Strip) -> Planes<'_> {
        let p = self.p;
        let size = p.inputs * p.h * p.w;
        let data = &self.x[strip.image * size..][..size];
        Planes { data, channels: p.inputs, h: p.h, w: p.w, padding: p.padding, mode: p.mode }
    }

    fn out_planes(&self, strip: &Strip) -> OutPlanes<'_> {
        let p = self.p;
        // SAFETY: the image lies in the output.
        let data = unsafe { self.y.at(strip.image * p.outputs * p.oh * p.ow) };
        OutPlanes { data, channels: p.outputs, h: p.oh, w: p.ow, bias: self.bias }
    }

    fn pixels(&self, strips: std::ops::Range<usize>) -> usize {
        self.plan.strips[strips].iter().map(|s| pixels(s, self.lanes)).max().unwrap_or(0)
    }

    /// Transform, multiply, transform back, block by block in one task's cache.
    fn fused(&self, level: Level) {
        let width = 2 * self.lanes;
        let v_row = self.p.inputs.next_multiple_of(self.lanes);
        let (v_point, m_point) = (BLOCK * v_row + SKEW, BLOCK * width + SKEW);
        (0..self.plan.blocks.len()).into_par_iter().for_each(|block| {
            let buffer = self.pixels(self.plan.blocks[block].clone());
            with_scratch(POINTS * (v_point + m_point) + buffer, |scratch| {
                let (v, rest) = scratch.split_at_mut(POINTS * v_point);
                let (m, buffer) = rest.split_at_mut(POINTS * m_point);
                let v = Points { data: v.as_mut_ptr(), point: v_point, row: v_row };
                let m = Points { data: m.as_mut_ptr(), point: m_point, row: width };
                dispatch(level, Block { job: self, block, v, m, buffer: buffer.as_mut_ptr() });
            });
        });
    }

    /// The three steps one after another for a large group of tiles, each in parallel: over strips and channels,
    /// over points, over strips and channels.
    fn grouped(&self, level: Level) {
        let (p, lanes) = (self.p, self.lanes);
        let (v_row, m_row) = (p.inputs.next_multiple_of(lanes), p.outputs.next_multiple_of(lanes));
        let most = GROUP / (POINTS * (v_row + m_row)) / BLOCK * BLOCK;
        let panels = m_row.div_ceil(2 * lanes);
        for group in self.plan.runs(0..self.plan.strips.len(), most.max(BLOCK)) {
            let tiles = self.plan.tiles(group.clone());
            let rows = tiles.next_multiple_of(8);
            let (v_point, m_point) = (rows * v_row + SKEW, rows * m_row + SKEW);
            let first = self.plan.strips[group.start].start;
            let strips = &self.plan.strips[group.clone()];
            let buffer = self.pixels(group);
            with_scratch(POINTS * (v_point + m_point), |scratch| {
                let (v, m) = scratch.split_at_mut(POINTS * v_point);
                let (v, m) = (Shared::new(v), Shared::new(m));
                let vectors = v_row / lanes;
                (0..strips.len() * vectors).into_par_iter().for_each(|task| {
                    let (strip, vector) = (&strips[task / vectors], task % vectors);
                    // SAFETY: the strip's tiles lie in `v`; this task writes its own channels of them.
                    let data = unsafe { v.at((strip.start - first) * v_row) };
                    let v = Points { data, point: v_point, row: v_row };
                    with_scratch(buffer, |buffer| {
                        let buffer = buffer.as_mut_ptr();
                        dispatch(level, Inputs { planes: self.planes(strip), vector, strip, buffer, v });
                    });
                });
                (0..POINTS * panels).into_par_iter().for_each(|task| {
                    let (point, panel) = (task / panels, task % panels);
                    // SAFETY: this point's tiles lie in `v` and `m`; this task writes its own panel.
                    let (v, m) =
                        unsafe { (v.at(point * v_point), m.at(point * m_point + panel * 2 * lanes)) };
                    dispatch(level, Product { job: self, point, panel, rows, v, v_row, m, m_row });
                });
                let vectors = m_row / lanes;
                (0..strips.len() * vectors).into_par_iter().for_each(|task| {
                    let (strip, vector) = (&strips[task / vectors], task % vectors);
                    // SAFETY: the strip's tiles lie in `m`.
                    let data = unsafe { m.at((strip.start - first) * m_row + vector * lanes) };
                    let m = Points { data, point: m_point, row: m_row };
                    with_scratch(buffer, |buffer| {
                        let buffer = buffer.as_mut_ptr();
                        dispatch(level, Outputs { planes: self.out_planes(strip), vector, strip, buffer, m });
                    });
                });
            });
        }
    }

    /// The product at one point with one panel of the filters: `rows` tiles (rounded up).
    ///
    /// # Safety
    /// `v` and `m` begin at the point's tiles (and `m` at the panel's channels) and have the rows; the machine has the
    /// instructions of `S`.
    #[inline(always)]
    unsafe fn multiply<S: Simd>(
        &self,
        point: usize,
        panel: usize,
        rows: usize,
        (v, v_row): (*const f32, usize),
        (m, m_row): (*mut f32, usize),
    ) {
        let inputs = self.p.inputs;
        let vectors = self.p.outputs.div_ceil(S::LANES);
        let in_panel = (vectors - 2 * panel).min(2);
        let width = in_panel * S::LANES;
        let start = panel * 2 * S::LANES * POINTS * inputs + point * inputs * width;
        let first = panel * 2 * S::LANES;
        for (i, (k, depth)) in self.p.zeros.runs(point, inputs, first..first + width).into_iter().enumerate()
        {
            if i > 0 && depth == 0 {
                break;
            }
            // SAFETY: `u` holds the panels one after another; the rest is the caller's promise.
            unsafe {
                let b = self.u.as_ptr().add(start + k * width);
                let o =
                    Operands { a: v.add(k), a_row: v_row, a_step: 1, b, b_step: width, c: m, c_row: m_row };
                product::<S>(o, rows, in_panel, depth, i > 0);
            }
        }
    }
}

/// All steps of one block.
struct Block<'a> {
    job: &'a Job<'a>,
    block: usize,
    v: Points,
    m: Points,
    buffer: *mut f32,
}

impl Kernel for Block<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { job, block, v, m, buffer } = self;
        let strips = &job.plan.strips[job.plan.blocks[block].clone()];
        let first = strips[0].start;
        let tiles = job.plan.tiles(job.plan.blocks[block].clone());
        // SAFETY: `fused` made `v`, `m` and `buffer` large enough for a block, and the block's pixels are its own.
        unsafe {
            for strip in strips {
                let planes = job.planes(strip);
                let v = Points { data: v.data.add((strip.start - first) * v.row), ..v };
                let mut channel = 0;
                while channel < job.p.inputs {
                    transform_inputs::<S>(&planes, channel, strip, buffer, v);
                    channel += S::LANES;
                }
            }
            let panels = job.p.outputs.div_ceil(2 * S::LANES);
            for panel in 0..panels {
                for point in 0..SIDE * SIDE {
                    let (v_point, m_point) = (v.data.add(point * v.point), m.data.add(point * m.point));
                    job.multiply::<S>(point, panel, tiles, (v_point, v.row), (m_point, m.row));
                }
                for strip in strips {
                    let planes = job.out_planes(strip);
                    let data = m.data.add((strip.start - first) * m.row);
                    for half in 0..2 {
                        let channel = (2 * panel + half) * S::LANES;
                        if channel < job.p.outputs {
                            let m = Points { data: data.add(half * S::LANES), ..m };
                            transform_outputs::<S>(&planes, channel, strip, buffer, m);
                        }
                    }
                }
            }
        }
    }
}

struct Inputs<'a> {
    planes: Planes<'a>,
    vector: usize,
    strip: &'a Strip,
    buffer: *mut f32,
    v: Points,
}

impl Kernel for Inputs<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: `grouped` made room for the strip.
        unsafe {
            transform_inputs::<S>(&self.planes, self.vector * S::LANES, self.strip, self.buffer, self.v);
        }
    }
}

struct Product<'a> {
    job: &'a Job<'a>,
    point: usize,
    panel: usize,
    rows: usize,
    v: *const f32,
    v_row: usize,
    m: *mut f32,
    m_row: usize,
}

impl Kernel for Product<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { job, point, panel, rows, v, v_row, m, m_row } = self;
        // SAFETY: `grouped` made room for the rows.
        unsafe { job.multiply::<S>(point, panel, rows, (v, v_row), (m, m_row)) };
    }
}

struct Outputs<'a> {
    planes: OutPlanes<'a>,
    vector: usize,
    strip: &'a Strip,
    buffer: *mut f32,
    m: Points,
}

impl Kernel for Outputs<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: `grouped` filled the strip's points, and this task writes its own channels.
        unsafe {
            transform_outputs::<S>(&self.planes, self.vector * S::LANES, self.strip, self.buffer, self.m);
        }
    }
}

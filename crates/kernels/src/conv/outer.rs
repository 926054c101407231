//! The gradient of a convolution with respect to its weights as a sum of outer products, one a pixel.
//!
//! The input is turned so that the channels of a pixel lie together, in blocks of two vectors. At every pixel a few output
//! channels' gradients then multiply a block's vectors, and the sums stay in registers from pixel to pixel: nothing is
//! added across lanes, and the order of every sum is that of the pixels, whatever the vectors' length.

use std::ops::Range;

use rayon::prelude::*;

use super::geometry::{Geometry, source};
use super::sums::sum_parts;
use crate::memory::{Output, with_scratch};
use crate::simd::Level;
use crate::simd::vector::{Kernel, Simd, dispatch};

/// Output channels that tiles of six rows and of eight divide.
const ROWS: usize = 24;
/// Parts of the batch whose gradients are summed apart.
const SUMS: usize = 8;
/// Pixels of a run of rows: a block's channels of them stay in the cache.
const RUN: usize = 1024;

/// Whether there are channels enough to fill vectors.
pub(super) fn fits(g: &Geometry) -> bool {
    g.ci >= 8
}

/// `dW [co, ci, kh, kw]` of `y = conv(x, w)`.
pub(super) fn backward_weight(x: &[f32], dy: &[f32], g: &Geometry) -> Vec<f32> {
    let level = Level::current();
    let width = 2 * level.lanes();
    let columns = (g.ow - 1) * g.spec.stride + g.kw;
    let rows = (g.oh - 1) * g.spec.stride + g.kh;
    // A transposed square may reach beyond the last pixel.
    let plane = (rows * columns + level.lanes()) * width;
    let bands = g.oh.div_ceil((RUN / g.ow).clamp(1, g.oh));
    let pieces = g.n * bands;
    let sums = pieces.clamp(1, SUMS);
    let panels = g.co.div_ceil(ROWS);
    // The number of sums is fixed, that of their parts is not: it changes no sum.
    let parts = panels.min((2 * rayon::current_num_threads()).div_ceil(sums));
    let size = g.co * g.taps();
    let mut partial = Output::new(sums * size);
    let out = partial.shared();
    with_scratch(g.n * g.ci.div_ceil(width) * plane, |turned| {
        turn(level, x, g, (rows, columns), plane, turned);
        let turned = Turned { data: turned, columns, plane };
        (0..sums * parts).into_par_iter().for_each(|task| {
            let (sum, part) = (task / parts, task % parts);
            let pieces = sum * pieces / sums..(sum + 1) * pieces / sums;
            let cut = |part: usize| (part * panels / parts * ROWS).min(g.co);
            let channels = cut(part)..cut(part + 1);
            // SAFETY: each task writes its own rows of its own sum.
            let dw = unsafe { out.slice(sum * size + channels.start * g.taps(), channels.len() * g.taps()) };
            let tiles = channels.len().next_multiple_of(ROWS) * g.kh * g.kw * width;
            with_scratch(tiles, |tiles| {
                dispatch(level, Gradient { turned, dy, g, bands, pieces, channels, tiles, dw });
            });
        });
    });
    // SAFETY: the tasks cover the rows of every sum.
    let mut dw = unsafe { partial.finish() };
    sum_parts(&mut dw, size);
    dw
}

/// The padded input as `[image][block][y][x][2 vectors of channels]`, blocks `plane` apart.
#[derive(Clone, Copy)]
struct Turned<'a> {
    data: &'a [f32],
    columns: usize,
    plane: usize,
}

fn turn(
    level: Level,
    x: &[f32],
    g: &Geometry,
    (rows, columns): (usize, usize),
    plane: usize,
    turned: &mut [f32],
) {
    let width = 2 * level.lanes();
    let blocks = g.ci.div_ceil(width);
    let reads: Vec<_> = (0..columns).map(|at| source(at, g.spec.padding, g.w, g.spec.pad_mode)).collect();
    turned.par_chunks_exact_mut(plane).enumerate().for_each(|(task, out)| {
        let (image, block) = (task / blocks, task % blocks);
        let channels = block * width..((block + 1) * width).min(g.ci);
        let x = &x[(image * g.ci + channels.start) * g.in_plane()..][..channels.len() * g.in_plane()];
        let pitch = columns.next_multiple_of(level.lanes());
        with_scratch(width * pitch, |lines| {
            lines.fill(0.0);
            dispatch(level, Turn { x, g, reads: &reads, rows, pitch, lines, out });
        });
    });
}

struct Turn<'a> {
    x: &'a [f32],
    g: &'a Geometry,
    reads: &'a [Option<usize>],
    rows: usize,
    pitch: usize,
    lines: &'a mut [f32],
    out: &'a mut [f32],
}

impl Kernel for Turn<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { x, g, reads, rows, pitch, lines, out } = self;
        let width = 2 * S::LANES;
        for y in 0..rows {
            let from = source(y, g.spec.padding, g.h, g.spec.pad_mode);
            for (line, plane) in lines.chunks_exact_mut(pitch).zip(x.chunks_exact(g.in_plane())) {
                match from {
                    Some(y) => {
                        let row = &plane[y * g.w..][..g.w];
                        for (to, from) in line.iter_mut().zip(reads) {
                            *to = from.map_or(0.0, |x| row[x]);
                        }
                    }
                    None => line.fill(0.0),
                }
            }
            let row = &mut out[y * reads.len() * width..];
            for first in (0..reads.len()).step_by(S::LANES) {
                for half in 0..2 {
                    // SAFETY: the lines are padded to whole vectors, and a block to a square beyond its last pixel.
                    unsafe {
                        let from = lines.as_ptr().add(half * S::LANES * pitch + first);
                        let to = row.as_mut_ptr().add(first * width + half * S::LANES);
                        S::transpose(from, pitch, to, width);
                    }
                }
            }
        }
        let written = rows * reads.len() * width;
        out[written..].fill(0.0);
    }
}

/// Fills `dw` of `channels` with what `pieces`, runs of rows of images, give.
struct Gradient<'a> {
    turned: Turned<'a>,
    dy: &'a [f32],
    g: &'a Geometry,
    bands: usize,
    pieces: Range<usize>,
    channels: Range<usize>,
    tiles: &'a mut [f32],
    dw: &'a mut [f32],
}

impl Kernel for Gradient<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { turned, dy, g, bands, pieces, channels, tiles, dw } = self;
        let (width, window) = (2 * S::LANES, g.kh * g.kw);
        let blocks = g.ci.div_ceil(width);
        for block in 0..blocks {
            tiles.fill(0.0);
            for piece in pieces.clone() {
                let (image, band) = (piece / bands, piece % bands);
                let rows = band * g.oh / bands..(band + 1) * g.oh / bands;
                let x = &turned.data[(image * blocks + block) * turned.plane..][..turned.plane];
                let height = if S::ROWS == 8 { 8 } else { 6 };
                for first in channels.clone().step_by(height) {
                    let mut y = [dy.as_ptr(); 8];
                    for (r, y) in y.iter_mut().enumerate() {
                        // Rows beyond the last repeat it, and are dropped.
                        let channel = (first + r).min(channels.end - 1);
                        // SAFETY: the plane lies in the gradient.
                        *y = unsafe { y.add((image * g.co + channel) * g.out_plane()) };
                    }
                    for tap in 0..window {
                        // SAFETY: `tiles` has a row for each channel, padded to whole tiles, of `window` blocks; the rest is
                        // within the planes of `x` and `dy`.
                        unsafe {
                            let tile =
                                tiles.as_mut_ptr().add(((first - channels.start) * window + tap) * width);
                            let (ky, kx) = (tap / g.kw, tap % g.kw);
                            let x = x.as_ptr().add((ky * turned.columns + kx) * width);
                            let pixels = Pixels { x, columns: turned.columns, rows: rows.clone(), g };
                            if S::ROWS == 8 {
                                multiply::<S, 8>(pixels, y, tile, window * width);
                            } else {
                                let [a, b, c, d, e, f, ..] = y;
                                multiply::<S, 6>(pixels, [a, b, c, d, e, f], tile, window * width);
                            }
                        }
                    }
                }
            }
            let taken = block * width..((block + 1) * width).min(g.ci);
            for (tile, dw) in tiles.chunks_exact(window * width).zip(dw.chunks_exact_mut(g.taps())) {
                let dw = &mut dw[taken.start * window..taken.end * window];
                // SAFETY: the machine has the instructions of `S`.
                unsafe { untile::<S>(tile, dw, window) };
            }
        }
    }
}

/// `dw [channels][window]` of `tile [window][2 vectors of channels]`.
///
/// # Safety
/// The machine has the instructions of `S`.
#[inline(always)]
unsafe fn untile<S: Simd>(tile: &[f32], dw: &mut [f32], window: usize) {
    let width = 2 * S::LANES;
    // Whole squares by vectors.
    let (taps, channels) =
        if dw.len() == width * window { (window / S::LANES * S::LANES, width) } else { (0, 0) };
    for tap in (0..taps).step_by(S::LANES) {
        for channel in (0..channels).step_by(S::LANES) {
            // SAFETY: the square lies in both.
            unsafe {
                let from = tile.as_ptr().add(tap * width + channel);
                S::transpose(from, width, dw.as_mut_ptr().add(channel * window + tap), window);
            }
        }
    }
    for (lane, dw) in dw.chunks_exact_mut(window).enumerate() {
        for tap in taps..window {
            dw[tap] = tile[tap * width + lane];
        }
    }
}

#[derive(Clone)]
struct Pixels<'a> {
    /// The block's channels at the tap of the first output.
    x: *const f32,
    columns: usize,
    rows: Range<usize>,
    g: &'a Geometry,
}

/// `tile [R][2 vectors] += dy [R][pixels] x [pixels][2 vectors]`, rows of the tile `step` apart.
///
/// # Safety
/// The pointers are valid for that; the machine has the instructions of `S`.
#[inline(always)]
unsafe fn multiply<S: Simd, const R: usize>(
    pixels: Pixels,
    dy: [*const f32; R],
    tile: *mut f32,
    step: usize,
) {
    let Pixels { x, columns, rows, g } = pixels;
    let (width, s) = (2 * S::LANES, g.spec.stride);
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = [[S::splat(0.0); 2]; R];
        for r in 0..R {
            acc[r] = [S::load(tile.add(r * step)), S::load(tile.add(r * step + S::LANES))];
        }
        for row in rows {
            let mut x = x.add(s * row * columns * width);
            for at in row * g.ow..(row + 1) * g.ow {
                let (x0, x1) = (S::load(x), S::load(x.add(S::LANES)));
                for r in 0..R {
                    let factor = S::splat(*dy[r].add(at));
                    acc[r][0] = S::fma(factor, x0, acc[r][0]);
                    acc[r][1] = S::fma(factor, x1, acc[r][1]);
                }
                x = x.add(s * width);
            }
        }
        for (r, acc) in acc.iter().enumerate() {
            S::store(tile.add(r * step), acc[0]);
            S::store(tile.add(r * step + S::LANES), acc[1]);
        }
    }
}

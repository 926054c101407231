//! Between planes of pixels and tiles of points: gathering the pixels of a strip of tiles with channels in lanes,
//! transforming them, and the way back for the outputs.

use super::plan::Strip;
use super::transform::{SIDE, gradient, input, output};
use crate::conv::{PadMode, source};
use crate::simd::vector::Simd;

/// Tiles in a row of a strip at most; fixes the size of the pixel buffers.
pub(super) const MAX_COLUMNS: usize = 16;

/// The planes of one image, and what lies beyond their edges.
#[derive(Clone, Copy)]
pub(super) struct Planes<'a> {
    pub(super) data: &'a [f32],
    pub(super) channels: usize,
    pub(super) h: usize,
    pub(super) w: usize,
    /// Pixels that the tiles reach beyond the top and left edges.
    pub(super) padding: usize,
    pub(super) mode: PadMode,
}

impl Planes<'_> {
    /// Where the padded position `at` along an axis of `size` pixels lies in the plane.
    #[inline(always)]
    fn source(&self, at: usize, size: usize) -> Option<usize> {
        // Beyond one turn there are only pixels of tiles that are cut off.
        source(at, self.padding, size, self.mode)
    }
}

/// Where tiles go: value of `point` of tile `t` and channel `c` at `data + point * point_stride + t * row + c`.
#[derive(Clone, Copy)]
pub(super) struct Points {
    pub(super) data: *mut f32,
    pub(super) point: usize,
    pub(super) row: usize,
}

/// Numbers of pixel buffer that [`gather`] may touch for a strip.
pub(super) fn pixels(strip: &Strip, lanes: usize) -> usize {
    (4 * strip.rows + 2) * (4 * strip.columns + 2) * lanes
}

/// Gathers the pixels of a strip of tiles, a vector of channels from `first` on, as `buffer [row][column][lane]`, with
/// `halo` rows and columns more than four a tile.
///
/// # Safety
/// `buffer` has [`pixels`] numbers; the machine has the instructions of `S`.
#[inline(always)]
unsafe fn gather<S: Simd>(planes: &Planes, first: usize, strip: &Strip, halo: usize, buffer: *mut f32) {
    let (rows, columns) = (4 * strip.rows + halo, 4 * strip.columns + halo);
    let (y0, x0) = (4 * strip.y, 4 * strip.x);
    let lanes = S::LANES.min(planes.channels - first);
    let plane = planes.h * planes.w;
    // Columns that lie inside the plane: one run.
    let start = planes.padding.saturating_sub(x0).min(columns);
    let end = (planes.w + planes.padding).saturating_sub(x0).clamp(start, columns);
    let mut square = [0.0f32; 2 * 16 * 16];
    for i in 0..rows {
        // SAFETY: row `i` of the buffer; sources are indices into a plane, runs of at most `LANES` pixels of one row of
        // planes `first..first + lanes`.
        unsafe {
            let row = buffer.add(i * columns * S::LANES);
            let Some(y) = planes.source(y0 + i, planes.h) else {
                for j in 0..columns {
                    S::store(row.add(j * S::LANES), S::splat(0.0));
                }
                continue;
            };
            let src = planes.data.as_ptr().add(first * plane + y * planes.w);
            for j in (0..start).chain(end..columns) {
                S::store(row.add(j * S::LANES), S::splat(0.0));
                if let Some(x) = planes.source(x0 + j, planes.w) {
                    for lane in 0..lanes {
                        *row.add(j * S::LANES + lane) = *src.add(lane * plane + x);
                    }
                }
            }
            let mut j = start;
            while j < end {
                // The last block of a long run overlaps the one before it.
                if j + S::LANES > end && end - start >= S::LANES {
                    j = end - S::LANES;
                }
                let length = S::LANES.min(end - j);
                let x = x0 + j - planes.padding;
                if length == S::LANES && lanes == S::LANES {
                    S::transpose(src.add(x), plane, row.add(j * S::LANES), S::LANES);
                } else {
                    let (a, b) = (square.as_mut_ptr(), square.as_mut_ptr().add(256));
                    for lane in 0..lanes {
                        std::ptr::copy_nonoverlapping(
                            src.add(lane * plane + x),
                            a.add(lane * S::LANES),
                            length,
                        );
                    }
                    S::transpose(a, S::LANES, b, S::LANES);
                    std::ptr::copy_nonoverlapping(b, row.add(j * S::LANES), length * S::LANES);
                }
                j += length;
            }
        }
    }
}

/// Points of the inputs of a strip, for the vector of channels from `first` on.
///
/// # Safety
/// `buffer` has [`pixels`] numbers, `v` has room for the strip's tiles; the machine has the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn transform_inputs<S: Simd>(
    planes: &Planes,
    first: usize,
    strip: &Strip,
    buffer: *mut f32,
    v: Points,
) {
    // SAFETY: as the caller's; tile (ty, tx) reads six rows and columns from (4 ty, 4 tx) on.
    unsafe {
        gather::<S>(planes, first, strip, 2, buffer);
        let width = (4 * strip.columns + 2) * S::LANES;
        for tile in 0..strip.rows * strip.columns {
            let (ty, tx) = (tile / strip.columns, tile % strip.columns);
            let src = buffer.add(4 * ty * width + 4 * tx * S::LANES);
            let mut rows = [[S::splat(0.0); 6]; 6];
            for i in 0..6 {
                let mut d = [S::splat(0.0); 6];
                for j in 0..6 {
                    d[j] = S::load(src.add(i * width + j * S::LANES));
                }
                rows[i] = input::<S>(d);
            }
            let dst = v.data.add(tile * v.row + first);
            for j in 0..6 {
                let c = input::<S>([rows[0][j], rows[1][j], rows[2][j], rows[3][j], rows[4][j], rows[5][j]]);
                for i in 0..6 {
                    S::store(dst.add((i * SIDE + j) * v.point), c[i]);
                }
            }
        }
    }
}

/// Points of the gradients of the outputs of a strip.
///
/// # Safety
/// As [`transform_inputs`].
#[inline(always)]
pub(super) unsafe fn transform_gradients<S: Simd>(
    planes: &Planes,
    first: usize,
    strip: &Strip,
    buffer: *mut f32,
    m: Points,
) {
    // SAFETY: as the caller's; tile (ty, tx) reads four rows and columns from (4 ty, 4 tx) on.
    unsafe {
        gather::<S>(planes, first, strip, 0, buffer);
        let width = 4 * strip.columns * S::LANES;
        for tile in 0..strip.rows * strip.columns {
            let (ty, tx) = (tile / strip.columns, tile % strip.columns);
            let src = buffer.add(4 * ty * width + 4 * tx * S::LANES);
            let mut rows = [[S::splat(0.0); 6]; 4];
            for i in 0..4 {
                let mut d = [S::splat(0.0); 4];
                for j in 0..4 {
                    d[j] = S::load(src.add(i * width + j * S::LANES));
                }
                rows[i] = gradient::<S>(d);
            }
            let dst = m.data.add(tile * m.row + first);
            for j in 0..6 {
                let c = gradient::<S>([rows[0][j], rows[1][j], rows[2][j], rows[3][j]]);
                for i in 0..6 {
                    S::store(dst.add((i * SIDE + j) * m.point), c[i]);
                }
            }
        }
    }
}

/// Where outputs go: planes `[channels, h, w]` of one image that tasks share, and a bias.
#[derive(Clone, Copy)]
pub(super) struct OutPlanes<'a> {
    pub(super) data: *mut f32,
    pub(super) channels: usize,
    pub(super) h: usize,
    pub(super) w: usize,
    pub(super) bias: Option<&'a [f32]>,
}

/// Outputs of a strip from their points, for the vector of channels from `first` on; `m` begins at that vector.
///
/// # Safety
/// `buffer` has [`pixels`] numbers, `m` holds the strip's tiles; nobody else touches these pixels of these channels;
/// the machine has the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn transform_outputs<S: Simd>(
    planes: &OutPlanes,
    first: usize,
    strip: &Strip,
    buffer: *mut f32,
    m: Points,
) {
    let lanes = S::LANES.min(planes.channels - first);
    let plane = planes.h * planes.w;
    let width = 4 * strip.columns;
    let (y0, x0) = (4 * strip.y, 4 * strip.x);
    let columns = width.min(planes.w - x0);
    let mut bias = [0.0f32; 16];
    if let Some(b) = planes.bias {
        bias[..lanes].copy_from_slice(&b[first..first + lanes]);
    }
    let mut square = [0.0f32; 16 * 16];
    // SAFETY: as the caller's; a row of tiles fills four rows of the buffer.
    unsafe {
        let bias = S::load(bias.as_ptr());
        for ty in 0..strip.rows {
            for tx in 0..strip.columns {
                let src = m.data.add((ty * strip.columns + tx) * m.row);
                let mut rows = [[S::splat(0.0); 4]; 6];
                for i in 0..6 {
                    let mut p = [S::splat(0.0); 6];
                    for j in 0..6 {
                        p[j] = S::load(src.add((i * SIDE + j) * m.point));
                    }
                    rows[i] = output::<S>(p);
                }
                for j in 0..4 {
                    let c =
                        output::<S>([rows[0][j], rows[1][j], rows[2][j], rows[3][j], rows[4][j], rows[5][j]]);
                    for i in 0..4 {
                        S::store(buffer.add((i * width + 4 * tx + j) * S::LANES), S::add(c[i], bias));
                    }
                }
            }
            for i in 0..4.min(planes.h.saturating_sub(y0 + 4 * ty)) {
                let dst = planes.data.add(first * plane + (y0 + 4 * ty + i) * planes.w + x0);
                let row = buffer.add(i * width * S::LANES);
                let mut j = 0;
                while j < columns {
                    if j + S::LANES > columns && columns >= S::LANES {
                        j = columns - S::LANES;
                    }
                    let length = S::LANES.min(columns - j);
                    let src = row.add(j * S::LANES);
                    if length == S::LANES && lanes == S::LANES {
                        S::transpose(src, S::LANES, dst.add(j), plane);
                    } else {
                        S::transpose(src, S::LANES, square.as_mut_ptr(), S::LANES);
                        for lane in 0..lanes {
                            let from = square.as_ptr().add(lane * S::LANES);
                            std::ptr::copy_nonoverlapping(from, dst.add(lane * plane + j), length);
                        }
                    }
                    j += length;
                }
            }
        }
    }
}

//! Blocks of positions: how they are laid out in memory and in scratch, and the products of such blocks.
//!
//! The kernels of attention work on packed blocks of [`WIDTH`] positions, channel by channel: a softmax over channels or
//! over the other side's positions then runs down the lanes of vectors, without sums across them. How a tensor lays
//! out its positions matters only where blocks are packed and unpacked.

use crate::gemm::Matrix;
use crate::simd::Level;
use crate::simd::vector::{Kernel, Simd, dispatch};

/// Positions of a block.
pub(super) const WIDTH: usize = 64;

/// A number of channels rounded up to whole vectors of every level.
pub(super) fn padded(channels: usize) -> usize {
    channels.next_multiple_of(16)
}

/// Where the numbers of each head lie in a tensor.
#[derive(Clone, Copy)]
pub(super) struct View {
    /// Heads of one example.
    heads: usize,
    /// Where the first head begins, the distance between examples, and that between heads.
    offset: usize,
    example: usize,
    head: usize,
    /// The distance between positions and that between channels: one of them is 1.
    pub(super) position: usize,
    pub(super) channel: usize,
}

impl View {
    /// `[heads, positions, channels]`.
    pub(super) fn rows(positions: usize, channels: usize) -> Self {
        let example = positions * channels;
        Self { heads: 1, offset: 0, example, head: 0, position: channels, channel: 1 }
    }

    /// Part `part` of `parts` of `[examples, parts, heads, channels, positions]`.
    pub(super) fn map(part: usize, parts: usize, heads: usize, channels: usize, positions: usize) -> Self {
        let head = channels * positions;
        let (offset, example) = (part * heads * head, parts * heads * head);
        Self { heads, offset, example, head, position: 1, channel: positions }
    }

    /// The index of the first number of position `position` of a head.
    pub(super) fn at(&self, head: usize, position: usize) -> usize {
        let (example, head) = (head / self.heads, head % self.heads);
        self.offset + example * self.example + head * self.head + position * self.position
    }

    /// Whether the channels of a position are neighbours.
    pub(super) fn by_position(&self) -> bool {
        self.channel == 1
    }

    /// Packs `count` positions as `[channels, WIDTH]`; the lanes beyond are zero.
    ///
    /// # Safety
    /// `x` points to the first of `count` positions of this view.
    pub(super) unsafe fn pack(&self, level: Level, x: *const f32, count: usize, block: &mut [f32]) {
        let channels = block.len() / WIDTH;
        if count < WIDTH {
            block.fill(0.0);
        }
        // SAFETY: the caller vouches for the positions, the block has room for them.
        unsafe {
            if self.by_position() {
                transpose(level, (count, channels), x, self.position, block.as_mut_ptr(), WIDTH);
            } else {
                copy((channels, count), x, self.channel, block.as_mut_ptr(), WIDTH);
            }
        }
    }

    /// Packs `count` positions as `[count, padded(channels)]`, zero beyond the channels; or gives the place where they
    /// already lie so.
    ///
    /// # Safety
    /// As [`View::pack`]; `block` has room for `count` rows.
    pub(super) unsafe fn pack_rows(
        &self,
        level: Level,
        x: *const f32,
        (count, channels): (usize, usize),
        block: &mut [f32],
    ) -> Matrix {
        let row = padded(channels);
        if self.by_position() && row == channels && self.position == channels {
            return Matrix::rows(x, channels);
        }
        if row != channels {
            block[..count * row].fill(0.0);
        }
        // SAFETY: as above.
        unsafe {
            if self.by_position() {
                copy((count, channels), x, self.position, block.as_mut_ptr(), row);
            } else {
                transpose(level, (channels, count), x, self.channel, block.as_mut_ptr(), row);
            }
        }
        Matrix::rows(block.as_ptr(), row)
    }

    /// The `[count, channels]` matrix of `count` positions: in place, or copied to `block` where the channels of a
    /// position lie far apart.
    ///
    /// # Safety
    /// As [`View::pack`]; `block` has room for `channels WIDTH` numbers.
    pub(super) unsafe fn matrix(
        &self,
        x: *const f32,
        (count, channels): (usize, usize),
        block: &mut [f32],
    ) -> Matrix {
        if self.by_position() {
            return Matrix::rows(x, self.position);
        }
        // SAFETY: the caller vouches for both.
        unsafe { copy((channels, count), x, self.channel, block.as_mut_ptr(), WIDTH) };
        Matrix::rows(block.as_ptr(), WIDTH).t()
    }

    /// Writes `count` positions of `[channels, WIDTH]`.
    ///
    /// # Safety
    /// `y` points to the first of `count` positions of this view, which no other task touches.
    pub(super) unsafe fn unpack(&self, level: Level, block: &[f32], y: *mut f32, count: usize) {
        let channels = block.len() / WIDTH;
        // SAFETY: the caller vouches for the positions.
        unsafe {
            if self.by_position() {
                transpose(level, (channels, count), block.as_ptr(), WIDTH, y, self.position);
            } else {
                copy((channels, count), block.as_ptr(), WIDTH, y, self.channel);
            }
        }
    }

    /// Writes `count` positions of `[count, padded(channels)]`.
    ///
    /// # Safety
    /// As [`View::unpack`].
    pub(super) unsafe fn unpack_rows(
        &self,
        level: Level,
        rows: &[f32],
        y: *mut f32,
        (count, channels): (usize, usize),
    ) {
        let row = padded(channels);
        // SAFETY: the caller vouches for the positions.
        unsafe {
            if self.by_position() {
                copy((count, channels), rows.as_ptr(), row, y, self.position);
            } else {
                transpose(level, (count, channels), rows.as_ptr(), row, y, self.channel);
            }
        }
    }

    /// Writes `M^T B` for `M [depth, padded(channels)]` and a packed `B [depth, WIDTH]` as `count` positions.
    ///
    /// # Safety
    /// As [`View::unpack`].
    pub(super) unsafe fn contract(
        &self,
        level: Level,
        (m, b): (&[f32], &[f32]),
        y: *mut f32,
        (count, channels): (usize, usize),
        scratch: &mut [f32],
    ) {
        let (depth, row) = (b.len() / WIDTH, padded(channels));
        let (m, b) = (Matrix::rows(m.as_ptr(), row), Matrix::rows(b.as_ptr(), WIDTH));
        // SAFETY: `M` and `B` have whole vectors of columns; the result goes where there is room for these.
        unsafe {
            if self.by_position() && row == channels {
                multiply(level, (count, row, depth), b.t(), m, y, self.position, false);
            } else if !self.by_position() && count == WIDTH {
                multiply(level, (channels, WIDTH, depth), m.t(), b, y, self.channel, false);
            } else {
                multiply(level, (channels, WIDTH, depth), m.t(), b, scratch.as_mut_ptr(), WIDTH, false);
                self.unpack(level, &scratch[..channels * WIDTH], y, count);
            }
        }
    }
}

/// Divides scratch into parts of the given sizes.
pub(super) fn split<const N: usize>(mut scratch: &mut [f32], sizes: [usize; N]) -> [&mut [f32]; N] {
    sizes.map(|size| {
        let (part, rest) = std::mem::take(&mut scratch).split_at_mut(size);
        scratch = rest;
        part
    })
}

/// Copies rows.
///
/// # Safety
/// Both are valid for the size and strides and do not overlap.
unsafe fn copy((rows, columns): (usize, usize), x: *const f32, x_row: usize, y: *mut f32, y_row: usize) {
    for row in 0..rows {
        // SAFETY: the caller vouches for both.
        unsafe { std::ptr::copy_nonoverlapping(x.add(row * x_row), y.add(row * y_row), columns) };
    }
}

/// `y [columns, rows]` is the transpose of `x [rows, columns]`.
///
/// # Safety
/// As [`copy`].
unsafe fn transpose(
    level: Level,
    (rows, columns): (usize, usize),
    x: *const f32,
    x_row: usize,
    y: *mut f32,
    y_row: usize,
) {
    dispatch(level, Transpose { rows, columns, x, x_row, y, y_row });
}

struct Transpose {
    rows: usize,
    columns: usize,
    x: *const f32,
    x_row: usize,
    y: *mut f32,
    y_row: usize,
}

impl Kernel for Transpose {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { rows, columns, x, x_row, y, y_row } = self;
        let (whole_rows, whole_columns) = (rows - rows % S::LANES, columns - columns % S::LANES);
        // SAFETY: who made this vouches for the memory.
        unsafe {
            for i in (0..whole_rows).step_by(S::LANES) {
                for j in (0..whole_columns).step_by(S::LANES) {
                    S::transpose(x.add(i * x_row + j), x_row, y.add(j * y_row + i), y_row);
                }
            }
            for i in 0..rows {
                let first = if i < whole_rows { whole_columns } else { 0 };
                for j in first..columns {
                    *y.add(j * y_row + i) = *x.add(i * x_row + j);
                }
            }
        }
    }
}

/// `C = A B`, or `C += A B` where `add`: `A [rows, depth]` of any strides, `B [depth, columns]` and `C` row by row, with
/// `columns` a multiple of 16. For blocks that fit in the caches: nothing is packed.
///
/// # Safety
/// All three are valid for their sizes and strides, and nobody else touches `C`.
pub(super) unsafe fn multiply(
    level: Level,
    (rows, columns, depth): (usize, usize, usize),
    a: Matrix,
    b: Matrix,
    c: *mut f32,
    c_row: usize,
    add: bool,
) {
    debug_assert!(columns.is_multiple_of(16) && b.column == 1);
    dispatch(level, Product { rows, columns, depth, a, b, c, c_row, add });
}

#[derive(Clone, Copy)]
struct Product {
    rows: usize,
    columns: usize,
    depth: usize,
    a: Matrix,
    b: Matrix,
    c: *mut f32,
    c_row: usize,
    add: bool,
}

impl Kernel for Product {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut column = 0;
        while column < self.columns {
            let vectors = ((self.columns - column) / S::LANES).min(2);
            // SAFETY: the columns are a whole number of vectors; who made this vouches for the memory.
            unsafe {
                if vectors == 2 {
                    self.panel::<S, 2>(column);
                } else {
                    self.panel::<S, 1>(column);
                }
            }
            column += vectors * S::LANES;
        }
    }
}

impl Product {
    /// All rows of `N` vectors of columns.
    #[inline(always)]
    unsafe fn panel<S: Simd, const N: usize>(self, column: usize) {
        let mut row = 0;
        // SAFETY: as `run`; the rows of each tile exist.
        unsafe {
            if S::ROWS == 8 {
                while row + 8 <= self.rows {
                    self.tile::<S, 8, N>(row, column);
                    row += 8;
                }
            } else {
                // Two tiles of four rather than one of six and one of two.
                let sixes =
                    if self.rows % 6 == 2 { (self.rows / 6).saturating_sub(1) } else { self.rows / 6 };
                for _ in 0..sixes {
                    self.tile::<S, 6, N>(row, column);
                    row += 6;
                }
            }
            while row + 4 <= self.rows {
                self.tile::<S, 4, N>(row, column);
                row += 4;
            }
            while row + 2 <= self.rows {
                self.tile::<S, 2, N>(row, column);
                row += 2;
            }
            while row < self.rows {
                self.tile::<S, 1, N>(row, column);
                row += 1;
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const N: usize>(self, row: usize, column: usize) {
        // SAFETY: as `panel`.
        unsafe {
            let c = self.c.add(row * self.c_row + column);
            let (mut a, mut b) = (self.a.data.add(row * self.a.row), self.b.data.add(column));
            let mut sums = [[S::splat(0.0); N]; R];
            for _ in 0..self.depth {
                let mut vectors = [S::splat(0.0); N];
                for n in 0..N {
                    vectors[n] = S::load(b.add(n * S::LANES));
                }
                for r in 0..R {
                    let factor = S::splat(*a.add(r * self.a.row));
                    for n in 0..N {
                        sums[r][n] = S::fma(factor, vectors[n], sums[r][n]);
                    }
                }
                a = a.add(self.a.column);
                b = b.add(self.b.row);
            }
            for r in 0..R {
                for n in 0..N {
                    let at = c.add(r * self.c_row + n * S::LANES);
                    let sum = if self.add { S::add(S::load(at), sums[r][n]) } else { sums[r][n] };
                    S::store(at, sum);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_all_sizes() {
        for level in [Level::Portable, Level::Avx2, Level::Avx512] {
            for (rows, columns, depth) in [(1, 16, 1), (7, 32, 3), (11, 48, 5), (23, 64, 9), (16, 16, 0)] {
                let a: Vec<f32> = (0..rows * depth).map(|i| (i % 7) as f32 - 3.0).collect();
                let b: Vec<f32> = (0..depth * columns).map(|i| (i % 5) as f32 - 2.0).collect();
                let mut c = vec![1.0; rows * columns];
                // A is stored transposed.
                let (am, bm) = (Matrix::rows(a.as_ptr(), rows).t(), Matrix::rows(b.as_ptr(), columns));
                let level = level.min(Level::detect());
                // SAFETY: the vectors have the stated shapes.
                unsafe {
                    multiply(level, (rows, columns, depth), am, bm, c.as_mut_ptr(), columns, true);
                }
                for i in 0..rows {
                    for j in 0..columns {
                        let sum: f32 = (0..depth).map(|k| a[k * rows + i] * b[k * columns + j]).sum();
                        assert_eq!(c[i * columns + j], sum + 1.0);
                    }
                }
            }
        }
    }
}

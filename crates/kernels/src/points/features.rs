//! Nearest points in any number of dimensions: all pairs, in blocks that the registers hold.

use rayon::prelude::*;

use super::search::{Key, NONE, insert, key, reach};
use crate::simd::Level;
use crate::simd::vector::{Kernel, Simd, dispatch};

/// Points side by side in a block.
const WIDE: usize = 32;
/// Queries that are compared with a block at once.
const ROWS: usize = 4;
/// Queries of one task.
const CHUNK: usize = 16;

/// The `k` nearest of `points` to each of `queries`, both rows of `axes` numbers, sorted.
pub(super) fn nearest(points: &[f32], queries: &[f32], axes: usize, k: usize) -> Vec<Key> {
    let level = Level::current();
    let count = points.len() / axes;
    // Axis by axis within a block; places without a point are infinitely far.
    let mut blocks = vec![f32::INFINITY; count.div_ceil(WIDE) * WIDE * axes];
    blocks.par_chunks_mut(WIDE * axes).zip(points.par_chunks(WIDE * axes)).for_each(|(block, points)| {
        for (i, point) in points.chunks_exact(axes).enumerate() {
            for (axis, &x) in point.iter().enumerate() {
                block[axis * WIDE + i] = x;
            }
        }
    });
    let mut found = vec![NONE; queries.len() / axes * k];
    found.par_chunks_mut(CHUNK * k).zip(queries.par_chunks(CHUNK * axes)).for_each(|(found, queries)| {
        dispatch(level, Nearest { blocks: &blocks, queries, axes, k, found });
    });
    found
}

struct Nearest<'a> {
    blocks: &'a [f32],
    queries: &'a [f32],
    axes: usize,
    k: usize,
    found: &'a mut [Key],
}

impl Kernel for Nearest<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { axes, k, .. } = self;
        for (b, block) in self.blocks.chunks_exact(WIDE * axes).enumerate() {
            let (quads, rest) = self.queries.split_at(self.queries.len() / (ROWS * axes) * ROWS * axes);
            let (found, found_rest) = self.found.split_at_mut(quads.len() / axes * k);
            for (queries, found) in quads.chunks_exact(ROWS * axes).zip(found.chunks_exact_mut(ROWS * k)) {
                // SAFETY: the caller vouches for the instructions; the slices hold ROWS queries.
                unsafe { compare::<S, ROWS>(block, b * WIDE, queries, axes, k, found) };
            }
            for (query, found) in rest.chunks_exact(axes).zip(found_rest.chunks_exact_mut(k)) {
                // SAFETY: the caller vouches for the instructions; the slices hold one query.
                unsafe { compare::<S, 1>(block, b * WIDE, query, axes, k, found) };
            }
        }
    }
}

/// Compares `R` queries with a block of points that begins at index `first`.
///
/// # Safety
/// The machine has the instructions of `S`; `block` holds `axes` rows of WIDE numbers, `queries` `R` rows of `axes`.
#[inline(always)]
unsafe fn compare<S: Simd, const R: usize>(
    block: &[f32],
    first: usize,
    queries: &[f32],
    axes: usize,
    k: usize,
    found: &mut [Key],
) {
    let mut squared = [[0f32; WIDE]; R];
    for lane in (0..WIDE).step_by(2 * S::LANES) {
        // SAFETY: the caller vouches for the instructions and the sizes; two vectors divide WIDE.
        unsafe {
            let mut sums = [[S::splat(0.0); 2]; R];
            for axis in 0..axes {
                let x = [0, S::LANES].map(|i| S::load(block.as_ptr().add(axis * WIDE + lane + i)));
                for (r, sums) in sums.iter_mut().enumerate() {
                    let q = S::splat(*queries.as_ptr().add(r * axes + axis));
                    for (sum, x) in sums.iter_mut().zip(x) {
                        let d = S::sub(x, q);
                        *sum = S::add(*sum, S::mul(d, d));
                    }
                }
            }
            for (squared, sums) in squared.iter_mut().zip(sums) {
                for (i, sum) in sums.into_iter().enumerate() {
                    S::store(squared.as_mut_ptr().add(lane + i * S::LANES), sum);
                }
            }
        }
    }
    for (squared, best) in squared.iter().zip(found.chunks_exact_mut(k)) {
        let mut bits = 0u32;
        // SAFETY: the caller vouches for the instructions; LANES divides WIDE.
        unsafe {
            let limits = S::splat(reach(best));
            for lane in (0..WIDE).step_by(S::LANES) {
                bits |= S::at_most(S::load(squared.as_ptr().add(lane)), limits) << lane;
            }
        }
        while bits != 0 {
            let i = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            insert(best, key(squared[i], (first + i) as u32));
        }
    }
}

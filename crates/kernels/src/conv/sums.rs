//! Sums in an order that shapes alone fix.

use rayon::prelude::*;

use crate::simd::Level;
use crate::simd::math::{SUM_LANES, fold};

/// Adds the parts of length `size` to the first, in order, and keeps that.
pub(crate) fn sum_parts(parts: &mut Vec<f32>, size: usize) {
    let (total, rest) = parts.split_at_mut(size);
    const CHUNK: usize = 16 * 1024;
    total.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, total)| {
        for part in rest.chunks_exact(size) {
            for (t, p) in total.iter_mut().zip(&part[chunk * CHUNK..]) {
                *t += p;
            }
        }
    });
    parts.truncate(size);
}

/// Sums over images and pixels of `y [n, c, plane]`: the gradient of a bias.
pub(crate) fn channel_sums(y: &[f32], n: usize, c: usize, plane: usize) -> Vec<f32> {
    let level = Level::current();
    let mut sums = vec![0.0; c];
    sums.par_iter_mut().with_min_len(8).enumerate().for_each(|(channel, total)| {
        *total = (0..n).map(|image| sum(level, &y[(image * c + channel) * plane..][..plane])).sum();
    });
    sums
}

crate::simd::multiversion! {
    /// The sum of a slice, in lanes.
    pub(crate) fn sum(x: &[f32]) -> f32 {
        let _ = FMA;
        let mut lanes = [0.0; SUM_LANES];
        let (chunks, rest) = x.as_chunks::<SUM_LANES>();
        for chunk in chunks {
            for (lane, v) in lanes.iter_mut().zip(chunk) {
                *lane += v;
            }
        }
        fold(lanes) + rest.iter().sum::<f32>()
    }
}

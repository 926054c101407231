//! The matrices of Winograd's F(4x4, 3x3), as sums of vectors.
//!
//! With the interpolation points 0, 1, -1, 2, -2 and infinity, the four outputs of a three-tap filter `g` over six
//! inputs `d` are $A^\mathsf{T} [(G g) \odot (B^\mathsf{T} d)]$; in two dimensions each matrix acts from both sides.
//!
//! Source: Lavin & Gray 2016, arXiv:1509.09308, section 4.3.

use crate::simd::vector::Simd;

/// Squares of this many transformed values make a tile.
pub(super) const SIDE: usize = 6;

/// $B^\mathsf{T} d$: inputs to points.
///
/// # Safety
/// The machine has the instructions of `S`; so for the other functions here.
#[inline(always)]
pub(super) unsafe fn input<S: Simd>(d: [S::V; 6]) -> [S::V; 6] {
    // SAFETY: the caller vouches for the instructions.
    unsafe {
        let (four, five) = (S::splat(4.0), S::splat(5.0));
        let a = S::fnma(four, d[2], d[4]);
        let b = S::fnma(four, d[1], d[3]);
        let c = S::sub(d[4], d[2]);
        let e = S::sub(d[3], d[1]);
        let e = S::add(e, e);
        [
            S::fma(four, d[0], S::fnma(five, d[2], d[4])),
            S::add(a, b),
            S::sub(a, b),
            S::add(c, e),
            S::sub(c, e),
            S::fma(four, d[1], S::fnma(five, d[3], d[5])),
        ]
    }
}

/// $A^\mathsf{T} m$: points to outputs.
///
/// # Safety
/// As [`input`].
#[inline(always)]
pub(super) unsafe fn output<S: Simd>(m: [S::V; 6]) -> [S::V; 4] {
    // SAFETY: the caller vouches for the instructions.
    unsafe {
        let (s12, d12) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (s34, d34) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        [
            S::add(m[0], S::add(s12, s34)),
            S::fma(S::splat(2.0), d34, d12),
            S::fma(S::splat(4.0), s34, s12),
            S::add(m[5], S::fma(S::splat(8.0), d34, d12)),
        ]
    }
}

/// $A y$: gradients of outputs to points.
///
/// # Safety
/// As [`input`].
#[inline(always)]
pub(super) unsafe fn gradient<S: Simd>(y: [S::V; 4]) -> [S::V; 6] {
    // SAFETY: the caller vouches for the instructions.
    unsafe {
        let (even, odd) = (S::add(y[0], y[2]), S::add(y[1], y[3]));
        let even2 = S::fma(S::splat(4.0), y[2], y[0]);
        let odd2 = S::fma(S::splat(8.0), y[3], S::add(y[1], y[1]));
        [y[0], S::add(even, odd), S::sub(even, odd), S::add(even2, odd2), S::sub(even2, odd2), y[3]]
    }
}

/// $G g$: taps to points.
///
/// # Safety
/// As [`input`].
#[inline(always)]
pub(super) unsafe fn filter<S: Simd>(g: [S::V; 3]) -> [S::V; 6] {
    // SAFETY: the caller vouches for the instructions.
    unsafe {
        let sixth = S::splat(-1.0 / 6.0);
        let sum = S::add(g[0], g[2]);
        let even = S::fma(S::splat(1.0 / 24.0), g[0], S::mul(S::splat(1.0 / 6.0), g[2]));
        let odd = S::mul(S::splat(1.0 / 12.0), g[1]);
        [
            S::mul(S::splat(0.25), g[0]),
            S::mul(sixth, S::add(sum, g[1])),
            S::mul(sixth, S::sub(sum, g[1])),
            S::add(even, odd),
            S::sub(even, odd),
            g[2],
        ]
    }
}

/// $G^\mathsf{T} z$: points to gradients of taps.
///
/// # Safety
/// As [`input`].
#[inline(always)]
pub(super) unsafe fn taps<S: Simd>(z: [S::V; 6]) -> [S::V; 3] {
    // SAFETY: the caller vouches for the instructions.
    unsafe {
        let (s12, d12) = (S::add(z[1], z[2]), S::sub(z[1], z[2]));
        let (s34, d34) = (S::add(z[3], z[4]), S::sub(z[3], z[4]));
        let sixth = S::splat(-1.0 / 6.0);
        let rest = S::fma(sixth, s12, S::mul(S::splat(1.0 / 24.0), s34));
        [
            S::fma(S::splat(0.25), z[0], rest),
            S::fma(sixth, d12, S::mul(S::splat(1.0 / 12.0), d34)),
            S::add(z[5], S::mul(sixth, S::sub(s12, s34))),
        ]
    }
}

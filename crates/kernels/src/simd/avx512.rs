//! Sixteen lanes of AVX-512.

use std::arch::x86_64::*;

use super::vector::{Kernel, Simd};

/// Runs a kernel with the instructions of this level.
///
/// # Safety
/// The machine has them.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) {
    // SAFETY: the caller vouches for the instructions.
    unsafe { kernel.run::<Avx512>() }
}

/// 512-bit vectors.
#[derive(Clone, Copy)]
pub(super) struct Avx512;

// SAFETY of the blocks below: the trait's contract is that the machine has the instructions and that pointers are
// valid for a vector; the intrinsics ask for nothing more.
impl Simd for Avx512 {
    type V = __m512;
    const LANES: usize = 16;
    const ROWS: usize = 8;

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_loadu_ps(p) }
    }

    #[inline(always)]
    unsafe fn store(p: *mut f32, v: __m512) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(p, v) }
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn fnma(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_fnmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn abs(a: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_abs_ps(a) }
    }

    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_min_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn at_most(a: __m512, b: __m512) -> u32 {
        // SAFETY: see above.
        unsafe { u32::from(_mm512_cmp_ps_mask::<_CMP_LE_OQ>(a, b)) }
    }

    #[inline(always)]
    unsafe fn transpose(src: *const f32, from: usize, dst: *mut f32, to: usize) {
        // SAFETY: see above; sixteen rows of sixteen numbers on both sides.
        unsafe {
            // Four blocks of four columns.
            for b in 0..4 {
                let (src, dst) = (src.add(4 * b), dst.add(4 * b * to));
                let (r0, r1) = (quarters(src, from), quarters(src.add(from), from));
                let (r2, r3) = (quarters(src.add(2 * from), from), quarters(src.add(3 * from), from));
                let (a, c) = (_mm512_unpacklo_ps(r0, r1), _mm512_unpackhi_ps(r0, r1));
                let (e, g) = (_mm512_unpacklo_ps(r2, r3), _mm512_unpackhi_ps(r2, r3));
                _mm512_storeu_ps(dst, _mm512_shuffle_ps::<0b01_00_01_00>(a, e));
                _mm512_storeu_ps(dst.add(to), _mm512_shuffle_ps::<0b11_10_11_10>(a, e));
                _mm512_storeu_ps(dst.add(2 * to), _mm512_shuffle_ps::<0b01_00_01_00>(c, g));
                _mm512_storeu_ps(dst.add(3 * to), _mm512_shuffle_ps::<0b11_10_11_10>(c, g));
            }
        }
    }
}

/// The first four numbers of the rows 0, 4, 8 and 12.
///
/// # Safety
/// The rows are valid and the machine has AVX-512.
#[inline(always)]
unsafe fn quarters(src: *const f32, row: usize) -> __m512 {
    // SAFETY: the caller vouches for both.
    unsafe {
        let v = _mm512_castps128_ps512(_mm_loadu_ps(src));
        let v = _mm512_insertf32x4::<1>(v, _mm_loadu_ps(src.add(4 * row)));
        let v = _mm512_insertf32x4::<2>(v, _mm_loadu_ps(src.add(8 * row)));
        _mm512_insertf32x4::<3>(v, _mm_loadu_ps(src.add(12 * row)))
    }
}

//! Eight lanes of AVX2 with FMA.

use std::arch::x86_64::*;

use super::vector::{Kernel, Simd};

/// Runs a kernel with the instructions of this level.
///
/// # Safety
/// The machine has them.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) {
    // SAFETY: the caller vouches for the instructions.
    unsafe { kernel.run::<Avx2>() }
}

/// 256-bit vectors.
#[derive(Clone, Copy)]
pub(super) struct Avx2;

// SAFETY of the blocks below: the trait's contract is that the machine has the instructions and that pointers are
// valid for a vector; the intrinsics ask for nothing more.
impl Simd for Avx2 {
    type V = __m256;
    const LANES: usize = 8;
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_loadu_ps(p) }
    }

    #[inline(always)]
    unsafe fn store(p: *mut f32, v: __m256) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_ps(p, v) }
    }

    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn fnma(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_fnmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn abs(a: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), a) }
    }

    #[inline(always)]
    unsafe fn min(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_min_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn at_most(a: __m256, b: __m256) -> u32 {
        // SAFETY: see above.
        unsafe { u32::from(_mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LE_OQ>(a, b)) as u8) }
    }

    #[inline(always)]
    unsafe fn transpose(src: *const f32, from: usize, dst: *mut f32, to: usize) {
        // SAFETY: see above; eight rows of eight numbers on both sides.
        unsafe {
            // Two blocks of four columns.
            for b in 0..2 {
                let (src, dst) = (src.add(4 * b), dst.add(4 * b * to));
                let (r0, r1) = (halves(src, from), halves(src.add(from), from));
                let (r2, r3) = (halves(src.add(2 * from), from), halves(src.add(3 * from), from));
                let (a, c) = (_mm256_unpacklo_ps(r0, r1), _mm256_unpackhi_ps(r0, r1));
                let (e, g) = (_mm256_unpacklo_ps(r2, r3), _mm256_unpackhi_ps(r2, r3));
                _mm256_storeu_ps(dst, _mm256_shuffle_ps::<0b01_00_01_00>(a, e));
                _mm256_storeu_ps(dst.add(to), _mm256_shuffle_ps::<0b11_10_11_10>(a, e));
                _mm256_storeu_ps(dst.add(2 * to), _mm256_shuffle_ps::<0b01_00_01_00>(c, g));
                _mm256_storeu_ps(dst.add(3 * to), _mm256_shuffle_ps::<0b11_10_11_10>(c, g));
            }
        }
    }
}

/// The first four numbers of the rows 0 and 4.
///
/// # Safety
/// The rows are valid and the machine has AVX2.
#[inline(always)]
unsafe fn halves(src: *const f32, row: usize) -> __m256 {
    // SAFETY: the caller vouches for both.
    unsafe {
        let v = _mm256_castps128_ps256(_mm_loadu_ps(src));
        _mm256_insertf128_ps::<1>(v, _mm_loadu_ps(src.add(4 * row)))
    }
}

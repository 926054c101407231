//! The vector operations that Winograd's transforms and products are made of, as a trait with one implementor for
//! each level.
//!
//! Every method is unsafe for one reason: the machine must have the instructions of the implementor. [`dispatch`] is
//! where that is ensured. All code between there and the methods is `#[inline(always)]`, so that it is compiled with
//! those instructions enabled.

use super::Level;

/// A vector type of some instruction set.
///
/// # Safety
/// The methods may be called only where the machine has the instruction set; pointers must be valid for
/// [`LANES`](Self::LANES) numbers (of any alignment).
pub(crate) trait Simd: Copy {
    /// The vector.
    type V: Copy;
    /// Numbers in a vector.
    const LANES: usize;
    /// Rows of a block of a product that the registers hold, two vectors wide.
    const ROWS: usize;

    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `c - a * b`.
    unsafe fn fnma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The magnitude of each lane.
    unsafe fn abs(a: Self::V) -> Self::V;
    /// The smaller of each pair of lanes, neither of them NaN.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// The bits of the lanes where `a <= b`, the first lane lowest.
    unsafe fn at_most(a: Self::V, b: Self::V) -> u32;
    /// Transposes a square of `LANES x LANES` numbers: `from` and `to` are the distances between rows.
    unsafe fn transpose(src: *const f32, from: usize, dst: *mut f32, to: usize);
}

/// A piece of work written once for every [`Simd`].
pub(crate) trait Kernel {
    /// Does the work. Implementors mark it `#[inline(always)]`.
    ///
    /// # Safety
    /// The machine has the instructions of `S`.
    unsafe fn run<S: Simd>(self);
}

/// Runs a kernel with the vectors of a level.
#[inline]
pub(crate) fn dispatch<K: Kernel>(level: Level, kernel: K) {
    match level {
        // SAFETY: a `Level` above `Portable` is only made where the machine has its features.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { super::avx512::run(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { super::avx2::run(kernel) },
        // SAFETY: needs nothing beyond the compilation target.
        _ => unsafe { kernel.run::<Portable>() },
    }
}

/// Eight lanes in an array, which the compiler puts in what vectors the target has.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Simd for Portable {
    type V = [f32; 8];
    const LANES: usize = 8;
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; 8]
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::V {
        // SAFETY: the caller vouches for eight numbers.
        unsafe { p.cast::<[f32; 8]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::V) {
        // SAFETY: the caller vouches for eight numbers.
        unsafe { p.cast::<[f32; 8]>().write_unaligned(v) }
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|i| super::fma::<{ super::PORTABLE_FMA }>(a[i], b[i], c[i]))
    }

    #[inline(always)]
    unsafe fn fnma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|i| super::fma::<{ super::PORTABLE_FMA }>(-a[i], b[i], c[i]))
    }

    #[inline(always)]
    unsafe fn abs(a: Self::V) -> Self::V {
        a.map(f32::abs)
    }

    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    unsafe fn at_most(a: Self::V, b: Self::V) -> u32 {
        (0..8).fold(0, |bits, i| bits | u32::from(a[i] <= b[i]) << i)
    }

    #[inline(always)]
    unsafe fn transpose(src: *const f32, from: usize, dst: *mut f32, to: usize) {
        for i in 0..8 {
            for j in 0..8 {
                // SAFETY: the caller vouches for eight rows of eight numbers on both sides.
                unsafe { *dst.add(j * to + i) = *src.add(i * from + j) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Transpose<'a>(&'a [f32], &'a mut [f32], &'a mut usize);

    impl Kernel for Transpose<'_> {
        #[inline(always)]
        unsafe fn run<S: Simd>(self) {
            *self.2 = S::LANES;
            // SAFETY: both slices hold 16 rows of 20.
            unsafe { S::transpose(self.0.as_ptr(), 20, self.1.as_mut_ptr(), 20) };
        }
    }

    #[test]
    fn transposes() {
        let a: Vec<f32> = (0..320).map(|i| i as f32).collect();
        for level in [Level::Portable, Level::Avx2, Level::Avx512] {
            let (mut b, mut lanes) = (vec![0.0; 320], 0);
            dispatch(level.min(Level::detect()), Transpose(&a, &mut b, &mut lanes));
            for i in 0..lanes {
                for j in 0..lanes {
                    assert_eq!(b[j * 20 + i], a[i * 20 + j], "{level:?} {i} {j}");
                }
            }
        }
    }
}

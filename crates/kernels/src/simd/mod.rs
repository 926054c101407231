//! Which vector instructions the kernels use, chosen at run time.
//!
//! Two ways lead from one source to several instruction sets. The macro `multiversion` compiles a plain loop once
//! for each [`Level`] and lets the compiler vectorise it. The trait `Simd` names the few vector operations
//! that Winograd's transforms are made of.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod math;
pub(crate) mod vector;

use std::cell::Cell;
use std::sync::OnceLock;

/// A set of vector instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What the compilation target guarantees.
    Portable,
    /// x86-64 with AVX2 and FMA: 8 lanes.
    Avx2,
    /// x86-64 with AVX-512 (F, BW, DQ, VL): 16 lanes.
    Avx512,
}

impl Level {
    /// The best level of this machine.
    pub fn detect() -> Self {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(|| {
            #[cfg(target_arch = "x86_64")]
            {
                let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
                let avx512 = is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl");
                if avx2 && avx512 {
                    return Level::Avx512;
                }
                if avx2 {
                    return Level::Avx2;
                }
            }
            Level::Portable
        })
    }

    /// The level that operations started on this thread use: the best one, unless [`with_level`] lowers it.
    pub fn current() -> Self {
        OVERRIDE.get().unwrap_or_else(Self::detect)
    }

    /// Numbers in a vector of this level.
    pub(crate) fn lanes(self) -> usize {
        match self {
            Self::Avx512 => 16,
            _ => 8,
        }
    }
}

thread_local! {
    static OVERRIDE: Cell<Option<Level>> = const { Cell::new(None) };
}

/// Runs `body` with the operations it starts on this thread at `level`, or at the best one where the machine
/// lacks `level`: for comparing the levels in tests and benchmarks.
pub fn with_level<R>(level: Level, body: impl FnOnce() -> R) -> R {
    struct Restore(Option<Level>);
    impl Drop for Restore {
        fn drop(&mut self) {
            OVERRIDE.set(self.0);
        }
    }
    let _restore = Restore(OVERRIDE.replace(Some(level.min(Level::detect()))));
    body()
}

/// `a * b + c`, fused where the instruction set has it (a call into the mathematics library would be slow).
#[inline(always)]
pub(crate) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Whether the portable level has a fused multiply-add.
pub(crate) const PORTABLE_FMA: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// Compiles a function of plain loops for each level; its first argument becomes the [`Level`]. The body may use
/// the constant `FMA` (see [`fma`]).
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name(level: $crate::simd::Level, $($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::extra_unused_type_parameters)]
            fn body<const FMA: bool>($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512($($arg: $ty),*) $(-> $ret)? { body::<true>($($arg),*) }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) $(-> $ret)? { body::<true>($($arg),*) }

            match level {
                // SAFETY: a `Level` above `Portable` is only made where the machine has its features.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Level::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Level::Avx2 => unsafe { avx2($($arg),*) },
                _ => body::<{ $crate::simd::PORTABLE_FMA }>($($arg),*),
            }
        }
    };
}
pub(crate) use multiversion;

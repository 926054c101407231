//! The sources of the kernels, and the kernels by name.

/// Kernels that are compiled together.
pub(super) struct Program {
    #[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "names a module of a CUDA device"))]
    pub(super) name: &'static str,
    #[cfg_attr(
        not(any(test, feature = "cuda", feature = "metal")),
        allow(dead_code, reason = "no device to compile for")
    )]
    pub(super) source: &'static str,
}

/// A kernel: a function of a program, and the threads of its blocks.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    #[cfg_attr(
        not(any(test, feature = "cuda", feature = "metal")),
        allow(dead_code, reason = "no device to compile for")
    )]
    pub(super) program: &'static Program,
    pub(super) name: &'static str,
    pub(super) threads: usize,
}

/// What all programs begin with, after the prelude of the device.
#[cfg(any(test, feature = "cuda", feature = "metal"))]
pub(super) const COMMON: &str = include_str!("kernels/common.cc");

macro_rules! programs {
    ($($program:ident = $file:literal { $($kernel:ident: $name:ident $threads:literal),* $(,)? })*) => {
        $(
            static $program: Program = Program { name: $file, source: include_str!(concat!("kernels/", $file, ".cc")) };
            $(
                pub(super) const $kernel: Kernel =
                    Kernel { program: &$program, name: stringify!($name), threads: $threads };
            )*
        )*

        /// All of them.
        #[cfg(test)]
        pub(super) static PROGRAMS: &[&Program] = &[$(&$program),*];

        /// The names of all kernels.
        #[cfg(test)]
        pub(super) static KERNELS: &[&Kernel] = &[$($(&$kernel),*),*];
    };
}

programs! {
    ADAM = "adam" {
        ADAM_STEP: adam_step 256,
    }
    NORM = "norm" {
        GROUP_MOMENTS: group_moments 512,
        GROUP_APPLY: group_apply 256,
        GROUP_SUMS: group_sums 256,
        GROUP_TOTALS: group_totals 64,
        GROUP_PARAMETERS: group_parameters 64,
        GROUP_PULL: group_pull 256,
        ROW_MOMENTS: row_moments 256,
        ROW_APPLY: row_apply 256,
        ROW_PULL: row_pull 256,
        ROW_PARTS: row_parts 64,
        ROW_PARAMETERS: row_parameters 64,
        SOFTMAX_ROWS: softmax_rows 256,
        SOFTMAX_PULL: softmax_pull 256,
    }
    RANDOM = "random" {
        RANDOM_UNIFORMS: random_uniforms 256,
        RANDOM_NORMALS: random_normals 256,
    }
    FOURIER = "fourier" {
        FOURIER_LINES: fourier_lines 256,
    }
    GATHER = "gather" {
        GATHER_ROWS: gather_rows 256,
        ADD_ROWS: add_rows 256,
    }
    POINTS = "points" {
        POINTS_LIFT: points_lift 256,
        POINTS_NEAREST: points_nearest 128,
        POINTS_BALL: points_ball 128,
        POINTS_FARTHEST: points_farthest 512,
        CLOUD_NEAREST: cloud_nearest 128,
        CLOUD_DISTANCES: cloud_distances 256,
        CLOUD_MEANS: cloud_means 256,
        SCALED_SUM: scaled_sum 256,
        CLOUD_WEIGHTS: cloud_weights 256,
        CLOUD_PULL: cloud_pull 128,
        INVERSE_WEIGHTS: inverse_weights 256,
    }
    SCAN = "scan" {
        SCAN_FORWARD: scan_forward 128,
        SCAN_BACKWARD: scan_backward 128,
        SUM_PARTS: sum_parts 256,
        CAUSAL_FORWARD: causal_forward 256,
        CAUSAL_SLOPES: causal_slopes 256,
        CAUSAL_INPUT: causal_input 256,
        CAUSAL_WEIGHT: causal_weight 128,
    }
    ATTENTION = "attention" {
        ATTENTION_FORWARD: attention_forward 256,
        ATTENTION_DELTA: attention_delta 256,
        ATTENTION_QUERIES: attention_queries 256,
        ATTENTION_KEYS: attention_keys 256,
    }
}

//! Times of the selective scan, random numbers and Fourier transforms; as the benchmark `ops`.
//!
//! `exp_floor` is the time of the exponentials that the scan with its gradient cannot do without: two for each position,
//! channel and state, by the same function in the same threads.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
/// The very exponential of the crate, which is private there.
#[allow(dead_code, unused_imports, unreachable_pub)]
#[path = "../src/simd/mod.rs"]
mod simd;

use candle_core::{Tensor, Var};
use common::{Bench, backward, random, var};
use halocast_kernels::{ScanOptions, selective_scan};
use rayon::prelude::*;

fn main() {
    let bench = Bench::from_environment();
    sequences(&bench);
}

fn sequences(bench: &Bench) {
    let (n, l, d, states) = (8, 256, 192, 16);
    let positive = |shape: &[usize], scale: f64| {
        Var::from_tensor(&(random(shape).abs().unwrap() * scale).unwrap()).unwrap()
    };
    let (u, delta, a) = (var(&[n, d, l]), positive(&[n, d, l], 0.1), positive(&[d, states], -1.0));
    let (b, c) = (var(&[n, states, l]), var(&[n, states, l]));
    let scan = |u: &Tensor| selective_scan(u, &delta, &a, &b, &c, &ScanOptions::default()).unwrap();
    bench.run("selscan_fwdbwd", || backward(scan(&u)));
    bench.run("selscan_fwd", || drop(halocast_kernels::no_grad(|| scan(&u))));
    let (skip, gate, bias) = (var(&[d]), var(&[n, d, l]), var(&[d]));
    let options =
        ScanOptions { skip: Some(&skip), gate: Some(&gate), delta_bias: Some(&bias), delta_softplus: true };
    bench.run("selscan_full_fwdbwd", || backward(selective_scan(&u, &delta, &a, &b, &c, &options).unwrap()));
    let level = simd::Level::current();
    let count = 2 * n * l * d * states;
    bench.run("exp_floor", || {
        (0..count / (64 * BLOCK)).into_par_iter().for_each(|_| exponentials(level, 64));
    });
}

/// Numbers that lie in the nearest cache.
const BLOCK: usize = 1024;

simd::multiversion! {
    /// `times` times the exponentials of a block of numbers.
    fn exponentials(times: usize) {
        let mut x = [0.3f32; BLOCK];
        for _ in 0..times {
            for x in std::hint::black_box(&mut x) {
                *x = simd::math::exp::<FMA>(-*x);
            }
        }
        std::hint::black_box(&x);
    }
}

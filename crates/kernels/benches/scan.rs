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

use candle_core::{Device, Tensor, Var};
use common::{Bench, backward, random, var};
use halocast_core::Rng;
use halocast_kernels::{
    Activation, FourierNorm, ScanOptions, causal_conv1d, index_select, irfft, random_normal, random_uniform,
    rfft, scatter_add, selective_scan,
};
use rayon::prelude::*;

fn main() {
    let bench = Bench::from_environment();
    sequences(&bench);
    others(&bench);
}

fn sequences(bench: &Bench) {
    let (n, l, d, states) = (8, 256, 192, 16);
    let positive = |shape: &[usize], scale: f64| {
        Var::from_tensor(&(random(shape).abs().unwrap() * scale).unwrap()).unwrap()
    };
    let (u, delta, a) = (var(&[n, d, l]), positive(&[n, d, l], 0.1), positive(&[d, states], -1.0));
    let (b, c) = (var(&[n, states, l]), var(&[n, states, l]));
    let scan = |u: &Tensor| selective_scan(u, &delta, &a, &b, &c, &ScanOptions::default()).unwrap();
    bench.run("selscan_fwdbwd", || backward(|| scan(&u)));
    bench.run("selscan_fwd", || drop(halocast_kernels::no_grad(|| scan(&u))));
    let (skip, gate, bias) = (var(&[d]), var(&[n, d, l]), var(&[d]));
    let options =
        ScanOptions { skip: Some(&skip), gate: Some(&gate), delta_bias: Some(&bias), delta_softplus: true };
    bench.run("selscan_full_fwdbwd", || {
        backward(|| selective_scan(&u, &delta, &a, &b, &c, &options).unwrap())
    });
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

fn others(bench: &Bench) {
    let mut rng = Rng::new(1);
    bench.run("randn_2M", || drop(random_normal((8, 64, 64, 64), &mut rng, &Device::Cpu).unwrap()));
    bench.run("rand_2M", || drop(random_uniform((8, 64, 64, 64), &mut rng, &Device::Cpu).unwrap()));
    let mut numbers = vec![0.0; 8 * 64 * 64 * 64];
    bench.run("core_fill_normal_2M", || rng.fill_normal(&mut numbers));
    let norm = FourierNorm::Backward;
    for (name, n, batch) in [("fft2_64x64_b64", 64, 64), ("fft2_256_b8", 256, 8)] {
        let z = random(&[batch, n, n]);
        bench.run(name, || drop(irfft(&rfft(&z, 2, norm).unwrap(), n, 2, norm).unwrap()));
    }
    let z = random(&[64, 64, 64]);
    bench.run("fft3_64", || drop(irfft(&rfft(&z, 3, norm).unwrap(), 64, 3, norm).unwrap()));
    let (x, source) = (var(&[4096, 64]), var(&[65_536, 64]));
    let indices: Vec<u32> = (0..65_536u32).map(|i| i.wrapping_mul(2_654_435_761) >> 20).collect();
    let indices = Tensor::new(indices, &Device::Cpu).unwrap();
    bench.run("index_select_fwdbwd", || backward(|| index_select(&x, &indices, 0).unwrap()));
    bench.run("scatter_add_fwdbwd", || backward(|| scatter_add(&x, &indices, &source, 0).unwrap()));
    let (x, w, b) = (var(&[8, 384, 256]), var(&[384, 4]), var(&[384]));
    bench.run("causal_conv_fwdbwd", || {
        backward(|| causal_conv1d(&x, &w, Some(&b), Activation::Silu).unwrap())
    });
}

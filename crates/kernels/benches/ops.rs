//! Times of the operations, one line each: name, median ms, minimum ms, number of runs.
//!
//! `cargo bench -p halocast-kernels -- [NAME ...]` runs the cases whose names contain one of the arguments. Environment:
//! `BUDGET` seconds a case (1), `RT=1` asks for real-time scheduling of the timed loops, `MALLOC=1` keeps the
//! allocator from returning memory to the system.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use candle_core::Tensor;
use common::{Bench, backward, random, var};
use halocast_kernels::{
    Activation, AdamCfg, AdamState, Conv2dSpec, add_channel, attention, concat_channels, conv_transpose2d,
    conv2d, group_norm, linear, linear_attention, linear_attention_map, upsample_nearest2x,
};

fn main() {
    let bench = Bench::from_environment();
    named_shapes(&bench);
    small_networks(&bench);
    let sizes = [64 * 64 * 9, 128 * 128 * 9, 256 * 256 * 9, 512 * 512 * 9, 1_500_000, 512];
    let cfg = AdamCfg::default();
    let mut parameters: Vec<_> =
        sizes.iter().map(|&n| (var(&[n]), random(&[n]), AdamState::new(n))).collect();
    bench.run("adam", || {
        for (p, g, state) in &mut parameters {
            state.step(p, g, &cfg).unwrap();
        }
    });
}

fn named_shapes(bench: &Bench) {
    let same = Conv2dSpec { padding: 1, ..Default::default() };
    for (c, s) in [(64, 64), (128, 32), (256, 16)] {
        let (x, w) = (var(&[8, c, s, s]), var(&[c, c, 3, 3]));
        let (xd, wd) = (x.detach(), w.detach());
        bench.run(&format!("conv3x3_{c}_fwd"), || drop(conv2d(&xd, &wd, None, same).unwrap()));
        bench.run(&format!("conv3x3_{c}_fwdbwd"), || backward(|| conv2d(&x, &w, None, same).unwrap()));
        let (gamma, beta) = (var(&[c]), var(&[c]));
        let gn = |x: &Tensor, g: &Tensor, b: &Tensor| group_norm(x, g, b, 8, 1e-5, Activation::Silu).unwrap();
        bench.run(&format!("gnsilu_{c}_fwd"), || drop(gn(&xd, &gamma.detach(), &beta.detach())));
        bench.run(&format!("gnsilu_{c}_fwdbwd"), || backward(|| gn(&x, &gamma, &beta)));
    }
    let [q, k, v] = std::array::from_fn(|_| var(&[8, 4, 256, 32]));
    let scale = 32f64.powf(-0.5);
    bench.run("attn16_fwdbwd", || backward(|| attention(&q, &k, &v, scale).unwrap()));
    bench.run("linattn16_fwdbwd", || backward(|| linear_attention(&q, &k, &v, scale).unwrap()));
    let (a, w) = (var(&[1024, 1024]), var(&[1024, 1024]));
    bench.run("matmul1024", || drop(linear(&a.detach(), &w.detach(), None).unwrap()));
    bench.run("matmul1024_fwdbwd", || backward(|| linear(&a, &w, None).unwrap()));
    let half = Conv2dSpec { stride: 2, padding: 1, ..Default::default() };
    let (x, x2, w) = (var(&[8, 128, 16, 16]), var(&[8, 128, 32, 32]), var(&[128, 128, 4, 4]));
    bench.run("convT4x4s2_128_fwdbwd", || backward(|| conv_transpose2d(&x, &w, None, half).unwrap()));
    bench.run("conv4x4s2_128_fwdbwd", || backward(|| conv2d(&x2, &w, None, half).unwrap()));
    bench.run("upnearest_128_fwdbwd", || backward(|| upsample_nearest2x(&x).unwrap()));
    let (x, y, t) = (var(&[8, 64, 64, 64]), var(&[8, 64, 64, 64]), var(&[8, 64]));
    bench.run("ew_cat_2x2M", || drop(concat_channels(&x.detach(), &y.detach()).unwrap()));
    bench.run("cat_2x2M_fwdbwd", || backward(|| concat_channels(&x, &y).unwrap()));
    bench.run("add_channel_2M_fwdbwd", || backward(|| add_channel(&x, &t).unwrap()));
}

/// The layers of a U-Net of width 32 on 16 maps of 64x64 pixels.
fn small_networks(bench: &Bench) {
    for (ci, co, s) in [(1, 32, 64), (32, 32, 64), (64, 32, 64), (64, 64, 32), (128, 128, 16), (16, 16, 64)] {
        for k in [3, 1] {
            let spec = Conv2dSpec { padding: k / 2, ..Default::default() };
            let (x, w, b) = (var(&[16, ci, s, s]), var(&[co, ci, k, k]), var(&[co]));
            let (xd, wd, bd) = (x.detach(), w.detach(), b.detach());
            let name = format!("small_conv{k}x{k}_{ci}_{co}_{s}");
            bench.run(&format!("{name}_fwd"), || drop(conv2d(&xd, &wd, Some(&bd), spec).unwrap()));
            bench.run(&format!("{name}_fwdbwd"), || backward(|| conv2d(&x, &w, Some(&b), spec).unwrap()));
        }
    }
    let half = Conv2dSpec { stride: 2, padding: 1, ..Default::default() };
    for (c, s) in [(32, 64), (64, 32)] {
        let (x, x2, w) = (var(&[16, c, s / 2, s / 2]), var(&[16, c, s, s]), var(&[c, c, 4, 4]));
        bench.run(&format!("small_convT4x4s2_{c}_{s}_fwdbwd"), || {
            backward(|| conv_transpose2d(&x, &w, None, half).unwrap())
        });
        bench.run(&format!("small_conv4x4s2_{c}_{s}_fwdbwd"), || {
            backward(|| conv2d(&x2, &w, None, half).unwrap())
        });
    }
    let [q, k, v] = std::array::from_fn(|_| var(&[16, 4, 4096, 32]));
    bench.run("small_linattn64_fwdbwd", || backward(|| linear_attention(&q, &k, &v, 0.2).unwrap()));
    let qkv = var(&[16, 3 * 4 * 32, 64, 64]);
    bench.run("small_linattnmap64_fwdbwd", || backward(|| linear_attention_map(&qkv, 4, 0.2).unwrap()));
}

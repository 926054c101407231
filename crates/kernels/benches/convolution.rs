//! Times of convolutions beyond those of the benchmark `ops`: by two and back at the sizes of a U-Net, its lowest level,
//! one pixel wide, over lines and cubes, and channel by channel.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use candle_core::Tensor;
use common::{Bench, backward, var};
use halocast_kernels::{Conv2dSpec, ConvSpec, conv_transpose2d, conv1d, conv2d, conv3d, no_grad};

fn main() {
    let bench = Bench::from_environment();
    let same = ConvSpec { padding: 1, ..Default::default() };
    let half = Conv2dSpec { stride: 2, ..same };
    let both = |name: &str, f: &dyn Fn() -> Tensor| {
        bench.run(&format!("{name}_fwd"), || drop(no_grad(f)));
        bench.run(&format!("{name}_fwdbwd"), || backward(f));
    };
    for (n, tail) in [(8, ""), (1, "_b1")] {
        for (c, s) in [(64, 64), (128, 32), (256, 16)] {
            let (x, x2, w) = (var(&[n, c, s / 2, s / 2]), var(&[n, c, s, s]), var(&[c, c, 4, 4]));
            both(&format!("unet_convT4x4s2_{c}{tail}"), &|| conv_transpose2d(&x, &w, None, half).unwrap());
            both(&format!("unet_conv4x4s2_{c}{tail}"), &|| conv2d(&x2, &w, None, half).unwrap());
        }
    }
    for (n, c, s) in [(8, 512, 8), (1, 512, 8), (1, 256, 16), (1, 128, 32), (1, 64, 64)] {
        let (x, w) = (var(&[n, c, s, s]), var(&[c, c, 3, 3]));
        both(&format!("low_conv3x3_{c}_b{n}"), &|| conv2d(&x, &w, None, same).unwrap());
    }
    let (x, w) = (var(&[8, 64, 64, 64]), var(&[384, 64, 1, 1]));
    both("wide_conv1x1_64_384", &|| conv2d(&x, &w, None, ConvSpec::default()).unwrap());
    let apart = |groups| ConvSpec { groups, ..same };
    let w = var(&[64, 1, 3, 3]);
    both("plane_depthwise_64_64", &|| conv2d(&x, &w, None, apart(64)).unwrap());
    let (x, w) = (var(&[8, 64, 4096]), var(&[64, 64, 3]));
    both("line_conv1d_64_4096", &|| conv1d(&x, &w, None, same).unwrap());
    let w = var(&[64, 1, 4]);
    let causal = ConvSpec { padding: 3, ..apart(64) };
    both("line_depthwise_64_4096", &|| conv1d(&x, &w, None, causal).unwrap());
    let (x, w) = (var(&[1, 32, 32, 32, 32]), var(&[32, 32, 3, 3, 3]));
    both("cube_conv3d_32_32", &|| conv3d(&x, &w, None, same).unwrap());
    let w = var(&[32, 1, 3, 3, 3]);
    both("cube_depthwise_32_32", &|| conv3d(&x, &w, None, apart(32)).unwrap());
    let w = var(&[32, 32, 4, 4, 4]);
    both("cube_conv4s2_32_32", &|| conv3d(&x, &w, None, half).unwrap());
}

//! Every operation against its composition of Candle's own operations in double precision: output and all gradients.
#![allow(clippy::unwrap_used)]

mod common;

use common::{compare, random};
use halocast_kernels::{
    Activation, Conv2dSpec, PadMode, add_channel, attention, concat_channels, conv_transpose2d, conv2d, gelu,
    group_norm, huber_loss, linear, linear_attention, linear_attention_map, mse_loss, reference, silu,
    upsample_nearest2x,
};

/// A few hundred roundings of single precision, relative to the largest value.
const ROUNDING: f32 = 3e-6;
/// Winograd's F(4x4, 3x3) loses about a digit more.
const WINOGRAD: f32 = 2e-5;

/// The kernels that Winograd's algorithm may take, given channels enough.
fn by_winograd(kernel: usize, stride: usize, padding: usize) -> bool {
    (kernel, stride, padding) == (3, 1, 1)
        || (stride == 2 && matches!((kernel, padding), (3 | 4, 1) | (5 | 6, 2)))
}

const MODES: [PadMode; 2] = [PadMode::Zeros, PadMode::Circular];

#[test]
fn conv2d_agrees() {
    // n, ci, co, h, w, kernel, stride, padding
    let cases = [
        [1, 1, 1, 1, 1, 1, 1, 0],
        [1, 1, 1, 3, 5, 3, 1, 1],
        [2, 3, 5, 7, 9, 3, 1, 1],
        [1, 16, 16, 8, 8, 3, 1, 1],
        [3, 24, 17, 12, 20, 3, 1, 1],
        [2, 32, 48, 16, 16, 3, 1, 1],
        [5, 33, 31, 8, 8, 3, 1, 1],
        [1, 1, 32, 64, 64, 3, 1, 1],
        [1, 64, 64, 32, 64, 3, 1, 1],
        [2, 16, 16, 30, 34, 3, 1, 1],
        [9, 40, 24, 4, 4, 3, 1, 1],
        [1, 16, 16, 2, 2, 3, 1, 1],
        [2, 8, 8, 9, 9, 3, 1, 0],
        [2, 8, 8, 9, 9, 3, 2, 1],
        [2, 6, 7, 12, 10, 4, 2, 1],
        [2, 32, 32, 16, 16, 4, 2, 1],
        [1, 12, 20, 8, 12, 4, 2, 1],
        [2, 9, 16, 10, 6, 3, 2, 1],
        [1, 16, 10, 12, 8, 5, 2, 2],
        [1, 10, 24, 8, 8, 6, 2, 2],
        [1, 72, 48, 4, 4, 4, 2, 1],
        [8, 128, 64, 16, 16, 4, 2, 1],
        [2, 24, 40, 8, 8, 1, 1, 0],
        [1, 3, 4, 16, 16, 7, 1, 3],
        [1, 3, 4, 5, 6, 5, 3, 2],
        [1, 2, 3, 2, 2, 3, 1, 3],
    ];
    for [n, ci, co, h, w, k, stride, padding] in cases {
        for pad_mode in MODES {
            let spec = Conv2dSpec { stride, padding, pad_mode, ..Default::default() };
            let inputs = [random(1, &[n, ci, h, w]), random(2, &[co, ci, k, k]), random(3, &[co])];
            let tolerance = if by_winograd(k, stride, padding) { WINOGRAD } else { ROUNDING };
            let name = format!("conv2d {n} {ci}->{co} {h}x{w} {k} {spec:?}");
            let with_bias = |t: &[_]| conv2d(&t[0], &t[1], Some(&t[2]), spec).unwrap();
            let oracle = |t: &[_]| reference::conv2d(&t[0], &t[1], Some(&t[2]), spec).unwrap();
            compare(&name, tolerance, &inputs, with_bias, oracle);
            let plain = |t: &[_]| conv2d(&t[0], &t[1], None, spec).unwrap();
            let oracle = |t: &[_]| reference::conv2d(&t[0], &t[1], None, spec).unwrap();
            compare(&name, tolerance, &inputs[..2], plain, oracle);
        }
    }
}

#[test]
fn conv_transpose2d_agrees() {
    let cases = [
        [1, 1, 1, 1, 1, 4, 2, 1],
        [2, 3, 5, 7, 4, 4, 2, 1],
        [2, 32, 16, 8, 8, 4, 2, 1],
        [1, 12, 20, 4, 6, 4, 2, 1],
        [1, 17, 40, 2, 2, 4, 2, 1],
        [2, 8, 9, 5, 4, 6, 2, 2],
        [2, 16, 8, 5, 6, 3, 1, 1],
        [1, 4, 3, 4, 5, 3, 2, 1],
        [2, 4, 3, 4, 4, 2, 2, 0],
        [1, 3, 2, 3, 3, 6, 4, 1],
    ];
    for [n, ci, co, h, w, k, stride, padding] in cases {
        for pad_mode in MODES {
            let spec = Conv2dSpec { stride, padding, pad_mode, ..Default::default() };
            let inputs = [random(1, &[n, ci, h, w]), random(2, &[ci, co, k, k]), random(3, &[co])];
            let name = format!("conv_transpose2d {n} {ci}->{co} {h}x{w} {k} {spec:?}");
            let tolerance = if by_winograd(k, stride, padding) { WINOGRAD } else { ROUNDING };
            let with_bias = |t: &[_]| conv_transpose2d(&t[0], &t[1], Some(&t[2]), spec).unwrap();
            let oracle = |t: &[_]| reference::conv_transpose2d(&t[0], &t[1], Some(&t[2]), spec).unwrap();
            compare(&name, tolerance, &inputs, with_bias, oracle);
            let plain = |t: &[_]| conv_transpose2d(&t[0], &t[1], None, spec).unwrap();
            let oracle = |t: &[_]| reference::conv_transpose2d(&t[0], &t[1], None, spec).unwrap();
            compare(&name, tolerance, &inputs[..2], plain, oracle);
        }
    }
}

#[test]
fn group_norm_agrees() {
    let cases: [(&[usize], usize); 6] = [
        (&[1, 1, 7], 1),
        (&[2, 6], 2),
        (&[2, 6, 5, 3], 3),
        (&[3, 32, 8, 8], 8),
        (&[1, 12, 3, 4, 5], 4),
        (&[2, 5, 9], 5),
    ];
    for (shape, groups) in cases {
        for activation in [Activation::None, Activation::Silu] {
            let inputs = [random(1, shape), random(2, &shape[1..2]), random(3, &shape[1..2])];
            let f = |t: &[_]| group_norm(&t[0], &t[1], &t[2], groups, 1e-5, activation).unwrap();
            let oracle =
                |t: &[_]| reference::group_norm(&t[0], &t[1], &t[2], groups, 1e-5, activation).unwrap();
            compare(&format!("group_norm {shape:?} {groups} {activation:?}"), 2e-5, &inputs, f, oracle);
        }
    }
}

#[test]
fn channel_operations_agree() {
    for shape in [[1, 1, 1, 1], [2, 3, 5, 7], [3, 16, 8, 8], [1, 40, 3, 2]] {
        let x = random(1, &shape);
        let inputs = [x.clone(), random(2, &shape[..2])];
        compare(
            "add_channel",
            ROUNDING,
            &inputs,
            |t| add_channel(&t[0], &t[1]).unwrap(),
            |t| reference::add_channel(&t[0], &t[1]).unwrap(),
        );
        let inputs = [x.clone(), random(2, &[shape[0], 2, shape[2], shape[3]])];
        compare(
            "concat_channels",
            0.0,
            &inputs,
            |t| concat_channels(&t[0], &t[1]).unwrap(),
            |t| reference::concat_channels(&t[0], &t[1]).unwrap(),
        );
        compare(
            "upsample_nearest2x",
            ROUNDING,
            &[x],
            |t| upsample_nearest2x(&t[0]).unwrap(),
            |t| reference::upsample_nearest2x(&t[0]).unwrap(),
        );
    }
}

#[test]
fn linear_agrees() {
    for (shape, outputs) in
        [(vec![1, 1], 1), (vec![3, 5], 7), (vec![2, 3, 16], 33), (vec![300, 24], 8), (vec![6], 2)]
    {
        let inputs_ = shape[shape.len() - 1];
        let inputs = [random(1, &shape), random(2, &[outputs, inputs_]), random(3, &[outputs])];
        compare(
            "linear",
            ROUNDING,
            &inputs,
            |t| linear(&t[0], &t[1], Some(&t[2])).unwrap(),
            |t| reference::linear(&t[0], &t[1], Some(&t[2])).unwrap(),
        );
        compare(
            "linear without bias",
            ROUNDING,
            &inputs[..2],
            |t| linear(&t[0], &t[1], None).unwrap(),
            |t| reference::linear(&t[0], &t[1], None).unwrap(),
        );
    }
}

#[test]
fn activations_agree() {
    for shape in [vec![1], vec![1000], vec![3, 40_000]] {
        let x = (random(1, &shape) * 4.0).unwrap();
        compare(
            "silu",
            1e-6,
            std::slice::from_ref(&x),
            |t| silu(&t[0]).unwrap(),
            |t| reference::silu(&t[0]).unwrap(),
        );
        compare("gelu", 1e-6, &[x], |t| gelu(&t[0]).unwrap(), |t| reference::gelu(&t[0]).unwrap());
    }
}

#[test]
fn attentions_agree() {
    // b, heads, n, m, d, e
    for [b, h, n, m, d, e] in [
        [1, 1, 1, 1, 1, 1],
        [2, 3, 5, 5, 4, 4],
        [1, 2, 37, 37, 16, 16],
        [1, 2, 6, 9, 3, 5],
        [1, 1, 300, 300, 8, 8],
    ] {
        let inputs = [random(1, &[b, h, n, d]), random(2, &[b, h, m, d]), random(3, &[b, h, m, e])];
        for scale in [0.3, -1.5] {
            compare(
                "attention",
                1e-5,
                &inputs,
                |t| attention(&t[0], &t[1], &t[2], scale).unwrap(),
                |t| reference::attention(&t[0], &t[1], &t[2], scale).unwrap(),
            );
        }
        if n == m {
            compare(
                "linear_attention",
                1e-5,
                &inputs,
                |t| linear_attention(&t[0], &t[1], &t[2], 0.3).unwrap(),
                |t| reference::linear_attention(&t[0], &t[1], &t[2], 0.3).unwrap(),
            );
        }
    }
}

#[test]
fn attention_of_maps_agrees() {
    for (shape, heads) in
        [(vec![1, 3, 1], 1), (vec![2, 24, 7, 5], 2), (vec![2, 36, 130], 3), (vec![1, 96, 16, 16], 4)]
    {
        compare(
            "linear_attention_map",
            1e-5,
            &[random(1, &shape)],
            |t| linear_attention_map(&t[0], heads, 0.3).unwrap(),
            |t| reference::linear_attention_map(&t[0], heads, 0.3).unwrap(),
        );
    }
}

#[test]
fn losses_agree() {
    for shape in [vec![1], vec![3, 7], vec![2, 3, 100, 101]] {
        let inputs = [random(1, &shape), random(2, &shape)];
        compare(
            "huber",
            ROUNDING,
            &inputs,
            |t| huber_loss(&t[0], &t[1], 0.7).unwrap(),
            |t| reference::huber_loss(&t[0], &t[1], 0.7).unwrap(),
        );
        compare(
            "mse",
            ROUNDING,
            &inputs,
            |t| mse_loss(&t[0], &t[1]).unwrap(),
            |t| reference::mse_loss(&t[0], &t[1]).unwrap(),
        );
    }
}

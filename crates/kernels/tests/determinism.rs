//! The same bits on every run, at any number of threads, and whether or not gradients are tracked; and the same values,
//! up to rounding, with every set of vector instructions.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{Tensor, Var};
use common::{distance, output_and_gradients, random, values};
use halocast_kernels::{
    Activation, AdamCfg, AdamState, Conv2dSpec, Level, PadMode, add_channel, attention, concat_channels,
    conv_transpose2d, conv2d, gelu, group_norm, huber_loss, linear, linear_attention, linear_attention_map,
    mse_loss, silu, upsample_nearest2x, with_level,
};

type Op = Box<dyn Fn(&[Tensor]) -> Tensor + Send + Sync>;

/// A case for each path through each operation.
fn cases() -> Vec<(String, Vec<Tensor>, Op)> {
    let mut cases: Vec<(String, Vec<Tensor>, Op)> = vec![];
    let mut add = |name: &str, shapes: &[&[usize]], op: Op| {
        let inputs = shapes.iter().enumerate().map(|(i, s)| random(i as u64 + 1, s)).collect();
        cases.push((name.to_string(), inputs, op));
    };
    // n, ci, co, size, kernel, stride: Winograd with few and with many channels, a single image, other kernels.
    for [n, ci, co, s, k, stride] in [
        [3, 16, 24, 20, 3, 1],
        [1, 32, 32, 64, 3, 1],
        [5, 136, 144, 8, 3, 1],
        [3, 1, 16, 32, 3, 1],
        [3, 16, 24, 16, 1, 1],
        [3, 16, 24, 16, 4, 2],
        [1, 48, 40, 32, 4, 2],
    ] {
        for pad_mode in [PadMode::Zeros, PadMode::Circular] {
            let padding = if k == 1 { 0 } else { 1 };
            let spec = Conv2dSpec { stride, padding, pad_mode, ..Default::default() };
            let op = move |t: &[Tensor]| conv2d(&t[0], &t[1], Some(&t[2]), spec).unwrap();
            add(
                &format!("conv2d {n} {ci} {co} {s} {k} {pad_mode:?}"),
                &[&[n, ci, s, s], &[co, ci, k, k], &[co]],
                Box::new(op),
            );
            let op = move |t: &[Tensor]| conv_transpose2d(&t[0], &t[1], Some(&t[2]), spec).unwrap();
            add(
                &format!("conv_transpose2d {n} {ci} {co} {s} {k} {pad_mode:?}"),
                &[&[n, ci, s, s], &[ci, co, k, k], &[co]],
                Box::new(op),
            );
        }
    }
    let x: &[usize] = &[3, 16, 33, 21];
    let op = |t: &[Tensor]| group_norm(&t[0], &t[1], &t[2], 4, 1e-5, Activation::Silu).unwrap();
    add("group_norm", &[x, &[16], &[16]], Box::new(op));
    add("add_channel", &[x, &[3, 16]], Box::new(|t| add_channel(&t[0], &t[1]).unwrap()));
    add("concat", &[x, &[3, 2, 33, 21]], Box::new(|t| concat_channels(&t[0], &t[1]).unwrap()));
    add("upsample", &[x], Box::new(|t| upsample_nearest2x(&t[0]).unwrap()));
    add("silu", &[x], Box::new(|t| silu(&t[0]).unwrap()));
    add("gelu", &[x], Box::new(|t| gelu(&t[0]).unwrap()));
    add("huber", &[x, x], Box::new(|t| huber_loss(&t[0], &t[1], 0.5).unwrap()));
    add("mse", &[x, x], Box::new(|t| mse_loss(&t[0], &t[1]).unwrap()));
    let dense: [&[usize]; 3] = [&[700, 24], &[40, 24], &[40]];
    add("linear", &dense, Box::new(|t| linear(&t[0], &t[1], Some(&t[2])).unwrap()));
    let qkv: [&[usize]; 3] = [&[2, 3, 400, 16]; 3];
    add("attention", &qkv, Box::new(|t| attention(&t[0], &t[1], &t[2], 0.25).unwrap()));
    add("linear_attention", &qkv, Box::new(|t| linear_attention(&t[0], &t[1], &t[2], 0.25).unwrap()));
    let maps: &[usize] = &[2, 48, 400];
    add("linear_attention_map", &[maps], Box::new(|t| linear_attention_map(&t[0], 2, 0.25).unwrap()));
    cases
}

fn bits(tensors: &[Tensor]) -> Vec<Vec<u32>> {
    tensors.iter().map(|t| values(t).iter().map(|v| v.to_bits()).collect()).collect()
}

#[test]
fn same_bits_at_any_number_of_threads() {
    for (name, inputs, op) in cases() {
        let expected = bits(&output_and_gradients(&op, &inputs));
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let got = pool.install(|| bits(&output_and_gradients(&op, &inputs)));
            assert!(got == expected, "{name} differs with {threads} threads");
        }
        let untracked = bits(&[op(&inputs)]);
        assert!(untracked[0] == expected[0], "{name} differs without gradients");
    }
}

#[test]
fn gradients_do_not_depend_on_which_are_wanted() {
    for (name, inputs, op) in cases() {
        let all = output_and_gradients(&op, &inputs);
        for wanted in 0..inputs.len() {
            let one = output_and_gradients(
                |t| {
                    let mut mixed = inputs.clone();
                    mixed[wanted] = t[0].clone();
                    op(&mixed)
                },
                &inputs[wanted..=wanted],
            );
            assert!(bits(&one[1..]) == bits(&all[wanted + 1..wanted + 2]), "{name}, input {wanted}");
        }
    }
}

#[test]
fn levels_agree() {
    for (name, inputs, op) in cases() {
        let best = output_and_gradients(&op, &inputs);
        for level in [Level::Portable, Level::Avx2] {
            let other = with_level(level, || output_and_gradients(&op, &inputs));
            for (i, (a, b)) in other.iter().zip(&best).enumerate() {
                let d = distance(a, b);
                assert!(d < 2e-5, "{name}: part {i} differs by {d:e} at {level:?}");
            }
        }
    }
}

#[test]
fn adam_is_bit_equal_when_resumed() {
    let run = |threads: usize, split: bool| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut var = Var::from_tensor(&random(1, &[100_003])).unwrap();
            let mut state = AdamState::with_ema(&var).unwrap();
            for step in 1..=4 {
                if split && step == 3 {
                    var = Var::from_tensor(&var.copy().unwrap()).unwrap();
                    state = state.clone();
                }
                let cfg = AdamCfg { step, weight_decay: 0.01, ..Default::default() };
                state.step(&var, &random(step + 10, &[100_003]), &cfg).unwrap();
            }
            (bits(&[var.as_tensor().clone()]), state)
        })
    };
    let expected = run(2, false);
    assert!(run(1, false) == expected && run(3, true) == expected);
}

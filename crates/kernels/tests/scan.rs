//! The sequence operations: against their definition in double precision, finite differences, limits, threads.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{DType, Device, Tensor, Var};
use common::{compare, output_and_gradients, random, values};
use halocast_kernels::{
    Activation, Error, Level, ScanOptions, causal_conv1d, reference, selective_scan, with_level,
};

/// `u, delta, a, b, c, skip, gate, bias` with steps that are positive and rates that decay.
fn inputs(n: usize, d: usize, l: usize, states: usize, groups: usize) -> Vec<Tensor> {
    let bc: Vec<usize> = if groups == 0 { vec![n, states, l] } else { vec![n, groups, states, l] };
    vec![
        random(1, &[n, d, l]),
        (random(2, &[n, d, l]).abs().unwrap() * 0.5).unwrap(),
        random(3, &[d, states]).abs().unwrap().neg().unwrap(),
        random(4, &bc),
        random(5, &bc),
        random(6, &[d]),
        random(7, &[n, d, l]),
        random(8, &[d]),
    ]
}

type Scan = fn(&Tensor, &Tensor, &Tensor, &Tensor, &Tensor, &ScanOptions) -> halocast_kernels::Result<Tensor>;

fn full(scan: Scan, t: &[Tensor]) -> Tensor {
    let options =
        ScanOptions { skip: Some(&t[5]), gate: Some(&t[6]), delta_bias: Some(&t[7]), delta_softplus: true };
    scan(&t[0], &t[1], &t[2], &t[3], &t[4], &options).unwrap()
}

fn plain(scan: Scan, t: &[Tensor]) -> Tensor {
    scan(&t[0], &t[1], &t[2], &t[3], &t[4], &ScanOptions::default()).unwrap()
}

#[test]
fn scan_and_gradients_are_the_sequential_ones() {
    // Lengths around the chunk of 16, channels around the block of 16 and the task of 64, one and many states.
    for (n, d, l, states, groups) in [
        (1, 1, 1, 1, 0),
        (2, 3, 15, 5, 0),
        (1, 17, 16, 16, 0),
        (2, 33, 17, 3, 0),
        (3, 70, 50, 16, 1),
        (1, 130, 20, 4, 0),
        (2, 42, 33, 8, 3),
    ] {
        let all = inputs(n, d, l, states, groups);
        for level in [Level::Portable, Level::Avx2, Level::detect()] {
            with_level(level, || {
                let name = format!("scan {n} {d} {l} {states} {groups} {level:?}");
                compare(
                    &name,
                    2e-5,
                    &all,
                    |t| full(selective_scan, t),
                    |t| full(reference::selective_scan, t),
                );
                let five = &all[..5];
                compare(
                    &name,
                    2e-5,
                    five,
                    |t| plain(selective_scan, t),
                    |t| plain(reference::selective_scan, t),
                );
            });
        }
    }
}

#[test]
fn scan_options_one_by_one() {
    let all = inputs(2, 5, 20, 4, 0);
    for which in 5..8 {
        let run = |scan: Scan, t: &[Tensor]| {
            let mut options = ScanOptions::default();
            match which {
                5 => options.skip = Some(&t[5]),
                6 => options.gate = Some(&t[5]),
                _ => options.delta_bias = Some(&t[5]),
            }
            scan(&t[0], &t[1], &t[2], &t[3], &t[4], &options).unwrap()
        };
        let mut given = all[..5].to_vec();
        given.push(if which == 7 { all[7].abs().unwrap() } else { all[which].clone() });
        compare("option", 2e-5, &given, |t| run(selective_scan, t), |t| run(reference::selective_scan, t));
    }
}

#[test]
fn scan_gradients_are_finite_differences() {
    let all: Vec<Tensor> = inputs(2, 3, 19, 4, 0).iter().map(|t| t.to_dtype(DType::F64).unwrap()).collect();
    let outputs = output_and_gradients(|t| full(reference::selective_scan, t), &all);
    // The fast gradient against central differences of the definition in double precision.
    let singles: Vec<Tensor> = all.iter().map(|t| t.to_dtype(DType::F32).unwrap()).collect();
    let fast = output_and_gradients(|t| full(selective_scan, t), &singles);
    let weights = random(99, outputs[0].dims()).to_dtype(DType::F64).unwrap();
    let loss = |t: &[Tensor]| -> f64 {
        (full(reference::selective_scan, t) * &weights).unwrap().sum_all().unwrap().to_scalar().unwrap()
    };
    for i in 0..all.len() {
        let direction = random(50 + i as u64, all[i].dims()).to_dtype(DType::F64).unwrap();
        let moved = |step: f64| {
            let mut t = all.clone();
            t[i] = (&all[i] + (&direction * step).unwrap()).unwrap();
            loss(&t)
        };
        let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
        let exact: f64 = values(&fast[i + 1])
            .iter()
            .zip(values(&direction))
            .map(|(g, d)| f64::from(*g) * f64::from(d))
            .sum();
        assert!(
            (difference - exact).abs() < 1e-4 * difference.abs().max(1.0),
            "input {i}: {difference} {exact}"
        );
    }
}

#[test]
fn a_scan_of_two_halves_is_a_scan_when_the_first_decays_away() {
    // With a decay of e^-100 a position nothing of the past remains.
    let all = inputs(1, 20, 40, 3, 0);
    let (u, delta, b, c) = (&all[0], all[1].ones_like().unwrap(), &all[3], &all[4]);
    let a = (all[2].ones_like().unwrap() * -100.0).unwrap();
    let y = selective_scan(u, &delta, &a, b, c, &ScanOptions::default()).unwrap();
    let local = (u * (b * c).unwrap().sum_keepdim(1).unwrap().broadcast_as(u.shape()).unwrap()).unwrap();
    assert!(common::distance(&y, &local) < 1e-6);
}

#[test]
fn empty_scans_and_wrong_shapes() {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let scan = |u: &[usize], a: &[usize], b: &[usize]| {
        let (u, b) = (zeros(u), zeros(b));
        selective_scan(&u, &u, &zeros(a), &b, &b, &ScanOptions::default())
    };
    assert_eq!(scan(&[2, 3, 0], &[3, 4], &[2, 4, 0]).unwrap().dims(), [2, 3, 0]);
    assert_eq!(scan(&[0, 3, 5], &[3, 4], &[0, 4, 5]).unwrap().dims(), [0, 3, 5]);
    assert!(matches!(scan(&[2, 3, 5], &[2, 4], &[2, 4, 5]), Err(Error::Shape { tensor: "a", .. })));
    assert!(matches!(scan(&[2, 3, 5], &[3, 4], &[2, 4, 6]), Err(Error::Shape { tensor: "b", .. })));
    // Two groups do not divide three channels.
    assert!(matches!(scan(&[2, 3, 5], &[3, 4], &[2, 2, 4, 5]), Err(Error::Shape { tensor: "b", .. })));
}

#[test]
fn causal_convolution_and_gradients_are_the_plain_ones() {
    for (n, d, l, k) in [(1, 1, 1, 1), (2, 5, 3, 4), (2, 7, 40, 4), (1, 3, 16, 2), (3, 4, 65, 7)] {
        for activation in [Activation::None, Activation::Silu] {
            let given = [random(1, &[n, d, l]), random(2, &[d, 1, k]), random(3, &[d])];
            compare(
                "causal_conv1d",
                2e-6 * k as f32,
                &given,
                |t| causal_conv1d(&t[0], &t[1], Some(&t[2]), activation).unwrap(),
                |t| reference::causal_conv1d(&t[0], &t[1], Some(&t[2]), activation).unwrap(),
            );
            compare(
                "causal_conv1d without bias",
                2e-6 * k as f32,
                &given[..2],
                |t| causal_conv1d(&t[0], &t[1], None, activation).unwrap(),
                |t| reference::causal_conv1d(&t[0], &t[1], None, activation).unwrap(),
            );
        }
    }
}

#[test]
fn the_future_does_not_reach_back() {
    let x = random(1, &[1, 6, 30]);
    let (w, b) = (random(2, &[6, 4]), random(3, &[6]));
    let cut = Tensor::cat(&[x.narrow(2, 0, 20).unwrap(), random(9, &[1, 6, 10])], 2).unwrap();
    let [y, z] = [&x, &cut].map(|x| causal_conv1d(x, &w, Some(&b), Activation::Silu).unwrap());
    let first = |t: &Tensor| values(&t.narrow(2, 0, 20).unwrap().contiguous().unwrap());
    assert_eq!(first(&y), first(&z));
    assert_ne!(values(&y), values(&z));
}

#[test]
fn sequence_operations_do_not_depend_on_the_threads() {
    let all = inputs(3, 70, 50, 16, 0);
    let conv = [random(1, &[3, 70, 50]), random(2, &[70, 4]), random(3, &[70])];
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut outputs = output_and_gradients(|t| full(selective_scan, t), &all);
            outputs.extend(output_and_gradients(
                |t| causal_conv1d(&t[0], &t[1], Some(&t[2]), Activation::Silu).unwrap(),
                &conv,
            ));
            outputs.iter().map(values).collect::<Vec<_>>()
        })
    };
    let one = run(1);
    assert!([2, 3, 7].iter().all(|&threads| run(threads) == one));
}

#[test]
fn a_recorded_scan_has_the_same_gradients() {
    let all = inputs(2, 20, 20, 4, 0);
    let vars: Vec<Var> = all.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let by_candle = full(selective_scan, &tensors).sum_all().unwrap().backward().unwrap();
    let (loss, tape) = halocast_kernels::record(|| full(selective_scan, &tensors).sum_all()).unwrap();
    let by_tape = tape.backward(&loss).unwrap();
    for var in &vars {
        assert_eq!(values(by_candle.get(var).unwrap()), values(by_tape.get(var).unwrap()));
    }
}

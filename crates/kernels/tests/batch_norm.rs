//! Batch normalisation against its definition, on one rank and on several.

#![allow(clippy::unwrap_used)] // a helper of a test fails as the test does

mod common;

use std::sync::{Arc, Barrier, Mutex};

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use common::{compare, random};
use halocast_kernels::{Activation, batch_norm, nn, reference, sum_over_ranks};

#[test]
fn it_is_its_definition() {
    let shapes: [&[usize]; 5] = [&[5, 2], &[1, 3, 7], &[4, 5, 6, 3], &[3, 32, 8, 8], &[2, 4, 3, 4, 5]];
    for shape in shapes {
        for activation in [Activation::None, Activation::Silu, Activation::LeakyRelu(0.2)] {
            let inputs = [random(1, shape), random(2, &shape[1..2]), random(3, &shape[1..2])];
            let f = |t: &[_]| batch_norm(&t[0], &t[1], &t[2], 1e-5, activation).unwrap().0;
            let oracle = |t: &[_]| reference::batch_norm(&t[0], &t[1], &t[2], 1e-5, activation).unwrap().0;
            compare(&format!("batch_norm {shape:?} {activation:?}"), 3e-5, &inputs, f, oracle);
        }
    }
}

#[test]
fn a_far_offset_does_not_cancel() {
    let x = (random(1, &[4, 3, 8, 8]) + 1e4).unwrap();
    let one = Tensor::ones(3, DType::F32, &Device::Cpu).unwrap();
    let (_, moments) = batch_norm(&x, &one, &one, 1e-5, Activation::None).unwrap();
    let exact = x.to_dtype(DType::F64).unwrap();
    let one = one.to_dtype(DType::F64).unwrap();
    let (_, _, variance) = reference::batch_norm(&exact, &one, &one, 1e-5, Activation::None).unwrap();
    for (a, b) in moments.variance.iter().zip(variance.to_vec1::<f64>().unwrap()) {
        assert!((f64::from(*a) / b - 1.0).abs() < 1e-5, "{a} {b}");
    }
}

/// Output and gradients of the rows of `x` that each of `ranks` threads holds.
fn on_ranks(ranks: usize, x: &Tensor, weight: &Tensor, dy: &Tensor) -> (Tensor, Tensor, Tensor) {
    let n = x.dims()[0];
    let shared = Arc::new((Mutex::new((vec![], 0usize)), Barrier::new(ranks)));
    let part = |rank: usize| {
        let shared = shared.clone();
        let (x, dy) = (x.clone(), dy.clone());
        let weight = weight.clone();
        move || {
            let rows = (rank * n / ranks)..((rank + 1) * n / ranks);
            let x = Var::from_tensor(&x.narrow(0, rows.start, rows.len()).unwrap().contiguous().unwrap())
                .unwrap();
            let dy = dy.narrow(0, rows.start, rows.len()).unwrap();
            let weight = Var::from_tensor(&weight).unwrap();
            let sum = |values: &mut [f32]| {
                let (state, barrier) = &*shared;
                {
                    let mut state = state.lock().unwrap();
                    state.0.resize(values.len(), 0.0f64);
                    state.0.iter_mut().zip(&*values).for_each(|(s, v)| *s += f64::from(*v));
                }
                barrier.wait();
                values.iter_mut().zip(&state.lock().unwrap().0).for_each(|(v, s)| *v = *s as f32);
                barrier.wait();
                state.lock().unwrap().0.clear();
                barrier.wait();
                Ok(())
            };
            sum_over_ranks(&sum, || {
                let bias = weight.zeros_like().unwrap();
                let (y, moments) = batch_norm(&x, &weight, &bias, 1e-5, Activation::Silu).unwrap();
                assert_eq!(moments.count, n * 12);
                let store = (&y * dy).unwrap().sum_all().unwrap().backward().unwrap();
                (y.detach(), store.get(&x).unwrap().clone(), store.get(&weight).unwrap().clone())
            })
        }
    };
    let threads: Vec<_> = (0..ranks).map(|rank| std::thread::spawn(part(rank))).collect();
    let parts: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let cat = |of: &dyn Fn(&(Tensor, Tensor, Tensor)) -> Tensor| {
        Tensor::cat(&parts.iter().map(of).collect::<Vec<_>>(), 0).unwrap()
    };
    let dweight = parts.iter().map(|p| p.2.clone()).reduce(|a, b| (a + b).unwrap()).unwrap();
    (cat(&|p| p.0.clone()), cat(&|p| p.1.clone()), dweight)
}

#[test]
fn ranks_share_one_batch() {
    let (x, dy) = (random(1, &[6, 5, 3, 4]), random(2, &[6, 5, 3, 4]));
    let weight = random(3, &[5]);
    let whole = on_ranks(1, &x, &weight, &dy);
    for ranks in [2, 3] {
        let parts = on_ranks(ranks, &x, &weight, &dy);
        for (what, a, b) in
            [("y", &whole.0, &parts.0), ("dx", &whole.1, &parts.1), ("dweight", &whole.2, &parts.2)]
        {
            let norm = |t: &Tensor| t.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
            let error = norm(&(a - b).unwrap()) / norm(a);
            assert!(error < 1e-6, "{what} on {ranks} ranks: {error:e}");
        }
    }
}

#[test]
fn running_averages_follow_and_are_used() {
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let layer = nn::BatchNorm::new(3, 1e-5, 0.1, vb).unwrap().with_activation(Activation::Relu);
    let x = random(1, &[8, 3, 5]).affine(2.0, 1.0).unwrap();
    for _ in 0..300 {
        layer.forward(&x, true).unwrap();
    }
    // Averages of one batch over and over are its own moments, but for N / (N - 1) of the variance.
    let (a, b) = (layer.forward(&x, true).unwrap(), layer.forward(&x, false).unwrap());
    let difference: f32 = (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap();
    assert!(difference > 0.0 && difference < 4.0 * (1.0 - (39.0f32 / 40.0).sqrt()), "{difference}");
    assert!(nn::BatchNorm::is_buffer("a.b.running_mean") && nn::BatchNorm::is_buffer("num_batches_tracked"));
    assert!(!nn::BatchNorm::is_buffer("a.b.weight") && !nn::BatchNorm::is_buffer("mean_of_running_means"));
}

#[test]
fn wrong_shapes_are_named() {
    let one = Tensor::ones(3, DType::F32, &Device::Cpu).unwrap();
    let message = |x: Tensor| batch_norm(&x, &one, &one, 1e-5, Activation::None).unwrap_err().to_string();
    assert!(message(random(1, &[2, 4, 3])).contains("[4]"));
    assert!(message(random(1, &[3])).contains("[n, c, ..]"));
}

//! Operations on a CUDA or Metal device beside the same on the CPU: outputs, gradients, indices. Where there is no device,
//! or the build has no feature for it, it says so and passes.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use candle_core::{Device, Tensor};
use common::{distance, output_and_gradients, random};
use halocast_core::Rng;
use halocast_kernels::{
    Activation, AdamCfg, AdamState, AttentionSpec, Boundary, ChamferCfg, DeviceAdam, FourierNorm, Result,
    SampleCfg, ScanOptions, attention, attention_masked, ball_query, causal_conv1d, chamfer_loss,
    farthest_points, fft, gather_points, group_norm, index_select, interpolate_points, irfft, knn,
    layer_norm, linear_attention_map, modulated_norm, random_normal, random_uniform, rfft, rms_norm,
    scatter_add, selective_scan, softmax,
};

fn device() -> Option<Device> {
    let device = Device::new_cuda(0).or_else(|_| Device::new_metal(0)).ok();
    if device.is_none() {
        println!("no CUDA or Metal device: its kernels are not tested on one");
    }
    device
}

fn check(name: &str, tolerance: f32, inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let Some(device) = device() else { return };
    let there: Vec<Tensor> = inputs.iter().map(|x| x.to_device(&device).unwrap()).collect();
    let expected = output_and_gradients(|x| f(x).unwrap(), inputs);
    let found = on_device(&f, &there);
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let off = distance(&found.to_device(&Device::Cpu).unwrap(), expected);
        assert!(off <= tolerance, "{name}: part {i} (0 the output, then gradients) is off by {off:e}");
    }
}

/// As `output_and_gradients`, whose weights live on the CPU.
fn on_device(f: &impl Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor]) -> Vec<Tensor> {
    let vars: Vec<_> = inputs.iter().map(|x| candle_core::Var::from_tensor(x).unwrap()).collect();
    let tensors: Vec<Tensor> = vars.iter().map(|x| x.as_tensor().clone()).collect();
    let y = f(&tensors).unwrap();
    let weights = random(99, y.dims()).to_device(y.device()).unwrap();
    let grads = (&y * weights).unwrap().sum_all().unwrap().backward().unwrap();
    let grads = vars.iter().map(|x| grads.get(x).unwrap().clone());
    std::iter::once(y.detach()).chain(grads).collect()
}

#[test]
fn norms_and_softmax() {
    let x = [random(1, &[2, 8, 16, 16]), random(2, &[8]), random(3, &[8])];
    check("group_norm", 1e-5, &x, |x| group_norm(&x[0], &x[1], &x[2], 4, 1e-5, Activation::Silu));
    let x = [random(1, &[3, 50, 96]), random(2, &[96]), random(3, &[96])];
    check("layer_norm", 1e-5, &x, |x| layer_norm(&x[0], &x[1], &x[2], 1e-5, Activation::Gelu));
    check("rms_norm", 1e-5, &x[..2], |x| rms_norm(&x[0], &x[1], 1e-5, Activation::None));
    let x = [random(1, &[3, 50, 96]), random(2, &[3, 96]), random(3, &[3, 96])];
    check("modulated_norm", 1e-5, &x, |x| modulated_norm(&x[0], &x[1], &x[2], 1e-5));
    check("softmax", 1e-5, &x[..1], |x| softmax(&x[0]));
}

#[test]
fn attention_of_both_kinds() {
    let x = [random(1, &[2, 3, 100, 32]), random(2, &[2, 3, 70, 32]), random(3, &[2, 3, 70, 16])];
    check("attention", 1e-5, &x, |x| attention(&x[0], &x[1], &x[2], 0.2));
    check("attention_masked", 1e-5, &x, |x| {
        let mask: Vec<u8> = (0..140).map(|i| u8::from(i % 5 != 0)).collect();
        let mask = Tensor::from_vec(mask, (2, 70), x[0].device())?;
        attention_masked(&x[0], &x[1], &x[2], Some(&mask), AttentionSpec { scale: 0.2, causal: true })
    });
    check("linear_attention_map", 1e-5, &[random(4, &[2, 48, 9, 8])], |x| {
        linear_attention_map(&x[0], 2, 0.3)
    });
}

#[test]
fn sequences() {
    let x = [
        random(1, &[2, 24, 50]),
        random(2, &[2, 24, 50]),
        (random(3, &[24, 16]).abs().unwrap() * -1.0).unwrap(),
        random(4, &[2, 16, 50]),
        random(5, &[2, 16, 50]),
        random(6, &[24]),
        random(7, &[2, 24, 50]),
        random(8, &[24]),
    ];
    check("selective_scan", 1e-5, &x, |x| {
        let options = ScanOptions {
            skip: Some(&x[5]),
            gate: Some(&x[6]),
            delta_bias: Some(&x[7]),
            delta_softplus: true,
        };
        selective_scan(&x[0], &x[1], &x[2], &x[3], &x[4], &options)
    });
    let x = [random(1, &[2, 24, 50]), random(2, &[24, 4]), random(3, &[24])];
    check("causal_conv1d", 1e-5, &x, |x| causal_conv1d(&x[0], &x[1], Some(&x[2]), Activation::Silu));
}

#[test]
fn transforms() {
    check("rfft", 1e-5, &[random(1, &[3, 64, 32])], |x| rfft(&x[0], 2, FourierNorm::Ortho));
    check("irfft", 1e-5, &[random(1, &[3, 64, 17, 2])], |x| irfft(&x[0], 32, 2, FourierNorm::Ortho));
    check("fft", 1e-5, &[random(1, &[4, 256, 2])], |x| fft(&x[0], 1, FourierNorm::Ortho));
}

#[test]
fn rows() {
    let x = [random(1, &[2, 9, 33]), random(2, &[2, 5, 33])];
    let indices = |x: &Tensor| Tensor::new(&[8u32, 0, 3, 3, 8], x.device());
    check("index_select", 1e-6, &x[..1], |x| index_select(&x[0], &indices(&x[0])?, 1));
    check("scatter_add", 1e-6, &x, |x| scatter_add(&x[0], &indices(&x[0])?, &x[1], 1));
    check("gather_points", 1e-6, &x[..1], |x| {
        gather_points(&x[0], &Tensor::new(&[[8u32, 0, 0], [1, 2, 1]], x[0].device())?)
    });
}

#[test]
fn points() {
    let Some(device) = device() else { return };
    let (p, q) = (random(1, &[2, 500, 3]), random(2, &[2, 300, 3]));
    let there = [p.to_device(&device).unwrap(), q.to_device(&device).unwrap()];
    let words = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<u32>().unwrap();
    for boundary in [Boundary::Open, Boundary::cube(1.0)] {
        let (a, b) = (knn(&p, &q, 8, &boundary).unwrap(), knn(&there[0], &there[1], 8, &boundary).unwrap());
        assert!(words(&a.indices) == words(&b.indices), "knn {boundary:?}");
        let (a, b) = (
            ball_query(&p, &q, 0.3, 10, &boundary).unwrap(),
            ball_query(&there[0], &there[1], 0.3, 10, &boundary).unwrap(),
        );
        assert!(words(&a.indices) == words(&b.indices), "ball_query {boundary:?}");
        let cfg = SampleCfg { boundary, ..Default::default() };
        let (a, b) = (farthest_points(&p, 60, &cfg).unwrap(), farthest_points(&there[0], 60, &cfg).unwrap());
        assert!(words(&a) == words(&b), "farthest_points {boundary:?}");
    }
    check("chamfer", 1e-5, &[p.clone(), q.clone()], |x| chamfer_loss(&x[0], &x[1], &ChamferCfg::default()));
    check("interpolate", 1e-5, &[random(3, &[2, 500, 7])], |x| {
        let (p, q) = (p.to_device(x[0].device())?, q.to_device(x[0].device())?);
        interpolate_points(&x[0], &p, &q, 3, &Boundary::Open)
    });
}

#[test]
fn random_numbers_and_adam() {
    let Some(device) = device() else { return };
    let numbers = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    type Draw = fn(usize, &mut Rng, &Device) -> Result<Tensor>;
    let draws: [Draw; 2] = [|n, rng, at| random_uniform(n, rng, at), |n, rng, at| random_normal(n, rng, at)];
    for draw in draws {
        let there = draw(10_001, &mut Rng::new(3), &device).unwrap();
        let here = draw(10_001, &mut Rng::new(3), &Device::Cpu).unwrap();
        let off = numbers(&there).iter().zip(numbers(&here)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off <= 1e-6, "random numbers are off by {off:e}");
    }
    let var = candle_core::Var::from_tensor(&random(1, &[1000]).to_device(&device).unwrap()).unwrap();
    let mirror = candle_core::Var::from_tensor(&random(1, &[1000])).unwrap();
    let mut state = AdamState::with_ema(&mirror).unwrap();
    let mut adam = DeviceAdam::new(&var, &state).unwrap();
    for step in 1..=3 {
        let (gradient, cfg) = (random(step, &[1000]), AdamCfg { step, ..Default::default() });
        adam.step(&var, &gradient.to_device(&device).unwrap(), &cfg).unwrap();
        state.step(&mirror, &gradient, &cfg).unwrap();
    }
    let off = distance(&var.as_tensor().to_device(&Device::Cpu).unwrap(), mirror.as_tensor());
    assert!(off <= 1e-5, "adam is off by {off:e}");
}

//! What the tests share: seeded numbers, gradients, comparisons.
#![allow(dead_code, unreachable_pub)]

use candle_core::{Device, Tensor, Var};

/// Normal-ish numbers of a counter: the same on every run.
pub fn random(seed: u64, shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
    let mut uniform = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
    };
    let data: Vec<f32> = (0..n).map(|_| (0..4).map(|_| uniform() - 0.5).sum::<f32>() * 1.7).collect();
    Tensor::from_vec(data, shape, &Device::Cpu).unwrap()
}

pub fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_dtype(candle_core::DType::F32).unwrap().to_vec1().unwrap()
}

/// The largest difference relative to the largest magnitude of `b`.
pub fn distance(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let (a, b) = (values(a), values(b));
    let scale = b.iter().fold(0f32, |m, v| m.max(v.abs())).max(1e-20);
    let worst = a
        .iter()
        .zip(&b)
        .map(|(a, b)| (a - b).abs())
        .fold(0f32, |m, d| if d > m || d.is_nan() { d } else { m });
    worst / scale
}

/// The output of `f` and the gradients of `<f(inputs), weights>` with seeded weights.
pub fn output_and_gradients(f: impl Fn(&[Tensor]) -> Tensor, inputs: &[Tensor]) -> Vec<Tensor> {
    let vars: Vec<Var> = inputs.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let y = f(&tensors);
    let weights = random(99, y.dims()).to_dtype(y.dtype()).unwrap();
    let grads = (&y * weights).unwrap().sum_all().unwrap().backward().unwrap();
    let mut all = vec![y.detach()];
    all.extend(vars.iter().map(|v| grads.get(v).unwrap().clone()));
    all
}

/// Compares output and gradients of `f` in single precision with those of `oracle` in double precision.
pub fn compare(
    name: &str,
    tolerance: f32,
    inputs: &[Tensor],
    f: impl Fn(&[Tensor]) -> Tensor,
    oracle: impl Fn(&[Tensor]) -> Tensor,
) {
    let doubles: Vec<Tensor> =
        inputs.iter().map(|t| halocast_kernels::reference::to_f64(t).unwrap()).collect();
    let got = output_and_gradients(f, inputs);
    let expected = output_and_gradients(oracle, &doubles);
    for (i, (a, b)) in got.iter().zip(&expected).enumerate() {
        let d = distance(a, b);
        assert!(
            d <= tolerance,
            "{name}: part {i} (0 the output, then gradients) is off by {d:e} > {tolerance:e}"
        );
    }
}

//! Attention in all its forms: against its definition in double precision, its limits, masks, and reproducibility.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{DType, Device, Tensor};
use common::{compare, distance, output_and_gradients, random, values};
use halocast_kernels::{
    AttentionSpec, Level, attention, attention_map, attention_masked, linear_attention, linear_attention_map,
    no_grad, reference, with_level,
};

/// Sums of some hundred products in single precision, relative to the largest value.
const ROUNDING: f32 = 5e-6;

/// Blocks that are full, ragged, and single; few heads (work is split within a head) and many; long sequences.
/// b, heads, n, m, d, e
const SHAPES: [[usize; 6]; 9] = [
    [1, 1, 1, 1, 1, 1],
    [1, 2, 5, 7, 3, 2],
    [2, 3, 64, 64, 32, 32],
    [1, 1, 200, 130, 16, 20],
    [3, 8, 65, 63, 8, 48],
    [1, 4, 256, 256, 32, 32],
    [2, 1, 3, 2100, 5, 17],
    [1, 2, 300, 1, 4, 4],
    [5, 14, 70, 9, 2, 3],
];

fn inputs([b, h, n, m, d, e]: [usize; 6]) -> [Tensor; 3] {
    [random(1, &[b, h, n, d]), random(2, &[b, h, m, d]), random(3, &[b, h, m, e])]
}

#[test]
fn softmax_attention_agrees() {
    for shape in SHAPES {
        for scale in [0.3, -1.0] {
            let f = |t: &[Tensor]| attention(&t[0], &t[1], &t[2], scale).unwrap();
            let oracle = |t: &[Tensor]| reference::attention(&t[0], &t[1], &t[2], scale).unwrap();
            compare(&format!("attention {shape:?}"), ROUNDING, &inputs(shape), f, oracle);
        }
    }
}

#[test]
fn linear_attention_agrees() {
    for [b, h, n, _, d, e] in SHAPES {
        let shape = [b, h, n, n, d, e];
        let f = |t: &[Tensor]| linear_attention(&t[0], &t[1], &t[2], 0.3).unwrap();
        let oracle = |t: &[Tensor]| reference::linear_attention(&t[0], &t[1], &t[2], 0.3).unwrap();
        compare(&format!("linear attention {shape:?}"), ROUNDING, &inputs(shape), f, oracle);
    }
}

#[test]
fn attention_of_maps_agrees() {
    // b, heads, d, height, width
    for [b, heads, d, height, width] in
        [[1, 1, 1, 1, 1], [2, 4, 32, 8, 8], [1, 2, 5, 9, 7], [1, 4, 32, 16, 20], [3, 7, 16, 4, 4]]
    {
        let qkv = [random(4, &[b, 3 * heads * d, height, width])];
        let name = format!("map {b} {heads} {d} {height} {width}");
        let f = |t: &[Tensor]| attention_map(&t[0], heads, 0.4).unwrap();
        compare(&name, ROUNDING, &qkv, f, |t| reference::attention_map(&t[0], heads, 0.4).unwrap());
        let f = |t: &[Tensor]| linear_attention_map(&t[0], heads, 0.4).unwrap();
        compare(&name, ROUNDING, &qkv, f, |t| reference::linear_attention_map(&t[0], heads, 0.4).unwrap());
    }
}

/// Every third key does not count, and no key of the last example does.
fn mask(b: usize, m: usize) -> Tensor {
    let keep = |i: usize| u8::from((i % m) % 3 != 1 && (b == 1 || i / m + 1 < b));
    Tensor::from_vec((0..b * m).map(keep).collect::<Vec<u8>>(), (b, m), &Device::Cpu).unwrap()
}

#[test]
fn masked_attention_agrees() {
    for shape @ [b, _, _, m, ..] in SHAPES {
        for causal in [false, true] {
            for mask in [None, Some(mask(b, m))] {
                let spec = AttentionSpec { scale: 0.3, causal };
                let f = |t: &[Tensor]| attention_masked(&t[0], &t[1], &t[2], mask.as_ref(), spec).unwrap();
                let wide = mask.as_ref().map(|m| m.to_dtype(DType::F64).unwrap());
                let oracle = |t: &[Tensor]| {
                    reference::attention_masked(&t[0], &t[1], &t[2], wide.as_ref(), spec).unwrap()
                };
                let name = format!("masked {shape:?} {causal} {}", mask.is_some());
                // Where two or three keys are left the gradients of queries are differences of near numbers.
                compare(&name, 4.0 * ROUNDING, &inputs(shape), f, oracle);
            }
        }
    }
}

#[test]
fn masked_keys_change_nothing() {
    let [b, h, n, m, d, e] = [2, 3, 70, 90, 8, 8];
    let spec = AttentionSpec { scale: 0.5, causal: false };
    let [q, k, v] = inputs([b, h, n, m, d, e]);
    // The first 37 keys alone, and the same padded with large numbers and numbers that are none.
    let short = |t: &Tensor| t.narrow(2, 0, 37).unwrap().contiguous().unwrap();
    let expected = attention(&q, &short(&k), &short(&v), 0.5).unwrap();
    let junk = Tensor::full(1e6f32, (b, h, m - 37, d), &Device::Cpu).unwrap();
    let padded = |t: &Tensor| Tensor::cat(&[&short(t), &junk], 2).unwrap();
    let keep: Vec<f32> = (0..b * m).map(|i| if i % m < 37 { 1.0 } else { 0.0 }).collect();
    let mask = Tensor::from_vec(keep, (b, m), &Device::Cpu).unwrap();
    let f = |t: &[Tensor]| attention_masked(&t[0], &t[1], &t[2], Some(&mask), spec).unwrap();
    let got = output_and_gradients(f, &[q.clone(), padded(&k), padded(&v)]);
    assert!(distance(&got[0], &expected) < 1e-6);
    for gradient in &got[2..] {
        assert!(values(&gradient.narrow(2, 37, m - 37).unwrap()).iter().all(|&g| g == 0.0));
    }
    // No key at all: zeros, and no gradient.
    let none = mask.zeros_like().unwrap();
    let f = |t: &[Tensor]| attention_masked(&t[0], &t[1], &t[2], Some(&none), spec).unwrap();
    for part in output_and_gradients(f, &[q, k, v]) {
        assert!(values(&part).iter().all(|&v| v == 0.0));
    }
}

#[test]
fn causal_attention_does_not_look_ahead() {
    let [q, k, v] = inputs([1, 2, 150, 150, 4, 4]);
    let spec = AttentionSpec { scale: 1.0, causal: true };
    let all = attention_masked(&q, &k, &v, None, spec).unwrap();
    for n in [1, 64, 65, 149] {
        let part = |t: &Tensor| t.narrow(2, 0, n).unwrap();
        let early = attention_masked(&part(&q), &part(&k), &part(&v), None, spec).unwrap();
        assert!(distance(&early, &part(&all)) < 1e-6);
    }
}

#[test]
fn weights_sum_to_one() {
    let [q, k, _] = inputs([2, 2, 100, 333, 8, 1]);
    let ones = Tensor::ones((2, 2, 333, 3), DType::F32, &Device::Cpu).unwrap();
    let o = attention(&q, &k, &ones, 2.0).unwrap();
    assert!(values(&o).iter().all(|v| (v - 1.0).abs() < 2e-6));
    let o = linear_attention(&k, &k, &ones, 1.0).unwrap();
    assert!(values(&o).iter().all(|v| (v - 1.0).abs() < 2e-6));
}

#[test]
fn large_scores_stay_finite() {
    let [q, k, v] = inputs([1, 2, 80, 80, 8, 8]);
    for scale in [1e4, -1e4] {
        let parts = output_and_gradients(
            |t| attention(&t[0], &t[1], &t[2], scale).unwrap(),
            &[q.clone(), k.clone(), v.clone()],
        );
        assert!(parts.iter().all(|p| values(p).iter().all(|v| v.is_finite())));
    }
    let big = |t: &Tensor| (t * 1e4).unwrap();
    let inputs = [big(&q), big(&k), v];
    let parts = output_and_gradients(|t| linear_attention(&t[0], &t[1], &t[2], 1.0).unwrap(), &inputs);
    assert!(parts.iter().all(|p| values(p).iter().all(|v| v.is_finite())));
}

#[test]
fn numbers_that_are_none_are_not_hidden() {
    let [q, k, v] = inputs([1, 1, 70, 70, 4, 4]);
    let bad = (&k * f64::NAN).unwrap();
    assert!(values(&attention(&q, &bad, &v, 1.0).unwrap()).iter().all(|v| v.is_nan()));
}

#[test]
fn long_sequences_need_little_memory() {
    // The scores alone would be 65,536 x 65,536 numbers were they kept; few queries keep the test short.
    let [q, k, v] = inputs([1, 1, 4, 65_536, 8, 8]);
    let o = attention(&q, &k, &v, 0.0).unwrap();
    let mean = v.mean_keepdim(2).unwrap();
    assert!(
        (o.broadcast_sub(&mean).unwrap()).abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap()
            < 1e-6
    );
    let o = linear_attention(&k, &(&k * 0.0).unwrap(), &v, 1.0).unwrap();
    assert!(
        (o.broadcast_sub(&mean).unwrap()).abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap()
            < 1e-6
    );
}

#[test]
fn same_bits_at_any_number_of_threads_and_near_at_any_level() {
    type Op = fn(&[Tensor]) -> Tensor;
    let cases: [(&str, Vec<Tensor>, Op); 5] = [
        ("attention", inputs([1, 2, 400, 300, 12, 8]).into(), |t| {
            attention(&t[0], &t[1], &t[2], 0.3).unwrap()
        }),
        ("causal", inputs([1, 1, 300, 2500, 12, 8]).into(), |t| {
            attention_masked(&t[0], &t[1], &t[2], None, AttentionSpec { scale: 0.3, causal: true }).unwrap()
        }),
        ("attention_map", vec![random(1, &[2, 3 * 2 * 10, 250])], |t| attention_map(&t[0], 2, 0.3).unwrap()),
        ("linear", inputs([1, 2, 400, 400, 12, 8]).into(), |t| {
            linear_attention(&t[0], &t[1], &t[2], 0.3).unwrap()
        }),
        ("linear_map", vec![random(1, &[1, 3 * 2 * 10, 650])], |t| {
            linear_attention_map(&t[0], 2, 0.3).unwrap()
        }),
    ];
    let bits = |t: &[Tensor]| -> Vec<u32> { t.iter().flat_map(values).map(f32::to_bits).collect() };
    for (name, inputs, op) in &cases {
        let expected = output_and_gradients(op, inputs);
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let got = pool.install(|| output_and_gradients(op, inputs));
            assert!(bits(&got) == bits(&expected), "{name} differs with {threads} threads");
        }
        let plain = no_grad(|| op(inputs));
        assert!(bits(&[plain]) == bits(&expected[..1]), "{name} differs without gradients");
        for level in [Level::Portable, Level::Avx2] {
            let other = with_level(level, || output_and_gradients(op, inputs));
            for (a, b) in other.iter().zip(&expected) {
                assert!(distance(a, b) < 2e-5, "{name} at {level:?}");
            }
        }
    }
}

#[test]
fn wrong_shapes_are_refused() {
    let [q, k, v] = inputs([2, 2, 3, 4, 5, 6]);
    let spec = AttentionSpec { scale: 1.0, causal: false };
    assert!(attention(&q, &v, &k, 1.0).is_err());
    assert!(linear_attention(&q, &k, &v, 1.0).is_err());
    assert!(attention_masked(&q, &k, &v, Some(&mask(2, 3)), spec).is_err());
    assert!(attention_map(&random(1, &[1, 10, 4]), 2, 1.0).is_err());
    assert!(attention_map(&random(1, &[1, 12, 4]), 0, 1.0).is_err());
    assert!(linear_attention_map(&random(1, &[1, 10, 4]), 2, 1.0).is_err());
    assert!(
        attention(&random(1, &[1, 1, 0, 4]), &random(1, &[1, 1, 0, 4]), &random(1, &[1, 1, 0, 4]), 1.0)
            .is_err()
    );
}

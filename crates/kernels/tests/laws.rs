//! What must hold whatever the implementation: finite differences, symmetries, adjoints, conserved sums, limits.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{Device, Tensor, Var};
use common::{distance, output_and_gradients, random, values};
use halocast_kernels::{
    Activation, AdamCfg, AdamState, Conv2dSpec, Error, PadMode, adam_step, add_channel, attention,
    concat_channels, conv_transpose2d, conv2d, gelu, group_norm, huber_loss, linear, linear_attention,
    mse_loss, nn, silu, upsample_nearest2x,
};

/// Compares each gradient along a random direction with a central difference.
fn check_differences(name: &str, inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Tensor) {
    let outputs = output_and_gradients(&f, inputs);
    let weights = values(&random(99, outputs[0].dims()));
    let project = |t: &[Tensor]| -> f64 {
        values(&f(t)).iter().zip(&weights).map(|(y, w)| f64::from(*y) * f64::from(*w)).sum()
    };
    let step = 1e-2;
    for (i, input) in inputs.iter().enumerate() {
        let direction = random(50 + i as u64, input.dims());
        let moved = |sign: f64| {
            let mut t = inputs.to_vec();
            t[i] = (input + (&direction * (sign * step)).unwrap()).unwrap();
            project(&t)
        };
        let difference = (moved(1.0) - moved(-1.0)) / (2.0 * step);
        let (gradient, direction) = (values(&outputs[i + 1]), values(&direction));
        let exact: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
        // Truncation step^2 times a third derivative of order one, and rounding 1e-7 / step, of terms that add up.
        let size: f64 = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        assert!(
            (difference - exact).abs() < 2e-3 * size.max(1.0),
            "{name}, input {i}: {difference} for {exact}"
        );
    }
}

#[test]
fn gradients_are_finite_differences() {
    let x: &[usize] = &[2, 8, 6, 6];
    for pad_mode in [PadMode::Zeros, PadMode::Circular] {
        let same = Conv2dSpec { stride: 1, padding: 1, pad_mode, ..Default::default() };
        let half = Conv2dSpec { stride: 2, padding: 1, pad_mode, ..Default::default() };
        let inputs = [random(1, x), random(2, &[8, 8, 3, 3]), random(3, &[8])];
        check_differences("conv2d", &inputs, |t| conv2d(&t[0], &t[1], Some(&t[2]), same).unwrap());
        let inputs = [random(1, x), random(2, &[8, 8, 4, 4]), random(3, &[8])];
        check_differences("conv2d by 2", &inputs, |t| conv2d(&t[0], &t[1], Some(&t[2]), half).unwrap());
        check_differences("conv_transpose2d", &inputs, |t| {
            conv_transpose2d(&t[0], &t[1], Some(&t[2]), half).unwrap()
        });
    }
    for activation in [Activation::None, Activation::Silu] {
        let inputs = [random(1, x), random(2, &[8]), random(3, &[8])];
        check_differences("group_norm", &inputs, |t| {
            group_norm(&t[0], &t[1], &t[2], 2, 1e-5, activation).unwrap()
        });
    }
    check_differences("add_channel", &[random(1, x), random(2, &x[..2])], |t| {
        add_channel(&t[0], &t[1]).unwrap()
    });
    check_differences("concat", &[random(1, x), random(2, x)], |t| concat_channels(&t[0], &t[1]).unwrap());
    check_differences("upsample", &[random(1, x)], |t| upsample_nearest2x(&t[0]).unwrap());
    check_differences("silu", &[random(1, x)], |t| silu(&t[0]).unwrap());
    check_differences("gelu", &[random(1, x)], |t| gelu(&t[0]).unwrap());
    check_differences("mse", &[random(1, x), random(2, x)], |t| mse_loss(&t[0], &t[1]).unwrap());
    check_differences("huber", &[random(1, x), random(2, x)], |t| huber_loss(&t[0], &t[1], 0.6).unwrap());
    let inputs = [random(1, &[5, 6]), random(2, &[4, 6]), random(3, &[4])];
    check_differences("linear", &inputs, |t| linear(&t[0], &t[1], Some(&t[2])).unwrap());
    let inputs = [random(1, &[1, 2, 7, 4]), random(2, &[1, 2, 7, 4]), random(3, &[1, 2, 7, 4])];
    check_differences("attention", &inputs, |t| attention(&t[0], &t[1], &t[2], 0.5).unwrap());
    check_differences("linear_attention", &inputs, |t| linear_attention(&t[0], &t[1], &t[2], 0.5).unwrap());
}

#[test]
fn periodic_convolution_commutes_with_shifts() {
    let roll = |t: &Tensor, by: usize| t.roll(by as i32, 2).unwrap().roll(2 * by as i32, 3).unwrap();
    let x = random(1, &[2, 16, 24, 20]);
    let w = random(2, &[16, 16, 3, 3]);
    let spec = Conv2dSpec { stride: 1, padding: 1, pad_mode: PadMode::Circular, ..Default::default() };
    let y = conv2d(&x, &w, None, spec).unwrap();
    assert!(distance(&conv2d(&roll(&x, 3), &w, None, spec).unwrap(), &roll(&y, 3)) < 1e-5);
    // Down and up by two: a shift by an even number of fine pixels. (The tiles of Winograd's algorithm lie elsewhere.)
    let w = random(2, &[16, 16, 4, 4]);
    let spec = Conv2dSpec { stride: 2, ..spec };
    let y = conv2d(&x, &w, None, spec).unwrap();
    assert!(distance(&conv2d(&roll(&x, 2), &w, None, spec).unwrap(), &roll(&y, 1)) < 1e-5);
    let y = conv_transpose2d(&x, &w, None, spec).unwrap();
    assert_eq!(y.dims(), [2, 16, 48, 40]);
    assert!(distance(&conv_transpose2d(&roll(&x, 1), &w, None, spec).unwrap(), &roll(&y, 2)) < 1e-5);
}

#[test]
fn transposed_convolution_is_the_adjoint() {
    let dot = |a: &Tensor, b: &Tensor| -> f64 {
        values(a).iter().zip(values(b)).map(|(a, b)| f64::from(*a) * f64::from(b)).sum()
    };
    for pad_mode in [PadMode::Zeros, PadMode::Circular] {
        for (k, stride) in [(4, 2), (3, 1), (2, 2), (6, 4)] {
            let padding = if k == 2 { 0 } else { 1 };
            let spec = Conv2dSpec { stride, padding, pad_mode, ..Default::default() };
            let (x, w) = (random(1, &[2, 9, 12, 8]), random(2, &[10, 9, k, k]));
            let y = conv2d(&x, &w, None, spec).unwrap();
            let u = random(3, y.dims());
            let back = conv_transpose2d(&u, &w, None, spec).unwrap();
            assert_eq!(back.dims(), x.dims());
            let (a, b) = (dot(&y, &u), dot(&x, &back));
            let size = (dot(&y, &y) * dot(&u, &u)).sqrt();
            assert!((a - b).abs() < 1e-5 * size, "{k} {spec:?}: {a} {b}");
        }
    }
}

#[test]
fn group_norm_standardises() {
    let x = ((random(1, &[3, 8, 9, 7]) * 3.0).unwrap() + 100.0).unwrap();
    let one = Tensor::ones(8, candle_core::DType::F32, &Device::Cpu).unwrap();
    let y = group_norm(&x, &one, &one.zeros_like().unwrap(), 4, 1e-5, Activation::None).unwrap();
    for group in values(&y).chunks(2 * 63) {
        let mean: f64 = group.iter().map(|v| f64::from(*v)).sum::<f64>() / 126.0;
        let variance: f64 = group.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / 126.0;
        assert!(mean.abs() < 1e-5 && (variance - 1.0).abs() < 1e-4, "{mean} {variance}");
    }
}

#[test]
fn attention_of_ones_is_one() {
    let (q, k) = (random(1, &[2, 2, 70, 8]), random(2, &[2, 2, 70, 8]));
    let one = q.ones_like().unwrap();
    assert!(distance(&attention(&q, &k, &one, 3.0).unwrap(), &one) < 1e-6);
    // There both softmaxes sum to one as well.
    assert!(distance(&linear_attention(&q, &k, &one, 1.0).unwrap(), &one) < 1e-6);
}

#[test]
fn adam_agrees_with_double_precision() {
    let n = 1000;
    let (mut p, mut m, mut v) = (values(&random(1, &[n])), vec![0f32; n], vec![0f32; n]);
    let mut ema = p.clone();
    let mut exact: Vec<[f64; 4]> = p.iter().map(|&p| [p.into(), 0.0, 0.0, p.into()]).collect();
    for step in 1..=20 {
        let g = values(&random(step + 1, &[n]));
        let cfg = AdamCfg { lr: 1e-2, weight_decay: 0.1, step, ema_decay: 0.9, ..Default::default() };
        adam_step(&mut p, &g, &mut m, &mut v, Some(&mut ema), &cfg);
        for ([p, m, v, ema], g) in exact.iter_mut().zip(&g) {
            let (g, t) = (f64::from(*g), step as f64);
            *m = 0.9 * *m + 0.1 * g;
            *v = 0.999 * *v + 0.001 * g * g;
            *p *= 1.0 - 1e-3;
            *p -= 1e-2 * (*m / (1.0 - 0.9f64.powf(t))) / ((*v / (1.0 - 0.999f64.powf(t))).sqrt() + 1e-8);
            *ema = 0.9 * *ema + 0.1 * *p;
        }
    }
    for (i, [e, .., e_ema]) in exact.iter().enumerate() {
        // Twenty steps of rounding of numbers of order one.
        assert!((f64::from(p[i]) - e).abs() < 3e-6 && (f64::from(ema[i]) - e_ema).abs() < 3e-6, "{i}");
    }
}

#[test]
fn inputs_of_any_layout_and_type() {
    let x = random(1, &[2, 6, 8, 10]);
    let w = random(2, &[8, 8, 3, 3]);
    let spec = Conv2dSpec { padding: 1, ..Default::default() };
    let strided = x.transpose(1, 2).unwrap();
    assert!(!strided.is_contiguous());
    let y = conv2d(&strided, &w, None, spec).unwrap();
    let plain = conv2d(&strided.contiguous().unwrap(), &w, None, spec).unwrap();
    assert_eq!(distance(&y, &plain), 0.0);
    let double = |t: &Tensor| t.to_dtype(candle_core::DType::F64).unwrap();
    let exact = conv2d(&double(&strided), &double(&w), None, spec).unwrap();
    assert_eq!(exact.dtype(), candle_core::DType::F64);
    assert!(distance(&y, &exact) < 1e-5);
}

#[test]
fn wrong_arguments_are_errors() {
    let t = |shape: &[usize]| random(1, shape);
    let spec = Conv2dSpec::default();
    let shape = |r: halocast_kernels::Result<Tensor>| matches!(r, Err(Error::Shape { .. }));
    let argument = |r: halocast_kernels::Result<Tensor>| matches!(r, Err(Error::Argument { .. }));
    assert!(shape(conv2d(&t(&[1, 2, 8, 8]), &t(&[3, 4, 3, 3]), None, spec)));
    assert!(shape(conv2d(&t(&[1, 2, 8, 8]), &t(&[3, 2, 3, 3]), Some(&t(&[2])), spec)));
    assert!(shape(conv_transpose2d(&t(&[1, 2, 8]), &t(&[2, 2, 3, 3]), None, spec)));
    assert!(argument(group_norm(&t(&[1, 6, 4]), &t(&[6]), &t(&[6]), 4, 1e-5, Activation::None)));
    assert!(shape(group_norm(&t(&[1, 6, 4]), &t(&[5]), &t(&[6]), 3, 1e-5, Activation::None)));
    assert!(shape(add_channel(&t(&[2, 3, 4]), &t(&[3, 2]))));
    assert!(shape(concat_channels(&t(&[2, 3, 4]), &t(&[2, 3, 5]))));
    assert!(shape(linear(&t(&[2, 3]), &t(&[4, 5]), None)));
    assert!(shape(attention(&t(&[1, 2, 3, 4]), &t(&[1, 2, 3, 5]), &t(&[1, 2, 3, 4]), 1.0)));
    assert!(shape(linear_attention(&t(&[1, 2, 3, 4]), &t(&[1, 2, 5, 4]), &t(&[1, 2, 5, 4]), 1.0)));
    assert!(shape(upsample_nearest2x(&t(&[2, 3, 4]))));
    assert!(argument(huber_loss(&t(&[2]), &t(&[2]), 0.0)));
    assert!(shape(mse_loss(&t(&[2]), &t(&[3]))));
    let var = Var::from_tensor(&t(&[4])).unwrap();
    assert!(AdamState::new(3).step(&var, &t(&[4]), &AdamCfg::default()).is_err());
    assert!(AdamState::new(4).step(&var, &t(&[5]), &AdamCfg::default()).is_err());
    let text = conv2d(&t(&[1, 2, 8, 8]), &t(&[3, 4, 3, 3]), None, spec).unwrap_err().to_string();
    assert_eq!(text, "conv2d: weight must be [co, 2, kh, kw], got [3, 4, 3, 3]");
}

#[test]
fn layers_have_the_names_shapes_and_ranges_of_pytorch() {
    use candle_nn::{VarBuilder, VarMap};
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, candle_core::DType::F32, &Device::Cpu);
    let spec = Conv2dSpec::default();
    nn::Conv2d::new(4, 64, 3, spec, vb.pp("conv")).unwrap();
    nn::ConvTranspose2d::new(4, 64, 2, spec, vb.pp("up")).unwrap();
    nn::Linear::new(100, 64, vb.pp("dense")).unwrap();
    nn::GroupNorm::new(2, 6, 1e-5, vb.pp("norm")).unwrap();
    let data = vars.data().lock().unwrap();
    let check = |name: &str, shape: &[usize], bound: f32| {
        let var = &data[name];
        assert_eq!(var.dims(), shape, "{name}");
        let most = values(var).iter().fold(0f32, |m, v| m.max(v.abs()));
        // Candle's draw is not seeded: 64 uniform values all lie in the inner half once in 2^64.
        assert!(most <= bound && most > 0.5 * bound, "{name}: {most} for {bound}");
    };
    check("conv.weight", &[64, 4, 3, 3], 1.0 / 6.0);
    check("conv.bias", &[64], 1.0 / 6.0);
    check("up.weight", &[4, 64, 2, 2], 1.0 / 16.0);
    check("up.bias", &[64], 1.0 / 16.0);
    check("dense.weight", &[64, 100], 0.1);
    check("dense.bias", &[64], 0.1);
    assert!(values(&data["norm.weight"]).iter().all(|&v| v == 1.0));
    assert!(values(&data["norm.bias"]).iter().all(|&v| v == 0.0));
    assert_eq!(data.len(), 8);
}

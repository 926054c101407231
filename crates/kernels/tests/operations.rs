//! Normalisation of rows, functions of each number, sums, softmax and resampling: against their definitions in double
//! precision, finite differences, limits, and reproducibility.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{DType, Device, Tensor};
use common::{compare, distance, output_and_gradients, random, values};
use halocast_kernels::{
    Activation, Level, activate, add, average_pool, exp, group_norm, instance_norm, layer_norm, leaky_relu,
    linear, max_pool2d, modulated_norm, nn, pixel_shuffle, pixel_unshuffle, reference, relu, rms_norm,
    scale_shift_channel, sigmoid, softmax, softplus, tanh, upsample_linear, upsample_nearest,
    upsample_nearest2x, with_level,
};

const ROUNDING: f32 = 5e-6;
const ACTIVATIONS: [Activation; 9] = [
    Activation::None,
    Activation::Silu,
    Activation::Gelu,
    Activation::Relu,
    Activation::LeakyRelu(0.2),
    Activation::Tanh,
    Activation::Sigmoid,
    Activation::Softplus,
    Activation::Exp,
];

type Op = Box<dyn Fn(&[Tensor]) -> Tensor + Send + Sync>;

struct Case {
    name: String,
    inputs: Vec<Tensor>,
    op: Op,
    oracle: Op,
}

/// A case for each path through each operation.
fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = vec![];
    let mut case = |name: String, shapes: &[&[usize]], op: Op, oracle: Op| {
        let inputs = shapes.iter().enumerate().map(|(i, s)| random(i as u64 + 1, s)).collect();
        cases.push(Case { name, inputs, op, oracle });
    };
    macro_rules! case {
        ($name:expr, $shapes:expr, |$t:ident| $function:ident ($($argument:expr),*)) => {
            case!($name, $shapes, |$t| $function($($argument),*), reference::$function($($argument),*))
        };
        ($name:expr, $shapes:expr, |$t:ident| $op:expr, $oracle:expr) => {
            case($name, $shapes, Box::new(move |$t| $op.unwrap()), Box::new(move |$t| $oracle.unwrap()))
        };
    }
    for f in ACTIVATIONS {
        case!(format!("{f:?}"), &[&[3, 700, 17]], |t| activate(&t[0], f));
        case!(format!("layer_norm {f:?}"), &[&[5, 9, 40], &[40], &[40]], |t| layer_norm(
            &t[0], &t[1], &t[2], 1e-5, f
        ));
        case!(format!("rms_norm {f:?}"), &[&[5, 9, 40], &[40]], |t| rms_norm(&t[0], &t[1], 1e-5, f));
        case!(format!("group_norm {f:?}"), &[&[2, 6, 5, 7], &[6], &[6]], |t| group_norm(
            &t[0], &t[1], &t[2], 3, 1e-5, f
        ));
    }
    // Rows long and short, many and few; two axes.
    let none = Activation::None;
    for (rows, width) in [(1, 8), (3000, 16), (2, 5000), (700, 65), (1, 300)] {
        let x: [usize; 2] = [rows, width];
        case!(format!("layer_norm {x:?}"), &[&x, &[width], &[width]], |t| layer_norm(
            &t[0], &t[1], &t[2], 1e-5, none
        ));
        case!(format!("rms_norm {x:?}"), &[&x, &[width]], |t| rms_norm(&t[0], &t[1], 1e-5, none));
        let modulated: [&[usize]; 3] = [&[3, rows, width], &[3, width], &[3, width]];
        let name = format!("modulated_norm {x:?}");
        case!(name, &modulated, |t| modulated_norm(&t[0], &t[1], &t[2], 1e-5));
    }
    case!("layer_norm of two axes".into(), &[&[6, 3, 8], &[3, 8], &[3, 8]], |t| layer_norm(
        &t[0], &t[1], &t[2], 1e-5, none
    ));
    case!("scale_shift".into(), &[&[3, 5, 33, 7], &[3, 5], &[3, 5]], |t| scale_shift_channel(
        &t[0], &t[1], &t[2]
    ));
    case!("add".into(), &[&[3, 17000], &[3, 17000]], |t| add(&t[0], &t[1]));
    for width in [1, 7, 100, 1000] {
        case!(
            format!("softmax {width}"),
            &[&[40, width]],
            |t| softmax(&t[0]),
            reference::softmax_last(&t[0])
        );
    }
    let grids: [&[usize]; 4] = [&[2, 3, 10], &[2, 3, 6, 10], &[1, 2, 4, 6, 5], &[1, 1, 1, 1]];
    for x in grids {
        for factor in [1, 2, 3] {
            case!(format!("nearest {x:?} {factor}"), &[x], |t| upsample_nearest(&t[0], factor));
            case!(format!("linear {x:?} {factor}"), &[x], |t| upsample_linear(&t[0], factor));
            if x[2] > 3 {
                case!(format!("average {x:?} {factor}"), &[x], |t| average_pool(&t[0], factor));
            }
        }
    }
    for factor in [1, 2, 3] {
        let c = 2 * factor * factor;
        case!(format!("shuffle {factor}"), &[&[2, c, 5, 4]], |t| pixel_shuffle(&t[0], factor));
        case!(format!("unshuffle {factor}"), &[&[2, 3, 5 * factor, 4 * factor]], |t| pixel_unshuffle(
            &t[0], factor
        ));
    }
    for [kernel, stride, padding] in [[2, 2, 0], [3, 2, 1], [3, 1, 1], [1, 1, 0], [5, 3, 2]] {
        case!(format!("max_pool {kernel} {stride} {padding}"), &[&[2, 3, 11, 9]], |t| max_pool2d(
            &t[0], kernel, stride, padding
        ));
    }
    cases
}

#[test]
fn operations_agree_with_their_definitions() {
    for Case { name, inputs, op, oracle } in cases() {
        compare(&name, ROUNDING, &inputs, op, oracle);
    }
}

#[test]
fn gradients_are_finite_differences() {
    for Case { name, inputs, oracle, .. } in cases() {
        // The kernels agree with the oracle, whose own gradients are checked here in double precision.
        if inputs.iter().any(|t| t.elem_count() > 3000) {
            continue;
        }
        let inputs: Vec<Tensor> = inputs.iter().map(|t| reference::to_f64(t).unwrap()).collect();
        let outputs = output_and_gradients(&oracle, &inputs);
        let sum = |t: &Tensor| t.sum_all().unwrap().to_scalar::<f64>().unwrap();
        let weights = random(99, outputs[0].dims()).to_dtype(DType::F64).unwrap();
        for i in 0..inputs.len() {
            let direction = random(50 + i as u64, inputs[i].dims()).to_dtype(DType::F64).unwrap();
            let moved = |step: f64| {
                let mut t = inputs.clone();
                t[i] = (&inputs[i] + (&direction * step).unwrap()).unwrap();
                sum(&(oracle(&t) * &weights).unwrap())
            };
            // Small enough that no number crosses zero or the next largest of its window.
            let difference = (moved(1e-7) - moved(-1e-7)) / 2e-7;
            let exact = sum(&(&outputs[i + 1] * &direction).unwrap());
            let size = sum(&outputs[i + 1].sqr().unwrap()).sqrt().max(1.0);
            assert!((difference - exact).abs() < 1e-5 * size, "{name}, input {i}: {difference} for {exact}");
        }
    }
}

#[test]
fn same_bits_at_any_number_of_threads_and_near_at_any_level() {
    let bits = |t: &[Tensor]| -> Vec<u32> { t.iter().flat_map(values).map(f32::to_bits).collect() };
    for Case { name, inputs, op, .. } in cases() {
        let expected = output_and_gradients(&op, &inputs);
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let got = pool.install(|| output_and_gradients(&op, &inputs));
            assert!(bits(&got) == bits(&expected), "{name} differs with {threads} threads");
        }
        for level in [Level::Portable, Level::Avx2] {
            let other = with_level(level, || output_and_gradients(&op, &inputs));
            for (a, b) in other.iter().zip(&expected) {
                assert!(distance(a, b) < 1e-5, "{name} at {level:?}");
            }
        }
    }
}

/// An example's numbers do not depend on how many others share its batch: parts of a batch add up to the whole.
#[test]
fn rows_of_a_product_are_the_same_in_any_company() {
    for (inputs, outputs) in [(32, 16), (8, 32), (5, 1), (1, 3), (300, 300)] {
        let (x, w, b) = (random(1, &[130, inputs]), random(2, &[outputs, inputs]), random(3, &[outputs]));
        let whole = values(&linear(&x, &w, Some(&b)).unwrap());
        for (first, rows) in [(0, 1), (3, 2), (1, 9), (40, 17), (0, 100)] {
            let part = x.narrow(0, first, rows).unwrap().contiguous().unwrap();
            let part = values(&linear(&part, &w, Some(&b)).unwrap());
            assert_eq!(part, whole[first * outputs..(first + rows) * outputs], "{inputs} {outputs} {rows}");
        }
    }
}

#[test]
fn closed_forms() {
    let close = |t: Tensor, expected: &[f32]| {
        values(&t).iter().zip(expected).for_each(|(a, b)| assert!((a - b).abs() < 1e-6, "{a} {b}"))
    };
    let x = Tensor::new(&[-1.0f32, 0.0, 2.0], &Device::Cpu).unwrap();
    close(relu(&x).unwrap(), &[0.0, 0.0, 2.0]);
    close(leaky_relu(&x, 0.1).unwrap(), &[-0.1, 0.0, 2.0]);
    close(tanh(&x).unwrap(), &[(-1f32).tanh(), 0.0, 2f32.tanh()]);
    close(sigmoid(&x).unwrap(), &[0.268_941_43, 0.5, 0.880_797]);
    close(softplus(&x).unwrap(), &[0.313_261_7, std::f32::consts::LN_2, 2.126_928]);
    close(exp(&x).unwrap(), &[0.367_879_45, 1.0, 7.389_056]);
    // Rows of a softmax sum to one, even of huge numbers.
    let y = softmax(&(random(1, &[50, 77]) * 1e4).unwrap()).unwrap();
    assert!(values(&y.sum(1).unwrap()).iter().all(|s| (s - 1.0).abs() < 1e-5));
    // A linear function is interpolated exactly away from the ends.
    let line = Tensor::arange(0f32, 8.0, &Device::Cpu).unwrap().reshape((1, 1, 8)).unwrap();
    let y = values(&upsample_linear(&line, 4).unwrap());
    (2..30).for_each(|i| assert!((y[i] - ((i as f32 + 0.5) / 4.0 - 0.5)).abs() < 1e-6));
    let x = random(1, &[2, 3, 6, 4]);
    assert_eq!(values(&upsample_nearest(&x, 2).unwrap()), values(&upsample_nearest2x(&x).unwrap()));
    assert!(distance(&average_pool(&upsample_nearest(&x, 3).unwrap(), 3).unwrap(), &x) < 1e-6);
    let back = pixel_shuffle(&pixel_unshuffle(&x, 2).unwrap(), 2).unwrap();
    assert_eq!(values(&back), values(&x));
}

#[test]
fn normalised_rows_are_standard() {
    let x = ((random(1, &[30, 96]) * 3.0).unwrap() + 100.0).unwrap();
    let one = Tensor::ones(96, DType::F32, &Device::Cpu).unwrap();
    let y = layer_norm(&x, &one, &one.zeros_like().unwrap(), 0.0, Activation::None).unwrap();
    assert!(values(&y.mean(1).unwrap()).iter().all(|m| m.abs() < 1e-5));
    assert!(values(&y.sqr().unwrap().mean(1).unwrap()).iter().all(|s| (s - 1.0).abs() < 1e-4));
    // No modulation is layer norm; root mean square does not care for the size.
    let zero = Tensor::zeros((30, 96), DType::F32, &Device::Cpu).unwrap();
    let modulated = modulated_norm(&x, &zero, &zero, 0.0).unwrap();
    assert!(distance(&modulated, &y) < 1e-6);
    let a = rms_norm(&x, &one, 0.0, Activation::None).unwrap();
    let b = rms_norm(&(&x * 7.0).unwrap(), &one, 0.0, Activation::None).unwrap();
    assert!(distance(&a, &b) < 1e-6);
    let x = random(1, &[2, 5, 8, 8]);
    let y = instance_norm(&x, None, 0.0, Activation::None).unwrap();
    assert!(values(&y.mean((2, 3)).unwrap()).iter().all(|m| m.abs() < 1e-5));
}

#[test]
fn layers_have_the_names_of_pytorch() {
    let vars = candle_nn::VarMap::new();
    let vb = candle_nn::VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    nn::LayerNorm::new(6, 1e-5, vb.pp("layer")).unwrap();
    nn::RmsNorm::new(6, 1e-5, vb.pp("rms")).unwrap();
    let mut names: Vec<String> = vars.data().lock().unwrap().keys().cloned().collect();
    names.sort();
    assert_eq!(names, ["layer.bias", "layer.weight", "rms.weight"]);
}

#[test]
fn wrong_shapes_are_refused() {
    let (x, c) = (random(1, &[2, 4, 6]), random(1, &[4]));
    assert!(layer_norm(&x, &c, &c, 1e-5, Activation::None).is_err());
    assert!(rms_norm(&x, &c, 1e-5, Activation::None).is_err());
    assert!(modulated_norm(&x, &c, &c, 1e-5).is_err());
    assert!(scale_shift_channel(&x, &c, &c).is_err());
    assert!(add(&x, &c).is_err());
    assert!(softmax(&random(1, &[0, 3])).is_err());
    assert!(upsample_nearest(&x, 0).is_err());
    assert!(upsample_linear(&c, 2).is_err());
    assert!(average_pool(&x, 7).is_err());
    assert!(pixel_shuffle(&random(1, &[1, 3, 2, 2]), 2).is_err());
    assert!(pixel_unshuffle(&random(1, &[1, 3, 3, 2]), 2).is_err());
    assert!(max_pool2d(&random(1, &[1, 1, 4, 4]), 5, 1, 0).is_err());
    assert!(max_pool2d(&random(1, &[1, 1, 4, 4]), 2, 1, 2).is_err());
}

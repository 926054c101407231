//! Convolutions over one to three axes and their transposes: against the definition in double precision at random sizes,
//! adjointness, finite differences, shifts, empty batches, errors, thread counts.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{DType, Device, Tensor};
use common::{compare, distance, output_and_gradients, random, values};
use halocast_kernels::{
    ConvSpec, PadMode, Result, conv_transpose1d, conv_transpose2d, conv_transpose3d, conv1d, conv2d, conv3d,
    nn, reference,
};

type Convolution = fn(&Tensor, &Tensor, Option<&Tensor>, ConvSpec) -> Result<Tensor>;
/// Of one, two and three axes: the operation, its transpose, and the reference of both.
const ALL: [[Convolution; 4]; 3] = [
    [conv1d, conv_transpose1d, reference::conv1d, reference::conv_transpose1d],
    [conv2d, conv_transpose2d, reference::conv2d, reference::conv_transpose2d],
    [conv3d, conv_transpose3d, reference::conv3d, reference::conv_transpose3d],
];
const MODES: [PadMode; 3] = [PadMode::Zeros, PadMode::Circular, PadMode::Reflect];
/// Winograd's algorithm may be at work.
const TOLERANCE: f32 = 2e-5;

/// Draws numbers below `below` from a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }

    /// Kernel sizes, input sizes, and a specification that fit each other.
    fn case(&mut self, axes: usize, mode: PadMode) -> (Vec<usize>, Vec<usize>, [usize; 3], ConvSpec) {
        let kernel: Vec<usize> = (0..axes).map(|_| 1 + self.below(5)).collect();
        let most = if axes == 3 { 5 } else { 11 };
        let size: Vec<usize> = kernel.iter().map(|k| k + self.below(most)).collect();
        let mut padding = self.below(4);
        if mode == PadMode::Reflect {
            padding = padding.min(size.iter().min().unwrap() - 1);
        }
        let groups = 1 + self.below(3);
        let channels = [1 + self.below(2), groups * (1 + self.below(5)), groups * (1 + self.below(5))];
        let spec =
            ConvSpec { stride: 1 + self.below(3), padding, pad_mode: mode, groups, ..Default::default() };
        (kernel, size, channels, spec)
    }
}

#[test]
fn random_convolutions_agree_with_the_definition() {
    let mut draw = Draw(3);
    for (i, [conv, _, oracle, _]) in ALL.into_iter().enumerate() {
        for case in 0..60 {
            let (kernel, size, [n, ci, co], spec) = draw.case(i + 1, MODES[case % 3]);
            let x = random(1, &[&[n, ci], &size[..]].concat());
            let w = random(2, &[&[co, ci / spec.groups], &kernel[..]].concat());
            let name = format!("{}-D {:?} {:?} {spec:?}", i + 1, x.dims(), w.dims());
            let inputs = [x, w, random(3, &[co])];
            let f = |op: Convolution| move |t: &[Tensor]| op(&t[0], &t[1], Some(&t[2]), spec).unwrap();
            compare(&name, TOLERANCE, &inputs, f(conv), f(oracle));
        }
    }
}

#[test]
fn random_transposed_convolutions_agree_with_the_definition() {
    let mut draw = Draw(4);
    for (i, [_, conv, _, oracle]) in ALL.into_iter().enumerate() {
        let mut cases = 0;
        while cases < 40 {
            let (kernel, size, [n, ci, co], mut spec) = draw.case(i + 1, MODES[cases % 2]);
            if spec.pad_mode == PadMode::Zeros {
                spec.output_padding = draw.below(spec.stride);
            }
            let x = random(1, &[&[n, ci], &size[..]].concat());
            let w = random(2, &[&[ci, co / spec.groups], &kernel[..]].concat());
            // Not all paddings go with all kernels.
            if conv(&x, &w, None, spec).is_err() {
                continue;
            }
            cases += 1;
            let name = format!("transposed {}-D {:?} {:?} {spec:?}", i + 1, x.dims(), w.dims());
            let inputs = [x, w, random(3, &[co])];
            let f = |op: Convolution| move |t: &[Tensor]| op(&t[0], &t[1], Some(&t[2]), spec).unwrap();
            compare(&name, TOLERANCE, &inputs, f(conv), f(oracle));
        }
    }
}

/// Shapes that take the fast ways: long lines, Winograd's algorithm in cubes and groups, each channel by itself.
#[test]
fn chosen_sizes_agree_with_the_definition() {
    let check = |axes: usize, x: &[usize], w: &[usize], stride: usize, padding: usize, groups: usize| {
        let [conv, transposed, oracle, transposed_oracle] = ALL[axes - 1];
        for pad_mode in MODES {
            let spec = ConvSpec { stride, padding, pad_mode, groups, ..Default::default() };
            let f = |op: Convolution| move |t: &[Tensor]| op(&t[0], &t[1], Some(&t[2]), spec).unwrap();
            let inputs = [random(1, x), random(2, w), random(3, &w[..1])];
            let name = format!("{axes}-D {x:?} {w:?} {spec:?}");
            compare(&name, TOLERANCE, &inputs, f(conv), f(oracle));
            let y = conv(&inputs[0], &inputs[1], None, spec).unwrap();
            let inputs = [y.detach(), random(2, w), random(3, &[w[1] * groups])];
            if transposed(&inputs[0], &inputs[1], None, spec).is_ok() {
                compare(
                    &format!("transposed {name}"),
                    TOLERANCE,
                    &inputs,
                    f(transposed),
                    f(transposed_oracle),
                );
            }
        }
    };
    check(1, &[2, 8, 700], &[8, 8, 3], 1, 1, 1);
    check(1, &[1, 5, 1030], &[7, 5, 4], 2, 1, 1);
    check(1, &[2, 6, 40], &[9, 6, 1], 1, 0, 1);
    check(1, &[2, 6, 300], &[6, 1, 4], 1, 3, 6);
    check(1, &[2, 4, 64], &[8, 1, 4], 2, 1, 4);
    check(2, &[2, 16, 12, 16], &[24, 8, 3, 3], 1, 1, 2);
    check(2, &[1, 16, 8, 12], &[16, 8, 4, 4], 2, 1, 2);
    // Few pixels and many filters.
    check(2, &[1, 100, 8, 8], &[90, 100, 3, 3], 1, 1, 1);
    check(2, &[1, 68, 8, 8], &[60, 68, 4, 4], 2, 1, 1);
    check(2, &[1, 17, 6, 37], &[25, 17, 5, 3], 1, 1, 1);
    check(2, &[3, 33, 70, 31], &[3, 33, 3, 5], 3, 1, 1);
    check(2, &[2, 5, 9, 70], &[5, 1, 3, 3], 1, 1, 5);
    check(2, &[2, 4, 8, 8], &[8, 1, 5, 5], 2, 2, 4);
    check(3, &[1, 8, 6, 8, 8], &[8, 8, 3, 3, 3], 1, 1, 1);
    check(3, &[1, 8, 4, 8, 8], &[8, 8, 4, 4, 4], 2, 1, 1);
    check(3, &[2, 3, 4, 5, 6], &[4, 3, 1, 1, 1], 1, 0, 1);
    check(3, &[1, 4, 5, 6, 34], &[4, 1, 3, 3, 3], 1, 1, 4);
}

#[test]
fn transposes_are_adjoints_and_gradients_finite_differences() {
    let dot = |a: &Tensor, b: &Tensor| -> f64 {
        values(a).iter().zip(values(b)).map(|(a, b)| f64::from(*a) * f64::from(b)).sum()
    };
    for (i, [conv, transposed, ..]) in ALL.into_iter().enumerate() {
        for (groups, pad_mode) in [(1, MODES[0]), (2, MODES[1]), (4, MODES[0])] {
            let spec = ConvSpec { stride: 2, padding: 1, pad_mode, groups, ..Default::default() };
            let x = random(1, &[&[2, 4], &[8, 6, 10][..i + 1]].concat());
            let w = random(2, &[&[8, 4 / groups], &[4; 3][..i + 1]].concat());
            let y = conv(&x, &w, None, spec).unwrap();
            let u = random(3, y.dims());
            let back = transposed(&u, &w, None, spec).unwrap();
            let size = (dot(&y, &y) * dot(&u, &u)).sqrt();
            assert!((dot(&y, &u) - dot(&x, &back)).abs() < 1e-5 * size, "{i} {spec:?}");
        }
        for (pad_mode, groups) in [(PadMode::Reflect, 1), (PadMode::Reflect, 4), (PadMode::Circular, 2)] {
            let spec = ConvSpec { padding: 2, pad_mode, groups, ..Default::default() };
            let x = random(1, &[&[1, 4], &[5, 4, 6][..i + 1]].concat());
            let w = random(2, &[&[4, 4 / groups], &[3; 3][..i + 1]].concat());
            let f = |t: &[Tensor]| conv(&t[0], &t[1], Some(&t[2]), spec).unwrap();
            let inputs = [x, w, random(3, &[4])];
            let all = output_and_gradients(f, &inputs);
            let weights = random(99, all[0].dims());
            for (k, gradient) in all[1..].iter().enumerate() {
                // The output is linear in each input: the difference is exact but for rounding.
                let direction = random(50, inputs[k].dims());
                let moved = |sign: f64| {
                    let mut t = inputs.to_vec();
                    t[k] = (&inputs[k] + (&direction * sign).unwrap()).unwrap();
                    dot(&f(&t), &weights)
                };
                let (difference, exact) = ((moved(1.0) - moved(-1.0)) / 2.0, dot(gradient, &direction));
                let size = dot(gradient, gradient).sqrt().max(1.0);
                assert!((difference - exact).abs() < 1e-4 * size, "{i} {spec:?} {k}: {difference} {exact}");
            }
        }
    }
}

#[test]
fn periodic_convolutions_commute_with_shifts() {
    for (i, [conv, ..]) in ALL.into_iter().enumerate() {
        for groups in [1, 8] {
            let spec = ConvSpec { padding: 1, pad_mode: PadMode::Circular, groups, ..Default::default() };
            let x = random(1, &[&[1, 8], &[12, 8, 10][..i + 1]].concat());
            let w = random(2, &[&[8, 8 / groups], &[3; 3][..i + 1]].concat());
            let y = conv(&x, &w, None, spec).unwrap();
            for axis in 2..x.rank() {
                let shifted = conv(&x.roll(3, axis).unwrap(), &w, None, spec).unwrap();
                assert!(distance(&shifted, &y.roll(3, axis).unwrap()) < 1e-5, "{i} {groups} {axis}");
            }
        }
    }
}

#[test]
fn a_reflected_edge_reads_the_mirror() {
    let x = Tensor::new(&[[[1f32, 2.0, 4.0, 8.0]]], &Device::Cpu).unwrap();
    let w = Tensor::new(&[[[1f32, 0.0, 0.0, 0.0, 0.0]]], &Device::Cpu).unwrap();
    let spec = ConvSpec { padding: 2, pad_mode: PadMode::Reflect, ..Default::default() };
    assert_eq!(values(&conv1d(&x, &w, None, spec).unwrap()), [4.0, 2.0, 1.0, 2.0]);
}

#[test]
fn empty_batches_and_errors() {
    for (i, [conv, transposed, ..]) in ALL.into_iter().enumerate() {
        let x = Tensor::zeros([&[0, 8], &[8; 3][..i + 1]].concat(), DType::F32, &Device::Cpu).unwrap();
        for (k, stride, groups) in [(3, 1, 1), (4, 2, 1), (3, 1, 8), (3, 1, 2)] {
            let spec = ConvSpec { stride, padding: 1, groups, ..Default::default() };
            let w = random(1, &[&[8, 8 / groups], &[k; 3][..i + 1]].concat());
            for op in [conv, transposed] {
                let f = |t: &[Tensor]| op(&t[0], &t[1], Some(&t[2]), spec).unwrap();
                let all = output_and_gradients(f, &[x.clone(), w.clone(), random(2, &[8])]);
                assert_eq!(all[0].dims()[..2], [0, 8]);
                assert_eq!((all[1].dims(), all[2].dims()), (x.dims(), w.dims()));
                assert!(values(&all[2]).iter().chain(&values(&all[3])).all(|&v| v == 0.0));
            }
        }
        let x = random(1, &[&[1, 4], &[6; 3][..i + 1]].concat());
        let w = random(1, &[&[4, 4], &[3; 3][..i + 1]].concat());
        let reflect = ConvSpec { padding: 1, pad_mode: PadMode::Reflect, ..Default::default() };
        let text = transposed(&x, &w, None, reflect).unwrap_err().to_string();
        assert!(text.contains("reflect"), "{text}");
        assert!(conv(&x, &w, None, ConvSpec { padding: 6, ..reflect }).is_err());
        assert!(conv(&x, &w, None, ConvSpec { groups: 3, ..Default::default() }).is_err());
        assert!(transposed(&x, &w, None, ConvSpec { output_padding: 1, ..Default::default() }).is_err());
        assert!(conv(&w, &w, Some(&x), ConvSpec::default()).is_err());
    }
}

#[test]
fn layers_have_the_shapes_of_torch() {
    let vars = candle_nn::VarMap::new();
    let vb = candle_nn::VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let spec = ConvSpec { groups: 2, ..Default::default() };
    nn::Conv1d::new(4, 6, 5, spec, vb.pp("a")).unwrap();
    nn::Conv3d::new(4, 6, 3, spec, vb.pp("b")).unwrap();
    nn::ConvTranspose1d::new(4, 6, 5, spec, vb.pp("c")).unwrap();
    nn::ConvTranspose3d::new(4, 6, 3, spec, vb.pp("d")).unwrap();
    assert!(nn::Conv1d::new(3, 6, 5, spec, vb.pp("e")).is_err());
    let data = vars.data().lock().unwrap();
    let shapes: [(&str, &[usize], f32); 4] = [
        ("a", &[6, 2, 5], 10.0),
        ("b", &[6, 2, 3, 3, 3], 54.0),
        ("c", &[4, 3, 5], 15.0),
        ("d", &[4, 3, 3, 3, 3], 81.0),
    ];
    for (name, shape, fan_in) in shapes {
        let weight = &data[&format!("{name}.weight")];
        assert_eq!((weight.dims(), data[&format!("{name}.bias")].dims()), (shape, &[6][..]));
        let largest = values(weight).iter().fold(0f32, |m, v| m.max(v.abs()));
        assert!(largest <= fan_in.powf(-0.5) && largest > 0.8 * fan_in.powf(-0.5), "{name}: {largest}");
    }
}

#[test]
fn the_same_bits_at_any_number_of_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut all = vec![];
            let (x, w) = (random(1, &[1, 100, 8, 8]), random(2, &[90, 100, 3, 3]));
            let f = |t: &[Tensor]| conv2d(&t[0], &t[1], None, ConvSpec::default()).unwrap();
            all.extend(output_and_gradients(f, &[x, w]).iter().flat_map(values));
            for (i, [conv, transposed, ..]) in ALL.into_iter().enumerate() {
                for (k, stride, groups) in [(3, 1, 1), (4, 2, 1), (3, 1, 16), (3, 1, 2)] {
                    let spec = ConvSpec { stride, padding: 1, groups, ..Default::default() };
                    let x = random(1, &[&[3, 16], &[16, 8, 12][..i + 1]].concat());
                    let w = random(2, &[&[16, 16 / groups], &[k; 3][..i + 1]].concat());
                    for op in [conv, transposed] {
                        let f = |t: &[Tensor]| op(&t[0], &t[1], None, spec).unwrap();
                        all.extend(output_and_gradients(f, &[x.clone(), w.clone()]).iter().flat_map(values));
                    }
                }
            }
            all
        })
    };
    let one = run(1);
    for threads in [2, 3] {
        assert!(run(threads).iter().zip(&one).all(|(a, b)| a.to_bits() == b.to_bits()), "{threads}");
    }
}

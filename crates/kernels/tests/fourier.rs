//! Fourier transforms: their definition in double precision, unitarity, adjoints, gradients, sizes.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{DType, Device, Tensor, Var};
use common::{compare, distance, output_and_gradients, random, values};
use halocast_kernels::{Error, FourierNorm, fft, ifft, irfft, reference, rfft};

const NORMS: [FourierNorm; 3] = [FourierNorm::Backward, FourierNorm::Ortho, FourierNorm::Forward];

fn dot(a: &Tensor, b: &Tensor) -> f64 {
    values(a).iter().zip(values(b)).map(|(a, b)| f64::from(*a) * f64::from(b)).sum()
}

/// Shapes and how many of their last axes are transformed: sizes 1, 2, odd, prime, powers of two, several blocks of eight
/// columns.
const CASES: [(&[usize], usize); 14] = [
    (&[1], 1),
    (&[2], 1),
    (&[3, 7], 1),
    (&[2, 2, 16], 1),
    (&[1, 1], 2),
    (&[2, 1], 2),
    (&[1, 2], 2),
    (&[3, 5, 6], 2),
    (&[2, 8, 33], 2),
    (&[2, 3, 11, 4], 2),
    (&[1, 1, 2], 3),
    (&[2, 4, 3, 5], 3),
    (&[6, 2, 8], 3),
    (&[5, 1, 9], 3),
];

/// The transform of one number of the spectrum, term by term.
#[test]
fn the_reference_is_the_definition() {
    let (n0, n1) = (3, 4);
    let x = random(1, &[n0, n1, 2]).to_dtype(DType::F64).unwrap();
    let y = reference::fft(&x, 2, false, FourierNorm::Backward).unwrap().to_vec3::<f64>().unwrap();
    let x = x.to_vec3::<f64>().unwrap();
    for k0 in 0..n0 {
        for k1 in 0..n1 {
            let (mut re, mut im) = (0.0, 0.0);
            for (x0, plane) in x.iter().enumerate() {
                for (x1, value) in plane.iter().enumerate() {
                    let turns = (k0 * x0) as f64 / n0 as f64 + (k1 * x1) as f64 / n1 as f64;
                    let (sine, cosine) = (-std::f64::consts::TAU * turns).sin_cos();
                    re += value[0] * cosine - value[1] * sine;
                    im += value[0] * sine + value[1] * cosine;
                }
            }
            assert!((y[k0][k1][0] - re).abs() < 1e-12 && (y[k0][k1][1] - im).abs() < 1e-12);
        }
    }
}

#[test]
fn transforms_and_gradients_are_the_sums_of_the_definition() {
    for (shape, axes) in CASES {
        for norm in NORMS {
            let name = format!("{shape:?} {axes} {norm:?}");
            let last = shape[shape.len() - 1];
            let x = random(1, shape);
            compare(
                &format!("rfft {name}"),
                2e-6,
                std::slice::from_ref(&x),
                |t| rfft(&t[0], axes, norm).unwrap(),
                |t| reference::rfft(&t[0], axes, norm).unwrap(),
            );
            let half: Vec<usize> =
                shape[..shape.len() - 1].iter().copied().chain([last / 2 + 1, 2]).collect();
            compare(
                &format!("irfft {name}"),
                2e-6,
                &[random(2, &half)],
                |t| irfft(&t[0], last, axes, norm).unwrap(),
                |t| reference::irfft(&t[0], last, axes, norm).unwrap(),
            );
            let full: Vec<usize> = shape.iter().copied().chain([2]).collect();
            for inverse in [false, true] {
                compare(
                    &format!("fft {name} {inverse}"),
                    2e-6,
                    &[random(3, &full)],
                    |t| if inverse { ifft(&t[0], axes, norm) } else { fft(&t[0], axes, norm) }.unwrap(),
                    |t| reference::fft(&t[0], axes, inverse, norm).unwrap(),
                );
            }
        }
    }
}

#[test]
fn the_inverse_undoes_the_transform() {
    for (shape, axes) in CASES {
        for norm in NORMS {
            let x = random(1, shape);
            let last = shape[shape.len() - 1];
            let back = irfft(&rfft(&x, axes, norm).unwrap(), last, axes, norm).unwrap();
            assert!(distance(&back, &x) < 1e-6, "{shape:?} {axes} {norm:?}");
            let full: Vec<usize> = shape.iter().copied().chain([2]).collect();
            let z = random(2, &full);
            let back = ifft(&fft(&z, axes, norm).unwrap(), axes, norm).unwrap();
            assert!(distance(&back, &z) < 1e-6, "{shape:?} {axes} {norm:?}");
        }
    }
}

#[test]
fn the_unitary_transform_keeps_the_sum_of_squares() {
    let z = random(1, &[3, 12, 10, 2]);
    let f = fft(&z, 2, FourierNorm::Ortho).unwrap();
    assert!((dot(&f, &f) / dot(&z, &z) - 1.0).abs() < 1e-6);
    // The half spectrum: inner columns count twice.
    let x = random(2, &[3, 12, 10]);
    let f = rfft(&x, 2, FourierNorm::Ortho).unwrap();
    let column = |first: usize, count: usize| {
        let part = f.narrow(2, first, count).unwrap().contiguous().unwrap();
        dot(&part, &part)
    };
    let whole = column(0, 1) + 2.0 * column(1, 4) + column(5, 1);
    assert!((whole / dot(&x, &x) - 1.0).abs() < 1e-6);
}

#[test]
fn the_gradient_is_the_adjoint() {
    // <F x, y> = <x, F* y> with the gradient as F*.
    for (shape, axes) in CASES {
        let last = shape[shape.len() - 1];
        let check = |x: &Tensor, f: &dyn Fn(&Tensor) -> Tensor| {
            let var = Var::from_tensor(x).unwrap();
            let fx = f(&var);
            let y = random(9, fx.dims());
            let grads = (&fx * &y).unwrap().sum_all().unwrap().backward().unwrap();
            let (a, b) = (dot(&fx, &y), dot(x, grads.get(&var).unwrap()));
            assert!((a - b).abs() < 1e-5 * dot(&fx, &fx).sqrt().max(1.0), "{shape:?} {axes}: {a} {b}");
        };
        check(&random(1, shape), &|x| rfft(x, axes, FourierNorm::Ortho).unwrap());
        let half: Vec<usize> = shape[..shape.len() - 1].iter().copied().chain([last / 2 + 1, 2]).collect();
        check(&random(2, &half), &|x| irfft(x, last, axes, FourierNorm::Ortho).unwrap());
    }
}

#[test]
fn the_gradient_of_a_filter_is_finite_differences() {
    let x = random(1, &[2, 6, 5]);
    let filter = random(2, &[2, 6, 3, 2]);
    let f = |x: &Tensor| {
        let spectrum = (rfft(x, 2, FourierNorm::Backward).unwrap() * &filter).unwrap();
        irfft(&spectrum, 5, 2, FourierNorm::Backward).unwrap().sqr().unwrap().sum_all().unwrap()
    };
    let gradient = &output_and_gradients(|t| f(&t[0]), std::slice::from_ref(&x))[1];
    let weight = values(&random(99, &[]))[0];
    let direction = random(3, x.dims());
    let moved = |step: f64| f64::from(values(&f(&(&x + (&direction * step).unwrap()).unwrap()))[0]);
    // The loss is quadratic: a central difference is exact but for rounding.
    let difference = f64::from(weight) * (moved(0.5) - moved(-0.5));
    let exact = dot(gradient, &direction);
    assert!((difference - exact).abs() < 1e-4 * exact.abs().max(1.0), "{difference} {exact}");
}

#[test]
fn transforms_do_not_depend_on_the_threads() {
    let (x, big) = (random(1, &[40, 20, 18]), random(2, &[1, 40, 36, 34]));
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            [(&x, 2, 18), (&big, 3, 34)].map(|(x, axes, last)| {
                let f = rfft(x, axes, FourierNorm::Ortho).unwrap();
                (values(&f), values(&irfft(&f, last, axes, FourierNorm::Ortho).unwrap()))
            })
        })
    };
    let one = run(1);
    assert!([2, 3].iter().all(|&threads| run(threads) == one));
}

#[test]
fn wrong_and_empty_shapes() {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let norm = FourierNorm::Backward;
    assert_eq!(rfft(&zeros(&[0, 4, 6]), 2, norm).unwrap().dims(), [0, 4, 4, 2]);
    assert!(matches!(rfft(&zeros(&[4, 0]), 1, norm), Err(Error::Shape { .. })));
    assert!(matches!(rfft(&zeros(&[4]), 2, norm), Err(Error::Argument { .. })));
    assert!(matches!(irfft(&zeros(&[4, 2]), 8, 1, norm), Err(Error::Shape { .. })));
    assert!(matches!(fft(&zeros(&[4, 3]), 1, norm), Err(Error::Shape { .. })));
}

//! Norms and softmax.

use super::*;
use crate::Activation;

const ALL: [Activation; 9] = [
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

#[test]
fn group_norm() {
    let cases: [(&[usize], usize); 3] = [(&[2, 6, 3, 7], 3), (&[1, 4, 700], 2), (&[3, 8], 2)];
    for (dims, groups) in cases {
        let c = dims[1];
        let x = (random(1, dims) + 3.0).unwrap();
        let inputs = [x, random(2, &[c]), random(3, &[c])];
        for activation in if dims.len() == 4 { &ALL[..] } else { &ALL[1..2] } {
            compare(&format!("group_norm {dims:?} {activation:?}"), 3e-6, &inputs, |x| {
                crate::group_norm(&x[0], &x[1], &x[2], groups, 1e-5, *activation)
            });
        }
    }
}

#[test]
fn row_norms() {
    for (rows, width) in [(1, 1), (19, 3), (70, 33), (5, 200)] {
        let inputs = [random(1, &[rows, width]), random(2, &[width]), random(3, &[width])];
        compare(&format!("layer_norm {rows} {width}"), 5e-6, &inputs, |x| {
            crate::layer_norm(&x[0], &x[1], &x[2], 1e-3, Activation::Gelu)
        });
        compare(&format!("rms_norm {rows} {width}"), 5e-6, &inputs[..2], |x| {
            crate::rms_norm(&x[0], &x[1], 1e-3, Activation::Gelu)
        });
    }
}

#[test]
fn modulated_norm() {
    let inputs = [random(1, &[3, 37, 20]), random(2, &[3, 20]), random(3, &[3, 20])];
    compare("modulated_norm", 5e-6, &inputs, |x| crate::modulated_norm(&x[0], &x[1], &x[2], 1e-5));
}

#[test]
fn softmax() {
    for dims in [[1, 1], [13, 5], [9, 100]] {
        let x = [(random(1, &dims) * 5.0).unwrap()];
        compare("softmax", 2e-6, &x, |x| crate::softmax(&x[0]));
    }
}

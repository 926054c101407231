//! The selective scan and causal convolution.

use super::*;
use crate::{Activation, ScanOptions};

/// Inputs in the order of the operation: five, then skip, gate and bias.
fn inputs(n: usize, d: usize, l: usize, states: usize, groups: usize) -> Vec<Tensor> {
    let shape = if groups == 1 { vec![n, states, l] } else { vec![n, groups, states, l] };
    vec![
        random(1, &[n, d, l]),
        (random(2, &[n, d, l]) * 0.5).unwrap(),
        random(3, &[d, states]).exp().unwrap().neg().unwrap(),
        random(4, &shape),
        random(5, &shape),
        random(6, &[d]),
        random(7, &[n, d, l]),
        random(8, &[d]),
    ]
}

#[test]
fn selective_scan() {
    for (n, d, l, states, groups) in [(2, 6, 37, 4, 1), (1, 12, 16, 16, 2), (2, 5, 5, 3, 1), (1, 1, 1, 1, 1)]
    {
        let x = inputs(n, d, l, states, groups);
        compare(&format!("selective_scan {n} {d} {l} {states} {groups}"), 5e-6, &x, |x| {
            let options = ScanOptions {
                skip: Some(&x[5]),
                gate: Some(&x[6]),
                delta_bias: Some(&x[7]),
                delta_softplus: true,
            };
            crate::selective_scan(&x[0], &x[1], &x[2], &x[3], &x[4], &options)
        });
        compare("selective_scan without options", 5e-6, &x[..5], |x| {
            crate::selective_scan(&x[0], &x[1], &x[2], &x[3], &x[4], &ScanOptions::default())
        });
    }
}

#[test]
fn causal_conv1d() {
    for (n, d, l, taps) in [(2, 5, 33, 4), (1, 2, 1, 3), (3, 1, 150, 1)] {
        let x = [random(1, &[n, d, l]), random(2, &[d, taps]), random(3, &[d])];
        let name = format!("causal_conv1d {n} {d} {l} {taps}");
        compare(&name, 3e-6, &x, |x| crate::causal_conv1d(&x[0], &x[1], Some(&x[2]), Activation::Silu));
        compare(&name, 3e-6, &x[..2], |x| crate::causal_conv1d(&x[0], &x[1], None, Activation::None));
    }
}

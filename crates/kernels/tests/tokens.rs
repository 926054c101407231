//! The operations on tokens: against their composition of transposed ones in double precision.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::Tensor;
use common::{compare, random};
use halocast_kernels::{
    Activation, ScanOrder, TokenScan, causal_conv_tokens, gated_add, modulated_rms_norm, reference,
    selective_scan_tokens,
};

/// An order that is neither forwards nor backwards.
fn stride(l: usize) -> ScanOrder {
    let step = (2..l).find(|step| !l.is_multiple_of(*step) && !(l - 1).is_multiple_of(*step)).unwrap_or(1);
    let mut positions: Vec<u32> = (0..l as u32).collect();
    positions.sort_by_key(|p| (*p as usize % step, l - *p as usize));
    ScanOrder::new(positions).unwrap()
}

#[test]
fn tokens_in_an_order_are_those_of_the_transposed_operations() {
    for (n, l, d, taps) in [(1, 1, 1, 1), (2, 5, 3, 4), (1, 70, 17, 3), (3, 130, 33, 2)] {
        let order = stride(l);
        let inputs = [random(1, &[n, l, d]), random(2, &[d, 1, taps]), random(3, &[d])];
        for activation in [Activation::None, Activation::Silu] {
            type Conv = fn(
                &Tensor,
                &Tensor,
                Option<&Tensor>,
                Activation,
                &ScanOrder,
            ) -> halocast_kernels::Result<Tensor>;
            let conv = |f: Conv, t: &[Tensor]| f(&t[0], &t[1], t.get(2), activation, &order).unwrap();
            for given in [&inputs[..], &inputs[..2]] {
                compare(
                    "causal_conv_tokens",
                    1e-5,
                    given,
                    |t| conv(causal_conv_tokens, t),
                    |t| conv(reference::causal_conv_tokens, t),
                );
            }
        }
    }
}

#[test]
fn the_scan_of_tokens_is_the_transposed_one() {
    for (n, l, d, states, rank) in [(1, 1, 1, 1, 1), (2, 19, 5, 4, 2), (1, 40, 70, 16, 3)] {
        let order = stride(l);
        let inputs = [
            random(1, &[n, l, d]),
            random(2, &[n, l, rank + 2 * states]),
            random(3, &[d, rank]),
            random(4, &[d]),
            random(5, &[d, states]).abs().unwrap().neg().unwrap(),
            random(6, &[d]),
            random(7, &[n, l, d]),
        ];
        type Scan = fn(&TokenScan<'_>, &ScanOrder) -> halocast_kernels::Result<Tensor>;
        let scan = |f: Scan, t: &[Tensor]| {
            let [u, coefficients, step_weight, step_bias, a, skip, gate] =
                [0, 1, 2, 3, 4, 5, 6].map(|i| &t[i]);
            f(&TokenScan { u, coefficients, step_weight, step_bias, a, skip, gate }, &order).unwrap()
        };
        compare(
            "selective_scan_tokens",
            2e-5,
            &inputs,
            |t| scan(selective_scan_tokens, t),
            |t| scan(reference::selective_scan_tokens, t),
        );
    }
}

#[test]
fn gates_and_modulated_norms_are_their_composition() {
    for (n, l, c) in [(1, 1, 5), (2, 7, 17), (3, 900, 64)] {
        let inputs = [random(1, &[n, l, c]), random(2, &[n, l, c]), random(3, &[n, c])];
        compare(
            "gated_add",
            1e-5,
            &inputs,
            |t| gated_add(&t[0], &t[1], &t[2]).unwrap(),
            |t| reference::gated_add(&t[0], &t[1], &t[2]).unwrap(),
        );
        let inputs = [random(1, &[n, l, c]), random(2, &[c]), random(3, &[n, c]), random(4, &[n, c])];
        compare(
            "modulated_rms_norm",
            1e-5,
            &inputs,
            |t| modulated_rms_norm(&t[0], &t[1], &t[2], &t[3], 1e-5).unwrap(),
            |t| reference::modulated_rms_norm(&t[0], &t[1], &t[2], &t[3], 1e-5).unwrap(),
        );
    }
}

#[test]
fn what_is_no_order_is_refused() {
    assert!(ScanOrder::new(vec![1, 2]).is_err());
    let x = random(1, &[1, 4, 2]);
    let short = ScanOrder::forwards(3);
    assert!(causal_conv_tokens(&x, &random(2, &[2, 3]), None, Activation::None, &short).is_err());
    assert!(gated_add(&x, &x, &random(3, &[2, 2])).is_err());
}

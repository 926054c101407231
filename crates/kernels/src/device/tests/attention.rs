//! Attention of both kinds.

use super::*;
use crate::AttentionSpec;

#[test]
fn softmax_attention() {
    // Less than a tile, a tile and a bit, components that are no multiple of 16.
    for (n, m, d, e) in [(3, 5, 7, 2), (70, 130, 20, 33), (1, 1, 1, 1)] {
        for causal in [false, true] {
            let inputs = [random(1, &[2, 2, n, d]), random(2, &[2, 2, m, d]), random(3, &[2, 2, m, e])];
            let spec = AttentionSpec { scale: 0.4, causal };
            // The second example has no key at all for its first queries, or in the smallest case for any.
            let mask: Vec<u8> = (0..2 * m).map(|i| u8::from(i < m || i % 3 == 2)).collect();
            let mask = Tensor::from_vec(mask, (2, m), &Device::Cpu).unwrap();
            for mask in [None, Some(&mask)] {
                let name = format!("attention {n} {m} {d} {e} {causal} {}", mask.is_some());
                compare(&name, 5e-6, &inputs, |x| crate::attention_masked(&x[0], &x[1], &x[2], mask, spec));
            }
        }
    }
}

#[test]
fn linear_attention() {
    let inputs = [random(1, &[2, 2, 9, 4]), random(2, &[2, 2, 9, 4]), random(3, &[2, 2, 9, 5])];
    compare("linear_attention", 5e-6, &inputs, |x| crate::linear_attention(&x[0], &x[1], &x[2], 0.5));
}

#[test]
fn attention_of_maps() {
    let inputs = [random(1, &[2, 3 * 2 * 4, 3, 5])];
    compare("attention_map", 5e-6, &inputs, |x| crate::attention_map(&x[0], 2, 0.5));
    compare("linear_attention_map", 5e-6, &inputs, |x| crate::linear_attention_map(&x[0], 2, 0.5));
}

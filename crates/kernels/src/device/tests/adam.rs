//! Adam's steps.

use super::*;
use crate::{AdamCfg, AdamState, DeviceAdam};

#[test]
fn steps_are_those_of_the_cpu() {
    if !available() {
        return;
    }
    let start = random(1, &[7, 101]);
    for averaged in [false, true] {
        let state =
            |var: &Var| if averaged { AdamState::with_ema(var).unwrap() } else { AdamState::new(707) };
        let run = |there: bool| {
            let var = Var::from_tensor(&start).unwrap();
            let mut state = state(&var);
            let mut device = on_device(|| DeviceAdam::new(&var, &state).unwrap());
            for step in 1..=4 {
                let gradient = random(step + 1, &[7, 101]);
                let cfg = AdamCfg { step, weight_decay: 0.1, ema_decay: 0.9, ..Default::default() };
                if there {
                    device.step(&var, &gradient, &cfg).unwrap();
                } else {
                    state.step(&var, &gradient, &cfg).unwrap();
                }
            }
            let state = if there { device.state().unwrap() } else { state };
            let parts = [values(&var), state.m, state.v, state.ema.unwrap_or_default()];
            parts.map(|x| Tensor::new(x, &Device::Cpu).unwrap())
        };
        let expected = run(false);
        let found = in_every_order(|| run(true).map(|x| bits(&x)));
        for (found, expected) in found.iter().zip(&expected) {
            let found: Vec<f32> = found.iter().map(|&x| f32::from_bits(x)).collect();
            assert_eq!(found.len(), expected.elem_count());
            if !found.is_empty() {
                let off = distance(&Tensor::new(found, &Device::Cpu).unwrap(), expected);
                assert!(off < 1e-6, "{averaged}: off by {off:e}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let var = Var::from_tensor(&random(1, &[4])).unwrap();
    assert!(on_device(|| DeviceAdam::new(&var, &AdamState::new(3))).is_err());
    let mut adam = on_device(|| DeviceAdam::new(&var, &AdamState::new(4)).unwrap());
    assert!(adam.step(&var, &random(1, &[2, 2]), &AdamCfg::default()).is_err());
    assert!(adam.step(&var, &random(1, &[4]), &AdamCfg { step: 0, ..Default::default() }).is_err());
}

fn values(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

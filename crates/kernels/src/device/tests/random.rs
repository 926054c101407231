//! Random numbers: bit for bit those of the CPU.

use halocast_core::{Rng, RngState};

use super::*;
use crate::device::Draw;

#[test]
fn numbers_are_those_of_the_cpu() {
    if !available() {
        return;
    }
    // The second crosses the low word of the counter; the third begins within a block.
    let states = [
        Rng::new(5).state(),
        RngState { key: u64::MAX - 3, position: (1 << 34) - 40 },
        RngState { key: 1, position: 6 },
    ];
    for state in states {
        for count in [1, 4, 2051] {
            for draw in [Draw::Uniform, Draw::Normal] {
                let (found, after) = in_every_order(|| {
                    let mut rng = Rng::from_state(state);
                    let x = on_device(|| match draw {
                        Draw::Uniform => crate::random_uniform(count, &mut rng, &Device::Cpu).unwrap(),
                        Draw::Normal => crate::random_normal(count, &mut rng, &Device::Cpu).unwrap(),
                    });
                    (bits(&x), rng.state())
                });
                let mut rng = Rng::from_state(state);
                let mut expected = vec![0.0; count];
                match draw {
                    Draw::Uniform => rng.fill_uniform(&mut expected),
                    Draw::Normal => rng.fill_normal(&mut expected),
                }
                let expected: Vec<u32> = expected.iter().map(|x| x.to_bits()).collect();
                assert!(found == expected, "{draw:?} from {state:?}");
                assert_eq!(after, rng.state());
            }
        }
    }
}

//! Whole universes against linear theory.

#![allow(clippy::unwrap_used)]

mod common;

use std::f64::consts::TAU;

use common::Modes;
use halocast_core::Cosmology;
use halocast_mock::{FieldOptions, InitialConditions, LinearPower, Transfer, Universe, UniverseConfig};

const SIDE: f64 = 256.0;

fn config(seed: u64, phase_flip: bool) -> UniverseConfig {
    UniverseConfig {
        box_side: SIDE,
        fixed_amplitude: true,
        phase_flip,
        gas: false,
        seed,
        ..Default::default()
    }
}

fn linear(cosmology: &Cosmology) -> LinearPower {
    LinearPower::new(cosmology, Transfer::Wiggles).unwrap()
}

fn modes(config: &UniverseConfig) -> Modes {
    let universe = Universe::simulate(config, &|_, _| {}).unwrap();
    Modes::new(universe.positions(), SIDE, 128)
}

#[test]
fn large_scales_have_the_linear_power_spectrum_today() {
    let power = linear(&Cosmology::camels());
    let mut ratios = vec![0.0; 4];
    for seed in 0..4 {
        for flip in [false, true] {
            let measured = modes(&config(seed, flip)).power(SIDE, 4, |k| power.at(k));
            for (ratio, (p, expected)) in ratios.iter_mut().zip(measured) {
                *ratio += p / expected / 8.0;
            }
        }
    }
    println!("P / P_linear at n = 1, 2, ..: {ratios:.4?}");
    for (n, ratio) in (1..).zip(ratios) {
        let k = TAU / SIDE * f64::from(n);
        assert!(k > 0.08 || (ratio - 1.0).abs() < 0.06, "k = {k:.3} h/Mpc: {ratio}");
    }
}

#[test]
fn the_largest_modes_grow_linearly() {
    let cosmology = Cosmology::camels();
    let power = linear(&cosmology);
    for redshift in [1.0, 0.0] {
        let (mut sum, mut initial_power, mut final_power) = (0.0, 0.0, 0.0);
        for seed in 10..12 {
            for phase_flip in [false, true] {
                let config = UniverseConfig { redshift, ..config(seed, phase_flip) };
                let options = FieldOptions { seed, fixed_amplitude: true, phase_flip };
                let field = InitialConditions::new(&power, config.particles, SIDE, options).unwrap();
                let start = field.particles(&cosmology, 0.1, 0.0);
                let before = Modes::new(&start.positions, SIDE, 128);
                let after = modes(&config);
                before.for_each(|n, weight, i| {
                    if n < 2.0 {
                        sum += weight * (after.values[i] * before.values[i].conj()).re;
                        initial_power += weight * before.values[i].norm_sqr();
                        final_power += weight * after.values[i].norm_sqr();
                    }
                });
            }
        }
        let a = 1.0 / (1.0 + redshift);
        let expected = cosmology.growth(a) / cosmology.growth(0.1);
        let (along, amplitude) =
            (sum / initial_power / expected, (final_power / initial_power).sqrt() / expected);
        println!("growth to a = {a} over D: {along:.4} along the initial modes, {amplitude:.4} in amplitude");
        assert!((along - 1.0).abs() < 0.015, "{along}");
        assert!((amplitude - 1.0).abs() < 0.015, "{amplitude}");
    }
}

#[test]
fn few_steps_and_many_agree_on_large_scales() {
    let power = |steps: usize, redshift_start: f64| {
        let config = UniverseConfig { steps, redshift_start, particles: 32, ..config(1, false) };
        modes(&config).power(SIDE, 4, |_| 1.0)
    };
    let reference = power(60, 30.0);
    println!("8 steps {:?}, 60 steps {reference:?}", power(8, 9.0));
    for (few, many) in power(8, 9.0).iter().zip(&reference) {
        assert!((few.0 / many.0 - 1.0).abs() < 0.03, "{} {}", few.0, many.0);
    }
}

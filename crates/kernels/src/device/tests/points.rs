//! Searches among points, index for index, and what is made of them.

use halocast_core::Rng;

use super::*;
use crate::{Boundary, ChamferCfg, ChamferNorm, SampleCfg};

/// Points on a coarse lattice, some outside the box: many distances are equal.
fn lattice(seed: u64, batch: usize, n: usize, axes: usize) -> Tensor {
    let mut rng = Rng::new(seed);
    let numbers: Vec<f32> = (0..batch * n * axes).map(|_| rng.below(12) as f32 * 0.125 - 0.25).collect();
    Tensor::from_vec(numbers, (batch, n, axes), &Device::Cpu).unwrap()
}

fn uniform(seed: u64, batch: usize, n: usize, axes: usize) -> Tensor {
    crate::random_uniform((batch, n, axes), &mut Rng::new(seed), &Device::Cpu).unwrap()
}

fn spaces() -> [Boundary; 2] {
    [Boundary::Open, Boundary::Periodic([1.0, 0.9, 1.1])]
}

fn words(x: &Tensor) -> Vec<u32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

/// Asserts that `search` finds the same on the device.
fn same<T: PartialEq + std::fmt::Debug>(name: &str, search: impl Fn() -> T) {
    let (expected, launched) = (search(), launches());
    let found = in_every_order(|| on_device(&search));
    assert!(launches() > launched, "{name}: no kernel was launched");
    assert!(found == expected, "{name}");
}

#[test]
fn neighbours_and_balls() {
    if !available() {
        return;
    }
    for (axes, n, m, k) in [(3, 200, 130, 7), (2, 5, 3, 5), (1, 130, 1, 64)] {
        for make in [lattice, uniform] {
            let (points, queries) = (make(1, 2, n, axes), make(2, 2, m, axes));
            for boundary in spaces() {
                same(&format!("knn {axes} {boundary:?}"), || {
                    let near = crate::knn(&points, &queries, k, &boundary).unwrap();
                    (words(&near.indices), bits(&near.squared_distances))
                });
                same(&format!("ball_query {axes} {boundary:?}"), || {
                    let ball = crate::ball_query(&points, &queries, 0.25, 6, &boundary).unwrap();
                    (words(&ball.indices), words(&ball.counts))
                });
            }
        }
    }
}

#[test]
fn farthest_points() {
    if !available() {
        return;
    }
    for (axes, n, m) in [(3, 600, 9), (2, 9, 9), (1, 1, 1)] {
        for make in [lattice, uniform] {
            let points = make(3, 2, n, axes);
            for boundary in spaces() {
                for skip_within in [None, Some(0.05), Some(100.0)] {
                    let cfg = SampleCfg { start: n / 2, boundary, skip_within };
                    same(&format!("{axes} {cfg:?}"), || {
                        words(&crate::farthest_points(&points, m, &cfg).unwrap())
                    });
                }
            }
        }
    }
}

#[test]
fn coordinates_without_distances_are_found_but_in_padding() {
    if !available() {
        return;
    }
    let other = uniform(1, 2, 10, 3);
    for bad in [f32::NAN, f32::INFINITY, 2e18] {
        let mut numbers = vec![0.5f32; 2 * 300 * 3];
        numbers[299 * 3 + 1] = bad;
        let x = Tensor::from_vec(numbers, (2, 300, 3), &Device::Cpu).unwrap();
        on_device(|| {
            assert!(crate::knn(&x, &other, 3, &Boundary::Open).is_err());
            assert!(crate::chamfer_loss(&x, &other, &ChamferCfg::default()).is_err());
            let cfg = ChamferCfg { counts: Some([vec![299, 300], vec![10, 10]]), ..Default::default() };
            assert!(crate::chamfer_loss(&x, &other, &cfg).unwrap().to_scalar::<f32>().unwrap().is_finite());
        });
    }
}

#[test]
fn chamfer() {
    for (axes, norms) in [(3, &[ChamferNorm::L1, ChamferNorm::L2][..]), (2, &[ChamferNorm::L2])] {
        for &norm in norms {
            for boundary in spaces() {
                for counts in [None, Some([vec![150, 60], vec![1, 140]])] {
                    let inputs = [uniform(5, 2, 150, axes), uniform(6, 2, 140, axes)];
                    let cfg = ChamferCfg { norm, boundary, counts, ..Default::default() };
                    let name = format!("chamfer {axes} {cfg:?}");
                    compare(&name, 3e-6, &inputs, |x| crate::chamfer_loss(&x[0], &x[1], &cfg));
                    compare(&name, 3e-6, &inputs, |x| crate::chamfer_directions(&x[0], &x[1], &cfg));
                }
            }
        }
    }
}

#[test]
fn nearest_distance() {
    for boundary in spaces() {
        let inputs = [uniform(5, 2, 130, 3), uniform(6, 2, 20, 3)];
        compare("nearest_distance", 3e-6, &inputs, |x| {
            crate::nearest_distance(&x[0], &x[1], ChamferNorm::L1, &boundary)
        });
    }
}

#[test]
fn interpolation() {
    let (points, queries) = (uniform(1, 2, 20, 3), uniform(2, 2, 33, 3));
    compare("interpolate_points", 2e-6, &[random(3, &[2, 20, 5])], |x| {
        crate::interpolate_points(&x[0], &points, &queries, 3, &Boundary::cube(0.9))
    });
}

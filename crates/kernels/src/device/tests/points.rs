//! Searches among points, index for index, and what is made of them.

use halocast_core::Rng;

use super::*;
use crate::device::{self, Cloud, Pairs, Rows, Sides};
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

fn spaces(axes: usize) -> [(Boundary, Sides); 2] {
    let mut sides = [f32::INFINITY; 3];
    sides[..axes].copy_from_slice(&[1.0, 0.9, 1.1][..axes]);
    [
        (Boundary::Open, Sides { periodic: false, sides: [f32::INFINITY; 3] }),
        (Boundary::Periodic([f64::from(1.0f32), f64::from(0.9f32), f64::from(1.1f32)]), Sides { periodic: true, sides }),
    ]
}

fn cloud(x: &Tensor, sides: &Sides) -> Cloud {
    Cloud::new(x, None, sides).unwrap().unwrap()
}

fn words(x: &Tensor) -> Vec<u32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn neighbours_and_balls() {
    if !available() {
        return;
    }
    for (axes, n, m, k) in [(3, 200, 130, 7), (2, 5, 3, 5), (1, 130, 1, 64)] {
        for make in [lattice, uniform] {
            let (points, queries) = (make(1, 2, n, axes), make(2, 2, m, axes));
            for (boundary, sides) in spaces(axes) {
                let expected = crate::knn(&points, &queries, k, &boundary).unwrap();
                let (indices, squares) = in_every_order(|| {
                    let (points, queries) = (cloud(&points, &sides), cloud(&queries, &sides));
                    let [indices, squares] = device::knn(&points, &queries, k, &sides).unwrap();
                    (words(&indices), bits(&squares))
                });
                assert!(indices == words(&expected.indices), "{axes} {boundary:?}");
                assert!(squares == bits(&expected.squared_distances), "{axes} {boundary:?}");

                let expected = crate::ball_query(&points, &queries, 0.25, 6, &boundary).unwrap();
                let (indices, counts) = in_every_order(|| {
                    let (points, queries) = (cloud(&points, &sides), cloud(&queries, &sides));
                    let [indices, counts] =
                        device::ball_query(&points, &queries, 0.25 * 0.25, 6, &sides).unwrap();
                    (words(&indices), words(&counts))
                });
                assert!(indices == words(&expected.indices), "{axes} {boundary:?}");
                assert!(counts == words(&expected.counts), "{axes} {boundary:?}");
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
            for (boundary, sides) in spaces(axes) {
                for skip_within in [None, Some(0.05), Some(100.0)] {
                    let start = n / 2;
                    let cfg = SampleCfg { start, boundary, skip_within };
                    let expected = crate::farthest_points(&points, m, &cfg).unwrap();
                    let limit = skip_within.map(|limit| limit as f32);
                    let found = in_every_order(|| {
                        words(&device::farthest_points(&cloud(&points, &sides), m, start, limit, &sides).unwrap())
                    });
                    assert!(found == words(&expected), "{axes} {boundary:?} {skip_within:?}");
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
    let sides = spaces(3)[0].1;
    for bad in [f32::NAN, f32::INFINITY, 2e18] {
        let mut numbers = vec![0.5f32; 2 * 300 * 3];
        numbers[299 * 3 + 1] = bad;
        let x = Tensor::from_vec(numbers, (2, 300, 3), &Device::Cpu).unwrap();
        assert!(Cloud::new(&x, None, &sides).unwrap().is_none());
        let counts = Tensor::new(&[299u32, 300], &Device::Cpu).unwrap();
        assert!(Cloud::new(&x, Some(&counts), &sides).unwrap().is_some());
    }
}

#[test]
fn chamfer() {
    for (axes, norms) in [(3, &[ChamferNorm::L1, ChamferNorm::L2][..]), (2, &[ChamferNorm::L2])] {
        for &norm in norms {
            for (boundary, sides) in spaces(axes) {
                for counts in [None, Some([vec![150, 60], vec![1, 140]])] {
                    let inputs = [uniform(5, 2, 150, axes), uniform(6, 2, 140, axes)];
                    let cfg = ChamferCfg { norm, boundary, counts: counts.clone(), ..Default::default() };
                    let counts = counts.unwrap_or([vec![150; 2], vec![140; 2]]);
                    let share = |side: usize, n: usize| -> Vec<f32> {
                        let of = |&count: &usize| (0..n).map(move |i| if i < count { 1.0 / count as f32 } else { 0.0 });
                        counts[side].iter().flat_map(of).collect()
                    };
                    let shares = [share(0, 150), share(1, 140)];
                    let run = |x: &[Tensor], scale: Option<f32>| {
                        let pairs = Pairs {
                            name: "chamfer",
                            clouds: [cloud(&x[0], &sides), cloud(&x[1], &sides)],
                            axes,
                            sides,
                            root: norm == ChamferNorm::L1,
                            counts: counts.clone(),
                        };
                        device::chamfer([&x[0], &x[1]], pairs, &shares, scale)
                    };
                    let scale = (cfg.factor() / 2.0) as f32;
                    let name = format!("chamfer {axes} {norm:?} {boundary:?}");
                    compare(&name, 3e-6, &inputs, |x| run(x, Some(scale)), |x| crate::chamfer_loss(&x[0], &x[1], &cfg));
                    compare(&name, 3e-6, &inputs, |x| run(x, None), |x| crate::chamfer_directions(&x[0], &x[1], &cfg));
                }
            }
        }
    }
}

#[test]
fn nearest_distance() {
    for (boundary, sides) in spaces(3) {
        let inputs = [uniform(5, 2, 130, 3), uniform(6, 2, 20, 3)];
        let run = |x: &[Tensor]| {
            let pairs = Pairs {
                name: "nearest_distance",
                clouds: [cloud(&x[0], &sides), cloud(&x[1], &sides)],
                axes: 3,
                sides,
                root: true,
                counts: [vec![130; 2], vec![20; 2]],
            };
            device::nearest_distance([&x[0], &x[1]], pairs)
        };
        let cpu = |x: &[Tensor]| crate::nearest_distance(&x[0], &x[1], ChamferNorm::L1, &boundary);
        compare("nearest_distance", 3e-6, &inputs, run, cpu);
    }
}

#[test]
fn interpolation() {
    let (points, queries) = (uniform(1, 2, 20, 3), uniform(2, 2, 33, 3));
    let (boundary, sides) = spaces(3)[0];
    compare(
        "interpolate_points",
        2e-6,
        &[random(3, &[2, 20, 5])],
        |x| {
            let [indices, squares] = device::knn(&cloud(&points, &sides), &cloud(&queries, &sides), 3, &sides)?;
            let weights = device::inverse_weights(&squares)?;
            let rows =
                Rows { name: "interpolate", outer: 2, rows: 20, inner: 5, picks: words(&indices), own: true };
            device::gather_weighted(&x[0], rows, 3, weights, (2, 33, 5))
        },
        |x| crate::interpolate_points(&x[0], &points, &queries, 3, &boundary),
    );
}

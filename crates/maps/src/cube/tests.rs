// What a case measured.
#![allow(clippy::print_stdout)]

use halocast_core::Rng;

use super::*;
use crate::{Axis, Centring, Projection, Scheme, assign_3d, project};

const SPATIAL: [Method; 8] = [
    Method::Ngp,
    Method::Cic,
    Method::Tsc,
    Method::Pcs,
    Method::Sphere,
    Method::Sph,
    Method::WendlandC2,
    Method::WendlandC4,
];

fn particles(count: usize) -> (Vec<[f64; 3]>, Vec<f64>, Vec<f64>) {
    let mut rng = Rng::new(3);
    let positions = (0..count).map(|_| std::array::from_fn(|_| 2.0 * rng.uniform())).collect();
    let masses = (0..count).map(|i| 1.0 + (i % 3) as f64).collect();
    (positions, masses, (0..count).map(|i| 1e-3 * 1.7f64.powi((i % 13) as i32)).collect())
}

fn mass(cube: &Cube) -> f64 {
    let cell: f64 = (0..3).map(|a| cube.extent[a] / cube.values.shape()[a] as f64).product();
    cube.values.iter().map(|&v| f64::from(v)).sum::<f64>() * cell
}

#[test]
fn mass_is_conserved_and_does_not_depend_on_threads() {
    let (positions, masses, radii) = particles(200);
    let total: f64 = masses.iter().sum();
    for method in SPATIAL {
        for shape in [[5, 5, 5], [40, 24, 33]] {
            let volume = Volume { shape, ..Volume::periodic_box(1, 2.0) };
            let run = || {
                project_cube("m", &positions, Masses::Each(&masses), Some(&radii), &volume, method).unwrap()
            };
            let cube = run();
            assert!((mass(&cube) / total - 1.0).abs() < 1e-6, "{method:?} {}", mass(&cube));
            let single = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
            assert_eq!(cube, single.install(run));
        }
    }
    // One kernel of 100 cells.
    let volume = Volume::periodic_box(220, 2.2);
    for method in [Method::Sphere, Method::Sph] {
        let one = [[0.31, 1.9, 1.1]];
        let cube = project_cube("m", &one, Masses::Equal(2.0), Some(&[1.0]), &volume, method).unwrap();
        assert!((mass(&cube) / 2.0 - 1.0).abs() < 1e-5);
    }
}

#[test]
fn meshes_are_those_of_the_periodic_assignment() {
    let (positions, masses, _) = particles(300);
    let volume = Volume::periodic_box(9, 2.0);
    for (method, scheme) in [(Method::Ngp, Scheme::Ngp), (Method::Pcs, Scheme::Pcs)] {
        let masses = Masses::Each(&masses);
        let cube = project_cube("m", &positions, masses, None, &volume, method).unwrap();
        let grid = assign_3d(&positions, masses, [9; 3], 2.0, scheme, Centring::Cell).unwrap();
        let cell = (2.0f32 / 9.0).powi(3);
        assert!(cube.values.iter().zip(&grid).all(|(c, g)| (c * cell - g).abs() < 1e-5));
    }
}

#[test]
fn the_sum_along_z_is_the_map() {
    let (positions, masses, radii) = particles(60);
    let masses = Masses::Each(&masses);
    let volume = Volume::periodic_box(32, 2.0);
    let frame = Projection::periodic_box(Axis::Z, 32, 2.0);
    for method in SPATIAL {
        let cube = project_cube("m", &positions, masses, Some(&radii), &volume, method).unwrap();
        let map = project("m", &positions, masses, Some(&radii), &frame, method).unwrap();
        let column = cube.values.sum_axis(ndarray::Axis(2)) / 16.0;
        let difference: f32 =
            column.t().iter().zip(&map.values).map(|(a, b)| (a - b).abs()).sum::<f32>() / map.values.sum();
        assert!(difference < 1e-3, "{method:?} {difference}");
    }
}

/// Cells, places and weights that integrate over the part of each cell that a kernel reaches: `points` pairs of Gauss's nodes a
/// cell.
fn nodes(at: f64, radius: f64, cells: usize, points: usize) -> Vec<(usize, f64, f64)> {
    let mut list = Vec::new();
    for cell in 0..cells {
        let (low, high) = ((cell as f64).max(at - radius), (cell as f64 + 1.0).min(at + radius));
        if low >= high {
            continue;
        }
        let step = (high - low) / points as f64;
        for i in 0..points {
            for side in [-0.5, 0.5] {
                list.push((cell, low + step * (i as f64 + 0.5 + side / 3f64.sqrt()), 0.5 * step));
            }
        }
    }
    list
}

/// A kernel's mass in every cell, in float64.
fn slow(method: Method, at: [f64; 3], radius: f64, n: usize) -> Array3<f64> {
    let kernel = method.kernel().unwrap();
    let mut mass = Array3::<f64>::zeros((n, n, n));
    if method == Method::Sphere {
        // Columns of exact length through points of the plane.
        let points = ((200.0 / radius) as usize).clamp(2, 128);
        let [xs, ys] = [0, 1].map(|a| nodes(at[a], radius, n, points));
        for &(i, x, wx) in &xs {
            for &(j, y, wy) in &ys {
                let half = (radius.powi(2) - (x - at[0]).powi(2) - (y - at[1]).powi(2)).max(0.0).sqrt();
                let (low, high) = (at[2] - half, at[2] + half);
                for k in low.floor() as usize..=(high.floor() as usize).min(n - 1) {
                    let length = high.min(k as f64 + 1.0) - low.max(k as f64);
                    mass[[i, j, k]] += wx * wy * length.max(0.0);
                }
            }
        }
        mass *= kernel.density(0.0).unwrap() / radius.powi(3);
        return mass;
    }
    let points = ((20.0 / radius) as usize).clamp(1, 32);
    let [xs, ys, zs] = [0, 1, 2].map(|a| nodes(at[a], radius, n, points));
    for &(i, x, wx) in &xs {
        for &(j, y, wy) in &ys {
            let across = (x - at[0]).powi(2) + (y - at[1]).powi(2);
            if across > radius * radius {
                continue;
            }
            for &(k, z, wz) in &zs {
                let q = (across + (z - at[2]).powi(2)).sqrt() / radius;
                mass[[i, j, k]] += wx * wy * wz * kernel.density(q).unwrap() / radius.powi(3);
            }
        }
    }
    mass
}

#[test]
fn the_shape_is_that_of_a_supersampled_kernel() {
    use rayon::prelude::*;
    // Radii of a thousandth to a hundred cells; about the crossing of eight cells where they are small.
    let methods = [Method::Sphere, Method::Sph, Method::WendlandC2, Method::WendlandC4];
    let radii = [1e-3, 0.3, 1.3, 5.1, 7.9, 8.1, 9.9, 10.1, 30.0, 100.0];
    let cases: Vec<(Method, f64)> = methods.into_iter().flat_map(|m| radii.map(|r| (m, r))).collect();
    cases.par_iter().for_each(|&(method, cells)| {
        let n = (2.0f64 * cells).ceil() as usize + 3;
        let volume = Volume { periodic: false, ..Volume::periodic_box(n, n as f64) };
        let at = [0.21, -0.4, 0.07].map(|d: f64| (n / 2) as f64 + d * cells.min(1.0));
        let cube = project_cube("m", &[at], Masses::Equal(1.0), Some(&[cells]), &volume, method).unwrap();
        let exact = slow(method, at, cells, n);
        assert!((exact.sum() - 1.0).abs() < 2e-4, "{method:?} {cells}: the reference has {}", exact.sum());
        let l1: f64 = exact.iter().zip(&cube.values).map(|(a, b)| (a - f64::from(*b)).abs()).sum();
        let worst = cube.values.iter().fold(0.0f64, |m, v| m.max(f64::from(*v)));
        println!("{method:?} of {cells} cells: {l1:.1e}");
        assert!(l1 < 1e-3 && worst.is_finite(), "{method:?} {cells}: {l1:e}");
    });
}

#[test]
fn bad_input_is_named() {
    let volume = Volume::periodic_box(4, 1.0);
    let run = |p: f64, r: Option<&[f64]>, volume: &Volume, method| {
        project_cube("m", &[[0.5, 0.5, p]], Masses::Equal(1.0), r, volume, method)
            .map_err(|e| e.to_string())
            .unwrap_err()
    };
    assert!(run(f64::NAN, None, &volume, Method::Ngp).contains("particle 0"));
    assert!(run(0.0, None, &volume, Method::Sph).contains("radii"));
    assert!(run(0.0, Some(&[9.0]), &volume, Method::Sph).contains("radius of particle 0"));
    assert!(run(0.0, Some(&[0.1]), &volume, Method::Wendland).contains("Wendland"));
    let flat = Volume { sides: [1.0, 0.0, 1.0], ..volume };
    assert!(run(0.0, None, &flat, Method::Ngp).contains("side"));
}

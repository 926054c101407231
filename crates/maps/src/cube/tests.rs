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

#[test]
fn the_shape_is_that_of_a_supersampled_kernel() {
    // Radii of 0.3 to 60 cells; the reference takes up to 80 points a cell along each axis.
    for method in [Method::Sphere, Method::Sph, Method::WendlandC2, Method::WendlandC4] {
        let kernel = method.kernel().unwrap();
        for cells in [0.3, 1.3, 5.1, 30.0, 60.0] {
            let n = (2.0f64 * cells).ceil() as usize + 3;
            let volume = Volume { periodic: false, ..Volume::periodic_box(n, n as f64) };
            let at = [0.5 * n as f64 + 0.21, 0.5 * n as f64 - 0.4, 0.5 * n as f64 + 0.07];
            let cube = project_cube("m", &[at], Masses::Equal(1.0), Some(&[cells]), &volume, method).unwrap();
            let points = ((40.0 / cells) as usize).clamp(3, 80);
            let point = |i: usize, s: usize| i as f64 + (s as f64 + 0.5) / points as f64;
            let mut slow = Array3::<f64>::zeros((n, n, n));
            for ((x, y, z), value) in slow.indexed_iter_mut() {
                let nearest = |i: usize, a: f64| (i as f64 - a).max(a - i as f64 - 1.0).max(0.0);
                let nearest = [nearest(x, at[0]), nearest(y, at[1]), nearest(z, at[2])];
                if nearest.iter().map(|d| d * d).sum::<f64>() > cells * cells {
                    continue;
                }
                for s in 0..points.pow(3) {
                    let d = [
                        point(x, s / points / points) - at[0],
                        point(y, s / points % points) - at[1],
                        point(z, s % points) - at[2],
                    ];
                    let q = d.iter().map(|d| d * d).sum::<f64>().sqrt() / cells;
                    *value += kernel.density(q).unwrap();
                }
            }
            slow /= slow.sum();
            let l1: f64 = slow.iter().zip(&cube.values).map(|(a, b)| (a - f64::from(*b)).abs()).sum();
            // The reference itself counts points of a sphere's rim in or out.
            let limit = if method == Method::Sphere { 5e-3 } else { 1.5e-3 };
            assert!(l1 < limit, "{method:?} {cells}: {l1}");
        }
    }
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

// What a case measured.
#![allow(clippy::print_stdout)]

use halocast_core::Rng;

use super::*;
use crate::reference::{Sampling, project_reference};

const ALL: [Method; 9] = Method::ALL;
const SIDE: f64 = 5.0;

struct Particles {
    positions: Vec<[f64; 3]>,
    masses: Vec<f64>,
    radii: Vec<f64>,
}

/// Radii from a hundredth of a pixel to beyond the box.
fn particles(count: usize) -> Particles {
    let mut rng = Rng::new(1);
    let mut uniform = move || rng.uniform();
    Particles {
        positions: (0..count).map(|_| std::array::from_fn(|_| SIDE * uniform())).collect(),
        masses: (0..count).map(|i| 1.0 + (i % 5) as f64).collect(),
        radii: (0..count).map(|i| 0.005 * 1.5f64.powi((i % 18) as i32)).collect(),
    }
}

fn run(p: &Particles, projection: &Projection, method: Method) -> Array2<f64> {
    let map =
        project("m", &p.positions, Masses::Each(&p.masses), Some(&p.radii), projection, method).unwrap();
    map.values.mapv(|v| f64::from(v) * map.pixel_area())
}

fn close(a: &Array2<f64>, b: &Array2<f64>, tolerance: f64) {
    let scale = b.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst <= tolerance * scale, "{worst} of {scale}");
}

#[test]
fn mass_is_conserved_by_every_method_on_every_grid() {
    let p = particles(900);
    let total: f64 = p.masses.iter().sum();
    for method in ALL {
        for shape in [[7, 7], [32, 20], [128, 128]] {
            let projection = Projection { shape, ..Projection::periodic_box(Axis::Y, 1, SIDE) };
            let mass = run(&p, &projection, method).sum();
            assert!((mass / total - 1.0).abs() < 1e-6, "{method:?} {shape:?} {mass} {total}");
        }
    }
}

#[test]
fn a_shift_by_whole_pixels_moves_the_image() {
    let mut p = particles(300);
    let projection = Projection::periodic_box(Axis::Z, 20, SIDE);
    let before: Vec<_> = ALL.iter().map(|&m| run(&p, &projection, m)).collect();
    for position in &mut p.positions {
        position[0] += 3.0 * SIDE / 20.0;
        position[1] -= 7.0 * SIDE / 20.0;
    }
    for (method, before) in ALL.iter().zip(before) {
        let after = run(&p, &projection, *method);
        let moved = Array2::from_shape_fn((20, 20), |(y, x)| before[[(y + 7) % 20, (x + 17) % 20]]);
        close(&after, &moved, 1e-5);
    }
}

#[test]
fn a_quarter_turn_turns_the_image() {
    let p = particles(300);
    let turned = Particles {
        positions: p.positions.iter().map(|q| [SIDE - q[1], q[0], q[2]]).collect(),
        masses: p.masses.clone(),
        radii: p.radii.clone(),
    };
    let projection = Projection::periodic_box(Axis::Z, 16, SIDE);
    for method in ALL {
        let (a, b) = (run(&p, &projection, method), run(&turned, &projection, method));
        // (x, y) -> (-y, x): the pixel [y, x] goes to [x, -y].
        close(&b, &Array2::from_shape_fn((16, 16), |(y, x)| a[[15 - x, y]]), 1e-5);
    }
}

#[test]
fn the_lines_of_sight_are_cyclic() {
    let p = particles(200);
    let cycled = Particles {
        positions: p.positions.iter().map(|q| [q[1], q[2], q[0]]).collect(),
        masses: p.masses.clone(),
        radii: p.radii.clone(),
    };
    for (a, b) in [(Axis::X, Axis::Z), (Axis::Y, Axis::X), (Axis::Z, Axis::Y)] {
        let frame = |axis| Projection::periodic_box(axis, 12, SIDE);
        close(&run(&p, &frame(a), Method::Sph), &run(&cycled, &frame(b), Method::Sph), 1e-6);
    }
}

#[test]
fn a_uniform_lattice_gives_a_uniform_image() {
    let positions: Vec<[f64; 3]> =
        (0..32 * 32).map(|i| [((i / 32) as f64 + 0.5) / 32.0, ((i % 32) as f64 + 0.5) / 32.0, 0.5]).collect();
    let radii = vec![0.2; positions.len()];
    for method in ALL {
        let frame = Projection::periodic_box(Axis::Z, 16, 1.0);
        let map = project("m", &positions, Masses::Equal(1.0), Some(&radii), &frame, method).unwrap();
        assert!(map.values.iter().all(|v| (v / 1024.0 - 1.0).abs() < 2e-3), "{method:?}");
    }
}

#[test]
fn tiny_radii_are_the_nearest_grid_point() {
    let mut p = particles(400);
    let projection = Projection::periodic_box(Axis::X, 24, SIDE);
    let expected = run(&p, &projection, Method::Ngp);
    for radius in [0.0, 1e-300, 1e-9] {
        p.radii.fill(radius);
        for method in [Method::Sphere, Method::Sph, Method::Wendland] {
            close(&run(&p, &projection, method), &expected, 1e-6);
        }
    }
}

#[test]
fn agrees_with_the_reference() {
    // Radii of 0.1 to 60 pixels, with single kernels in view: the hardest case.
    for (method, tolerance) in [(Method::Sph, 2e-3), (Method::Wendland, 2e-3), (Method::Sphere, 1e-2)] {
        for (i, radius) in [0.005, 0.04, 0.13, 0.5, 1.1, 2.0, 3.1].into_iter().enumerate() {
            let p = Particles {
                positions: vec![[1.234 + 0.01 * i as f64, 4.87, 1.0], [3.21, 2.345, 4.0]],
                masses: vec![1.0, 2.0],
                radii: vec![radius; 2],
            };
            for periodic in [true, false] {
                let frame = Projection { periodic, ..Projection::periodic_box(Axis::Z, 100, SIDE) };
                let sampling = Sampling::centred(if radius < 0.1 { 64 } else { 8 });
                let slow = project_reference(&p.positions, &p.masses, &p.radii, &frame, method, sampling);
                let slow = slow.unwrap().mapv(|v| v * SIDE * SIDE / 1e4);
                close(&run(&p, &frame, method), &slow, tolerance);
            }
        }
    }
}

#[test]
fn the_shape_is_that_of_a_supersampled_map() {
    use rayon::prelude::*;
    // Radii of a thousandth to a hundred pixels; the reference takes at least 16 x 16 points a pixel and 160 a radius.
    let kernels = ALL.into_iter().filter(|m| m.needs_radii());
    let radii = [1e-3, 0.07, 0.4, 1.0, 3.3, 5.9, 6.1, 7.9, 8.1, 12.0, 40.0, 100.0];
    let cases: Vec<(Method, f64)> = kernels.flat_map(|m| radii.map(|r| (m, r))).collect();
    cases.par_iter().for_each(|&(method, pixels)| {
        let n = (2.0f64 * pixels).ceil() as usize + 4;
        let frame = Projection { periodic: false, ..Projection::periodic_box(Axis::Z, n, n as f64) };
        let (one, radius, middle) = (Masses::Equal(1.0), [pixels], (n / 2) as f64);
        let run = |at: [f64; 3]| project("m", &[at], one, Some(&radius), &frame, method).unwrap().values;
        let l1: f64 = if pixels < 0.5 {
            // On the edge between two pixels: one half each, and nothing elsewhere.
            let fast = run([middle, middle + 0.5, 1.0]);
            let exact =
                |y: usize, x: usize| if y == n / 2 && (x == n / 2 || x + 1 == n / 2) { 0.5 } else { 0.0 };
            fast.indexed_iter().map(|((y, x), v)| (f64::from(*v) - exact(y, x)).abs()).sum()
        } else {
            let at = [middle + 0.13, middle + 0.37, 1.0];
            let points = Sampling::centred(((160.0 / pixels) as usize).clamp(16, 160));
            let slow = project_reference(&[at], &[1.0], &radius, &frame, method, points).unwrap();
            slow.iter().zip(&run(at)).map(|(a, b)| (a - f64::from(*b)).abs()).sum()
        };
        println!("{method:?} of {pixels} pixels: {l1:.1e}");
        assert!(l1 < 1e-3, "{method:?} of {pixels} pixels: {l1:e}");
    });
}

#[test]
fn an_open_image_holds_only_what_falls_inside() {
    let half = |method| {
        let frame = Projection { periodic: false, ..Projection::periodic_box(Axis::Z, 10, 1.0) };
        let edge = [[0.0, 0.5, 0.5], [0.5, 0.5, 2.0]];
        let map = project("m", &edge, Masses::Equal(1.0), Some(&[0.3, 0.3]), &frame, method).unwrap();
        map.values.sum() * map.pixel_area() as f32
    };
    for method in [Method::Cic, Method::Sphere, Method::Sph, Method::Wendland] {
        assert!((half(method) - 0.5).abs() < 1e-5, "{method:?} {}", half(method));
    }
    let wide = |method| {
        let frame = Projection { periodic: false, ..Projection::periodic_box(Axis::Z, 200, 1.0) };
        let edge = [[0.0, 0.5, 0.5]];
        let map = project("m", &edge, Masses::Equal(1.0), Some(&[0.4]), &frame, method).unwrap();
        map.values.sum() * map.pixel_area() as f32
    };
    assert!((wide(Method::Sph) - 0.5).abs() < 1e-4);
}

#[test]
fn slabs_sum_to_the_whole_box_at_any_number_of_threads() {
    let p = particles(20_000);
    let run = || {
        let masses = Masses::Each(&p.masses);
        project_slabs("Mcdm", &p.positions, masses, Some(&p.radii), SIDE, 5, 16, Method::Sphere).unwrap()
    };
    let maps = run();
    assert_eq!(maps.len(), 15);
    for (axis, maps) in Axis::ALL.iter().zip(maps.chunks(5)) {
        let whole = Projection::periodic_box(*axis, 16, SIDE);
        let masses = Masses::Each(&p.masses);
        let whole = project("Mcdm", &p.positions, masses, Some(&p.radii), &whole, Method::Sphere).unwrap();
        let sum = maps.iter().fold(Array2::<f32>::zeros((16, 16)), |sum, m| sum + &m.values);
        assert!(sum.iter().zip(&whole.values).all(|(a, b)| (a / b - 1.0).abs() < 1e-5));
    }
    let single = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(maps, single.install(run));
    assert_eq!(maps[0].unit, Unit::msun_h_per_mpc_h2());
}

#[test]
fn bad_input_is_named() {
    let frame = Projection::periodic_box(Axis::Z, 8, 1.0);
    let project = |p: [f64; 3], r: Option<&[f64]>, frame: &Projection| {
        project("m", &[[0.5; 3], p], Masses::Equal(1.0), r, frame, Method::Sph)
            .map(|_| ())
            .map_err(|e| e.to_string())
    };
    assert!(project([0.0, 0.0, f64::NAN], Some(&[0.1; 2]), &frame).unwrap_err().contains("particle 1"));
    assert!(project([0.0; 3], Some(&[0.1, -1.0]), &frame).unwrap_err().contains("radius of particle 1"));
    assert!(project([0.0; 3], Some(&[0.1, 9.0]), &frame).unwrap_err().contains("radius of particle 1"));
    assert!(project([0.0; 3], Some(&[0.1]), &frame).unwrap_err().contains("radii has 1"));
    assert!(project([0.0; 3], None, &frame).unwrap_err().contains("radii"));
    let empty = Projection { shape: [0, 8], ..frame };
    assert!(project([0.0; 3], Some(&[0.1; 2]), &empty).unwrap_err().contains("pixels"));
}

//! Projection and augmentation on tensors beside the same on maps, cubes and clouds, on the processor as a device.

// A tensor that cannot be made fails its test.
#![allow(clippy::unwrap_used)]

use candle_core::{Device, Tensor, Var};
use halocast::core::{Cloud, Cube, Map, Rng, Unit};
use halocast::maps::{
    Augmentation, Axis, Centring, CloudAugmentation, Dihedral, Masses, Method, Octahedral, Projection,
    Recipe, Scheme, assign_2d, assign_3d, assign_tensor, project, project_tensor, rotate, rotate_tensor,
    shift, shift_cube, shift_tensor, symmetry_tensor,
};
use ndarray::{Array2, Array3};

const ALL: [Scheme; 4] = [Scheme::Ngp, Scheme::Cic, Scheme::Tsc, Scheme::Pcs];

#[test]
fn meshes_are_those_of_the_processor() {
    let mut rng = Rng::new(2);
    let points: Vec<[f32; 3]> = (0..3000).map(|_| [0; 3].map(|_| 5.0 * rng.uniform() as f32)).collect();
    let masses: Vec<f64> = (0..points.len()).map(|i| 1.0 + (i % 5) as f64).collect();
    let flat: Vec<f32> = points.iter().flatten().copied().collect();
    let tensor = Tensor::from_vec(flat, (points.len(), 3), &Device::Cpu).unwrap();
    let weights = Tensor::from_vec(masses.clone(), points.len(), &Device::Cpu).unwrap();
    for scheme in ALL {
        let fast = assign_tensor(&tensor, Some(&weights), &[12, 9, 7], &[5.0; 3], true, scheme).unwrap();
        let slow =
            assign_3d(&points, Masses::Each(&masses), [12, 9, 7], 5.0, scheme, Centring::Cell).unwrap();
        let fast: Vec<f32> = fast.flatten_all().unwrap().to_vec1().unwrap();
        let most = slow.iter().fold(0f32, |m, v| m.max(*v));
        assert!(fast.iter().zip(&slow).all(|(a, b)| (a - b).abs() <= 1e-5 * most), "{scheme:?}");

        let plane: Vec<[f32; 2]> = points.iter().map(|p| [p[0], p[1]]).collect();
        let xy = tensor.narrow(1, 0, 2).unwrap();
        let fast = assign_tensor(&xy, None, &[31, 20], &[5.0; 2], true, scheme).unwrap();
        let slow = assign_2d(&plane, Masses::Equal(1.0), [31, 20], 5.0, scheme, Centring::Cell).unwrap();
        let fast: Vec<f32> = fast.flatten_all().unwrap().to_vec1().unwrap();
        let most = slow.iter().fold(0f32, |m, v| m.max(*v));
        assert!(fast.iter().zip(&slow).all(|(a, b)| (a - b).abs() <= 1e-5 * most), "{scheme:?}");
    }
}

#[test]
fn an_open_grid_loses_what_is_outside() {
    let at = Tensor::new(&[[0.0f32, 2.0], [9.0, 2.0]], &Device::Cpu).unwrap();
    let grid = assign_tensor(&at, None, &[4, 4], &[4.0, 4.0], false, Scheme::Cic).unwrap();
    assert_eq!(grid.sum_all().unwrap().to_scalar::<f32>().unwrap(), 0.5);
}

#[test]
fn gradients_are_those_of_the_weights() {
    // The mass of cell (1, 1) by cloud in cell: d/dx of (1 - u) (1 - v) with u = x - 1.5.
    let at = Var::from_tensor(&Tensor::new(&[[1.75f64, 1.6]], &Device::Cpu).unwrap()).unwrap();
    let grid = assign_tensor(at.as_tensor(), None, &[4, 4], &[4.0, 4.0], true, Scheme::Cic).unwrap();
    let cell = grid.get(1).unwrap().get(1).unwrap();
    let gradient = cell.backward().unwrap().get(&at).unwrap().to_vec2::<f64>().unwrap();
    assert!((gradient[0][0] + 0.9).abs() < 1e-6 && (gradient[0][1] + 0.75).abs() < 1e-6, "{gradient:?}");
}

#[test]
fn bad_meshes_are_named() {
    let at = Tensor::new(&[[0.0f32, 2.0]], &Device::Cpu).unwrap();
    let run = |shape: &[usize], sides: &[f64], masses: Option<&Tensor>| {
        assign_tensor(&at, masses, shape, sides, true, Scheme::Ngp).unwrap_err().to_string()
    };
    assert!(run(&[4], &[1.0], None).contains("shape"));
    assert!(run(&[4, 0], &[1.0, 1.0], None).contains("cells"));
    assert!(run(&[4, 4], &[1.0, f64::NAN], None).contains("sides"));
    assert!(run(&[4, 4, 4], &[1.0; 3], None).contains("positions"));
    assert!(run(&[4, 4], &[1.0; 2], Some(&at)).contains("masses"));
}

#[test]
fn kernels_are_those_of_the_processor() {
    let mut rng = Rng::new(4);
    let n = 400;
    let points: Vec<[f32; 3]> = (0..n).map(|_| [0; 3].map(|_| 3.0 * rng.uniform() as f32)).collect();
    let masses: Vec<f64> = (0..n).map(|i| 1.0 + (i % 3) as f64).collect();
    // From far below a pixel to a third of the image.
    let radii: Vec<f64> = (0..n).map(|i| 0.002 * 1.35f64.powi((i % 21) as i32)).collect();
    let flat: Vec<f32> = points.iter().flat_map(|p| [p[0], p[1]]).collect();
    let at = Tensor::from_vec(flat, (n, 2), &Device::Cpu).unwrap();
    let mass = Tensor::from_vec(masses.clone(), n, &Device::Cpu).unwrap();
    let radius = Tensor::from_vec(radii.clone(), n, &Device::Cpu).unwrap();
    for method in Method::ALL {
        for periodic in [true, false] {
            let image = project_tensor(&at, &mass, Some(&radius), [48, 48], [3.0; 2], periodic, method);
            let fast: Vec<f32> = image.unwrap().flatten_all().unwrap().to_vec1().unwrap();
            let frame = Projection { periodic, ..Projection::periodic_box(Axis::Z, 48, 3.0) };
            let slow = project("m", &points, Masses::Each(&masses), Some(&radii), &frame, method).unwrap();
            let slow: Vec<f64> = slow.values.iter().map(|v| f64::from(*v) * slow.pixel_area()).collect();
            let most = slow.iter().fold(0.0f64, |m, v| m.max(*v));
            let worst = fast.iter().zip(&slow).fold(0.0f64, |m, (a, b)| m.max((f64::from(*a) - b).abs()));
            assert!(worst <= 1e-5 * most, "{method:?} periodic {periodic}: {worst:e} of {most:e}");
        }
    }
}

#[test]
fn gradients_of_masses_are_what_falls_into_the_pixels() {
    let at = Tensor::new(&[[1.5f32, 1.5], [0.3, 2.9]], &Device::Cpu).unwrap();
    let mass = Var::from_tensor(&Tensor::new(&[1.0f32, 2.0], &Device::Cpu).unwrap()).unwrap();
    let radius = Tensor::new(&[0.9f32, 0.2], &Device::Cpu).unwrap();
    let image =
        project_tensor(&at, mass.as_tensor(), Some(&radius), [3, 3], [3.0; 2], true, Method::Sph).unwrap();
    let sum = image.sum_all().unwrap();
    assert!((sum.to_scalar::<f32>().unwrap() - 3.0).abs() < 1e-5);
    let gradient = sum.backward().unwrap().get(&mass).unwrap().to_vec1::<f32>().unwrap();
    assert!(gradient.iter().all(|g| (g - 1.0).abs() < 1e-5), "{gradient:?}");
}

#[test]
fn bad_kernels_are_named() {
    let at = Tensor::new(&[[1.5f32, 1.5]], &Device::Cpu).unwrap();
    let one = Tensor::new(&[1.0f32], &Device::Cpu).unwrap();
    let nan = Tensor::new(&[f32::NAN], &Device::Cpu).unwrap();
    let run = |radii: Option<&Tensor>, shape, sides| {
        project_tensor(&at, &one, radii, shape, sides, true, Method::Sph).unwrap_err().to_string()
    };
    assert!(run(None, [4, 4], [1.0; 2]).contains("radii"));
    assert!(run(Some(&at), [4, 4], [1.0; 2]).contains("radii"));
    assert!(run(Some(&nan), [4, 4], [1.0; 2]).contains("radius of particle 0"));
    assert!(run(Some(&one), [4, 4], [1.0, 2.0]).contains("square"));
    assert!(run(Some(&one), [0, 4], [1.0; 2]).contains("image"));
}

fn map(i: usize) -> Map {
    let values = Array2::from_shape_fn((12, 12), |(y, x)| 1.0 + ((i * 97 + 12 * y + x) as f32 * 0.37).sin());
    Map::square("m", values, 2.0)
}

fn tensor(map: &Map) -> Tensor {
    let [ny, nx] = map.shape();
    Tensor::from_vec(map.values.iter().copied().collect::<Vec<f32>>(), (1, ny, nx), &Device::Cpu).unwrap()
}

fn same(tensor: &Tensor, expected: impl Iterator<Item = f32>) {
    let found: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
    let expected: Vec<f32> = expected.collect();
    assert_eq!(found.len(), expected.len());
    let most = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1e-5 * most));
}

#[test]
fn symmetries_and_shifts_are_those_of_maps_and_cubes() {
    let one = map(1);
    for element in Dihedral::all() {
        same(&element.apply_tensor(&tensor(&one)).unwrap(), element.apply(&one).values.iter().copied());
    }
    same(&shift_tensor(&tensor(&one), &[5, -30]).unwrap(), shift(&one, [5, -30]).values.iter().copied());
    let cube = Cube {
        values: Array3::from_shape_fn((2, 3, 4), |(x, y, z)| (12 * x + 4 * y + z) as f32),
        extent: [2.0, 3.0, 4.0],
        length_unit: Unit::mpc_h(),
        unit: Unit::dimensionless(),
        field: "c".into(),
        periodic: true,
    };
    let values: Vec<f32> = cube.values.iter().copied().collect();
    let cells = Tensor::from_vec(values, (1, 2, 3, 4), &Device::Cpu).unwrap();
    for element in Octahedral::all() {
        same(&symmetry_tensor(&cells, element).unwrap(), element.apply(&cube).values.iter().copied());
    }
    same(&shift_tensor(&cells, &[1, -2, 7]).unwrap(), shift_cube(&cube, [1, -2, 7]).values.iter().copied());
}

#[test]
fn random_changes_are_those_of_the_processor() {
    let maps: Vec<Map> = (0..5).map(map).collect();
    let all = Tensor::stack(&maps.iter().map(tensor).collect::<Vec<_>>(), 0).unwrap();
    let augmentation = Augmentation {
        dihedral: true,
        shift: true,
        crop: Some([7, 9]),
        scale: Some([0.5, 2.0]),
        noise: Some(0.3),
    };
    let rng = Rng::new(6);
    let expected = augmentation.apply_all(&maps, &rng).unwrap();
    let found = augmentation.apply_tensor(&all, true, &rng).unwrap();
    same(&found, expected.iter().flat_map(|m| m.values.iter().copied()));
    for recipe in [Recipe::Mudur6, Recipe::Mudur24, Recipe::Dihedral8] {
        let copies = recipe.apply(&maps[0], &mut Rng::new(2)).unwrap();
        let found = recipe.apply_tensor(&tensor(&maps[0]), &mut Rng::new(2)).unwrap();
        same(&found, copies.iter().flat_map(|m| m.values.iter().copied()));
    }
    for (degrees, periodic) in [(33.0, true), (-100.0, false), (90.0, true)] {
        let one = Map { periodic, ..map(3) };
        let found = rotate_tensor(&tensor(&one), degrees, periodic).unwrap();
        same(&found, rotate(&one, degrees).unwrap().values.iter().copied());
    }
}

#[test]
fn clouds_turn_with_their_velocities() {
    let mut rng = Rng::new(9);
    let mut random = |n: usize| Array2::from_shape_fn((n, 3), |_| (10.0 * rng.uniform()) as f32);
    let (positions, velocities) = (random(50), random(50));
    let as_tensor = |a: &Array2<f32>| {
        Tensor::from_vec(a.iter().copied().collect::<Vec<f32>>(), (50, 3), &Device::Cpu).unwrap()
    };
    for (side, augmentation) in [
        (Some(10.0), CloudAugmentation { octahedral: true, translation: true, rotation: false }),
        (None, CloudAugmentation { octahedral: true, translation: false, rotation: true }),
    ] {
        let mut cloud = Cloud::new(positions.clone(), Unit::mpc_h(), side).unwrap();
        cloud.features = velocities.clone();
        cloud.feature_names = ["vx", "vy", "vz"].map(String::from).to_vec();
        let expected = augmentation.apply(&cloud, &mut Rng::new(7)).unwrap();
        let (p, v) = augmentation
            .apply_tensor(&as_tensor(&positions), Some(&as_tensor(&velocities)), side, &mut Rng::new(7))
            .unwrap();
        same(&p, expected.positions.iter().copied());
        same(&v.unwrap(), expected.features.iter().copied());
    }
    let refused = CloudAugmentation { rotation: true, ..Default::default() };
    let error = refused.apply_tensor(&as_tensor(&positions), None, Some(1.0), &mut Rng::new(1));
    assert!(error.unwrap_err().to_string().contains("periodic"));
}

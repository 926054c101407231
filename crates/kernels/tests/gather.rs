//! Rows picked and added by index: their definition, gradients, adjoints, order of sums; random tensors.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{DType, Device, Tensor};
use common::{compare, output_and_gradients, random, values};
use halocast_core::Rng;
use halocast_kernels::{
    Error, Level, gather_rows, index_select, random_normal, random_uniform, reference, scatter_add,
    with_level,
};

/// Indices below `rows`, with repetitions.
fn indices(seed: u64, shape: &[usize], rows: usize) -> Tensor {
    let mut rng = Rng::new(seed);
    let data: Vec<u32> = (0..shape.iter().product()).map(|_| rng.below(rows) as u32).collect();
    Tensor::from_vec(data, shape, &Device::Cpu).unwrap()
}

#[test]
fn picking_and_adding_are_their_definitions() {
    for (shape, axis, count) in
        [(&[5][..], 0, 8), (&[4, 6], 0, 3), (&[4, 6], 1, 9), (&[3, 5, 7], 1, 40), (&[2, 300, 33], 1, 700)]
    {
        let picks = indices(7, &[count], shape[axis]);
        let x = random(1, shape);
        compare(
            "index_select",
            1e-6,
            std::slice::from_ref(&x),
            |t| index_select(&t[0], &picks, axis).unwrap(),
            |t| reference::index_select(&t[0], &picks, axis).unwrap(),
        );
        let mut dims = shape.to_vec();
        dims[axis] = count;
        compare(
            "scatter_add",
            1e-6,
            &[x, random(2, &dims)],
            |t| scatter_add(&t[0], &picks, &t[1], axis).unwrap(),
            |t| reference::scatter_add(&t[0], &picks, &t[1], axis).unwrap(),
        );
    }
    for (x, shape) in [([2, 5, 3], &[2, 4][..]), ([3, 6, 8], &[3, 6, 4]), ([1, 1, 1], &[1, 1, 1, 2])] {
        let picks = indices(8, shape, x[1]);
        compare(
            "gather_rows",
            1e-6,
            &[random(1, &x)],
            |t| gather_rows(&t[0], &picks).unwrap(),
            |t| reference::gather_rows(&t[0], &picks).unwrap(),
        );
    }
}

#[test]
fn sums_are_in_the_order_of_the_indices() {
    // In single precision 1e8 + 1 - 1e8 + 1 is 1 from the left, and other numbers in other orders.
    let source = Tensor::new(&[1e8f32, 1.0, -1e8, 1.0], &Device::Cpu).unwrap();
    let picks = Tensor::new(&[1u32, 1, 1, 1], &Device::Cpu).unwrap();
    let x = Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap();
    assert_eq!(values(&scatter_add(&x, &picks, &source, 0).unwrap()), [0.0, 1.0, 0.0]);
}

#[test]
fn sums_do_not_depend_on_the_threads() {
    let (x, picks) = (random(1, &[900, 70]), indices(3, &[5000], 900));
    let (batch, own) = (random(2, &[3, 200, 40]), indices(4, &[3, 200, 8], 200));
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let one = [x.clone()];
            let mut all = output_and_gradients(|t| index_select(&t[0], &picks, 0).unwrap(), &one);
            let one = [batch.clone()];
            all.extend(output_and_gradients(|t| gather_rows(&t[0], &own).unwrap(), &one));
            all.iter().map(values).collect::<Vec<_>>()
        })
    };
    let one = run(1);
    assert!([2, 3].iter().all(|&threads| run(threads) == one));
}

#[test]
fn wrong_indices_are_errors_and_none_are_fine() {
    let x = random(1, &[4, 3]);
    let bad = Tensor::new(&[1u32, 4], &Device::Cpu).unwrap();
    assert!(matches!(index_select(&x, &bad, 0), Err(Error::Argument { .. })));
    assert!(matches!(index_select(&x, &bad, 2), Err(Error::Argument { .. })));
    let long = Tensor::new(&[1i64, 2], &Device::Cpu).unwrap();
    assert!(matches!(index_select(&x, &long, 0), Err(Error::Argument { .. })));
    let two = Tensor::new(&[1u32, 2], &Device::Cpu).unwrap();
    assert!(matches!(scatter_add(&x, &two, &x, 0), Err(Error::Shape { tensor: "source", .. })));
    let none = Tensor::zeros(0, DType::U32, &Device::Cpu).unwrap();
    assert_eq!(index_select(&x, &none, 1).unwrap().dims(), [4, 0]);
    let empty = Tensor::zeros((4, 0), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(values(&scatter_add(&x, &none, &empty, 1).unwrap()), values(&x));
    let rows = index_select(&empty, &two, 0).unwrap();
    assert_eq!(rows.dims(), [2, 0]);
}

#[test]
fn random_tensors_are_the_generators_numbers_at_every_level_and_thread_count() {
    let n = 3 * 8192 + 5;
    let numbers = |threads: usize, level: Level| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            with_level(level, || {
                let mut rng = Rng::new(5);
                rng.next_u32();
                let normals = random_normal(n, &mut rng, &Device::Cpu).unwrap();
                let uniforms = random_uniform((1, n), &mut rng, &Device::Cpu).unwrap();
                (values(&normals), values(&uniforms), rng.state())
            })
        })
    };
    let mut rng = Rng::new(5);
    rng.next_u32();
    let normals = rng.normals(n);
    let mut uniforms = vec![0.0; n];
    rng.fill_uniform(&mut uniforms);
    let expected = (normals, uniforms, rng.state());
    for level in [Level::Portable, Level::Avx2, Level::detect()] {
        for threads in [1, 2, 3] {
            assert!(numbers(threads, level) == expected, "{level:?} {threads}");
        }
    }
}

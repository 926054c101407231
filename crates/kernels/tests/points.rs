//! Operations on points: searches against comparing all pairs, bit for bit; gradients against double precision and
//! finite differences; symmetries; what is refused.
#![allow(clippy::unwrap_used)]

mod common;

use candle_core::{DType, Device, Tensor, Var};
use common::{compare, distance, output_and_gradients, random, values};
use halocast_kernels::{
    Boundary, ChamferCfg, ChamferNorm, EdgeLayout, Error, Ground, Level, SampleCfg, SinkhornCfg, ball_query,
    chamfer_directions, chamfer_loss, earth_movers_distance, edge_features, edge_max, farthest_points,
    gather_points, interpolate_points, knn, max_over_neighbors, nearest_distance,
    reference::points as reference, sinkhorn_distance, with_level,
};

/// A box smaller than the clouds: some points lie outside, and wrap.
const BOX: Boundary = Boundary::Periodic([3.0, 2.5, 2.0]);

fn tensor(data: Vec<f32>, shape: &[usize]) -> Tensor {
    Tensor::from_vec(data, shape, &Device::Cpu).unwrap()
}

/// Clouds that searches find hard: `(name, [2, n, axes])`.
fn clouds(n: usize, axes: usize) -> Vec<(&'static str, Tensor)> {
    let shape = [2, n, axes];
    let spread = random(n as u64 + 7, &shape);
    let clustered: Vec<f32> = values(&spread)
        .chunks(axes)
        .enumerate()
        .flat_map(|(i, p)| {
            let centre = [0.3, -0.7, 1.1][i % 3];
            p.iter().map(move |x| centre + 1e-3 * x).collect::<Vec<_>>()
        })
        .collect();
    // Quarters: many equal distances, points on the faces of the box, and on both ends of it.
    let gridded: Vec<f32> = values(&spread).iter().map(|x| (x * 4.0).round() / 4.0).collect();
    let repeated: Vec<f32> = gridded.iter().map(|x| x.signum() * 0.5).collect();
    vec![
        ("spread", spread.clone()),
        ("clustered", tensor(clustered, &shape)),
        ("gridded", tensor(gridded, &shape)),
        ("repeated", tensor(repeated, &shape)),
        ("one place", Tensor::ones(&shape, DType::F32, &Device::Cpu).unwrap()),
    ]
}

fn integers(t: &Tensor) -> Vec<u32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

fn bits(t: &Tensor) -> Vec<u32> {
    values(t).iter().map(|v| v.to_bits()).collect()
}

#[test]
fn knn_is_comparing_all_pairs() {
    for axes in [1, 2, 3, 4, 6, 70] {
        for (n, m, k) in [(1, 3, 1), (5, 4, 5), (33, 70, 3), (700, 130, 16), (400, 9, 60)] {
            for (name, points) in clouds(n, axes) {
                let others: Vec<Tensor> = clouds(m, axes).into_iter().map(|(_, cloud)| cloud).collect();
                for queries in [&points, &others[0], &others[2]] {
                    for boundary in [Boundary::Open, BOX] {
                        if axes > 3 && boundary != Boundary::Open {
                            continue;
                        }
                        let expected = reference::knn(&points, queries, k, &boundary).unwrap();
                        for level in [Level::Portable, Level::Avx2, Level::Avx512] {
                            let got = with_level(level, || knn(&points, queries, k, &boundary).unwrap());
                            let case = format!("{name} {axes} {n} {m} {k} {boundary:?} {level:?}");
                            assert!(integers(&got.indices) == integers(&expected.indices), "{case}");
                            let (a, b) = (got.squared_distances, &expected.squared_distances);
                            assert!(bits(&a) == bits(b), "{case}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn squared_distances_are_those_of_double_precision() {
    let points = random(1, &[2, 300, 3]);
    for boundary in [Boundary::Open, BOX] {
        let got = knn(&points, &points, 9, &boundary).unwrap();
        let exact = reference::knn(
            &points.to_dtype(DType::F64).unwrap(),
            &points.to_dtype(DType::F64).unwrap(),
            9,
            &boundary,
        );
        let exact = exact.unwrap();
        assert_eq!(exact.squared_distances.dtype(), DType::F64);
        assert!(distance(&got.squared_distances, &exact.squared_distances) < 1e-6);
    }
}

#[test]
fn any_image_of_a_point_is_the_same_point() {
    let points = (random(1, &[1, 200, 3]).abs().unwrap() * 0.25).unwrap();
    // Sides that are powers of two: moving by them is exact in single precision but for the last bit of small numbers.
    let boundary = Boundary::Periodic([1.0, 2.0, 4.0]);
    let grid = tensor(values(&points).iter().map(|x| (x * 1024.0).floor() / 1024.0).collect(), &[1, 200, 3]);
    let moved = grid.broadcast_add(&Tensor::new(&[3.0f32, -2.0, 8.0], &Device::Cpu).unwrap()).unwrap();
    let expected = knn(&grid, &grid, 7, &boundary).unwrap();
    for (p, q) in [(&moved, &grid), (&grid, &moved), (&moved, &moved)] {
        let got = knn(p, q, 7, &boundary).unwrap();
        assert_eq!(integers(&got.indices), integers(&expected.indices));
        assert_eq!(bits(&got.squared_distances), bits(&expected.squared_distances));
    }
}

#[test]
fn ball_query_is_comparing_all_pairs() {
    for axes in [1, 2, 3] {
        for (n, m, most) in [(1, 3, 2), (40, 40, 4), (700, 50, 32)] {
            for (name, points) in clouds(n, axes) {
                let queries = &clouds(m, axes)[2].1;
                for boundary in [Boundary::Open, BOX] {
                    // A quarter is a distance of the grid: the ball is open.
                    for radius in [1e-3, 0.25, 1.0, 50.0] {
                        let expected =
                            reference::ball_query(&points, queries, radius, most, &boundary).unwrap();
                        let got = ball_query(&points, queries, radius, most, &boundary).unwrap();
                        let case = format!("{name} {axes} {n} {radius} {boundary:?}");
                        assert!(integers(&got.indices) == integers(&expected.indices), "{case}");
                        assert!(integers(&got.counts) == integers(&expected.counts), "{case}");
                    }
                }
            }
        }
    }
}

#[test]
fn farthest_points_are_those_of_comparing_all_pairs() {
    for axes in [1, 2, 3] {
        for (n, m) in [(1, 1), (5, 5), (40, 0), (100, 100), (900, 120)] {
            for (name, points) in clouds(n, axes) {
                for boundary in [Boundary::Open, BOX] {
                    for (start, skip_within) in [(0, None), (n / 2, Some(0.1)), (0, Some(1e6))] {
                        let cfg = SampleCfg { start, boundary, skip_within };
                        let expected = reference::farthest_points(&points, m, &cfg).unwrap();
                        for level in [Level::Portable, Level::Avx2, Level::Avx512] {
                            let got = with_level(level, || farthest_points(&points, m, &cfg).unwrap());
                            let case = format!("{name} {axes} {n} {m} {cfg:?} {level:?}");
                            assert!(integers(&got) == integers(&expected), "{case}");
                        }
                    }
                }
            }
        }
    }
}

fn weights(seed: u64, n: usize) -> Tensor {
    random(seed, &[2, n]).abs().unwrap()
}

/// Ways to compare two clouds of 70 and 50 points.
fn chamfer_cases() -> Vec<ChamferCfg> {
    let mut cases = vec![];
    for norm in [ChamferNorm::L1, ChamferNorm::L2] {
        for boundary in [Boundary::Open, BOX] {
            for weights in [None, Some([weights(5, 70), weights(6, 50)])] {
                for counts in [None, Some([vec![70, 33], vec![1, 50]])] {
                    cases.push(ChamferCfg { norm, boundary, weights: weights.clone(), counts });
                }
            }
        }
    }
    cases
}

#[test]
fn distances_of_clouds_match_double_precision() {
    let inputs = [random(1, &[2, 70, 3]), random(2, &[2, 50, 3])];
    for (i, cfg) in chamfer_cases().iter().enumerate() {
        let (name, cfg64) = (format!("chamfer {i}"), cfg.clone());
        let oracle = |t: &[Tensor]| reference::chamfer_loss(&t[0], &t[1], &cfg64).unwrap();
        compare(&name, 3e-6, &inputs, |t| chamfer_loss(&t[0], &t[1], cfg).unwrap(), oracle);
        let oracle = |t: &[Tensor]| reference::chamfer_directions(&t[0], &t[1], &cfg64).unwrap();
        compare(&name, 3e-6, &inputs, |t| chamfer_directions(&t[0], &t[1], cfg).unwrap(), oracle);
        let (norm, boundary) = (cfg.norm, cfg.boundary);
        let oracle = |t: &[Tensor]| reference::nearest_distance(&t[0], &t[1], norm, &boundary).unwrap();
        let fast = |t: &[Tensor]| nearest_distance(&t[0], &t[1], norm, &boundary).unwrap();
        compare("nearest", 3e-6, &inputs, fast, oracle);
    }
    let flat = [random(1, &[2, 70, 2]), random(2, &[2, 50, 2])];
    let cfg = ChamferCfg::default();
    let oracle = |t: &[Tensor]| reference::chamfer_loss(&t[0], &t[1], &cfg).unwrap();
    compare("chamfer in the plane", 3e-6, &flat, |t| chamfer_loss(&t[0], &t[1], &cfg).unwrap(), oracle);
}

#[test]
fn transport_matches_double_precision() {
    let inputs = [random(1, &[2, 40, 3]), random(2, &[2, 40, 3])];
    for ground in [Ground::Distance, Ground::Squared] {
        for boundary in [Boundary::Open, BOX] {
            let oracle =
                |t: &[Tensor]| reference::earth_movers_distance(&t[0], &t[1], ground, &boundary).unwrap();
            let fast = |t: &[Tensor]| earth_movers_distance(&t[0], &t[1], ground, &boundary).unwrap();
            compare("earth movers", 3e-6, &inputs, fast, oracle);
            // The oracle differentiates through all iterations: the envelope theorem must give the same. Single
            // precision leaves 1e-7 times cost / epsilon in every exponent, and differences of values remain.
            for (debias, masses) in [(false, None), (true, Some([weights(5, 40), weights(6, 40)]))] {
                let cfg = SinkhornCfg {
                    ground,
                    boundary,
                    epsilon: 0.5,
                    iterations: 200,
                    tolerance: 0.0,
                    debias,
                    weights: masses,
                };
                let oracle = |t: &[Tensor]| reference::sinkhorn_distance(&t[0], &t[1], &cfg).unwrap();
                let fast = |t: &[Tensor]| sinkhorn_distance(&t[0], &t[1], &cfg).unwrap();
                compare(&format!("sinkhorn {ground:?} {boundary:?} {debias}"), 1e-4, &inputs, fast, oracle);
            }
        }
    }
}

#[test]
fn sinkhorn_approaches_the_assignment_and_is_zero_for_equal_clouds() {
    let (a, b) = (random(1, &[1, 60, 2]), random(2, &[1, 60, 2]));
    for ground in [Ground::Distance, Ground::Squared] {
        let exact = values(&earth_movers_distance(&a, &b, ground, &Boundary::Open).unwrap())[0];
        let cfg = SinkhornCfg { ground, epsilon: 1e-3, iterations: 3000, ..Default::default() };
        let got = values(&sinkhorn_distance(&a, &b, &cfg).unwrap())[0];
        assert!((got - exact).abs() < 5e-3 * exact, "{ground:?}: {got} for {exact}");
        let plain = SinkhornCfg { debias: false, ..cfg.clone() };
        let biased = values(&sinkhorn_distance(&a, &b, &plain).unwrap())[0];
        // The entropy of a plan relative to the product is between 0 and ln n.
        assert!(exact - 1e-4 < biased && biased < exact + 1e-3 * 60f32.ln() + 1e-4, "{biased} for {exact}");
        assert!(values(&sinkhorn_distance(&a, &a, &cfg).unwrap())[0].abs() < 1e-6);
    }
}

fn neighbor_indices(n: usize, m: usize, k: usize) -> Tensor {
    let numbers = (0..2 * m * k).map(|i| ((i * i * 7 + i / 3) % n) as u32).collect::<Vec<_>>();
    Tensor::from_vec(numbers, (2, m, k), &Device::Cpu).unwrap()
}

#[test]
fn features_of_neighbors_match_double_precision() {
    let (n, m, k, c) = (90, 70, 5, 11);
    let indices = neighbor_indices(n, m, k);
    let (keys, queries) = (random(1, &[2, n, c]), random(2, &[2, m, c]));
    let both = [queries.clone(), keys.clone()];
    let pairwise = indices.narrow(2, 0, 1).unwrap().squeeze(2).unwrap();
    for indices in [&indices, &pairwise] {
        let oracle = |t: &[Tensor]| reference::gather_points(&t[0], indices).unwrap();
        compare(
            "gather",
            1e-6,
            std::slice::from_ref(&keys),
            |t| gather_points(&t[0], indices).unwrap(),
            oracle,
        );
    }
    for layout in [EdgeLayout::PointsFirst, EdgeLayout::ChannelsFirst] {
        let oracle = |t: &[Tensor]| reference::edge_features(&t[0], &t[1], &indices, layout).unwrap();
        let fast = |t: &[Tensor]| edge_features(&t[0], &t[1], &indices, layout).unwrap();
        compare("edge features", 1e-6, &both, fast, oracle);
        let x = [random(3, &[2, 40, 9, 13])];
        let oracle = |t: &[Tensor]| reference::max_over_neighbors(&t[0], layout).unwrap();
        compare("max", 1e-6, &x, |t| max_over_neighbors(&t[0], layout).unwrap(), oracle);
    }
    let oracle = |t: &[Tensor]| reference::edge_max(&t[1], &t[0], &indices).unwrap();
    compare("edge max", 1e-6, &both, |t| edge_max(&t[1], &t[0], &indices).unwrap(), oracle);
    // Places near the points weigh up to 1e8: both sides take their distances from single-precision positions.
    let (points, places) = (random(4, &[2, n, 3]), random(5, &[2, m, 3]));
    for boundary in [Boundary::Open, BOX] {
        let oracle =
            |t: &[Tensor]| reference::interpolate_points(&t[0], &points, &places, 3, &boundary).unwrap();
        let fast = |t: &[Tensor]| interpolate_points(&t[0], &points, &places, 3, &boundary).unwrap();
        compare("interpolate", 1e-5, std::slice::from_ref(&keys), fast, oracle);
    }
}

#[test]
fn edge_max_is_a_linear_edge_convolution_and_its_maximum() {
    let (n, m, k, c) = (40, 30, 6, 8);
    let (x, q, indices) = (random(1, &[2, n, c]), random(2, &[2, m, c]), neighbor_indices(n, m, k));
    let (w1, w2) = (random(3, &[c, c]), random(4, &[c, c]));
    let edges = edge_features(&q, &x, &indices, EdgeLayout::PointsFirst).unwrap();
    let w = Tensor::cat(&[&w1, &w2], 0).unwrap();
    let layer = max_over_neighbors(&edges.broadcast_matmul(&w).unwrap(), EdgeLayout::PointsFirst).unwrap();
    let u = x.broadcast_matmul(&w1).unwrap();
    let v = q.broadcast_matmul(&(w2 - w1).unwrap()).unwrap();
    assert!(distance(&edge_max(&u, &v, &indices).unwrap(), &layer) < 1e-6);
}

#[test]
fn equal_maxima_give_their_gradient_to_the_first() {
    let x = Var::new(&[[[[1.0f32], [2.0], [2.0]]]], &Device::Cpu).unwrap();
    let y = max_over_neighbors(&x, EdgeLayout::PointsFirst).unwrap();
    let gradients = y.backward().unwrap();
    assert_eq!(values(gradients.get(&x).unwrap()), [0.0, 1.0, 0.0]);
}

/// Compares the gradients of a function in double precision with central differences along random directions.
fn check_differences(name: &str, inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Tensor) {
    let inputs: Vec<Tensor> = inputs.iter().map(|t| t.to_dtype(DType::F64).unwrap()).collect();
    let outputs = output_and_gradients(&f, &inputs);
    let weights = random(99, outputs[0].dims()).to_dtype(DType::F64).unwrap();
    let project = |t: &[Tensor]| (f(t) * &weights).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
    // Short: a pair that changes within it would count.
    let step = 1e-7;
    for (i, input) in inputs.iter().enumerate() {
        let direction = random(50 + i as u64, input.dims()).to_dtype(DType::F64).unwrap();
        let moved = |sign: f64| {
            let mut t = inputs.to_vec();
            t[i] = (input + (&direction * (sign * step)).unwrap()).unwrap();
            project(&t)
        };
        let difference = (moved(1.0) - moved(-1.0)) / (2.0 * step);
        let product = (&outputs[i + 1] * &direction).unwrap().sum_all().unwrap();
        let exact = product.to_scalar::<f64>().unwrap();
        assert!(
            (difference - exact).abs() < 1e-6 * exact.abs().max(1.0),
            "{name} {i}: {difference}, {exact}"
        );
    }
}

#[test]
fn gradients_are_finite_differences() {
    let inputs = [random(1, &[2, 70, 3]), random(2, &[2, 50, 3])];
    for cfg in chamfer_cases() {
        check_differences("chamfer", &inputs, |t| reference::chamfer_directions(&t[0], &t[1], &cfg).unwrap());
    }
    let inputs = [random(1, &[2, 12, 3]), random(2, &[2, 12, 3])];
    for ground in [Ground::Distance, Ground::Squared] {
        check_differences("earth movers", &inputs, |t| {
            reference::earth_movers_distance(&t[0], &t[1], ground, &BOX).unwrap()
        });
        let cfg = SinkhornCfg { ground, epsilon: 0.5, iterations: 100, ..Default::default() };
        check_differences("sinkhorn", &inputs, |t| reference::sinkhorn_distance(&t[0], &t[1], &cfg).unwrap());
    }
    let indices = neighbor_indices(30, 20, 4);
    let inputs = [random(1, &[2, 20, 3]), random(2, &[2, 30, 3])];
    check_differences("edges", &inputs, |t| {
        reference::edge_features(&t[0], &t[1], &indices, EdgeLayout::ChannelsFirst).unwrap()
    });
    check_differences("edge max", &inputs, |t| reference::edge_max(&t[1], &t[0], &indices).unwrap());
    check_differences("interpolate", &inputs[1..], |t| {
        reference::interpolate_points(&t[0], &inputs[1], &inputs[0], 3, &Boundary::Open).unwrap()
    });
}

#[test]
fn the_order_of_the_points_does_not_matter() {
    let (n, m) = (300, 200);
    let (points, queries) = (random(1, &[1, n, 3]), random(2, &[1, m, 3]));
    let order: Vec<u32> = (0..n).map(|i| ((i * 7 + 3) % n) as u32).collect();
    let order = Tensor::new(order.as_slice(), &Device::Cpu).unwrap();
    let shuffled = points.index_select(&order, 1).unwrap();
    let expected = knn(&points, &queries, 5, &BOX).unwrap();
    let got = knn(&shuffled, &queries, 5, &BOX).unwrap();
    let back = order.index_select(&got.indices.flatten_all().unwrap(), 0).unwrap();
    assert_eq!(integers(&back), integers(&expected.indices));
    assert_eq!(bits(&got.squared_distances), bits(&expected.squared_distances));
    let cfg = ChamferCfg { boundary: BOX, ..Default::default() };
    let gradients = |p: &Tensor| {
        output_and_gradients(|t| chamfer_loss(&t[0], &queries, &cfg).unwrap(), std::slice::from_ref(p))
    };
    let (one, other) = (gradients(&points), gradients(&shuffled));
    assert!(distance(&one[0], &other[0]) < 1e-6);
    assert!(distance(&one[1].index_select(&order, 1).unwrap(), &other[1]) < 1e-6);
}

#[test]
fn padding_changes_nothing() {
    let (a, b) = (random(1, &[2, 70, 3]), random(2, &[2, 50, 3]));
    let cfg = ChamferCfg { counts: Some([vec![70, 33], vec![10, 50]]), ..Default::default() };
    let expected = output_and_gradients(|t| chamfer_loss(&t[0], &t[1], &cfg).unwrap(), &[a.clone(), b]);
    // Even numbers that are none.
    let mut other = values(&a);
    other[(70 + 33) * 3..].fill(f32::NAN);
    let b = random(2, &[2, 50, 3]);
    let got =
        output_and_gradients(|t| chamfer_loss(&t[0], &t[1], &cfg).unwrap(), &[tensor(other, &[2, 70, 3]), b]);
    for (got, expected) in got.iter().zip(&expected) {
        assert_eq!(bits(got), bits(expected));
    }
    assert!(values(&got[1])[(70 + 33) * 3..].iter().all(|&g| g == 0.0));
}

#[test]
fn coinciding_points_have_no_slope() {
    let a = random(1, &[1, 40, 3]);
    for norm in [ChamferNorm::L1, ChamferNorm::L2] {
        let cfg = ChamferCfg { norm, ..Default::default() };
        let got =
            output_and_gradients(|t| chamfer_loss(&t[0], &t[1], &cfg).unwrap(), &[a.clone(), a.clone()]);
        assert!(got.iter().all(|t| values(t).iter().all(|&v| v == 0.0)));
    }
}

type Case = (&'static str, Vec<Tensor>, Box<dyn Fn(&[Tensor]) -> Tensor + Send + Sync>);

#[test]
fn same_bits_at_any_number_of_threads() {
    let (a, b) = (random(1, &[2, 3000, 3]), random(2, &[2, 2500, 3]));
    let cfg = ChamferCfg { weights: Some([weights(5, 3000), weights(6, 2500)]), ..Default::default() };
    let sinkhorn = SinkhornCfg { epsilon: 0.3, iterations: 5, ..Default::default() };
    let near = knn(&a, &b, 8, &BOX).unwrap().indices;
    let (other, places) = (near.clone(), b.clone());
    let points = a.clone();
    let features = vec![random(3, &[2, 2500, 16]), random(4, &[2, 3000, 16])];
    let small = [&a, &b].map(|x| x.narrow(1, 0, 120).unwrap());
    let cases: Vec<Case> = vec![
        ("chamfer", vec![a.clone(), b.clone()], Box::new(move |t| chamfer_loss(&t[0], &t[1], &cfg).unwrap())),
        ("edge max", features.clone(), Box::new(move |t| edge_max(&t[1], &t[0], &near).unwrap())),
        (
            "edges",
            features.clone(),
            Box::new(move |t| edge_features(&t[0], &t[1], &other, EdgeLayout::ChannelsFirst).unwrap()),
        ),
        (
            "interpolate",
            features[1..].to_vec(),
            Box::new(move |t| interpolate_points(&t[0], &points, &places, 3, &BOX).unwrap()),
        ),
        ("sinkhorn", small.to_vec(), Box::new(move |t| sinkhorn_distance(&t[0], &t[1], &sinkhorn).unwrap())),
        (
            "earth movers",
            small.to_vec(),
            Box::new(|t| earth_movers_distance(&t[0], &t[1], Ground::Squared, &BOX).unwrap()),
        ),
        (
            "knn",
            vec![],
            Box::new(move |_| knn(&a, &b, 8, &BOX).unwrap().indices.to_dtype(DType::F32).unwrap()),
        ),
    ];
    for (name, inputs, op) in cases {
        let all = || -> Vec<Vec<u32>> {
            if inputs.is_empty() {
                return vec![bits(&op(&inputs))];
            }
            output_and_gradients(&op, &inputs).iter().map(bits).collect()
        };
        let expected = all();
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert!(pool.install(all) == expected, "{name} differs with {threads} threads");
        }
    }
}

#[test]
fn nothing_in_nothing_out() {
    let empty = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let points = random(1, &[2, 10, 3]);
    assert_eq!(knn(&points, &empty(&[2, 0, 3]), 4, &Boundary::Open).unwrap().indices.dims(), [2, 0, 4]);
    assert_eq!(
        knn(&random(1, &[2, 9, 7]), &empty(&[2, 0, 7]), 4, &Boundary::Open).unwrap().indices.dims(),
        [2, 0, 4]
    );
    let ball = ball_query(&points, &empty(&[2, 0, 3]), 1.0, 4, &Boundary::Open).unwrap();
    assert_eq!((ball.indices.dims(), ball.counts.dims()), (&[2, 0, 4][..], &[2, 0][..]));
    assert_eq!(farthest_points(&empty(&[2, 0, 3]), 0, &SampleCfg::default()).unwrap().dims(), [2, 0]);
    let none = Tensor::zeros((2, 0, 3), DType::U32, &Device::Cpu).unwrap();
    let x = random(1, &[2, 10, 5]);
    assert_eq!(gather_points(&x, &none).unwrap().dims(), [2, 0, 3, 5]);
    let edges = edge_features(&empty(&[2, 0, 5]), &x, &none, EdgeLayout::PointsFirst).unwrap();
    assert_eq!(edges.dims(), [2, 0, 3, 10]);
}

#[test]
fn what_does_not_fit_is_refused() {
    fn shape<T>(result: Result<T, Error>) {
        assert!(matches!(result, Err(Error::Shape { .. })), "{:?}", result.err());
    }
    fn argument<T>(result: Result<T, Error>) {
        let inner = match result {
            Err(Error::Candle(inner)) => inner.to_string(),
            Err(error) => error.to_string(),
            Ok(_) => panic!("accepted"),
        };
        assert!(inner.contains("must be"), "{inner}");
    }
    let (x, flat) = (random(1, &[2, 10, 3]), random(2, &[2, 10, 2]));
    let empty = Tensor::zeros((2, 0, 3), DType::F32, &Device::Cpu).unwrap();
    let wide = random(3, &[2, 10, 5]);
    let mut bad = values(&x);
    bad[7] = f32::NAN;
    let bad = tensor(bad, &[2, 10, 3]);
    let open = Boundary::Open;
    argument(knn(&x, &x, 0, &open));
    argument(knn(&x, &x, 11, &open));
    argument(knn(&empty, &x, 1, &open));
    argument(knn(&bad, &x, 1, &open));
    argument(knn(&x, &bad, 1, &open));
    argument(knn(&x, &x, 1, &Boundary::cube(0.0)));
    argument(knn(&wide, &wide, 1, &Boundary::cube(1.0)));
    shape(knn(&x, &flat, 1, &open));
    shape(knn(&x.get(0).unwrap(), &x, 1, &open));
    shape(ball_query(&empty, &x, 1.0, 3, &open));
    argument(ball_query(&x, &x, -1.0, 3, &open));
    argument(ball_query(&x, &x, 1.0, 0, &open));
    argument(farthest_points(&x, 11, &SampleCfg::default()));
    argument(farthest_points(&x, 1, &SampleCfg { start: 10, ..Default::default() }));
    shape(farthest_points(&wide, 1, &SampleCfg::default()));
    argument(chamfer_loss(&x, &empty, &ChamferCfg::default()));
    argument(chamfer_loss(&x, &bad, &ChamferCfg::default()));
    let counts = Some([vec![0, 1], vec![1, 1]]);
    argument(chamfer_loss(&x, &x, &ChamferCfg { counts, ..Default::default() }));
    let zero = Tensor::zeros((2, 10), DType::F32, &Device::Cpu).unwrap();
    let weights = Some([zero.clone(), zero]);
    argument(chamfer_loss(&x, &x, &ChamferCfg { weights, ..Default::default() }));
    shape(earth_movers_distance(&x, &x.narrow(1, 0, 5).unwrap(), Ground::Squared, &open));
    argument(sinkhorn_distance(&x, &x, &SinkhornCfg { epsilon: 0.0, ..Default::default() }));
    let indices = neighbor_indices(12, 10, 3);
    argument(gather_points(&x, &indices));
    argument(edge_max(&x, &x, &indices));
    argument(gather_points(&x, &x));
    shape(gather_points(&x, &neighbor_indices(9, 10, 3).get(0).unwrap()));
    argument(interpolate_points(&x, &x, &x, 11, &open));
    shape(interpolate_points(&x.narrow(1, 0, 4).unwrap(), &x, &x, 3, &open));
}

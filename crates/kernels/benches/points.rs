//! Times of the operations on points, one line each: name, median ms, minimum ms, number of runs.
//!
//! `cargo bench -p halocast-kernels --bench points -- [NAME ...]` runs the cases whose names contain one of the
//! arguments. Environment: `BUDGET` seconds a case (1), `RT=1` asks for real-time scheduling of the timed loops,
//! `MALLOC=1` keeps the allocator from returning memory to the system.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Bench, backward, seeded as random, seeded_var as var};
use halocast_kernels::{
    Boundary, ChamferCfg, EdgeLayout, Ground, SampleCfg, SinkhornCfg, ball_query, chamfer_loss,
    earth_movers_distance, edge_features, edge_max, farthest_points, gather_points, interpolate_points, knn,
    sinkhorn_distance,
};

fn main() {
    let bench = Bench::from_environment();
    let open = Boundary::Open;
    let cfg = ChamferCfg::default();
    let (p, q) = (var(1, &[1, 4096, 3]), var(2, &[1, 4096, 3]));
    // The first of the 17 is the point itself.
    bench.run("knn4096_16", || drop(knn(&p, &p, 17, &open).unwrap()));
    bench.run("chamfer4096_fwdbwd", || backward(|| chamfer_loss(&p, &q, &cfg).unwrap()));
    for n in [2048, 8192, 32768, 131_072] {
        let (p, q) = (var(1, &[1, n, 3]), var(2, &[1, n, 3]));
        bench.run(&format!("knn_16_{n}"), || drop(knn(&p, &p, 17, &open).unwrap()));
        bench.run(&format!("knn_16_periodic_{n}"), || drop(knn(&p, &p, 17, &Boundary::cube(4.0)).unwrap()));
        bench.run(&format!("ball_32_{n}"), || {
            // About 32 points inside at every size.
            let radius = 1.3 * (n as f64 / 32.0).powf(-1.0 / 3.0);
            drop(ball_query(&p, &p, radius, 32, &open).unwrap());
        });
        bench.run(&format!("fps_quarter_{n}"), || {
            drop(farthest_points(&p, n / 4, &SampleCfg::default()).unwrap());
        });
        bench.run(&format!("chamfer_fwdbwd_{n}"), || backward(|| chamfer_loss(&p, &q, &cfg).unwrap()));
    }
    let (x, xq) = (random(1, &[4, 2048, 64]), random(2, &[4, 2048, 3]));
    bench.run("knn_features_64_2048_b4", || drop(knn(&x, &x, 16, &open).unwrap()));
    bench.run("fps_512_of_2048_b4", || drop(farthest_points(&xq, 512, &SampleCfg::default()).unwrap()));
    let indices = knn(&xq, &xq, 16, &open).unwrap().indices;
    let features = var(3, &[4, 2048, 64]);
    bench.run("gather_16x64_2048_b4_fwdbwd", || backward(|| gather_points(&features, &indices).unwrap()));
    for layout in [EdgeLayout::PointsFirst, EdgeLayout::ChannelsFirst] {
        bench.run(&format!("edges_{layout:?}_16x64_2048_b4_fwdbwd"), || {
            backward(|| edge_features(&features, &features, &indices, layout).unwrap());
        });
    }
    bench.run("edge_max_16x64_2048_b4_fwdbwd", || {
        backward(|| edge_max(&features, &features, &indices).unwrap());
    });
    let coarse = random(4, &[4, 512, 3]);
    let narrow = var(5, &[4, 512, 64]);
    bench.run("interpolate_512_to_2048_b4_fwdbwd", || {
        backward(|| interpolate_points(&narrow, &coarse, &xq, 3, &open).unwrap());
    });
    let (a, b) = (var(1, &[1, 512, 3]), var(2, &[1, 512, 3]));
    bench.run("earth_movers_512_fwdbwd", || {
        backward(|| earth_movers_distance(&a, &b, Ground::Distance, &open).unwrap());
    });
    let sinkhorn = SinkhornCfg { epsilon: 0.05, iterations: 100, ..Default::default() };
    for n in [512, 2048] {
        let (a, b) = (var(1, &[1, n, 3]), var(2, &[1, n, 3]));
        bench.run(&format!("sinkhorn_{n}_fwdbwd"), || {
            backward(|| sinkhorn_distance(&a, &b, &sinkhorn).unwrap())
        });
    }
}

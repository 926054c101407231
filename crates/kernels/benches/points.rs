//! Times of the operations on points, one line each: name, median ms, minimum ms, number of runs.
//!
//! `cargo bench -p halocast-kernels --bench points -- [NAME ...]` runs the cases whose names contain one of the
//! arguments. Environment: `BUDGET` seconds a case (1), `RT=1` asks for real-time scheduling of the timed loops,
//! `MALLOC=1` keeps the allocator from returning memory to the system, `THREADS` (all).
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::time::Instant;

use candle_core::{Device, Tensor, Var};
use halocast_kernels::{
    Boundary, ChamferCfg, EdgeLayout, Ground, SampleCfg, SinkhornCfg, ball_query, chamfer_loss,
    earth_movers_distance, edge_features, edge_max, farthest_points, gather_points, interpolate_points, knn,
    sinkhorn_distance,
};

struct Bench {
    filters: Vec<String>,
    budget: f64,
    real_time: bool,
}

impl Bench {
    fn run(&self, name: &str, mut f: impl FnMut()) {
        if !self.filters.is_empty() && !self.filters.iter().any(|filter| name.contains(filter.as_str())) {
            return;
        }
        f();
        self.schedule(true);
        let mut times = vec![];
        let start = Instant::now();
        while times.len() < 5 || (start.elapsed().as_secs_f64() < self.budget && times.len() < 200) {
            let t = Instant::now();
            f();
            times.push(t.elapsed().as_secs_f64() * 1e3);
        }
        self.schedule(false);
        times.sort_by(f64::total_cmp);
        println!("{name}\t{:.4}\t{:.4}\t{}", times[times.len() / 2], times[0], times.len());
    }

    /// Real-time scheduling of all threads of this process, where that is permitted.
    fn schedule(&self, on: bool) {
        if !self.real_time {
            return;
        }
        let (policy, priority) = if on { (libc::SCHED_RR, 1) } else { (libc::SCHED_OTHER, 0) };
        let parameters = libc::sched_param { sched_priority: priority };
        for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
            if let Ok(id) = task.file_name().to_string_lossy().parse() {
                // SAFETY: a plain system call on a thread of this process.
                unsafe { libc::sched_setscheduler(id, policy, &parameters) };
            }
        }
        if !on {
            std::thread::sleep(std::time::Duration::from_millis(400));
        }
    }
}

/// Normal-ish numbers.
fn random(seed: u32, shape: &[usize]) -> Tensor {
    let mut state = seed;
    let data: Vec<f32> = (0..shape.iter().product::<usize>())
        .map(|_| {
            let mut sum = 0.0;
            for _ in 0..4 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                sum += (state >> 8) as f32 / (1 << 24) as f32 - 0.5;
            }
            1.7 * sum
        })
        .collect();
    Tensor::from_vec(data, shape, &Device::Cpu).unwrap()
}

fn var(seed: u32, shape: &[usize]) -> Var {
    Var::from_tensor(&random(seed, shape)).unwrap()
}

fn backward(y: Tensor) {
    y.backward().unwrap();
}

fn main() {
    let set = |name: &str| std::env::var(name).is_ok_and(|v| v == "1");
    if set("MALLOC") {
        // SAFETY: plain calls that set parameters of the allocator.
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, i32::MAX);
            libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
            libc::mallopt(libc::M_TOP_PAD, 64 << 20);
        }
    }
    if let Some(threads) = std::env::var("THREADS").ok().and_then(|v| v.parse().ok()) {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().unwrap();
    }
    let bench = Bench {
        filters: std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect(),
        budget: std::env::var("BUDGET").ok().and_then(|v| v.parse().ok()).unwrap_or(1.0),
        real_time: set("RT"),
    };
    let open = Boundary::Open;
    let cfg = ChamferCfg::default();
    let (p, q) = (var(1, &[1, 4096, 3]), var(2, &[1, 4096, 3]));
    // The first of the 17 is the point itself.
    bench.run("knn4096_16", || drop(knn(&p, &p, 17, &open).unwrap()));
    bench.run("chamfer4096_fwdbwd", || backward(chamfer_loss(&p, &q, &cfg).unwrap()));
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
        bench.run(&format!("chamfer_fwdbwd_{n}"), || backward(chamfer_loss(&p, &q, &cfg).unwrap()));
    }
    let (x, xq) = (random(1, &[4, 2048, 64]), random(2, &[4, 2048, 3]));
    bench.run("knn_features_64_2048_b4", || drop(knn(&x, &x, 16, &open).unwrap()));
    bench.run("fps_512_of_2048_b4", || drop(farthest_points(&xq, 512, &SampleCfg::default()).unwrap()));
    let indices = knn(&xq, &xq, 16, &open).unwrap().indices;
    let features = var(3, &[4, 2048, 64]);
    bench.run("gather_16x64_2048_b4_fwdbwd", || backward(gather_points(&features, &indices).unwrap()));
    for layout in [EdgeLayout::PointsFirst, EdgeLayout::ChannelsFirst] {
        bench.run(&format!("edges_{layout:?}_16x64_2048_b4_fwdbwd"), || {
            backward(edge_features(&features, &features, &indices, layout).unwrap());
        });
    }
    bench.run("edge_max_16x64_2048_b4_fwdbwd", || {
        backward(edge_max(&features, &features, &indices).unwrap());
    });
    let coarse = random(4, &[4, 512, 3]);
    let narrow = var(5, &[4, 512, 64]);
    bench.run("interpolate_512_to_2048_b4_fwdbwd", || {
        backward(interpolate_points(&narrow, &coarse, &xq, 3, &open).unwrap());
    });
    let (a, b) = (var(1, &[1, 512, 3]), var(2, &[1, 512, 3]));
    bench.run("earth_movers_512_fwdbwd", || {
        backward(earth_movers_distance(&a, &b, Ground::Distance, &open).unwrap());
    });
    let sinkhorn = SinkhornCfg { epsilon: 0.05, iterations: 100, ..Default::default() };
    for n in [512, 2048] {
        let (a, b) = (var(1, &[1, n, 3]), var(2, &[1, n, 3]));
        bench
            .run(&format!("sinkhorn_{n}_fwdbwd"), || backward(sinkhorn_distance(&a, &b, &sinkhorn).unwrap()));
    }
}

//! What the benchmarks share: timing, seeded numbers, gradients.
#![allow(dead_code, unreachable_pub, clippy::print_stdout, clippy::unwrap_used)]

use std::time::Instant;

use candle_core::{Device, Tensor, Var};
use halocast_kernels::record;

/// Runs the cases that the command line names, and prints one line each: name, median ms, minimum ms, number of runs.
pub struct Bench {
    filters: Vec<String>,
    budget: f64,
    real_time: bool,
}

impl Bench {
    /// From the command line and the environment: `BUDGET` seconds a case, `RT=1`, `MALLOC=1`.
    pub fn from_environment() -> Self {
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
        Self {
            filters: std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect(),
            budget: std::env::var("BUDGET").ok().and_then(|v| v.parse().ok()).unwrap_or(1.0),
            real_time: set("RT"),
        }
    }

    /// Whether the command line asks for any case of these names.
    pub fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter.as_str()))
    }

    /// Times one case.
    pub fn run(&self, name: &str, mut f: impl FnMut()) {
        if !self.wants(name) {
            return;
        }
        f();
        self.schedule(true);
        let start = Instant::now();
        let mut warm = 0;
        while warm < 2 || (start.elapsed().as_secs_f64() < 0.2 && warm < 20) {
            f();
            warm += 1;
        }
        let mut times = vec![];
        let start = Instant::now();
        while times.len() < 3 || (start.elapsed().as_secs_f64() < self.budget && times.len() < 200) {
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

/// Normal-ish numbers, the same on every run.
pub fn random(shape: &[usize]) -> Tensor {
    seeded(1, shape)
}

/// Normal-ish numbers of a seed.
pub fn seeded(seed: u32, shape: &[usize]) -> Tensor {
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

/// A variable of such numbers.
pub fn var(shape: &[usize]) -> Var {
    Var::from_tensor(&random(shape)).unwrap()
}

/// A variable of the numbers of a seed.
pub fn seeded_var(seed: u32, shape: &[usize]) -> Var {
    Var::from_tensor(&seeded(seed, shape)).unwrap()
}

/// The gradient of every variable for a gradient of ones of the output, on our own tape, as the trainer takes it.
pub fn backward(f: impl FnOnce() -> Tensor) {
    let (y, tape) = record(|| Ok::<_, halocast_kernels::Error>(f())).unwrap();
    drop(tape.backward(&y).unwrap());
}

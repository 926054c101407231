//! Times of the U-Net of Mudur & Finkbeiner 2022 (31,234,497 parameters, 64x64), one line each: name, median ms,
//! minimum ms, number of runs.
//!
//! `cargo bench -p halocast-models -- [b8|b1] [fwd|fwdbwd|train|adam|candle ...]`. Environment: `BUDGET` seconds a case (4), `RT=1` asks
//! for real-time scheduling of the timed loops.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, missing_docs)]

use std::time::Instant;

use candle_core::{Device, Tensor, Var};
use halocast_core::Rng;
use halocast_kernels::{AdamCfg, AdamState, mse_loss, no_grad, record};
use halocast_models::Parameters;
use halocast_models::unet::{UNet, UNetConfig};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |name: &str| arguments.iter().any(|a| a == name);
    let all = |names: [&str; 4]| !wanted("candle") && !names.iter().any(|n| wanted(n));
    let parameters = Parameters::new(1, &Device::Cpu);
    let network = UNet::new(&UNetConfig::default(), parameters.builder()).unwrap();
    println!("# {} parameters", parameters.count());
    let mut optimizer: Vec<(Var, AdamState)> = parameters
        .named()
        .into_iter()
        .map(|(_, var)| {
            let state = AdamState::new(var.elem_count());
            (var, state)
        })
        .collect();
    for batch in [8, 1] {
        if wanted(if batch == 8 { "b1" } else { "b8" }) {
            continue;
        }
        let mut rng = Rng::new(2);
        let mut normal =
            || Tensor::from_vec(rng.normals(batch * 64 * 64), (batch, 1, 64, 64), &Device::Cpu).unwrap();
        let (x, noise) = (normal(), normal());
        let t: Vec<f64> = (0..batch).map(|i| 37.0 * i as f64 + 3.0).collect();
        let names = ["fwd", "fwdbwd", "train", "adam"];
        if wanted("fwd") || all(names) {
            run(&format!("unet_b{batch}_fwd"), || drop(no_grad(|| network.forward(&x, &t, None)).unwrap()));
        }
        let gradients = || {
            let (loss, tape) = record(|| mse_loss(&network.forward(&x, &t, None).unwrap(), &noise)).unwrap();
            tape.backward(&loss).unwrap()
        };
        if wanted("fwdbwd") || all(names) {
            run(&format!("unet_b{batch}_fwdbwd"), || drop(gradients()));
        }
        if wanted("candle") {
            // The same gradients through Candle's own graph: what the tape saves.
            run(&format!("unet_b{batch}_fwdbwd@candle"), || {
                let loss = mse_loss(&network.forward(&x, &t, None).unwrap(), &noise).unwrap();
                drop(loss.backward().unwrap());
            });
        }
        let mut cfg = AdamCfg { lr: 2e-4, ..Default::default() };
        if wanted("adam") || all(names) {
            let gradients = gradients();
            run(&format!("unet_b{batch}_adam"), || {
                for (var, state) in &mut optimizer {
                    state.step(var, gradients.get(var).unwrap(), &cfg).unwrap();
                }
            });
        }
        if wanted("train") || all(names) {
            run(&format!("unet_b{batch}_train"), || {
                let gradients = gradients();
                for (var, state) in &mut optimizer {
                    state.step(var, gradients.get(var).unwrap(), &cfg).unwrap();
                }
                cfg.step += 1;
            });
        }
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().filter(|l| l.starts_with("VmHWM")).for_each(|l| eprintln!("{l}"));
}

fn run(name: &str, mut f: impl FnMut()) {
    let budget = std::env::var("BUDGET").ok().and_then(|v| v.parse().ok()).unwrap_or(4.0);
    f();
    schedule(true);
    f();
    let (mut times, start) = (vec![], Instant::now());
    while times.len() < 3 || (start.elapsed().as_secs_f64() < budget && times.len() < 100) {
        let t = Instant::now();
        f();
        times.push(t.elapsed().as_secs_f64() * 1e3);
    }
    schedule(false);
    times.sort_by(f64::total_cmp);
    println!("{name}\t{:.4}\t{:.4}\t{}", times[times.len() / 2], times[0], times.len());
}

/// Real-time scheduling of all threads of this process, where asked for and permitted.
fn schedule(on: bool) {
    if !std::env::var("RT").is_ok_and(|v| v == "1") {
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
}

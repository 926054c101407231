//! Times of a Diffusion Mamba (4,193,668 parameters, 64x64 maps, 1229 tokens), one line each: name, median ms, minimum ms,
//! number of runs.
//!
//! `cargo bench -p halocast-models --bench dim -- [fwd|train|lengths ...]`. Environment: `BUDGET` seconds a case (4). `lengths`
//! trains on maps of several sides and tells the peak memory after each, the smallest first.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::time::Instant;

use candle_core::{Device, Tensor, Var};
use halocast_core::Rng;
use halocast_kernels::{AdamCfg, AdamState, mse_loss, no_grad, record};
use halocast_models::Parameters;
use halocast_models::dim::{Dim, DimCondition, DimConfig};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |name: &str| arguments.is_empty() || arguments.iter().any(|a| a == name);
    if wanted("fwd") {
        let (network, parameters) = network(64);
        println!("# {} parameters", parameters.count());
        let (x, _, t) = data(8, 64);
        run("dim_b8_fwd", || {
            no_grad(|| network.forward(&x, &t, DimCondition::default())).unwrap();
        });
    }
    if wanted("train") {
        train("dim_b4_train", 4, 64);
    }
    if arguments.iter().any(|a| a == "lengths") {
        for side in [16, 32, 64, 128] {
            let config = DimConfig { size: [side; 2], ..DimConfig::small() };
            train(&format!("dim_b1_train_{}_tokens", config.tokens()), 1, side);
            let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
            status.lines().filter(|l| l.starts_with("VmHWM")).for_each(|l| println!("{l}"));
        }
    }
}

fn network(side: usize) -> (Dim, Parameters) {
    let parameters = Parameters::new(1, &Device::Cpu);
    let config = DimConfig { size: [side; 2], ..DimConfig::small() };
    (Dim::new(&config, parameters.builder()).unwrap(), parameters)
}

fn data(batch: usize, side: usize) -> (Tensor, Tensor, Vec<f64>) {
    let mut rng = Rng::new(2);
    let shape = (batch, 1, side, side);
    let mut normal = || Tensor::from_vec(rng.normals(batch * side * side), shape, &Device::Cpu).unwrap();
    (normal(), normal(), (0..batch).map(|i| 37.0 * i as f64 + 3.0).collect())
}

/// One step of AdamW, as the rival has it.
fn train(name: &str, batch: usize, side: usize) {
    let (network, parameters) = network(side);
    let state = |(_, var): (String, Var)| {
        let state = AdamState::new(var.elem_count());
        (var, state)
    };
    let mut optimizer: Vec<_> = parameters.named().into_iter().map(state).collect();
    let (x, noise, t) = data(batch, side);
    let mut cfg = AdamCfg { lr: 2e-4, ..Default::default() };
    run(name, || {
        let loss = || mse_loss(&network.forward(&x, &t, DimCondition::default()).unwrap(), &noise);
        let (loss, tape) = record(loss).unwrap();
        let gradients = tape.backward(&loss).unwrap();
        for (var, state) in &mut optimizer {
            state.step(var, gradients.get(var).unwrap(), &cfg).unwrap();
        }
        cfg.step += 1;
    });
}

fn run(name: &str, mut f: impl FnMut()) {
    let budget = std::env::var("BUDGET").ok().and_then(|v| v.parse().ok()).unwrap_or(4.0);
    f();
    f();
    let (mut times, start) = (vec![], Instant::now());
    while times.len() < 3 || (start.elapsed().as_secs_f64() < budget && times.len() < 100) {
        let t = Instant::now();
        f();
        times.push(t.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    println!("{name}\t{:.4}\t{:.4}\t{}", times[times.len() / 2], times[0], times.len());
}

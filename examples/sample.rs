//! New events from a checkpoint, in the units of the data it learned.
//!
//! ```text
//! cargo run --release --example sample -- run/checkpoint-00002000.safetensors --n 64 --out maps.npy
//! cargo run --release --example sample -- run/checkpoint-00002000.safetensors --condition dm.npy --n 8 \
//!     --sampler dpm_solver --steps 30 --out gas.npy
//! ```

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use halocast::core::write_whole;
use halocast_examples::console::{self, bar, say};
use halocast_examples::train::{SampleRequest, sample_to_file};

// Tensors come and go by the million bytes: an allocator that keeps them saves the page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "New events from a checkpoint, in the units of the data it learned")]
struct Arguments {
    /// The checkpoint: its header rebuilds its model.
    checkpoint: PathBuf,
    /// The number of events.
    #[arg(long, default_value_t = 16)]
    n: usize,
    /// What they are made from: a .npy file, in its own units, of one row for all or one for each.
    #[arg(long, value_name = "FILE")]
    condition: Option<PathBuf>,
    /// ancestral, ddim, dpm_solver, ...: how diffusion models are sampled.
    #[arg(long)]
    sampler: Option<String>,
    /// Its number of steps.
    #[arg(long)]
    steps: Option<usize>,
    /// The most events drawn at once; the events do not depend on it.
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Where the events go, `[n, ..]`.
    #[arg(long, default_value = "samples.npy")]
    out: PathBuf,
    /// Write what was drawn, and in what time, to this file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// cpu, cuda or metal.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Number of threads; 0 for one a core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

fn main() -> ExitCode {
    console::main(|a: Arguments| {
        console::set_threads(a.threads)?;
        let request = SampleRequest {
            checkpoint: a.checkpoint,
            n: a.n,
            condition: a.condition,
            sampler: a.sampler,
            steps: a.steps,
            batch: a.batch,
            seed: a.seed,
            device: console::device(&a.device)?,
        };
        let progress = bar("sampling", 0);
        let tick = |done: u64, total: u64| {
            progress.set_length(total);
            progress.set_position(done);
        };
        let start = Instant::now();
        let shape = sample_to_file(&request, &a.out, &tick)?;
        let seconds = start.elapsed().as_secs_f64();
        progress.finish();
        say(format!("{}: {shape:?} in {seconds:.1} s", a.out.display()));
        if let Some(path) = &a.json {
            let report = serde_json::json!({ "out": a.out, "shape": shape, "seconds": seconds });
            write_whole(path, |w| Ok(serde_json::to_writer_pretty(w, &report)?))?;
        }
        Ok(())
    })
}

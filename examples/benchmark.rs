//! Times of the work that other tools do too, by the same names, one JSON line a job.
//!
//! ```text
//! cargo run --release --example benchmark -- --list
//! cargo run --release --example benchmark -- unet_b8_train b5_mas --threads 2 --json times.jsonl
//! ```

use std::process::ExitCode;

use clap::Parser;
use halocast_examples::benchmark::{Options, list, run};
use halocast_examples::console;

// Tensors come and go by the million bytes: an allocator that keeps them saves the page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Times jobs and prints one JSON line each: job, median_s, min_s, peak_rss_mb, ...
#[derive(Parser)]
#[command(name = "benchmark")]
struct Arguments {
    /// Jobs or groups of jobs, as --list names them; all when none is named.
    jobs: Vec<String>,
    /// Lists the jobs: group, name, what is timed.
    #[arg(long)]
    list: bool,
    /// Number of threads; 0 for one a core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Also writes the lines to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<std::path::PathBuf>,
    /// Seconds that the timed runs of a job may take; there are at least three.
    #[arg(long, default_value_t = 4.0)]
    budget: f64,
    /// Seed of the inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Asks for real-time scheduling of the timed runs (by `chrt`), so that a busy machine does not interrupt them.
    #[arg(long)]
    real_time: bool,
}

fn main() -> ExitCode {
    console::main(|arguments: Arguments| {
        let options = Options {
            threads: arguments.threads,
            json: arguments.json,
            budget: arguments.budget,
            seed: arguments.seed,
            real_time: arguments.real_time,
        };
        if arguments.list { list() } else { run(&arguments.jobs, &options) }
    })
}

//! Two ensembles of maps side by side: every statistic, error bars, a verdict in a sentence; the checkpoints of a run ranked.
//!
//! ```text
//! cargo run --release --example evaluate -- truth.npy samples.npy --box-size 25 --json out.json --html out.html
//! cargo run --release --example evaluate -- truth.npy --checkpoints RUN --draws 64
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use halocast_examples::console;
use halocast_examples::evaluate::{Options, run};

/// Compares samples to the truth.
#[derive(Parser)]
#[command(name = "evaluate")]
struct Arguments {
    /// Maps of the truth: .npy, .fits or .hdf5.
    truth: PathBuf,
    /// Maps to judge.
    samples: Option<PathBuf>,
    /// Ranks the checkpoints of the run in this folder by the maps they sample.
    #[arg(long, value_name = "DIR")]
    checkpoints: Option<PathBuf>,
    /// How many maps each checkpoint is judged by.
    #[arg(long, default_value_t = 64)]
    draws: usize,
    /// Side of the box in Mpc/h.
    #[arg(long, default_value_t = 25.0)]
    box_size: f64,
    /// Judges the logarithm of the maps.
    #[arg(long)]
    log10: bool,
    /// Writes every number and curve to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes a report with figures to this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// cpu, cuda or metal: where checkpoints are sampled.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Number of threads; 0 for one a core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

fn main() -> ExitCode {
    console::main(|a: Arguments| {
        console::set_threads(a.threads)?;
        run(&Options {
            truth: a.truth,
            samples: a.samples,
            checkpoints: a.checkpoints,
            draws: a.draws,
            box_size: a.box_size,
            log10: a.log10,
            json: a.json,
            html: a.html,
            seed: a.seed,
            device: console::device(&a.device)?,
        })
    })
}

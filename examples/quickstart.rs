//! The main job: a universe, its maps, a diffusion model trained on them, new maps, and a verdict on their statistics.
//!
//! `cargo run --release --example quickstart` needs no input and writes `quickstart-out/report.html`. `--maps` trains on
//! real maps instead; `--snapshot` projects a real snapshot and reports its statistics; `--full` is the configuration of
//! Mudur & Finkbeiner 2022, for a large machine.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use halocast_examples::console;
use halocast_examples::quickstart::{Options, snapshot, train_and_judge};

// Tensors come and go by the million bytes: an allocator that keeps them saves the page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "A universe, its maps, a model of them, and a verdict")]
struct Arguments {
    /// Train on these maps (FITS images of one sky, or CAMELS .npy files) instead of the embedded universe.
    #[arg(long, num_args = 1.., conflicts_with = "snapshot")]
    maps: Vec<PathBuf>,
    /// Project this IllustrisTNG snapshot and report the statistics of its maps; nothing is trained.
    #[arg(long)]
    snapshot: Option<PathBuf>,
    /// With --snapshot: missing chunks are a warning, not an error.
    #[arg(long, requires = "snapshot")]
    allow_missing: bool,
    /// With --maps of CAMELS files: side of the simulated box in Mpc/h, 25 unless given.
    #[arg(long, requires = "maps")]
    box_size: Option<f64>,
    /// The configuration of Mudur & Finkbeiner 2022: 31,234,497 parameters, 60,000 iterations.
    #[arg(long)]
    full: bool,
    /// The folder of the report, the checkpoints and the maps; a run that was stopped goes on from it.
    #[arg(long, default_value = "quickstart-out")]
    out: PathBuf,
    /// Write the verdict's numbers to this file as JSON.
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
    /// Number of training iterations, in place of the configuration's.
    #[arg(long)]
    iterations: Option<u64>,
    /// Number of embedded universes, in place of the configuration's.
    #[arg(long)]
    universes: Option<usize>,
    /// Number of maps to sample, in place of the configuration's.
    #[arg(long)]
    samples: Option<usize>,
}

fn main() -> ExitCode {
    console::main(|arguments: Arguments| {
        console::set_threads(arguments.threads)?;
        let options = Options {
            maps: arguments.maps,
            box_size: arguments.box_size,
            full: arguments.full,
            out: arguments.out,
            json: arguments.json,
            seed: arguments.seed,
            device: console::device(&arguments.device)?,
            iterations: arguments.iterations,
            universes: arguments.universes,
            samples: arguments.samples,
        };
        match arguments.snapshot {
            Some(path) => snapshot(&path, arguments.allow_missing, &options),
            None => train_and_judge(&options),
        }
    })
}

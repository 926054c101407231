//! The summary statistics of maps, cubes and clouds: JSON with every array's bins and units, a picture, charts.
//!
//! ```text
//! cargo run --release --example summarize -- maps.npy --box-size 25 --statistics pk,minkowski --json out.json
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use halocast_examples::console;
use halocast_examples::summarize::{Convention, Kind, Options, ReadAs, run};

/// Takes the summary statistics of maps, cubes and clouds.
#[derive(Parser)]
#[command(name = "summarize")]
struct Arguments {
    /// Files: .npy, .fits or .hdf5.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Side of the box in Mpc/h; FITS files tell their own.
    #[arg(long)]
    box_size: Option<f64>,
    /// Of maps: pk, xpk, pdf, moments, minkowski, profile; of a cube: pk, multipoles, minkowski; of a cloud: xi, xismu, wp,
    /// knn. All unless given.
    #[arg(long, value_delimiter = ',')]
    statistics: Vec<String>,
    /// Whose conventions.
    #[arg(long, value_enum, default_value_t)]
    convention: Convention,
    /// What the files are taken for.
    #[arg(long, value_enum, default_value_t)]
    kind: Kind,
    /// Opposite sides of the box do not meet.
    #[arg(long)]
    open: bool,
    /// The dataset of HDF5 files.
    #[arg(long)]
    dataset: Option<String>,
    /// Writes the JSON to this file, not to the terminal.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes a picture of the first sixteen maps.
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
    /// Writes a page with charts.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Seed of random places.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of threads; 0 for one a core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

fn main() -> ExitCode {
    console::main(|a: Arguments| {
        console::set_threads(a.threads)?;
        run(&Options {
            files: a.files,
            read_as: ReadAs { kind: a.kind, box_size: a.box_size, open: a.open, dataset: a.dataset },
            statistics: a.statistics,
            convention: a.convention,
            json: a.json,
            png: a.png,
            html: a.html,
            seed: a.seed,
        })
    })
}

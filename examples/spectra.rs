//! Galaxy spectra by an autoencoder, a variational one, a flow and a diffusion model; redshifts by a conditional flow.
//!
//! ```text
//! cargo run --release --example spectra -- --out spectra-out
//! cargo run --release --example spectra -- --sdss spec-0266-51602-0013.fits spec-0332-52367-0639.fits --out spectra-out
//! ```
//!
//! docs/science/spectra.md says what is compared. A run that was killed goes on; what is there is not made again.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use halocast_examples::console;
use halocast_examples::science::StudyArguments;
use halocast_examples::science::spectra::{SpectraOptions, spectra};

// Tensors come and go by the million bytes: an allocator that keeps them saves the page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What `--full` changes.
const FULL: [&str; 1] = ["train.iterations=30000"];

#[derive(Parser)]
#[command(
    about = "The generative models of a lecture on one set of galaxy spectra, and redshifts inferred from them"
)]
struct Arguments {
    /// Spectra of the Sloan Digital Sky Survey whose redshift is inferred.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    sdss: Vec<PathBuf>,
    /// Mock spectra to make, of which a tenth is never learned from; ten times as many with `--full`.
    #[arg(long, default_value_t = 6000)]
    count: usize,
    /// The folder of configurations.
    #[arg(long, default_value = "examples/configs/spectra")]
    configs: PathBuf,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    study: StudyArguments,
}

fn main() -> ExitCode {
    console::main(|a: Arguments| {
        let device = a.study.begin()?;
        let found = spectra(&SpectraOptions {
            configs: a.configs,
            changes: a.study.changes(&FULL),
            count: if a.study.full { 10 * a.count } else { a.count },
            sdss: a.sdss,
            out: a.study.out.clone(),
            seed: a.seed,
            device,
        })?;
        a.study.end(found.table(), &found)
    })
}

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
use halocast::core::write_whole;
use halocast_examples::console::{self, say};
use halocast_examples::science::spectra::{SpectraOptions, spectra};

// Tensors come and go by the million bytes: an allocator that keeps them saves the page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(
    about = "The generative models of a lecture on one set of galaxy spectra, and redshifts inferred from them"
)]
struct Arguments {
    /// Spectra of the Sloan Digital Sky Survey whose redshift is inferred.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    sdss: Vec<PathBuf>,
    /// Mock spectra to make, of which a tenth is never learned from.
    #[arg(long, default_value_t = 6000)]
    count: usize,
    /// The folder of configurations.
    #[arg(long, default_value = "examples/configs/spectra")]
    configs: PathBuf,
    /// Changes to all of them, such as `train.iterations=600`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// Ten times as many spectra and steps.
    #[arg(long)]
    full: bool,
    /// Where spectra, runs and figures lie.
    #[arg(long, default_value = "spectra-out")]
    out: PathBuf,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the numbers to this file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// cpu, cuda or metal.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Number of threads; 0 for one a core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

fn main() -> ExitCode {
    console::main(|mut a: Arguments| {
        console::set_threads(a.threads)?;
        if a.full {
            a.count *= 10;
            a.changes.insert(0, "train.iterations=30000".into());
        }
        let found = spectra(&SpectraOptions {
            configs: a.configs,
            changes: a.changes,
            count: a.count,
            sdss: a.sdss,
            out: a.out,
            seed: a.seed,
            device: console::device(&a.device)?,
        })?;
        say(found.table());
        if let Some(path) = &a.json {
            write_whole(path, |w| Ok(serde_json::to_writer_pretty(w, &found)?))?;
        }
        Ok(())
    })
}

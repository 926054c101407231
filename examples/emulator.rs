//! An emulator: maps of gas drawn at six parameters, against what one would use without it.
//!
//! ```text
//! cargo run --release --example emulator -- --out emulator-out
//! cargo run --release --example emulator -- --full --device cuda --out emulator-full
//! ```
//!
//! docs/science/emulator.md says what is compared. A run that was killed goes on; what is there is not made again.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use halocast_examples::console;
use halocast_examples::science::StudyArguments;
use halocast_examples::science::emulator::{EmulatorOptions, emulator};

// Tensors come and go by the million bytes: an allocator that keeps them saves the page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What `--full` changes.
const FULL: [&str; 8] = [
    "data.make.simulations=1000",
    "data.make.grid=64",
    "data.make.universe.particles=64",
    "model.size=[64, 64]",
    "model.timesteps=2000",
    "model.unet.dim=64",
    "model.unet.dim_mults=[1, 2, 4, 8]",
    "train.iterations=60000",
];

#[derive(Parser)]
#[command(
    about = "Maps drawn at six parameters, against the nearest training simulation and an unconditional model"
)]
struct Arguments {
    /// The configuration.
    #[arg(long, default_value = "examples/configs/emulator.toml")]
    config: PathBuf,
    #[command(flatten)]
    study: StudyArguments,
}

fn main() -> ExitCode {
    console::main(|a: Arguments| {
        let device = a.study.begin()?;
        let found = emulator(&EmulatorOptions {
            config: a.config,
            changes: a.study.changes(&FULL),
            out: a.study.out.clone(),
            device,
        })?;
        a.study.end(found.table(), &found)
    })
}

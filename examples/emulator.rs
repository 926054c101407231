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
use halocast::core::write_whole;
use halocast_examples::console::{self, say};
use halocast_examples::science::emulator::{EmulatorOptions, emulator};

// Tensors come and go by the million bytes: an allocator that keeps them saves the page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(
    about = "Maps drawn at six parameters, against the nearest training simulation and an unconditional model"
)]
struct Arguments {
    /// The configuration.
    #[arg(long, default_value = "examples/configs/emulator.toml")]
    config: PathBuf,
    /// Changes to it, such as `train.iterations=600`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// Maps of 64 pixels of 1000 simulations of 64^3 particles, and the model of the paper.
    #[arg(long)]
    full: bool,
    /// Where sets, runs, samples and figures lie.
    #[arg(long, default_value = "emulator-out")]
    out: PathBuf,
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
            let full = [
                "data.make.simulations=1000",
                "data.make.grid=64",
                "data.make.universe.particles=64",
                "model.size=[64, 64]",
                "model.timesteps=2000",
                "model.unet.dim=64",
                "model.unet.dim_mults=[1, 2, 4, 8]",
                "train.iterations=60000",
            ];
            a.changes.splice(0..0, full.map(String::from));
        }
        let found = emulator(&EmulatorOptions {
            config: a.config,
            changes: a.changes,
            out: a.out,
            device: console::device(&a.device)?,
        })?;
        say(found.table());
        if let Some(path) = &a.json {
            write_whole(path, |w| Ok(serde_json::to_writer_pretty(w, &found)?))?;
        }
        Ok(())
    })
}

//! What is in a file or folder: format, header, cosmology, particle types, fields with unit, type, shape and counts
//! (stored and promised), missing files.
//!
//! ```text
//! cargo run --release --example inspect -- PATH [--json FILE]
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use halocast::core::write_whole;
use halocast::data::describe;
use halocast_examples::console;

/// Shows what is in a file or folder of simulation data.
#[derive(Parser)]
#[command(name = "inspect")]
struct Arguments {
    /// A file or folder: a snapshot, a group catalogue, any HDF5, npy, npz or FITS file, parameters or another table.
    path: PathBuf,
    /// Also writes the description to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn run(arguments: &Arguments) -> Result<String> {
    let description = describe(&arguments.path)?;
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&description).context("cannot make JSON")?;
        write_whole(path, |out| std::io::Write::write_all(out, text.as_bytes()))?;
    }
    Ok(description.to_string())
}

fn main() -> ExitCode {
    console::main(|arguments: Arguments| {
        let text = run(&arguments)?;
        // A reader such as `head` may close the pipe early: that is no fault.
        let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
        Ok(())
    })
}

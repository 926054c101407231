//! The table of the zoo: every configuration of a folder trained, sampled and judged by the same numbers.
//!
//! ```text
//! cargo run --release --example zoo -- --out zoo-out --table zoo.md
//! cargo run --release --example zoo -- ddpm-dm indi-dm-gas --out zoo-out
//! ```
//!
//! Rows that are there are not made again; a run that was killed goes on. docs/zoo.md holds the table of this version.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use halocast::core::write_whole;
use halocast_examples::console::{self, say};
use halocast_examples::zoo::{ZooOptions, markdown, rows};

// Tensors come and go by the million bytes: an allocator that keeps them saves the page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Every model of the zoo, trained, sampled and judged by the same numbers")]
struct Arguments {
    /// The rows wanted, by the names of their configurations; all when none is named.
    rows: Vec<String>,
    /// The folder of configurations.
    #[arg(long, default_value = "examples/configs/zoo")]
    configs: PathBuf,
    /// Where runs, rows and pictures lie; what is there is not made again.
    #[arg(long, default_value = "zoo-out")]
    out: PathBuf,
    /// The most maps of the test set that are judged.
    #[arg(long, default_value_t = 150)]
    maps: usize,
    /// Write the table to this file.
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Write the rows to this file as JSON.
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
    console::main(|a: Arguments| {
        console::set_threads(a.threads)?;
        let made = rows(&ZooOptions {
            configs: a.configs,
            only: a.rows,
            out: a.out,
            maps: a.maps,
            device: console::device(&a.device)?,
        })?;
        let table = markdown(&made);
        say(&table);
        if let Some(path) = &a.table {
            write_whole(path, |w| w.write_all(table.as_bytes()))?;
        }
        if let Some(path) = &a.json {
            write_whole(path, |w| Ok(serde_json::to_writer_pretty(w, &made)?))?;
        }
        Ok(())
    })
}

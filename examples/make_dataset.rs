//! A training set of many mock simulations, from one file of configuration.
//!
//! `cargo run --release --example make_dataset -- CONFIG.toml`. A run that was killed goes on where it was; the bytes are
//! the same. See docs/mock.md for what the fields are and are not.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use halocast::core::write_whole;
use halocast_examples::console;
use halocast_examples::make_dataset::{DatasetConfig, make};

#[derive(Parser)]
#[command(about = "A training set of many mock simulations, in the layout of the CAMELS Multifield Dataset")]
struct Arguments {
    /// The configuration, in TOML.
    config: PathBuf,
    /// Where to write, in place of the configuration's folder.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Seed of everything random, in place of the configuration's.
    #[arg(long)]
    seed: Option<u64>,
    /// Number of simulations, in place of the configuration's.
    #[arg(long)]
    simulations: Option<usize>,
    /// Write what was made to this file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Number of threads; 0 for one a core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

fn main() -> ExitCode {
    console::main(|arguments: Arguments| {
        console::set_threads(arguments.threads)?;
        let mut config = DatasetConfig::read(&arguments.config)?;
        config.out = arguments.out.unwrap_or(config.out);
        config.seed = arguments.seed.unwrap_or(config.seed);
        config.simulations = arguments.simulations.unwrap_or(config.simulations);
        config.validate()?;
        let start = std::time::Instant::now();
        let bar = console::bar("simulations", config.list().len() as u64);
        let report = make(&config, &|done, _| bar.set_position(done))?;
        bar.finish();
        let seconds = start.elapsed().as_secs_f64();
        console::say(format!(
            "{} mock simulations ({} of them found finished) in {seconds:.1} s: {} files in {}",
            report.simulations,
            report.resumed,
            report.files.len(),
            config.out.display()
        ));
        if let Some(path) = arguments.json {
            let text = serde_json::to_string_pretty(&serde_json::json!({
                "kind": "mock",
                "simulations": report.simulations,
                "resumed": report.resumed,
                "seconds": seconds,
                "peak_rss_mb": console::peak_rss_mb(),
                "files": report.files,
            }))?;
            write_whole(path, |w| std::io::Write::write_all(w, text.as_bytes()))?;
        }
        Ok(())
    })
}

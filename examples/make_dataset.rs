//! A training set of many mock simulations, or of the galaxies of a simulation, from one file of configuration.
//!
//! `cargo run --release --example make_dataset -- CONFIG.toml`. A run that was killed goes on where it was; the bytes are
//! the same. See docs/mock.md for what the fields of mock simulations are and are not, docs/maps.md for sets of galaxies.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Parser;
use halocast::core::write_whole;
use halocast_examples::console;
use halocast_examples::make_dataset::{SetConfig, Share, make, make_galaxies};

#[derive(Parser)]
#[command(
    about = "A training set of many mock simulations, in the layout of the CAMELS Multifield Dataset, or of galaxies, in that of \
             skais-mapper"
)]
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
    /// Number of galaxies, in place of the configuration's.
    #[arg(long, conflicts_with = "simulations")]
    galaxies: Option<usize>,
    /// Which process this is, of how many that make the set together; what the launcher (mpirun, srun) says when left out.
    #[arg(long, value_name = "RANK/RANKS")]
    share: Option<String>,
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
        let share = match &arguments.share {
            Some(text) => Share::parse(text).context("--share")?,
            None => Share::of_launcher(|name| std::env::var(name).ok())?,
        };
        let start = std::time::Instant::now();
        let (kind, report, out) = match SetConfig::read(&arguments.config)? {
            SetConfig::Simulations(mut config) => {
                ensure!(arguments.galaxies.is_none(), "--galaxies: the configuration is of simulations");
                config.out = arguments.out.unwrap_or(config.out);
                config.seed = arguments.seed.unwrap_or(config.seed);
                config.simulations = arguments.simulations.unwrap_or(config.simulations);
                config.validate()?;
                let bar = console::bar("simulations", config.list().len() as u64);
                let report = make(&config, share, &|done, _| bar.set_position(done))?;
                bar.finish();
                ("simulations", report, config.out)
            }
            SetConfig::Galaxies(mut config) => {
                ensure!(arguments.simulations.is_none(), "--simulations: the configuration is of galaxies");
                config.out = arguments.out.unwrap_or(config.out);
                config.seed = arguments.seed.unwrap_or(config.seed);
                config.galaxies = arguments.galaxies.unwrap_or(config.galaxies);
                config.validate()?;
                let bar = console::bar("galaxies", config.galaxies as u64);
                let report = make_galaxies(&config, share, &|done, _| bar.set_position(done))?;
                bar.finish();
                ("galaxies", report, config.out)
            }
        };
        if !share.is_first() {
            return Ok(());
        }
        let seconds = start.elapsed().as_secs_f64();
        console::say(format!(
            "{} {kind} ({} of them found finished) in {seconds:.1} s: {} files in {}",
            report.simulations,
            report.resumed,
            report.files.len(),
            out.display()
        ));
        if let Some(path) = arguments.json {
            let text = serde_json::to_string_pretty(&serde_json::json!({
                kind: report.simulations,
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

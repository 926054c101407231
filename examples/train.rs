//! Any model of the zoo on any data set, from one file of configuration.
//!
//! ```text
//! cargo run --release --example train -- examples/configs/models/ddpm.toml --out run
//! cargo run --release --example train -- examples/configs/models/ddpm.toml --out run --set train.iterations=2000
//! ```
//!
//! A run that was killed goes on where it was, to the same bits. See docs/zoo.md for what each model is good at.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use halocast::core::write_whole;
use halocast_examples::console::{self, say};
use halocast_examples::train::{Examples, RunConfig, TrainOptions, train};

// Tensors come and go by the million bytes: an allocator that keeps them saves the page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Any model of the zoo on any data set; a run that was stopped goes on")]
struct Arguments {
    /// The configuration, in TOML: model, data, train.
    config: PathBuf,
    /// The folder of the run; a run that was stopped goes on from it.
    #[arg(long, default_value = "run")]
    out: PathBuf,
    /// Changes a value of the configuration: train.batch=8. May be given many times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// Draws no samples at checkpoints.
    #[arg(long)]
    no_samples: bool,
    /// Write what came of it to this file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Seed of everything random, in place of the configuration's.
    #[arg(long)]
    seed: Option<u64>,
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
        let mut config = RunConfig::read(&a.config, &a.changes)?;
        config.train.seed = a.seed.unwrap_or(config.train.seed);
        let options = TrainOptions { out: a.out, device: console::device(&a.device)?, show: !a.no_samples };
        let examples = Examples::new(&config.data, config.train.seed)?;
        let trained = train(&config, &examples, &options)?;
        say(format!("step {}: {}", trained.step, trained.checkpoint.display()));
        if let Some(path) = &a.json {
            let report = serde_json::json!({
                "checkpoint": trained.checkpoint,
                "step": trained.step,
                "parameters": trained.parameters,
                "loss": trained.losses.last().map(|record| record.loss),
                "seconds": trained.seconds,
                "peak_rss_mb": console::peak_rss_mb(),
            });
            write_whole(path, |w| Ok(serde_json::to_writer_pretty(w, &report)?))?;
        }
        Ok(())
    })
}

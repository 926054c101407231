//! Interstellar dust: a diffusion model of patches of a map, and the noise it takes out of patches that it has not seen.
//!
//! ```text
//! cargo run --release --example dust -- --out dust-out
//! cargo run --release --example dust -- --images I_1.fits I_2.fits --unseen PerA_Extn2MASS_F_Gal.fits --out dust-out
//! ```
//!
//! docs/science/dust.md says what is compared. A run that was killed goes on; what is there is not made again.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use halocast_examples::console;
use halocast_examples::science::StudyArguments;
use halocast_examples::science::dust::{DustOptions, dust};

// Tensors come and go by the million bytes: an allocator that keeps them saves the page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What `--full` changes.
const FULL: [&str; 11] = [
    "model.size=[128, 128]",
    "model.timesteps=2000",
    r#"model.objective="noise""#,
    r#"model.loss="huber""#,
    r#"model.schedule={ kind = "linear", start = 1e-4, end = 0.02 }"#,
    "model.unet.dim=64",
    "model.unet.dim_mults=[1, 2, 4, 8]",
    r#"model.unet.attention="everywhere""#,
    "train.batch=40",
    "train.iterations=42000",
    "train.optimizer={ learning_rate = 6e-5 }",
];

#[derive(Parser)]
#[command(about = "The noise of dust maps taken out by a diffusion model and by a Gaussian filter")]
struct Arguments {
    /// FITS images of dust to learn from, and in whose right quarter to denoise; mock dust when left out.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    images: Vec<PathBuf>,
    /// FITS images to denoise alone.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    unseen: Vec<PathBuf>,
    /// The configuration.
    #[arg(long, default_value = "examples/configs/dust.toml")]
    config: PathBuf,
    /// Seed of everything random, in place of the configuration's.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    study: StudyArguments,
}

fn main() -> ExitCode {
    console::main(|a: Arguments| {
        let device = a.study.begin()?;
        let mut changes = a.study.changes(&FULL);
        changes.extend(a.seed.map(|seed| format!("train.seed={seed}")));
        let found = dust(&DustOptions {
            images: a.images,
            unseen: a.unseen,
            config: a.config,
            changes,
            out: a.study.out.clone(),
            device,
        })?;
        a.study.end(found.table(), &found)
    })
}

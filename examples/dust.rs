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
use halocast::core::write_whole;
use halocast_examples::console::{self, say};
use halocast_examples::science::dust::{DustOptions, dust};

// Tensors come and go by the million bytes: an allocator that keeps them saves the page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    /// Changes to it, such as `train.iterations=600`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// Patches of 128 pixels and the model of the paper.
    #[arg(long)]
    full: bool,
    /// Where patches, the run and figures lie.
    #[arg(long, default_value = "dust-out")]
    out: PathBuf,
    /// Seed of everything random, in place of the configuration's.
    #[arg(long)]
    seed: Option<u64>,
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
                "model.size=[128, 128]",
                "model.timesteps=2000",
                "model.objective=\"noise\"",
                "model.loss=\"huber\"",
                "model.schedule={ kind = \"linear\", start = 1e-4, end = 0.02 }",
                "model.unet.dim=64",
                "model.unet.dim_mults=[1, 2, 4, 8]",
                "model.unet.attention=\"everywhere\"",
                "train.batch=40",
                "train.iterations=42000",
                "train.optimizer={ learning_rate = 6e-5 }",
            ];
            a.changes.splice(0..0, full.map(String::from));
        }
        a.changes.extend(a.seed.map(|seed| format!("train.seed={seed}")));
        let found = dust(&DustOptions {
            images: a.images,
            unseen: a.unseen,
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

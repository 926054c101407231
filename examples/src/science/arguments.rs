//! The flags that all studies have, and how they end.

use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::Device;
use halocast::core::write_whole;
use serde::Serialize;

use crate::console::{self, say};

/// The flags of a study.
#[derive(Clone, Debug, clap::Args)]
pub struct StudyArguments {
    /// A change to the configuration, such as `train.iterations=600`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// The size of the paper, for a GPU.
    #[arg(long)]
    pub full: bool,
    /// Where data, runs and figures lie.
    #[arg(long, default_value = "study-out")]
    pub out: PathBuf,
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

impl StudyArguments {
    /// Sets the number of threads, and gives the device.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn begin(&self) -> Result<Device> {
        console::set_threads(self.threads)?;
        console::device(&self.device)
    }

    /// The changes to a configuration: those of `full` where it is asked for, then those that were given.
    pub fn changes(&self, full: &[&str]) -> Vec<String> {
        let full = full.iter().filter(|_| self.full).map(|change| (*change).to_owned());
        full.chain(self.changes.iter().cloned()).collect()
    }

    /// Prints a table, and writes the numbers where they are wanted.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn end(&self, table: impl AsRef<str>, found: &impl Serialize) -> Result<()> {
        say(table);
        let write = |path: &Path| write_whole(path, |w| Ok(serde_json::to_writer_pretty(w, found)?));
        Ok(self.json.as_deref().map_or(Ok(()), write)?)
    }
}

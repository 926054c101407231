//! The loss log of a run: one JSON line a step, cut back to the checkpoint when a run is resumed.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// One optimiser step as the log holds it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The step, from 1.
    pub step: u64,
    /// The training loss of its batch.
    pub loss: f32,
    /// The norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// The learning rate.
    pub learning_rate: f64,
}

/// The log file `losses.jsonl`.
pub struct LossLog {
    path: PathBuf,
    writer: BufWriter<File>,
}

impl LossLog {
    /// Opens the log of a run that stands at `step`: later lines, and a line cut by a crash, are dropped.
    ///
    /// # Errors
    /// [`Error::File`] when the log cannot be read or written.
    pub fn open(path: &Path, step: u64) -> Result<Self> {
        let fail = |source| Error::File { path: path.to_path_buf(), source };
        // The lines stay as they are: a number that is parsed and printed again may differ in its last digit.
        let text = Self::text(path)?;
        let keep = |line: &&str| Self::parse(line).is_some_and(|record| record.step <= step);
        halocast_core::write_whole(path, |w| {
            text.lines().filter(keep).try_for_each(|line| writeln!(w, "{line}"))
        })?;
        let file = OpenOptions::new().append(true).open(path).map_err(fail)?;
        Ok(Self { path: path.to_path_buf(), writer: BufWriter::new(file) })
    }

    /// The whole lines of a log; none when there is no file.
    ///
    /// # Errors
    /// [`Error::File`] when the file exists and cannot be read.
    pub fn read(path: &Path) -> Result<Vec<StepRecord>> {
        Ok(Self::text(path)?.lines().filter_map(Self::parse).collect())
    }

    fn text(path: &Path) -> Result<String> {
        match std::fs::read_to_string(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            other => other.map_err(|source| Error::File { path: path.to_path_buf(), source }),
        }
    }

    /// A whole line's record; a line cut by a crash has none.
    fn parse(line: &str) -> Option<StepRecord> {
        serde_json::from_str(line).ok()
    }

    /// Appends a step.
    ///
    /// # Errors
    /// [`Error::File`] when the disk refuses.
    pub fn push(&mut self, record: &StepRecord) -> Result<()> {
        let line = serde_json::to_string(record).map_err(std::io::Error::from);
        line.and_then(|line| writeln!(self.writer, "{line}")).map_err(|e| self.fail(e))
    }

    /// Brings all lines to the file.
    ///
    /// # Errors
    /// [`Error::File`] when the disk refuses.
    pub fn flush(&mut self) -> Result<()> {
        self.writer.flush().map_err(|e| self.fail(e))
    }

    fn fail(&self, source: std::io::Error) -> Error {
        Error::File { path: self.path.clone(), source }
    }
}

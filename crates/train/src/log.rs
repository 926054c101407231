//! The logs of a run: one JSON line a step, cut back to the saved state when a run is resumed.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// One step as `losses.jsonl` holds it: the same bytes in every run of the same making.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The step, from 1.
    pub step: u64,
    /// The training loss of its batch; of several phases the sum.
    pub loss: f32,
    /// The norm of the gradient before clipping; of several phases that of all together.
    pub gradient_norm: f64,
    /// The learning rate; of several phases that of the first.
    pub learning_rate: f64,
    /// The parts of the loss by name. Of several phases each part is `PHASE/PART`, and every phase has its `PHASE/loss`,
    /// `PHASE/gradient_norm` and `PHASE/learning_rate`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, f64>,
}

/// What a step cost, as `timing.jsonl` holds it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TimingRecord {
    /// The step, from 1.
    pub step: u64,
    /// Seconds from the end of the step before to the end of this one, without checkpoints and the caller's work.
    pub seconds: f64,
    /// Examples a second.
    pub examples_per_second: f64,
    /// Resident memory in MB, where the system tells (Linux).
    pub resident_mb: Option<f64>,
}

/// A line of a log.
pub trait Line: Serialize + DeserializeOwned {
    /// The step it tells of.
    fn step(&self) -> u64;
}

impl Line for StepRecord {
    fn step(&self) -> u64 {
        self.step
    }
}

impl Line for TimingRecord {
    fn step(&self) -> u64 {
        self.step
    }
}

/// A log file of JSON lines.
pub struct Log<L> {
    path: PathBuf,
    writer: BufWriter<File>,
    line: PhantomData<L>,
}

/// The log `losses.jsonl`.
pub type LossLog = Log<StepRecord>;

impl<L: Line> Log<L> {
    /// Opens the log of a run that stands at `step`: later lines, and a line cut by a crash, are dropped.
    ///
    /// # Errors
    /// [`Error::File`] when the log cannot be read or written.
    pub fn open(path: &Path, step: u64) -> Result<Self> {
        let fail = |source| Error::File { path: path.to_path_buf(), source };
        // The lines stay as they are: a number that is parsed and printed again may differ in its last digit.
        let text = Self::text(path)?;
        let keep = |line: &&str| Self::parse(line).is_some_and(|record| record.step() <= step);
        halocast_core::write_whole(path, |w| {
            text.lines().filter(keep).try_for_each(|line| writeln!(w, "{line}"))
        })?;
        let file = OpenOptions::new().append(true).open(path).map_err(fail)?;
        Ok(Self { path: path.to_path_buf(), writer: BufWriter::new(file), line: PhantomData })
    }

    /// The whole lines of a log; none when there is no file.
    ///
    /// # Errors
    /// [`Error::File`] when the file exists and cannot be read.
    pub fn read(path: &Path) -> Result<Vec<L>> {
        Ok(Self::text(path)?.lines().filter_map(Self::parse).collect())
    }

    fn text(path: &Path) -> Result<String> {
        match std::fs::read_to_string(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            other => other.map_err(|source| Error::File { path: path.to_path_buf(), source }),
        }
    }

    /// A whole line's record; a line cut by a crash has none.
    fn parse(line: &str) -> Option<L> {
        serde_json::from_str(line).ok()
    }

    /// Appends a step.
    ///
    /// # Errors
    /// [`Error::File`] when the disk refuses.
    pub fn push(&mut self, record: &L) -> Result<()> {
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

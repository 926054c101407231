//! Which checkpoints a run has, which of them are best, which may go.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// One checkpoint of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckpointRecord {
    /// The step it holds.
    pub step: u64,
    /// Its file in the folder of the run.
    pub file: String,
    /// The files of the other moving averages.
    pub others: Vec<String>,
    /// The mean training loss since the checkpoint before.
    pub loss: Option<f64>,
    /// What the caller's judge gave it: the less, the better.
    pub score: Option<f64>,
}

/// The checkpoints of a run, by step, as `checkpoints.json` holds them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checkpoints {
    /// The step of the least mean training loss.
    pub best_by_loss: Option<u64>,
    /// The step of the least score.
    pub best_by_score: Option<u64>,
    /// All that are kept.
    pub kept: Vec<CheckpointRecord>,
    /// Files that may be removed; they may be gone already.
    pub discarded: Vec<String>,
}

impl Checkpoints {
    /// The checkpoints of the run in a folder; none when it has no index.
    ///
    /// # Errors
    /// [`Error::File`] when the index exists and cannot be read.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = Self::path(folder);
        let fail = |source| Error::File { path: path.clone(), source };
        match fs::read(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Self::default()),
            other => serde_json::from_slice(&other.map_err(fail)?).map_err(|e| fail(e.into())),
        }
    }

    /// Writes the index, whole or not at all.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, folder: &Path) -> Result<()> {
        Ok(halocast_core::write_whole(Self::path(folder), |w| Ok(serde_json::to_writer_pretty(w, self)?))?)
    }

    /// Adds a checkpoint, in the place of one of the same step, and discards those that neither the last `keep_last`,
    /// nor the multiples of `keep_every`, nor the best are.
    pub fn push(&mut self, record: CheckpointRecord, keep_last: Option<usize>, keep_every: Option<u64>) {
        self.kept.retain(|old| old.step != record.step);
        self.kept.push(record);
        self.kept.sort_by_key(|record| record.step);
        self.best_by_loss = self.best(|record| record.loss);
        self.best_by_score = self.best(|record| record.score);
        let first_kept = keep_last.map_or(0, |n| self.kept.len().saturating_sub(n));
        let stays = |(i, record): (usize, &CheckpointRecord)| {
            i >= first_kept
                || keep_every.is_some_and(|n| record.step.is_multiple_of(n))
                || [self.best_by_loss, self.best_by_score].contains(&Some(record.step))
        };
        let stays: BTreeSet<u64> =
            self.kept.iter().enumerate().filter(|at| stays(*at)).map(|(_, record)| record.step).collect();
        let (kept, gone): (Vec<_>, Vec<_>) =
            self.kept.drain(..).partition(|record| stays.contains(&record.step));
        self.kept = kept;
        self.discarded = gone.into_iter().flat_map(|r| [vec![r.file], r.others].concat()).collect();
    }

    /// Removes the files that were discarded.
    ///
    /// # Errors
    /// [`Error::File`] naming one that is there and stays.
    pub fn purge(&self, folder: &Path) -> Result<()> {
        self.discarded.iter().map(|file| folder.join(file)).try_for_each(|path| {
            match fs::remove_file(&path) {
                Err(source) if source.kind() != ErrorKind::NotFound => Err(Error::File { path, source }),
                _ => Ok(()),
            }
        })
    }

    /// The last step of the kept checkpoints before `step`; 0 when there is none.
    pub(crate) fn last_before(&self, step: u64) -> u64 {
        self.kept.iter().map(|record| record.step).filter(|&s| s < step).max().unwrap_or(0)
    }

    /// The step of the least finite value, the first of equals.
    fn best(&self, value: impl Fn(&CheckpointRecord) -> Option<f64>) -> Option<u64> {
        let known = self.kept.iter().filter_map(|r| Some((value(r).filter(|v| v.is_finite())?, r.step)));
        known.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, step)| step)
    }

    fn path(folder: &Path) -> PathBuf {
        folder.join("checkpoints.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(scores: &[f64], keep_last: Option<usize>, keep_every: Option<u64>) -> Checkpoints {
        let mut all = Checkpoints::default();
        for (i, &score) in scores.iter().enumerate() {
            let step = 10 * (i as u64 + 1);
            let file = format!("{step}");
            let loss = Some(1.0 / step as f64);
            let record = CheckpointRecord { step, file, others: vec![], loss, score: Some(score) };
            all.push(record, keep_last, keep_every);
        }
        all
    }

    fn steps(all: &Checkpoints) -> Vec<u64> {
        all.kept.iter().map(|record| record.step).collect()
    }

    #[test]
    fn the_last_the_best_and_every_kth_stay() {
        let scores = [5.0, 1.0, 4.0, f64::NAN, 3.0, 2.0, 2.0];
        assert_eq!(steps(&after(&scores, None, None)), [10, 20, 30, 40, 50, 60, 70]);
        let two = after(&scores, Some(2), None);
        assert_eq!(steps(&two), [20, 60, 70]);
        assert_eq!((two.best_by_loss, two.best_by_score), (Some(70), Some(20)));
        assert_eq!(two.discarded, ["50"]);
        assert_eq!(steps(&after(&scores, Some(1), Some(30))), [20, 30, 60, 70]);
        // A best that is beaten goes.
        assert_eq!(steps(&after(&[3.0, 2.0, 1.0, 5.0], Some(1), None)), [30, 40]);
        // A step that is taken again takes its place.
        let mut again = two.clone();
        again.push(CheckpointRecord { score: Some(0.5), ..two.kept[2].clone() }, Some(2), None);
        assert_eq!((steps(&again), again.best_by_score), (vec![60, 70], Some(70)));
    }
}

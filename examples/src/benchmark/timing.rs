//! The timing of one job.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;

use super::{Job, Options};
use crate::console::peak_rss_mb;

/// The fewest and the most timed runs.
const RUNS: (usize, usize) = (3, 200);
/// Seconds after which a slow job's runs are not repeated for warmth.
const WARM_S: f64 = 0.2;

/// One line of output.
#[derive(Serialize)]
struct Record<'a> {
    job: &'a str,
    median_s: f64,
    min_s: f64,
    max_s: f64,
    runs: usize,
    threads: usize,
    /// The largest resident memory of the process from the first run on, its inputs included.
    peak_rss_mb: Option<f64>,
}

/// Times a job: two or more runs to warm up, then at least three and for as long as the budget.
pub(super) fn time(job: &Job, options: &Options) -> Result<String> {
    let mut work = (job.prepare)(options.seed)?;
    forget_peak();
    work()?;
    real_time(options, true);
    let start = Instant::now();
    loop {
        work()?;
        if start.elapsed().as_secs_f64() > WARM_S {
            break;
        }
    }
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < RUNS.0 || (start.elapsed().as_secs_f64() < options.budget && times.len() < RUNS.1) {
        let run = Instant::now();
        work()?;
        times.push(run.elapsed().as_secs_f64());
    }
    real_time(options, false);
    times.sort_by(f64::total_cmp);
    let record = Record {
        job: &job.name,
        median_s: times[times.len() / 2],
        min_s: times[0],
        max_s: times[times.len() - 1],
        runs: times.len(),
        threads: rayon::current_num_threads(),
        peak_rss_mb: peak_rss_mb(),
    };
    Ok(serde_json::to_string(&record)?)
}

/// Lets the peak of memory begin anew, where the system can (Linux); elsewhere it counts the making of the input.
fn forget_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Real-time scheduling of every thread of this process, where it is asked for and permitted.
fn real_time(options: &Options, on: bool) {
    if !options.real_time {
        return;
    }
    let process = std::process::id().to_string();
    let policy = if on { ["-r", "-p", "1"] } else { ["-o", "-p", "0"] };
    let _ = Command::new("chrt")
        .arg("-a")
        .args(policy)
        .arg(process)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

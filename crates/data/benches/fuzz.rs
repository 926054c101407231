//! A fuzzer in one process: damaged copies of small files, for as long as it is told to.
//!
//! ```text
//! cargo bench -p halocast-data --bench fuzz -- [SECONDS] [SEED] [TARGET...]
//! ```
//!
//! Every input is a function of seed, target and number. A panic, an error of many lines, a read of more than ten
//! seconds or a peak of memory above 4 times the file plus 64 MiB is told with its number, and the exit code is 1.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/common/targets.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use halocast_core::Rng;
use targets::{damage, targets};

fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let seconds: u64 = arguments.first().and_then(|a| a.parse().ok()).unwrap_or(10);
    let seed: u64 = arguments.get(1).and_then(|a| a.parse().ok()).unwrap_or(1);
    let names = arguments.get(2..).unwrap_or(&[]);
    let chosen: Vec<_> =
        targets().into_iter().filter(|t| names.is_empty() || names.iter().any(|n| n == t.name)).collect();
    let share = Duration::from_secs_f64(seconds as f64 / chosen.len().max(1) as f64);
    let mut faults = 0;
    // Panics are counted here: the usual report would drown the rest.
    std::panic::set_hook(Box::new(|_| {}));
    for target in chosen {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(target.file);
        let (start, mut count, mut errors) = (Instant::now(), 0u64, 0u64);
        let root = Rng::new(seed).split_named(target.name);
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        let before = peak_bytes();
        while start.elapsed() < share {
            let bytes = damage(&target.seed, &mut root.split(count));
            std::fs::write(&path, &bytes).unwrap();
            let run = Instant::now();
            let fault = match catch_unwind(AssertUnwindSafe(|| (target.read)(&path))) {
                Err(_) => Some("panic".to_owned()),
                Ok(Err(error)) => {
                    errors += 1;
                    let message = error.to_string();
                    (message.contains('\n') || message.len() > 4000).then_some(message)
                }
                Ok(Ok(())) => None,
            };
            let slow = run.elapsed() > Duration::from_secs(10);
            if let Some(what) = fault.or(slow.then(|| format!("{:?}", run.elapsed()))) {
                println!("{} seed {seed} number {count}: {what}", target.name);
                faults += 1;
            }
            count += 1;
        }
        let peak = before.zip(peak_bytes()).map_or(0, |(before, after)| after.saturating_sub(before));
        let limit = 4 * target.seed.len() as u64 + (64 << 20);
        println!(
            "{:<12} {count:>8} inputs, {errors:>8} errors, peak {:>6.1} MiB",
            target.name,
            peak as f64 / 1048576.0
        );
        if peak > limit {
            println!("{}: more memory than {limit} bytes", target.name);
            faults += 1;
        }
    }
    ExitCode::from(u8::from(faults > 0))
}

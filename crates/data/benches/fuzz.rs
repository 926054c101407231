//! A fuzzer in one process: damaged copies of small files, for as long as it is told to.
//!
//! ```text
//! cargo bench -p halocast-data --bench fuzz -- [SECONDS] [SEED] [TARGET...]
//! ```
//!
//! Every input is a function of seed, target and number. A panic, an error of many lines, a read of more than ten
//! seconds or a peak of memory above 4 times the file plus 64 MiB is told with its number, and the exit code is 1. A read
//! that does not end within a minute ends the program with exit code 2. Were it to crash, `halocast-fuzz-PID` in the
//! folder of temporary files holds the last input. Beside the targets of the tests there is one for each small public file
//! in `HALOCAST_DATA`, where there is such a folder.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/common/targets.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use halocast_core::Rng;
use targets::{Target, damage, public_targets, targets};

/// A read that is slow, and one that is taken to have no end.
const SLOW: Duration = Duration::from_secs(10);
const ENDLESS: Duration = Duration::from_secs(60);

/// Inputs after which the peak of memory begins anew.
const AFRESH: u64 = 64;

/// What is being read, and since when.
static RUNNING: Mutex<Option<(String, Instant)>> = Mutex::new(None);

fn running(what: Option<(String, Instant)>) {
    if let Ok(mut running) = RUNNING.lock() {
        *running = what;
    }
}

/// Ends the program when a read does not end.
fn watch() {
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let Ok(running) = RUNNING.lock() else { return };
        if let Some((what, since)) = running.as_ref()
            && since.elapsed() > ENDLESS
        {
            println!("{what}: no end after {:?}", since.elapsed());
            std::process::exit(2);
        }
    }
}

fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) << 10
}

/// Feeds a target for a time; returns how many faults there were.
fn feed(target: &Target, seed: u64, share: Duration) -> usize {
    let dir = std::env::temp_dir().join(format!("halocast-fuzz-{}", std::process::id())).join(target.name);
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join(target.file);
    let (start, mut count, mut errors, mut faults) = (Instant::now(), 0u64, 0u64, 0);
    let (mut peak, mut before, mut slowest) = (0, 0, Duration::ZERO);
    let root = Rng::new(seed).split_named(target.name);
    while start.elapsed() < share {
        let name = format!("{} seed {seed} number {count}", target.name);
        let bytes = damage(&target.seed, &mut root.split(count));
        std::fs::write(&path, &bytes).unwrap();
        if count % AFRESH == 0 {
            // Costs more than most reads.
            let _ = std::fs::write("/proc/self/clear_refs", "5");
            before = peak_bytes();
        }
        let run = Instant::now();
        running(Some((name.clone(), run)));
        let read = catch_unwind(AssertUnwindSafe(|| target.run(&path)));
        running(None);
        slowest = slowest.max(run.elapsed());
        let mut fault = |what: String| {
            println!("{name}: {what}");
            faults += 1;
        };
        match read {
            Err(_) => fault("panic".into()),
            Ok(messages) => {
                errors += u64::from(messages[0].is_some());
                let faulty = |m: &String| m.contains('\n') || m.len() > 4000;
                messages.into_iter().flatten().filter(faulty).for_each(&mut fault);
            }
        }
        if run.elapsed() > SLOW {
            fault(format!("{:?}", run.elapsed()));
        }
        let grown = peak_bytes().saturating_sub(before);
        if grown > 4 * bytes.len() as u64 + (64 << 20) {
            fault(format!("{grown} bytes of memory for a file of {}", bytes.len()));
        }
        peak = peak.max(grown);
        count += 1;
    }
    let peak = peak as f64 / 1_048_576.0;
    println!(
        "{:<26} seed {seed:<6} {:>6.0} s {count:>9} inputs {errors:>9} errors, peak {peak:>5.1} MiB, slowest {slowest:.1?}",
        target.name,
        start.elapsed().as_secs_f64(),
    );
    let _ = std::fs::remove_dir_all(&dir);
    faults
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let seconds: u64 = arguments.first().and_then(|a| a.parse().ok()).unwrap_or(10);
    let seed: u64 = arguments.get(1).and_then(|a| a.parse().ok()).unwrap_or(1);
    let names = arguments.get(2..).unwrap_or(&[]);
    let all = targets().into_iter().chain(public_targets());
    let chosen: Vec<_> = all.filter(|t| names.is_empty() || names.iter().any(|n| n == t.name)).collect();
    let share = Duration::from_secs_f64(seconds as f64 / chosen.len().max(1) as f64);
    // Panics are counted here: the usual report would drown the rest.
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::spawn(watch);
    let faults: usize = chosen.iter().map(|target| feed(target, seed, share)).sum();
    println!("{} targets, {faults} faults", chosen.len());
    ExitCode::from(u8::from(faults > 0))
}

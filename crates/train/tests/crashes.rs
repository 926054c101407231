//! Runs of another process that die: killed at any moment, or for want of room on the disk.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // a helper of a test fails as the test does
#![cfg(unix)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Waves, assert_same_run, events, folder, model, step, train_config, trainer};
use halocast_core::Rng;
use halocast_train::{Checkpoints, Event, Log, LossLog, TimingRecord, TrainConfig};

const RUN: &str = "HALOCAST_TEST_RUN";
const STEPS: u64 = 160;

fn config() -> TrainConfig {
    TrainConfig { keep_last: Some(3), ..train_config(STEPS) }
}

/// Not a test: the process that the tests of this file start.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(RUN) else { return };
    let (config, waves) = (config(), Waves::new(12));
    let model = model(&config);
    let mut out = std::io::stdout();
    let ended = trainer(&model, &waves, Path::new(&folder), &config).and_then(|mut trainer| {
        trainer.run(&mut |event| {
            if let Event::Step { record, .. } = event {
                let _ = writeln!(out, "step {}", record.step);
            }
        })
    });
    if let Err(error) = ended {
        println!("error: {error}");
        std::process::exit(3);
    }
}

fn start(folder: &Path) -> Child {
    let this = std::env::current_exe().unwrap();
    spawn(Command::new(this), folder)
}

fn spawn(mut command: Command, folder: &Path) -> Child {
    command.args(["--exact", "child", "--nocapture"]).env(RUN, folder);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn killed_at_twenty_moments_it_ends_in_the_same_bytes_and_logs() {
    let (whole, broken) = (folder("unkilled"), folder("killed"));
    assert!(start(&whole).wait_with_output().unwrap().status.success());
    let mut rng = Rng::new(20);
    let mut saved = 0;
    for kill in 0..20 {
        let mut child = start(&broken);
        let steps = rng.below(12);
        let told = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let taken = told.filter(|line| line.starts_with("step ")).take(steps).count();
        // Anywhere within the next steps: in a batch, in an update, in the writing of a checkpoint.
        std::thread::sleep(Duration::from_secs_f64(0.03 * rng.uniform()));
        assert_eq!(taken, steps, "kill {kill} came too late: the run had ended");
        child.kill().unwrap();
        child.wait().unwrap();
        saved += u32::from(broken.join("state.safetensors").exists());
    }
    assert!(saved > 10, "the kills fell before the first saved state");
    assert!(start(&broken).wait_with_output().unwrap().status.success());
    assert_same_run(&whole, &broken);
    let every: Vec<u64> = (1..=STEPS).collect();
    let losses: Vec<u64> =
        LossLog::read(&broken.join("losses.jsonl")).unwrap().iter().map(|r| r.step).collect();
    let timing: Vec<TimingRecord> = Log::read(&broken.join("timing.jsonl")).unwrap();
    let timing: Vec<u64> = timing.iter().map(|r| r.step).collect();
    let board: Vec<u64> =
        events(&broken.join("events.out.tfevents.halocast")).iter().skip(1).map(|e| step(e)).collect();
    assert_eq!([&losses, &timing, &board], [&every; 3]);
    fs::remove_dir_all(whole).unwrap();
    fs::remove_dir_all(broken).unwrap();
}

#[test]
fn a_full_disk_leaves_the_state_before_and_is_named() {
    let (whole, full) = (folder("roomy"), folder("full"));
    assert!(start(&whole).wait_with_output().unwrap().status.success());
    let size = |name: &str| fs::metadata(whole.join(name)).unwrap().len();
    let (state, checkpoint) =
        (size("state.safetensors"), size(&format!("checkpoint-{STEPS:08}.safetensors")));
    assert!(state > 4 * checkpoint);

    // A limit on the size of files refuses a write as a full disk does, for any user.
    let limited = |bytes: u64| {
        // The unit is 512 or 1024 bytes, by the shell: the limit is between half of `bytes` and all.
        let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", bytes / 1024);
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).arg(std::env::current_exe().unwrap());
        let output = spawn(shell, &full).wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        said.lines().find(|line| line.contains("error: ")).unwrap().to_owned()
    };
    let clean = || {
        let names = fs::read_dir(&full).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        assert_eq!(names.filter(|name| name.ends_with(".partial")).count(), 0);
    };

    // The first state is refused: nothing to go on from, nothing broken.
    let line = limited(state * 4 / 5);
    assert!(line.contains("state.safetensors") && line.contains("too large"), "{line}");
    assert!(!full.join("state.safetensors").exists());
    clean();

    // After a few steps with room, the next checkpoint is refused.
    let mut child = start(&full);
    let told = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert_eq!(told.filter(|line| line.starts_with("step ")).take(11).count(), 11);
    child.kill().unwrap();
    child.wait().unwrap();
    let (before, listed) =
        (fs::read(full.join("state.safetensors")).unwrap(), Checkpoints::read(&full).unwrap());
    let line = limited(checkpoint * 4 / 5);
    assert!(line.contains("checkpoint-000000") && line.contains("too large"), "{line}");
    assert!(fs::read(full.join("state.safetensors")).unwrap() == before);
    assert_eq!(Checkpoints::read(&full).unwrap(), listed);
    clean();

    // With room again it goes on.
    assert!(start(&full).wait_with_output().unwrap().status.success());
    assert_same_run(&whole, &full);
    fs::remove_dir_all(whole).unwrap();
    fs::remove_dir_all(full).unwrap();
}

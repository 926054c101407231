//! The main program as a user meets it: killed, misled, given real files.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use halocast::core::Rng;
use halocast::data::write_npy;
use halocast_tests::{program, reference_folder, requires_one_clear_line, run};
use ndarray::Array3;

/// A run small enough to be repeated.
const SMALL: [&str; 6] = ["--universes", "8", "--iterations", "20", "--samples", "2"];

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

fn start(out: &Path) -> Result<std::process::Child> {
    let mut command = Command::new(program("quickstart")?);
    command.args(SMALL).args(["--out", text(out)]).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.spawn()?)
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn last_checkpoint(out: &Path) -> Result<Vec<u8>> {
    let path = out.join("run/checkpoint-00000020.safetensors");
    fs::read(&path).with_context(|| path.display().to_string())
}

#[test]
fn killed_at_ten_moments_it_ends_in_the_same_bytes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (whole, broken) = (folder.path().join("whole"), folder.path().join("broken"));
    let begin = Instant::now();
    ensure!(start(&whole)?.wait()?.success(), "the uninterrupted run failed");
    let duration = begin.elapsed().as_secs_f64();

    // The universes are the same: the kills are to fall on training.
    copy_folder(&whole.join("universe"), &broken.join("universe"))?;
    let mut rng = Rng::new(u64::from(std::process::id()));
    let (mut kills, mut midway) = (0, 0);
    while kills < 10 {
        let mut child = start(&broken)?;
        let until = Duration::from_secs_f64(0.4 * duration * rng.uniform());
        std::thread::sleep(until);
        if child.try_wait()?.is_some() {
            // It had come to its end: once more from the beginning.
            fs::remove_dir_all(broken.join("run"))?;
            continue;
        }
        child.kill()?;
        child.wait()?;
        if broken.join("run/checkpoint-00000020.safetensors").exists() {
            // The kill fell on sampling: it does not count.
            fs::remove_dir_all(broken.join("run"))?;
            continue;
        }
        midway += u32::from(broken.join("run/state.safetensors").exists());
        kills += 1;
        println!("kill {kills} after {until:.1?} of a run of {duration:.1} s");
    }
    ensure!(midway > 0, "no kill fell between the first checkpoint and the last");
    ensure!(start(&broken)?.wait()?.success(), "the resumed run failed");
    ensure!(last_checkpoint(&whole)? == last_checkpoint(&broken)?, "the checkpoints differ");
    Ok(())
}

#[cfg(unix)]
#[test]
fn interrupted_it_saves_and_says_how_to_go_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (out, run_folder) = (folder.path().join("out"), folder.path().join("out/run"));
    let mut command = Command::new(program("quickstart")?);
    command.args(SMALL).args(["--out", text(&out)]).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn()?;
    // Training has begun when its first state is there; most of the steps are still to come.
    let begin = Instant::now();
    while !run_folder.join("state.safetensors").exists() {
        ensure!(begin.elapsed() < Duration::from_secs(300), "training did not begin");
        std::thread::sleep(Duration::from_millis(2));
    }
    ensure!(Command::new("kill").args(["-INT", &child.id().to_string()]).status()?.success());
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(130), "{:?}: {said}", output.status);
    ensure!(said.contains("stopped after step") && said.contains("state.safetensors"), "{said}");
    let lines =
        || -> Result<usize> { Ok(fs::read_to_string(run_folder.join("losses.jsonl"))?.lines().count()) };
    let taken = lines()?;
    ensure!(said.contains(&format!("after step {taken},")) && taken < 20, "{said} {taken}");
    ensure!(start(&out)?.wait()?.success(), "the resumed run failed");
    ensure!(lines()? == 20, "the log has a gap");
    Ok(())
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut checkpoints = Vec::new();
    for threads in ["1", "2"] {
        let out = folder.path().join(threads);
        let arguments = [&SMALL[..], &["--out", text(&out), "--threads", threads]].concat();
        ensure!(run("quickstart", &arguments)?.status.success(), "the run on {threads} threads failed");
        checkpoints.push(last_checkpoint(&out)?);
    }
    ensure!(checkpoints[0] == checkpoints[1], "one and two threads end in different bytes");
    Ok(())
}

#[test]
fn bad_maps_are_one_clear_line() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let out = path("out");
    let tell = |file: &Path, words: &[&str]| {
        let output = run("quickstart", &["--maps", text(file), "--out", text(&out)])?;
        requires_one_clear_line(&output, words)
    };
    let mut maps = Array3::<f32>::from_elem((30, 64, 64), 2.0);
    write_npy(path("good.npy"), &maps.view().into_dyn())?;
    let bytes = fs::read(path("good.npy"))?;
    fs::write(path("cut.npy"), &bytes[..bytes.len() / 2])?;
    tell(&path("cut.npy"), &["cut.npy", "truncated", "491648", "245824"])?;

    maps[[17, 5, 9]] = f32::NAN;
    write_npy(path("nan.npy"), &maps.view().into_dyn())?;
    tell(&path("nan.npy"), &["nan.npy", "17", "NaN"])?;

    write_npy(path("odd.npy"), &Array3::<f32>::ones((30, 50, 50)).view().into_dyn())?;
    tell(&path("odd.npy"), &["odd.npy", "50x50", "64"])?;

    write_npy(path("flat.npy"), &ndarray::Array1::<f32>::ones(7).view().into_dyn())?;
    tell(&path("flat.npy"), &["flat.npy", "[7]"])?;

    let good = path("good.npy");
    for side in ["0", "-1", "NaN"] {
        let flag = format!("--box-size={side}");
        let arguments = ["--maps", text(&good), "--out", text(&out), &flag];
        requires_one_clear_line(&run("quickstart", &arguments)?, &["--box-size", side])?;
    }

    tell(&path("none.npy"), &["none.npy"])?;
    tell(&path("none.fits"), &["none.fits"])
}

#[test]
fn a_wrong_flag_is_one_clear_line() -> Result<()> {
    requires_one_clear_line(&run("quickstart", &["--sede", "1"])?, &["--sede"])?;
    requires_one_clear_line(&run("quickstart", &["--seed", "one"])?, &["--seed", "one"])?;
    requires_one_clear_line(&run("quickstart", &["--device", "abacus"])?, &["abacus", "cpu"])?;
    ensure!(run("quickstart", &["--help"])?.status.success(), "--help is no error");
    Ok(())
}

#[test]
fn a_snapshot_with_a_missing_chunk_is_refused_by_name() -> Result<()> {
    let Some(data) = reference_folder("HALOCAST_DATA", "data") else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let snapshot = data.join("tng50-4_subbox0");
    let json = folder.path().join("out.json");
    let common = ["--snapshot", text(&snapshot), "--out", text(folder.path()), "--json", text(&json)];
    requires_one_clear_line(&run("quickstart", &common)?, &["chunk", "7"])?;

    let output = run("quickstart", &[&common[..], &["--allow-missing"]].concat())?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report = fs::read_to_string(folder.path().join("report.html"))?;
    ensure!(report.contains("chunk 7"), "the report does not name chunk 7");
    let numbers: serde_json::Value = serde_json::from_slice(&fs::read(&json)?)?;
    ensure!(numbers["statistics"]["power"]["truth"]["mean"].as_array().is_some_and(|a| a.len() > 100));
    Ok(())
}

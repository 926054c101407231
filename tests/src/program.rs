//! The programs of the repository, run as a user runs them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};

/// The executable of an example program, built if it is not there.
///
/// # Errors
/// When it cannot be built.
pub fn program(name: &str) -> Result<PathBuf> {
    // This test runs from target/<profile>/deps.
    let this = std::env::current_exe()?;
    let profile = this.parent().and_then(Path::parent).context("the test's own folder")?;
    let path = profile.join("examples").join(name);
    if !path.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "-p", "halocast-examples", "--example", name]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        ensure!(build.status()?.success(), "cannot build the program {name}");
    }
    Ok(path)
}

/// Runs a program and returns what it said.
///
/// # Errors
/// When it cannot be started.
pub fn run(name: &str, arguments: &[&str]) -> Result<Output> {
    Ok(Command::new(program(name)?).args(arguments).output()?)
}

/// Requires exit code 1 and one line on standard error that holds every one of `words`.
///
/// # Errors
/// When it ended otherwise.
pub fn requires_one_clear_line(output: &Output, words: &[&str]) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "exit {:?}, expected 1; it said: {said}", output.status);
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    ensure!(lines.len() == 1, "expected one line, got: {said}");
    for word in words {
        ensure!(lines[0].contains(word), "the line does not name {word:?}: {said}");
    }
    println!("{}", lines[0]);
    Ok(())
}

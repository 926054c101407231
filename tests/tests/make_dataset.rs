//! The program `make_dataset` as a user meets it: killed, misled.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use halocast_tests::{program, requires_one_clear_line, run};

/// The configuration of a set of eight small universes, in shards of three.
fn configuration(folder: &Path, format: &str) -> Result<PathBuf> {
    let text = format!(
        "simulations = 8\nfields = [\"Mgas\", \"Mcdm\"]\ngrid = 16\ncube = 8\nshard = 3\nformat = \"{format}\"\n\
         out = \"set\"\n[universe]\nparticles = 24\nbox_side = 12.0\nsteps = 6\n"
    );
    std::fs::create_dir_all(folder)?;
    let path = folder.join("set.toml");
    std::fs::write(&path, text)?;
    Ok(path)
}

/// Every file below a folder, by its name.
fn files(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder)?.to_path_buf(), std::fs::read(&path)?);
            }
        }
    }
    Ok(found)
}

/// How many simulations are finished in a folder of parts.
fn parts(folder: &Path) -> usize {
    let whole = |name: &str| name.ends_with(".cubes.npy");
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.filter(|e| e.as_ref().is_ok_and(|e| e.file_name().to_str().is_some_and(whole))).count()
}

#[test]
fn a_set_that_is_killed_again_and_again_ends_in_the_same_bytes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for format in ["npy", "hdf5"] {
        let [whole, killed] = ["whole", "killed"].map(|name| folder.path().join(format).join(name));
        let config = configuration(&whole, format)?;
        let output = run("make_dataset", &[config.to_str().context("a path that is text")?])?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let config = configuration(&killed, format)?;
        let mut kills = 0;
        for finished in [1, 2, 4, 6, 7] {
            let mut child = Command::new(program("make_dataset")?)
                .arg(&config)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?;
            let start = Instant::now();
            while parts(&killed.join("set/parts")) < finished && child.try_wait()?.is_none() {
                ensure!(start.elapsed() < Duration::from_secs(120), "no part {finished} after two minutes");
                std::thread::sleep(Duration::from_millis(1));
            }
            // On Unix this is SIGKILL: the program cannot put anything in order.
            child.kill()?;
            kills += usize::from(!child.wait()?.success());
        }
        ensure!(kills >= 3, "only {kills} kills fell on a run");
        let output = run("make_dataset", &[config.to_str().context("a path that is text")?])?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let [expected, got] = [&whole, &killed].map(|set| files(&set.join("set")));
        let (expected, got) = (expected?, got?);
        let names = |set: &BTreeMap<PathBuf, Vec<u8>>| set.keys().cloned().collect::<Vec<_>>();
        ensure!(names(&expected) == names(&got), "{:?} and {:?}", names(&expected), names(&got));
        for (name, bytes) in &expected {
            ensure!(got[name] == *bytes, "{} has other bytes", name.display());
        }
        // Three shards of two fields as maps and cubes, a table each; the table of all, the splits, the recipe.
        ensure!(expected.len() == 3 * 5 + 3, "{:?}", names(&expected));
        println!("{format}: {kills} kills, {} files of the same bytes", expected.len());
    }
    Ok(())
}

/// As mpirun starts them, one of which is killed and started again.
#[test]
fn processes_make_a_set_together() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [whole, shared] = ["whole", "shared"].map(|name| folder.path().join(name));
    let alone = run("make_dataset", &[configuration(&whole, "npy")?.to_str().context("text")?])?;
    ensure!(alone.status.success(), "{}", String::from_utf8_lossy(&alone.stderr));
    let config = configuration(&shared, "npy")?;
    let start = |rank: &str| -> Result<std::process::Child> {
        Ok(Command::new(program("make_dataset")?)
            .args([config.as_os_str(), "--threads".as_ref(), "1".as_ref()])
            .env("OMPI_COMM_WORLD_RANK", rank)
            .env("OMPI_COMM_WORLD_SIZE", "3")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?)
    };
    let mut ranks = ["0", "1", "2"].map(start).into_iter().collect::<Result<Vec<_>>>()?;
    ranks[2].kill()?;
    ranks[2].wait()?;
    // The first waits for the parts of the third.
    ensure!(
        ranks[1].wait()?.success() && ranks[0].try_wait()?.is_none(),
        "rank 1 failed or rank 0 did not wait"
    );
    ranks[2] = start("2")?;
    for (rank, mut child) in ranks.into_iter().enumerate() {
        ensure!(child.wait()?.success(), "rank {rank} failed");
    }
    ensure!(files(&whole.join("set"))? == files(&shared.join("set"))?, "other bytes");
    Ok(())
}

#[test]
fn bad_configurations_are_one_clear_line() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("set.toml");
    let name = path.to_str().context("a path that is text")?;
    for (text, words) in [
        ("simulations = 0", ["simulations", "set.toml"]),
        ("format = \"xml\"", ["xml", "set.toml"]),
        ("shard = -1", ["-1", "set.toml"]),
        ("fields = [\"Phlogiston\"]", ["Phlogiston", "set.toml"]),
    ] {
        std::fs::write(&path, text)?;
        requires_one_clear_line(&run("make_dataset", &[name])?, &words)?;
    }
    Ok(())
}

//! Sets of galaxies as the program `make_dataset` makes them: resumed after a kill, the same view in every domain.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use halocast::core::Species;
use halocast::data::{
    Attribute, ReadOptions, SkaisFile, WriteOptions, read_snapshot, write_catalogue, write_snapshot,
};
use halocast::mock::Population;
use halocast::mock::{Galaxy, assemble};
use halocast_tests::{program, requires_one_clear_line, run};

const DOMAINS: [&str; 7] = ["dm", "star", "gas", "hi", "hi/21cm", "temp", "bfield"];

const SMALL: &str = r#"
kind = "galaxies"
galaxies = 12
views = 4
grid = 24
shard = 5
seed = 3
out = "set"

[population]
dark_matter = 1500
gas = 1500
stars = 800
"#;

fn configuration(folder: &Path, text: &str) -> Result<String> {
    let path = folder.join("set.toml");
    std::fs::write(&path, text)?;
    Ok(path.display().to_string())
}

/// Every file of a folder by its name.
fn files(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            let name = path.file_name().context("a name")?.to_string_lossy().into_owned();
            found.insert(name, std::fs::read(&path)?);
        }
    }
    Ok(found)
}

fn parts(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder.join("parts")) else { return 0 };
    entries.filter_map(|e| e.ok()).filter(|e| e.path().extension().is_some_and(|x| x == "npy")).count()
}

#[test]
fn a_set_that_was_killed_ends_with_the_same_bytes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = configuration(folder.path(), SMALL)?;
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    let make = |out: &Path, threads: &str| -> Result<()> {
        let output =
            run("make_dataset", &[&config, "--out", &out.display().to_string(), "--threads", threads])?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    make(&whole, "2")?;

    // A kill that no program can catch, when some galaxies are made and some are not.
    let mut child = Command::new(program("make_dataset")?)
        .args([&config, "--out", &killed.display().to_string(), "--threads", "1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let start = Instant::now();
    while parts(&killed) < 2 && child.try_wait()?.is_none() && start.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill()?;
    ensure!(!child.wait()?.success(), "the set was finished before it could be killed");
    let made = parts(&killed);
    ensure!((1..12).contains(&made), "{made} galaxies were made when it was killed");
    ensure!(!killed.join("splits.json").exists());
    make(&killed, "2")?;

    let (a, b) = (files(&whole)?, files(&killed)?);
    ensure!(a.keys().eq(b.keys()), "{:?} and {:?}", a.keys(), b.keys());
    // Seven domains of three files, and what the set is, its galaxies, its splits.
    ensure!(a.len() == 24, "{:?}", a.keys());
    for (name, bytes) in &a {
        ensure!(b[name] == *bytes, "{name} differs after the kill");
    }
    // Finished, it is left alone; another configuration is refused.
    make(&killed, "1")?;
    let other = run("make_dataset", &[&config, "--out", &killed.display().to_string(), "--seed", "4"])?;
    requires_one_clear_line(&other, &["dataset.json", "another set"])
}

#[test]
fn the_domains_of_a_galaxy_share_their_view() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = configuration(folder.path(), &SMALL.replace("galaxies = 12", "galaxies = 3"))?;
    let output = run("make_dataset", &[&config, "--threads", "2"])?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut views: Vec<Vec<Attribute>> = Vec::new();
    for domain in DOMAINS {
        let name = format!("mock.99.2D.{}.0000.0003.hdf5", domain.replace('/', "-"));
        let file = SkaisFile::open(folder.path().join("set").join(name))?;
        ensure!(file.groups() == [domain] && file.shape(domain)? == [12, 24, 24]);
        let mut these = Vec::new();
        for i in 0..12 {
            let image = file.image(domain, i)?;
            ensure!(
                image.gid() == Some(i as u64 / 4) && image.snapshot() == Some(99),
                "image {i} of {domain}"
            );
            let values = &image.map.values;
            ensure!(values.iter().all(|v| v.is_finite() && *v >= 0.0) && values.iter().any(|v| *v > 0.0));
            ensure!(image.map.length_unit.label == "kpc" && image.map.extent[0] > 10.0);
            these.push(image.metadata["rotxy"].clone());
        }
        // Four views, the first as the galaxy lies.
        ensure!(these[0] == Attribute::F64(vec![0.0, 0.0]) && these[0] == these[4]);
        ensure!((1..4).all(|v| these[v] != these[0]));
        views.push(these);
    }
    ensure!(views.iter().all(|v| *v == views[0]), "domains are seen from different sides");

    for (change, word) in [
        ("views = 4", "views = 5"),
        ("grid = 24", "grid = 0"),
        ("grid = 24", "aperture = -1.0"),
        ("grid = 24", "domains = [\"dust\"]"),
        ("grid = 24", "pixels = 24"),
    ] {
        let config = configuration(folder.path(), &SMALL.replace(change, word))?;
        let wrong = word.split(' ').next().context("a word")?;
        let wrong = if wrong == "domains" { "dust" } else { wrong };
        requires_one_clear_line(&run("make_dataset", &[&config])?, &["set.toml", wrong])?;
    }
    Ok(())
}

#[test]
fn the_galaxies_of_a_simulation_are_its_subhalos() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let population = Population { dark_matter: 3000, gas: 2000, stars: 1500, seed: 5, ..Default::default() };
    let galaxies: Vec<Galaxy> =
        (0..2).map(|i| Ok(Galaxy::sample(&population.galaxy(i)?)?)).collect::<Result<_>>()?;
    let (snapshot, catalogue) = assemble(&galaxies)?;
    let snap: PathBuf = folder.path().join("snapdir_099");
    write_snapshot(folder.path(), &snapshot, &WriteOptions::default())?;
    write_catalogue(folder.path(), &catalogue, &WriteOptions::default())?;
    let text = r#"
kind = "galaxies"
galaxies = 2
views = 3
rotations = "uniform"
domains = ["dm", "gas"]
grid = 16
aperture = 1.0
[source]
snapshot = "snapdir_099"
groups = "groups_099"
selection = { particles = 4000, counted = ["DarkMatter", "Gas"], centrals_only = true }
"#;
    let config = configuration(folder.path(), text)?;
    let output = run("make_dataset", &[&config, "--threads", "1"])?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let file = SkaisFile::open(folder.path().join("galaxies/mock.99.2D.gas.0000.0002.hdf5"))?;
    ensure!(file.shape("gas")? == [6, 16, 16]);
    // The gas within the cube, whichever way the galaxy is turned, is a good part of the galaxy's; and below all of it.
    let all = read_snapshot(&snap, &ReadOptions::default())?;
    let h = all.header.cosmology.h;
    let total: f64 = all.masses(Species::Gas)?.iter().sum::<f64>() * 1e10 / h;
    let mut sum = 0.0;
    for i in [0, 3] {
        let map = file.image("gas", i)?.map;
        sum += map.values.iter().map(|v| f64::from(*v)).sum::<f64>() * map.pixel_area();
    }
    ensure!((0.1 * total..total).contains(&sum), "{sum:e} Msun of {total:e}");
    let none = configuration(folder.path(), &text.replace("galaxies = 2", "galaxies = 9"))?;
    let nowhere = folder.path().join("nowhere").display().to_string();
    requires_one_clear_line(
        &run("make_dataset", &[&none, "--out", &nowhere])?,
        &["groups_099", "at least 9"],
    )?;
    ensure!(!Path::new(&nowhere).exists(), "a refused set left {nowhere}");
    Ok(())
}

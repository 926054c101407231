//! The programs `train`, `sample` and `zoo` as a user meets them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use halocast::core::{Map, Rng};
use halocast::data::{read_npy_f32, write_cmd_maps, write_npy, write_params};
use halocast::models::ModelConfig;
use halocast_tests::{requires_one_clear_line, run, zoo};
use ndarray::{Array2, Array3};

/// Two fields of ten mock simulations of three maps each, the second the first and a constant, and a configuration that
/// learns the one from the other.
fn set(folder: &Path) -> Result<PathBuf> {
    let mut rng = Rng::new(3);
    let maps = |name: &str, factor: f32, rng: &mut Rng| -> Vec<Map> {
        let mut map = || {
            let phase = rng.uniform() as f32 * 6.3;
            let at = |(y, x): (usize, usize)| factor * (2.0 + (phase + 0.8 * (x + 2 * y) as f32).sin());
            Map::square(name, Array2::from_shape_fn((16, 16), at), 25.0)
        };
        (0..30).map(|_| map()).collect()
    };
    let dark = maps("Mcdm", 1e10, &mut rng.clone());
    let gas = maps("Mgas", 2e9, &mut rng);
    write_cmd_maps(folder, "Mcdm", "Mock", "LH", 0.0, &dark)?;
    write_cmd_maps(folder, "Mgas", "Mock", "LH", 0.0, &gas)?;
    let rows = Array2::from_shape_fn((10, 6), |(i, j)| 0.2 + 0.01 * (i * (j + 1) % 7) as f64);
    write_params(folder, "Mock", "LH", &rows)?;
    let text = r#"
[model]
model = "indi"
size = [8, 8]
steps = 2

[model.unet]
dim = 8
dim_mults = [1, 2]
groups = 4
attention = "nowhere"
padding = "circular"

[data]
kind = "maps"
folder = "."
suite = "Mock"
fields = ["Mgas"]
condition = ["Mcdm"]
size = 8

[train]
batch = 4
iterations = 6
checkpoint_every = 3
"#;
    let path = folder.join("run.toml");
    std::fs::write(&path, text)?;
    Ok(path)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is text")
}

#[test]
fn a_run_trains_resumes_to_the_same_bytes_and_samples_in_the_unit_of_its_data() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = set(folder.path())?;
    let at = |name: &str| folder.path().join(name);
    let train = |out: &Path, iterations: &str| -> Result<()> {
        let change = format!("train.iterations={iterations}");
        let output =
            run("train", &[text(&config)?, "--out", text(out)?, "--set", &change, "--threads", "1"])?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    let (whole, halves) = (at("whole"), at("halves"));
    train(&whole, "6")?;
    train(&halves, "3")?;
    train(&halves, "6")?;
    let file = "checkpoint-00000006.safetensors";
    ensure!(std::fs::read(whole.join(file))? == std::fs::read(halves.join(file))?, "a resumed run differs");
    ensure!(whole.join("samples-00000006.png").exists(), "no picture of samples");

    // Conditions and samples are in the unit of the files, whatever the model saw.
    let dark = Array3::from_shape_fn((5, 8, 8), |(i, y, x)| 1e10 * (2.0 + ((i + x + 2 * y) as f32).sin()));
    write_npy(at("dark.npy"), &dark)?;
    let (model, given, made) = (whole.join(file), at("dark.npy"), at("gas.npy"));
    let arguments =
        [text(&model)?, "--condition", text(&given)?, "--n", "5", "--out", text(&made)?, "--threads", "1"];
    let output = run("sample", &arguments)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let gas = read_npy_f32(&made)?;
    ensure!(gas.shape() == [5, 8, 8], "samples of shape {:?}", gas.shape());
    // Gas is a fifth of the dark matter: two orders of magnitude about it are more than an untrained network strays.
    ensure!(gas.iter().all(|v| (2e7..2e12).contains(v)), "{gas:?}");

    requires_one_clear_line(&run("sample", &[text(&model)?])?, &["--condition"])?;
    let few = [text(&model)?, "--condition", text(&given)?, "--n", "4"];
    requires_one_clear_line(&run("sample", &few)?, &["dark.npy", "[5"])?;
    let wrong = [text(&model)?, "--condition", text(&given)?, "--n", "5", "--sampler", "abacus"];
    requires_one_clear_line(&run("sample", &wrong)?, &["abacus"])?;
    requires_one_clear_line(&run("sample", &["absent.safetensors"])?, &["absent.safetensors"])
}

#[test]
fn bad_configurations_are_one_clear_line() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = set(folder.path())?;
    let out = folder.path().join("run");
    let tried = |change: &str, words: &[&str]| -> Result<()> {
        requires_one_clear_line(
            &run("train", &[text(&config)?, "--out", text(&out)?, "--set", change])?,
            words,
        )
    };
    tried("model.unet.dm=8", &["dm"])?;
    tried("model.model=abacus", &["abacus"])?;
    tried("data.size=12", &["multiple of 12"])?;
    tried("data.fields=[\"Mstar\"]", &["Mstar"])?;
    tried("data.parameters=[\"Omega_x\"]", &["Omega_x"])?;
    tried("model.size=[16, 16]", &["[1, 16, 16]", "[1, 8, 8]"])?;
    tried("train.batch", &["key=value"])?;
    requires_one_clear_line(&run("train", &["absent.toml"])?, &["absent.toml"])
}

/// The configurations that the repository brings.
fn configurations() -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/configs");
    let mut found = Vec::new();
    for folder in [folder.clone(), folder.join("zoo")] {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "toml") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[test]
fn every_configuration_names_a_model_that_can_be_built() -> Result<()> {
    let mut models = BTreeSet::new();
    for path in configurations()? {
        let table: toml::Table = toml::from_str(&std::fs::read_to_string(&path)?)?;
        let model = table.get("model").with_context(|| format!("{}: no model", path.display()))?;
        let config: ModelConfig =
            model.clone().try_into().with_context(|| format!("{}: its model", path.display()))?;
        models.insert(zoo::tag(&config)?);
        // The large ones take memory that a test should not.
        if !path.to_string_lossy().contains("paper") {
            config.build(1, &candle_core::Device::Cpu).with_context(|| path.display().to_string())?;
        }
    }
    println!("models with a configuration: {models:?}");
    Ok(())
}

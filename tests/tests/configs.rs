//! The configurations of `examples/configs`: every model has its own, in the paper's size and in a small one, and all of them are
//! read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use halocast::models::ModelConfig;
use halocast_examples::train::{DataConfig, RunConfig};
use halocast_tests::zoo::{registered, tag};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/configs")
}

/// The configurations of a folder by the stems of their names.
fn configurations(folder: &Path) -> Result<BTreeMap<String, (PathBuf, RunConfig)>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "toml") {
            let name = path.file_stem().and_then(|n| n.to_str()).context("a name")?.to_owned();
            let config = RunConfig::read(&path, &[])?;
            found.insert(name, (path, config));
        }
    }
    Ok(found)
}

#[test]
fn every_configuration_is_read() -> Result<()> {
    for part in ["", "zoo", "models"] {
        ensure!(!configurations(&folder().join(part))?.is_empty(), "no configuration in {part:?}");
    }
    Ok(())
}

#[test]
fn every_model_has_the_papers_configuration_and_a_small_one() -> Result<()> {
    let found = configurations(&folder().join("models"))?;
    for model in registered() {
        for name in [model.clone(), format!("{model}-small")] {
            let (_, config) = found.get(&name).with_context(|| format!("no {name}.toml"))?;
            ensure!(tag(&config.model)? == model, "{name}.toml is of another model");
        }
    }
    for (name, (path, config)) in &found {
        let own = tag(&config.model)?;
        let rest = name.strip_prefix(&own).with_context(|| format!("{name}.toml is a {own}"))?;
        ensure!(rest.is_empty() || rest.starts_with('-'), "{name}.toml is a {own}");
        let other = name.strip_suffix("-small").map_or(format!("{name}-small"), str::to_owned);
        ensure!(found.contains_key(&other), "{name}.toml is without {other}.toml");
        let text = std::fs::read_to_string(path)?;
        let command = format!("--example train -- examples/configs/models/{name}.toml");
        ensure!(text.starts_with("# ") && text.contains(&command), "{name}.toml does not say {command:?}");
    }
    Ok(())
}

/// The model without the checkpoint of another that it begins from.
fn alone(mut model: ModelConfig) -> ModelConfig {
    if let ModelConfig::LatentDiffusion(latent) = &mut model {
        latent.checkpoint = None;
    }
    model
}

#[test]
fn small_ones_need_no_file_and_are_small() -> Result<()> {
    let mut made = BTreeSet::new();
    for (name, (_, config)) in configurations(&folder().join("models"))? {
        if !name.ends_with("-small") {
            continue;
        }
        let model = alone(config.model).build(1, &Device::Cpu).with_context(|| name.clone())?;
        let parameters = model.trainable().parameters().count();
        ensure!((1_000..4_000_000).contains(&parameters), "{name}: {parameters} parameters");
        println!("{name}: {parameters} parameters");
        let example = model.trainable().example();
        match &config.data {
            DataConfig::Maps(maps) => {
                let make = maps.make.as_ref().with_context(|| format!("{name} makes no maps"))?;
                made.insert(format!("{} {make:?}", maps.folder.display()));
                let side = maps.size.context("a size")?;
                ensure!(example.fields == [maps.fields.len(), side, side], "{name}: {example:?}");
                let of_condition = example.condition.as_ref().map(|shape| shape[0]);
                let given = Some(maps.condition.len()).filter(|n| *n > 0);
                ensure!(of_condition == given, "{name}: {example:?}, {given:?} channels of condition");
                let parameters = Some(maps.parameters.len()).filter(|n| *n > 0);
                ensure!(example.parameters == parameters, "{name}: {example:?}");
            }
            DataConfig::Arrays(arrays) => {
                let make = arrays.make.as_ref().with_context(|| format!("{name} makes no clouds"))?;
                ensure!(example.fields == [make.points, 3], "{name}: {example:?}");
                ensure!(example.condition.is_some() == arrays.condition.is_some(), "{name}: {example:?}");
                ensure!(example.parameters.is_some() == arrays.parameters.is_some(), "{name}: {example:?}");
            }
        }
    }
    ensure!(made.len() == 1, "small configurations do not share their maps: {made:?}");
    Ok(())
}

/// The numbers of parameters of the papers, or of their programs, where the configuration is theirs unchanged.
#[test]
fn the_papers_models_have_the_papers_numbers_of_parameters() -> Result<()> {
    let found = configurations(&folder().join("models"))?;
    for (name, parameters) in [
        // Mudur & Finkbeiner 2022.
        ("ddpm", 31_234_497),
        // Layers of 1024-400-20 and back, with one deviation.
        ("vae", (1024 * 400 + 400) + 2 * (400 * 20 + 20) + (20 * 400 + 400) + (400 * 1024 + 1024) + 1),
        ("autoencoder", (1024 * 400 + 400) + (400 * 30 + 30) + (30 * 400 + 400) + (400 * 1024 + 1024)),
    ] {
        let (_, config) = &found[name];
        let model = config.model.build(1, &Device::Cpu)?;
        let count = model.trainable().parameters().count();
        ensure!(count == parameters, "{name}: {count} parameters, expected {parameters}");
    }
    Ok(())
}

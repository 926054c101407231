//! The table of the zoo: every model trained alike, and judged by the same numbers.

mod baseline;
mod row;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use candle_core::Device;

pub use row::Row;
pub use table::markdown;

use crate::console::say;
use crate::train::RunConfig;

/// Which rows are made, and where they are kept.
pub struct ZooOptions {
    /// The folder of configurations, one a row.
    pub configs: PathBuf,
    /// The rows wanted, by name; all when empty.
    pub only: Vec<String>,
    /// Where runs and rows lie; a row that is there is not made again.
    pub out: PathBuf,
    /// The most maps of the test set that are judged.
    pub maps: usize,
    /// The device.
    pub device: Device,
}

/// Makes, or finds, every row wanted.
///
/// # Errors
/// When a configuration does not read, or its run fails.
pub fn rows(options: &ZooOptions) -> Result<Vec<Row>> {
    let names = names(&options.configs)?;
    if let Some(stranger) = options.only.iter().find(|name| !names.contains(name)) {
        anyhow::bail!("no row {stranger:?} in {}, expected some of {names:?}", options.configs.display());
    }
    let mut rows = Vec::new();
    for name in names {
        if !options.only.is_empty() && !options.only.contains(&name) {
            continue;
        }
        let path = options.configs.join(format!("{name}.toml"));
        let mut config = RunConfig::read(&path, &[])?;
        // All rows of one configuration of data share what is made for it.
        if let crate::train::DataConfig::Maps(maps) = &mut config.data
            && maps.make.is_some()
        {
            maps.folder = options.out.join("maps");
        }
        say(format!("== {name}"));
        let row = row::row(&name, &config, options).with_context(|| name.clone())?;
        for baseline in baseline::rows(&config, options)? {
            // Two models of one task share their baselines.
            if !rows.iter().any(|row: &Row| row.name == baseline.name) {
                rows.push(baseline);
            }
        }
        rows.push(row);
    }
    Ok(rows)
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let toml = path.extension().is_some_and(|e| e == "toml");
            toml.then(|| path.file_stem().map(|s| s.to_string_lossy().into_owned())).flatten()
        })
        .collect();
    names.sort();
    ensure!(!names.is_empty(), "{}: no configuration *.toml in it", folder.display());
    Ok(names)
}

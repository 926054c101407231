//! What to train, on what, and how: a file in TOML.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use halocast::data::Step;
use halocast::models::ModelConfig;
use halocast::train::TrainConfig;
use serde::{Deserialize, Serialize};

use super::CloudsConfig;
use crate::make_dataset::DatasetConfig;
use crate::toml_file::read_toml;

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The model: its name as `model`, and what differs from its defaults.
    pub model: ModelConfig,
    /// What it learns.
    pub data: DataConfig,
    /// How it learns.
    #[serde(default)]
    pub train: TrainConfig,
    /// The sampler of what is drawn at each checkpoint, by name, and its numbers; the model's default when left out.
    #[serde(default)]
    pub sampler: Option<serde_json::Value>,
}

/// Where examples come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DataConfig {
    /// Maps in the layout of the CAMELS Multifield Dataset.
    Maps(Box<MapsConfig>),
    /// Arrays: vectors, spectra, clouds.
    Arrays(ArraysConfig),
}

/// Maps in the layout of the CAMELS Multifield Dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MapsConfig {
    /// Where the files lie; beside the configuration when relative.
    pub folder: PathBuf,
    /// What to put there first, as `make_dataset` does, if it is not there yet: a mock stand-in.
    pub make: Option<DatasetConfig>,
    /// The suite in the files' names.
    pub suite: String,
    /// The set in the files' names.
    pub set: String,
    /// The redshift in the files' names.
    pub redshift: f64,
    /// The fields to learn, each a channel.
    pub fields: Vec<String>,
    /// The fields to make them from, each a channel of the condition.
    pub condition: Vec<String>,
    /// Whether the condition is of other simulations than the fields.
    pub unpaired: bool,
    /// The parameters given to the model, by the names of the file of parameters.
    pub parameters: Vec<String>,
    /// Pixels a side, after averaging down; those of the files when left out.
    pub size: Option<usize>,
    /// Side of the box in Mpc/h.
    pub box_side: f64,
    /// How pixels are brought to the range of the model; constants are fitted to the training set.
    pub scaling: Vec<Step>,
    /// The shares of the simulations to train on, to validate and to test.
    pub split: [f64; 3],
    /// Whether maps are turned, mirrored and shifted at random.
    pub augment: bool,
}

impl Default for MapsConfig {
    fn default() -> Self {
        Self {
            folder: "dataset".into(),
            make: None,
            suite: "HalocastMock".into(),
            set: "LH".into(),
            redshift: 0.0,
            fields: vec!["Mcdm".into()],
            condition: vec![],
            unpaired: false,
            parameters: vec![],
            size: None,
            box_side: 25.0,
            scaling: vec![Step::Log10, Step::Standardise],
            split: [0.8, 0.1, 0.1],
            augment: true,
        }
    }
}

/// Examples that are rows of arrays in `.npy` files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArraysConfig {
    /// What to put into the folder of `fields` first, if it is not there yet: clouds of mock galaxies.
    pub make: Option<CloudsConfig>,
    /// `[example, ..]`: what to learn.
    pub fields: PathBuf,
    /// `[example, ..]`: what to make it from.
    pub condition: Option<PathBuf>,
    /// `[example, parameter]`: what is given to the model, or inferred by it.
    pub parameters: Option<PathBuf>,
    /// Whether values are centred and scaled, each place of the last axis by itself.
    pub standardise: bool,
    /// Whether their logarithm is taken first.
    pub log10: bool,
    /// The shares of the examples to train on, to validate and to test.
    pub split: [f64; 3],
}

impl Default for ArraysConfig {
    fn default() -> Self {
        Self {
            make: None,
            fields: PathBuf::new(),
            condition: None,
            parameters: None,
            standardise: true,
            log10: false,
            split: [0.8, 0.1, 0.1],
        }
    }
}

impl RunConfig {
    /// Reads a file, with `changes` of the form `train.batch=8` made to it.
    ///
    /// # Errors
    /// When it cannot be read, is not of this form, or a change is none.
    pub fn read(path: &Path, changes: &[String]) -> Result<Self> {
        let mut table: toml::Table = read_toml(path)?;
        changes.iter().try_for_each(|change| set(&mut table, change))?;
        let mut config = Self::deserialize(table).map_err(|e| {
            anyhow::anyhow!("{}: {}", path.display(), e.to_string().trim().replace('\n', " "))
        })?;
        let beside = path.parent().unwrap_or(Path::new(""));
        let resolve = |file: &mut PathBuf| {
            if file.is_relative() && !file.as_os_str().is_empty() {
                *file = beside.join(&file);
            }
        };
        match &mut config.data {
            DataConfig::Maps(maps) => resolve(&mut maps.folder),
            DataConfig::Arrays(arrays) => {
                resolve(&mut arrays.fields);
                arrays.condition.iter_mut().chain(&mut arrays.parameters).for_each(resolve);
            }
        }
        config.train.validate().with_context(|| path.display().to_string())?;
        Ok(config)
    }
}

/// Makes a change `a.b=value` to a table; a value that is none of TOML's is a string.
fn set(table: &mut toml::Table, change: &str) -> Result<()> {
    let Some((key, text)) = change.split_once('=') else { bail!("--set is {change:?}, expected key=value") };
    let value = match toml::from_str::<toml::Table>(&format!("value = {text}")) {
        Ok(mut parsed) => parsed.remove("value"),
        Err(_) => None,
    };
    let value = value.unwrap_or_else(|| toml::Value::String(text.trim().into()));
    let mut here = table;
    let mut names = key.trim().split('.').peekable();
    while let Some(name) = names.next() {
        if names.peek().is_none() {
            here.insert(name.to_owned(), value);
            return Ok(());
        }
        let next = here.entry(name).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        here = next.as_table_mut().with_context(|| format!("--set {key}: {name} holds a value already"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, changes: &[&str]) -> Result<RunConfig> {
        let folder = std::env::temp_dir().join(format!("halocast-run-config-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{}.toml", text.len() + 1000 * changes.len()));
        std::fs::write(&path, text)?;
        RunConfig::read(&path, &changes.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>())
    }

    const SMALL: &str =
        "[model]\nmodel = \"ddpm\"\ntimesteps = 100\n[data]\nkind = \"maps\"\nfields = [\"Mgas\"]\n";

    #[test]
    fn a_file_is_read_and_changed() {
        let config = read(SMALL, &["train.batch=8", "model.unet.dim=16", "data.suite=SIMBA"]).unwrap();
        let ModelConfig::Ddpm(model) = &config.model else { panic!("another model") };
        assert_eq!((model.timesteps, model.unet.dim, config.train.batch), (100, 16, 8));
        let DataConfig::Maps(maps) = &config.data else { panic!("other data") };
        assert_eq!((maps.suite.as_str(), maps.fields.as_slice()), ("SIMBA", &["Mgas".to_owned()][..]));
        assert!(maps.folder.is_absolute());
    }

    #[test]
    fn faults_name_what_is_wrong() {
        let message = |text: &str, changes: &[&str]| format!("{:#}", read(text, changes).unwrap_err());
        assert!(message(SMALL, &["train.bach=8"]).contains("bach"));
        assert!(message(SMALL, &["model.model=dppm"]).contains("dppm"));
        assert!(message(SMALL, &["train"]).contains("key=value"));
        assert!(message(SMALL, &["train.batch=0"]).contains("batch"));
        assert!(message("[data]\nkind = \"maps\"\n", &[]).contains("model"));
    }
}

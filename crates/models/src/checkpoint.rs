//! A checkpoint is one safetensors file that rebuilds its own model.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use candle_core::{Device, Tensor};
use halocast_core::write_whole;
use serde::{Deserialize, Serialize};

use crate::{Error, Model, ModelConfig, Result};

/// What the header of a checkpoint says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckpointHeader {
    /// The configuration of the model.
    pub config: ModelConfig,
    /// The version of halocast that wrote it.
    pub version: String,
    /// The seed the parameters were drawn from.
    pub seed: u64,
    /// The number of optimiser steps taken.
    pub step: u64,
    /// Whatever the training program wants to keep: the data transform, for one.
    #[serde(default)]
    pub extra: serde_json::Value,
}

impl CheckpointHeader {
    /// The header of a model at a step.
    pub fn new(config: ModelConfig, seed: u64, step: u64) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { config, version, seed, step, extra: serde_json::Value::Null }
    }
}

/// The key of the header in the file's metadata. One key only: safetensors writes several in no fixed order, and the
/// same model must give the same bytes.
const KEY: &str = "halocast";

/// Writes named tensors under a header, whole or not at all; the same content gives the same bytes.
///
/// # Errors
/// When the header cannot be serialised or the file cannot be written.
pub fn save_checkpoint(
    path: impl AsRef<Path>,
    header: &impl Serialize,
    tensors: &[(String, Tensor)],
) -> Result<()> {
    let path = path.as_ref();
    let fail = |reason: String| Error::Checkpoint { path: path.to_path_buf(), reason };
    let text = serde_json::to_string(header).map_err(|e| fail(e.to_string()))?;
    let metadata = HashMap::from([(KEY.to_owned(), text)]);
    let tensors = tensors.iter().map(|(name, tensor)| (name, tensor));
    let bytes = safetensors::serialize(tensors, Some(metadata)).map_err(|e| fail(e.to_string()))?;
    Ok(write_whole(path, |w| w.write_all(&bytes))?)
}

/// Reads a checkpoint's header, of any serialised type, and its tensors.
///
/// # Errors
/// [`Error::Checkpoint`] with the path when the file cannot be read, is no safetensors file, or has no such header.
pub fn load_checkpoint<H: for<'de> Deserialize<'de>>(
    path: impl AsRef<Path>,
    device: &Device,
) -> Result<(H, HashMap<String, Tensor>)> {
    let path = path.as_ref();
    let fail = |reason: String| Error::Checkpoint { path: path.to_path_buf(), reason };
    let bytes = std::fs::read(path).map_err(|e| fail(e.to_string()))?;
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes)
        .map_err(|e| fail(format!("not a whole safetensors file: {e}")))?;
    let text = metadata
        .metadata()
        .as_ref()
        .and_then(|m| m.get(KEY))
        .ok_or_else(|| fail(format!("its header has no entry {KEY:?}: not written by halocast")))?;
    let header = serde_json::from_str(text).map_err(|e| fail(format!("its header does not parse: {e}")))?;
    let tensors = candle_core::safetensors::load_buffer(&bytes, device)
        .map_err(|e| fail(format!("its tensors do not read: {e}")))?;
    Ok((header, tensors))
}

impl Model {
    /// Rebuilds a model, to sample from, from its checkpoint alone.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when the file cannot be read; others when its parameters do not fit its configuration.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<(CheckpointHeader, Model)> {
        let (header, tensors) = load_checkpoint::<CheckpointHeader>(path, device)?;
        let model = header.config.build_frozen(tensors, device)?;
        Ok((header, model))
    }
}

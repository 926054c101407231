//! Every model of the registry in a size that a law can be checked on: one line a model.

mod adversarial;
mod clouds;
mod diffusion;
mod latent;
mod likelihood;
mod mamba;
mod transport;

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use halocast::core::{Batch, Rng};
use halocast::models::vdm::ScoreConfig;
use halocast::models::{Model, ModelConfig};
use ndarray::ArrayD;

/// The name of each case and its model.
pub fn zoo() -> Vec<(&'static str, ModelConfig)> {
    [
        diffusion::cases(),
        latent::cases(),
        mamba::cases(),
        transport::cases(),
        adversarial::cases(),
        likelihood::cases(),
        clouds::cases(),
    ]
    .concat()
}

/// Whether the gradient of a parameter is an estimate by design, and no derivative of the loss: where it passes straight
/// through a choice of code words, or is kept from one side of it.
pub fn estimated(config: &ModelConfig, parameter: &str) -> bool {
    let through = ["encoder", "to_codes", "codebook"];
    matches!(config, ModelConfig::VqVae(_)) && through.iter().any(|part| parameter.starts_with(part))
}

/// Whether a model may make the same event of the same condition every time: a generator of one map without dropout, a
/// regression, a bridge without noise.
pub fn draws_no_noise(config: &ModelConfig) -> bool {
    let tag = tag(config).unwrap_or_default();
    ["pix2pix", "cyclegan", "regression", "indi"].contains(&tag.as_str())
}

/// Whether the last layer begins with zeros, as its paper says, so that fresh models of all seeds are one function.
pub fn begins_with_zeros(config: &ModelConfig) -> bool {
    matches!(config, ModelConfig::PointVdm(config) if matches!(config.score, ScoreConfig::Transformer(_)))
}

/// A batch of standard normal numbers that fits a model.
///
/// # Errors
/// Of the shapes.
pub fn batch(model: &Model, examples: usize, rng: &mut Rng) -> Result<Batch> {
    let spec = model.trainable().example();
    let mut draw = |shape: &[usize]| -> Result<ArrayD<f32>> {
        let shape: Vec<usize> = std::iter::once(examples).chain(shape.iter().copied()).collect();
        Ok(ArrayD::from_shape_vec(shape.clone(), rng.normals(shape.iter().product()))?)
    };
    let fields = draw(&spec.fields)?;
    let parameters = spec.parameters.map(|n| draw(&[n])?.into_dimensionality().context("parameters"));
    let condition = spec.condition.as_deref().map(&mut draw).transpose()?;
    Ok(Batch { condition, ..Batch::new(fields, parameters.transpose()?) })
}

/// The tag of a configuration.
///
/// # Errors
/// When it has none.
pub fn tag(config: &ModelConfig) -> Result<String> {
    let tagged = serde_json::to_value(config)?;
    Ok(tagged["model"].as_str().context("a configuration without the tag `model`")?.to_owned())
}

/// The tags of all models of the registry: it names them itself when asked for one that it does not have.
pub fn registered() -> BTreeSet<String> {
    let unknown = serde_json::json!({ "model": "?" });
    let told =
        serde_json::from_value::<ModelConfig>(unknown).err().map(|e| e.to_string()).unwrap_or_default();
    let (_, known) = told.split_once("expected").unwrap_or_default();
    known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

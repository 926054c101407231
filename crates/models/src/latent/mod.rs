//! Diffusion in the space of an autoencoder's latents.
//!
//! [`FirstStage`] turns events into latents and back, and is not trained; [`LatentDiffusion`] is a [`crate::diffusion::Ddpm`] of the
//! latents.

mod first_stage;
mod model;

pub use first_stage::{FirstStage, FirstStageConfig};
pub use model::{LatentDiffusion, LatentDiffusionConfig};

//! # halocast-models
//!
//! Generative models for fields, cut so that N networks, M objectives and K samplers compose: a network knows nothing of
//! diffusion, an objective turns it into a [`Denoiser`], a sampler takes only a denoiser.
//!
//! What a model can do is a trait it implements: [`Trainable`] models have a loss, [`Generative`] ones draw samples.
//! [`ModelConfig`] is the registry: plain data that builds any model, and that every checkpoint carries in its header, so
//! that a file rebuilds its own model ([`Model::load`]).
//!
//! Today there is one model: [`diffusion::Ddpm`] on a [`unet::UNet`], as in Mudur & Finkbeiner 2022, whose published
//! parameters load by name.
//!
//! ```
//! use candle_core::Device;
//! use halocast_core::Rng;
//! use halocast_models::diffusion::{Ddpm, DdpmConfig, Sampler};
//! use halocast_models::unet::UNetConfig;
//! use halocast_models::{Configured, Generative, SampleOptions};
//!
//! let config = DdpmConfig {
//!     unet: UNetConfig { dim: 8, dim_mults: vec![1, 2], ..Default::default() },
//!     size: vec![8, 8],
//!     timesteps: 10,
//!     ..Default::default()
//! };
//! let model = Ddpm::new(&config, 1, &Device::Cpu)?;
//! let options = SampleOptions { sampler: Sampler::Ancestral { steps: Some(2) }, ..Default::default() };
//! let maps = model.sample(3, None, &options, &mut Rng::new(2))?;
//! assert_eq!(maps.dims(), [3, 1, 8, 8]);
//! # Ok::<(), halocast_models::Error>(())
//! ```
//!
//! # Features
//!
//! `cuda`, `cudnn`, `metal`: Candle's devices. On them the layers run on Candle's own operations; that path compiles on
//! demand and has not been run on such a device yet.

pub mod adapointr;
pub mod autoencoder;
pub mod autoregressive;
mod batches;
pub mod bridge;
mod checkpoint;
mod config;
mod contract;
pub mod diffusion;
pub mod dim;
pub mod edm;
pub mod embedding;
mod error;
pub mod flow;
pub mod gan;
pub mod inference;
pub mod network;
mod parameters;
mod sampling;
pub mod sde;
pub mod unet;
pub mod vdm;

pub use checkpoint::{CheckpointHeader, load_checkpoint, save_checkpoint};
pub use config::{Model, ModelConfig};
pub use contract::{
    Bijection, Bound, Cond, CondSpec, Configured, Denoiser, ExampleSpec, Generative, LogProb, Loss,
    SampleOptions, Trainable,
};
pub use error::{Error, Result};
pub use parameters::Parameters;

//! # halocast-models
//!
//! Generative models for fields, cut so that N networks, M objectives and K samplers compose: a network knows nothing of
//! diffusion, an objective turns it into a [`Denoiser`], a sampler takes only a denoiser.
//!
//! What a model can do is a trait it implements: [`Trainable`] models have a loss, [`Generative`] ones draw samples.
//! [`ModelConfig`] is the registry: plain data that builds any model, and that every checkpoint carries in its header, so
//! that a file rebuilds its own model ([`Model::load`]).
//!
//! # The zoo
//!
//! | family | models |
//! |---|---|
//! | [`diffusion`] | denoising diffusion on any [`network`]: noise, data or velocity; DDIM, DPM-Solver++, Heun; guidance, inpainting, posteriors |
//! | [`edm`], [`sde`] | elucidated diffusion; VP, sub-VP and VE equations with predictors, correctors and the likelihood of their flow |
//! | [`latent`] | diffusion in the latent space of an autoencoder |
//! | [`bridge`] | map to map: InDI, Brownian bridges, rectified flows, plain regression; flow matching from noise |
//! | [`dim`] | diffusion Mamba: selective scans along four directions in place of attention |
//! | [`gan`] | pix2pix, CycleGAN, plain and Wasserstein adversarial networks |
//! | [`flow`], [`inference`] | RealNVP, masked autoregressive, spline and Glow flows; posteriors of parameters, HMC and NUTS |
//! | [`autoencoder`], [`autoregressive`] | plain, variational and vector-quantised autoencoders; PixelCNN |
//! | [`adapointr`], [`vdm`], [`pointnet`] | clouds of points: completion by a geometry-aware transformer; variational diffusion, on the torus too; parameters from positions |
//!
//! Parameters have the names of the reference implementations, so that their state dicts load, and outputs and gradients
//! are held against theirs.
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
pub mod latent;
pub mod network;
mod parameters;
pub mod pointnet;
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

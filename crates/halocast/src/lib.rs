//! # halocast
//!
//! Generative models for the fields of hydrodynamical simulations: load IllustrisTNG and CAMELS, project particles to
//! maps, train and sample models on Candle, and judge the samples by physics.
//!
//! This crate re-exports the workspace behind features, so that one dependency composes them:
//!
//! | module | feature | what is in it |
//! |---|---|---|
//! | [`core`] | always | cosmology, units, periodic box, particles, maps, seeded randomness, Fourier transforms |
#![cfg_attr(
    feature = "data",
    doc = "| [`data`] | `data` | simulation and survey files as core types, and back |"
)]
#![cfg_attr(feature = "mock", doc = "| [`mock`] | `mock` | a small synthetic universe to develop on |")]
#![cfg_attr(feature = "maps", doc = "| [`maps`] | `maps` | particles to maps; augmentation |")]
#![cfg_attr(
    feature = "stats",
    doc = "| [`stats`] | `stats` | power spectra, Minkowski functionals; comparing ensembles |"
)]
#![cfg_attr(feature = "models", doc = "| [`kernels`] | `models` | fast Candle operations with gradients |")]
#![cfg_attr(feature = "models", doc = "| [`models`] | `models` | networks, objectives, samplers |")]
#![cfg_attr(feature = "train", doc = "| [`train`] | `train` | optimisers, checkpoints, resumable training |")]
//!
//! The program `quickstart` of the repository composes all of them; `docs/architecture.md` shows the house.

pub use halocast_core as core;
#[cfg(feature = "data")]
pub use halocast_data as data;
#[cfg(feature = "models")]
pub use halocast_kernels as kernels;
#[cfg(feature = "maps")]
pub use halocast_maps as maps;
#[cfg(feature = "mock")]
pub use halocast_mock as mock;
#[cfg(feature = "models")]
pub use halocast_models as models;
#[cfg(feature = "stats")]
pub use halocast_stats as stats;
#[cfg(feature = "train")]
pub use halocast_train as train;

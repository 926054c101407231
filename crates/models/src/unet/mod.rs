//! The U-Nets of denoising diffusion (Ho et al. 2020): the form of Mudur & Finkbeiner 2022 for maps, and that of
//! lucidrains for lines, maps and cubes.

mod blocks;
mod config;
mod lucidrains;
mod network;

pub use config::{Attention, UNetConfig};
pub use lucidrains::{Lucidrains, LucidrainsConfig, TimeFeatures};
pub use network::UNet;

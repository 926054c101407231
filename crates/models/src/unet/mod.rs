//! The U-Net of denoising diffusion (Ho et al. 2020), in the form used by Mudur & Finkbeiner 2022.

mod blocks;
mod config;
mod network;

pub use config::{Attention, UNetConfig};
pub use network::UNet;

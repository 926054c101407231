//! Diffusion Mamba (Teng et al. 2024): a diffusion model whose network reads a map as a sequence of patches, with selective
//! scans of linear cost in their number.

mod config;
mod diffusion;
mod embedding;
mod mamba;
mod network;
mod order;

pub use config::DimConfig;
pub use diffusion::{DimDdpm, DimDdpmConfig};
pub use mamba::{Mamba, MambaConfig, MambaState};
pub use network::{Dim, DimCondition};

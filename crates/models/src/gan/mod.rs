//! Adversarial models: a generator learns from a discriminator that learns to tell its samples from the data.
//!
//! * [`Pix2Pix`]: from a map of one field to that of another, by pairs
//! * [`CycleGan`]: between two sets of maps, without pairs
//! * [`Gan`]: from noise, and parameters, to maps
//!
//! The networks are [`UnetGenerator`], [`ResnetGenerator`] and the discriminators of [`Critic`]; the games are
//! [`GanLoss`], the penalties [`Penalty`].

mod critic;
mod cyclegan;
mod generator;
mod layers;
mod loss;
mod penalty;
mod pix2pix;
mod plain;
mod play;
mod pool;
mod resnet_generator;
mod unet_generator;

pub use critic::{Critic, DiscriminatorConfig, PatchConfig, PixelConfig};
pub use cyclegan::{CycleGan, CycleGanConfig};
pub use generator::{Generator, GeneratorConfig};
pub use layers::{Initial, Norm};
pub use loss::GanLoss;
pub use penalty::{Penalty, between, gradient_penalty};
pub use pix2pix::{Pix2Pix, Pix2PixConfig};
pub use plain::{Gan, GanConfig};
pub use resnet_generator::{ResnetGenerator, ResnetGeneratorConfig, ResnetPadding};
pub use unet_generator::{UnetGenerator, UnetGeneratorConfig};

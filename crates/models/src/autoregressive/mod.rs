//! Autoregressive models of maps: the probability of each pixel given those before it, row by row.
//!
//! $$ P(x) = \prod_i P(x_i | x_{<i}) $$
//!
//! Pixels are levels of a range of values. [`PixelCnn`] gives their probabilities exactly, and the density that is even
//! within a level, so that its likelihood stands beside that of flows.

mod config;
mod masked;
mod mixture;
mod model;
mod network;

pub use config::{PixelCnnConfig, PixelDistribution};
pub use masked::{Mask, MaskedConv2d};
pub use mixture::mixture_log_prob;
pub use model::{PixelCnn, bits_per_dim};
pub use network::{NetShape, PixelCnnNet};

//! Autoencoders: plain, variational, and with a codebook.
//!
//! | model | latent | trained by |
//! |---|---|---|
//! | [`Autoencoder`] | a vector | mean square error |
//! | [`Vae`] | a normal vector | the evidence lower bound |
//! | [`VqVae`] | a grid of code words | mean square error and the distance to the code words |
//!
//! All give their latents by `encode` and events by `decode`, for models that live in the space of latents.

mod coder;
mod normal;
mod observation;
mod plain;
mod vae;
mod vq;

pub use coder::{Coder, CoderConfig};
pub use normal::{free_bits, kl_between, kl_standard};
pub use observation::Observation;
pub use plain::{Autoencoder, AutoencoderConfig};
pub use vae::{Vae, VaeConfig};
pub use vq::{VqVae, VqVaeConfig};

//! Denoising diffusion: schedule, objective, samplers.

mod ddpm;
mod levels;
mod objective;
mod posterior;
mod posterior_chain;
mod sampler;
mod schedule;

pub use ddpm::{Ddpm, DdpmConfig, TimeSampling};
pub use levels::Levels;
pub use objective::{LossKind, Objective};
pub use posterior::{LinearMap, Posterior, Spread};
pub use posterior_chain::{Entry, denoise_from, inpaint};
pub(crate) use sampler::slice_cond;
pub use sampler::{Sampler, ancestral_step, sample};
pub use schedule::{Schedule, sigma_of};

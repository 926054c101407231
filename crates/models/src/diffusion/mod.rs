//! Denoising diffusion: schedule, objective, samplers.

mod bound;
mod conditioned;
mod ddpm;
mod guided;
mod levels;
mod objective;
mod posterior;
mod posterior_chain;
mod sampler;
mod schedule;
mod variance;

pub use bound::variational_bound;
pub(crate) use conditioned::{Conditioned, Question, column, kept, tensor};
pub use ddpm::{Ddpm, DdpmConfig, TimeSampling, Weighting};
pub use guided::{Clip, Clipped, Guided};
pub use levels::Levels;
pub use objective::{LossKind, Objective};
pub use posterior::{LinearMap, Posterior, Spread};
pub use posterior_chain::{Entry, denoise_from, inpaint};
pub(crate) use sampler::slice_cond;
pub use sampler::{Discretization, Heun, Sampler, Scaling, Solver, TimeOf, ancestral_step, sample};
pub use schedule::{Schedule, sigma_of};

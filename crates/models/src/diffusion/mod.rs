//! Denoising diffusion: schedule, objective, samplers.

mod bound;
mod conditioned;
mod ddpm;
mod guided;
mod levels;
mod objective;
mod sampler;
mod schedule;
mod variance;

pub use bound::variational_bound;
pub(crate) use conditioned::{Conditioned, Question, column, kept, tensor};
pub use ddpm::{Ddpm, DdpmConfig, TimeSampling, Weighting};
pub use guided::{Clip, Clipped, Guided};
pub use levels::Levels;
pub use objective::{LossKind, Objective};
pub use sampler::{Discretization, Heun, Sampler, Scaling, Solver, TimeOf, ancestral_step, sample};
pub use schedule::{Schedule, sigma_of};

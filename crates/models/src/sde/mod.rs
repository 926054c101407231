//! Diffusion in continuous time (Song et al. 2021): stochastic differential equations, their reversal by a score, and the
//! ordinary equation of the same marginals, which has a likelihood.
//!
//! An [`Sde`] is plain numbers: its marginal, drift, diffusion and prior. A score is any function of (x, t). From these
//! two alone a [`Predictor`] and a [`Corrector`] walk from the prior to the data, [`SdeSampler`] puts them together, and
//! [`flow_log_prob`] measures a density. [`ScoreSde`] is the model whose score is a network.

mod equation;
mod likelihood;
mod loss;
mod model;
mod ode;
mod sampler;
mod step;
#[cfg(test)]
mod truths;

pub use equation::Sde;
pub use likelihood::{Divergence, Likelihood, Transported, Velocity, flow_log_prob, flow_transport};
pub use loss::ScoreLoss;
pub use model::{ScoreSde, ScoreSdeConfig};
pub use ode::{Rk45, Slopes, Solution};
pub use sampler::{SdeSampler, flow_velocity};
pub use step::{Corrector, NormOver, Predictor, Score};

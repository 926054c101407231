//! Parameter inference: posteriors of the parameters of a simulation given what is seen of it.
//!
//! * [`Posterior`]: a conditional flow $p(\theta | x)$, trained on pairs of parameters and data
//! * [`GridPosterior`]: any log-density on a grid of few parameters
//! * [`hmc`]: Hamiltonian Monte Carlo and the no-U-turn sampler through any log-density with a gradient;
//!   [`likelihood`] gives that of a conditional model, $\ln p(x | \theta)$

mod grid;
mod hmc;
mod likelihood;
mod posterior;

pub use grid::{Axis, GridPosterior};
pub use hmc::{Chain, HmcConfig, LogDensity, Trajectory, hmc};
pub use likelihood::likelihood;
pub use posterior::{Posterior, PosteriorConfig};

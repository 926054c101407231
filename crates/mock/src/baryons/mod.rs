//! Baryons: gas, stars and black holes painted on a universe and its haloes.

mod catalogue;
mod config;
mod halo;
mod hydrostatic;
mod paint;
mod recipes;
mod snapshot;
mod state;
mod stir;
mod thermal;

pub use config::{BaryonConfig, Feedback, Scatter};
pub use hydrostatic::Hydrostatic;
pub use paint::Populated;
pub use recipes::Recipes;
pub use state::{BlackHoles, GasCells, Owner, Stars};
pub use thermal::neutral_fraction;
pub(crate) use thermal::{BOLTZMANN_PER_PROTON, HYDROGEN};

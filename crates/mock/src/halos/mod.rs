//! Haloes: groups of particles, their centres, masses, motions and shapes, and the lumps within them.

mod cells;
mod finder;
mod fof;
mod grid;
mod mass_function;
mod profile;
mod properties;
mod subhalos;

pub use finder::{Halo, HaloConfig, Halos, Sphere, Subhalo, Tracers};
pub(crate) use fof::nearest_group;
pub use fof::{Groups, friends_of_friends};
pub use mass_function::MassFunction;
pub use profile::concentration;
pub(crate) use profile::nfw_mass;

/// What errors of this module say was attempted.
const OPERATION: &str = "haloes";

//! Radial profiles of images and clouds, and what is read off them.

mod cloud;
mod image;
mod lookup;
mod overlap;
mod phase;
mod shape;

pub use cloud::{CloudProfile, cloud_profile, mass_radius, velocity_dispersion};
pub use image::{Membership, RadialProfile, Rings};
pub use phase::{PhaseMoments, phase_moments, potential_energy, virial_ratio};
pub use shape::{AxisRatios, MassFunction, axis_ratios, halo_mass_function};

pub(crate) use overlap::circle_rectangle;

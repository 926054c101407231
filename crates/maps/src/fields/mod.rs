//! Maps of physical fields from a snapshot: densities, temperatures, magnetic fields, the 21 cm line.
//!
//! [`project_field`] takes any [`Quantity`] of a snapshot in any units to a map with its own. The formulae are functions of
//! their own, with the conventions they choose between as enums: whose Gauss ([`MagneticConvention`]), which neutral
//! hydrogen ([`Neutral`], [`Molecular`]).

mod brightness;
mod channels;
mod gas;
mod hydrogen;
mod magnetic;
mod quantity;
mod snapshot;
mod thermal;

pub use brightness::{brightness_map, brightness_temperature};
pub use channels::{Channel, channel_maps};
pub use hydrogen::{
    Molecular, Neutral, molecular_fraction_kmt, molecular_fraction_pressure, neutral_fraction,
    photoionisation_rate, self_shielding_density, ultraviolet_background,
};
pub use magnetic::MagneticConvention;
pub use quantity::Quantity;
pub use snapshot::{FieldOptions, project_field};
pub use thermal::{
    BOLTZMANN, GAMMA, HYDROGEN_FRACTION, PROTON_MASS, electron_density, mean_molecular_weight, pressure,
    temperature, temperature_pylians,
};

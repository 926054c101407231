//! What a radio telescope makes of a map: beams, thermal noise, the sampling of an interferometer, sky models for simulators.
//!
//! Maps go to the sky by [`on_sky`], which turns comoving lengths into degrees; from there on lengths are degrees and
//! brightness is K or Jy per pixel.

mod array;
mod beam;
mod noise;
mod oskar;
mod sky;
mod synthesis;

pub use array::ArrayLayout;
pub use beam::{Beam, convolve};
pub use noise::{
    add_noise, image_noise, single_dish_noise, ska_low_temperature, system_equivalent_flux_density,
};
pub use oskar::{Pointing, oskar_sky_model};
pub use sky::{jansky_per_pixel, line_frequency, on_sky, primary_beam};
pub use synthesis::{Dirty, Observation, Weighting};

use crate::Error;

fn refuse(
    operation: &'static str,
    what: impl Into<String>,
    expected: &'static str,
    got: impl ToString,
) -> Error {
    Error::Value { operation, what: what.into(), expected, got: got.to_string() }
}

/// Whether a number is finite and above zero.
fn positive(x: f64) -> bool {
    x > 0.0 && x.is_finite()
}

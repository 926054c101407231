//! What a survey does to a cloud: redshift-space distortion, mask, n(z), fibre collisions, a light cone of snapshots.

mod collisions;
mod cone;
mod mask;
mod selection;
mod sky;

pub use collisions::{FibreCollisions, fibre_collisions};
pub use cone::{LightCone, LightConeSnapshot, light_cone};
pub use mask::{Cap, SkyMask, SkyPolygon};
pub use selection::SelectionFunction;
pub use sky::{sky_direction, to_redshift_sky};

use crate::{Error, Result};

fn refuse<T>(operation: &'static str, what: String, expected: impl Into<String>, got: String) -> Result<T> {
    Err(Error::Value { operation, what, expected: expected.into(), got })
}

fn same_length(operation: &'static str, what: &str, expected: usize, got: usize) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    let (what, expected, got) = (format!("the number of {what}"), expected.to_string(), got.to_string());
    Err(Error::Mismatch { operation, what, expected, got })
}

fn length(v: [f64; 3]) -> f64 {
    v.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

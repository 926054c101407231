//! Maps on the sky: angles, flux densities, the primary beam.

use std::f64::consts::PI;

use halocast_core::{Cosmology, Map, SPEED_OF_LIGHT, Unit};

use super::{positive, refuse};
use crate::Result;
use crate::fields::BOLTZMANN;

const OPERATION: &str = "map on the sky";
/// The rest frequency of the 21 cm line in Hz.
const HYDROGEN_LINE: f64 = 1_420_405_751.768;

/// The frequency in Hz at which the 21 cm line arrives from redshift `z`.
///
/// ```
/// assert!((halocast_maps::telescope::line_frequency(1.0) / 7.102e8 - 1.0).abs() < 1e-4);
/// ```
pub fn line_frequency(z: f64) -> f64 {
    HYDROGEN_LINE / (1.0 + z)
}

/// The map with its sides in degrees, seen from redshift 0 at redshift `z`: comoving length over comoving distance.
///
/// # Errors
/// [`Error::Value`](crate::Error::Value) for a map whose lengths are not comoving Mpc/h, or a redshift at which everything is here.
pub fn on_sky(map: &Map, cosmology: &Cosmology, z: f64) -> Result<Map> {
    if map.length_unit != Unit::mpc_h() {
        return Err(refuse(OPERATION, "the unit of lengths", "Mpc/h", &map.length_unit.label));
    }
    let distance = cosmology.comoving_distance(z);
    if !positive(distance) {
        return Err(refuse(OPERATION, "the redshift", "above 0", z));
    }
    let extent = map.extent.map(|x| (x / distance).to_degrees());
    Ok(Map { extent, length_unit: Unit::degree(), periodic: false, ..map.clone() })
}

/// The flux density in Jy of each pixel of a map of brightness temperature in K or mK at `frequency` in Hz:
/// S = 2 k_B T nu^2 / c^2 Omega, with the pixel's solid angle Omega.
///
/// # Errors
/// [`Error::Value`](crate::Error::Value) for a map that is not in degrees or not in K or mK, or a frequency that is not positive.
pub fn jansky_per_pixel(map: &Map, frequency: f64) -> Result<Map> {
    degrees(OPERATION, map)?;
    let kelvin = match map.unit.label.as_str() {
        "K" => 1.0,
        "mK" => 1e-3,
        other => return Err(refuse(OPERATION, "the unit of the map", "K or mK", other)),
    };
    if !positive(frequency) {
        return Err(refuse(OPERATION, "the frequency", "finite and positive", frequency));
    }
    let solid = map.pixel_area() * (PI / 180.0).powi(2);
    let wavelength = SPEED_OF_LIGHT * 1e5 / frequency;
    // erg/s/cm^2/Hz to Jy.
    let factor = 2.0 * BOLTZMANN * kelvin / (wavelength * wavelength) * solid * 1e23;
    let mut out = map.map_values(|t| (f64::from(t) * factor) as f32);
    out.unit = Unit::new("Jy/pixel", 1e-23, 0.0, 0.0);
    Ok(out)
}

/// The map times the power pattern of a uniformly lit dish of `diameter` metres that points at its middle:
/// (2 J_1(x) / x)^2, x = pi D sin(theta) / lambda.
///
/// # Errors
/// [`Error::Value`](crate::Error::Value) for a map that is not in degrees, or numbers that are not positive.
pub fn primary_beam(map: &Map, diameter: f64, frequency: f64) -> Result<Map> {
    degrees("primary beam", map)?;
    for (what, x) in [("the dish's diameter", diameter), ("the frequency", frequency)] {
        if !positive(x) {
            return Err(refuse("primary beam", what, "finite and positive", x));
        }
    }
    let wavelength = SPEED_OF_LIGHT * 1e3 / frequency;
    let [ny, nx] = map.shape();
    let offset = |i: usize, n: usize, side: f64| ((i as f64 + 0.5) / n as f64 - 0.5) * side;
    let mut out = map.clone();
    for ((y, x), value) in out.values.indexed_iter_mut() {
        let theta = offset(y, ny, map.extent[0]).hypot(offset(x, nx, map.extent[1])).to_radians();
        *value *= airy(PI * diameter * theta.sin() / wavelength) as f32;
    }
    Ok(out)
}

fn airy(x: f64) -> f64 {
    if x.abs() < 1e-6 { 1.0 } else { (2.0 * bessel_j1(x) / x).powi(2) }
}

/// J_1(x) = (1 / pi) times the integral of cos(t - x sin t) from 0 to pi: the trapezium rule converges exponentially.
fn bessel_j1(x: f64) -> f64 {
    let n = 32 + 2 * x.abs().ceil() as usize;
    let at = |i: usize| {
        let t = PI * i as f64 / n as f64;
        (t - x * t.sin()).cos()
    };
    let inner: f64 = (1..n).map(at).sum();
    (0.5 * (at(0) + at(n)) + inner) / n as f64
}

pub(super) fn degrees(operation: &'static str, map: &Map) -> Result<()> {
    match map.length_unit == Unit::degree() {
        true => Ok(()),
        false => Err(refuse(operation, "the unit of lengths", "deg", &map.length_unit.label)),
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    #[test]
    fn bessel_is_bessel() {
        // Abramowitz & Stegun, table 9.1.
        for (x, j) in
            [(0.5, 0.242_268_457_7), (1.0, 0.440_050_585_7), (3.8317059702, 0.0), (10.0, 0.043_472_746_2)]
        {
            assert!((bessel_j1(x) - j).abs() < 1e-9, "{x}");
        }
        // Half power at x = 1.6163: a full width of 1.029 lambda / D.
        assert!((airy(1.61634) - 0.5).abs() < 1e-4);
    }

    #[test]
    fn angles_and_fluxes_have_closed_forms() {
        let cosmology = Cosmology::camels();
        let map = Map::square("T21", Array2::from_elem((4, 4), 3.0), 10.0)
            .with_unit(Unit::new("mK", 1e-3, 0.0, 0.0));
        let sky = on_sky(&map, &cosmology, 0.5).unwrap();
        let expected = (10.0 / cosmology.comoving_distance(0.5)).to_degrees();
        assert!((sky.extent[0] - expected).abs() < 1e-12);
        let flux = jansky_per_pixel(&sky, 1e9).unwrap();
        // 2 k = 2761.3 Jy m^2 / K.
        let solid = (expected / 4.0).to_radians().powi(2);
        let jy = 2761.298 * 3e-3 / 0.299_792_458f64.powi(2) * solid;
        assert!((f64::from(flux.values[[1, 2]]) / jy - 1.0).abs() < 1e-5);
        assert!(jansky_per_pixel(&map, 1e9).is_err());
        assert!(on_sky(&sky, &cosmology, 0.5).is_err());
        assert!(on_sky(&map, &cosmology, 0.0).is_err());
    }

    #[test]
    fn the_primary_beam_falls_to_half() {
        let mut map = Map::square("m", Array2::ones((101, 101)), 4.0);
        map.length_unit = Unit::degree();
        let seen = primary_beam(&map, 15.0, 7e8).unwrap();
        assert!((seen.values[[50, 50]] - 1.0).abs() < 1e-6);
        let half = 0.5 * (1.029 * 0.299_792_458 / 0.7 / 15.0f64).to_degrees();
        let at = 50 + (half / (4.0 / 101.0)).round() as usize;
        assert!((seen.values[[50, at]] - 0.5).abs() < 0.03);
        assert!(primary_beam(&map, 0.0, 7e8).is_err());
    }
}

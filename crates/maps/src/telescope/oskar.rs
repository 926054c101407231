//! Sky models for the simulators OSKAR and, which runs OSKAR, Karabo.

use std::fmt::Write as _;

use halocast_core::Map;

use super::sky::degrees;
use super::{positive, refuse};
use crate::Result;

const OPERATION: &str = "sky model";

/// Where on the sky the middle of a map lies, and at which frequency it is seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pointing {
    /// Right ascension in degrees.
    pub right_ascension: f64,
    /// Declination in degrees.
    pub declination: f64,
    /// Frequency in Hz.
    pub frequency: f64,
}

/// The pixels above `threshold` Jy of a map in Jy/pixel and degrees as point sources, one a line in the columns of OSKAR's sky model files:
/// right ascension and declination in degrees; Stokes I, Q, U, V in Jy; the reference frequency in Hz; spectral index; rotation measure in
/// rad/m^2; major and minor axis in arcsec and position angle in degrees. Karabo reads the same columns.
///
/// The map is the tangent plane (gnomonic projection), its y axis to the north, its x axis to the west: east is left.
///
/// # Source
/// "OSKAR Sky Model", OSKAR 2.7, section 2; Calabretta & Greisen 2002 for the projection.
///
/// # Errors
/// [`Error::Value`](crate::Error::Value) for a map in other units, or a direction or frequency outside its domain.
pub fn oskar_sky_model(map: &Map, pointing: &Pointing, threshold: f32) -> Result<String> {
    degrees(OPERATION, map)?;
    map.require_finite()?;
    if map.unit.label != "Jy/pixel" {
        return Err(refuse(OPERATION, "the unit of the map", "Jy/pixel", &map.unit.label));
    }
    let Pointing { right_ascension, declination, frequency } = *pointing;
    if !(right_ascension.is_finite() && (-90.0..=90.0).contains(&declination) && positive(frequency)) {
        let got = format!("{right_ascension} deg, {declination} deg, {frequency} Hz");
        return Err(refuse(OPERATION, "the pointing", "a direction and a positive frequency", got));
    }
    let mut text = String::from(
        "# ra [deg], dec [deg], I [Jy], Q [Jy], U [Jy], V [Jy], reference frequency [Hz], spectral index, \
         rotation measure [rad/m^2], major axis [arcsec], minor axis [arcsec], position angle [deg]\n",
    );
    let [ny, nx] = map.shape();
    let (sd, cd) = declination.to_radians().sin_cos();
    for ((y, x), &flux) in map.values.indexed_iter().filter(|(_, v)| **v > threshold) {
        let offset = |i: usize, n: usize, side: f64| ((i as f64 + 0.5) / n as f64 - 0.5) * side;
        let north = offset(y, ny, map.extent[0]).to_radians().tan();
        let east = -offset(x, nx, map.extent[1]).to_radians().tan();
        // The direction 1 n0 + east e + north n in the tangent plane.
        let (up, side) = (sd + north * cd, cd - north * sd);
        let ra = (right_ascension + east.atan2(side).to_degrees()).rem_euclid(360.0);
        let dec = up.atan2(east.hypot(side)).to_degrees();
        // A String takes everything.
        let _ = writeln!(text, "{ra:.9} {dec:.9} {flux:e} 0 0 0 {frequency:e} 0 0 0 0 0");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use halocast_core::Unit;
    use ndarray::Array2;

    use super::*;

    fn map(values: Array2<f32>) -> Map {
        let mut map = Map::square("T", values, 2.0).with_unit(Unit::new("Jy/pixel", 1e-23, 0.0, 0.0));
        map.length_unit = Unit::degree();
        map
    }

    #[test]
    fn every_bright_pixel_is_a_source_where_it_should_be() {
        let mut values = Array2::zeros((5, 5));
        values[[2, 2]] = 1.0;
        values[[4, 2]] = 2.0;
        values[[2, 0]] = 3.0;
        values[[0, 0]] = 0.01;
        let pointing = Pointing { right_ascension: 10.0, declination: -30.0, frequency: 7e8 };
        let text = oskar_sky_model(&map(values), &pointing, 0.1).unwrap();
        let rows: Vec<Vec<f64>> = text
            .lines()
            .filter(|l| !l.starts_with('#'))
            .map(|l| l.split(' ').map(|w| w.parse().unwrap()).collect())
            .collect();
        assert_eq!(rows.len(), 3);
        assert!(rows.iter().all(|r| r.len() == 12 && r[6] == 7e8));
        let find = |flux: f64| rows.iter().find(|r| (r[2] - flux).abs() < 1e-6).unwrap();
        assert!((find(1.0)[0] - 10.0).abs() < 1e-9 && (find(1.0)[1] + 30.0).abs() < 1e-9);
        // The upper pixel lies 0.8 degrees to the north, the left one 0.8 degrees on a great circle to the east.
        assert!((find(2.0)[1] + 29.2).abs() < 1e-6 && (find(2.0)[0] - 10.0).abs() < 1e-9);
        let east = find(3.0);
        let (a, b, d) = (east[1].to_radians(), (-30f64).to_radians(), (east[0] - 10.0).to_radians());
        let separation = (a.sin() * b.sin() + a.cos() * b.cos() * d.cos()).acos().to_degrees();
        assert!((separation - 0.8).abs() < 1e-6 && east[0] > 10.0, "{separation}");
    }

    #[test]
    fn bad_input_is_named() {
        let good = Pointing { right_ascension: 0.0, declination: 0.0, frequency: 1e9 };
        let zero = map(Array2::zeros((2, 2)));
        let run = |m: &Map, p: Pointing| oskar_sky_model(m, &p, 0.0).unwrap_err().to_string();
        assert!(run(&zero, Pointing { declination: 95.0, ..good }).contains("pointing"));
        assert!(run(&Map { unit: Unit::dimensionless(), ..zero.clone() }, good).contains("Jy/pixel"));
        assert!(run(&Map { length_unit: Unit::mpc_h(), ..zero }, good).contains("deg"));
    }
}

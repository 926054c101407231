//! The beam of a telescope, and maps seen through it.

use std::f64::consts::{LN_2, TAU};

use halocast_core::Map;
use halocast_core::fft::{RealFft, wavenumber};
use ndarray::Array2;

use super::{positive, refuse};
use crate::Result;

const OPERATION: &str = "convolution with a beam";

/// The response of a telescope to a point.
#[derive(Clone, Debug, PartialEq)]
pub enum Beam {
    /// An elliptical Gaussian. Full widths at half maximum in the map's unit of length; the position angle in degrees from the image's y
    /// axis towards its negative x axis (north through east, east to the left).
    Gaussian {
        /// Along the longer axis.
        major: f64,
        /// Along the shorter axis.
        minor: f64,
        /// Of the longer axis.
        angle: f64,
    },
    /// Pixels of the size of the map's, its middle (n / 2) the direction the telescope points to: a measured beam, from a file.
    Image(Map),
}

impl Beam {
    /// A round Gaussian of this full width at half maximum.
    pub fn round(width: f64) -> Self {
        Self::Gaussian { major: width, minor: width, angle: 0.0 }
    }

    fn check(&self, map: &Map) -> Result<()> {
        match self {
            Self::Gaussian { major, minor, angle } => {
                for x in [*major, *minor] {
                    if !positive(x) {
                        return Err(refuse(OPERATION, "the width of the beam", "finite and positive", x));
                    }
                }
                if !angle.is_finite() {
                    return Err(refuse(OPERATION, "the position angle", "finite", angle));
                }
            }
            Self::Image(beam) => {
                let pixel = |m: &Map, a: usize| m.extent[a] / m.shape()[a] as f64;
                let same = |a: usize| (pixel(beam, a) / pixel(map, a) - 1.0).abs() < 1e-6;
                let fits = (0..2).all(|a| beam.shape()[a] <= map.shape()[a]);
                if beam.length_unit != map.length_unit || !fits || !(same(0) && same(1)) {
                    let expected = "pixels of the map's size, no more than the map has";
                    return Err(refuse(
                        OPERATION,
                        "the beam's image",
                        expected,
                        format!("{:?}", beam.shape()),
                    ));
                }
                let sum: f64 = beam.values.iter().map(|&v| f64::from(v)).sum();
                if !positive(sum) {
                    return Err(refuse(OPERATION, "the sum of the beam", "finite and positive", sum));
                }
            }
        }
        Ok(())
    }
}

/// The map as the beam smears it: the convolution with the beam of unit sum, in the map's unit. A periodic map is convolved around its
/// edges; about an open one there is nothing. O(N log N).
///
/// # Errors
/// [`Error::Value`](crate::Error::Value) for a beam without width, of other pixels, or without a positive sum.
pub fn convolve(map: &Map, beam: &Beam) -> Result<Map> {
    beam.check(map)?;
    let [ny, nx] = map.shape();
    if ny == 0 || nx == 0 {
        return Ok(map.clone());
    }
    let [py, px] = if map.periodic { [ny, nx] } else { [2 * ny, 2 * nx] };
    let fft = RealFft::<f64>::new([1, py, px]);
    let mut field = vec![0.0; py * px];
    map.values.indexed_iter().for_each(|((y, x), v)| field[y * px + x] = f64::from(*v));
    let mut spectrum = fft.spectrum();
    fft.forward(&field, &mut spectrum);
    let half = px / 2 + 1;
    match beam {
        Beam::Gaussian { major, minor, angle } => {
            // The transform of a Gaussian: exp(-k^T C k / 2).
            let sigma = |width: f64| width / (8.0 * LN_2).sqrt();
            let (sin, cos) = angle.to_radians().sin_cos();
            let side = [map.extent[0] * py as f64 / ny as f64, map.extent[1] * px as f64 / nx as f64];
            for (i, value) in spectrum.iter_mut().enumerate() {
                let ky = TAU * wavenumber(i / half, py) as f64 / side[0];
                let kx = TAU * (i % half) as f64 / side[1];
                // The long axis points to (-sin, cos) in [x, y].
                let (along, across) = (-sin * kx + cos * ky, cos * kx + sin * ky);
                *value *= (-0.5 * ((sigma(*major) * along).powi(2) + (sigma(*minor) * across).powi(2))).exp();
            }
        }
        Beam::Image(image) => {
            let sum: f64 = image.values.iter().map(|&v| f64::from(v)).sum();
            let [by, bx] = image.shape();
            let mut response = vec![0.0; py * px];
            for ((y, x), v) in image.values.indexed_iter() {
                let (y, x) = ((y + py - by / 2) % py, (x + px - bx / 2) % px);
                response[y * px + x] = f64::from(*v) / sum;
            }
            let mut transfer = fft.spectrum();
            fft.forward(&response, &mut transfer);
            spectrum.iter_mut().zip(transfer).for_each(|(s, t)| *s *= t);
        }
    }
    fft.inverse(&mut spectrum, &mut field);
    let values = Array2::from_shape_fn((ny, nx), |(y, x)| field[y * px + x] as f32);
    Ok(Map { values, ..map.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(n: usize, periodic: bool) -> Map {
        let mut values = Array2::zeros((n, n));
        values[[n / 2, n / 2]] = 1.0;
        Map { periodic, ..Map::square("p", values, n as f64) }
    }

    #[test]
    fn a_point_becomes_the_beam() {
        let (major, minor, angle) = (12.0, 6.0, 30.0f64);
        for periodic in [false, true] {
            let seen = convolve(&point(64, periodic), &Beam::Gaussian { major, minor, angle }).unwrap();
            assert!((seen.values.sum() - 1.0).abs() < 1e-5);
            let peak = seen.values[[32, 32]];
            assert!((peak / (4.0 * LN_2 / (std::f64::consts::PI * major * minor)) as f32 - 1.0).abs() < 1e-3);
            // Half the peak half a width away, along the long axis to the upper left.
            let (sin, cos) = angle.to_radians().sin_cos();
            let exact = |dy: f64, dx: f64| {
                let (along, across) = (-sin * dx + cos * dy, cos * dx + sin * dy);
                (-4.0 * LN_2 * ((along / major).powi(2) + (across / minor).powi(2))).exp()
            };
            for (y, x) in [(37, 29), (30, 30), (32, 36)] {
                let expected = exact(y as f64 - 32.0, x as f64 - 32.0);
                assert!((f64::from(seen.values[[y, x]] / peak) - expected).abs() < 1e-3, "{y} {x}");
            }
        }
    }

    #[test]
    fn a_measured_gaussian_is_the_gaussian() {
        let beam = convolve(&point(32, false), &Beam::round(5.0)).unwrap();
        let mut sky = point(64, false);
        sky.values[[10, 40]] = 3.0;
        let a = convolve(&sky, &Beam::Image(beam)).unwrap();
        let b = convolve(&sky, &Beam::round(5.0)).unwrap();
        assert!(a.values.iter().zip(&b.values).all(|(a, b)| (a - b).abs() < 1e-4));
    }

    #[test]
    fn what_leaves_an_open_map_is_lost() {
        let mut open = point(32, false);
        open.values[[0, 16]] = 1.0;
        let seen = convolve(&open, &Beam::round(6.0)).unwrap();
        assert!((seen.values.sum() - 1.5).abs() < 0.1);
        assert!(seen.values[[31, 16]].abs() < 1e-6);
        assert!(convolve(&open, &Beam::round(0.0)).unwrap_err().to_string().contains("width"));
        let coarse = Map { extent: [64.0; 2], ..point(32, false) };
        assert!(convolve(&open, &Beam::Image(coarse)).is_err());
    }
}

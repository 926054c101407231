//! Thermal noise by the radiometer equation.

use halocast_core::{Map, Rng, SPEED_OF_LIGHT};
use ndarray::Array2;

use super::{Beam, convolve, positive, refuse};
use crate::Result;
use crate::fields::BOLTZMANN;

const OPERATION: &str = "thermal noise";

/// The noise in K of a single dish of system temperature `temperature` in K over `bandwidth` in Hz and `time` in s:
/// sigma = T_sys / sqrt(n_p dnu t), n_p the number of polarisations.
///
/// # Source
/// Dicke 1946; Wilson, Rohlfs & Huettemeister 2013, "Tools of Radio Astronomy", equation 4.41.
///
/// ```
/// use halocast_maps::telescope::single_dish_noise;
/// assert!((single_dish_noise(20.0, 1e6, 100.0, 1)? - 2e-3).abs() < 1e-12);
/// # Ok::<(), halocast_maps::Error>(())
/// ```
///
/// # Errors
/// [`Error::Value`](crate::Error::Value) for numbers that are not positive.
pub fn single_dish_noise(temperature: f64, bandwidth: f64, time: f64, polarisations: u32) -> Result<f64> {
    check(&[("the system temperature", temperature)], bandwidth, time, polarisations)?;
    Ok(temperature / (f64::from(polarisations) * bandwidth * time).sqrt())
}

/// The system equivalent flux density in Jy of an antenna of effective area `area` in m^2: 2 k_B T_sys / A_e.
///
/// # Errors
/// [`Error::Value`](crate::Error::Value) for numbers that are not positive.
pub fn system_equivalent_flux_density(temperature: f64, area: f64) -> Result<f64> {
    check(&[("the system temperature", temperature), ("the effective area", area)], 1.0, 1.0, 1)?;
    // k_B in J/K and W/m^2/Hz to Jy.
    Ok(2.0 * BOLTZMANN * 1e-7 * temperature / area * 1e26)
}

/// The noise in Jy/beam of a naturally weighted image of `antennas` equal antennas:
/// sigma = SEFD / (eta sqrt(n_p N (N - 1) dnu t)), eta the efficiency of the system.
///
/// # Source
/// Wrobel & Walker 1999, in "Synthesis Imaging in Radio Astronomy II", equation 9-23.
///
/// # Errors
/// [`Error::Value`](crate::Error::Value) for numbers that are not positive, fewer than two antennas, an efficiency above one.
pub fn image_noise(
    flux_density: f64,
    antennas: usize,
    efficiency: f64,
    bandwidth: f64,
    time: f64,
    polarisations: u32,
) -> Result<f64> {
    check(
        &[("the flux density", flux_density), ("the efficiency", efficiency)],
        bandwidth,
        time,
        polarisations,
    )?;
    if antennas < 2 || efficiency > 1.0 {
        let got = format!("{antennas} antennas, efficiency {efficiency}");
        return Err(refuse(OPERATION, "the array", "two antennas and an efficiency up to 1", got));
    }
    let pairs = antennas as f64 * (antennas as f64 - 1.0);
    Ok(flux_density / (efficiency * (f64::from(polarisations) * pairs * bandwidth * time).sqrt()))
}

/// The system temperature in K of SKA1-Low at `frequency` in Hz: 1.1 T_sky + 40 K with T_sky = 60 K (lambda / m)^2.55.
///
/// # Source
/// Dewdney et al. 2013, "SKA1 system baseline design", SKA-TEL-SKO-DD-001.
pub fn ska_low_temperature(frequency: f64) -> f64 {
    1.1 * 60.0 * (SPEED_OF_LIGHT * 1e3 / frequency).powf(2.55) + 40.0
}

/// The map with Gaussian noise of standard deviation `sigma` in its own unit; with a beam the noise is as smooth as the beam.
///
/// # Errors
/// [`Error::Value`](crate::Error::Value) for a deviation that is negative or not finite; as [`convolve`].
pub fn add_noise(map: &Map, sigma: f64, beam: Option<&Beam>, rng: &mut Rng) -> Result<Map> {
    if !(sigma >= 0.0 && sigma.is_finite()) {
        return Err(refuse(OPERATION, "the deviation", "finite and not negative", sigma));
    }
    let [ny, nx] = map.shape();
    let normals = rng.normals(ny * nx);
    let white = Array2::from_shape_fn((ny, nx), |(y, x)| normals[y * nx + x]);
    let mut noise = Map { values: white, periodic: true, ..map.clone() };
    let mut scale = sigma;
    if let Some(beam) = beam {
        noise = convolve(&noise, beam)?;
        // The variance of smoothed white noise is the sum of the squares of the beam.
        let mut point = Map { values: Array2::zeros((ny, nx)), periodic: true, ..map.clone() };
        if let Some(first) = point.values.first_mut() {
            *first = 1.0;
        }
        let power: f64 = convolve(&point, beam)?.values.iter().map(|&v| f64::from(v).powi(2)).sum();
        scale /= power.sqrt();
    }
    let mut out = map.clone();
    out.values.iter_mut().zip(&noise.values).for_each(|(v, n)| *v += (f64::from(*n) * scale) as f32);
    Ok(out)
}

fn check(numbers: &[(&str, f64)], bandwidth: f64, time: f64, polarisations: u32) -> Result<()> {
    let all = [("the bandwidth", bandwidth), ("the time", time), ("polarisations", f64::from(polarisations))];
    match numbers.iter().chain(&all).find(|(_, x)| !positive(*x)) {
        Some((what, x)) => Err(refuse(OPERATION, *what, "finite and positive", x)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_radiometer_equation_has_its_numbers() {
        // A dish of 100 m^2 at 27.613 K: 2761.3 x 27.613 / 100 = 762.5 Jy.
        let sefd = system_equivalent_flux_density(27.613, 100.0).unwrap();
        assert!((sefd / 762.48 - 1.0).abs() < 1e-4);
        let two = image_noise(400.0, 2, 1.0, 1e6, 100.0, 2).unwrap();
        assert!((two - 400.0 / (2.0 * 2.0 * 1e8f64).sqrt()).abs() < 1e-12);
        // Twice the time, half the variance; ten times the pairs, a tenth.
        assert!((image_noise(400.0, 2, 1.0, 1e6, 200.0, 2).unwrap() / two - 0.5f64.sqrt()).abs() < 1e-12);
        assert!((image_noise(400.0, 5, 1.0, 1e6, 100.0, 2).unwrap() / two - 0.1f64.sqrt()).abs() < 1e-12);
        assert!((ska_low_temperature(299_792_458.0) - 106.0).abs() < 1e-9);
        assert!(image_noise(400.0, 1, 1.0, 1e6, 100.0, 2).is_err());
        assert!(single_dish_noise(20.0, 0.0, 1.0, 1).unwrap_err().to_string().contains("bandwidth"));
    }

    #[test]
    fn noise_has_its_deviation_with_and_without_a_beam() {
        let map = Map::square("m", Array2::ones((128, 128)), 128.0);
        for beam in [None, Some(Beam::round(4.0))] {
            let noisy = add_noise(&map, 0.3, beam.as_ref(), &mut Rng::new(1)).unwrap();
            let deviation = (noisy.values.mapv(|v| (v - 1.0).powi(2)).sum() / 16384.0).sqrt();
            assert!((deviation / 0.3 - 1.0).abs() < 0.06, "{deviation}");
            let step: f32 =
                noisy.values.windows((1, 2)).into_iter().map(|w| (w[[0, 1]] - w[[0, 0]]).powi(2)).sum();
            let smooth = step / (128.0 * 127.0) / (2.0 * 0.09);
            // White noise differs from its neighbour by twice the variance.
            assert_eq!(smooth > 0.9, beam.is_none(), "{smooth}");
        }
        assert!(add_noise(&map, -1.0, None, &mut Rng::new(1)).is_err());
    }
}

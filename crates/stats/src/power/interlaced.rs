//! The power spectrum of a cloud from two interlaced grids: the first images of aliasing cancel.

use std::f64::consts::PI;

use halocast_core::Cube;
use halocast_core::fft::{Complex, RealFft, wavenumber};

use super::modes::Modes;
use super::{PowerConvention, PowerSpectrum, averaged, normalisation, transform_cube};
use crate::{Error, Result, ensemble};

/// The power spectrum of the mean of two fields of one cloud: `cube`, and `shifted`, which holds the points moved by half
/// a cell along every axis, +H/2, before they were assigned:
///
/// F = (F_1 + F_2 exp(i pi (m_x / n_x + m_y / n_y + m_z / n_z))) / 2, m the integer wavenumbers.
///
/// Contributions of alias images at an odd sum of multiples of the sampling wavenumber cancel; without it they are tens
/// of per cent near the Nyquist wavenumber. Everything else is as [`power_spectrum_3d`](crate::power_spectrum_3d).
///
/// # Source
/// Hockney & Eastwood 1981, section 7-8; Sefusatti et al. 2016, eq. 22.
///
/// # Errors
/// As [`cross_spectrum_3d`](crate::cross_spectrum_3d).
pub fn interlaced_power_3d(
    cube: &Cube,
    shifted: &Cube,
    convention: PowerConvention,
) -> Result<PowerSpectrum> {
    let operation = "interlaced power spectrum";
    let shape = ensemble::check_cube(operation, "the cube", cube)?;
    ensemble::check_cube(operation, "the shifted cube", shifted)?;
    if cube.values.shape() != shifted.values.shape() || cube.extent != shifted.extent {
        let describe = |c: &Cube| format!("{:?} cells on {:?}", c.values.shape(), c.extent);
        let what = "the shifted cube".into();
        return Err(Error::Mismatch { operation, what, expected: describe(cube), got: describe(shifted) });
    }
    let modes = Modes::new(shape, cube.extent, convention.binning, convention.window);
    let fft = RealFft::<f64>::new(shape);
    let mut spectrum = transform_cube(&fft, cube);
    let other = transform_cube(&fft, shifted);
    let half = shape[2] / 2 + 1;
    let phase = |i: usize, axis: usize| PI * wavenumber(i, shape[axis]) as f64 / shape[axis] as f64;
    for (i, (a, b)) in spectrum.iter_mut().zip(&other).enumerate() {
        let [x, y, z] = [i / half / shape[1], i / half % shape[1], i % half];
        let turn = Complex::from_polar(1.0, phase(x, 0) + phase(y, 1) + phase(z, 2));
        *a = (*a + b * turn) * 0.5;
    }
    let norm = normalisation(shape, cube.extent, convention.binning);
    let power = averaged(&modes, shape, norm, |i| spectrum[i].norm_sqr());
    Ok(PowerSpectrum { power, k: modes.k, modes: modes.count })
}

#[cfg(test)]
mod tests {
    use halocast_core::Unit;
    use ndarray::Array3;

    use super::*;
    use crate::power_spectrum_3d;

    /// Cells of a wave of `m` periods along x, sampled by many points that were moved by `shift` cells.
    fn assigned(m: f64, shift: f64) -> Cube {
        let (n, samples) = (16, 16 * 64);
        let mut line = vec![0.0; n];
        for p in 0..samples {
            let x = (p as f64 + 0.5) / samples as f64;
            line[((x * n as f64 + shift) as usize) % n] += (std::f64::consts::TAU * m * x).cos() / 64.0;
        }
        Cube {
            values: Array3::from_shape_fn((n, 4, 4), |(x, _, _)| line[x] as f32),
            extent: [4.0, 1.0, 1.0],
            length_unit: Unit::mpc_h(),
            unit: Unit::dimensionless(),
            field: "wave".into(),
            periodic: true,
        }
    }

    #[test]
    fn the_first_alias_is_gone_and_true_waves_stay() {
        let plain = PowerConvention::pylians();
        for (m, bin, alias) in [(11.0, 5, true), (3.0, 3, false)] {
            let (one, two) = (assigned(m, 0.0), assigned(m, 0.5));
            let direct = power_spectrum_3d(&one, plain).unwrap();
            let found = interlaced_power_3d(&one, &two, plain).unwrap();
            let at = direct
                .k
                .iter()
                .position(|k| (k / std::f64::consts::TAU * 4.0).floor() == f64::from(bin))
                .unwrap();
            let ratio = found.power[at] / direct.power[at];
            assert!(direct.power[at] > 1e-4, "{direct:?}");
            assert!(if alias { ratio < 1e-6 } else { (ratio - 1.0).abs() < 1e-4 }, "{m}: {ratio}");
        }
    }

    #[test]
    fn other_shapes_are_refused() {
        let one = assigned(1.0, 0.0);
        let mut other = one.clone();
        other.extent[0] = 5.0;
        assert!(interlaced_power_3d(&one, &other, PowerConvention::pylians()).is_err());
    }
}

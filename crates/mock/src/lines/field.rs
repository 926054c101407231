//! Lognormal fields in a cuboid, and Poisson numbers.

use std::f64::consts::PI;

use halocast_core::Rng;
use halocast_core::fft::{RealFft, wavenumber};
use rayon::prelude::*;

/// 1 + delta, lognormal, of spectrum `power` (comoving (Mpc/h)^3 of h/Mpc) in a periodic cuboid, `[x, y, z]`.
pub(super) fn lognormal(
    shape: [usize; 3],
    extent: [f64; 3],
    power: impl Fn(f64) -> f64 + Sync,
    rng: &mut Rng,
) -> Vec<f64> {
    let fft = RealFft::<f64>::new(shape);
    let cells: usize = shape.iter().product();
    let cell = extent.iter().product::<f64>() / cells as f64;
    let half = shape[2] / 2 + 1;
    let k = |index: usize| {
        let mode = [index / half / shape[1], index / half % shape[1], index % half];
        let square: f64 = (0..3)
            .map(|a| {
                let n = if a == 2 { mode[a] as i64 } else { wavenumber(mode[a], shape[a]) };
                (2.0 * PI * n as f64 / extent[a]).powi(2)
            })
            .sum();
        square.sqrt()
    };
    // xi = sum over modes of P / V: the transform of P / cell, normalised by the number of cells.
    let mut spectrum = fft.spectrum();
    spectrum.par_iter_mut().enumerate().for_each(|(i, c)| {
        c.re = if i == 0 { 0.0 } else { power(k(i)) / cell };
    });
    let mut field = vec![0.0; cells];
    fft.inverse(&mut spectrum, &mut field);
    field.par_iter_mut().for_each(|xi| *xi = xi.max(-0.999).ln_1p());
    fft.forward(&field, &mut spectrum);
    // ln(1 + xi) has a spectrum that is positive but for rounding and aliasing.
    let gaussian: Vec<f64> = spectrum.iter().map(|c| c.re.max(0.0)).collect();
    let white: Vec<f64> = rng.normals(cells).into_iter().map(f64::from).collect();
    fft.forward(&white, &mut spectrum);
    spectrum.par_iter_mut().zip(&gaussian).enumerate().for_each(|(i, (c, p))| {
        *c *= if i == 0 { 0.0 } else { p.sqrt() };
    });
    fft.inverse(&mut spectrum, &mut field);
    // The variance of g by its own spectrum, so that the mean of the exponential is one.
    let weight = |i: usize| if i.is_multiple_of(half) || 2 * (i % half) == shape[2] { 1.0 } else { 2.0 };
    let variance: f64 =
        gaussian.iter().enumerate().skip(1).map(|(i, p)| weight(i) * p).sum::<f64>() / cells as f64;
    field.par_iter_mut().for_each(|g| *g = (*g - 0.5 * variance).exp());
    field
}

/// A Poisson number: by products of uniforms (Knuth), in parts of mean 16 or less.
pub(super) fn poisson(mean: f64, rng: &mut Rng) -> u64 {
    // Cells a million times denser than the mean are not asked for.
    let parts = (mean.min(1e7) / 16.0).ceil().max(1.0);
    let limit = (-mean.min(1e7) / parts).exp();
    let mut count = 0;
    for _ in 0..parts as u64 {
        let mut product = rng.uniform();
        while product > limit {
            count += 1;
            product *= rng.uniform();
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn poisson_numbers_have_mean_and_variance() {
        let mut rng = Rng::new(8);
        for mean in [0.05, 3.0, 40.0, 700.0] {
            let n = 20_000;
            let draws: Vec<f64> = (0..n).map(|_| poisson(mean, &mut rng) as f64).collect();
            let average = draws.iter().sum::<f64>() / f64::from(n);
            let variance = draws.iter().map(|d| (d - average).powi(2)).sum::<f64>() / f64::from(n);
            let error = 5.0 * (mean / f64::from(n)).sqrt();
            assert!((average - mean).abs() < error, "{mean} {average}");
            assert_relative_eq!(
                variance,
                mean,
                max_relative = 5.0 * (2.0 / f64::from(n) + 1.0 / (mean * f64::from(n))).sqrt()
            );
        }
        assert_eq!(poisson(0.0, &mut rng), 0);
    }

    #[test]
    fn a_lognormal_field_has_its_mean_and_spectrum() {
        // Average over fields of a cuboid with cells that are no cubes; modes of one shell.
        let (shape, extent) = ([16, 16, 24], [80.0, 80.0, 100.0]);
        let power = |k: f64| 400.0 / (1.0 + (k / 0.2f64).powi(2)).powi(2);
        let fft = RealFft::<f64>::new(shape);
        let volume: f64 = extent.iter().product();
        let cells = shape.iter().product::<usize>() as f64;
        let (mut mean, mut ratio, mut modes) = (0.0, 0.0, 0.0);
        let rounds = 60;
        for seed in 0..rounds {
            let field = lognormal(shape, extent, power, &mut Rng::new(seed));
            assert!(field.iter().all(|d| *d > 0.0));
            mean += field.iter().sum::<f64>() / cells / rounds as f64;
            let mut spectrum = fft.spectrum();
            fft.forward(&field, &mut spectrum);
            for (x, y, z) in
                [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (2, 0, 1), (0, 2, 2), (3, 1, 2)]
            {
                let at = spectrum[(x * 16 + y) * 13 + z];
                let k = ((x as f64 / 80.0).powi(2) + (y as f64 / 80.0).powi(2) + (z as f64 / 100.0).powi(2))
                    .sqrt();
                ratio += at.norm_sqr() / (cells * cells) * volume / power(2.0 * PI * k);
                modes += 1.0;
            }
        }
        assert_relative_eq!(mean, 1.0, epsilon = 0.02);
        assert_relative_eq!(ratio / modes, 1.0, epsilon = 5.0 / f64::sqrt(modes));
    }
}

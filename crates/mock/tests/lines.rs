//! Line-intensity cubes: means, shot noise, clustering, confusion.

#![allow(clippy::unwrap_used)]

use std::f64::consts::PI;

use approx::assert_relative_eq;
use halocast_core::Cube;
use halocast_core::fft::{Complex, RealFft, wavenumber};
use halocast_mock::{Error, LineConfig, LinearPower, Schechter, Transfer};

/// The modes of a cube over its mean, and their |k| in h/Mpc.
fn modes(cube: &Cube) -> (Vec<Complex<f64>>, Vec<f64>, f64) {
    let (nx, ny, nz) = cube.values.dim();
    let values: Vec<f64> = cube.values.iter().map(|&v| f64::from(v)).collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let delta: Vec<f64> = values.iter().map(|v| v / mean - 1.0).collect();
    let fft = RealFft::<f64>::new([nx, ny, nz]);
    let mut spectrum = fft.spectrum();
    fft.forward(&delta, &mut spectrum);
    let half = nz / 2 + 1;
    let k = (0..spectrum.len())
        .map(|i| {
            let n = [wavenumber(i / half / ny, nx), wavenumber(i / half % ny, ny), (i % half) as i64];
            (0..3).map(|a| (2.0 * PI * n[a] as f64 / cube.extent[a]).powi(2)).sum::<f64>().sqrt()
        })
        .collect();
    (spectrum, k, mean)
}

/// Mean of |delta|^2 V / N^2 over modes with k in a range, and how many.
fn power(cube: &Cube, low: f64, high: f64) -> (f64, f64) {
    let (spectrum, k, _) = modes(cube);
    let volume: f64 = cube.extent.iter().product();
    let cells = cube.values.len() as f64;
    let found: Vec<f64> = (1..spectrum.len())
        .filter(|&i| (low..high).contains(&k[i]))
        .map(|i| spectrum[i].norm_sqr() * volume / (cells * cells))
        .collect();
    (found.iter().sum::<f64>() / found.len() as f64, found.len() as f64)
}

#[test]
fn mean_intensity_and_numbers_are_those_of_the_luminosity_function() {
    let config = LineConfig { bias: [0.0, 0.0], pixels: 40, channels: 40, ..Default::default() };
    let cubes = config.cubes().unwrap();
    for (line, cube) in [&cubes.halpha, &cubes.oiii].into_iter().enumerate() {
        let z = cubes.redshifts[line];
        let function = if line == 0 { Schechter::halpha(z) } else { Schechter::oiii(z) };
        let volume = cube.extent.iter().product::<f64>() / config.cosmology.h.powi(3);
        let expected = function.moment(0, config.faintest) * volume;
        let error = 5.0 / expected.sqrt();
        assert_relative_eq!(cubes.sources[line] as f64, expected, max_relative = error);
        let mean = cube.values.iter().map(|&v| f64::from(v)).sum::<f64>() / cube.values.len() as f64;
        // The scatter of a sum of L is sqrt(<L^2> / N) / <L>.
        let wide =
            (function.moment(2, config.faintest) / function.moment(1, config.faintest).powi(2) / volume)
                .sqrt();
        assert_relative_eq!(mean, config.mean_intensity(line), max_relative = 5.0 * wide);
        println!("line {line}: {} sources, {mean:.2e} erg/(s cm^2 sr), z = {z:.3}", cubes.sources[line]);
    }
}

#[test]
fn without_clustering_there_is_shot_noise_alone() {
    // P = <L^2> n / (<L> n)^2 = M2 / M1^2, in (Mpc/h)^3.
    let config = LineConfig { bias: [0.0, 0.0], seed: 2, ..Default::default() };
    let cubes = config.cubes().unwrap();
    for (line, cube) in [&cubes.halpha, &cubes.oiii].into_iter().enumerate() {
        let z = cubes.redshifts[line];
        let function = if line == 0 { Schechter::halpha(z) } else { Schechter::oiii(z) };
        let moment = |p| function.moment(p, config.faintest);
        let expected = moment(2) / moment(1).powi(2) * config.cosmology.h.powi(3);
        for (low, high) in [(0.1, 0.8), (0.8, 1.6)] {
            let (found, _) = power(cube, low, high);
            // The fourth moment of L limits it, not the number of modes.
            assert_relative_eq!(found, expected, max_relative = 0.1);
        }
    }
}

#[test]
fn clustering_is_the_biased_linear_spectrum_and_the_lines_are_independent() {
    let config = LineConfig {
        side: 3.0,
        bandwidth: 0.25,
        pixels: 48,
        channels: 96,
        faintest: 0.1,
        ..Default::default()
    };
    let linear = LinearPower::new(&config.cosmology, Transfer::Wiggles).unwrap();
    let (mut ratios, mut crossed, mut modes_used) = ([0.0; 2], 0.0, 0.0);
    let rounds = 4;
    for seed in 0..rounds {
        let cubes = LineConfig { seed, ..config }.cubes().unwrap();
        for (line, cube) in [&cubes.halpha, &cubes.oiii].into_iter().enumerate() {
            let z = cubes.redshifts[line];
            let function = if line == 0 { Schechter::halpha(z) } else { Schechter::oiii(z) };
            let shot = function.moment(2, 0.1) / function.moment(1, 0.1).powi(2) * config.cosmology.h.powi(3);
            let (spectrum, k, _) = modes(cube);
            let growth = config.cosmology.growth(1.0 / (1.0 + z));
            let volume: f64 = cube.extent.iter().product();
            let norm = volume / (cube.values.len() as f64).powi(2);
            let (mut found, mut expected) = (0.0, 0.0);
            for i in (1..k.len()).filter(|&i| (0.06..0.25).contains(&k[i])) {
                found += spectrum[i].norm_sqr() * norm - shot;
                expected += (config.bias[line] * growth).powi(2) * linear.at(k[i]);
            }
            ratios[line] += found / expected / f64::from(rounds as u32);
        }
        let ((a, k, _), (b, _, _)) = (modes(&cubes.halpha), modes(&cubes.oiii));
        let those: Vec<usize> = (1..k.len()).filter(|&i| (0.05..0.4).contains(&k[i])).collect();
        let dot: f64 = those.iter().map(|&i| (a[i] * b[i].conj()).re).sum();
        let norm = |m: &[Complex<f64>]| those.iter().map(|&i| m[i].norm_sqr()).sum::<f64>();
        crossed += dot / (norm(&a) * norm(&b)).sqrt();
        modes_used += those.len() as f64;
    }
    println!(
        "P / b^2 P_linear: {ratios:?}; cross-correlation {:.4} of {modes_used} modes",
        crossed / rounds as f64
    );
    for ratio in ratios {
        assert!((ratio - 1.0).abs() < 0.12, "{ratios:?}");
    }
    let error = 5.0 / modes_used.sqrt();
    assert!((crossed / rounds as f64).abs() < error, "{crossed}");
}

#[test]
fn the_observed_cube_is_the_sum_and_its_noise() {
    let config = LineConfig { pixels: 24, channels: 20, noise: 3e-8, seed: 4, ..Default::default() };
    let cubes = config.cubes().unwrap();
    let rest: Vec<f64> = cubes
        .observed
        .values
        .iter()
        .zip(&cubes.halpha.values)
        .zip(&cubes.oiii.values)
        .map(|((o, a), b)| f64::from(o - a - b) / 3e-8)
        .collect();
    let n = rest.len() as f64;
    let square = rest.iter().map(|r| r * r).sum::<f64>() / n;
    assert!((square - 1.0).abs() < 5.0 * (2.0 / n).sqrt(), "{square}");
    let quiet = LineConfig { noise: 0.0, ..config }.cubes().unwrap();
    assert_eq!(quiet.halpha, cubes.halpha);
    assert!(
        quiet
            .observed
            .values
            .iter()
            .zip(&quiet.halpha.values)
            .zip(&quiet.oiii.values)
            .all(|((o, a), b)| *o == a + b)
    );
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| config.cubes().unwrap())
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn absurd_cubes_are_refused_by_name() {
    let good = LineConfig::default();
    for (field, config) in [
        ("pixels", LineConfig { pixels: 0, ..good }),
        ("channels", LineConfig { channels: usize::MAX, ..good }),
        ("side", LineConfig { side: f64::NAN, ..good }),
        ("wavelength", LineConfig { wavelength: 0.6, ..good }),
        ("bandwidth", LineConfig { bandwidth: -1.0, ..good }),
        ("bias[1]", LineConfig { bias: [1.0, -1.0], ..good }),
        ("faintest", LineConfig { faintest: 0.0, ..good }),
        ("noise", LineConfig { noise: f64::INFINITY, ..good }),
    ] {
        match config.cubes() {
            Err(e @ Error::Config { .. }) => assert!(e.to_string().contains(field), "{field}: {e}"),
            other => panic!("{field}: {:?}", other.map(|_| ())),
        }
    }
}

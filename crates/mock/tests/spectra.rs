//! Galaxy spectra: breaks, lines, dust, redshift, noise, populations.

#![allow(clippy::unwrap_used)]

use approx::assert_relative_eq;
use halocast_mock::{
    Error, LogGrid, SpectralLibrary, Spectrum, SpectrumConfig, SpectrumPopulation, calzetti,
};

/// Nothing but stars of one age, at rest nearly, without dust.
fn stars(age: f64, metallicity: f64) -> SpectrumConfig {
    SpectrumConfig {
        redshift: 0.02,
        age,
        timescale: 0.05 * age,
        metallicity,
        attenuation: 0.0,
        dispersion: 0.0,
        signal_to_noise: f64::INFINITY,
        ..Default::default()
    }
}

/// Mean flux per unit frequency between two rest wavelengths.
fn mean(spectrum: &Spectrum, z: f64, low: f64, high: f64) -> f64 {
    let (mut sum, mut n) = (0.0, 0.0);
    for (i, &f) in spectrum.model.iter().enumerate() {
        let rest = spectrum.grid.wavelength(i) / (1.0 + z);
        if (low..high).contains(&rest) {
            sum += f64::from(f) * rest * rest;
            n += 1.0;
        }
    }
    sum / n
}

/// The narrow break of Balogh et al. (1999).
fn d4000(spectrum: &Spectrum, z: f64) -> f64 {
    mean(spectrum, z, 4000.0, 4100.0) / mean(spectrum, z, 3850.0, 3950.0)
}

fn flux(spectrum: &Spectrum, line: &str) -> f64 {
    spectrum.lines.iter().find(|l| l.0 == line).unwrap().1
}

#[test]
fn the_break_grows_with_age_and_the_balmer_lines_peak_between() {
    let library = SpectralLibrary::new();
    let measure = |age: f64, z: f64| {
        let spectrum = library.spectrum(&stars(age, z)).unwrap();
        // H-delta against its sides, where the young have emission of their own line: take H-8 at 3890 too.
        let depth = 1.0 - mean(&spectrum, 0.02, 3885.0, 3897.0) / mean(&spectrum, 0.02, 3905.0, 3920.0);
        (d4000(&spectrum, 0.02), depth)
    };
    let ages = [0.05, 0.2, 0.7, 2.0, 5.0, 12.0];
    let rows: Vec<(f64, f64)> = ages.iter().map(|&a| measure(a, 1.0)).collect();
    println!("{rows:?}");
    assert!(rows.windows(2).all(|w| w[1].0 > w[0].0), "{rows:?}");
    // Kauffmann et al. 2003: 1.1 for the young, 1.7 to 2.1 for the old.
    assert!((0.9..1.25).contains(&rows[0].0) && (1.6..2.2).contains(&rows[5].0), "{rows:?}");
    // Metals deepen the break.
    assert!(measure(12.0, 2.0).0 > rows[5].0 && measure(12.0, 0.3).0 < rows[5].0);
    // A stars dominate after some hundred million years.
    let strongest = rows.iter().enumerate().max_by(|a, b| a.1.1.total_cmp(&b.1.1)).unwrap().0;
    assert!((1..=3).contains(&strongest), "{rows:?}");
}

#[test]
fn lines_lie_where_the_redshift_puts_them_with_their_fluxes() {
    let library = SpectralLibrary::new();
    for z in [0.03, 0.11, 0.37] {
        let config = SpectrumConfig {
            redshift: z,
            metallicity: 0.4,
            timescale: 8.0,
            age: 8.0,
            signal_to_noise: f64::INFINITY,
            dispersion: 80.0,
            ..Default::default()
        };
        let spectrum = library.spectrum(&config).unwrap();
        for (name, wavelength) in [("[OII]3730", 3729.88), ("Hbeta", 4862.68), ("[OIII]5008", 5008.24)] {
            let at = wavelength * (1.0 + z);
            let width = 5.0 * at * 80.0f64.hypot(64.0) / 299_792.458;
            if !(3850.0..=9100.0).contains(&at) {
                continue;
            }
            let pixels: Vec<(f64, f64, f64)> = (0..3839)
                .map(|i| {
                    let l = spectrum.grid.wavelength(i);
                    (l, spectrum.grid.wavelength(i + 1) - l, f64::from(spectrum.model[i]))
                })
                .collect();
            let near = pixels.iter().filter(|p| (p.0 - at).abs() < width);
            let peak = near.clone().max_by(|a, b| a.2.total_cmp(&b.2)).unwrap();
            assert!((peak.0 / at - 1.0).abs() < 4e-4, "{name} {} {at}", peak.0);
            if name == "[OIII]5008" {
                // Nothing else lies here: the light over the continuum at its sides is the line.
                let sides: Vec<f64> = pixels
                    .iter()
                    .filter(|p| (width..1.5 * width).contains(&(p.0 - at).abs()))
                    .map(|p| p.2)
                    .collect();
                let continuum = sides.iter().sum::<f64>() / sides.len() as f64;
                let found: f64 = near.map(|p| (p.2 - continuum) * p.1).sum();
                assert_relative_eq!(found, flux(&spectrum, name), max_relative = 0.1);
            }
        }
        // The decrement: 2.86 and the law of Calzetti, the gas reddened 1 / 0.44 times as much as the stars.
        let gas = config.attenuation / 0.44 / calzetti(5500.0);
        let expected = 2.86 * 10f64.powf(0.4 * gas * (calzetti(4862.68) - calzetti(6564.61)));
        assert_relative_eq!(
            flux(&spectrum, "Halpha") / flux(&spectrum, "Hbeta"),
            expected,
            max_relative = 1e-9
        );
        assert_relative_eq!(
            flux(&spectrum, "[OIII]5008") / flux(&spectrum, "[OIII]4960"),
            2.98,
            max_relative = 0.01
        );
    }
}

#[test]
fn halpha_is_that_of_the_star_formation_rate() {
    // SFR = 2 M / T for SFR proportional to t; L = SFR / 5.37e-42 erg/s; flux = L / 4 pi d^2.
    let config = SpectrumConfig {
        timescale: 1e3,
        age: 10.0,
        attenuation: 0.0,
        signal_to_noise: f64::INFINITY,
        ..Default::default()
    };
    let spectrum = SpectralLibrary::new().spectrum(&config).unwrap();
    let rate = 2.0 * config.stellar_mass / 10e9;
    let distance = config.cosmology.comoving_distance(0.1) / config.cosmology.h * 1.1 * 3.0857e24;
    let expected = rate / 5.37e-42 / (4.0 * std::f64::consts::PI * distance * distance) * 1e17;
    assert_relative_eq!(flux(&spectrum, "Halpha"), expected, max_relative = 0.01);
    // A galaxy that forms stars faster than ever has an H-alpha of some hundred Angstrom.
    let i = (0..3840).find(|&i| spectrum.grid.wavelength(i) > 6450.0 * 1.1).unwrap();
    let width = flux(&spectrum, "Halpha") / f64::from(spectrum.model[i]) / 1.1;
    assert!((30.0..250.0).contains(&width), "{width}");
}

#[test]
fn fluxes_are_those_of_sloan_galaxies_and_fall_with_distance_and_dust() {
    let library = SpectralLibrary::new();
    let at = |config: SpectrumConfig| library.spectrum(&config).unwrap();
    let free = SpectrumConfig { signal_to_noise: f64::INFINITY, ..Default::default() };
    let near = at(free);
    let median = |s: &Spectrum| {
        let mut f = s.model.clone();
        f.sort_by(f32::total_cmp);
        f64::from(f[f.len() / 2])
    };
    // 5e10 Msun at z = 0.1: r = 16.5 to 18, 10 to 100 units.
    assert!((8.0..120.0).contains(&median(&near)), "{}", median(&near));
    // Twice the mass is twice the light, everywhere.
    let double = at(SpectrumConfig { stellar_mass: 2.0 * free.stellar_mass, ..free });
    assert!(near.model.iter().zip(&double.model).all(|(a, b)| (b / a - 2.0).abs() < 1e-4));
    // Dust takes 10^(-0.4 A) of the stars at 5500 Angstrom, and more of the blue.
    let clear = at(SpectrumConfig { attenuation: 0.0, dispersion: 0.0, redshift: 0.02, ..free });
    let dusty = at(SpectrumConfig { attenuation: 1.0, dispersion: 0.0, redshift: 0.02, ..free });
    let ratio = |low: f64, high: f64| mean(&dusty, 0.02, low, high) / mean(&clear, 0.02, low, high);
    assert_relative_eq!(ratio(5490.0, 5510.0), 10f64.powf(-0.4), max_relative = 0.01);
    assert!(ratio(4000.0, 4050.0) < ratio(5490.0, 5510.0) && ratio(7000.0, 7050.0) > ratio(5490.0, 5510.0));
}

#[test]
fn noise_has_the_variance_that_is_given_out_and_the_ratio_that_is_asked_for() {
    let library = SpectralLibrary::new();
    let config = SpectrumConfig { signal_to_noise: 12.0, seed: 5, ..Default::default() };
    let spectrum = library.spectrum(&config).unwrap();
    let pulls: Vec<f64> = (0..3840)
        .map(|i| {
            f64::from(spectrum.flux[i] - spectrum.model[i]) * f64::from(spectrum.inverse_variance[i]).sqrt()
        })
        .collect();
    let square = pulls.iter().map(|p| p * p).sum::<f64>() / 3840.0;
    assert!((square - 1.0).abs() < 5.0 * (2.0 / 3840f64).sqrt(), "{square}");
    let mut ratios: Vec<f64> = (0..3840)
        .map(|i| f64::from(spectrum.model[i]) * f64::from(spectrum.inverse_variance[i]).sqrt())
        .collect();
    ratios.sort_by(f64::total_cmp);
    assert_relative_eq!(ratios[1920], 12.0, max_relative = 0.01);
    assert_eq!(spectrum, library.spectrum(&config).unwrap());
    assert_ne!(spectrum.flux, library.spectrum(&SpectrumConfig { seed: 6, ..config }).unwrap().flux);
    let clean = library.spectrum(&SpectrumConfig { signal_to_noise: f64::INFINITY, ..config }).unwrap();
    assert_eq!(clean.flux, clean.model);
    assert!(clean.inverse_variance.iter().all(|v| *v == 0.0));
}

#[test]
fn a_population_is_bimodal_and_has_few_degrees_of_freedom() {
    let library = SpectralLibrary::new();
    let population = SpectrumPopulation::default();
    let grid = LogGrid { start: 3.58, step: 1e-3, len: 330 };
    let spectra: Vec<Spectrum> = (0..300)
        .map(|i| {
            let config = population.spectrum(i).unwrap();
            library
                .spectrum(&SpectrumConfig { redshift: 0.03, signal_to_noise: f64::INFINITY, grid, ..config })
                .unwrap()
        })
        .collect();
    let breaks: Vec<f64> = spectra.iter().map(|s| d4000(s, 0.03)).collect();
    let count = |low: f64, high: f64| breaks.iter().filter(|b| (low..high).contains(*b)).count();
    println!(
        "breaks below 1.4: {}, 1.4 to 1.55: {}, above: {}",
        count(0.0, 1.4),
        count(1.4, 1.55),
        count(1.55, 9.0)
    );
    assert!(count(0.0, 1.4) > 90 && count(1.55, 9.0) > 90 && count(1.4, 1.55) < 70);

    // Principal components of spectra of unit mean, by power iteration (Yip et al. 2004: three hold 98 %).
    let mut rows: Vec<Vec<f64>> = spectra
        .iter()
        .map(|s| {
            let mean = s.model.iter().map(|&f| f64::from(f)).sum::<f64>() / 330.0;
            s.model.iter().map(|&f| f64::from(f) / mean).collect()
        })
        .collect();
    let total = |rows: &[Vec<f64>]| rows.iter().flatten().map(|v| v * v).sum::<f64>();
    let all = total(&rows);
    let mut left = Vec::new();
    for _ in 0..6 {
        let mut v = vec![1.0; 330];
        for _ in 0..60 {
            let scores: Vec<f64> = rows.iter().map(|r| r.iter().zip(&v).map(|(a, b)| a * b).sum()).collect();
            v = (0..330).map(|j| rows.iter().zip(&scores).map(|(r, s)| r[j] * s).sum()).collect();
            let norm = v.iter().map(|x: &f64| x * x).sum::<f64>().sqrt();
            v.iter_mut().for_each(|x| *x /= norm);
        }
        for row in &mut rows {
            let score: f64 = row.iter().zip(&v).map(|(a, b)| a * b).sum();
            row.iter_mut().zip(&v).for_each(|(a, b)| *a -= score * b);
        }
        left.push(total(&rows) / all);
    }
    println!("power left after components: {left:?}");
    assert!(left[2] < 0.02 && left[5] < left[2] && left[0] > 0.005, "{left:?}");

    // Star-forming galaxies and nuclei on their sides of the diagram of Baldwin, Phillips & Terlevich.
    let mut sides = [0; 2];
    for s in &spectra {
        let x = (flux(s, "[NII]6585") / flux(s, "Halpha")).log10();
        let y = (flux(s, "[OIII]5008") / flux(s, "Hbeta")).log10();
        sides[usize::from(x > 0.0 || y > 0.61 / (x - 0.05) + 1.3)] += 1;
    }
    assert!(sides[0] > 100 && sides[1] > 30, "{sides:?}");
}

#[test]
fn absurd_spectra_are_refused_by_name() {
    let library = SpectralLibrary::new();
    let good = SpectrumConfig::default();
    for (field, config) in [
        ("redshift", SpectrumConfig { redshift: -0.1, ..good }),
        ("redshift", SpectrumConfig { redshift: f64::NAN, ..good }),
        ("age", SpectrumConfig { age: 0.0, ..good }),
        ("timescale", SpectrumConfig { timescale: -3.0, ..good }),
        ("active", SpectrumConfig { active: 1.5, ..good }),
        ("signal_to_noise", SpectrumConfig { signal_to_noise: 0.0, ..good }),
        ("signal_to_noise", SpectrumConfig { signal_to_noise: f64::NAN, ..good }),
        ("grid.len", SpectrumConfig { grid: LogGrid { len: 0, ..LogGrid::default() }, ..good }),
        ("grid.step", SpectrumConfig { grid: LogGrid { step: 0.0, ..LogGrid::default() }, ..good }),
    ] {
        match library.spectrum(&config) {
            Err(e @ Error::Config { .. }) => assert!(e.to_string().contains(field), "{field}: {e}"),
            other => panic!("{field}: {:?}", other.map(|_| ())),
        }
    }
    let bad = SpectrumPopulation { signal_to_noise: [9.0, 2.0], ..Default::default() };
    assert!(bad.spectrum(0).unwrap_err().to_string().contains("signal_to_noise"));
}

//! Dust maps: distribution, spectrum, filaments.

#![allow(clippy::unwrap_used)]

use halocast_core::Map;
use halocast_core::fft::{RealFft, wavenumber};
use halocast_mock::{DustConfig, Error};

fn logarithm(map: &Map) -> Vec<f64> {
    map.values.iter().map(|&v| f64::from(v).ln()).collect()
}

/// Least-squares slope of ln P on ln k between two wavenumbers (in units of the fundamental).
fn slope(field: &[f64], n: usize, low: f64, high: f64) -> f64 {
    let fft = RealFft::<f64>::new([1, n, n]);
    let mut spectrum = fft.spectrum();
    fft.forward(field, &mut spectrum);
    let half = n / 2 + 1;
    let bins = (high - low) as usize;
    let mut sums = vec![(0.0, 0.0, 0.0); bins];
    for (i, c) in spectrum.iter().enumerate() {
        let k = (wavenumber(i / half, n) as f64).hypot((i % half) as f64);
        if k >= low && k < low + bins as f64 {
            let s = &mut sums[(k - low) as usize];
            *s = (s.0 + 1.0, s.1 + k, s.2 + c.norm_sqr());
        }
    }
    let points: Vec<(f64, f64, f64)> =
        sums.iter().map(|s| ((s.1 / s.0).ln(), (s.2 / s.0).ln(), s.0.sqrt())).collect();
    let w: f64 = points.iter().map(|p| p.2).sum();
    let (mx, my) = points.iter().fold((0.0, 0.0), |m, p| (m.0 + p.0 * p.2 / w, m.1 + p.1 * p.2 / w));
    let (xy, xx) = points
        .iter()
        .fold((0.0, 0.0), |s, p| (s.0 + p.2 * (p.0 - mx) * (p.1 - my), s.1 + p.2 * (p.0 - mx).powi(2)));
    xy / xx
}

#[test]
fn the_distribution_is_lognormal_with_its_mean_and_width() {
    for (sigma, mean) in [(0.3, 1.0), (0.55, 2.5), (1.2, 0.1)] {
        let config = DustConfig { size: 96, sigma, mean, seed: 3, ..Default::default() };
        let map = config.map().unwrap();
        let s = logarithm(&map);
        let n = s.len() as f64;
        let centre = s.iter().sum::<f64>() / n;
        let moment = |p: i32| s.iter().map(|v| ((v - centre) / sigma).powi(p)).sum::<f64>() / n;
        assert!((moment(2) - 1.0).abs() < 1e-3, "{}", moment(2));
        assert!(moment(3).abs() < 1e-2 && (moment(4) - 3.0).abs() < 0.03, "{} {}", moment(3), moment(4));
        assert!((centre - (mean.ln() - 0.5 * sigma * sigma)).abs() < 1e-3);
        let average = map.values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        assert!((average / mean - 1.0).abs() < 0.03, "{average}");
    }
}

#[test]
fn the_spectrum_has_its_slope_with_and_without_filaments() {
    for slope_asked in [2.2, 2.9, 3.6] {
        for filaments in [0.0, 0.5, 0.9] {
            let config =
                DustConfig { size: 256, slope: slope_asked, filaments, seed: 1, ..Default::default() };
            let found = -slope(&logarithm(&config.map().unwrap()), 256, 4.0, 84.0);
            println!("slope {slope_asked} with filaments {filaments}: {found:.3}");
            assert!((found - slope_asked).abs() < 0.15, "{slope_asked} {filaments}: {found}");
        }
    }
}

#[test]
fn ridges_are_filaments_that_a_gaussian_field_of_the_same_statistics_lacks() {
    // On the brightest ridges one curvature exceeds the other: (l1 - l2) / (l1 + l2) of the Hessian after smoothing over
    // three pixels, where the field curves down. And gradients are intermittent: their kurtosis exceeds 3.
    let measure = |filaments: f64, seed: u64| {
        let n = 192;
        let config = DustConfig { size: n, filaments, seed, ..Default::default() };
        let s = logarithm(&config.map().unwrap());
        let at = |x: i64, y: i64| {
            let wrap = |v: i64| v.rem_euclid(n as i64) as usize;
            s[wrap(y) * n + wrap(x)]
        };
        let smooth: Vec<f64> = (0..(n * n) as i64)
            .map(|i| {
                let (x, y) = (i % n as i64, i / n as i64);
                (-4..=4)
                    .flat_map(|dy| (-4..=4).map(move |dx| (dx, dy)))
                    .map(|(dx, dy): (i64, i64)| {
                        (-((dx * dx + dy * dy) as f64) / 8.0).exp() * at(x + dx, y + dy)
                    })
                    .sum()
            })
            .collect();
        let of = |x: usize, y: usize| smooth[(y % n) * n + x % n];
        let mut ridges: Vec<(f64, f64)> = Vec::new();
        for y in 0..n {
            for x in 0..n {
                let c = of(x, y);
                let xx = of(x + 1, y) + of(x + n - 1, y) - 2.0 * c;
                let yy = of(x, y + 1) + of(x, y + n - 1) - 2.0 * c;
                let xy = 0.25
                    * (of(x + 1, y + 1) + of(x + n - 1, y + n - 1)
                        - of(x + 1, y + n - 1)
                        - of(x + n - 1, y + 1));
                let root = (0.25 * (xx - yy).powi(2) + xy * xy).sqrt();
                let (l1, l2) = (0.5 * (xx + yy) - root, 0.5 * (xx + yy) + root);
                if l1 < 0.0 {
                    ridges.push((l1, (l2.abs() - l1.abs()).abs() / (l1.abs() + l2.abs())));
                }
            }
        }
        ridges.sort_by(|a, b| a.0.total_cmp(&b.0));
        let strongest = &ridges[..ridges.len() / 10];
        let coherence = strongest.iter().map(|r| r.1).sum::<f64>() / strongest.len() as f64;
        let steps: Vec<f64> = (0..n * n).map(|i| s[i] - s[i / n * n + (i + 1) % n]).collect();
        let m = |p: i32| steps.iter().map(|d| d.powi(p)).sum::<f64>() / steps.len() as f64;
        (coherence, m(4) / m(2).powi(2))
    };
    let mean = |filaments: f64| {
        let all: Vec<(f64, f64)> = (0..4).map(|seed| measure(filaments, seed)).collect();
        (all.iter().map(|a| a.0).sum::<f64>() / 4.0, all.iter().map(|a| a.1).sum::<f64>() / 4.0)
    };
    let (plain, ridged) = (mean(0.0), mean(0.9));
    println!("coherence and kurtosis: {plain:?} without, {ridged:?} with filaments");
    assert!((plain.1 - 3.0).abs() < 0.15, "{plain:?}");
    assert!(ridged.1 > plain.1 + 0.3 && ridged.0 > plain.0 + 0.02, "{plain:?} {ridged:?}");
}

#[test]
fn the_same_seed_gives_the_same_map_at_any_number_of_threads() {
    let config = DustConfig { size: 50, seed: 9, ..Default::default() };
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| config.map().unwrap())
    };
    assert_eq!(run(1), run(3));
    assert_ne!(run(1), DustConfig { seed: 10, ..config }.map().unwrap());
}

#[test]
fn the_width_grows_with_the_mach_number() {
    assert_eq!(DustConfig::sigma_of_turbulence(0.0, 0.4), 0.0);
    let five = DustConfig::sigma_of_turbulence(5.0, 0.4);
    assert!((five - (0.11 * 5f64.ln()).sqrt()).abs() < 1e-12);
}

#[test]
fn absurd_dust_is_refused_by_name() {
    let good = DustConfig::default();
    for (field, config) in [
        ("size", DustConfig { size: 0, ..good }),
        ("size", DustConfig { size: usize::MAX, ..good }),
        ("sigma", DustConfig { sigma: f64::NAN, ..good }),
        ("mean", DustConfig { mean: 0.0, ..good }),
        ("slope", DustConfig { slope: -1.0, ..good }),
        ("outer_scale", DustConfig { outer_scale: 2.0, ..good }),
        ("filaments", DustConfig { filaments: 1.1, ..good }),
        ("side", DustConfig { side: f64::INFINITY, ..good }),
    ] {
        match config.map() {
            Err(e @ Error::Config { .. }) => assert!(e.to_string().contains(field), "{field}: {e}"),
            other => panic!("{field}: {:?}", other.map(|_| ())),
        }
    }
}

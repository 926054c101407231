//! How the cost of statistics grows with the size of their input: the same jobs at four sizes.

use halocast::core::{PeriodicBox, Rng};
use halocast::stats::{
    Bins, Membership, MinkowskiConvention, PowerConvention, Rings, ScatteringBank, bispectrum,
    minkowski_functionals, pair_counts, power_spectra, power_spectrum_3d,
};

use super::{Job, done, inputs};

const GROUP: &str = "growth";

pub(super) fn jobs() -> Vec<Job> {
    let mut jobs = Vec::new();
    for n in [128, 256, 512, 1024] {
        jobs.push(Job::new(GROUP, format!("growth_pk2d_{n}"), "power spectra of four maps", move |seed| {
            let maps = inputs::maps(4, n, seed);
            Ok(Box::new(move || done(power_spectra(&maps, PowerConvention::pylians())?)))
        }));
        jobs.push(Job::new(
            GROUP,
            format!("growth_minkowski_{n}"),
            "50 thresholds of four maps",
            move |seed| {
                let maps = inputs::maps(4, n, seed);
                let thresholds: Vec<f64> = (0..50).map(|i| -2.5 + 5.0 * f64::from(i) / 49.0).collect();
                let convention = MinkowskiConvention::Quantimpy;
                Ok(Box::new(move || done(minkowski_functionals(&maps, &thresholds, convention)?)))
            },
        ));
        jobs.push(Job::new(
            GROUP,
            format!("growth_profile_{n}"),
            "64 exact rings of four maps",
            move |seed| {
                let maps = inputs::maps(4, n, seed);
                let bins = Bins::linear(0.0, n as f64 / 2.0, 64)?;
                let rings = Rings::new([n, n], Rings::middle([n, n]), &bins, Membership::Exact)?;
                Ok(Box::new(move || done(rings.profiles(&maps)?)))
            },
        ));
        jobs.push(Job::new(GROUP, format!("growth_scattering_{n}"), "three scales of a map", move |seed| {
            let maps = inputs::maps(1, n, seed);
            let bank = ScatteringBank::new([n, n], 3, 4)?;
            Ok(Box::new(move || done(bank.coefficients(&maps)?)))
        }));
        jobs.push(Job::new(GROUP, format!("growth_bispectrum_{n}"), "six bins of a map", move |seed| {
            let map = inputs::maps(1, n, seed).remove(0);
            let limit = std::f64::consts::TAU / inputs::SIDE * n as f64 / 3.0;
            let bins = Bins::linear(0.1 * limit, limit, 6)?;
            Ok(Box::new(move || done(bispectrum(&map, &bins)?)))
        }));
    }
    for n in [32, 64, 128, 256] {
        jobs.push(Job::new(GROUP, format!("growth_pk3d_{n}"), "the power spectrum of a cube", move |seed| {
            let cube = inputs::cube(n, seed);
            Ok(Box::new(move || done(power_spectrum_3d(&cube, PowerConvention::pylians())?)))
        }));
    }
    for thousands in [25, 50, 100, 200] {
        // At one density, so that a point has the same neighbours.
        let (count, side) = (1000 * thousands, 100.0 * (thousands as f64 / 100.0).cbrt());
        let name = format!("growth_pairs_{thousands}000");
        jobs.push(Job::new(GROUP, name, "pairs of uniform points at one density", move |seed| {
            let mut rng = Rng::new(seed).split_named("uniform");
            let points: Vec<[f64; 3]> = (0..count).map(|_| [0; 3].map(|_| side * rng.uniform())).collect();
            let (periodic, bins) = (Some(PeriodicBox::new(side)?), Bins::logarithmic(0.1, 10.0, 20)?);
            Ok(Box::new(move || done(pair_counts(&points, periodic, &bins)?)))
        }));
    }
    jobs
}

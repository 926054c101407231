//! The contract of a universe: bytes, units, counts, refusals.

#![allow(clippy::unwrap_used)]

use halocast_core::{Cosmology, Species};
use halocast_mock::{Error, Universe, UniverseConfig};

fn small() -> UniverseConfig {
    UniverseConfig { particles: 24, box_side: 30.0, steps: 4, seed: 7, ..Default::default() }
}

fn simulate(config: &UniverseConfig) -> Universe {
    Universe::simulate(config, &|_, _| {}).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_bytes_at_any_number_of_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| simulate(&small()).snapshot().unwrap())
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(5));
    let other = simulate(&UniverseConfig { seed: 8, ..small() }).snapshot().unwrap();
    assert_ne!(one, other);
}

#[test]
fn every_configuration_stays_in_its_box() {
    for config in [
        small(),
        // A side that is not a 32-bit number, an odd lattice, a mesh that is not finer, one step.
        UniverseConfig { box_side: 0.1 + 0.2, particles: 9, force_mesh: 1, ..small() },
        UniverseConfig { box_side: 2e4, steps: 1, compensate: true, ..small() },
        UniverseConfig { force_mesh: 3, redshift: 2.0, gas: false, phase_flip: true, ..small() },
    ] {
        let universe = simulate(&config);
        let all = universe.positions().iter().chain(universe.gas_positions());
        assert!(all.flatten().all(|&x| (0.0..config.box_side).contains(&f64::from(x))), "{config:?}");
        let velocities = universe.velocities().iter().chain(universe.gas_velocities());
        assert!(velocities.flatten().all(|v| v.is_finite()), "{config:?}");
    }
}

#[test]
fn a_snapshot_keeps_mass_units_and_promises() {
    let config = UniverseConfig { redshift: 1.0, ..small() };
    let universe = simulate(&config);
    let snapshot = universe.snapshot().unwrap();
    let header = &snapshot.header;
    assert_eq!((header.box_size, header.time, header.redshift), (30_000.0, 0.5, 1.0));
    assert_eq!(header.promised, [13_824, 13_824, 0, 0, 0, 0]);
    assert_eq!(header.mass_table[0], 0.0);

    // All mass is Omega_m of the critical density.
    let total: f64 = [Species::Gas, Species::DarkMatter]
        .iter()
        .map(|&s| snapshot.masses(s).unwrap().iter().sum::<f64>() * 1e10)
        .sum();
    let expected = config.cosmology.mean_matter_density() * 30f64.powi(3);
    assert!((total / expected - 1.0).abs() < 1e-6);

    let matter = snapshot.set(Species::DarkMatter).unwrap();
    let (x, v) = (matter.vectors("Coordinates").unwrap(), matter.vectors("Velocities").unwrap());
    for i in [0, 5000, 13_823] {
        for axis in 0..3 {
            assert!((x[i][axis] - 1e3 * f64::from(universe.positions()[i][axis])).abs() < 1e-9);
            let peculiar = v[i][axis] * 0.5f64.sqrt();
            assert!((peculiar - f64::from(universe.velocities()[i][axis])).abs() < 1e-3);
        }
    }
    // Identifiers are unique across species.
    let mut ids: Vec<u64> = [Species::Gas, Species::DarkMatter]
        .iter()
        .flat_map(|&s| snapshot.set(s).unwrap().scalars("ParticleIDs").unwrap())
        .map(|id| id as u64)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 2 * 13_824);

    let gas = snapshot.set(Species::Gas).unwrap();
    for name in ["Masses", "Density", "InternalEnergy", "ElectronAbundance", "SmoothingLength"] {
        assert!(gas.scalars(name).unwrap().iter().all(|&v| v.is_finite() && v > 0.0), "{name}");
    }
    assert!(matter.scalars("Potential").unwrap().iter().all(|v| v.is_finite()));
}

#[test]
fn matter_clusters_and_gas_follows_more_smoothly() {
    // Counts in 6^3 cells: the gas correlates with the matter and varies less.
    let universe = simulate(&UniverseConfig { particles: 32, box_side: 30.0, steps: 10, ..small() });
    let counts = |positions: &[[f32; 3]], cells: usize| {
        let mut counts = vec![0.0f64; cells.pow(3)];
        for x in positions {
            let i = x.map(|x| ((f64::from(x) / 30.0 * cells as f64) as usize).min(cells - 1));
            counts[(i[0] * cells + i[1]) * cells + i[2]] += 1.0;
        }
        let mean = positions.len() as f64 / counts.len() as f64;
        counts.iter_mut().for_each(|c| *c = *c / mean - 1.0);
        counts
    };
    for cells in [6, 20] {
        let (dm, gas) = (counts(universe.positions(), cells), counts(universe.gas_positions(), cells));
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let correlation = product(&dm, &gas) / (product(&dm, &dm) * product(&gas, &gas)).sqrt();
        let ratio = (product(&gas, &gas) / product(&dm, &dm)).sqrt();
        let rms = (product(&dm, &dm) / dm.len() as f64).sqrt();
        println!("{cells} cells: rms {rms:.2}, gas / matter {ratio:.3}, correlation {correlation:.3}");
        assert!(rms > 0.5 && correlation > 0.8 && ratio < 1.02);
    }
}

#[test]
fn progress_counts_to_its_total() {
    let last = std::sync::Mutex::new((0, 0));
    Universe::simulate(&small(), &|done, total| *last.lock().unwrap() = (done, total)).unwrap();
    assert_eq!(*last.lock().unwrap(), (5, 5));
}

#[test]
fn absurd_configurations_are_refused_by_name() {
    let good = small();
    let cases = [
        ("box_side", UniverseConfig { box_side: f64::NAN, ..good }),
        ("box_side", UniverseConfig { box_side: -5.0, ..good }),
        ("box_side", UniverseConfig { box_side: 1e9, ..good }),
        ("particles", UniverseConfig { particles: 0, ..good }),
        ("particles", UniverseConfig { particles: usize::MAX, ..good }),
        ("steps", UniverseConfig { steps: 0, ..good }),
        ("force_mesh", UniverseConfig { force_mesh: 0, ..good }),
        ("force_mesh", UniverseConfig { force_mesh: usize::MAX, ..good }),
        ("redshift", UniverseConfig { redshift: -0.5, ..good }),
        ("redshift_start", UniverseConfig { redshift_start: f64::NAN, ..good }),
        ("redshift_start", UniverseConfig { redshift_start: 0.0, ..good }),
        ("omega_b", UniverseConfig { cosmology: Cosmology { omega_b: 0.0, ..good.cosmology }, ..good }),
        ("sigma_8", UniverseConfig { cosmology: Cosmology { sigma_8: f64::NAN, ..good.cosmology }, ..good }),
        ("gamma", {
            let mut config = good;
            config.gas_model.gamma = f64::INFINITY;
            config
        }),
    ];
    for (field, config) in cases {
        match Universe::simulate(&config, &|_, _| {}) {
            Err(e @ (Error::Config { .. } | Error::Cosmology { .. })) => {
                assert!(e.to_string().contains(field), "{field}: {e}");
            }
            other => panic!("{field}: {:?}", other.map(|_| ())),
        }
    }
}

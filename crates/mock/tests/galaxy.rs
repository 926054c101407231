//! Single galaxies: equilibrium, profiles, discs, units, catalogues, populations.

#![allow(clippy::unwrap_used)]

use halocast_core::{Cosmology, GRAVITATIONAL_CONSTANT, Snapshot, Species};
use halocast_mock::{Error, Galaxy, GalaxyConfig, Population, assemble};
use rayon::prelude::*;

/// Newton's constant in kpc (km/s)^2 / (10^10 Msun).
const G: f64 = GRAVITATIONAL_CONSTANT * 1e13;

fn small() -> GalaxyConfig {
    GalaxyConfig { dark_matter: 8000, gas: 5000, stars: 3000, seed: 11, ..Default::default() }
}

/// Positions in kpc from the centre, velocities in km/s in its frame, masses in 10^10 Msun: all physical.
struct Body {
    x: [f64; 3],
    v: [f64; 3],
    m: f64,
}

fn bodies(snapshot: &Snapshot, config: &GalaxyConfig, species: Species) -> Vec<Body> {
    let (a, h) = (snapshot.header.time, snapshot.header.cosmology.h);
    let set = snapshot.set(species).unwrap();
    let side = snapshot.header.box_size;
    let masses = snapshot.masses(species).unwrap();
    let (x, v) = (set.vectors("Coordinates").unwrap(), set.vectors("Velocities").unwrap());
    x.iter()
        .zip(&v)
        .zip(masses)
        .map(|((x, v), m)| Body {
            x: std::array::from_fn(|i| {
                let d = x[i] - config.position[i];
                (d - side * (d / side).round()) * a / h
            }),
            v: std::array::from_fn(|i| v[i] * a.sqrt() - config.velocity[i]),
            m: m / h,
        })
        .collect()
}

fn norm(x: [f64; 3]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// 2K of the dark matter, |W| of it alone, and |sum of m x . a| in the pull of all matter; pair by pair.
fn virial(snapshot: &Snapshot, config: &GalaxyConfig) -> [f64; 3] {
    let dark = bodies(snapshot, config, Species::DarkMatter);
    let others: Vec<Body> =
        [Species::Gas, Species::Stars].iter().flat_map(|&s| bodies(snapshot, config, s)).collect();
    // Softened as a simulation of this resolution would be.
    let softening = (0.004 * config.r200()).powi(2);
    let kinetic: f64 = dark.iter().map(|b| b.m * b.v.iter().map(|v| v * v).sum::<f64>()).sum();
    let pull = |b: &Body, of: &[Body]| -> f64 {
        of.iter()
            .map(|o| {
                let d: [f64; 3] = std::array::from_fn(|i| b.x[i] - o.x[i]);
                let r2 = d.iter().map(|d| d * d).sum::<f64>() + softening;
                let along: f64 = (0..3).map(|i| b.x[i] * d[i]).sum();
                G * o.m * along / (r2 * r2.sqrt())
            })
            .sum()
    };
    let of_dark: f64 = dark.par_iter().map(|b| b.m * pull(b, &dark)).sum();
    let of_others: f64 = dark.par_iter().map(|b| b.m * pull(b, &others)).sum();
    [kinetic, of_dark, of_dark + of_others]
}

#[test]
fn the_dark_matter_is_in_virial_equilibrium() {
    let population = Population { dark_matter: 6000, gas: 4000, stars: 2000, ..Default::default() };
    let high = Population { redshift: 2.0, ..population };
    let configs = [
        small(),
        GalaxyConfig { axis_ratios: [1.0, 1.0], substructure: 0.0, ..small() },
        GalaxyConfig { axis_ratios: [0.7, 0.5], ..small() },
        population.galaxy(0).unwrap(),
        population.galaxy(1).unwrap(),
        high.galaxy(2).unwrap(),
    ];
    for (i, config) in configs.iter().enumerate() {
        let galaxy = Galaxy::sample(config).unwrap();
        let [kinetic, alone, all] = virial(&galaxy.snapshot().unwrap(), config);
        println!(
            "{i}: 2K/|W| {:.3} in the pull of all matter, {:.3} in its own",
            kinetic / all,
            kinetic / alone
        );
        assert!((kinetic / all - 1.0).abs() < 0.1, "{i}: {}", kinetic / all);
        assert!((kinetic / alone - 1.0).abs() < 0.35, "{i}: {}", kinetic / alone);
    }
}

#[test]
fn the_density_profile_is_recovered_in_twenty_bins() {
    for (i, config) in [
        GalaxyConfig::default(),
        GalaxyConfig { axis_ratios: [0.7, 0.5], substructure: 0.15, seed: 4, ..Default::default() },
        Population { dark_matter: 20_000, ..Default::default() }.galaxy(5).unwrap(),
    ]
    .iter()
    .enumerate()
    {
        let galaxy = Galaxy::sample(config).unwrap();
        let dark = bodies(&galaxy.snapshot().unwrap(), config, Species::DarkMatter);
        let profile = galaxy.dark_matter_profile();
        let edge = |bin: usize| config.r200() * 0.03 * (1.0 / 0.03f64).powf(bin as f64 / 20.0);
        let mut worst: f64 = 0.0;
        for bin in 0..20 {
            let inside = |b: &&Body| (edge(bin)..edge(bin + 1)).contains(&norm(b.x));
            let found: f64 = dark.iter().filter(inside).map(|b| b.m).sum();
            let expected = profile.mass(edge(bin + 1)) - profile.mass(edge(bin));
            worst = worst.max((found / expected - 1.0).abs());
        }
        println!("{i}: worst bin {worst:.3}");
        assert!(worst < 0.1, "{i}: {worst}");
    }
}

#[test]
fn a_round_halo_has_the_dispersions_of_the_jeans_equation() {
    // sigma_r^2 = 1/rho int_r^inf rho G M / r^2 dr, with the mass of all particles; and it is isotropic.
    let config = GalaxyConfig { axis_ratios: [1.0, 1.0], substructure: 0.0, dark_matter: 40_000, ..small() };
    let galaxy = Galaxy::sample(&config).unwrap();
    let snapshot = galaxy.snapshot().unwrap();
    let dark = bodies(&snapshot, &config, Species::DarkMatter);
    let mut all: Vec<(f64, f64)> = [Species::Gas, Species::Stars]
        .iter()
        .flat_map(|&s| bodies(&snapshot, &config, s))
        .chain(bodies(&snapshot, &config, Species::DarkMatter))
        .map(|b| (norm(b.x), b.m))
        .collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut sum = 0.0;
    let enclosed: Vec<(f64, f64)> = all
        .iter()
        .map(|&(r, m)| {
            sum += m;
            (r, sum)
        })
        .collect();
    let profile = galaxy.dark_matter_profile();
    for radius in [0.05, 0.1, 0.3, 0.8].map(|x| x * config.r200()) {
        let steps = 2000;
        let step = (2.4 * config.r200() / radius).ln() / steps as f64;
        let integral: f64 = (0..steps)
            .map(|i| {
                let r = radius * ((i as f64 + 0.5) * step).exp();
                let at = enclosed.partition_point(|e| e.0 < r).max(1) - 1;
                profile.density(r) * G * enclosed[at].1 / r * step
            })
            .sum();
        let expected = integral / profile.density(radius);
        let shell: Vec<&Body> = dark.iter().filter(|b| (norm(b.x) / radius - 1.0).abs() < 0.08).collect();
        let radial = |b: &Body| (0..3).map(|i| b.v[i] * b.x[i]).sum::<f64>() / norm(b.x);
        let n = shell.len() as f64;
        let square = shell.iter().map(|b| radial(b).powi(2)).sum::<f64>() / n;
        let total = shell.iter().map(|b| b.v.iter().map(|v| v * v).sum::<f64>()).sum::<f64>() / n;
        // Five standard errors of a variance, and 4 % for the width of the shell.
        let tolerance = 5.0 * (2.0 / n).sqrt() + 0.04;
        assert!((square / expected - 1.0).abs() < tolerance, "{radius}: {square} {expected} of {n}");
        assert!((total / (3.0 * expected) - 1.0).abs() < tolerance, "{radius}: {total} {expected}");
    }
}

#[test]
fn the_cold_disc_is_flat_and_turns_and_the_corona_is_round_and_hot() {
    let config = GalaxyConfig { gas: 12_000, ..small() };
    let galaxy = Galaxy::sample(&config).unwrap();
    let snapshot = galaxy.snapshot().unwrap();
    let set = snapshot.set(Species::Gas).unwrap();
    let gas = bodies(&snapshot, &config, Species::Gas);
    let (energy, electrons) =
        (set.scalars("InternalEnergy").unwrap(), set.scalars("ElectronAbundance").unwrap());
    // The formula of the TNG documentation.
    let temperature: Vec<f64> = energy
        .iter()
        .zip(&electrons)
        .map(|(u, x)| {
            2.0 / 3.0 * u * 1e10 / 1.380_649e-16 * 4.0 / (1.0 + 3.0 * 0.76 + 4.0 * 0.76 * x) * 1.672_6e-24
        })
        .collect();
    let scale = config.disc_scale();
    let flatness = |those: &dyn Fn(usize) -> bool| {
        let (mut z2, mut r2) = (0.0, 0.0);
        for (i, b) in gas.iter().enumerate().filter(|(i, _)| those(*i)) {
            let _ = i;
            z2 += b.x[2].powi(2);
            r2 += b.x[0].powi(2) + b.x[1].powi(2);
        }
        (2.0 * z2 / r2).sqrt()
    };
    let cold = |i: usize| {
        temperature[i] < 3e4 && gas[i].x[0].hypot(gas[i].x[1]) < 5.0 * scale && gas[i].x[2].abs() < scale
    };
    let hot = |i: usize| temperature[i] > 2e5;
    assert!(flatness(&cold) < 0.15, "{}", flatness(&cold));
    assert!((flatness(&hot) - 1.0).abs() < 0.05, "{}", flatness(&hot));

    // Rotation: the disc nearly at the circular velocity, the corona far below.
    let turn = |those: &dyn Fn(usize) -> bool| {
        let those: Vec<f64> = (0..gas.len())
            .filter(|&i| those(i))
            .map(|i| {
                let radius = gas[i].x[0].hypot(gas[i].x[1]);
                let v = (gas[i].x[0] * gas[i].v[1] - gas[i].x[1] * gas[i].v[0]) / radius;
                v / galaxy.circular_velocity(radius)
            })
            .collect();
        those.iter().sum::<f64>() / those.len() as f64
    };
    assert!((0.9..1.02).contains(&turn(&cold)), "{}", turn(&cold));
    assert!((0.0..0.4).contains(&turn(&hot)), "{}", turn(&hot));

    // Hydrostatic gas is near the virial temperature, mu m_p V200^2 / 2k.
    let mut corona: Vec<f64> = temperature.iter().copied().filter(|&t| t > 1e5).collect();
    corona.sort_by(f64::total_cmp);
    let virial =
        0.59 * 1.6726e-24 * galaxy.circular_velocity(config.r200()).powi(2) * 1e10 / (2.0 * 1.38e-16);
    let median = corona[corona.len() / 2] / virial;
    assert!((0.5..2.0).contains(&median), "{median}");

    // Neutral hydrogen lies in the disc and the clouds.
    let neutral = set.scalars("NeutralHydrogenAbundance").unwrap();
    let mass =
        |those: &dyn Fn(usize) -> bool| (0..gas.len()).filter(|&i| those(i)).map(|i| neutral[i]).sum::<f64>();
    assert!(mass(&hot) < 1e-3 * mass(&|_| true));
    let share = mass(&cold) * gas[0].m * 1e10 * config.cosmology.h / config.cold_gas_mass;
    assert!((0.5..1.1).contains(&share), "{share}");

    // Near the main sequence of star formation: 10^10.4 Msun make 1 to 3 Msun/yr (Renzini & Peng 2015).
    let rate = galaxy.star_formation_rate();
    println!("star formation {rate:.2} Msun/yr, median corona {median:.2} virial");
    assert!((0.4..6.0).contains(&rate), "{rate}");
    let sum: f64 = set.scalars("StarFormationRate").unwrap().iter().sum();
    assert!((sum / rate - 1.0).abs() < 1e-5);

    // Fields: some ten microgauss in the disc, a tenth to one in the corona.
    let unit = 2.602e-6 * config.cosmology.h * 1e6;
    let field: Vec<f64> = set.vectors("MagneticField").unwrap().iter().map(|b| norm(*b) * unit).collect();
    let median = |those: &dyn Fn(usize) -> bool| {
        let mut b: Vec<f64> = (0..gas.len()).filter(|&i| those(i)).map(|i| field[i]).collect();
        b.sort_by(f64::total_cmp);
        b[b.len() / 2]
    };
    assert!((2.0..20.0).contains(&median(&cold)), "{}", median(&cold));
    assert!((0.01..1.0).contains(&median(&hot)), "{}", median(&hot));
}

#[test]
fn stars_have_ages_elements_and_a_gradient() {
    let config = GalaxyConfig { stars: 10_000, redshift: 0.5, ..small() };
    let snapshot = Galaxy::sample(&config).unwrap().snapshot().unwrap();
    let set = snapshot.set(Species::Stars).unwrap();
    let stars = bodies(&snapshot, &config, Species::Stars);
    let born = set.scalars("GFM_StellarFormationTime").unwrap();
    assert!(born.iter().all(|&a| a > 0.0 && a <= snapshot.header.time));
    let (initial, now) = (set.scalars("GFM_InitialMass").unwrap(), set.scalars("Masses").unwrap());
    assert!(initial.iter().zip(&now).all(|(i, n)| i >= n && *n > 0.4 * i));
    let metals = set.scalars("GFM_Metallicity").unwrap();
    let table = set.field("GFM_Metals").unwrap().values.to_f64();
    for (row, z) in table.outer_iter().zip(&metals) {
        assert!((row.sum() - 1.0).abs() < 1e-5 && (row.iter().skip(2).sum::<f64>() - z).abs() < 1e-5);
    }
    let mean = |those: &dyn Fn(usize) -> bool, of: &dyn Fn(usize) -> f64| {
        let those: Vec<f64> = (0..stars.len()).filter(|&i| those(i)).map(of).collect();
        those.iter().sum::<f64>() / those.len() as f64
    };
    let scale = config.disc_scale();
    let radius = |i: usize| stars[i].x[0].hypot(stars[i].x[1]) / scale;
    let log_z = |i: usize| metals[i].log10();
    assert!(mean(&|i| radius(i) < 1.0, &log_z) > mean(&|i| radius(i) > 3.0, &log_z) + 0.1);
    // Early stars have more magnesium for their iron.
    let alpha = |i: usize| (table[[i, 6]] / table[[i, 8]]).log10();
    assert!(mean(&|i| born[i] < 0.2, &alpha) > mean(&|i| born[i] > 0.5, &alpha) + 0.1);

    // Disc stars lag behind the circular velocity, and are hotter inside.
    let tangential =
        |i: usize| (stars[i].x[0] * stars[i].v[1] - stars[i].x[1] * stars[i].v[0]) / (radius(i) * scale);
    let galaxy = Galaxy::sample(&config).unwrap();
    let ring = |i: usize| (1.9..2.5).contains(&radius(i)) && stars[i].x[2].abs() < 0.5 * scale;
    let lag = mean(&ring, &tangential) / galaxy.circular_velocity(2.2 * scale);
    assert!((0.75..1.0).contains(&lag), "{lag}");
}

#[test]
fn a_snapshot_keeps_masses_units_and_places() {
    let config = GalaxyConfig {
        redshift: 1.0,
        position: [10.0, 74_990.0, 30_000.0],
        velocity: [100.0, -50.0, 20.0],
        spin_axis: [1.0, 1.0, 0.0],
        ..small()
    };
    let galaxy = Galaxy::sample(&config).unwrap();
    let snapshot = galaxy.snapshot().unwrap();
    let header = &snapshot.header;
    assert_eq!((header.time, header.redshift, header.box_size), (0.5, 1.0, 75_000.0));
    assert_eq!(header.promised, [5000, 8000, 0, 0, 3000, 0]);
    for set in snapshot.sets.values() {
        let x = set.vectors("Coordinates").unwrap();
        assert!(x.iter().flatten().all(|x| (0.0..75_000.0).contains(x)));
        for (name, field) in set.fields() {
            assert!(field.values.to_f64().iter().all(|v| v.is_finite()), "{name}");
        }
    }
    // R200 holds M200.
    let all: Vec<Body> = [Species::Gas, Species::DarkMatter, Species::Stars]
        .iter()
        .flat_map(|&s| bodies(&snapshot, &config, s))
        .collect();
    let inside: f64 = all.iter().filter(|b| norm(b.x) < config.r200()).map(|b| b.m).sum();
    let m200 = config.halo_mass / config.cosmology.h * 1e-10;
    assert!((inside / m200 - 1.0).abs() < 0.02, "{}", inside / m200);
    let stars: f64 = snapshot.masses(Species::Stars).unwrap().iter().sum();
    assert!((stars * 1e10 / config.stellar_mass - 1.0).abs() < 1e-5);

    // Density and mass of a cell: the volume of the disc's cells is that of the disc, roughly; a sharp unit test is the
    // corona's, whose profile is known.
    let gas = snapshot.set(Species::Gas).unwrap();
    let (density, x) = (gas.scalars("Density").unwrap(), bodies(&snapshot, &config, Species::Gas));
    let h = config.cosmology.h;
    let hot = (0..5000).find(|&i| norm(x[i].x) > 0.5 * config.r200() && density[i] > 0.0).unwrap();
    let near = (0..5000)
        .filter(|&i| norm(x[i].x) > 0.5 * config.r200())
        .map(|i| density[i] * h * h * 8.0 / galaxy.corona_profile().density(norm(x[i].x)))
        .filter(|ratio| (ratio - 1.0).abs() < 1e-3)
        .count();
    assert!(near > 500, "{hot} {near}");

    // The potential of the model is that of the particles, but for the innermost, where each counts.
    let dark = snapshot.set(Species::DarkMatter).unwrap().scalars("Potential").unwrap();
    let points = bodies(&snapshot, &config, Species::DarkMatter);
    for i in (400..8000).step_by(400) {
        let direct: f64 = all
            .iter()
            .map(|b| {
                let d2: f64 = (0..3).map(|k| (b.x[k] - points[i].x[k]).powi(2)).sum();
                if d2 > 0.0 { -G * b.m / (d2 + 1.0).sqrt() } else { 0.0 }
            })
            .sum();
        assert!((dark[i] * 2.0 / direct - 1.0).abs() < 0.1, "{i}: {} {direct}", dark[i] * 2.0);
    }
}

#[test]
fn the_catalogue_counts_and_weighs_the_particles() {
    let config = GalaxyConfig { dark_matter: 20_000, ..small() };
    let galaxy = Galaxy::sample(&config).unwrap();
    let (snapshot, catalogue) = (galaxy.snapshot().unwrap(), galaxy.catalogue().unwrap());
    let (groups, subhalos) = (&catalogue.groups, &catalogue.subhalos);
    assert_eq!(groups.len(), 1);
    assert_eq!(groups.scalars("GroupNsubs").unwrap()[0] as usize, subhalos.len());
    assert!(subhalos.len() > 5, "{}", subhalos.len());
    let lengths = subhalos.field("SubhaloLenType").unwrap().values.to_f64();
    assert_eq!(lengths.index_axis(ndarray::Axis(1), 1).sum(), 20_000.0);
    assert_eq!(lengths[[0, 0]], 5000.0);
    let mass: f64 = subhalos.scalars("SubhaloMass").unwrap().iter().sum();
    assert!((mass / groups.scalars("GroupMass").unwrap()[0] - 1.0).abs() < 1e-5);

    // The half-mass radius of the stars by sorting.
    let mut radii: Vec<f64> = bodies(&snapshot, &config, Species::Stars).iter().map(|b| norm(b.x)).collect();
    radii.sort_by(f64::total_cmp);
    let found = subhalos.field("SubhaloHalfmassRadType").unwrap().values.to_f64()[[0, 4]];
    let h = config.cosmology.h;
    assert!((found / h / radii[1499] - 1.0).abs() < 1e-3, "{found} {}", radii[1499]);
    let vmax = subhalos.scalars("SubhaloVmax").unwrap();
    assert!((150.0..280.0).contains(&vmax[0]), "{}", vmax[0]);
    // The satellites' particles follow the smooth ones in their order: the first lies where it is said to.
    let (smooth, count) = (lengths[[0, 1]] as usize, lengths[[1, 1]] as usize);
    let place = subhalos.vectors("SubhaloPos").unwrap()[1];
    let x = snapshot.set(Species::DarkMatter).unwrap().vectors("Coordinates").unwrap();
    let near = |i: usize| norm(std::array::from_fn(|k| x[i][k] - place[k])) < 20.0;
    assert!((smooth..smooth + count).filter(|&i| near(i)).count() > count / 2);
}

#[test]
fn several_galaxies_make_one_snapshot() {
    let population =
        Population { dark_matter: 300, gas: 200, stars: 150, redshift: 0.3, seed: 3, ..Default::default() };
    let galaxies: Vec<Galaxy> =
        (0..4).map(|i| Galaxy::sample(&population.galaxy(i).unwrap()).unwrap()).collect();
    let (snapshot, catalogue) = assemble(&galaxies).unwrap();
    assert_eq!(snapshot.header.promised, [800, 1200, 0, 0, 600, 0]);
    assert_eq!(snapshot.set(Species::DarkMatter).unwrap().scalars("Masses").unwrap().len(), 1200);
    let m200 = catalogue.groups.scalars("Group_M_Crit200").unwrap();
    assert!(m200.windows(2).all(|w| w[0] >= w[1]));
    let first = catalogue.groups.scalars("GroupFirstSub").unwrap();
    let group_of = catalogue.subhalos.scalars("SubhaloGrNr").unwrap();
    assert!(first.iter().enumerate().all(|(g, &f)| group_of[f as usize] == g as f64));
    let ids: std::collections::BTreeSet<u64> =
        snapshot.sets.values().flat_map(|s| s.scalars("ParticleIDs").unwrap()).map(|id| id as u64).collect();
    assert_eq!(ids.len(), 2600);

    assert!(assemble(&[]).unwrap_err().to_string().contains("at least one"));
    let other = Galaxy::sample(&Population { redshift: 0.4, ..population }.galaxy(9).unwrap()).unwrap();
    let mixed = [galaxies[0].clone(), other];
    assert!(assemble(&mixed).unwrap_err().to_string().contains("redshift"));
}

#[test]
fn the_same_seed_gives_the_same_bytes_at_any_number_of_threads() {
    let config = GalaxyConfig { dark_matter: 3000, gas: 2000, stars: 1000, ..small() };
    let run = |threads: usize, config: GalaxyConfig| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| Galaxy::sample(&config).unwrap().snapshot().unwrap())
    };
    let one = run(1, config);
    assert_eq!(one, run(3, config));
    assert_ne!(one, run(1, GalaxyConfig { seed: 12, ..config }));
}

#[test]
fn a_population_has_the_scatter_of_real_galaxies() {
    let population = Population::default();
    let draw = |p: &Population| (0..400).map(|i| p.galaxy(i).unwrap()).collect::<Vec<_>>();
    let today = draw(&population);
    let spread = |values: Vec<f64>| {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        (mean, (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt())
    };
    let (mean, scatter) = spread(today.iter().map(|g| g.spin.ln()).collect());
    assert!((mean - 0.035f64.ln()).abs() < 0.1 && (scatter - 0.5).abs() < 0.07, "{mean} {scatter}");
    // Scatter of stars at their halo: 0.15 dex around the mean galaxy.
    let offset = |g: &GalaxyConfig| {
        (g.stellar_mass / GalaxyConfig::of_halo(g.halo_mass, g.redshift, g.cosmology).stellar_mass).log10()
    };
    let (mean, scatter) = spread(today.iter().map(offset).collect());
    assert!(mean.abs() < 0.03 && (scatter - 0.15).abs() < 0.02, "{mean} {scatter}");
    // Both kinds of galaxies, and more old ones among the massive.
    let red = |g: &&GalaxyConfig| g.bulge_fraction >= 0.5 && g.cold_gas_mass < 0.1 * g.stellar_mass;
    let share = |heavy: bool| {
        let those: Vec<&GalaxyConfig> = today.iter().filter(|g| (g.halo_mass > 2e12) == heavy).collect();
        those.iter().copied().filter(|g| red(g)).count() as f64 / those.len() as f64
    };
    let (heavy, light) = (share(true), share(false));
    assert!(heavy > light + 0.15 && (0.05..0.7).contains(&light), "{heavy} {light}");

    // Early galaxies are smaller, rich in gas, and not quenched.
    let early = draw(&Population { redshift: 2.0, ..population });
    let mean = |of: &dyn Fn(&GalaxyConfig) -> f64, those: &[GalaxyConfig]| {
        those.iter().map(of).sum::<f64>() / those.len() as f64
    };
    let gas = |g: &GalaxyConfig| g.cold_gas_mass / (g.cold_gas_mass + g.stellar_mass);
    assert!(mean(&gas, &early) > mean(&gas, &today) + 0.2);
    assert!(mean(&|g| g.disc_scale(), &early) < mean(&|g| g.disc_scale(), &today));
    for redshift in [0.0, 0.7, 4.0, 8.0] {
        let p = Population {
            redshift,
            halo_mass: [1e10, 3e14],
            dark_matter: 300,
            gas: 200,
            stars: 200,
            ..population
        };
        for i in 0..6 {
            Galaxy::sample(&p.galaxy(i).unwrap()).unwrap().snapshot().unwrap();
        }
    }
}

#[test]
fn absurd_galaxies_are_refused_by_name() {
    let good = small();
    let cases = [
        ("halo_mass", GalaxyConfig { halo_mass: f64::NAN, ..good }),
        ("redshift", GalaxyConfig { redshift: -1.0, ..good }),
        ("concentration", GalaxyConfig { concentration: 0.0, ..good }),
        ("axis_ratios", GalaxyConfig { axis_ratios: [0.5, 0.9], ..good }),
        ("substructure", GalaxyConfig { substructure: 1.5, ..good }),
        ("stellar_mass", GalaxyConfig { stellar_mass: f64::INFINITY, ..good }),
        ("sum", GalaxyConfig { hot_gas_mass: 0.9e12, ..good }),
        ("dark_matter", GalaxyConfig { dark_matter: 0, ..good }),
        ("gas", GalaxyConfig { gas: usize::MAX, ..good }),
        ("stars", GalaxyConfig { stars: 1000, stellar_mass: 0.0, ..good }),
        ("stars", GalaxyConfig { stars: 0, ..good }),
        ("spin_axis", GalaxyConfig { spin_axis: [0.0; 3], ..good }),
        ("spin_axis", GalaxyConfig { spin_axis: [f64::NAN, 0.0, 1.0], ..good }),
        ("box_side", GalaxyConfig { box_side: 0.0, ..good }),
        ("position", GalaxyConfig { position: [f64::INFINITY; 3], ..good }),
        ("velocity", GalaxyConfig { velocity: [1e9; 3], ..good }),
        ("omega_m", GalaxyConfig { cosmology: Cosmology { omega_m: 0.0, ..good.cosmology }, ..good }),
    ];
    for (field, config) in cases {
        match Galaxy::sample(&config) {
            Err(e @ (Error::Config { .. } | Error::Cosmology { .. })) => {
                assert!(e.to_string().contains(field), "{field}: {e}");
            }
            other => panic!("{field}: {:?}", other.map(|_| ())),
        }
    }
    let bare =
        GalaxyConfig { gas: 0, stars: 0, cold_gas_mass: 0.0, hot_gas_mass: 0.0, stellar_mass: 0.0, ..good };
    let snapshot = Galaxy::sample(&bare).unwrap().snapshot().unwrap();
    assert_eq!(snapshot.header.promised, [0, 8000, 0, 0, 0, 0]);
    // Galaxies without a disc, a bulge, a corona or cold gas.
    for config in [
        GalaxyConfig { bulge_fraction: 1.0, ..good },
        GalaxyConfig { bulge_fraction: 0.0, substructure: 0.0, ..good },
        GalaxyConfig { hot_gas_mass: 0.0, ..good },
        GalaxyConfig { cold_gas_mass: 0.0, cloud_fraction: 1.0, ..good },
    ] {
        let snapshot = Galaxy::sample(&config).unwrap().snapshot().unwrap();
        let finite = |set: &halocast_core::ParticleSet| {
            set.fields().all(|(_, field)| field.values.to_f64().iter().all(|v| v.is_finite()))
        };
        assert!(snapshot.sets.values().all(finite), "{config:?}");
    }
    assert!(Population { halo_mass: [1e13, 1e12], ..Default::default() }.galaxy(0).is_err());
}

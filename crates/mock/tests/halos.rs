//! Haloes of whole universes: how many, and that they are what they say.

#![allow(clippy::unwrap_used)]

use halocast_core::RHO_CRITICAL;
use halocast_mock::{
    HaloConfig, Halos, LinearPower, MassFunction, Transfer, Universe, UniverseConfig, friends_of_friends,
};

fn config(seed: u64, phase_flip: bool) -> UniverseConfig {
    UniverseConfig {
        box_side: 50.0,
        steps: 20,
        redshift_start: 19.0,
        gas: false,
        fixed_amplitude: true,
        phase_flip,
        seed,
        ..Default::default()
    }
}

fn halos(config: &UniverseConfig) -> (Universe, Halos) {
    let universe = Universe::simulate(config, &|_, _| {}).unwrap();
    let halos = Halos::find(&universe.tracers(), &HaloConfig::default()).unwrap();
    (universe, halos)
}

#[test]
fn the_mass_function_is_that_of_tinker_over_a_decade() {
    // The mass resolution of 128^3 particles in 100 Mpc/h; a pair of phases in half the side, 1 / 4 of its volume.
    let config = config(1, false);
    let power = LinearPower::new(&config.cosmology, Transfer::Wiggles).unwrap();
    let mut masses = Vec::new();
    let mut particle = 0.0;
    for flip in [false, true] {
        let (universe, halos) = halos(&UniverseConfig { phase_flip: flip, ..config });
        particle = universe.tracers().mass;
        masses.extend(halos.halos.iter().map(|h| h.mass));
    }
    let volume = 2.0 * config.box_side.powi(3);
    for (low, high) in [(60.0, 120.0), (120.0, 240.0), (240.0, 600.0)] {
        let (low, high) = (low * particle, high * particle);
        let expected = MassFunction::Tinker2008.number(&power, &config.cosmology, 1.0, low, high) * volume;
        let found = masses.iter().filter(|m| (low..high).contains(*m)).count() as f64;
        println!("{low:.2e} to {high:.2e} Msun/h: {found} haloes, Tinker et al. {expected:.1}");
        assert!((found / expected - 1.0).abs() < 0.25, "{found} of {expected}");
    }
}

#[test]
fn haloes_are_what_they_say() {
    let config = UniverseConfig { particles: 48, box_side: 30.0, redshift: 0.5, ..config(3, false) };
    let (universe, halos) = halos(&config);
    let tracers = universe.tracers();
    let a: f64 = 1.0 / 1.5;
    let critical = RHO_CRITICAL * config.cosmology.e(a).powi(2) * a.powi(3);
    assert!(halos.len() > 30);
    let mut seen = vec![false; tracers.positions.len()];
    for &i in &halos.order {
        assert!(!std::mem::replace(&mut seen[i as usize], true), "particle {i} twice");
    }
    let spins: Vec<f64> =
        halos.halos.iter().filter(|h| h.critical_200.mass > 100.0 * tracers.mass).map(|h| h.spin).collect();
    for (g, halo) in halos.halos.iter().enumerate() {
        assert_eq!(halo.particles.len(), halos.groups.members(g).len());
        assert!((halo.mass / (tracers.mass * halo.particles.len() as f64) - 1.0).abs() < 1e-9);
        // Spheres hold the density they are named for, and nest.
        for (sphere, density) in [
            (halo.critical_200, 200.0 * critical),
            (halo.critical_500, 500.0 * critical),
            (halo.mean_200, 200.0 * config.cosmology.mean_matter_density()),
        ] {
            if sphere.radius > 0.0 {
                let got = sphere.mass / (4.0 / 3.0 * std::f64::consts::PI * sphere.radius.powi(3));
                assert!((got / density - 1.0).abs() < 1e-9);
            }
        }
        assert!(halo.critical_500.radius <= halo.critical_200.radius);
        assert!(halo.critical_200.radius <= halo.mean_200.radius || halo.mean_200.radius == 0.0);
        assert!(halo.nfw_mass < halo.mass && halo.nfw_mass > 0.5 * halo.mass);
        let [b, c] = halo.axis_ratios;
        assert!(0.0 < c && c <= b && b <= 1.0, "{b} {c}");
        // The centre is at a member, near enough.
        let nearest = halos
            .groups
            .members(g)
            .iter()
            .map(|&i| tracers.space.distance(tracers.positions[i as usize].map(f64::from), halo.centre));
        assert!(nearest.fold(f64::INFINITY, f64::min) < 0.3);
        let first = halos.subhalos.get(halo.subhalos.start).filter(|s| s.group == g);
        for s in halo.subhalos.clone() {
            let subhalo = &halos.subhalos[s];
            assert!(subhalo.group == g && subhalo.particles.len() >= 20);
            assert!(subhalo.mass <= halo.mass && subhalo.half_mass_radius <= subhalo.radius * 1.01 + 0.5);
            let inside = halo.particles.start <= subhalo.particles.start
                && subhalo.particles.end <= halo.particles.end;
            assert!(inside);
        }
        assert!(first.is_none_or(|s| s.centre == halo.centre || halo.subhalos.len() == 1 || s.mass > 0.0));
    }
    // Bullock et al. 2001: a lognormal about 0.035 to 0.04, half a dex wide in e-foldings.
    let mut spins = spins;
    spins.sort_by(f64::total_cmp);
    let median = spins[spins.len() / 2];
    println!("median spin {median:.4} of {} haloes", spins.len());
    assert!((0.02..0.08).contains(&median), "{median}");
}

#[test]
fn haloes_are_the_same_at_any_number_of_threads() {
    let config = UniverseConfig { particles: 32, box_side: 20.0, steps: 8, ..config(5, false) };
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| halos(&config).1)
    };
    let one = run(1);
    assert!(!one.is_empty());
    assert_eq!(one, run(3));
}

#[test]
fn nothing_is_found_in_a_lattice() {
    let lattice: Vec<[f32; 3]> =
        (0..4096).map(|i| [i / 256, i / 16 % 16, i % 16].map(|i| i as f32 + 0.5)).collect();
    assert!(friends_of_friends(&lattice, 16.0, 0.2, 2).unwrap().is_empty());
}

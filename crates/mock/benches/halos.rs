//! Times of haloes and baryons at three sizes, one line each: name, seconds of one run; and, with `mass_function` as an
//! argument, the mass function of 128^3 particles in 100 Mpc/h beside Tinker et al. 2008.
//!
//! `cargo bench -p halocast-mock --bench halos [-- mass_function]`
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::time::Instant;

use halocast_mock::{
    BaryonConfig, HaloConfig, Halos, LinearPower, MassFunction, Populated, Transfer, Universe, UniverseConfig,
};

fn main() {
    if std::env::args().any(|a| a == "mass_function") {
        return mass_function();
    }
    for particles in [32usize, 64, 128] {
        let side = 25.0 / 64.0 * particles as f64;
        let config = UniverseConfig {
            particles,
            box_side: side,
            steps: 20,
            redshift_start: 19.0,
            ..Default::default()
        };
        let start = Instant::now();
        let universe = Universe::simulate(&config, &|_, _| {}).unwrap();
        let step = start.elapsed().as_secs_f64() / 21.0;
        let n = particles.pow(3) as f64;
        println!("step_{particles}\t{step:.4}\t{:.3e} s / (N log2 N)", step / (n * n.log2()));
        let start = Instant::now();
        let halos = Halos::find(&universe.tracers(), &HaloConfig::default()).unwrap();
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "halos_{particles}\t{seconds:.3}\t{:.3e} s / (N log2 N), {} groups",
            seconds / (n * n.log2()),
            halos.len()
        );
        let start = Instant::now();
        Populated::new(universe, &HaloConfig::default(), &BaryonConfig::default()).unwrap();
        println!("halos_and_baryons_{particles}\t{:.3}", start.elapsed().as_secs_f64());
    }
}

fn mass_function() {
    let config = UniverseConfig {
        particles: 128,
        box_side: 100.0,
        steps: 30,
        force_mesh: 3,
        redshift_start: 19.0,
        gas: false,
        fixed_amplitude: true,
        seed: 1,
        ..Default::default()
    };
    let start = Instant::now();
    let universe = Universe::simulate(&config, &|_, _| {}).unwrap();
    let halos = Halos::find(&universe.tracers(), &HaloConfig::default()).unwrap();
    println!("{} groups in {:.1} s", halos.len(), start.elapsed().as_secs_f64());
    let power = LinearPower::new(&config.cosmology, Transfer::Wiggles).unwrap();
    let particle = universe.tracers().mass;
    for i in 0..9 {
        let low = particle * 32.0 * 1.7f64.powi(i);
        let expected = MassFunction::Tinker2008.number(&power, &config.cosmology, 1.0, low, 1.7 * low) * 1e6;
        let found = halos.halos.iter().filter(|h| (low..1.7 * low).contains(&h.mass)).count();
        println!(
            "{low:.2e} Msun/h, {:.0} particles: {found}, Tinker {expected:.1}, {:.3}",
            low / particle,
            found as f64 / expected
        );
    }
}

//! Times of whole universes to redshift zero, one line each: name, minimum s of three.
//!
//! `cargo bench -p halocast-mock`
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::time::Instant;

use halocast_mock::{Universe, UniverseConfig};

fn main() {
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for (particles, gas) in [(64, false), (64, true), (128, false)] {
            let config = UniverseConfig { particles, gas, ..Default::default() };
            let time = || {
                let start = Instant::now();
                pool.install(|| Universe::simulate(&config, &|_, _| {})).unwrap();
                start.elapsed().as_secs_f64()
            };
            let best = (0..3).map(|_| time()).fold(f64::INFINITY, f64::min);
            println!("universe_{particles}{}_{threads}threads\t{best:.3}", if gas { "_gas" } else { "" });
        }
    }
}

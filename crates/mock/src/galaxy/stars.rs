//! The stars: an exponential disc and a bulge.

use halocast_core::{Cosmology, Rng};
use rayon::prelude::*;

use super::chemistry::{bulge_birth, cosmic_time, disc_birth, mass_loss, scale_factor};
use super::disc::{Arms, Disc, RotationCurve};
use super::eddington::Eddington;
use super::profile::RadialProfile;
use super::{Point, isotropic};

/// One star particle: a population of one age.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Star {
    pub(crate) point: Point,
    /// Scale factor at birth.
    pub(crate) birth: f64,
    /// Present over initial mass.
    pub(crate) remaining: f64,
    /// Mass fraction of metals.
    pub(crate) metallicity: f64,
    /// \[alpha/Fe\] in dex.
    pub(crate) alpha: f64,
}

/// When stars are born: the clock of a galaxy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Clock {
    pub(crate) cosmology: Cosmology,
    /// Cosmic time in Gyr.
    pub(crate) now: f64,
    /// Time scale of the disc's star formation, p(t) proportional to t exp(-t/tau), in Gyr.
    pub(crate) tau: f64,
}

impl Clock {
    /// A galaxy with a ratio `gas` of cold gas to stars has formed them over the longer, the more there is:
    /// tau from 0.12 to 0.6 of the age of the universe.
    pub(crate) fn new(cosmology: Cosmology, a: f64, gas: f64) -> Self {
        let now = cosmic_time(&cosmology, a);
        Self { cosmology, now, tau: now * (0.12 + 0.48 * (gas / 0.25).min(1.0)) }
    }

    /// A star born at cosmic time `birth` from gas that has `metals` today.
    ///
    /// Metals grow with time, by half from the first stars to today, with 0.1 dex of scatter; \[alpha/Fe\] falls from 0.3 dex
    /// to zero as type Ia supernovae add iron (the two sequences of the solar neighbourhood: Hayden et al. 2015).
    fn star(&self, point: Point, birth: f64, metals: f64, rng: &mut Rng) -> Star {
        let age = self.now - birth;
        let early = (age / self.now).clamp(0.0, 1.0);
        Star {
            point,
            birth: scale_factor(&self.cosmology, birth),
            remaining: 1.0 - mass_loss(age),
            metallicity: (metals * (1.0 - 0.5 * early) * 10f64.powf(0.1 * rng.normal())).min(0.2),
            alpha: 0.3 * early.powi(2) + 0.03 * rng.normal(),
        }
    }
}

/// The stellar disc.
pub(crate) struct StellarDisc<'a> {
    pub(crate) disc: Disc,
    pub(crate) arms: Arms,
    pub(crate) curve: &'a RotationCurve,
    /// The gas disc, whose weight counts in the vertical motions.
    pub(crate) gas: Disc,
}

impl StellarDisc<'_> {
    /// `n` stars; `metals` gives the gas metallicity at a radius in kpc. Arms are those of young stars: their amplitude falls
    /// with an age of 2 Gyr.
    pub(crate) fn sample(
        &self,
        n: usize,
        clock: &Clock,
        metals: impl Fn(f64) -> f64 + Sync,
        rng: &Rng,
    ) -> Vec<Star> {
        (0..n)
            .into_par_iter()
            .map(|i| {
                let mut rng = rng.split(i as u64);
                let birth = disc_birth(clock.now, clock.tau, &mut rng);
                let fading = (-(clock.now - birth) / 2.0).exp();
                let arms = Arms { amplitude: self.arms.amplitude * (0.3 + 0.7 * fading), ..self.arms };
                let (radius, phi) = self.disc.place(arms, &mut rng);
                let z = self.disc.elevation(radius, &mut rng);
                let surface = self.disc.surface_density(radius) + self.gas.surface_density(radius);
                let point = self.curve.star(&self.disc, surface, [radius, phi, z], &mut rng);
                clock.star(point, birth, metals(radius), &mut rng)
            })
            .collect()
    }
}

/// `n` stars of a spherical bulge in equilibrium.
pub(crate) fn bulge(
    n: usize,
    profile: &RadialProfile,
    speeds: &Eddington,
    clock: &Clock,
    metals: f64,
    rng: &Rng,
) -> Vec<Star> {
    (0..n)
        .into_par_iter()
        .map(|i| {
            let mut rng = rng.split(i as u64);
            let r = profile.radius_holding(rng.uniform());
            let speed = speeds.speed(r, rng.uniform());
            let point =
                Point { x: isotropic(&mut rng).map(|d| r * d), v: isotropic(&mut rng).map(|d| speed * d) };
            let birth = bulge_birth(clock.now, &mut rng);
            clock.star(point, birth, metals, &mut rng)
        })
        .collect()
}

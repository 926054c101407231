//! A stand-in for development, not a simulation to publish with: a small synthetic universe.
//!
//! Readers, projectors, statistics and models need particles to be built and tested on, and real snapshots are large.
//! This crate makes particles that a person and a program can take for a simulation's: a cosmic web of dark matter, and
//! a gas that follows it, in the types, units and field names of IllustrisTNG.
//!
//! 1. [`LinearPower`]: the linear power spectrum of Eisenstein & Hu (1998), normalised to sigma_8.
//! 2. [`InitialConditions`]: a Gaussian field and its displacements in second-order Lagrangian perturbation theory,
//!    with paired and fixed modes (Angulo & Pontzen 2016).
//! 3. [`Mesh`]: particle-mesh gravity, stepped with the kick and drift factors of FastPM (Feng et al. 2016), which keep
//!    linear growth exact with few steps.
//! 4. [`GasModel`]: gas that feels a filtered potential and lies on a temperature-density relation.
//! 5. [`Universe`]: all of this from one [`UniverseConfig`], to a [`Snapshot`](halocast_core::Snapshot).
//! 6. [`Halos`]: friends of friends, centres, masses in spheres, spins, shapes and bound subhaloes; [`MassFunction`]: how many
//!    there should be.
//! 7. [`Populated`]: gas, stars and black holes painted on the haloes by documented [`Recipes`], with the four strengths of
//!    [`Feedback`] of CAMELS; to a snapshot ordered by group and its [`GroupCatalogue`](halocast_core::GroupCatalogue).
//!
//! Beside the box there are single objects, which need no simulation:
//!
//! * [`Galaxy`]: a halo in equilibrium, filled with dark matter, a gas disc and corona, stars, elements and a magnetic field;
//!   [`Population`] draws many, with the scatter of real ones, and [`assemble`] makes a snapshot and a catalogue of them.
//! * [`SpectralLibrary`]: spectra of galaxies with stars, lines, dust, redshift and noise.
//! * [`DustConfig`]: lognormal maps of interstellar dust with filaments.
//! * [`LineConfig`]: intensity cubes in which two lines are confused.
//!
//! The large scales can be trusted to the accuracy that `tests/` checks. With 64^3 particles in 256 Mpc/h and the default
//! ten steps, over four phase pairs of fixed amplitude, the power spectrum today is 0.98 of linear theory at k = 0.02 to
//! 0.07 h/Mpc, and the largest modes grow by 0.99 of the linear growth factor from a = 0.1.
//!
//! Haloes are counted right and are too wide: with 20 steps from z = 19 groups of friends of friends are within 25 % of
//! Tinker et al. (2008) from 60 particles on, with a force mesh of three cells a particle and 30 steps from 32 on
//! (`benches/halos.rs`); masses in spheres are low, as the force is softened on the mesh. In the default box
//! of 75 Mpc/h with ten steps the power spectrum today, relative to that of the dark matter of TNG100 (one realisation each), is 0.97
//! at k = 0.5, 0.81 at k = 1.2, 0.54 at k = 2.5 and 0.27 at k = 5 h/Mpc. Baryons are painted, not simulated: their trends with
//! feedback have the right sign, and no size to rely on.
//!
//! The same configuration gives the same bytes, run after run and at any number of threads. A universe is made in the
//! current rayon pool: for many universes, make each in a pool of one thread.
//!
//! ```
//! use halocast_core::Species;
//! use halocast_mock::{Universe, UniverseConfig};
//!
//! let config = UniverseConfig { particles: 16, box_side: 40.0, steps: 3, seed: 1, ..Default::default() };
//! let universe = Universe::simulate(&config, &|done, total| assert!(done <= total))?;
//!
//! let snapshot = universe.snapshot()?;
//! assert_eq!(snapshot.header.promised, [4096, 4096, 0, 0, 0, 0]);
//! let gas = snapshot.set(Species::Gas)?;
//! assert_eq!(gas.vectors("Coordinates")?.len(), 4096);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! None: everything here is always there.

mod baryons;
mod dust;
mod error;
mod galaxy;
mod gas;
mod gravity;
mod halos;
mod initial;
mod lines;
mod power;
mod spectra;
mod universe;

pub use baryons::{
    BaryonConfig, BlackHoles, Feedback, GasCells, Hydrostatic, Owner, Populated, Recipes, Scatter, Stars,
    neutral_fraction,
};
pub use dust::DustConfig;
pub use error::{Error, Result};
pub use galaxy::{Galaxy, GalaxyConfig, Population, RadialProfile, assemble};
pub use gas::GasModel;
pub use gravity::Mesh;
pub use halos::{
    Groups, Halo, HaloConfig, Halos, MassFunction, Sphere, Subhalo, Tracers, concentration,
    friends_of_friends,
};
pub use initial::{FieldOptions, InitialConditions, Particles};
pub use lines::{LineConfig, LineCubes, Schechter};
pub use power::{LinearPower, Transfer};
pub use spectra::{LogGrid, SpectralLibrary, Spectrum, SpectrumConfig, SpectrumPopulation, calzetti};
pub use universe::{Universe, UniverseConfig};

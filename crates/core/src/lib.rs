//! # halocast-core
//!
//! The types in which all of halocast's crates meet. A loader fills them, a projector turns one into another, a
//! statistic reads them, a model is trained on them; none of those crates knows of the others.
//!
//! * [`Cosmology`]: flat LCDM background: E(a), growth, distances, densities.
//! * [`Unit`]: what one stored number means in cgs, with its exponents of the scale factor and of h.
//! * [`PeriodicBox`]: wrapping and minimum-image distances.
//! * [`Table`], [`ParticleSet`], [`Snapshot`], [`GroupCatalogue`]: particles and groups with named, unit-carrying fields.
//! * [`Map`], [`Cube`], [`Cloud`]: what models see. Images are `[y, x]`, cubes `[x, y, z]`;
//!   [`image_from_xy`] is the one place where the order changes.
//! * [`Rng`]: a counter-based generator that can be split, saved and resumed.
//! * [`stream`]: the random numbers of whole blocks of its stream.
//! * [`Dataset`], [`Batch`], [`Metric`]: where training meets data and statistics.
//! * [`fft`]: real Fourier transforms in two and three dimensions.
//! * [`write_whole`]: files that are written whole or not at all.
//!
//! No C code, no Candle.
//!
//! ```
//! use halocast_core::{Cosmology, Rng};
//!
//! let cosmology = Cosmology::camels();
//! assert!((cosmology.growth(1.0) - 1.0).abs() < 1e-9);
//! assert!(cosmology.growth(0.5) > 0.5); // dark energy slows late growth
//!
//! let mut rng = Rng::new(7);
//! let first = rng.normal();
//! assert_eq!(first, Rng::new(7).normal());
//! ```
//!
//! # Features
//!
//! None: everything here is always there.

mod cosmology;
mod dataset;
mod error;
pub mod fft;
mod file;
mod grid;
mod metric;
mod particles;
mod periodic;
mod progress;
mod rng;
mod shard;
pub mod stream;
mod table;
mod units;

pub use cosmology::{Cosmology, GRAVITATIONAL_CONSTANT, RHO_CRITICAL, SPEED_OF_LIGHT};
pub use dataset::{Batch, Dataset};
pub use error::{Error, Result};
pub use file::write_whole;
pub use grid::{Cloud, Cube, Map, all_finite, image_from_xy};
pub use metric::{Comparison, Curve, Metric};
pub use particles::{Header, ParticleSet, Snapshot, Species};
pub use periodic::PeriodicBox;
pub use progress::Progress;
pub use rng::{Rng, RngState};
pub use shard::Shard;
pub use table::{Field, FieldValues, GroupCatalogue, Table};
pub use units::Unit;

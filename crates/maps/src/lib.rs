//! # halocast-maps
//!
//! From particles to what a model sees. A simulation is millions of points with masses; a network is trained on images.
//! The step between them decides what the network can learn, and a careless one leaves its own mark: mass lost in small
//! kernels, grids that show through, edges that leak. So every projector here conserves mass at any ratio of radius to
//! pixel, gives the same bits at any number of threads, and is checked against [`project_reference`].
//!
//! * [`project`], [`project_slabs`], [`project_cube`]: surface density and density by [`Method`]: mesh assignment, uniform spheres, SPH
//!   kernels by their own column integrals; slabs along three axes in the layout of the CAMELS Multifield Dataset.
//! * [`assign_2d`], [`assign_3d`], [`interpolate_3d`]: NGP, CIC, TSC, PCS on periodic grids, node- or cell-centred, and back.
//! * [`smoothing_lengths`]: the distance to the 32nd neighbour.
//! * [`project_snapshot`]: a species of a snapshot, in whatever units it came, of a box or a region, turned by a [`Rotation`].
//! * [`fields`]: temperature, neutral hydrogen, the 21 cm line, magnetic fields, all thirteen fields of the CAMELS maps.
//! * [`select_subhalos`], [`orient`]: galaxies centred, unwrapped, seen face-on or edge-on.
//! * [`Augmentation`], [`Recipe`], [`Dihedral`], [`Octahedral`]: random changes and exact symmetries of maps and cubes.
//! * [`particle_cloud`], [`subsample`], [`CloudScaling`]: clouds of points in three and six dimensions.
//! * [`telescope`]: beams, noise, aperture synthesis, sky models.
//! * [`project_legacy`]: the numbers of other programs, their faults included.
//!
//! Lengths are comoving Mpc/h, masses Msun/h, surface densities (Msun/h) / (Mpc/h)^2. Images are `[y, x]`; the line of
//! sight [`Axis`] and the image's x and y axes are in cyclic order.
//!
//! ```
//! use halocast_core::Rng;
//! use halocast_maps::{Masses, Method, project_slabs, smoothing_lengths};
//!
//! // Fifteen maps of a small box of random particles.
//! let mut rng = Rng::new(1);
//! let positions: Vec<[f32; 3]> = (0..2000).map(|_| [0; 3].map(|_| 25.0 * rng.uniform() as f32)).collect();
//! let radii = smoothing_lengths(&positions, 32, Some(25.0))?;
//! let maps =
//!     project_slabs("Mcdm", &positions, Masses::Equal(1e10), Some(&radii), 25.0, 5, 32, Method::Sphere)?;
//! assert_eq!(maps.len(), 15);
//!
//! // Each axis holds all the mass.
//! let mass = |m: &halocast_core::Map| m.values.iter().map(|&v| f64::from(v)).sum::<f64>() * m.pixel_area();
//! let total: f64 = maps[..5].iter().map(mass).sum();
//! assert!((total / 2000e10 - 1.0).abs() < 1e-6);
//! # Ok::<(), halocast_maps::Error>(())
//! ```
//!
//! # Features
//!
//! * `candle`: projection and every augmentation on tensors, on the device of a model (`assign_tensor`, `project_tensor`, `apply_tensor`, ...).

mod assign;
mod augment;
mod ball;
mod cloud;
mod cube;
#[cfg(feature = "candle")]
mod device;
mod error;
pub mod fields;
mod galaxy;
mod image;
mod interpolate;
mod kernel;
mod layers;
mod legacy;
mod normalise;
mod octahedral;
mod octant;
mod recipe;
mod reference;
mod region;
mod rotation;
mod slabs;
mod smooth;
mod smoothing;
mod strips;
mod subsample;
pub mod telescope;
mod tiles;

pub use assign::{Centring, Scheme, assign_2d, assign_3d};
pub use augment::{Dihedral, shift};
pub use cloud::{CloudAugmentation, PointFeature, particle_cloud, rotate_cloud, translate_cloud, turn_box};
pub use cube::{Volume, project_cube};
#[cfg(feature = "candle")]
pub use device::{
    assign_tensor, project_tensor, rotate_points, rotate_tensor, shift_tensor, symmetry_tensor,
};
pub use error::{Error, Result};
pub use galaxy::{
    Aspect, Principal, Selection, half_mass_radius, orient, select_subhalos, skais_views, unwrap_positions,
};
pub use image::{Masses, Method};
pub use interpolate::{interpolate_2d, interpolate_3d};
pub use kernel::Kernel;
pub use legacy::{Legacy, project_legacy};
pub use normalise::{CloudScaling, Stretch};
pub use octahedral::{Octahedral, shift_cube};
pub use recipe::{Augmentation, Recipe, crop, rotate};
pub use reference::{Sampling, project_reference};
pub use region::{Particles, ProjectOptions, Region, particles, project_snapshot};
pub use rotation::Rotation;
pub use slabs::{Axis, Projection, project, project_slabs};
pub use smoothing::{neighbour_distances, smoothing_lengths};
pub use subsample::{Subsample, subsample, take_points};

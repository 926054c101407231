//! # halocast-stats
//!
//! Is a generated map a map of the universe? An eye is soon content; these are the statistics by which the field judges,
//! and the comparisons that turn two ensembles of maps into one number each.
//!
//! * [`power_spectra`], [`cross_spectrum`] and their three-dimensional kin: the power in each wavenumber bin, in Pylians'
//!   or Mudur & Finkbeiner's convention, by name, for any shape of map.
//! * [`anisotropic_power`]: what a line of sight adds: the multipoles P0, P2, P4 of a cube, its one-dimensional spectrum and
//!   the power in (k_perp, k_par).
//! * [`pixel_pdf`], [`moments`], [`quantiles`]: the distribution of pixel values; what falls outside the bins is reported.
//! * [`minkowski_functionals`], [`pixel_counts`]: area, boundary and Euler characteristic of excursion sets, all
//!   thresholds in one pass; [`minkowski_functionals_3d`]: volume, surface, curvature and Euler characteristic in cubes;
//!   [`gaussian_minkowski`], [`gaussian_minkowski_3d`]: the closed forms of Gaussian fields.
//! * [`wasserstein`], [`kolmogorov_smirnov`]: distances of two samples of numbers.
//! * [`PowerDistance`], [`MinkowskiAgreement`], [`PixelDistance`]: each a [`Metric`](halocast_core::Metric) that judges
//!   samples by the truth; [`split_half`] is the floor that noise alone sets.
//! * [`memorisation`]: whether samples lie nearer to the training set than unseen truth does.
//!
//! All sums are in float64 and in a fixed order: the same numbers at any number of threads.
//!
//! ```
//! use halocast_core::{Map, Metric, Rng};
//! use halocast_stats::{PowerConvention, PowerDistance, power_spectra, split_half};
//! use ndarray::Array2;
//!
//! let mut rng = Rng::new(1);
//! let mut noise = |scale: f32| {
//!     Map::square("noise", Array2::from_shape_fn((32, 32), |_| scale * rng.normal() as f32), 25.0)
//! };
//! let truth: Vec<Map> = (0..40).map(|_| noise(1.0)).collect();
//! let samples: Vec<Map> = (0..40).map(|_| noise(1.1)).collect();
//!
//! let score = PowerDistance::default().compare(&truth, &samples)?.score;
//! assert!((score - 0.21).abs() < 0.05); // 1.1^2 - 1
//! let spectra = power_spectra(&truth, PowerConvention::pylians())?;
//! assert!(split_half(&spectra, 20, &mut Rng::new(2))? < 0.5 * score); // noise alone does not explain it
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! None: everything here is always there.

mod compare;
mod distance;
mod ensemble;
mod error;
mod memorisation;
mod minkowski;
mod pairs;
mod pdf;
mod power;

pub use compare::{
    MinkowskiAgreement, MinkowskiInside, PixelDistance, PixelDistanceKind, PowerDistance,
    mean_abs_fractional, minkowski_inside, split_half,
};
pub use distance::{kolmogorov_smirnov, wasserstein};
pub use error::{Error, Result};
pub use memorisation::{Memorisation, Nearest, Symmetries, memorisation, nearest};
pub use minkowski::{
    MinkowskiConvention, MinkowskiFunctionals, MinkowskiFunctionals3d, PixelCounts, gaussian_minkowski,
    gaussian_minkowski_3d, minkowski_functionals, minkowski_functionals_3d, pixel_counts,
};
pub use pairs::{
    AnisotropicCorrelation, CorrelationFunction, PairCounts, ProjectedCorrelation, anisotropic_correlation,
    cloud_points, correlation_function, cross_pair_counts, landy_szalay, mean_separations, pair_counts,
    projected_correlation, to_redshift_space,
};
pub use pdf::{Bins, Moments, PixelPdf, moments, pixel_pdf, quantiles};
pub use power::{
    AnisotropicPower, Binning, CrossSpectrum, CylindricalPower, PowerConvention, PowerMultipoles,
    PowerSpectra, PowerSpectrum, Window, anisotropic_power, cross_spectrum, cross_spectrum_3d, overdensity,
    power_spectra, power_spectrum, power_spectrum_3d,
};

//! # halocast-stats
//!
//! Is a generated map a map of the universe? An eye is soon content; these are the statistics by which the field judges,
//! and the comparisons that turn two ensembles of maps into one number each.
//!
//! **Two points.** [`power_spectra`], [`cross_spectrum`] and their three-dimensional kin: the power in each wavenumber bin, in
//! Pylians' or Mudur & Finkbeiner's convention, by name, for any shape of map; r(k) and the transfer function
//! ([`CrossSpectrum`]), error bars and wider bins ([`PowerSpectrum`]), two interlaced grids ([`interlaced_power_3d`]), C_l of
//! a piece of sky ([`angular_power`]); what a line of sight adds ([`anisotropic_power`]). Clouds: [`pair_counts`],
//! [`correlation_function`], [`landy_szalay`], [`anisotropic_correlation`], [`projected_correlation`],
//! [`to_redshift_space`].
//!
//! **Beyond.** [`bispectrum`]; [`pixel_pdf`], [`moments`], [`quantiles`]; [`peak_counts`]; [`minkowski_functionals`] and
//! [`pixel_counts`], all thresholds in one pass, [`minkowski_functionals_3d`], [`derivative_minkowski`] for smooth fields,
//! the closed forms of Gaussian ones ([`gaussian_minkowski`], [`gaussian_minkowski_3d`]); [`betti_numbers`];
//! [`ScatteringBank`] for wavelet scattering coefficients; [`knn_cdf`] and [`void_probability`].
//!
//! **Objects.** [`Rings`] and [`cloud_profile`] for radial profiles, [`mass_radius`], [`Morphology`] (concentration,
//! asymmetry, clumpiness, Gini, M20, centroid), [`velocity_dispersion`], [`axis_ratios`], [`halo_mass_function`];
//! of clouds with velocities [`phase_moments`] and [`virial_ratio`].
//!
//! **Surveys.** [`light_cone`] of snapshots, [`to_redshift_space`] and [`to_redshift_sky`], [`SkyMask`] of caps,
//! [`SelectionFunction`] n(z), [`fibre_collisions`].
//!
//! **Two ensembles.** [`PowerDistance`], [`MinkowskiAgreement`], [`PixelDistance`]: each a
//! [`Metric`](halocast_core::Metric); [`split_half`] is the floor that noise alone sets. [`chi_squared`] with covariances by
//! jackknife or bootstrap (of whole groups: [`group_means`]), [`envelope`],
//! [`wasserstein`], [`kolmogorov_smirnov`]; in a feature space [`energy_distance`], [`maximum_mean_discrepancy`],
//! [`sliced_wasserstein`], [`frechet_distance`], [`fidelity`] (precision, recall, density, coverage); of clouds
//! [`cloud_distance`] (Chamfer, Hausdorff), [`earth_movers`], [`sinkhorn`]; of pairs [`paired_errors`] (PSNR, SSIM);
//! of posteriors [`rank_histogram`], [`interval_coverage`], [`tarp`]; [`memorisation`]: whether samples lie nearer to the
//! training set than unseen truth does. [`Verdict`] says in a sentence where samples fail.
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
//! * `candle`: the module `tensor`, with P(k), pixel distributions, radial profiles and Minkowski functionals of batches of
//!   tensors on their device, and differentiable ones for losses. All else is always there.

mod betti;
mod bispectrum;
mod calibration;
mod clouds;
mod compare;
mod covariance;
mod distance;
mod eigen;
mod ensemble;
mod error;
mod features;
mod memorisation;
mod minkowski;
mod morphology;
mod paired;
mod pairs;
mod pdf;
mod peaks;
mod power;
mod profile;
mod scattering;
mod special;
mod survey;
#[cfg(feature = "candle")]
pub mod tensor;
mod verdict;

pub use betti::{BettiNumbers, betti_numbers};
pub use bispectrum::{Bispectrum, bispectrum, bispectrum_3d};
pub use calibration::{Coverage, RankHistogram, interval_coverage, rank_histogram, tarp};
pub use clouds::{
    CloudDistance, KnnCdf, VoidProbability, cloud_distance, earth_movers, knn_cdf, sinkhorn, void_probability,
};
pub use compare::{
    MinkowskiAgreement, MinkowskiInside, PixelDistance, PixelDistanceKind, PowerDistance,
    mean_abs_fractional, minkowski_inside, split_half,
};
pub use covariance::{ChiSquared, Resampling, chi_squared, group_means, mean_covariance};
pub use distance::{kolmogorov_smirnov, wasserstein};
pub use error::{Error, Result};
pub use features::{
    Fidelity, MaximumMeanDiscrepancy, energy_distance, fidelity, frechet_distance, maximum_mean_discrepancy,
    median_distance, sliced_wasserstein,
};
pub use memorisation::{Memorisation, Nearest, Symmetries, memorisation, nearest};
pub use minkowski::{
    MinkowskiConvention, MinkowskiFunctionals, MinkowskiFunctionals3d, PixelCounts, derivative_minkowski,
    derivative_minkowski_3d, gaussian_minkowski, gaussian_minkowski_3d, minkowski_functionals,
    minkowski_functionals_3d, pixel_counts,
};
pub use morphology::Morphology;
pub use paired::{PairedErrors, paired_errors};
pub use pairs::{
    AnisotropicCorrelation, CorrelationFunction, PairCounts, ProjectedCorrelation, anisotropic_correlation,
    cloud_points, correlation_function, cross_pair_counts, landy_szalay, mean_separations, pair_counts,
    projected_correlation, to_redshift_space,
};
pub use pdf::{Bins, Moments, PixelPdf, moments, pixel_pdf, quantiles};
pub use peaks::{PeakCounts, minimum_counts, peak_counts};
pub use power::{
    AngularPower, AnisotropicPower, BinnedPower, Binning, CrossSpectrum, CylindricalPower, PowerConvention,
    PowerMultipoles, PowerSpectra, PowerSpectrum, Window, angular_power, anisotropic_power, cross_spectrum,
    cross_spectrum_3d, interlaced_power_3d, overdensity, power_in_bins, power_in_bins_3d, power_spectra,
    power_spectrum, power_spectrum_3d,
};
pub use profile::{
    AxisRatios, CloudProfile, MassFunction, Membership, PhaseMoments, RadialProfile, Rings, axis_ratios,
    cloud_profile, halo_mass_function, mass_radius, phase_moments, potential_energy, velocity_dispersion,
    virial_ratio,
};
pub use scattering::{IsotropicScattering, Scattering, ScatteringBank};
pub use survey::{
    Cap, FibreCollisions, LightCone, LightConeSnapshot, SelectionFunction, SkyMask, SkyPolygon,
    fibre_collisions, light_cone, sky_direction, to_redshift_sky,
};
pub use verdict::{Envelope, Finding, Verdict, envelope};

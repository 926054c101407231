//! Spectra of galaxies: stars, emission lines, dust, redshift and noise.

mod grid;
mod nebular;
mod population;
mod stellar;

pub use grid::LogGrid;
use halocast_core::{Cosmology, Rng};
pub use nebular::calzetti;
pub use population::SpectrumPopulation;
use serde::{Deserialize, Serialize};

use self::nebular::{LINES, line_ratios};
use self::stellar::{AGES, Populations, age};
use crate::error::{Error, Result, require};

const OPERATION: &str = "spectrum";
/// Luminosity of the Sun in erg/s.
const SOLAR_LUMINOSITY: f64 = 3.828e33;
/// Star formation rate in Msun/yr per erg/s of H-alpha (Kennicutt & Evans 2012, ARA&A 50, 531, table 1).
const HALPHA: f64 = 5.37e-42;
/// Reddening of stars over that of the gas (Calzetti et al. 2000).
const STELLAR_REDDENING: f64 = 0.44;

/// One galaxy's spectrum. Fields that a file leaves out take the values of a spiral at z = 0.1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpectrumConfig {
    /// Cosmology, for distance and age of the universe.
    pub cosmology: Cosmology,
    /// Redshift.
    pub redshift: f64,
    /// Mass of stars formed, in Msun, within the fibre.
    pub stellar_mass: f64,
    /// Time since the first stars in Gyr.
    pub age: f64,
    /// Time scale tau of the star formation, SFR proportional to t exp(-t/tau), in Gyr.
    pub timescale: f64,
    /// Metallicity in solar units.
    pub metallicity: f64,
    /// Attenuation of the stars in V, in magnitudes.
    pub attenuation: f64,
    /// The share of an active nucleus in H-alpha.
    pub active: f64,
    /// H-alpha of a nucleus, or of old stars, that star formation does not explain, in solar luminosities per Msun.
    pub extra_halpha: f64,
    /// Velocity dispersion of stars and gas in km/s.
    pub dispersion: f64,
    /// Median signal-to-noise ratio of a pixel; infinite for none, which a file says by `inf`.
    pub signal_to_noise: f64,
    /// The wavelengths.
    pub grid: LogGrid,
    /// The seed of the noise.
    pub seed: u64,
}

impl Default for SpectrumConfig {
    fn default() -> Self {
        Self {
            cosmology: Cosmology::illustris_tng(),
            redshift: 0.1,
            stellar_mass: 5e10,
            age: 11.0,
            timescale: 4.0,
            metallicity: 1.0,
            attenuation: 0.4,
            active: 0.0,
            extra_halpha: 0.0,
            dispersion: 120.0,
            signal_to_noise: 15.0,
            grid: LogGrid::default(),
            seed: 0,
        }
    }
}

impl SpectrumConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::Cosmology`] naming the first field outside its domain.
    pub fn validate(&self) -> Result<()> {
        self.cosmology.validate().map_err(|source| Error::Cosmology { operation: OPERATION, source })?;
        for (field, value, low, high) in [
            ("redshift", self.redshift, 1e-4, 3.0),
            ("stellar_mass", self.stellar_mass, 1.0, 1e14),
            ("age", self.age, 0.01, 14.0),
            ("timescale", self.timescale, 1e-3, 1e3),
            ("metallicity", self.metallicity, 1e-3, 10.0),
            ("attenuation", self.attenuation, 0.0, 10.0),
            ("active", self.active, 0.0, 1.0),
            ("extra_halpha", self.extra_halpha, 0.0, 1.0),
            ("dispersion", self.dispersion, 0.0, 2000.0),
            ("grid.start", self.grid.start, 3.0, 4.5),
            ("grid.step", self.grid.step, 1e-6, 1e-2),
        ] {
            require((low..=high).contains(&value), OPERATION, field, format!("{low} to {high}"), value)?;
        }
        let len = self.grid.len;
        require((16..=1_000_000).contains(&len), OPERATION, "grid.len", "16 to 1000000", len)?;
        let noise = self.signal_to_noise;
        require(noise > 0.0, OPERATION, "signal_to_noise", "above 0 (infinite for none)", noise)
    }
}

/// A spectrum, in 10^-17 erg / (s cm^2 Angstrom), as the Sloan Digital Sky Survey writes them.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrum {
    /// The wavelengths in vacuum.
    pub grid: LogGrid,
    /// Flux density with noise.
    pub flux: Vec<f32>,
    /// Flux density without noise.
    pub model: Vec<f32>,
    /// Inverse variance of the noise; zero without noise.
    pub inverse_variance: Vec<f32>,
    /// Fluxes of the emission lines by name, in 10^-17 erg / (s cm^2).
    pub lines: Vec<(&'static str, f64)>,
}

/// The templates that spectra are made of: made once, used for many.
///
/// A spectrum is the sum of simple populations over the history of star formation, behind dust, with emission lines,
/// broadened, redshifted, and with noise:
///
/// $$F_\lambda = \frac{1}{4\pi d_L^2 (1+z)} \left[\int L_\lambda^{\rm ssp}(t)\\,\psi(t)\\,\mathrm{d}t
/// \\; 10^{-0.4 A_\lambda} + \sum_i L_i\\,\phi_i(\lambda)\right].$$
///
/// Populations are made here of black bodies with the Balmer series, the 4000 Angstrom break and the strongest metal lines,
/// from an initial mass function and simple stellar laws: nobody's library is copied, and nobody should measure ages
/// with them. What a model has to learn is there: the break that grows with age, the bimodal colours, the lines on the
/// sequences of Baldwin, Phillips & Terlevich (1981), few degrees of freedom (Yip et al. 2004), redshift and noise.
///
/// # Source
/// Dust: Calzetti et al. 2000, with E(B-V) of stars 0.44 times that of the gas. H-alpha of star formation: Kennicutt & Evans
/// 2012. Line ratios: Osterbrock & Ferland 2006; Pettini & Pagel 2004; Kewley et al. 2013.
///
/// ```
/// use halocast_mock::{SpectralLibrary, SpectrumConfig};
/// let library = SpectralLibrary::new();
/// let spectrum = library.spectrum(&SpectrumConfig { redshift: 0.1, ..Default::default() })?;
/// assert_eq!(spectrum.flux.len(), 3840);
/// // H-alpha stands out at 6564.61 (1 + z) Angstrom.
/// let i = (0..3840).find(|&i| spectrum.grid.wavelength(i) > 6564.61 * 1.1).unwrap();
/// assert!(spectrum.model[i] > 1.2 * spectrum.model[i - 40]);
/// # Ok::<(), halocast_mock::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SpectralLibrary {
    populations: Populations,
}

impl Default for SpectralLibrary {
    fn default() -> Self {
        Self::new()
    }
}

impl SpectralLibrary {
    /// Makes the templates: a fraction of a second.
    pub fn new() -> Self {
        Self { populations: Populations::new() }
    }

    /// The spectrum of a configuration. Cost: 60 operations a template pixel and 20 a pixel.
    ///
    /// # Errors
    /// As [`SpectrumConfig::validate`].
    pub fn spectrum(&self, config: &SpectrumConfig) -> Result<Spectrum> {
        config.validate()?;
        let (weights, forming) = history(config.age, config.timescale);
        let rest = self.populations.mix(&weights.map(|w| w * config.stellar_mass), config.metallicity);
        let stars = broaden(&rest, config.dispersion / self.populations.grid.pixel_velocity());

        let z = config.redshift;
        // Comoving Mpc/h to cm.
        let distance =
            config.cosmology.comoving_distance(z) / config.cosmology.h * 3.085_677_6e24 * (1.0 + z);
        let to_flux = SOLAR_LUMINOSITY / (4.0 * std::f64::consts::PI * distance * distance) * 1e17;
        let reddening = config.attenuation / calzetti(5500.0);
        let dim = |wavelength: f64, reddening: f64| 10f64.powf(-0.4 * reddening * calzetti(wavelength));
        let grid = config.grid;
        let mut model: Vec<f64> = (0..grid.len)
            .map(|i| {
                let wavelength = grid.wavelength(i) / (1.0 + z);
                let light = self.populations.grid.at(&stars, wavelength);
                to_flux / (1.0 + z) * light * dim(wavelength, reddening)
            })
            .collect();

        let halpha = config.stellar_mass * (forming / (HALPHA * SOLAR_LUMINOSITY) + config.extra_halpha)
            / (1.0 - config.active).max(0.05);
        let ratios = line_ratios(config.metallicity, config.active);
        let lines: Vec<(&str, f64)> = LINES
            .iter()
            .zip(ratios)
            .map(|(&(name, wavelength), ratio)| {
                (name, to_flux * halpha * ratio * dim(wavelength, reddening / STELLAR_REDDENING))
            })
            .collect();
        for (&(_, wavelength), &(_, flux)) in LINES.iter().zip(&lines) {
            // A spectrograph of R = 2000 broadens, too.
            let width = config.dispersion.hypot(64.0) / halocast_core::SPEED_OF_LIGHT;
            add_line(&mut model, &grid, wavelength * (1.0 + z), width, flux);
        }
        let (flux, inverse_variance) = observe(&model, config);
        let model = model.into_iter().map(|f| f as f32).collect();
        Ok(Spectrum { grid, flux, model, inverse_variance, lines })
    }
}

/// Masses formed at the ages of the templates, one together, and the present rate in Msun/yr per Msun formed:
/// psi(t) proportional to t exp(-t/tau).
fn history(span: f64, tau: f64) -> ([f64; AGES], f64) {
    // The mass formed up to t: 1 - (1 + x) e^-x, x = t / tau.
    let formed = |t: f64| {
        let x = t.max(0.0) / tau;
        if x < 1e-3 { 0.5 * x * x } else { 1.0 - (1.0 + x) * (-x).exp() }
    };
    let total = formed(span);
    let weights = std::array::from_fn(|i| {
        let edge = |i: usize| (age(i) * age(i + 1)).sqrt();
        let young = if i == 0 { 0.0 } else { edge(i - 1) };
        let old = if i == AGES - 1 { span.max(young) } else { edge(i).min(span) };
        if young >= span { 0.0 } else { (formed(span - young) - formed(span - old)) / total }
    });
    let x = span / tau;
    (weights, x * (-x).exp() / tau / total * 1e-9)
}

/// Convolution with a Gaussian of `sigma` pixels.
fn broaden(values: &[f64], sigma: f64) -> Vec<f64> {
    if sigma < 0.1 {
        return values.to_vec();
    }
    let reach = (4.0 * sigma).ceil() as usize;
    let kernel: Vec<f64> = (0..=reach).map(|i| (-0.5 * (i as f64 / sigma).powi(2)).exp()).collect();
    let norm = kernel[0] + 2.0 * kernel[1..].iter().sum::<f64>();
    let last = values.len() - 1;
    (0..values.len())
        .map(|i| {
            let sides: f64 = (1..=reach)
                .map(|k| kernel[k] * (values[i.saturating_sub(k)] + values[(i + k).min(last)]))
                .sum();
            (kernel[0] * values[i] + sides) / norm
        })
        .collect()
}

/// Adds a Gaussian line of `width` (sigma over wavelength), averaged over each pixel.
fn add_line(model: &mut [f64], grid: &LogGrid, wavelength: f64, width: f64, flux: f64) {
    let sigma = width * wavelength;
    let centre = (wavelength.log10() - grid.start) / grid.step;
    let reach = 6.0 * width / (std::f64::consts::LN_10 * grid.step) + 2.0;
    let low = (centre - reach).max(0.0) as usize;
    let high = ((centre + reach).max(0.0) as usize).min(model.len());
    for (i, value) in model.iter_mut().enumerate().take(high).skip(low.min(high)) {
        let edge = |i: f64| 10f64.powf(grid.start + grid.step * i);
        let (left, right) = (edge(i as f64 - 0.5), edge(i as f64 + 0.5));
        let share =
            normal_integral((right - wavelength) / sigma) - normal_integral((left - wavelength) / sigma);
        *value += flux * share / (right - left);
    }
}

/// The cumulative normal distribution, to 1e-7 (Abramowitz & Stegun 1964, 7.1.26, sharpened by its complement).
fn normal_integral(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs() / std::f64::consts::SQRT_2);
    let poly = t
        * (0.254_829_592
            + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let tail = 0.5 * poly * (-0.5 * x * x).exp();
    if x > 0.0 { 1.0 - tail } else { tail }
}

/// Noise of the sky and of the source: variance proportional to sky(lambda) + flux / median, with a sky that rises to the red
/// and at the ends of the spectrograph, and the bands of OH beyond 7200 Angstrom.
fn observe(model: &[f64], config: &SpectrumConfig) -> (Vec<f32>, Vec<f32>) {
    if !config.signal_to_noise.is_finite() {
        return (model.iter().map(|&f| f as f32).collect(), vec![0.0; model.len()]);
    }
    let mut sorted = model.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = sorted[sorted.len() / 2].max(1e-30);
    let shape: Vec<f64> = (0..model.len())
        .map(|i| {
            let wavelength = config.grid.wavelength(i);
            let red = ((wavelength - 7200.0) / 800.0).clamp(0.0, 1.5);
            let bands = red * (0.5 + 0.5 * (wavelength / 17.0).sin() * (wavelength / 93.0).sin()).powi(4);
            let blue = (-(wavelength - 3800.0) / 180.0).exp().min(8.0);
            (1.0 + 0.3 * red + 3.0 * bands + 2.0 * blue + (model[i] / median).max(0.0)).sqrt()
        })
        .collect();
    // The median of signal over noise is what was asked for.
    let mut ratios: Vec<f64> = model.iter().zip(&shape).map(|(f, s)| f / s).collect();
    ratios.sort_by(f64::total_cmp);
    let level = ratios[ratios.len() / 2].max(1e-30) / config.signal_to_noise;
    let mut rng = Rng::new(config.seed).split_named("spectrum noise");
    let noise = rng.normals(model.len());
    let flux = (0..model.len()).map(|i| (model[i] + level * shape[i] * f64::from(noise[i])) as f32).collect();
    (flux, shape.iter().map(|s| (level * s).powi(-2) as f32).collect())
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn a_history_forms_one_mass() {
        for (span, tau) in [(11.0, 4.0), (13.0, 0.2), (0.5, 100.0), (1.0, 0.3)] {
            let (weights, rate) = history(span, tau);
            assert_relative_eq!(weights.iter().sum::<f64>(), 1.0, max_relative = 1e-9);
            assert!(weights.iter().all(|w| *w >= 0.0) && rate > 0.0);
        }
        // psi = 2 t / T^2 for a long tau: the rate now is 2 / T.
        assert_relative_eq!(history(2.0, 1e3).1, 1e-9, max_relative = 2e-3);
    }

    #[test]
    fn lines_keep_their_flux_and_continua_their_sum() {
        let grid = LogGrid::default();
        for width in [1e-5, 3e-4, 2e-3] {
            let mut model = vec![0.0; grid.len];
            add_line(&mut model, &grid, 5500.3, width, 7.0);
            let sum: f64 = (0..grid.len)
                .map(|i| {
                    let edge = |i: f64| 10f64.powf(grid.start + grid.step * i);
                    model[i] * (edge(i as f64 + 0.5) - edge(i as f64 - 0.5))
                })
                .sum();
            assert_relative_eq!(sum, 7.0, max_relative = 1e-5);
        }
        let mut spike = vec![0.0; 101];
        spike[50] = 1.0;
        let broad = broaden(&spike, 3.0);
        assert_relative_eq!(broad.iter().sum::<f64>(), 1.0, max_relative = 1e-9);
        let square: f64 = broad.iter().enumerate().map(|(i, v)| v * (i as f64 - 50.0).powi(2)).sum();
        assert_relative_eq!(square.sqrt(), 3.0, max_relative = 1e-2);
        // Outside the grid a line leaves no trace.
        let mut model = vec![0.0; grid.len];
        add_line(&mut model, &grid, 3000.0, 3e-4, 1.0);
        add_line(&mut model, &grid, 12_000.0, 3e-4, 1.0);
        assert!(model.iter().all(|v| *v == 0.0));
    }
}

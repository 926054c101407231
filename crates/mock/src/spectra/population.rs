//! A population of spectra: a blue cloud, a red sequence, and nuclei.

use halocast_core::Rng;
use serde::{Deserialize, Serialize};

use super::{LogGrid, SpectrumConfig};
use crate::error::{Result, require};

/// Which spectra to draw. Spectrum number i is a function of the configuration and i alone.
///
/// A share `red` has formed its stars early (tau of 0.3 to 1 Gyr, little dust, rich in metals, broad lines), the others lastingly
/// (tau of 2 to 10 Gyr); a share `active` of all has a nucleus. Redshifts follow the volume, z^2, up to `redshift` with the
/// exponential decline of a flux limit (the main sample of the Sloan Digital Sky Survey: Strauss et al. 2002). The stellar
/// mass grows with z as that limit makes it.
///
/// ```
/// use halocast_mock::{SpectralLibrary, SpectrumPopulation};
/// let (library, population) = (SpectralLibrary::new(), SpectrumPopulation::default());
/// let spectrum = library.spectrum(&population.spectrum(3)?)?;
/// assert!(spectrum.inverse_variance.iter().all(|v| *v > 0.0));
/// # Ok::<(), halocast_mock::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpectrumPopulation {
    /// The share of the red sequence.
    pub red: f64,
    /// The share of active nuclei.
    pub active: f64,
    /// The largest redshift.
    pub redshift: f64,
    /// Median signal-to-noise ratios of a pixel, lowest and highest.
    pub signal_to_noise: [f64; 2],
    /// The wavelengths.
    pub grid: LogGrid,
    /// The seed.
    pub seed: u64,
}

impl Default for SpectrumPopulation {
    fn default() -> Self {
        Self {
            red: 0.45,
            active: 0.15,
            redshift: 0.25,
            signal_to_noise: [6.0, 30.0],
            grid: LogGrid::default(),
            seed: 0,
        }
    }
}

impl SpectrumPopulation {
    /// The configuration of spectrum number `index`.
    ///
    /// # Errors
    /// [`crate::Error::Config`] naming the first field outside its domain.
    pub fn spectrum(&self, index: u64) -> Result<SpectrumConfig> {
        let operation = "population of spectra";
        for (field, value) in [("red", self.red), ("active", self.active)] {
            require((0.0..=1.0).contains(&value), operation, field, "0 to 1", value)?;
        }
        let z = self.redshift;
        require((0.02..=2.0).contains(&z), operation, "redshift", "0.02 to 2", z)?;
        let [low, high] = self.signal_to_noise;
        let ok = low > 0.0 && high >= low && high.is_finite();
        let got = format!("{:?}", self.signal_to_noise);
        require(ok, operation, "signal_to_noise", "two rising numbers above 0", got)?;

        let mut rng = Rng::new(self.seed).split_named("spectra").split(index);
        let redshift = loop {
            // z^2 exp(-(2z/z_max)^1.5 ...) by rejection, its maximum below 0.15 z_max^2.
            let x = rng.uniform().max(0.05);
            if rng.uniform() * 0.15 < x * x * (-(2.5 * x).powf(1.5)).exp() {
                break x * z;
            }
        };
        let red = rng.uniform() < self.red;
        let active = rng.uniform() < self.active;
        let mut between = |low: f64, high: f64| low + (high - low) * rng.uniform();
        let mut config = SpectrumConfig { redshift, grid: self.grid, ..SpectrumConfig::default() };
        let now = 13.5 - 11.0 * (1.0 - (1.0 + redshift).powf(-1.2));
        if red {
            config.timescale = between(0.3, 1.0);
            config.age = now * between(0.75, 0.98);
            config.metallicity = between(0.8, 2.2);
            config.attenuation = between(0.0, 0.25);
            config.dispersion = between(130.0, 300.0);
            // Old stars ionise gas, too (Stasinska et al. 2008): one or two Angstrom of H-alpha.
            config.extra_halpha = 10f64.powf(between(-5.3, -4.3));
        } else {
            config.timescale = between(2.0, 10.0);
            config.age = now * between(0.6, 0.95);
            config.metallicity = 10f64.powf(between(-0.6, 0.25));
            config.attenuation = between(0.1, 1.2);
            config.dispersion = between(60.0, 180.0);
        }
        config.active = match (active, red) {
            (true, _) => between(0.3, 0.95),
            (false, true) => 0.5,
            (false, false) => 0.0,
        };
        let limit = 10.7 + 2.0 * (redshift / 0.1).log10();
        config.stellar_mass = 10f64.powf(limit + between(-0.3, 0.6)).clamp(1e8, 1e13);
        config.signal_to_noise = low * (high / low).powf(between(0.0, 1.0));
        config.seed = rng.next_u64();
        config.validate()?;
        Ok(config)
    }
}

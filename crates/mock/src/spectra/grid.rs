//! Wavelengths even in their logarithm, as those of the Sloan spectrographs.

use serde::{Deserialize, Serialize};

/// log10(lambda / Angstrom) = start + step i, in vacuum: the keywords COEFF0 and COEFF1 of the Sloan Digital Sky Survey.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogGrid {
    /// Logarithm of the first wavelength.
    pub start: f64,
    /// Step of the logarithm; 0.0001 is 69 km/s.
    pub step: f64,
    /// The number of wavelengths.
    pub len: usize,
}

impl Default for LogGrid {
    /// 3802 to 9203 Angstrom in 3840 pixels of 69 km/s.
    fn default() -> Self {
        Self { start: 3.58, step: 1e-4, len: 3840 }
    }
}

impl LogGrid {
    /// Wavelength of pixel `i` in Angstrom.
    pub fn wavelength(&self, i: usize) -> f64 {
        10f64.powf(self.start + self.step * i as f64)
    }

    /// The width of a pixel in km/s: c ln(10) step.
    pub fn pixel_velocity(&self) -> f64 {
        halocast_core::SPEED_OF_LIGHT * std::f64::consts::LN_10 * self.step
    }

    /// `values` on this grid at `wavelength`, linear; zero outside.
    pub(crate) fn at(&self, values: &[f64], wavelength: f64) -> f64 {
        let x = (wavelength.log10() - self.start) / self.step;
        if !(x >= 0.0 && x <= (self.len - 1) as f64) {
            return 0.0;
        }
        let i = (x as usize).min(self.len - 2);
        let t = x - i as f64;
        values[i] + t * (values[i + 1] - values[i])
    }
}

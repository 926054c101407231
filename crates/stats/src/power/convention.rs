//! How a power spectrum is binned, normalised and corrected for its mass-assignment window.

use serde::{Deserialize, Serialize};

/// How modes are gathered in bins, and the normalisation that goes with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Binning {
    /// Bin j holds the modes j <= |k| / k_F < j + 1, up to the corner of the Fourier square; the zero mode is dropped;
    /// k is the mean |k| of the modes. P = <|F|^2> V / N^2 with the volume V and the number of cells N.
    #[default]
    Pylians,
    /// Ring j = 0 .. n/2 - 1 holds the modes j - 1/4 <= |k| / k_F < j + 1/4, n the shortest axis; k = j k_F; the power
    /// is <|F / N|^2> with no factor of volume, in the square of the field's unit. Ring 0 is the zero mode.
    Mudur,
}

/// The mass-assignment window that a spectrum is corrected for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Window {
    /// No correction.
    #[default]
    None,
    /// Nearest grid point.
    Ngp,
    /// Cloud in cell.
    Cic,
    /// Triangular-shaped cloud.
    Tsc,
    /// Piecewise cubic spline.
    Pcs,
}

impl Window {
    pub(crate) fn order(self) -> i32 {
        match self {
            Self::None => 0,
            Self::Ngp => 1,
            Self::Cic => 2,
            Self::Tsc => 3,
            Self::Pcs => 4,
        }
    }
}

/// The convention of a power spectrum: binning and window.
///
/// # Source
/// `Pk_library` of Pylians (Villaescusa-Navarro 2018) for [`Binning::Pylians`]; Mudur & Finkbeiner 2022 for
/// [`Binning::Mudur`].
///
/// # Differences
/// Transforms are in float64 (Pylians: float32). The cross spectrum of maps has the factor V / N^2 of the auto spectrum
/// (Pylians 0.12 divides by another L / n^2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerConvention {
    /// Bins and normalisation.
    pub binning: Binning,
    /// The window to correct for: each amplitude is multiplied by the product over axes of (x / sin x)^p,
    /// x = pi k_i / n_i, p = 1, 2, 3, 4 for NGP, CIC, TSC, PCS.
    pub window: Window,
}

impl PowerConvention {
    /// Pylians' bins, without window correction.
    pub fn pylians() -> Self {
        Self::default()
    }

    /// Mudur & Finkbeiner's rings.
    pub fn mudur() -> Self {
        Self { binning: Binning::Mudur, window: Window::None }
    }

    /// The same with a window correction.
    pub fn with_window(self, window: Window) -> Self {
        Self { window, ..self }
    }
}

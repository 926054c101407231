//! What follows from spectra: error bars, wider bins, the transfer function.

use serde::{Deserialize, Serialize};

use super::{CrossSpectrum, PowerSpectrum};
use crate::Bins;

/// A spectrum in given, usually wider, bins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BinnedPower {
    /// The bins of wavenumber.
    pub bins: Bins,
    /// The mean wavenumber of the modes of each bin; NaN without modes.
    pub k: Vec<f64>,
    /// The mean power of the modes of each bin; NaN without modes.
    pub power: Vec<f64>,
    /// The number of independent modes in each bin.
    pub modes: Vec<u64>,
}

impl PowerSpectrum {
    /// The standard error of a Gaussian field's power, P / sqrt(modes): the power of one complex mode scatters as much as
    /// it is. Modes that are their own conjugates scatter by sqrt 2 more; there are at most eight.
    pub fn gaussian_error(&self) -> Vec<f64> {
        self.power.iter().zip(&self.modes).map(|(p, &n)| p / (n as f64).sqrt()).collect()
    }

    /// The same spectrum in the bins `edge_i <= k < edge_(i+1)`: each old bin goes where its mean wavenumber lies, with the
    /// weight of its modes. A bin without modes is NaN, and says so by its count.
    ///
    /// ```
    /// use halocast_stats::{Bins, PowerSpectrum};
    /// let fine = PowerSpectrum { k: vec![1.0, 2.0, 3.0], power: vec![8.0, 2.0, 1.0], modes: vec![1, 3, 5] };
    /// let coarse = fine.rebinned(&Bins::new(vec![0.5, 2.5, 10.0, 20.0])?);
    /// assert_eq!(coarse.power[..2], [3.5, 1.0]);
    /// assert!(coarse.power[2].is_nan() && coarse.modes[2] == 0);
    /// # Ok::<(), halocast_stats::Error>(())
    /// ```
    pub fn rebinned(&self, bins: &Bins) -> BinnedPower {
        let count = bins.count();
        let (mut k, mut power, mut modes) = (vec![0.0; count], vec![0.0; count], vec![0u64; count]);
        for i in 0..self.k.len() {
            let edge = bins.edges().partition_point(|&e| e <= self.k[i]);
            if (1..=count).contains(&edge) {
                let weight = self.modes[i] as f64;
                k[edge - 1] += weight * self.k[i];
                power[edge - 1] += weight * self.power[i];
                modes[edge - 1] += self.modes[i];
            }
        }
        for i in 0..count {
            k[i] /= modes[i] as f64;
            power[i] /= modes[i] as f64;
        }
        BinnedPower { bins: bins.clone(), k, power, modes }
    }
}

impl CrossSpectrum {
    /// The transfer function of the second field on the first, T(k) = sqrt(P_2 / P_1): with r = 1, the second field is the
    /// first one filtered by it.
    pub fn transfer(&self) -> Vec<f64> {
        self.auto[0].iter().zip(&self.auto[1]).map(|(a, b)| (b / a).sqrt()).collect()
    }

    /// 1 - r^2: the fraction of the second field's power that no linear filter of the first explains.
    pub fn stochasticity(&self) -> Vec<f64> {
        self.coherence().iter().map(|r| 1.0 - r * r).collect()
    }
}

#[cfg(test)]
mod tests {
    use halocast_core::{Map, Rng};
    use ndarray::Array2;

    use super::super::{PowerConvention, cross_spectrum, power_spectra, power_spectrum};

    fn noise(seed: u64) -> Map {
        Map::square("noise", Array2::from_shape_vec((32, 32), Rng::new(seed).normals(1024)).unwrap(), 5.0)
    }

    #[test]
    fn a_factor_is_its_own_transfer_function() {
        let a = noise(1);
        let found = cross_spectrum(&a, &a.map_values(|v| 3.0 * v), PowerConvention::pylians()).unwrap();
        assert!(found.transfer().iter().all(|t| (t - 3.0).abs() < 1e-6));
        assert!(found.coherence().iter().all(|r| (r - 1.0).abs() < 1e-9));
        assert!(found.stochasticity().iter().all(|s| s.abs() < 1e-9));
    }

    #[test]
    fn the_error_of_noise_is_its_scatter() {
        let maps: Vec<Map> = (0..400).map(noise).collect();
        let spectra = power_spectra(&maps, PowerConvention::pylians()).unwrap();
        let one = power_spectrum(&maps[0], PowerConvention::pylians()).unwrap();
        let (mean, std) = (spectra.mean(), spectra.std());
        // Below Nyquist but for the first bins, where the four axes' modes are most of all.
        for j in 2..15 {
            let expected = one.gaussian_error()[j] / one.power[j] * mean[j];
            assert!((std[j] / expected - 1.0).abs() < 0.2, "bin {j}: {} {expected}", std[j]);
        }
    }
}

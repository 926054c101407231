//! How a network becomes a denoiser.

use serde::{Deserialize, Serialize};

use crate::diffusion::Levels;
use crate::{Error, Result};

/// The factors of $D(x; \sigma) = c_\mathrm{skip}\, x + c_\mathrm{out}\, F(c_\mathrm{in}\, x;\ c_\mathrm{noise})$.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coefficients {
    /// Of x.
    pub skip: f64,
    /// Of the network's output.
    pub output: f64,
    /// Of x within the network.
    pub input: f64,
    /// What the network is told of sigma.
    pub noise: f64,
}

/// The preconditioning of a network (Karras et al. 2022, table 1).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Precondition {
    /// $c_\mathrm{skip} = \sigma_d^2 / (\sigma^2 + \sigma_d^2)$,
    /// $c_\mathrm{out} = \sigma \sigma_d / \sqrt{\sigma^2 + \sigma_d^2}$,
    /// $c_\mathrm{in} = 1 / \sqrt{\sigma^2 + \sigma_d^2}$, $c_\mathrm{noise} = \ln \sigma / 4$.
    Edm {
        /// Standard deviation $\sigma_d$ of the data.
        sigma_data: f64,
    },
    /// Variance preserving (Song et al. 2021): 1, $-\sigma$, $1 / \sqrt{\sigma^2 + 1}$, $(M - 1)\, t(\sigma)$ with
    /// $\sigma(t)^2 = e^{\beta_d t^2 / 2 + \beta_\mathrm{min} t} - 1$.
    Vp {
        /// $\beta_d$.
        beta_d: f64,
        /// $\beta_\mathrm{min}$.
        beta_min: f64,
        /// M.
        timesteps: usize,
        /// The smallest t.
        epsilon_t: f64,
    },
    /// Variance exploding (Song et al. 2021): 1, $\sigma$, 1, $\ln(\sigma / 2)$.
    Ve {
        /// The lowest noise level.
        sigma_min: f64,
        /// The highest noise level.
        sigma_max: f64,
    },
    /// Improved DDPM (Nichol & Dhariwal 2021): 1, $-\sigma$, $1 / \sqrt{\sigma^2 + 1}$, and M - 1 less the index of the
    /// nearest of the levels $u_j$; the network has twice the channels of the data, of which the second half, its variance,
    /// is not used.
    Iddpm {
        /// Least ratio of successive $\bar\alpha$.
        c_1: f64,
        /// Offset of the cosine schedule.
        c_2: f64,
        /// M.
        timesteps: usize,
    },
}

impl Default for Precondition {
    fn default() -> Self {
        Self::Edm { sigma_data: 0.5 }
    }
}

impl Precondition {
    /// The variance preserving one with the values of Song et al. 2021.
    pub fn vp() -> Self {
        Self::Vp { beta_d: 19.9, beta_min: 0.1, timesteps: 1000, epsilon_t: 1e-5 }
    }

    /// The variance exploding one with the values of Song et al. 2021.
    pub fn ve() -> Self {
        Self::Ve { sigma_min: 0.02, sigma_max: 100.0 }
    }

    /// That of improved DDPM with its values.
    pub fn iddpm() -> Self {
        Self::Iddpm { c_1: 1e-3, c_2: 8e-3, timesteps: 1000 }
    }

    /// The factors at `sigma`.
    pub fn coefficients(&self, sigma: f64) -> Coefficients {
        let root = |data: f64| (sigma * sigma + data * data).sqrt();
        match *self {
            Self::Edm { sigma_data: data } => Coefficients {
                skip: data * data / (sigma * sigma + data * data),
                output: sigma * data / root(data),
                input: 1.0 / root(data),
                noise: sigma.ln() / 4.0,
            },
            Self::Vp { beta_d, beta_min, timesteps, .. } => Coefficients {
                skip: 1.0,
                output: -sigma,
                input: 1.0 / root(1.0),
                noise: (timesteps as f64 - 1.0) * vp_sigma_inverse(sigma, beta_d, beta_min),
            },
            Self::Ve { .. } => {
                Coefficients { skip: 1.0, output: sigma, input: 1.0, noise: (0.5 * sigma).ln() }
            }
            Self::Iddpm { timesteps, .. } => Coefficients {
                skip: 1.0,
                output: -sigma,
                input: 1.0 / root(1.0),
                noise: timesteps as f64 - 1.0 - self.round(sigma).1 as f64,
            },
        }
    }

    /// The level nearest to `sigma` and its index, where levels are discrete; `sigma` and 0 elsewhere.
    pub fn round(&self, sigma: f64) -> (f64, usize) {
        let Self::Iddpm { c_1, c_2, timesteps } = *self else { return (sigma, 0) };
        let levels = iddpm_levels(c_1, c_2, timesteps, true);
        // Descending: the nearest is on one side of where sigma belongs.
        let below = levels.partition_point(|&u| u > sigma);
        let nearer = |i: usize| levels.get(i).map_or(f64::INFINITY, |u| (u - sigma).abs());
        let index = if below > 0 && nearer(below - 1) <= nearer(below) { below - 1 } else { below };
        (levels.get(index).copied().unwrap_or(sigma), index)
    }

    /// The noise levels that it is made for; for [`Precondition::Edm`], which is for all, those from `min` to `max`.
    pub fn levels(&self, min: f64, max: f64) -> Levels {
        match *self {
            Self::Edm { .. } => Levels::Continuous { min, max },
            Self::Vp { beta_d, beta_min, epsilon_t, .. } => Levels::Continuous {
                min: vp_sigma(epsilon_t, beta_d, beta_min),
                max: vp_sigma(1.0, beta_d, beta_min),
            },
            Self::Ve { sigma_min, sigma_max } => Levels::Continuous { min: sigma_min, max: sigma_max },
            Self::Iddpm { c_1, c_2, timesteps } => {
                let mut levels = iddpm_levels(c_1, c_2, timesteps, true);
                levels.truncate(timesteps);
                levels.reverse();
                Levels::Discrete(levels)
            }
        }
    }

    /// Channels that the network must give for `channels` of the data.
    pub fn outputs(&self, channels: usize) -> usize {
        if matches!(self, Self::Iddpm { .. }) { 2 * channels } else { channels }
    }

    /// Checks its values.
    ///
    /// # Errors
    /// [`Error::Config`] naming the value that is not usable.
    pub fn validate(&self) -> Result<()> {
        let fine = match *self {
            Self::Edm { sigma_data } => sigma_data > 0.0 && sigma_data.is_finite(),
            Self::Vp { beta_d, beta_min, timesteps, epsilon_t } => {
                beta_d > 0.0 && beta_min >= 0.0 && timesteps > 1 && epsilon_t > 0.0 && epsilon_t < 1.0
            }
            Self::Ve { sigma_min, sigma_max } => sigma_min > 0.0 && sigma_max > sigma_min,
            Self::Iddpm { c_1, c_2, timesteps } => c_1 > 0.0 && c_2 > 0.0 && timesteps > 1,
        };
        if fine {
            return Ok(());
        }
        let expected = "positive values, with more than one timestep and the lowest noise below the highest";
        let (field, got) = ("precondition".into(), format!("{self:?}"));
        Err(Error::Config { model: "EDM", field, expected: expected.into(), got })
    }
}

/// $\sigma(t) = \sqrt{e^{\beta_d t^2 / 2 + \beta_\mathrm{min} t} - 1}$ of the variance preserving process.
pub(crate) fn vp_sigma(t: f64, beta_d: f64, beta_min: f64) -> f64 {
    (0.5 * beta_d * t * t + beta_min * t).exp_m1().sqrt()
}

/// The inverse of [`vp_sigma`].
pub(crate) fn vp_sigma_inverse(sigma: f64, beta_d: f64, beta_min: f64) -> f64 {
    ((beta_min * beta_min + 2.0 * beta_d * (sigma * sigma).ln_1p()).sqrt() - beta_min) / beta_d
}

/// The levels $u_0 > \ldots > u_M = 0$ of improved DDPM, $u_{j-1}^2 = (u_j^2 + 1) / \max(\bar\alpha_{j-1} /
/// \bar\alpha_j, c_1) - 1$ with $\bar\alpha_j = \sin^2(\pi j / 2 M (c_2 + 1))$.
///
/// The recursion carries rounding along: the lowest levels depend on it at the fourth digit. So this rounds where the
/// reference does: $\bar\alpha$ in single precision, and with `single` all else too, as for the levels of its networks.
pub(crate) fn iddpm_levels(c_1: f64, c_2: f64, timesteps: usize, single: bool) -> Vec<f64> {
    let alpha_bar = |j: usize| {
        let angle = std::f32::consts::FRAC_PI_2 * j as f32 / timesteps as f32 / (c_2 + 1.0) as f32;
        let sine = angle.sin();
        sine * sine
    };
    let rounded = |value: f64| if single { f64::from(value as f32) } else { value };
    let mut levels = vec![0.0f64; timesteps + 1];
    for j in (1..=timesteps).rev() {
        let ratio = f64::from((alpha_bar(j - 1) / alpha_bar(j)).max(c_1 as f32));
        let above = rounded(rounded(levels[j] * levels[j]) + 1.0);
        levels[j - 1] = rounded(rounded(rounded(above / ratio) - 1.0).sqrt());
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_and_the_target_of_the_network_have_variance_one() {
        // Karras et al. 2022, appendix B.6: for data of variance sigma_d^2.
        let data = 0.7;
        for sigma in [0.01, 0.3, 5.0, 70.0] {
            let c = Precondition::Edm { sigma_data: data }.coefficients(sigma);
            assert!((c.input.powi(2) * (data * data + sigma * sigma) - 1.0).abs() < 1e-12);
            // The target (y - c_skip (y + n)) / c_out.
            let variance = ((1.0 - c.skip) * data).powi(2) + (c.skip * sigma).powi(2);
            assert!((variance / c.output.powi(2) - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn the_time_of_a_level_is_found_again_and_levels_are_rounded() {
        for t in [1e-5, 0.1, 0.9] {
            assert!((vp_sigma_inverse(vp_sigma(t, 19.9, 0.1), 19.9, 0.1) / t - 1.0).abs() < 1e-9);
        }
        let levels = iddpm_levels(1e-3, 8e-3, 1000, true);
        for i in [0, 17, 999, 1000] {
            assert_eq!(Precondition::iddpm().round(levels[i] * (1.0 + 1e-9)), (levels[i], i));
        }
        let between = 0.4 * levels[10] + 0.6 * levels[11];
        assert_eq!(Precondition::iddpm().round(between).1, 11);
    }
}

//! Noise schedules of discrete diffusion.

use serde::{Deserialize, Serialize};

/// How the noise variance beta_t grows over the T steps of the forward chain
/// q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Schedule {
    /// beta from `start` to `end` in equal steps (Ho et al. 2020, section 4).
    Linear {
        /// beta of the first step.
        start: f64,
        /// beta of the last step.
        end: f64,
    },
    /// alpha_bar(t) = cos^2((t/T + s) / (1 + s) pi/2) with s = 0.008, beta at most 0.999 (Nichol & Dhariwal 2021, eq. 17).
    Cosine,
    /// alpha_bar(t) = (s(end) - s(start + (end - start) t/T)) / (s(end) - s(start)) with s(u) = 1 / (1 + exp(-u / tau)), beta
    /// at most 0.999 (Jabri et al. 2022, arXiv:2212.11972, section 3.2).
    Sigmoid {
        /// Where the sigmoid is entered; -3 there.
        start: f64,
        /// Where it is left; 3 there.
        end: f64,
        /// Its width; 1 there.
        tau: f64,
    },
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Linear { start: 1e-4, end: 0.02 }
    }
}

impl Schedule {
    /// The sigmoid schedule from -3 to 3.
    pub fn sigmoid() -> Self {
        Self::Sigmoid { start: -3.0, end: 3.0, tau: 1.0 }
    }

    /// beta_t for t = 0..T.
    pub fn betas(&self, timesteps: usize) -> Vec<f64> {
        let total = timesteps as f64;
        match *self {
            Self::Linear { start, end } => {
                let step = (end - start) / (total - 1.0).max(1.0);
                (0..timesteps).map(|t| start + step * t as f64).collect()
            }
            Self::Cosine => {
                let alpha_bar =
                    |t: f64| ((t / total + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
                (0..timesteps)
                    .map(|t| (1.0 - alpha_bar(t as f64 + 1.0) / alpha_bar(t as f64)).min(0.999))
                    .collect()
            }
            Self::Sigmoid { start, end, tau } => {
                let sigmoid = |u: f64| 1.0 / (1.0 + (-u / tau).exp());
                // The ends in single precision, as lucidrains has them: the last betas depend on it.
                let [first, last] = [start, end].map(|u| f64::from(sigmoid(u) as f32));
                let alpha_bar = |t: f64| (last - sigmoid(start + (end - start) * t / total)) / (last - first);
                (0..timesteps)
                    .map(|t| 1.0 - alpha_bar(t as f64 + 1.0) / alpha_bar(t as f64))
                    .map(|beta| beta.clamp(0.0, 0.999))
                    .collect()
            }
        }
    }

    /// alpha_bar_t = product of (1 - beta_s) for s = 0..=t.
    pub fn alphas_bar(&self, timesteps: usize) -> Vec<f64> {
        let mut product = 1.0;
        self.betas(timesteps)
            .into_iter()
            .map(|beta| {
                product *= 1.0 - beta;
                product
            })
            .collect()
    }
}

/// The noise level sigma = sqrt((1 - alpha_bar) / alpha_bar) of x_t / sqrt(alpha_bar) = x0 + sigma n.
pub fn sigma_of(alpha_bar: f64) -> f64 {
    ((1.0 - alpha_bar) / alpha_bar).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paper_schedule_ends_in_noise() {
        // T = 2000, 1e-4 to 0.02: alpha_bar_T = 1.6288e-9 and sqrt(1 - alpha_bar_499) = 0.85197, by direct product.
        let bar = Schedule::default().alphas_bar(2000);
        assert!((bar[1999] / 1.6288e-9 - 1.0).abs() < 1e-4, "{}", bar[1999]);
        assert!(((1.0 - bar[499]).sqrt() - 0.85197).abs() < 1e-5);
        assert!(((1.0 - bar[0]).sqrt() - 0.01).abs() < 1e-12);
    }

    #[test]
    fn cosine_follows_its_formula_until_the_cap() {
        let bar = Schedule::Cosine.alphas_bar(1000);
        let f = |t: f64| ((t / 1000.0 + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
        for t in [1usize, 250, 900] {
            assert!((bar[t - 1] - f(t as f64) / f(0.0)).abs() < 1e-12);
        }
    }

    #[test]
    fn noise_grows() {
        for schedule in [Schedule::default(), Schedule::Cosine, Schedule::sigmoid()] {
            let bar = schedule.alphas_bar(300);
            assert!(bar.windows(2).all(|w| sigma_of(w[1]) > sigma_of(w[0])));
        }
    }
}

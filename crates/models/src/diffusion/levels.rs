//! The noise levels that a denoiser knows.

use serde::{Deserialize, Serialize};

/// The noise levels sigma of x = x0 + sigma n that a denoiser was trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Levels {
    /// These alone, ascending.
    Discrete(Vec<f64>),
    /// All between a lowest and a highest.
    Continuous {
        /// The lowest.
        min: f64,
        /// The highest.
        max: f64,
    },
}

impl Levels {
    /// The lowest level.
    pub fn min(&self) -> f64 {
        match self {
            Self::Discrete(sigmas) => sigmas.first().copied().unwrap_or(0.0),
            Self::Continuous { min, .. } => *min,
        }
    }

    /// The highest level.
    pub fn max(&self) -> f64 {
        match self {
            Self::Discrete(sigmas) => sigmas.last().copied().unwrap_or(0.0),
            Self::Continuous { max, .. } => *max,
        }
    }

    /// The number of levels; `None` for a continuum.
    pub fn count(&self) -> Option<usize> {
        match self {
            Self::Discrete(sigmas) => Some(sigmas.len()),
            Self::Continuous { .. } => None,
        }
    }

    /// The level nearest to `sigma` in its logarithm.
    pub fn nearest(&self, sigma: f64) -> f64 {
        match self {
            Self::Discrete(sigmas) => sigmas[self.index(sigma).round() as usize],
            Self::Continuous { min, max } => sigma.clamp(*min, *max),
        }
    }

    /// The place of `sigma` among discrete levels: whole at a level, between two by the logarithm; clamped to the ends. In
    /// a continuum, from 0 at the lowest to 1 at the highest.
    pub fn index(&self, sigma: f64) -> f64 {
        let fraction = |low: f64, high: f64| {
            let span = high.ln() - low.ln();
            if span > 0.0 { ((sigma.ln() - low.ln()) / span).clamp(0.0, 1.0) } else { 0.0 }
        };
        match self {
            Self::Continuous { min, max } => fraction(*min, *max),
            Self::Discrete(sigmas) => {
                let above = sigmas.partition_point(|&s| s < sigma);
                match (sigmas.get(above), above) {
                    (None, _) => sigmas.len().saturating_sub(1) as f64,
                    (Some(_), 0) => 0.0,
                    (Some(&high), i) if high == sigma => i as f64,
                    (Some(&high), i) => (i - 1) as f64 + fraction(sigmas[i - 1], high),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_among_levels_is_whole_at_a_level_and_clamped_at_the_ends() {
        let levels = Levels::Discrete(vec![1.0, 2.0, 8.0]);
        assert_eq!([0.5, 1.0, 2.0, 4.0, 8.0, 9.0].map(|s| levels.index(s)), [0.0, 0.0, 1.0, 1.5, 2.0, 2.0]);
        assert_eq!([0.5, 1.3, 1.5, 5.0, 99.0].map(|s| levels.nearest(s)), [1.0, 1.0, 2.0, 8.0, 8.0]);
        let levels = Levels::Continuous { min: 0.01, max: 100.0 };
        assert!((levels.index(1.0) - 0.5).abs() < 1e-12);
        assert_eq!((levels.index(1e3), levels.nearest(1e3)), (1.0, 100.0));
    }
}

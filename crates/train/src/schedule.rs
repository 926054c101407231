//! How the learning rate changes over a run.

use serde::{Deserialize, Serialize};

/// The shape $f$ of the learning rate $\eta_s = \eta f(s)$ after the warm-up of $w$ steps, in a run of $N$ steps counted
/// from 1; during the warm-up $f(s) = s / w$.
///
/// ```
/// use halocast_train::LearningRate;
/// let steps = LearningRate::Step { every: 30, factor: 0.1 };
/// assert_eq!([steps.factor(29, 0, 90), steps.factor(30, 0, 90)], [1.0, 0.1]);
/// assert_eq!(LearningRate::Linear { from: 50 }.factor(75, 0, 100), 0.5);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LearningRate {
    /// $f = 1$.
    #[default]
    Constant,
    /// $f = (1 + \cos \pi u) / 2$ with $u = (s - w) / (N - w)$: to zero along half a cosine.
    ///
    /// # Source
    /// Loshchilov & Hutter 2017, arXiv:1608.03983, Eq. 5 without restarts.
    Cosine,
    /// $f = 1$ up to step `from`, then $(N - s) / (N - \mathrm{from})$: to zero along a line.
    ///
    /// # Source
    /// Isola et al. 2017, arXiv:1611.07004, in their code; Zhu et al. 2017, arXiv:1703.10593, Section 4.
    Linear {
        /// The last step at the full rate.
        from: u64,
    },
    /// $f = \mathrm{factor}^{\lfloor (s - w) / \mathrm{every} \rfloor}$.
    Step {
        /// Steps between falls.
        every: u64,
        /// What the rate is multiplied by at each.
        factor: f64,
    },
}

impl LearningRate {
    /// $f$ at a step, counted from 1, of a run of `iterations` steps of which `warmup` warm up.
    pub fn factor(&self, step: u64, warmup: u64, iterations: u64) -> f64 {
        if step < warmup {
            return step as f64 / warmup as f64;
        }
        let since = (step - warmup) as f64;
        match *self {
            Self::Constant => 1.0,
            Self::Cosine => {
                let span = iterations.saturating_sub(warmup).max(1) as f64;
                0.5 * (1.0 + (std::f64::consts::PI * (since / span).min(1.0)).cos())
            }
            Self::Linear { from } if step <= from => 1.0,
            Self::Linear { from } => {
                let span = iterations.saturating_sub(from).max(1) as f64;
                iterations.saturating_sub(step) as f64 / span
            }
            Self::Step { every, factor } => factor.powf((since / every.max(1) as f64).floor()),
        }
    }

    /// Whether the rate of a step depends on the length of the run.
    pub fn knows_the_end(&self) -> bool {
        matches!(self, Self::Cosine | Self::Linear { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_its_closed_form() {
        let cosine = |step| LearningRate::Cosine.factor(step, 10, 100);
        assert_eq!(cosine(5), 0.5);
        assert_eq!(cosine(10), 1.0);
        assert!((cosine(40) - 0.75).abs() < 1e-12, "cos(pi / 3) = 1 / 2");
        assert!((cosine(55) - 0.5).abs() < 1e-12);
        assert!(cosine(100) < 1e-12);

        let line = |step| LearningRate::Linear { from: 60 }.factor(step, 4, 100);
        assert_eq!([line(1), line(4), line(60), line(70), line(100)], [0.25, 1.0, 1.0, 0.75, 0.0]);

        let stairs = |step| LearningRate::Step { every: 10, factor: 0.5 }.factor(step, 5, 100);
        assert_eq!([stairs(4), stairs(14), stairs(15), stairs(39)], [0.8, 1.0, 0.5, 0.125]);

        assert!((1..200).all(|step| LearningRate::Constant.factor(step, 0, 100) == 1.0));
    }
}

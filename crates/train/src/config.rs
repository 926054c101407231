//! How a model is trained.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How the learning rate changes over a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LearningRate {
    /// It stays.
    #[default]
    Constant,
    /// It falls to zero along half a cosine (Loshchilov & Hutter 2017).
    Cosine,
}

/// The training of one model; the default is that of Mudur & Finkbeiner 2022 at 64x64.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Examples a step.
    pub batch: usize,
    /// Optimiser steps in all.
    pub iterations: u64,
    /// Highest learning rate of Adam.
    pub learning_rate: f64,
    /// How it changes.
    pub schedule: LearningRate,
    /// Steps over which it rises from zero.
    pub warmup: u64,
    /// Decay of Adam's first moment.
    pub beta1: f64,
    /// Decay of Adam's second moment.
    pub beta2: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Largest norm of the whole gradient; longer ones are scaled down to it.
    pub clip: Option<f64>,
    /// Decay of the moving average of the parameters that checkpoints hold; `None` keeps no average.
    pub ema: Option<f64>,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Seed of parameters, order, augmentation and noise.
    pub seed: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            batch: 40,
            iterations: 60_000,
            learning_rate: 5e-4,
            schedule: LearningRate::Constant,
            warmup: 0,
            beta1: 0.9,
            beta2: 0.999,
            weight_decay: 0.0,
            clip: None,
            ema: None,
            checkpoint_every: 2000,
            seed: 0,
        }
    }
}

impl TrainConfig {
    /// Checks that every number is in its domain.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first that is not.
    pub fn validate(&self) -> Result<()> {
        let unit = |x: f64| (0.0..1.0).contains(&x);
        let checks = [
            ("batch", self.batch > 0, "at least 1", self.batch.to_string()),
            ("iterations", self.iterations > 0, "at least 1", self.iterations.to_string()),
            (
                "learning_rate",
                self.learning_rate.is_finite() && self.learning_rate > 0.0,
                "finite and positive",
                self.learning_rate.to_string(),
            ),
            ("beta1", unit(self.beta1), "in [0, 1)", self.beta1.to_string()),
            ("beta2", unit(self.beta2), "in [0, 1)", self.beta2.to_string()),
            ("weight_decay", self.weight_decay >= 0.0, "at least 0", self.weight_decay.to_string()),
            ("clip", self.clip.is_none_or(|c| c > 0.0), "positive", format!("{:?}", self.clip)),
            ("ema", self.ema.is_none_or(unit), "in [0, 1)", format!("{:?}", self.ema)),
            ("checkpoint_every", self.checkpoint_every > 0, "at least 1", self.checkpoint_every.to_string()),
        ];
        for (field, ok, expected, got) in checks {
            if !ok {
                return Err(Error::Config { field, expected: expected.into(), got });
            }
        }
        Ok(())
    }

    /// The learning rate of a step, counted from 1.
    pub fn learning_rate_at(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.learning_rate * step as f64 / self.warmup as f64;
        }
        match self.schedule {
            LearningRate::Constant => self.learning_rate,
            LearningRate::Cosine => {
                let span = self.iterations.saturating_sub(self.warmup).max(1) as f64;
                let along = (step - self.warmup) as f64 / span;
                0.5 * self.learning_rate * (1.0 + (std::f64::consts::PI * along.min(1.0)).cos())
            }
        }
    }

    /// The decay of the moving average at a step: it starts short and grows to the configured one, so that the first
    /// random parameters are soon forgotten.
    pub fn ema_decay_at(&self, step: u64) -> f64 {
        let t = step as f64;
        self.ema.map_or(0.0, |decay| decay.min((1.0 + t) / (10.0 + t)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learning_rate_rises_and_falls() {
        let config = TrainConfig {
            iterations: 100,
            warmup: 10,
            learning_rate: 1.0,
            schedule: LearningRate::Cosine,
            ..Default::default()
        };
        assert_eq!(config.learning_rate_at(5), 0.5);
        assert_eq!(config.learning_rate_at(10), 1.0);
        assert!((config.learning_rate_at(55) - 0.5).abs() < 1e-12);
        assert!(config.learning_rate_at(100) < 1e-12);
    }

    #[test]
    fn nonsense_is_named() {
        let bad = TrainConfig { learning_rate: f64::NAN, ..Default::default() };
        assert!(bad.validate().unwrap_err().to_string().contains("learning_rate is NaN"));
    }
}

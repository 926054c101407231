//! How a model is trained.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Error, LearningRate, Result};

/// How a gradient becomes a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rule {
    /// Adam; weight decay, if any, is added to the gradient (L2).
    Adam(AdamConfig),
    /// Adam with decoupled weight decay: a step first shrinks a parameter by the rate times the decay.
    AdamW(AdamConfig),
    /// Stochastic gradient descent with momentum.
    Sgd(SgdConfig),
}

impl Default for Rule {
    fn default() -> Self {
        Self::Adam(AdamConfig::default())
    }
}

/// The numbers of Adam and AdamW.
///
/// # Source
/// Kingma & Ba 2015, arXiv:1412.6980, Algorithm 1; Loshchilov & Hutter 2019, arXiv:1711.05101, Algorithm 2.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Weight decay.
    pub weight_decay: f64,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

/// The numbers of stochastic gradient descent, of parameters $\theta$ with gradient $g$ and velocity $b$:
///
/// $$ g' = g + \lambda \theta, \quad b \leftarrow \mu b + g', \quad \theta \leftarrow \theta - \eta b, $$
///
/// or, after Nesterov, $\theta \leftarrow \theta - \eta (g' + \mu b)$.
///
/// # Source
/// Sutskever et al. 2013 (ICML), Section 2, in the form PyTorch has given it: the rate outside the velocity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SgdConfig {
    /// Decay of the velocity, $\mu$.
    pub momentum: f64,
    /// Nesterov's step.
    pub nesterov: bool,
    /// Weight decay, $\lambda$.
    pub weight_decay: f64,
}

/// How the parameters of one phase are moved; the default is that of Mudur & Finkbeiner 2022 at 64x64.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// From a gradient to a step.
    pub rule: Rule,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// How it changes.
    pub schedule: LearningRate,
    /// Steps over which it rises from zero.
    pub warmup: u64,
    /// Largest norm of the whole gradient of the phase; longer ones are scaled down to it.
    pub clip: Option<f64>,
    /// Largest absolute value of an element of the gradient; this comes before `clip`.
    pub clip_value: Option<f64>,
    /// Steps of this phase in one step of the run: 5 for the critic of a Wasserstein GAN.
    pub repeat: usize,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            rule: Rule::default(),
            learning_rate: 5e-4,
            schedule: LearningRate::Constant,
            warmup: 0,
            clip: None,
            clip_value: None,
            repeat: 1,
        }
    }
}

impl OptimizerConfig {
    /// The learning rate of a step, counted from 1, of a run of `iterations`.
    pub fn learning_rate_at(&self, step: u64, iterations: u64) -> f64 {
        self.learning_rate * self.schedule.factor(step, self.warmup, iterations)
    }
}

/// The training of one model.
///
/// ```
/// use halocast_train::TrainConfig;
/// let config: TrainConfig = serde_json::from_str(
///     r#"{
///         "batch": 8,
///         "optimizer": { "learning_rate": 2e-4, "rule": { "rule": "adam", "beta1": 0.5 } },
///         "phases": { "discriminator": { "learning_rate": 1e-4, "repeat": 5 } },
///         "ema": [0.999, 0.9999]
///     }"#,
/// )?;
/// config.validate()?;
/// assert_eq!(config.optimizer_of("generator").learning_rate, 2e-4);
/// assert_eq!(config.optimizer_of("discriminator").repeat, 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Examples a step.
    pub batch: usize,
    /// Parts into which a batch is divided, to save memory; their gradients are averaged. It must divide `batch`.
    pub accumulate: usize,
    /// Steps in all.
    pub iterations: u64,
    /// How the parameters of every phase are moved that `phases` does not name.
    pub optimizer: OptimizerConfig,
    /// The same for phases with settings of their own, by name.
    pub phases: BTreeMap<String, OptimizerConfig>,
    /// Decays of the moving averages of the parameters; every one has its file at each checkpoint.
    pub ema: Vec<f64>,
    /// The decay of the average that `checkpoint-NNNNNNNN.safetensors` holds; `None` is the first of `ema`, or the
    /// parameters themselves where there is none.
    pub sample_from: Option<f64>,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// The number of last checkpoints kept, besides the best; `None` keeps all.
    pub keep_last: Option<usize>,
    /// Checkpoints at multiples of this step are kept, too.
    pub keep_every: Option<u64>,
    /// Steps between the events at which a program may draw samples.
    pub sample_every: Option<u64>,
    /// Whether to write an event file for TensorBoard.
    pub tensorboard: bool,
    /// Seed of parameters, order, augmentation and noise.
    pub seed: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            batch: 40,
            accumulate: 1,
            iterations: 60_000,
            optimizer: OptimizerConfig::default(),
            phases: BTreeMap::new(),
            ema: Vec::new(),
            sample_from: None,
            checkpoint_every: 2000,
            keep_last: None,
            keep_every: None,
            sample_every: None,
            tensorboard: true,
            seed: 0,
        }
    }
}

impl TrainConfig {
    /// How the parameters of a phase are moved.
    pub fn optimizer_of(&self, phase: &str) -> &OptimizerConfig {
        self.phases.get(phase).unwrap_or(&self.optimizer)
    }

    /// Checks that every number is in its domain.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first that is not.
    pub fn validate(&self) -> Result<()> {
        let whole = |field, n: u64| (field, n > 0, "at least 1", n.to_string());
        check([
            whole("batch", self.batch as u64),
            whole("accumulate", self.accumulate as u64),
            whole("iterations", self.iterations),
            whole("checkpoint_every", self.checkpoint_every),
            whole("keep_last", self.keep_last.map_or(1, |n| n as u64)),
            whole("keep_every", self.keep_every.unwrap_or(1)),
            whole("sample_every", self.sample_every.unwrap_or(1)),
            (
                "accumulate",
                self.batch.is_multiple_of(self.accumulate.max(1)),
                "a divisor of the batch",
                format!("{} for a batch of {}", self.accumulate, self.batch),
            ),
            ("ema", self.ema.iter().all(|&d| unit(d)), "in [0, 1)", format!("{:?}", self.ema)),
            (
                "sample_from",
                self.sample_from.is_none_or(|d| self.ema.contains(&d)),
                "one of the decays of ema",
                format!("{:?} of {:?}", self.sample_from, self.ema),
            ),
        ])?;
        std::iter::once(&self.optimizer).chain(self.phases.values()).try_for_each(validate_optimizer)
    }

    /// What of this configuration decides the bits of a run of which only a part was taken: a run may be resumed under
    /// a configuration of the same essence.
    ///
    /// What is written, and how often, changes nothing; nor does the number of iterations, where no schedule knows the
    /// end.
    pub(crate) fn essence(&self) -> Self {
        let mut optimizers = std::iter::once(&self.optimizer).chain(self.phases.values());
        let open = !optimizers.any(|optimizer| optimizer.schedule.knows_the_end());
        let like = Self::default();
        Self {
            iterations: if open { like.iterations } else { self.iterations },
            sample_from: like.sample_from,
            checkpoint_every: like.checkpoint_every,
            keep_last: like.keep_last,
            keep_every: like.keep_every,
            sample_every: like.sample_every,
            tensorboard: like.tensorboard,
            ..self.clone()
        }
    }
}

type Check = (&'static str, bool, &'static str, String);

fn check(checks: impl IntoIterator<Item = Check>) -> Result<()> {
    for (field, ok, expected, got) in checks {
        if !ok {
            return Err(Error::Config { field, expected: expected.into(), got });
        }
    }
    Ok(())
}

fn unit(x: f64) -> bool {
    (0.0..1.0).contains(&x)
}

fn validate_optimizer(optimizer: &OptimizerConfig) -> Result<()> {
    let fraction = |field, x: f64| (field, unit(x), "in [0, 1)", x.to_string());
    let positive = |field, x: f64| (field, x.is_finite() && x > 0.0, "finite and positive", x.to_string());
    let decay = |x: f64| ("weight_decay", x.is_finite() && x >= 0.0, "finite, at least 0", x.to_string());
    check([
        positive("learning_rate", optimizer.learning_rate),
        positive("clip", optimizer.clip.unwrap_or(1.0)),
        positive("clip_value", optimizer.clip_value.unwrap_or(1.0)),
        ("repeat", optimizer.repeat > 0, "at least 1", optimizer.repeat.to_string()),
    ])?;
    if let LearningRate::Step { every, factor } = optimizer.schedule {
        let every = ("schedule.every", every > 0, "at least 1", every.to_string());
        check([every, positive("schedule.factor", factor)])?;
    }
    match optimizer.rule {
        Rule::Adam(adam) | Rule::AdamW(adam) => check([
            fraction("beta1", adam.beta1),
            fraction("beta2", adam.beta2),
            positive("epsilon", adam.epsilon),
            decay(adam.weight_decay),
        ]),
        Rule::Sgd(sgd) => check([fraction("momentum", sgd.momentum), decay(sgd.weight_decay)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_named() {
        let with = |optimizer| TrainConfig { optimizer, ..Default::default() };
        let base = OptimizerConfig::default();
        let sgd = Rule::Sgd(SgdConfig { momentum: 1.0, ..Default::default() });
        for (bad, message) in [
            (with(OptimizerConfig { learning_rate: f64::NAN, ..base }), "learning_rate is NaN"),
            (with(OptimizerConfig { rule: sgd, ..base }), "momentum is 1"),
            (with(OptimizerConfig { repeat: 0, ..base }), "repeat is 0"),
            (TrainConfig { batch: 6, accumulate: 4, ..Default::default() }, "4 for a batch of 6"),
            (TrainConfig { sample_from: Some(0.9), ..Default::default() }, "sample_from"),
        ] {
            let told = bad.validate().unwrap_err().to_string();
            assert!(told.contains(message), "{told}");
        }
        let strange = serde_json::from_str::<TrainConfig>(r#"{"learning_rte": 1}"#).unwrap_err();
        assert!(strange.to_string().contains("learning_rte"));
    }

    #[test]
    fn a_longer_run_is_the_same_run_unless_its_schedule_knows_the_end() {
        let long = |iterations, schedule| {
            let optimizer = OptimizerConfig { schedule, ..Default::default() };
            TrainConfig { iterations, optimizer, checkpoint_every: iterations, ..Default::default() }
                .essence()
        };
        let constant = LearningRate::Constant;
        assert_eq!(long(10, constant), long(20, constant));
        assert_ne!(long(10, LearningRate::Cosine), long(20, LearningRate::Cosine));
        assert_ne!(long(10, LearningRate::Cosine), long(10, constant));
    }
}

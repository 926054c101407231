//! From gradients to steps, the state in the open so that a run can be saved and resumed.

mod sgd;

use std::collections::HashMap;

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use halocast_kernels::{AdamCfg, AdamState};

use crate::weights::find;
use crate::{AdamConfig, Gradients, OptimizerConfig, Result, Rule};

/// The optimiser of the parameters of one phase.
///
/// ```
/// use candle_core::{Device, Var};
/// use halocast_train::{Gradients, Optimizer, OptimizerConfig, Rule, SgdConfig};
///
/// let x = Var::new(4.0f32, &Device::Cpu)?;
/// let config = OptimizerConfig { rule: Rule::Sgd(SgdConfig::default()), ..Default::default() };
/// let mut optimizer = Optimizer::new("all", [("x".to_owned(), x.clone())], &config);
/// let gradients = optimizer.gradients(&x.sqr()?.backward()?)?;
/// let norm = gradients.norm()?;
/// optimizer.step(gradients, norm, 0.25, 1)?;
/// assert_eq!((norm, x.to_scalar::<f32>()?), (8.0, 2.0));
/// # Ok::<(), halocast_train::Error>(())
/// ```
pub struct Optimizer {
    phase: String,
    config: OptimizerConfig,
    slots: Vec<Slot>,
}

struct Slot {
    name: String,
    var: Var,
    state: State,
}

enum State {
    Adam(AdamState),
    Velocity(Vec<f32>),
}

impl Optimizer {
    /// Zero moments for every parameter of a phase.
    pub fn new(
        phase: impl Into<String>,
        parameters: impl IntoIterator<Item = (String, Var)>,
        config: &OptimizerConfig,
    ) -> Self {
        let slot = |(name, var): (String, Var)| {
            let len = var.elem_count();
            let state = match config.rule {
                Rule::Adam(_) | Rule::AdamW(_) => State::Adam(AdamState::new(len)),
                Rule::Sgd(_) => State::Velocity(vec![0.0; len]),
            };
            Slot { name, var, state }
        };
        Self { phase: phase.into(), config: *config, slots: parameters.into_iter().map(slot).collect() }
    }

    /// The settings.
    pub fn config(&self) -> &OptimizerConfig {
        &self.config
    }

    /// The gradients of this phase's parameters; those of others are left.
    ///
    /// # Errors
    /// [`Error::NoGradient`](crate::Error::NoGradient) naming a parameter the loss does not depend on.
    pub fn gradients(&self, store: &GradStore) -> Result<Gradients> {
        Gradients::of(self.slots.iter().map(|slot| (slot.name.as_str(), &slot.var)), store)
    }

    /// Step number `count`, from 1, by `gradients` of norm `norm`, which are clipped first.
    ///
    /// # Errors
    /// When a tensor is not of f32 or has another shape than its parameter.
    pub fn step(
        &mut self,
        mut gradients: Gradients,
        norm: f64,
        learning_rate: f64,
        count: u64,
    ) -> Result<()> {
        if let Some(limit) = self.config.clip_value {
            gradients.clip_value(limit)?;
        }
        if let Some(limit) = self.config.clip {
            let norm = if self.config.clip_value.is_some() { gradients.norm()? } else { norm };
            gradients.clip_norm(limit, norm)?;
        }
        for (slot, gradient) in self.slots.iter_mut().zip(gradients.tensors()) {
            match (&self.config.rule, &mut slot.state) {
                (Rule::Adam(adam), State::Adam(state)) => {
                    let decayed = match adam.weight_decay {
                        0.0 => gradient.clone(),
                        decay => (gradient + (slot.var.as_detached_tensor() * decay)?)?,
                    };
                    let adam = AdamConfig { weight_decay: 0.0, ..*adam };
                    state.step(&slot.var, &decayed, &numbers(&adam, learning_rate, count))?;
                }
                (Rule::AdamW(adam), State::Adam(state)) => {
                    state.step(&slot.var, gradient, &numbers(adam, learning_rate, count))?;
                }
                (Rule::Sgd(config), State::Velocity(velocity)) => {
                    sgd::step(&slot.var, gradient, velocity, config, learning_rate)?;
                }
                // The state was made for the rule, which never changes.
                _ => {}
            }
        }
        Ok(())
    }

    /// The moments, under the parameter's name with the suffixes `/PHASE/m` and `/PHASE/v`, or `/PHASE/velocity`.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut out = Vec::new();
        for Slot { name, var, state } in &self.slots {
            let mut push = |what: &str, values: &[f32]| -> Result<()> {
                let key = format!("{name}/{}/{what}", self.phase);
                out.push((key, Tensor::from_slice(values, var.shape(), &Device::Cpu)?));
                Ok(())
            };
            match state {
                State::Adam(state) => {
                    push("m", &state.m)?;
                    push("v", &state.v)?;
                }
                State::Velocity(velocity) => push("velocity", velocity)?,
            }
        }
        Ok(out)
    }

    /// Restores what [`Optimizer::state`] gave.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) naming a tensor that is absent or does not fit.
    pub fn restore(&mut self, tensors: &HashMap<String, Tensor>) -> Result<()> {
        for Slot { name, var, state } in &mut self.slots {
            let values = |what: &str| -> Result<Vec<f32>> {
                let key = format!("{name}/{}/{what}", self.phase);
                Ok(find(tensors, &key, var)?.flatten_all()?.to_vec1()?)
            };
            match state {
                State::Adam(state) => (state.m, state.v) = (values("m")?, values("v")?),
                State::Velocity(velocity) => *velocity = values("velocity")?,
            }
        }
        Ok(())
    }
}

fn numbers(adam: &AdamConfig, learning_rate: f64, step: u64) -> AdamCfg {
    AdamCfg {
        lr: learning_rate,
        beta1: adam.beta1,
        beta2: adam.beta2,
        eps: adam.epsilon,
        weight_decay: adam.weight_decay,
        step,
        ..Default::default()
    }
}

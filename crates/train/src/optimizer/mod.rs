//! From gradients to steps, the state in the open so that a run can be saved and resumed.

mod sgd;

use std::collections::HashMap;

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use halocast_kernels::{AdamCfg, AdamState, DeviceAdam};

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
/// let mut optimizer = Optimizer::new("all", [("x".to_owned(), x.clone())], &config)?;
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
    /// The same beside a variable on a device.
    DeviceAdam(Box<DeviceAdam>),
    Velocity(Vec<f32>),
}

impl State {
    /// The moments where they are used: beside the variable, if its device has the kernel.
    fn adam(var: &Var, state: AdamState) -> halocast_kernels::Result<Self> {
        match DeviceAdam::serves(var) {
            true => Ok(Self::DeviceAdam(Box::new(DeviceAdam::new(var, &state)?))),
            false => Ok(Self::Adam(state)),
        }
    }

    fn step(&mut self, var: &Var, gradient: &Tensor, cfg: &AdamCfg) -> halocast_kernels::Result<()> {
        match self {
            Self::Adam(state) => state.step(var, gradient, cfg),
            Self::DeviceAdam(state) => state.step(var, gradient, cfg),
            // The state was made for the rule, which never changes.
            Self::Velocity(_) => Ok(()),
        }
    }
}

impl Optimizer {
    /// Zero moments for every parameter of a phase.
    ///
    /// # Errors
    /// When the device of a parameter has no room.
    pub fn new(
        phase: impl Into<String>,
        parameters: impl IntoIterator<Item = (String, Var)>,
        config: &OptimizerConfig,
    ) -> Result<Self> {
        let slot = |(name, var): (String, Var)| -> Result<Slot> {
            let len = var.elem_count();
            let state = match config.rule {
                Rule::Adam(_) | Rule::AdamW(_) => State::adam(&var, AdamState::new(len))?,
                Rule::Sgd(_) => State::Velocity(vec![0.0; len]),
            };
            Ok(Slot { name, var, state })
        };
        let slots = parameters.into_iter().map(slot).collect::<Result<_>>()?;
        Ok(Self { phase: phase.into(), config: *config, slots })
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
                (Rule::Adam(adam), state) => {
                    let decayed = match adam.weight_decay {
                        0.0 => gradient.clone(),
                        decay => (gradient + (slot.var.as_detached_tensor() * decay)?)?,
                    };
                    let adam = AdamConfig { weight_decay: 0.0, ..*adam };
                    state.step(&slot.var, &decayed, &numbers(&adam, learning_rate, count))?;
                }
                (Rule::AdamW(adam), state) => {
                    state.step(&slot.var, gradient, &numbers(adam, learning_rate, count))?;
                }
                (Rule::Sgd(config), State::Velocity(velocity)) => {
                    sgd::step(&slot.var, gradient, velocity, config, learning_rate)?;
                }
                // The state was made for the rule, which never changes.
                (Rule::Sgd(_), _) => {}
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
            let mut moments = |state: &AdamState| -> Result<()> {
                push("m", &state.m)?;
                push("v", &state.v)
            };
            match state {
                State::Adam(state) => moments(state)?,
                State::DeviceAdam(state) => moments(&state.state()?)?,
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
            *state = match state {
                State::Adam(_) | State::DeviceAdam(_) => {
                    State::adam(var, AdamState { m: values("m")?, v: values("v")?, ema: None })?
                }
                State::Velocity(_) => State::Velocity(values("velocity")?),
            };
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

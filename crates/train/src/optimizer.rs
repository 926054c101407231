//! Adam over all parameters of a model, with gradient clipping and a moving average.

use std::collections::HashMap;

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use halocast_kernels::{AdamCfg, AdamState};
use halocast_models::Parameters;

use crate::{Error, Result, TrainConfig};

/// Adam (Kingma & Ba 2015) with decoupled weight decay (Loshchilov & Hutter 2019), its state in the open so that a run
/// can be saved and resumed.
pub struct Optimizer {
    slots: Vec<Slot>,
}

struct Slot {
    name: String,
    var: Var,
    state: AdamState,
}

impl Optimizer {
    /// Zero moments for every parameter; a moving average when `config` asks for one.
    ///
    /// # Errors
    /// When a parameter cannot be read.
    pub fn new(parameters: &Parameters, config: &TrainConfig) -> Result<Self> {
        let slot = |(name, var): (String, Var)| -> Result<Slot> {
            let state = match config.ema {
                Some(_) => AdamState::with_ema(&var)?,
                None => AdamState::new(var.elem_count()),
            };
            Ok(Slot { name, var, state })
        };
        Ok(Self { slots: parameters.named().into_iter().map(slot).collect::<Result<_>>()? })
    }

    /// One step, counted from 1; returns the norm of the gradient before clipping.
    ///
    /// # Errors
    /// [`Error::NoGradient`] naming a parameter the loss does not depend on; [`Error::GradientNotFinite`], before any
    /// parameter is touched.
    pub fn step(&mut self, gradients: &GradStore, config: &TrainConfig, step: u64) -> Result<f64> {
        let gradient = |slot: &Slot| {
            gradients
                .get(&slot.var)
                .cloned()
                .ok_or_else(|| Error::NoGradient { parameter: slot.name.clone() })
        };
        let all = self.slots.iter().map(gradient).collect::<Result<Vec<_>>>()?;
        let norm = global_norm(&all)?;
        if !norm.is_finite() {
            return Err(Error::GradientNotFinite { step, norm });
        }
        let scale = config.clip.map_or(1.0, |clip| (clip / norm.max(f64::MIN_POSITIVE)).min(1.0));
        let adam = AdamCfg {
            lr: config.learning_rate_at(step),
            beta1: config.beta1,
            beta2: config.beta2,
            weight_decay: config.weight_decay,
            step,
            ema_decay: config.ema_decay_at(step),
            ..Default::default()
        };
        for (slot, gradient) in self.slots.iter_mut().zip(&all) {
            let scaled = if scale < 1.0 { &(gradient * scale)? } else { gradient };
            slot.state.step(&slot.var, scaled, &adam)?;
        }
        Ok(norm)
    }

    /// The parameters to sample with: their moving average where one is kept.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn averaged(&self) -> Result<Vec<(String, Tensor)>> {
        self.slots
            .iter()
            .map(|slot| {
                let tensor = match &slot.state.ema {
                    Some(ema) => Tensor::from_slice(ema, slot.var.shape(), &Device::Cpu)?,
                    None => slot.var.as_detached_tensor().copy()?,
                };
                Ok((slot.name.clone(), tensor))
            })
            .collect()
    }

    /// Everything a resumed run needs: parameters, moments and averages, under the parameter's name with the suffixes
    /// `/value`, `/m`, `/v` and `/ema`.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut out = Vec::new();
        for Slot { name, var, state } in &self.slots {
            let moment = |values: &[f32]| Tensor::from_slice(values, var.shape(), &Device::Cpu);
            out.push((format!("{name}/value"), var.as_detached_tensor().to_device(&Device::Cpu)?));
            out.push((format!("{name}/m"), moment(&state.m)?));
            out.push((format!("{name}/v"), moment(&state.v)?));
            if let Some(ema) = &state.ema {
                out.push((format!("{name}/ema"), moment(ema)?));
            }
        }
        Ok(out)
    }

    /// Restores what [`Optimizer::state`] gave.
    ///
    /// # Errors
    /// [`Error::Config`] naming a tensor that is absent or does not fit.
    pub fn restore(&mut self, tensors: &HashMap<String, Tensor>) -> Result<()> {
        for Slot { name, var, state } in &mut self.slots {
            let find = |suffix: &str| -> Result<&Tensor> {
                let key = format!("{name}/{suffix}");
                match tensors.get(&key) {
                    Some(tensor) if tensor.dims() == var.dims() => Ok(tensor),
                    other => Err(Error::Config {
                        field: "resumed state",
                        expected: format!("tensor {key:?} of shape {:?}", var.dims()),
                        got: other.map_or("absent".into(), |t| format!("of shape {:?}", t.dims())),
                    }),
                }
            };
            let values = |suffix| -> Result<Vec<f32>> { Ok(find(suffix)?.flatten_all()?.to_vec1()?) };
            var.set(&find("value")?.to_device(var.device())?)?;
            state.m = values("m")?;
            state.v = values("v")?;
            if state.ema.is_some() {
                state.ema = Some(values("ema")?);
            }
        }
        Ok(())
    }
}

/// The Euclidean norm over all gradients, summed in f64 in the order of the parameters' names.
fn global_norm(gradients: &[Tensor]) -> Result<f64> {
    let mut sum = 0.0f64;
    for gradient in gradients {
        let values: Vec<f32> = gradient.flatten_all()?.to_vec1()?;
        sum += values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>();
    }
    Ok(sum.sqrt())
}

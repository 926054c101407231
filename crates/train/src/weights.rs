//! The parameters of a model and their moving averages.

use std::collections::HashMap;

use candle_core::{Device, Tensor, Var};
use halocast_models::Parameters;
use rayon::prelude::*;

use crate::gradients::with_values;
use crate::{Error, Result};

/// Numbers that one task averages.
const CHUNK: usize = 32 * 1024;

/// All parameters of a model with moving averages of several decays.
///
/// After step $t$ an average of decay $d$ is
/// $$ \bar\theta \leftarrow d_t \bar\theta + (1 - d_t) \theta, \quad d_t = \min\left(d, \frac{1 + t}{10 + t}\right): $$
/// the decay begins short, so that the first random parameters are soon forgotten.
pub struct Weights {
    decays: Vec<f64>,
    slots: Vec<Slot>,
}

struct Slot {
    name: String,
    var: Var,
    /// One for each decay.
    averages: Vec<Vec<f32>>,
}

impl Weights {
    /// Averages that start at the parameters.
    ///
    /// # Errors
    /// When a parameter is not of f32.
    pub fn new(parameters: &Parameters, decays: &[f64]) -> Result<Self> {
        let slot = |(name, var): (String, Var)| -> Result<Slot> {
            let average = with_values(&var, <[f32]>::to_vec)?;
            Ok(Slot { name, averages: vec![average; decays.len()], var })
        };
        let slots = parameters.named().into_iter().map(slot).collect::<Result<_>>()?;
        Ok(Self { decays: decays.to_vec(), slots })
    }

    /// The decays.
    pub fn decays(&self) -> &[f64] {
        &self.decays
    }

    /// Brings every average to step `step`, from 1.
    ///
    /// # Errors
    /// When a parameter is not of f32.
    pub fn update(&mut self, step: u64) -> Result<()> {
        let t = step as f64;
        for slot in &mut self.slots {
            for (decay, average) in self.decays.iter().zip(&mut slot.averages) {
                let rest = (1.0 - decay.min((1.0 + t) / (10.0 + t))) as f32;
                with_values(&slot.var, |values| {
                    let chunks = average.par_chunks_mut(CHUNK).zip(values.par_chunks(CHUNK));
                    chunks.for_each(|(average, values)| {
                        average.iter_mut().zip(values).for_each(|(a, v)| *a += rest * (v - *a));
                    });
                })?;
            }
        }
        Ok(())
    }

    /// The average of a decay, by name; `None` for the parameters themselves.
    ///
    /// # Errors
    /// [`Error::Config`] when no average of this decay is kept.
    pub fn average(&self, decay: Option<f64>) -> Result<Vec<(String, Tensor)>> {
        let which = decay.map(|decay| {
            self.decays.iter().position(|&d| d == decay).ok_or_else(|| Error::Config {
                field: "decay of the average",
                expected: format!("one of {:?}", self.decays),
                got: decay.to_string(),
            })
        });
        let which = which.transpose()?;
        let tensor = |slot: &Slot| -> Result<(String, Tensor)> {
            let tensor = match which {
                Some(i) => Tensor::from_slice(&slot.averages[i], slot.var.shape(), &Device::Cpu)?,
                None => slot.var.as_detached_tensor().copy()?,
            };
            Ok((slot.name.clone(), tensor))
        };
        self.slots.iter().map(tensor).collect()
    }

    /// Parameters and averages, under the parameter's name with the suffixes `/value` and `/ema-DECAY`.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut out = Vec::new();
        for Slot { name, var, averages } in &self.slots {
            out.push((format!("{name}/value"), var.as_detached_tensor().to_device(&Device::Cpu)?));
            for (decay, average) in self.decays.iter().zip(averages) {
                let tensor = Tensor::from_slice(average, var.shape(), &Device::Cpu)?;
                out.push((format!("{name}/ema-{decay}"), tensor));
            }
        }
        Ok(out)
    }

    /// Restores what [`Weights::state`] gave.
    ///
    /// # Errors
    /// [`Error::Config`] naming a tensor that is absent or does not fit.
    pub fn restore(&mut self, tensors: &HashMap<String, Tensor>) -> Result<()> {
        for Slot { name, var, averages } in &mut self.slots {
            var.set(&find(tensors, &format!("{name}/value"), var)?.to_device(var.device())?)?;
            for (decay, average) in self.decays.iter().zip(averages) {
                *average = find(tensors, &format!("{name}/ema-{decay}"), var)?.flatten_all()?.to_vec1()?;
            }
        }
        Ok(())
    }
}

/// The tensor of a saved state that belongs to a variable.
pub(crate) fn find<'a>(tensors: &'a HashMap<String, Tensor>, key: &str, var: &Var) -> Result<&'a Tensor> {
    match tensors.get(key) {
        Some(tensor) if tensor.dims() == var.dims() => Ok(tensor),
        other => Err(Error::Config {
            field: "resumed state",
            expected: format!("tensor {key:?} of shape {:?}", var.dims()),
            got: other.map_or("absent".into(), |t| format!("of shape {:?}", t.dims())),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_nn::Init;

    #[test]
    fn averages_of_a_constant_jump_decay_geometrically() {
        let parameters = Parameters::new(1, &Device::Cpu);
        parameters.builder().get_with_hints(3, "x", Init::Const(1.0)).unwrap();
        let mut weights = Weights::new(&parameters, &[0.0, 0.5, 0.9]).unwrap();
        parameters.named()[0]
            .1
            .set(&Tensor::zeros(3, candle_core::DType::F32, &Device::Cpu).unwrap())
            .unwrap();
        // From step 100 on the decays are their own: after n steps 1 falls to d^n.
        (100..105).for_each(|step| weights.update(step).unwrap());
        for (decay, expected) in [(0.0, 0.0), (0.5, 0.5f32.powi(5)), (0.9, 0.9f32.powi(5))] {
            let average = weights.average(Some(decay)).unwrap()[0].1.to_vec1::<f32>().unwrap();
            assert!(average.iter().all(|a| (a - expected).abs() < 1e-6), "{decay}: {average:?}");
        }
        // At step 1 the decay is 2/11.
        let mut early = Weights::new(&parameters, &[0.9]).unwrap();
        parameters.named()[0]
            .1
            .set(&Tensor::ones(3, candle_core::DType::F32, &Device::Cpu).unwrap())
            .unwrap();
        early.update(1).unwrap();
        assert!(
            (early.average(Some(0.9)).unwrap()[0].1.to_vec1::<f32>().unwrap()[0] - 9.0 / 11.0).abs() < 1e-6
        );
        assert!(early.average(Some(0.5)).is_err());
    }
}

//! The trainable parameters of a model, initialised from a seed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Shape, Tensor, Var};
use candle_nn::init::{FanInOut, Init, NormalOrUniform};
use candle_nn::var_builder::{SimpleBackend, VarBuilder};
use halocast_core::Rng;

use crate::{Error, Result};

/// Named variables. A variable is made when a layer first asks for it, from a generator that depends on the seed and the
/// variable's name alone: the order of layers does not matter, and Candle's unseedable generator is not used.
///
/// ```
/// use candle_core::Device;
/// use halocast_models::Parameters;
///
/// let parameters = Parameters::new(1, &Device::Cpu);
/// let layer = candle_nn::linear(4, 2, parameters.builder().pp("head"))?;
/// let names: Vec<String> = parameters.named().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["head.bias", "head.weight"]);
/// # let _ = layer;
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Parameters {
    inner: Arc<Mutex<BTreeMap<String, Var>>>,
    rng: Rng,
    dtype: DType,
    device: Device,
}

impl Parameters {
    /// An empty set whose variables will be drawn from `seed`, in single precision.
    pub fn new(seed: u64, device: &Device) -> Self {
        Self::with_dtype(seed, DType::F32, device)
    }

    /// As [`Parameters::new`], of another float type: the same values in double precision are for checking gradients,
    /// on the layers' slow reference path.
    pub fn with_dtype(seed: u64, dtype: DType, device: &Device) -> Self {
        let rng = Rng::new(seed).split_named("parameters");
        Self { inner: Arc::default(), rng, dtype, device: device.clone() }
    }

    /// The float type of the variables, and of what a model computes with them.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The device of the variables.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The builder that layers take.
    pub fn builder(&self) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), self.dtype, self.device.clone())
    }

    /// All variables, sorted by name.
    pub fn named(&self) -> Vec<(String, Var)> {
        self.lock().iter().map(|(name, var)| (name.clone(), var.clone())).collect()
    }

    /// The number of scalars in all variables.
    pub fn count(&self) -> usize {
        self.lock().values().map(|var| var.elem_count()).sum()
    }

    /// Overwrites every variable by the tensor of its name.
    ///
    /// # Errors
    /// [`Error::Config`] naming a variable without tensor or a tensor without variable; [`Error::Shape`] naming one that
    /// does not fit.
    pub fn load(&self, tensors: &HashMap<String, Tensor>) -> Result<()> {
        let variables = self.lock();
        let strangers = tensors.keys().find(|name| !variables.contains_key(*name));
        let absent = variables.keys().find(|name| !tensors.contains_key(*name));
        for (field, got) in [(absent, "absent"), (strangers, "not part of the model")] {
            if let Some(name) = field {
                return Err(Error::Config {
                    model: "parameters",
                    field: format!("tensor {name:?}"),
                    expected: format!("one tensor for each of the {} parameters", variables.len()),
                    got: got.into(),
                });
            }
        }
        for (name, var) in variables.iter() {
            let tensor = &tensors[name];
            if tensor.dims() != var.dims() {
                return Err(Error::Shape {
                    operation: "load parameters",
                    what: name.clone(),
                    expected: format!("{:?}", var.dims()),
                    got: tensor.dims().to_vec(),
                });
            }
            var.set(&tensor.to_dtype(self.dtype)?.to_device(&self.device)?)?;
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Var>> {
        // A panic elsewhere leaves the map whole: every insertion is one call.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&self, name: &str, shape: &Shape, init: Init) -> Vec<f32> {
        let mut rng = self.rng.split_named(name);
        let mut values = vec![0.0f32; shape.elem_count()];
        let mut uniform = |lower: f64, upper: f64, values: &mut [f32]| {
            rng.fill_uniform(values);
            values.iter_mut().for_each(|v| *v = (lower + (upper - lower) * f64::from(*v)) as f32);
        };
        match init {
            Init::Const(c) => values.fill(c as f32),
            Init::Uniform { lo, up } => uniform(lo, up, &mut values),
            Init::Randn { mean, stdev } => {
                rng.fill_normal(&mut values);
                values.iter_mut().for_each(|v| *v = (mean + stdev * f64::from(*v)) as f32);
            }
            Init::Kaiming { dist, fan, non_linearity } => {
                let fan: FanInOut = fan;
                let std = non_linearity.gain() / (fan.for_shape(shape) as f64).sqrt();
                match dist {
                    NormalOrUniform::Uniform => uniform(-std * 3f64.sqrt(), std * 3f64.sqrt(), &mut values),
                    NormalOrUniform::Normal => {
                        rng.fill_normal(&mut values);
                        values.iter_mut().for_each(|v| *v = (std * f64::from(*v)) as f32);
                    }
                }
            }
        }
        values
    }
}

impl SimpleBackend for Parameters {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let mut variables = self.lock();
        if let Some(var) = variables.get(name) {
            if var.shape() != &shape {
                candle_core::bail!("parameter {name} is asked for twice, as {:?} and {shape:?}", var.shape());
            }
            return Ok(var.as_tensor().clone());
        }
        let values = self.draw(name, &shape, init);
        let var = Var::from_tensor(&Tensor::from_vec(values, shape, device)?.to_dtype(dtype)?)?;
        variables.insert(name.to_owned(), var.clone());
        Ok(var.as_tensor().clone())
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        match self.lock().get(name) {
            Some(var) => Ok(var.as_tensor().clone()),
            None => candle_core::bail!("no parameter {name}"),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.lock().contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u64, names: &[&str]) -> Vec<Vec<f32>> {
        let parameters = Parameters::new(seed, &Device::Cpu);
        let builder = parameters.builder();
        let init = Init::Uniform { lo: -0.5, up: 0.5 };
        names.iter().for_each(|name| drop(builder.get_with_hints((3, 5), name, init).unwrap()));
        parameters.named().iter().map(|(_, v)| v.flatten_all().unwrap().to_vec1().unwrap()).collect()
    }

    #[test]
    fn values_depend_on_seed_and_name_not_on_order() {
        assert_eq!(drawn(1, &["a", "b"]), drawn(1, &["b", "a"]));
        assert_ne!(drawn(1, &["a"]), drawn(2, &["a"]));
        assert_ne!(drawn(1, &["a"]), drawn(1, &["b"]));
        assert!(drawn(1, &["a"])[0].iter().all(|v| v.abs() <= 0.5));
    }

    #[test]
    fn loading_names_what_does_not_fit() {
        let parameters = Parameters::new(1, &Device::Cpu);
        parameters.builder().get_with_hints((2, 2), "w", Init::Const(1.0)).unwrap();
        let tensor = |dims: (usize, usize)| Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap();
        let message = |map: &[(&str, Tensor)]| {
            let map = map.iter().map(|(n, t)| ((*n).to_owned(), t.clone())).collect();
            parameters.load(&map).unwrap_err().to_string()
        };
        assert!(message(&[]).contains("\"w\""));
        assert!(message(&[("w", tensor((2, 2))), ("z", tensor((1, 1)))]).contains("\"z\""));
        assert!(message(&[("w", tensor((2, 3)))]).contains("[2, 3]"));
    }
}

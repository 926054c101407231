//! A case of the parity data: weights, inputs, outputs and gradients of a reference implementation.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use halocast::models::Parameters;
use serde_json::Value;

use crate::{compare, reference_folder, tensors};

/// One folder of the parity data.
#[derive(Clone)]
pub struct Case {
    /// The name of the folder.
    pub name: String,
    /// `meta.json`.
    pub meta: Value,
    /// Inputs, outputs, gradients.
    pub io: HashMap<String, Tensor>,
    /// The state dict under the reference's names; empty for a case without.
    pub weights: HashMap<String, Tensor>,
}

/// Every case of the folder `HALOCAST_PARITY`, or of the one beside the repository, whose `meta.json` names a class that
/// `of` accepts; none, after one line that says so, where the folder is absent.
///
/// # Errors
/// When a file of such a case cannot be read.
pub fn cases(of: impl Fn(&str, &Value) -> bool) -> Result<Vec<Case>> {
    let Some(folder) = reference_folder("HALOCAST_PARITY", "parity") else { return Ok(vec![]) };
    let mut folders: Vec<_> =
        std::fs::read_dir(&folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.sort();
    let mut found = Vec::new();
    for folder in folders {
        let Ok(text) = std::fs::read_to_string(folder.join("meta.json")) else { continue };
        let meta: Value = serde_json::from_str(&text)
            .with_context(|| format!("{} is no JSON", folder.join("meta.json").display()))?;
        if of(meta["cls"].as_str().unwrap_or_default(), &meta) {
            found.push(Case::read(&folder, meta)?);
        }
    }
    Ok(found)
}

impl Case {
    fn read(folder: &Path, meta: Value) -> Result<Self> {
        let stored = folder.join("weights.safetensors");
        let weights = match meta["formula_weights_shapes"].as_object() {
            Some(_) => formula_weights(&meta)?,
            None if stored.exists() => tensors(&stored)?,
            None => HashMap::new(),
        };
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self { name, io: tensors(&folder.join("io.safetensors"))?, meta, weights })
    }

    /// An argument of the reference's constructor.
    ///
    /// # Errors
    /// When it is absent or of another type.
    pub fn argument<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<T> {
        let value = self.meta["constructor"][key].clone();
        serde_json::from_value(value).with_context(|| format!("{}: argument {key:?}", self.name))
    }

    /// A tensor of the case.
    ///
    /// # Errors
    /// When it is absent.
    pub fn tensor(&self, key: &str) -> Result<&Tensor> {
        self.io.get(key).with_context(|| format!("{}: no tensor {key:?}", self.name))
    }

    /// The tolerance (absolute, relative) of a kind, `fwd` or `grad`, of this case.
    pub fn tolerance(&self, kind: &str) -> (f64, f64) {
        let given = &self.meta["tolerance"][kind];
        let relative = if kind == "grad" { 1e-3 } else { 1e-4 };
        (given["atol"].as_f64().unwrap_or(1e-5), given["rtol"].as_f64().unwrap_or(relative))
    }

    /// Compares an output with the tensor of that key.
    ///
    /// # Errors
    /// When it is outside the tolerance.
    pub fn forward(&self, key: &str, got: &Tensor) -> Result<()> {
        let (atol, rtol) = self.tolerance("fwd");
        compare(&format!("{}: {key}", self.name), got, self.tensor(key)?, atol, rtol)
    }

    /// Compares a gradient with the tensor of that key.
    ///
    /// # Errors
    /// When it is outside the tolerance.
    pub fn gradient(&self, key: &str, got: &Tensor) -> Result<()> {
        let (atol, rtol) = self.tolerance("grad");
        compare(&format!("{}: {key}", self.name), got, self.tensor(key)?, atol, rtol)
    }

    /// Compares the gradients of every parameter whose name, behind `prefix`, the case holds one of, and requires at
    /// least one.
    ///
    /// # Errors
    /// When one is absent or outside the tolerance.
    pub fn gradients(&self, prefix: &str, parameters: &Parameters, store: &GradStore) -> Result<()> {
        let variables: HashMap<String, Var> = parameters.named().into_iter().collect();
        let mut keys: Vec<&String> = self.io.keys().collect();
        keys.sort();
        let mut compared = 0;
        for key in keys {
            let Some(var) = key.strip_prefix(prefix).and_then(|name| variables.get(name)) else { continue };
            let got = store.get(var).with_context(|| format!("{}: {key}: no gradient", self.name))?;
            self.gradient(key, got)?;
            compared += 1;
        }
        ensure!(compared > 0, "{}: no gradient {prefix}* was compared", self.name);
        Ok(())
    }

    /// The loss of most cases, mean(out w) + mean(out^2) / 2 with the stored weight w.
    ///
    /// # Errors
    /// When shapes differ.
    pub fn weighted_loss(&self, out: &Tensor) -> Result<Tensor> {
        let weighted = (out * self.tensor("loss_weight")?)?.mean_all()?;
        Ok((weighted + (out.sqr()?.mean_all()? * 0.5)?)?)
    }
}

/// The weights of a case that stores none: a formula of their names (the README of the parity data).
fn formula_weights(meta: &Value) -> Result<HashMap<String, Tensor>> {
    let salt = meta["salt"].as_str().context("salt")?;
    let mut weights = HashMap::new();
    for (name, shape) in meta["formula_weights_shapes"].as_object().context("formula_weights_shapes")? {
        let shape: Vec<usize> = serde_json::from_value(
            shape
                .as_array()
                .filter(|s| s.first().is_some_and(Value::is_array))
                .map_or(shape, |s| &s[0])
                .clone(),
        )?;
        let fan_in: usize = shape.iter().skip(1).product();
        let seed = format!("{salt}:{name}")
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        let last = name.rsplit('.').next().unwrap_or_default();
        let value = |i: usize| {
            let mut z = seed.wrapping_add((i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            let u = ((z ^ (z >> 31)) >> 11) as f64 * (-53f64).exp2();
            let value = match (shape.len(), last) {
                (0, _) => 0.0,
                (1, "weight") => 1.0 + 0.2 * (2.0 * u - 1.0),
                (1, "running_var") => 0.5 + u,
                (1, _) => 0.2 * (2.0 * u - 1.0),
                _ => (2.0 * u - 1.0) * (3.0 / fan_in as f64).sqrt(),
            };
            value as f32
        };
        let values: Vec<f32> = (0..shape.iter().product()).map(value).collect();
        // The sums were taken after a pass in training, which moves the running averages alone.
        let sums = meta["formula_check_first_and_sum"][name].as_array();
        if let Some([first, sum]) =
            sums.filter(|_| !last.starts_with("running_")).map(|c| [c[0].as_f64(), c[1].as_f64()])
        {
            let got: f64 = values.iter().map(|&v| f64::from(v)).sum();
            let near = |a: f64, b: Option<f64>| b.is_none_or(|b| (a - b).abs() <= 1e-4 * (1.0 + b.abs()));
            ensure!(
                near(f64::from(values[0]), first) && near(got, sum),
                "{name}: formula gives {} and {got}, expected {first:?} and {sum:?}",
                values[0]
            );
        }
        weights.insert(name.clone(), Tensor::from_vec(values, shape, &Device::Cpu)?);
    }
    Ok(weights)
}

//! What a run that met something that is no number leaves behind.

use std::path::Path;

use candle_core::{Device, Tensor};
use halocast_core::Batch;
use halocast_models::{load_checkpoint, save_checkpoint};
use ndarray::{ArrayD, IxDyn};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The batch at which a run stopped, as `bad-batch.safetensors` holds it: the tensors `fields`, `parameters`, `condition`
/// and `counts` (where the data set has them) and `indices`, and the rest as JSON in the header.
#[derive(Clone, Debug)]
pub struct BadBatch {
    /// Where it happened.
    pub place: Place,
    /// The numbers of its examples in the data set.
    pub indices: Vec<usize>,
    /// The examples as the data set gave them, augmented.
    pub batch: Batch,
}

/// Where and why a run stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The step, from 1.
    pub step: u64,
    /// The name of the phase.
    pub phase: String,
    /// The seed of the run.
    pub seed: u64,
    /// What was no number.
    pub reason: String,
}

impl BadBatch {
    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn save(&self, path: &Path) -> Result<()> {
        let floats = |values: Vec<f32>, shape: &[usize]| Tensor::from_vec(values, shape, &Device::Cpu);
        let whole =
            |values: &[usize]| Tensor::from_iter(values.iter().map(|&value| value as i64), &Device::Cpu);
        let batch = &self.batch;
        let fields = floats(batch.fields.iter().copied().collect(), batch.fields.shape())?;
        let mut tensors = vec![("fields".to_owned(), fields), ("indices".to_owned(), whole(&self.indices)?)];
        if let Some(p) = &batch.parameters {
            tensors.push(("parameters".to_owned(), floats(p.iter().copied().collect(), p.shape())?));
        }
        if let Some(c) = &batch.condition {
            tensors.push(("condition".to_owned(), floats(c.iter().copied().collect(), c.shape())?));
        }
        if let Some(counts) = &batch.counts {
            tensors.push(("counts".to_owned(), whole(counts)?));
        }
        Ok(save_checkpoint(path, &self.place, &tensors)?)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read or is no such file.
    pub fn load(path: &Path) -> Result<Self> {
        let (place, tensors) = load_checkpoint::<Place>(path, &Device::Cpu)?;
        let find = |name: &str| {
            tensors.get(name).ok_or_else(|| Error::Config {
                field: "bad batch",
                expected: format!("tensor {name:?} in {}", path.display()),
                got: "absent".into(),
            })
        };
        let odd = |e: ndarray::ShapeError| candle_core::Error::Msg(e.to_string());
        let array = |tensor: &Tensor| -> Result<ArrayD<f32>> {
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            Ok(ArrayD::from_shape_vec(IxDyn(tensor.dims()), values).map_err(odd)?)
        };
        let whole = |tensor: &Tensor| -> Result<Vec<usize>> {
            Ok(tensor.to_vec1::<i64>()?.into_iter().map(|i| i as usize).collect())
        };
        let parameters = tensors.get("parameters").map(&array).transpose()?;
        let parameters = parameters.map(|p| p.into_dimensionality().map_err(odd)).transpose()?;
        let batch = Batch {
            condition: tensors.get("condition").map(&array).transpose()?,
            counts: tensors.get("counts").map(&whole).transpose()?,
            ..Batch::new(array(find("fields")?)?, parameters)
        };
        Ok(Self { place, indices: whole(find("indices")?)?, batch })
    }
}

//! What a run that met something that is no number leaves behind.

use std::path::Path;

use candle_core::{Device, Tensor};
use halocast_core::Batch;
use halocast_models::{load_checkpoint, save_checkpoint};
use ndarray::{Array2, ArrayD, IxDyn};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The batch at which a run stopped, as `bad-batch.safetensors` holds it: the tensors `fields`, `parameters` (where the
/// data set has them) and `indices`, and the rest as JSON in the header.
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
        let fields: Vec<f32> = self.batch.fields.iter().copied().collect();
        let indices: Vec<i64> = self.indices.iter().map(|&i| i as i64).collect();
        let mut tensors = vec![
            ("fields".to_owned(), Tensor::from_vec(fields, self.batch.fields.shape(), &Device::Cpu)?),
            ("indices".to_owned(), Tensor::from_vec(indices, self.indices.len(), &Device::Cpu)?),
        ];
        if let Some(parameters) = &self.batch.parameters {
            let values: Vec<f32> = parameters.iter().copied().collect();
            tensors
                .push(("parameters".to_owned(), Tensor::from_vec(values, parameters.shape(), &Device::Cpu)?));
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
        let fields = find("fields")?;
        let values = fields.flatten_all()?.to_vec1::<f32>()?;
        let parameters = tensors.get("parameters").map(|tensor| -> Result<_> {
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            Ok(Array2::from_shape_vec(tensor.dims2()?, values).map_err(odd)?)
        });
        Ok(Self {
            place,
            indices: find("indices")?.to_vec1::<i64>()?.into_iter().map(|i| i as usize).collect(),
            batch: Batch::new(
                ArrayD::from_shape_vec(IxDyn(fields.dims()), values).map_err(odd)?,
                parameters.transpose()?,
            ),
        })
    }
}

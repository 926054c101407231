//! Batches as tensors, moved to a device ahead of their use.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use candle_core::{Device, Error, Result, Tensor};
use halocast_core::Batch;
use ndarray::ArrayViewD;

use crate::Loader;

/// A batch on a device.
#[derive(Clone, Debug)]
pub struct TensorBatch {
    /// The fields, `[batch, channel, ...]`, f32.
    pub fields: Tensor,
    /// The parameters, `[batch, parameter]`, f32.
    pub parameters: Option<Tensor>,
    /// What the fields are to be made from, `[batch, ...]`, f32.
    pub condition: Option<Tensor>,
}

/// Moves a batch to a device.
///
/// # Errors
/// Candle's, when the device has no room.
pub fn to_tensors(batch: &Batch, device: &Device) -> Result<TensorBatch> {
    let tensor = |values: ArrayViewD<'_, f32>| {
        let shape = values.shape().to_vec();
        match values.as_slice() {
            Some(values) => Tensor::from_slice(values, shape, device),
            None => Tensor::from_vec(values.iter().copied().collect::<Vec<f32>>(), shape, device),
        }
    };
    Ok(TensorBatch {
        fields: tensor(batch.fields.view())?,
        parameters: batch.parameters.as_ref().map(|p| tensor(p.view().into_dyn())).transpose()?,
        condition: batch.condition.as_ref().map(|c| tensor(c.view())).transpose()?,
    })
}

/// An iterator over the batches of a [`Loader`] as tensors on a device: read and transformed by the loader's threads, moved by
/// one more, ahead of their use.
///
/// The batches and their order are the loader's. After an error there are no more.
pub struct TensorLoader {
    batches: Option<Receiver<Result<TensorBatch>>>,
    mover: Option<JoinHandle<()>>,
    total: usize,
    failed: bool,
}

impl TensorLoader {
    /// The batches of `loader` on `device`, up to `ahead` of them on it before they are asked for (0: the next is handed over
    /// as it is asked for).
    pub fn new(loader: Loader, device: &Device, ahead: usize) -> Self {
        let (give, batches) = sync_channel(ahead);
        let (total, device) = (loader.total(), device.clone());
        let mover = std::thread::spawn(move || {
            for batch in loader {
                let moved = batch.map_err(Error::wrap).and_then(|batch| to_tensors(&batch, &device));
                // Who takes them may have gone.
                if give.send(moved).is_err() {
                    return;
                }
            }
        });
        Self { batches: Some(batches), mover: Some(mover), total, failed: false }
    }

    /// The number of batches in all.
    pub fn total(&self) -> usize {
        self.total
    }
}

impl Iterator for TensorLoader {
    type Item = Result<TensorBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let batch = self.batches.as_ref()?.recv().ok()?;
        self.failed = batch.is_err();
        Some(batch)
    }
}

impl Drop for TensorLoader {
    fn drop(&mut self) {
        // Without a taker the thread ends at its next batch.
        self.batches = None;
        if let Some(mover) = self.mover.take() {
            let _ = mover.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, Array4, Axis};

    use super::*;

    #[test]
    fn tensors_hold_the_batch_in_order() {
        let fields = Array4::from_shape_fn((2, 1, 3, 4), |(b, _, y, x)| (100 * b + 10 * y + x) as f32);
        // A view in another order is laid out anew.
        let mut turned = fields.clone();
        turned.invert_axis(Axis(3));
        for fields in [fields.clone(), turned] {
            let batch = Batch::new(fields.clone().into_dyn(), Some(Array2::ones((2, 6))));
            let tensors = to_tensors(&batch, &Device::Cpu).unwrap();
            assert_eq!(tensors.fields.dims(), [2, 1, 3, 4]);
            let flat = tensors.fields.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(flat, fields.iter().copied().collect::<Vec<_>>());
            assert_eq!(tensors.parameters.unwrap().dims(), [2, 6]);
        }
    }
}

//! Batches as tensors.

use candle_core::{Device, Result, Tensor};
use halocast_core::Batch;
use ndarray::ArrayViewD;

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

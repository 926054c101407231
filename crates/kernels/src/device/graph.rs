//! An operation on tensors of a device, and its way into a graph.

use candle_core::{Result, Shape, Tensor};

use super::queue::Block;
use crate::autograd::{Pull, enter};

/// An operation with one output and an explicit gradient, by kernels of a device.
///
/// Inputs are contiguous, of one device, and outside any graph.
pub(super) trait DeviceOp: Send + Sync + 'static {
    /// As errors name it.
    fn name(&self) -> &'static str;

    /// The output and its shape.
    ///
    /// # Errors
    /// Where a kernel cannot be launched.
    fn forward(&self, inputs: &[Tensor]) -> Result<(Block, Shape)>;

    /// The gradient with respect to each input; those that are not wanted may be left out.
    ///
    /// # Errors
    /// Where a kernel cannot be launched.
    fn backward(
        &self,
        inputs: &[Option<Tensor>],
        dy: &Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>>;

    /// Whether the gradient reads the values of input `index`.
    fn keeps(&self, _index: usize) -> bool {
        true
    }
}

/// Applies an operation to tensors of one device.
pub(super) fn apply(op: impl DeviceOp, inputs: &[&Tensor]) -> Result<Tensor> {
    let inputs = inputs.iter().map(|x| x.contiguous()).collect::<Result<Vec<_>>>()?;
    let detached: Vec<Tensor> = inputs.iter().map(Tensor::detach).collect();
    let (output, shape) = op.forward(&detached)?;
    enter(OnDevice(op), &inputs, output.into_storage(), shape)
}

/// An input that the gradient needs.
pub(super) fn kept(inputs: &[Option<Tensor>], index: usize) -> Result<&Tensor> {
    let input = inputs.get(index).and_then(Option::as_ref);
    input.ok_or_else(|| candle_core::Error::msg("an input that a gradient needs was not kept"))
}

struct OnDevice<O>(O);

impl<O: DeviceOp> Pull for OnDevice<O> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn keeps(&self, index: usize) -> bool {
        self.0.keeps(index)
    }

    fn gradients(
        &self,
        inputs: &[Option<Tensor>],
        shapes: &[Shape],
        wanted: &[bool],
        dy: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        let detach = |x: &Option<Tensor>| x.as_ref().map(|x| x.detach().contiguous()).transpose();
        let inputs = inputs.iter().map(detach).collect::<Result<Vec<_>>>()?;
        let grads = self.0.backward(&inputs, &dy.detach().contiguous()?, wanted)?;
        if grads.len() != shapes.len() {
            candle_core::bail!("{}: {} gradients for {} inputs", self.0.name(), grads.len(), shapes.len());
        }
        let shaped = |(gradient, (shape, wanted)): (Option<Tensor>, (&Shape, &bool))| match gradient {
            _ if !wanted => Ok(None),
            Some(gradient) => gradient.reshape(shape).map(Some),
            None => candle_core::bail!("{}: a gradient that is needed is missing", self.0.name()),
        };
        grads.into_iter().zip(shapes.iter().zip(wanted)).map(shaped).collect()
    }
}

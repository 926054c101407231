//! An operation on plain numbers, and its way into a graph.

use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, Result, Shape, Storage, Tensor};

use super::{bridge, tape};
use crate::memory::with_numbers;

/// An operation with one output and an explicit gradient, on contiguous single-precision numbers.
///
/// The operation knows its own sizes; whoever builds it has checked the shapes.
pub(crate) trait Op: Send + Sync + 'static {
    /// As errors name it.
    fn name(&self) -> &'static str;

    /// The output and its shape.
    ///
    /// # Errors
    /// Where the operation cannot be carried out.
    fn forward(&self, inputs: &[&[f32]]) -> Result<(Vec<f32>, Shape)>;

    /// The gradient with respect to each input, one entry an input. `dy` is the gradient of the output; `wanted` says
    /// which entries are used. An input that [`Op::keeps`] declines is an empty slice here.
    ///
    /// # Errors
    /// Where the operation cannot be carried out.
    fn backward(&self, inputs: &[&[f32]], dy: &[f32], wanted: &[bool]) -> Result<Vec<Gradient>>;

    /// Whether the gradient reads the values of input `index`.
    fn keeps(&self, _index: usize) -> bool {
        true
    }
}

/// What a graph keeps of an operation, on whatever device: its gradient, on tensors.
pub(crate) trait Pull: Send + Sync + 'static {
    /// As errors name it.
    fn name(&self) -> &'static str;

    /// Whether the gradient reads the values of input `index`.
    fn keeps(&self, index: usize) -> bool;

    /// The wanted gradients as tensors of the inputs' shapes, from the inputs that were kept.
    ///
    /// # Errors
    /// Where the operation cannot be carried out.
    fn gradients(
        &self,
        inputs: &[Option<Tensor>],
        shapes: &[Shape],
        wanted: &[bool],
        dy: &Tensor,
    ) -> Result<Vec<Option<Tensor>>>;
}

impl<O: Op> Pull for O {
    fn name(&self) -> &'static str {
        Op::name(self)
    }

    fn keeps(&self, index: usize) -> bool {
        Op::keeps(self, index)
    }

    fn gradients(
        &self,
        inputs: &[Option<Tensor>],
        shapes: &[Shape],
        wanted: &[bool],
        dy: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        gradients(self, inputs, shapes, wanted, dy)
    }
}

/// The gradient with respect to one input.
pub(crate) enum Gradient {
    /// Nobody asked for it.
    None,
    /// Its numbers, in the order of the input.
    Values(Vec<f32>),
    /// The gradient of the output itself, reshaped to the input.
    Output,
}

impl Gradient {
    /// The numbers that `compute` gives, if they are wanted.
    pub(crate) fn when(wanted: bool, compute: impl FnOnce() -> Vec<f32>) -> Self {
        if wanted { Self::Values(compute()) } else { Self::None }
    }
}

/// Applies an operation to `f32` tensors of the CPU (made contiguous where they are not).
///
/// # Errors
/// Where the operation fails, or Candle does.
pub(crate) fn apply(op: impl Op, inputs: &[&Tensor]) -> Result<Tensor> {
    let inputs = inputs.iter().map(|x| x.contiguous()).collect::<Result<Vec<_>>>()?;
    let (values, shape) = on_slices(&inputs, &mut |slices| op.forward(slices))?;
    enter(op, &inputs, Storage::Cpu(CpuStorage::F32(values)), shape)
}

/// The output of an operation as a node of whichever graph is being built.
pub(crate) fn enter(op: impl Pull, inputs: &[Tensor], storage: Storage, shape: Shape) -> Result<Tensor> {
    let tracked = inputs.iter().any(|x| x.track_op());
    match tape::mode() {
        tape::Mode::Record if tracked => {
            // A leaf for Candle, whose gradient the tape takes up.
            let output = Tensor::from_storage(storage, shape, BackpropOp::none(), true);
            tape::push_op(Box::new(op), inputs, &output);
            Ok(output)
        }
        tape::Mode::Candle if tracked => bridge::apply(Box::new(op), inputs, storage, shape),
        _ => Ok(Tensor::from_storage(storage, shape, BackpropOp::none(), false)),
    }
}

/// The gradients of an operation as tensors of the inputs' shapes, from the inputs that were kept.
fn gradients(
    op: &impl Op,
    inputs: &[Option<Tensor>],
    shapes: &[Shape],
    wanted: &[bool],
    dy: &Tensor,
) -> Result<Vec<Option<Tensor>>> {
    let dy = dy.contiguous()?;
    let kept: Vec<&Tensor> = inputs.iter().flatten().collect();
    let grads = with_numbers(&dy, |numbers| {
        on_slices(&kept, &mut |slices| {
            let mut slices = slices.iter();
            let all: Vec<&[f32]> = inputs
                .iter()
                .map(|x| x.as_ref().and_then(|_| slices.next().copied()).unwrap_or(&[]))
                .collect();
            op.backward(&all, numbers, wanted)
        })
    })?;
    if grads.len() != shapes.len() {
        candle_core::bail!("{}: {} gradients for {} inputs", Op::name(op), grads.len(), shapes.len());
    }
    let as_tensor = |(gradient, (shape, wanted)): (Gradient, (&Shape, &bool))| match gradient {
        _ if !wanted => Ok(None),
        Gradient::None => candle_core::bail!("{}: a gradient that is needed is missing", Op::name(op)),
        Gradient::Values(values) => crate::memory::tensor(values, shape).map(Some),
        Gradient::Output => dy.reshape(shape).map(Some),
    };
    grads.into_iter().zip(shapes.iter().zip(wanted)).map(as_tensor).collect()
}

/// Runs `body` on the numbers of all tensors at once.
fn on_slices<T, R>(tensors: &[T], body: &mut dyn FnMut(&[&[f32]]) -> Result<R>) -> Result<R>
where
    T: std::borrow::Borrow<Tensor>,
{
    fn nested<'a, T: std::borrow::Borrow<Tensor>, R>(
        rest: &'a [T],
        slices: &mut Vec<&[f32]>,
        body: &mut dyn FnMut(&[&[f32]]) -> Result<R>,
    ) -> Result<R> {
        match rest.split_first() {
            None => body(slices),
            Some((first, rest)) => with_numbers(first.borrow(), |numbers| {
                let mut slices: Vec<&[f32]> = slices.iter().copied().chain([numbers]).collect();
                nested(rest, &mut slices, body)
            }),
        }
    }
    nested(tensors, &mut vec![], body)
}

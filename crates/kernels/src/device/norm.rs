//! Norms with their activation, and softmax, on a device.

use std::sync::OnceLock;

use candle_core::{Device, Result, Shape, Tensor};

use super::code;
use super::graph::{DeviceOp, apply, kept};
use super::queue::{Arg, Block, launch, launch_each};
use super::source;
use crate::activation::Activation;

/// [`crate::group_norm`].
pub(crate) fn group_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    eps: f64,
    activation: Activation,
) -> Result<Tensor> {
    let (n, c) = (x.dim(0)?, x.dim(1)?);
    let plane = x.elem_count() / (n * c);
    let op = GroupNorm { n, c, plane, groups, eps, activation, moments: OnceLock::new() };
    apply(op, &[x, weight, bias])
}

struct GroupNorm {
    n: usize,
    c: usize,
    plane: usize,
    groups: usize,
    eps: f64,
    activation: Activation,
    /// Of each group of each example mean and reciprocal deviation, from the forward pass.
    moments: OnceLock<Tensor>,
}

impl GroupNorm {
    fn members(&self) -> usize {
        self.c / self.groups
    }

    fn moments(&self, x: &Tensor) -> Result<Tensor> {
        if let Some(moments) = self.moments.get() {
            return Ok(moments.clone());
        }
        let groups = self.n * self.groups;
        let mut moments = Block::floats(x.device(), 2 * groups)?;
        let size = self.members() * self.plane;
        let args = &mut [Arg::In(x), moments.out(), Arg::Int(size), Arg::Real(self.eps as f32)];
        launch(x.device(), source::GROUP_MOMENTS, groups, args)?;
        Ok(moments.tensor(2 * groups))
    }
}

impl DeviceOp for GroupNorm {
    fn name(&self) -> &'static str {
        "group_norm"
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<(Block, Shape)> {
        let [x, weight, bias] = inputs else { candle_core::bail!("group_norm takes three inputs") };
        let (kind, slope) = code(self.activation);
        let moments = self.moments(x)?;
        let count = x.elem_count();
        let mut y = Block::floats(x.device(), count)?;
        launch_each(
            x.device(),
            source::GROUP_APPLY,
            count,
            &mut [
                Arg::In(x),
                Arg::In(&moments),
                Arg::In(weight),
                Arg::In(bias),
                y.out(),
                Arg::Int(count),
                Arg::Int(self.plane),
                Arg::Int(self.c),
                Arg::Int(self.members()),
                Arg::Int(kind),
                Arg::Real(slope),
            ],
        )?;
        let _ = self.moments.set(moments);
        Ok((y, x.shape().clone()))
    }

    fn backward(&self, inputs: &[Option<Tensor>], dy: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let (x, weight, bias) = (kept(inputs, 0)?, kept(inputs, 1)?, kept(inputs, 2)?);
        let (device, count) = (x.device(), x.elem_count());
        let (kind, slope) = code(self.activation);
        let moments = self.moments(x)?;
        let (rows, groups) = (self.n * self.c, self.n * self.groups);
        let (plane, channels, members) = (Arg::Int(self.plane), Arg::Int(self.c), Arg::Int(self.members()));

        let mut sums = Block::floats(device, 2 * rows)?;
        let args = &mut [
            Arg::In(x),
            Arg::In(dy),
            Arg::In(&moments),
            Arg::In(weight),
            Arg::In(bias),
            sums.out(),
            plane,
            channels,
            members,
            Arg::Int(kind),
            Arg::Real(slope),
        ];
        launch(device, source::GROUP_SUMS, rows, args)?;
        let sums = sums.tensor(2 * rows);

        let mut line = Block::floats(device, 2 * groups)?;
        let args = &mut [
            Arg::In(&sums),
            Arg::In(&moments),
            Arg::In(weight),
            line.out(),
            Arg::Int(groups),
            Arg::Int(self.plane),
            Arg::Int(self.c),
            Arg::Int(self.members()),
        ];
        launch_each(device, source::GROUP_TOTALS, groups, args)?;
        let line = line.tensor(2 * groups);

        let (mut dweight, mut dbias) = (Block::floats(device, self.c)?, Block::floats(device, self.c)?);
        let args = &mut [Arg::In(&sums), dweight.out(), dbias.out(), Arg::Int(self.n), Arg::Int(self.c)];
        launch_each(device, source::GROUP_PARAMETERS, self.c, args)?;

        let mut dx = Block::floats(device, count)?;
        let args = &mut [
            Arg::In(x),
            Arg::In(dy),
            Arg::In(&moments),
            Arg::In(weight),
            Arg::In(bias),
            Arg::In(&line),
            dx.out(),
            Arg::Int(count),
            Arg::Int(self.plane),
            Arg::Int(self.c),
            Arg::Int(self.members()),
            Arg::Int(kind),
            Arg::Real(slope),
        ];
        launch_each(device, source::GROUP_PULL, count, args)?;
        Ok([dx.tensor(count), dweight.tensor(self.c), dbias.tensor(self.c)].map(Some).into())
    }
}

/// What a norm of rows is: [`crate::layer_norm`], [`crate::rms_norm`] or [`crate::modulated_norm`].
#[derive(Clone, Copy)]
pub(crate) struct RowNormSpec {
    pub(crate) name: &'static str,
    pub(crate) examples: usize,
    /// Rows of an example.
    pub(crate) rows: usize,
    pub(crate) width: usize,
    /// Added to the weight.
    pub(crate) one: f32,
    pub(crate) centred: bool,
    pub(crate) eps: f64,
    pub(crate) activation: Activation,
}

/// A norm of rows of `x` with the weight, and the bias if it has one.
pub(crate) fn row_norm(inputs: &[&Tensor], spec: RowNormSpec) -> Result<Tensor> {
    apply(RowNorm { spec, moments: OnceLock::new() }, inputs)
}

struct RowNorm {
    spec: RowNormSpec,
    moments: OnceLock<Tensor>,
}

impl RowNorm {
    fn all(&self) -> usize {
        self.spec.examples * self.spec.rows
    }

    fn moments(&self, x: &Tensor) -> Result<Tensor> {
        if let Some(moments) = self.moments.get() {
            return Ok(moments.clone());
        }
        let mut moments = Block::floats(x.device(), 2 * self.all())?;
        let args = &mut [
            Arg::In(x),
            moments.out(),
            Arg::Int(self.all()),
            Arg::Int(self.spec.width),
            Arg::Int(self.spec.centred.into()),
            Arg::Real(self.spec.eps as f32),
        ];
        launch(x.device(), source::ROW_MOMENTS, self.all().div_ceil(8), args)?;
        Ok(moments.tensor(2 * self.all()))
    }

    /// Rows of one part of the parameters' gradients, and parts of an example.
    fn parts(&self) -> (usize, usize) {
        let size = self.spec.rows.div_ceil(64).max(32);
        (size, self.spec.rows.div_ceil(size))
    }
}

impl DeviceOp for RowNorm {
    fn name(&self) -> &'static str {
        self.spec.name
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<(Block, Shape)> {
        let [x, weight, bias @ ..] = inputs else { candle_core::bail!("a norm takes two inputs or more") };
        let (kind, slope) = code(self.spec.activation);
        let moments = self.moments(x)?;
        let count = x.elem_count();
        let mut y = Block::floats(x.device(), count)?;
        launch_each(
            x.device(),
            source::ROW_APPLY,
            count,
            &mut [
                Arg::In(x),
                Arg::In(&moments),
                Arg::In(weight),
                Arg::In(bias.first().unwrap_or(weight)),
                y.out(),
                Arg::Int(count),
                Arg::Int(self.spec.width),
                Arg::Int(self.spec.rows),
                Arg::Int(bias.len()),
                Arg::Real(self.spec.one),
                Arg::Int(kind),
                Arg::Real(slope),
            ],
        )?;
        let _ = self.moments.set(moments);
        Ok((y, x.shape().clone()))
    }

    fn backward(
        &self,
        inputs: &[Option<Tensor>],
        dy: &Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let (x, weight) = (kept(inputs, 0)?, kept(inputs, 1)?);
        let bias = inputs.get(2).and_then(Option::as_ref);
        let shifted = usize::from(bias.is_some());
        let bias = bias.unwrap_or(weight);
        let RowNormSpec { examples, rows, width, one, centred, .. } = self.spec;
        let (device, count) = (x.device(), x.elem_count());
        let (kind, slope) = code(self.spec.activation);
        let moments = self.moments(x)?;

        let mut dx = Block::floats(device, count)?;
        let args = &mut [
            Arg::In(x),
            Arg::In(dy),
            Arg::In(&moments),
            Arg::In(weight),
            Arg::In(bias),
            dx.out(),
            Arg::Int(self.all()),
            Arg::Int(width),
            Arg::Int(rows),
            Arg::Int(shifted),
            Arg::Int(centred.into()),
            Arg::Real(one),
            Arg::Int(kind),
            Arg::Real(slope),
        ];
        launch(device, source::ROW_PULL, self.all().div_ceil(8), args)?;
        let mut grads = vec![Some(dx.tensor(count)), None, None];
        if wanted[1..].contains(&true) {
            let (size, blocks) = self.parts();
            let tasks = examples * blocks;
            let mut parts = Block::floats(device, tasks * 2 * width)?;
            let args = &mut [
                Arg::In(x),
                Arg::In(dy),
                Arg::In(&moments),
                Arg::In(weight),
                Arg::In(bias),
                parts.out(),
                Arg::Int(width),
                Arg::Int(rows),
                Arg::Int(size),
                Arg::Int(blocks),
                Arg::Int(shifted),
                Arg::Real(one),
                Arg::Int(kind),
                Arg::Real(slope),
            ];
            launch(device, source::ROW_PARTS, tasks * width.div_ceil(64), args)?;
            let parts = parts.tensor(tasks * 2 * width);
            let total = examples * width;
            let (mut dweight, mut dbias) = (Block::floats(device, total)?, Block::floats(device, total)?);
            let args = &mut [
                Arg::In(&parts),
                dweight.out(),
                dbias.out(),
                Arg::Int(total),
                Arg::Int(width),
                Arg::Int(blocks),
            ];
            launch_each(device, source::ROW_PARAMETERS, total, args)?;
            grads[1] = Some(dweight.tensor(total));
            grads[2] = Some(dbias.tensor(total));
        }
        grads.truncate(inputs.len());
        Ok(grads)
    }
}

/// [`crate::softmax`].
pub(crate) fn softmax(x: &Tensor) -> Result<Tensor> {
    apply(Softmax { width: x.dim(candle_core::D::Minus1)? }, &[x])
}

struct Softmax {
    width: usize,
}

impl Softmax {
    fn rows(&self, device: &Device, x: &Tensor) -> Result<Block> {
        let count = x.elem_count();
        let rows = count / self.width;
        let mut y = Block::floats(device, count)?;
        let args = &mut [Arg::In(x), y.out(), Arg::Int(rows), Arg::Int(self.width)];
        launch(device, source::SOFTMAX_ROWS, rows.div_ceil(8), args)?;
        Ok(y)
    }
}

impl DeviceOp for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<(Block, Shape)> {
        Ok((self.rows(inputs[0].device(), &inputs[0])?, inputs[0].shape().clone()))
    }

    fn backward(&self, inputs: &[Option<Tensor>], dy: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let x = kept(inputs, 0)?;
        let count = x.elem_count();
        let y = self.rows(x.device(), x)?.tensor(count);
        let mut dx = Block::floats(x.device(), count)?;
        let rows = count / self.width;
        let args = &mut [Arg::In(&y), Arg::In(dy), dx.out(), Arg::Int(rows), Arg::Int(self.width)];
        launch(x.device(), source::SOFTMAX_PULL, rows.div_ceil(8), args)?;
        Ok(vec![Some(dx.tensor(count))])
    }
}

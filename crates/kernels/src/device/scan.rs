//! The selective scan and causal convolution on a device.

use std::sync::OnceLock;

use candle_core::{Device, Result, Shape, Tensor};

use super::code;
use super::graph::{DeviceOp, apply, kept};
use super::queue::{Arg, Block, launch, launch_each};
use super::source;
use crate::ScanOptions;
use crate::activation::Activation;

/// States that the kernels have lanes for.
pub(crate) const MOST_STATES: usize = 32;

/// [`crate::selective_scan`] with `groups` groups of `b` and `c`, and at most [`MOST_STATES`] states.
pub(crate) fn selective_scan(
    [u, delta, a, b, c]: [&Tensor; 5],
    groups: usize,
    options: &ScanOptions,
) -> Result<Tensor> {
    let (n, d, l) = u.dims3()?;
    let optional = [options.skip, options.gate, options.delta_bias];
    let present = optional.map(|x| x.is_some());
    let op = SelectiveScan {
        n,
        d,
        l,
        states: a.dim(1)?,
        groups,
        present,
        softplus: options.delta_softplus,
        entries: OnceLock::new(),
    };
    let inputs: Vec<&Tensor> =
        [u, delta, a, b, c].into_iter().chain(optional.into_iter().flatten()).collect();
    apply(op, &inputs)
}

struct SelectiveScan {
    n: usize,
    d: usize,
    l: usize,
    states: usize,
    groups: usize,
    /// Whether there are skip, gate and the bias of the step.
    present: [bool; 3],
    softplus: bool,
    /// The states before each chunk, from the forward pass.
    entries: OnceLock<Tensor>,
}

impl SelectiveScan {
    fn lanes(&self) -> usize {
        self.states.next_power_of_two()
    }

    /// Blocks of a group of an example.
    fn blocks(&self) -> usize {
        (self.d / self.groups).div_ceil(source::SCAN_FORWARD.threads / self.lanes())
    }

    fn sizes(&self) -> [Arg<'static>; 9] {
        let [skip, gate, bias] = self.present.map(usize::from);
        let softplus = self.softplus.into();
        [self.d, self.l, self.states, self.lanes(), self.groups, skip, gate, bias, softplus].map(Arg::Int)
    }

    /// All eight inputs; an absent one is played by the first, which the kernel then does not read.
    fn all<'a>(&self, inputs: &[&'a Tensor]) -> Result<[&'a Tensor; 8]> {
        let [u, delta, a, b, c, rest @ ..] = inputs else {
            candle_core::bail!("selective_scan takes five inputs or more")
        };
        let mut rest = rest.iter().copied();
        let mut next = |present: bool| if present { rest.next().unwrap_or(*u) } else { *u };
        let [skip, gate, bias] = self.present;
        Ok([*u, *delta, *a, *b, *c, next(skip), next(gate), next(bias)])
    }

    /// The output and the states before each chunk.
    fn run(&self, inputs: &[&Tensor]) -> Result<(Block, Tensor)> {
        let all = self.all(inputs)?;
        let device = all[0].device();
        let mut y = Block::floats(device, self.n * self.d * self.l)?;
        let entries = self.n * self.d * self.l.div_ceil(16) * self.states;
        let mut states = Block::floats(device, entries)?;
        let mut args: Vec<Arg> = all.into_iter().map(Arg::In).collect();
        args.extend([y.out(), states.out()]);
        args.extend(self.sizes());
        launch(device, source::SCAN_FORWARD, self.n * self.groups * self.blocks(), &mut args)?;
        Ok((y, states.tensor(entries)))
    }
}

impl DeviceOp for SelectiveScan {
    fn name(&self) -> &'static str {
        "selective_scan"
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<(Block, Shape)> {
        let (y, entries) = self.run(&inputs.iter().collect::<Vec<_>>())?;
        let _ = self.entries.set(entries);
        Ok((y, (self.n, self.d, self.l).into()))
    }

    fn backward(&self, inputs: &[Option<Tensor>], dy: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let inputs = (0..inputs.len()).map(|i| kept(inputs, i)).collect::<Result<Vec<_>>>()?;
        let device = dy.device();
        let entries = match self.entries.get() {
            Some(entries) => entries.clone(),
            None => self.run(&inputs)?.1,
        };
        let (rows, numbers) = (self.n * self.d, self.n * self.d * self.l);
        let tasks = self.n * self.groups * self.blocks();
        let parts = tasks * self.states * self.l;
        let gates = if self.present[1] { numbers } else { 1 };
        let sizes = [numbers, numbers, rows * self.states, parts, parts, rows, gates, rows];
        let mut out =
            sizes.map(|size| Block::floats(device, size)).into_iter().collect::<Result<Vec<_>>>()?;
        let mut args: Vec<Arg> = self.all(&inputs)?.into_iter().map(Arg::In).collect();
        args.extend([Arg::In(&entries), Arg::In(dy)]);
        args.extend(out.iter_mut().map(Block::out));
        args.extend(self.sizes());
        launch(device, source::SCAN_BACKWARD, tasks, &mut args)?;
        drop(args);

        let out: Vec<Tensor> = out.into_iter().zip(sizes).map(|(block, size)| block.tensor(size)).collect();
        let [du, ddelta, da, db, dc, dskip, dgate, dshift] = out.as_slice() else {
            candle_core::bail!("selective_scan has eight gradients")
        };
        let over_examples = |x: &Tensor, width: usize| sum_parts(device, x, 1, self.n, width);
        let over_blocks =
            |x: &Tensor| sum_parts(device, x, self.n * self.groups, self.blocks(), self.states * self.l);
        let mut grads = vec![
            du.clone(),
            ddelta.clone(),
            over_examples(da, self.d * self.states)?,
            over_blocks(db)?,
            over_blocks(dc)?,
        ];
        if self.present[0] {
            grads.push(over_examples(dskip, self.d)?);
        }
        if self.present[1] {
            grads.push(dgate.clone());
        }
        if self.present[2] {
            grads.push(over_examples(dshift, self.d)?);
        }
        Ok(grads.into_iter().map(Some).collect())
    }
}

/// `[outer, parts, inner]` summed over the parts, in their order.
fn sum_parts(device: &Device, x: &Tensor, outer: usize, parts: usize, inner: usize) -> Result<Tensor> {
    if parts == 1 {
        return Ok(x.clone());
    }
    let count = outer * inner;
    let mut y = Block::floats(device, count)?;
    let args = &mut [Arg::In(x), y.out(), Arg::Int(count), Arg::Int(parts), Arg::Int(inner)];
    launch_each(device, source::SUM_PARTS, count, args)?;
    Ok(y.tensor(count))
}

/// [`crate::causal_conv1d`].
pub(crate) fn causal_conv1d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    let (n, d, l) = x.dims3()?;
    let op = CausalConv { n, d, l, taps: weight.elem_count() / d, activation };
    apply(op, &[x, weight].into_iter().chain(bias).collect::<Vec<_>>())
}

struct CausalConv {
    n: usize,
    d: usize,
    l: usize,
    taps: usize,
    activation: Activation,
}

impl DeviceOp for CausalConv {
    fn name(&self) -> &'static str {
        "causal_conv1d"
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<(Block, Shape)> {
        let [x, weight, bias @ ..] = inputs else {
            candle_core::bail!("causal_conv1d takes two inputs or more")
        };
        let (kind, slope) = code(self.activation);
        let count = x.elem_count();
        let mut y = Block::floats(x.device(), count)?;
        let args = &mut [
            Arg::In(x),
            Arg::In(weight),
            Arg::In(bias.first().unwrap_or(weight)),
            y.out(),
            Arg::Int(count),
            Arg::Int(self.d),
            Arg::Int(self.l),
            Arg::Int(self.taps),
            Arg::Int(bias.len()),
            Arg::Int(kind),
            Arg::Real(slope),
        ];
        launch_each(x.device(), source::CAUSAL_FORWARD, count, args)?;
        Ok((y, x.shape().clone()))
    }

    fn backward(&self, inputs: &[Option<Tensor>], dy: &Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let (x, weight) = (kept(inputs, 0)?, kept(inputs, 1)?);
        let bias = inputs.get(2).and_then(Option::as_ref);
        let (device, count) = (x.device(), x.elem_count());
        let (kind, slope) = code(self.activation);
        let (d, l, taps) = (self.d, self.l, self.taps);
        let mut dv = Block::floats(device, count)?;
        let args = &mut [
            Arg::In(x),
            Arg::In(weight),
            Arg::In(bias.unwrap_or(weight)),
            Arg::In(dy),
            dv.out(),
            Arg::Int(count),
            Arg::Int(d),
            Arg::Int(l),
            Arg::Int(taps),
            Arg::Int(bias.is_some().into()),
            Arg::Int(kind),
            Arg::Real(slope),
        ];
        launch_each(device, source::CAUSAL_SLOPES, count, args)?;
        let dv = dv.tensor(count);

        let mut dx = Block::floats(device, count)?;
        let args = &mut [
            Arg::In(&dv),
            Arg::In(weight),
            dx.out(),
            Arg::Int(count),
            Arg::Int(d),
            Arg::Int(l),
            Arg::Int(taps),
        ];
        launch_each(device, source::CAUSAL_INPUT, count, args)?;

        let (mut dweight, mut dbias) = (Block::floats(device, d * taps)?, Block::floats(device, d)?);
        let args = &mut [
            Arg::In(x),
            Arg::In(&dv),
            dweight.out(),
            dbias.out(),
            Arg::Int(self.n),
            Arg::Int(d),
            Arg::Int(l),
            Arg::Int(taps),
        ];
        launch(device, source::CAUSAL_WEIGHT, d * (taps + 1), args)?;
        let mut grads = vec![Some(dx.tensor(count)), Some(dweight.tensor(d * taps)), Some(dbias.tensor(d))];
        grads.truncate(inputs.len());
        Ok(grads)
    }
}

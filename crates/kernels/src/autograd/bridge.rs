//! An [`Op`] in Candle's own graph.
//!
//! Candle's custom operations take at most three tensors. One of more takes its first two as they are, and the rest
//! through a chain of scalar stand-ins: the gradients of all inputs are computed at once and handed down the chain.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, DType, Layout, MetalStorage, Result, Shape,
    Storage, Tensor,
};

use super::op::Pull;

/// The output of `op`, already computed, as a node of Candle's graph.
pub(super) fn apply(op: Box<dyn Pull>, inputs: &[Tensor], output: Storage, shape: Shape) -> Result<Tensor> {
    let rest = if inputs.len() > 3 { inputs[2..].to_vec() } else { vec![] };
    let handed = Arc::new(Mutex::new(vec![None; rest.len()]));
    let node =
        Node { op, output: Mutex::new(Some((output, shape))), rest: rest.clone(), handed: handed.clone() };
    match inputs {
        [a] => a.apply_op1(node),
        [a, b] => a.apply_op2(b, node),
        [a, b, c] => a.apply_op3(b, c, node),
        [a, b, ..] => a.apply_op3(b, &stand_in(&rest, 0, &handed)?, node),
        [] => candle_core::bail!("an operation without inputs"),
    }
}

type Handed = Arc<Mutex<Vec<Option<Tensor>>>>;

/// A scalar that depends on the inputs from `first` on, one link of the chain each.
fn stand_in(rest: &[Tensor], first: usize, handed: &Handed) -> Result<Tensor> {
    let link = Link { index: first, handed: handed.clone() };
    match &rest[first..] {
        [last] => last.apply_op1(link),
        [here, ..] => here.apply_op2(&stand_in(rest, first + 1, handed)?, link),
        [] => candle_core::bail!("an empty chain of inputs"),
    }
}

struct Node {
    op: Box<dyn Pull>,
    output: Mutex<Option<(Storage, Shape)>>,
    rest: Vec<Tensor>,
    handed: Handed,
}

impl Node {
    fn output<T>(&self, pick: impl Fn(Storage) -> Option<T>) -> Result<(T, Shape)> {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let (storage, shape) =
            output.take().ok_or_else(|| candle_core::Error::msg("an output was asked for twice"))?;
        let wrong = || candle_core::Error::msg(format!("{}: inputs on several devices", self.op.name()));
        Ok((pick(storage).ok_or_else(wrong)?, shape))
    }

    fn gradients(&self, inputs: &[&Tensor], dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let inputs: Vec<Tensor> = inputs.iter().copied().chain(&self.rest).cloned().collect();
        let shapes: Vec<Shape> = inputs.iter().map(|x| x.shape().clone()).collect();
        let wanted: Vec<bool> = inputs.iter().map(|x| x.track_op()).collect();
        let kept: Vec<Option<Tensor>> = inputs.into_iter().map(Some).collect();
        self.op.gradients(&kept, &shapes, &wanted, dy)
    }
}

/// A scalar zero on the device of a storage.
pub(super) fn zero<S>(like: &S) -> Result<(S, Shape)>
where
    S: BackendStorage,
    S::Device: BackendDevice<Storage = S>,
{
    let shape = Shape::from(());
    Ok((like.device().zeros_impl(&shape, DType::F32)?, shape))
}

/// The forward passes of a [`Node`] on all devices: the output that is already known.
macro_rules! forward {
    ($($input:ident),*) => {
        forward!(@ cpu_fwd, CpuStorage, Cpu; $($input),*);
        forward!(@ cuda_fwd, CudaStorage, Cuda; $($input),*);
        forward!(@ metal_fwd, MetalStorage, Metal; $($input),*);
    };
    (@ $name:ident, $storage:ty, $variant:ident; $($input:ident),*) => {
        fn $name(&self, $($input: &$storage, _: &Layout),*) -> Result<($storage, Shape)> {
            let _ = ($($input),*);
            self.output(|storage| match storage {
                Storage::$variant(storage) => Some(storage),
                _ => None,
            })
        }
    };
}

/// The forward passes of a [`Link`] on all devices: a zero.
macro_rules! link {
    ($first:ident $(, $next:ident)?) => {
        link!(@ cpu_fwd, CpuStorage; $first $(, $next)?);
        link!(@ cuda_fwd, CudaStorage; $first $(, $next)?);
        link!(@ metal_fwd, MetalStorage; $first $(, $next)?);
    };
    (@ $name:ident, $storage:ty; $first:ident $(, $next:ident)?) => {
        fn $name(&self, $first: &$storage, _: &Layout $(, $next: &$storage, _: &Layout)?) -> Result<($storage, Shape)> {
            $(let _ = $next;)?
            zero($first)
        }
    };
}

impl CustomOp1 for Node {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    forward!(a);

    fn bwd(&self, a: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        Ok(self.gradients(&[a], dy)?.pop().flatten())
    }
}

impl CustomOp2 for Node {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    forward!(a, b);

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut all = self.gradients(&[a, b], dy)?.into_iter();
        Ok((all.next().flatten(), all.next().flatten()))
    }
}

impl CustomOp3 for Node {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    forward!(a, b, c);

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        if self.rest.is_empty() {
            let mut all = self.gradients(&[a, b, c], dy)?.into_iter();
            return Ok((all.next().flatten(), all.next().flatten(), all.next().flatten()));
        }
        let mut all = self.gradients(&[a, b], dy)?;
        let rest = all.split_off(2);
        *self.handed.lock().unwrap_or_else(PoisonError::into_inner) = rest;
        let mut all = all.into_iter();
        Ok((all.next().flatten(), all.next().flatten(), Some(c.zeros_like()?)))
    }
}

/// One input of the chain.
struct Link {
    index: usize,
    handed: Handed,
}

impl Link {
    fn gradient(&self) -> Option<Tensor> {
        self.handed.lock().unwrap_or_else(PoisonError::into_inner)[self.index].take()
    }
}

impl CustomOp1 for Link {
    fn name(&self) -> &'static str {
        "input"
    }

    link!(x);

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(self.gradient())
    }
}

impl CustomOp2 for Link {
    fn name(&self) -> &'static str {
        "input"
    }

    link!(x, next);

    fn bwd(
        &self,
        _: &Tensor,
        next: &Tensor,
        _: &Tensor,
        _: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((self.gradient(), Some(next.zeros_like()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::op::{Gradient, Op, apply};
    use super::*;
    use candle_core::{Device, Var};

    /// `sum_i (i + 1) x_i` of five inputs.
    struct Sum(usize);

    impl Op for Sum {
        fn name(&self) -> &'static str {
            "sum"
        }

        fn forward(&self, inputs: &[&[f32]]) -> Result<(Vec<f32>, Shape)> {
            let mut y = vec![0.0; self.0];
            for (i, x) in inputs.iter().enumerate() {
                y.iter_mut().zip(*x).for_each(|(y, x)| *y += (i + 1) as f32 * x);
            }
            Ok((y, self.0.into()))
        }

        fn backward(&self, inputs: &[&[f32]], dy: &[f32], wanted: &[bool]) -> Result<Vec<Gradient>> {
            let gradient = |i: usize| dy.iter().map(|d| (i + 1) as f32 * d).collect();
            Ok((0..inputs.len()).map(|i| Gradient::when(wanted[i], || gradient(i))).collect())
        }
    }

    #[test]
    fn operations_of_many_inputs_have_all_their_gradients() {
        let vars: Vec<Var> = (0..5).map(|i| Var::new(&[i as f32, 1.0], &Device::Cpu).unwrap()).collect();
        let constant = Tensor::new(&[1f32, 1.0], &Device::Cpu).unwrap();
        for frozen in [None, Some(0), Some(3), Some(4)] {
            let inputs: Vec<&Tensor> =
                (0..5).map(|i| if Some(i) == frozen { &constant } else { vars[i].as_tensor() }).collect();
            let y = apply(Sum(2), &inputs).unwrap();
            let grads = (y * 2.0).unwrap().backward().unwrap();
            for (i, var) in vars.iter().enumerate() {
                let found = grads.get(var).map(|g| g.to_vec1::<f32>().unwrap());
                let expected = (Some(i) != frozen).then(|| vec![2.0 * (i + 1) as f32; 2]);
                assert_eq!(found, expected);
            }
        }
    }
}

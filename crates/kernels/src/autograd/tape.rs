//! A tape: the operations of one forward pass in order, run backwards once.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use candle_core::backprop::GradStore;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, Layout, MetalStorage, Result, Shape, Tensor, TensorId, Var,
};

use super::bridge::zero;
use super::op::Pull;

/// What happens to operations on this thread.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// They join Candle's graph.
    Candle,
    /// They are written on the tape.
    Record,
    /// Nothing is remembered.
    Off,
}

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::Candle) };
    static TAPE: RefCell<Tape> = RefCell::default();
}

pub(super) fn mode() -> Mode {
    MODE.get()
}

/// Runs `body` in another mode; the old one returns even if `body` panics.
fn with_mode<R>(mode: Mode, body: impl FnOnce() -> R) -> R {
    struct Restore(Mode);
    impl Drop for Restore {
        fn drop(&mut self) {
            MODE.set(self.0);
        }
    }
    let _restore = Restore(MODE.replace(mode));
    body()
}

/// Runs `body` without remembering anything of this crate's operations for gradients: for sampling from a model that is
/// being trained. Operations of Candle itself are not affected.
///
/// # Example
/// ```
/// use candle_core::{Device, Var};
/// let w = Var::new(&[1.0f32, 2.0], &Device::Cpu)?;
/// let y = halocast_kernels::no_grad(|| halocast_kernels::silu(&w))?;
/// assert!(!y.track_op());
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn no_grad<R>(body: impl FnOnce() -> R) -> R {
    with_mode(Mode::Off, body)
}

/// Runs `body` and writes every operation of this crate that depends on a variable on a [`Tape`].
///
/// Call [`Tape::backward`] for the gradients; Candle's own `backward` on a recorded tensor stops at the last recorded
/// operation and gives no gradient beyond it.
///
/// # Errors
/// Those of `body`.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use halocast_kernels::{linear, mse_loss, record};
/// let w = Var::new(&[[1.0f32, 2.0]], &Device::Cpu)?;
/// let (x, y) = (Tensor::new(&[[3.0f32, 4.0]], &Device::Cpu)?, Tensor::new(&[[1.0f32]], &Device::Cpu)?);
/// let (loss, tape) = record(|| mse_loss(&linear(&x, &w, None)?, &y))?;
/// let gradients = tape.backward(&loss)?;
/// // d/dw (w x - y)^2 = 2 (11 - 1) x.
/// assert_eq!(gradients.get(&w).unwrap().to_vec2::<f32>()?, [[60.0, 80.0]]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn record<R, E>(body: impl FnOnce() -> std::result::Result<R, E>) -> std::result::Result<(R, Tape), E> {
    /// Puts the outer tape back, even if `body` panics.
    struct Restore(Option<Tape>);
    impl Drop for Restore {
        fn drop(&mut self) {
            if let Some(outer) = self.0.take() {
                TAPE.set(outer);
            }
        }
    }
    let mut restore = Restore(Some(TAPE.take()));
    let result = with_mode(Mode::Record, body)?;
    let tape = TAPE.replace(restore.0.take().unwrap_or_default());
    Ok((result, tape))
}

/// Runs a block of a network without keeping its activations: they are computed again when the gradient is
/// (Chen et al. 2016, arXiv:1604.06174). Memory falls to the block's inputs, time rises by one forward pass of it.
///
/// `body` must give the same result for the same inputs. Outside [`record`] it is just run.
///
/// # Errors
/// Those of `body`.
///
/// # Example
/// ```
/// use candle_core::{Device, Var};
/// use halocast_kernels::{checkpoint, record, silu};
/// let x = Var::new(&[0.0f32, 1.0], &Device::Cpu)?;
/// let (y, tape) = record(|| checkpoint(&[&x], |x| Ok(silu(&silu(&x[0])?)?)))?;
/// assert!(tape.backward(&y)?.get(&x).is_some());
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn checkpoint(
    inputs: &[&Tensor],
    body: impl Fn(&[Tensor]) -> crate::Result<Tensor> + Send + Sync + 'static,
) -> crate::Result<Tensor> {
    let inputs: Vec<Tensor> = inputs.iter().map(|&x| x.clone()).collect();
    if mode() != Mode::Record {
        return body(&inputs);
    }
    let detached: Vec<Tensor> = inputs.iter().map(Tensor::detach).collect();
    let y = no_grad(|| body(&detached))?.detach();
    // A leaf of Candle's graph; the copy is the price of a tensor that it takes for one.
    let output = Var::from_tensor(&y)?.into_inner();
    TAPE.with_borrow_mut(|tape| tape.push(Work::Block(Box::new(body)), &inputs, |_| true, &output));
    Ok(output)
}

/// Notes an operation on the tape of this thread.
pub(super) fn push_op(op: Box<dyn Pull>, inputs: &[Tensor], output: &Tensor) {
    TAPE.with_borrow_mut(|tape| {
        let keeps: Vec<bool> = (0..inputs.len()).map(|i| op.keeps(i)).collect();
        tape.push(Work::Op(op), inputs, |i| keeps[i], output);
    });
}

/// The operations of one forward pass, from [`record`].
#[derive(Default)]
pub struct Tape {
    nodes: Vec<Node>,
    outputs: HashMap<TensorId, usize>,
}

struct Node {
    work: Work,
    edges: Vec<Edge>,
    shapes: Vec<Shape>,
    /// The inputs whose values the gradient reads.
    kept: Vec<Option<Tensor>>,
}

type Block = dyn Fn(&[Tensor]) -> crate::Result<Tensor> + Send + Sync;

enum Work {
    Op(Box<dyn Pull>),
    Block(Box<Block>),
}

/// Where the gradient of an input goes.
enum Edge {
    /// Nowhere: a constant.
    Constant,
    /// To an earlier operation of the tape.
    Node(usize),
    /// To a variable.
    Variable(TensorId),
    /// Through a graph of Candle's own operations.
    Candle(Tensor),
}

impl Tape {
    fn push(&mut self, work: Work, inputs: &[Tensor], keeps: impl Fn(usize) -> bool, output: &Tensor) {
        let edges = inputs.iter().map(|x| self.edge(x)).collect();
        let shapes = inputs.iter().map(|x| x.shape().clone()).collect();
        // Detached: a kept value must not hold a graph.
        let kept = inputs.iter().enumerate().map(|(i, x)| keeps(i).then(|| x.detach())).collect();
        self.outputs.insert(output.id(), self.nodes.len());
        self.nodes.push(Node { work, edges, shapes, kept });
    }

    fn edge(&self, x: &Tensor) -> Edge {
        match self.outputs.get(&x.id()) {
            Some(&node) => Edge::Node(node),
            None if x.is_variable() => Edge::Variable(x.id()),
            None if x.track_op() => Edge::Candle(x.clone()),
            None => Edge::Constant,
        }
    }

    /// The number of operations recorded.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether nothing was recorded: nothing depended on a variable.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The gradients of the sum of the numbers of `loss` with respect to every variable it depends on, as Candle's
    /// `backward` gives them. Activations are freed on the way.
    ///
    /// # Errors
    /// Where an operation's gradient cannot be computed.
    pub fn backward(self, loss: &Tensor) -> crate::Result<GradStore> {
        let ones = loss.ones_like()?;
        Ok(self.backward_from(loss, ones)?)
    }

    /// As [`Tape::backward`], for $\sum_i$ `gradient`$_i$ `output`$_i$.
    ///
    /// # Errors
    /// Where the shapes differ, or an operation's gradient cannot be computed.
    pub fn backward_from(mut self, output: &Tensor, gradient: Tensor) -> Result<GradStore> {
        if output.dims() != gradient.dims() {
            candle_core::bail!("a gradient of shape {:?} for {:?}", gradient.dims(), output.dims());
        }
        let mut store = Store { slots: vec![None; self.nodes.len()], leaves: GradStore::default() };
        let edge = self.edge(output);
        store.add(&self.outputs, edge, gradient)?;
        while let Some(node) = self.nodes.pop() {
            if let Some(dy) = store.slots.pop().flatten() {
                node.run(dy, &self.outputs, &mut store)?;
            }
        }
        Ok(store.leaves)
    }
}

impl Node {
    fn run(self, dy: Tensor, outputs: &HashMap<TensorId, usize>, store: &mut Store) -> Result<()> {
        let wanted: Vec<bool> = self.edges.iter().map(|edge| !matches!(edge, Edge::Constant)).collect();
        let grads = match &self.work {
            Work::Op(op) => op.gradients(&self.kept, &self.shapes, &wanted, &dy)?,
            Work::Block(body) => {
                let copy = |x: &Tensor| Var::from_tensor(x);
                let inputs = self.kept.iter().flatten().map(copy).collect::<Result<Vec<_>>>()?;
                let tensors: Vec<Tensor> = inputs.iter().map(|x| x.as_tensor().clone()).collect();
                let (y, tape) = record(|| body(&tensors)).map_err(candle_core::Error::from)?;
                let mut inner = tape.backward_from(&y, dy)?;
                let grads = inputs.iter().map(|x| inner.remove(x)).collect();
                store.leaves.extend(inner)?;
                grads
            }
        };
        // Free what was kept before more is made.
        drop(self.kept);
        for (edge, gradient) in self.edges.into_iter().zip(grads) {
            if let Some(gradient) = gradient {
                store.add(outputs, edge, gradient)?;
            }
        }
        Ok(())
    }
}

/// The gradients found so far: of operations still to be run, and of variables.
struct Store {
    slots: Vec<Option<Tensor>>,
    leaves: GradStore,
}

impl Store {
    fn add(&mut self, outputs: &HashMap<TensorId, usize>, edge: Edge, gradient: Tensor) -> Result<()> {
        match edge {
            Edge::Constant => {}
            Edge::Node(node) => {
                let slot = &mut self.slots[node];
                *slot = Some(match slot.take() {
                    None => gradient,
                    Some(sum) => (sum + gradient)?,
                });
            }
            Edge::Variable(id) => {
                let sum = match self.leaves.get_id(id) {
                    None => gradient,
                    Some(sum) => (sum + gradient)?,
                };
                self.leaves.insert_id(id, sum);
            }
            Edge::Candle(x) => {
                let found = x.apply_op1(Seed(gradient))?.backward()?;
                let ids: Vec<TensorId> = found.get_ids().copied().collect();
                for id in ids {
                    let edge = outputs.get(&id).map_or(Edge::Variable(id), |&node| Edge::Node(node));
                    if let Some(gradient) = found.get_id(id) {
                        self.add(outputs, edge, gradient.clone())?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Begins a backward pass of Candle with a given gradient.
struct Seed(Tensor);

impl CustomOp1 for Seed {
    fn name(&self) -> &'static str {
        "seed"
    }

    fn cpu_fwd(&self, x: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        zero(x)
    }

    fn cuda_fwd(&self, x: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        zero(x)
    }

    fn metal_fwd(&self, x: &MetalStorage, _: &Layout) -> Result<(MetalStorage, Shape)> {
        zero(x)
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.0.clone()))
    }
}

//! Attention on a device: the softmax kind in tiles, with memory linear in the length; the linear kind from a softmax and
//! products of matrices.

use std::sync::{Arc, OnceLock};

use candle_core::{DType, Result, Shape, Tensor};

use super::graph::{DeviceOp, apply, kept};
use super::norm::softmax;
use super::queue::{Arg, Block, launch};
use super::source;
use crate::AttentionSpec;

/// Components of queries, keys and values that the kernels have registers for.
pub(crate) const MOST_COMPONENTS: usize = 128;

/// [`crate::attention_masked`], for at most [`MOST_COMPONENTS`] components.
pub(crate) fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: Option<&Tensor>,
    spec: AttentionSpec,
) -> Result<Tensor> {
    let (batch, heads, n, d) = q.dims4()?;
    let (m, e) = (k.dim(2)?, v.dim(3)?);
    // Where there is no mask the kernels read none, but must be given something.
    let masked = mask.is_some();
    let mask = match mask {
        Some(mask) => mask.detach().to_dtype(DType::F32)?.ne(0.0)?.to_dtype(DType::U32)?.contiguous()?,
        None => Tensor::zeros(1, DType::U32, q.device())?,
    };
    let kept = Arc::new(OnceLock::new());
    let op =
        Attention { batch, heads, n, m, d, e, spec, masked, mask, kept: kept.clone(), lse: OnceLock::new() };
    let o = apply(op, &[q, k, v])?;
    let _ = kept.set(o.detach());
    Ok(o)
}

struct Attention {
    batch: usize,
    /// Of an example.
    heads: usize,
    n: usize,
    m: usize,
    d: usize,
    e: usize,
    spec: AttentionSpec,
    masked: bool,
    mask: Tensor,
    /// The output, which shares its memory with that in the graph.
    kept: Arc<OnceLock<Tensor>>,
    /// Of each row the logarithm of its sum of exponentials.
    lse: OnceLock<Tensor>,
}

impl Attention {
    fn all(&self) -> usize {
        self.batch * self.heads
    }

    fn sizes(&self) -> [Arg<'static>; 8] {
        let Self { n, m, d, e, heads, masked, spec, .. } = *self;
        let [n, m, d, e, heads] = [n, m, d, e, heads].map(Arg::Int);
        let scale = Arg::Real(spec.scale as f32);
        [n, m, d, e, heads, Arg::Int(masked.into()), Arg::Int(spec.causal.into()), scale]
    }

    /// The output and the rows' logarithms.
    fn run(&self, [q, k, v]: [&Tensor; 3]) -> Result<(Block, Tensor)> {
        let rows = self.all() * self.n;
        let (mut o, mut lse) = (Block::floats(q.device(), rows * self.e)?, Block::floats(q.device(), rows)?);
        let mut args = vec![Arg::In(q), Arg::In(k), Arg::In(v), Arg::In(&self.mask), o.out(), lse.out()];
        args.extend(self.sizes());
        launch(q.device(), source::ATTENTION_FORWARD, self.all() * self.n.div_ceil(64), &mut args)?;
        drop(args);
        Ok((o, lse.tensor(rows)))
    }
}

impl DeviceOp for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<(Block, Shape)> {
        let [q, k, v] = inputs else { candle_core::bail!("attention takes three inputs") };
        let (o, lse) = self.run([q, k, v])?;
        let _ = self.lse.set(lse);
        Ok((o, (self.batch, self.heads, self.n, self.e).into()))
    }

    fn backward(
        &self,
        inputs: &[Option<Tensor>],
        dy: &Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let (q, k, v) = (kept(inputs, 0)?, kept(inputs, 1)?, kept(inputs, 2)?);
        let Self { n, m, d, e, .. } = *self;
        let (device, rows) = (q.device(), self.all() * n);
        let (o, lse) = match (self.kept.get(), self.lse.get()) {
            (Some(o), Some(lse)) => (o.clone(), lse.clone()),
            _ => {
                let (o, lse) = self.run([q, k, v])?;
                (o.tensor(rows * e), lse)
            }
        };
        let mut delta = Block::floats(device, rows)?;
        let args = &mut [Arg::In(&o), Arg::In(dy), delta.out(), Arg::Int(rows), Arg::Int(e)];
        launch(device, source::ATTENTION_DELTA, rows.div_ceil(8), args)?;
        let delta = delta.tensor(rows);

        let inputs = [q, k, v, &self.mask, dy, &lse, &delta];
        let mut grads = vec![None; 3];
        if wanted[0] {
            let mut dq = Block::floats(device, rows * d)?;
            let mut args: Vec<Arg> = inputs.into_iter().map(Arg::In).collect();
            args.push(dq.out());
            args.extend(self.sizes());
            launch(device, source::ATTENTION_QUERIES, self.all() * n.div_ceil(64), &mut args)?;
            drop(args);
            grads[0] = Some(dq.tensor(rows * d));
        }
        if wanted[1] || wanted[2] {
            let keys = self.all() * m;
            let (mut dk, mut dv) = (Block::floats(device, keys * d)?, Block::floats(device, keys * e)?);
            let mut args: Vec<Arg> = inputs.into_iter().map(Arg::In).collect();
            args.extend([dk.out(), dv.out()]);
            args.extend(self.sizes());
            launch(device, source::ATTENTION_KEYS, self.all() * m.div_ceil(64), &mut args)?;
            drop(args);
            grads[1] = Some(dk.tensor(keys * d));
            grads[2] = Some(dv.tensor(keys * e));
        }
        Ok(grads)
    }
}

/// [`crate::linear_attention`].
pub(crate) fn linear_attention(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64) -> Result<Tensor> {
    let keys = softmax(&k.transpose(2, 3)?.contiguous()?)?;
    let context = keys.matmul(&v.contiguous()?)?;
    (softmax(q)? * scale)?.matmul(&context)
}

/// An attention of the queries, keys and values that are the channels of a map.
pub(crate) fn of_map(
    qkv: &Tensor,
    heads: usize,
    attend: impl Fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let mut dims = qkv.dims().to_vec();
    let d = dims[1] / (3 * heads);
    let parts = qkv.reshape((dims[0], 3, heads, d, ()))?;
    let part = |i: usize| parts.narrow(1, i, 1)?.squeeze(1)?.transpose(2, 3)?.contiguous();
    let o = attend(&part(0)?, &part(1)?, &part(2)?)?;
    dims[1] /= 3;
    o.transpose(2, 3)?.contiguous()?.reshape(dims)
}

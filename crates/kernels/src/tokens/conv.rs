//! Depthwise causal convolution of tokens.

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use super::ScanOrder;
use crate::activation::Activation;
use crate::autograd::{self, Gradient, Op};
use crate::memory::{Output, on_cpu, with_scratch};
use crate::simd::{Level, fma, multiversion};
use crate::{Error, Result, reference};

/// Tokens that one task handles.
const SPAN: usize = 64;

/// Depthwise causal convolution of tokens in an order, then an activation $\phi$: [`causal_conv1d`](crate::causal_conv1d())
/// with the channels last,
///
/// $$ y_{o(t), d} = \phi\Big( \beta_d + \sum_{j=0}^{k-1} w_{d j} \, x_{o(t - (k - 1) + j), d} \Big) $$
///
/// where $o(t)$ is the token read at turn $t$, and those before the first are zero. `x [n, l, d]`, `weight [d, k]` or
/// `[d, 1, k]`, `bias [d]`; the output is as `x`.
///
/// # Source
/// The local mixing of Gu & Dao 2023, arXiv:2312.00752, figure 3.
///
/// # Errors
/// Where a shape does not fit, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_kernels::{Activation, ScanOrder, causal_conv_tokens};
/// let x = Tensor::new(&[[[1.0f32], [2.0], [3.0]]], &Device::Cpu)?;
/// let before_and_now = Tensor::new(&[[10.0f32, 1.0]], &Device::Cpu)?;
/// let backwards = ScanOrder::new(vec![2, 1, 0])?;
/// let y = causal_conv_tokens(&x, &before_and_now, None, Activation::None, &backwards)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [21.0, 32.0, 3.0]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn causal_conv_tokens(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
    order: &ScanOrder,
) -> Result<Tensor> {
    const OP: &str = "causal_conv_tokens";
    let &[n, l, d] = x.dims() else { return Err(Error::shape(OP, "x", "[n, l, d]", x.dims())) };
    order.check(OP, l)?;
    let taps = match *weight.dims() {
        [c, k] | [c, 1, k] if c == d && k > 0 => k,
        _ => return Err(Error::shape(OP, "weight", format!("[{d}, k] or [{d}, 1, k]"), weight.dims())),
    };
    if let Some(bias) = bias.filter(|b| b.dims() != [d]) {
        return Err(Error::shape(OP, "bias", format!("[{d}]"), bias.dims()));
    }
    let inputs: Vec<&Tensor> = [x, weight].into_iter().chain(bias).collect();
    if !on_cpu(&inputs) || x.elem_count() == 0 {
        return reference::causal_conv_tokens(x, weight, bias, activation, order);
    }
    let op = TokenConv { n, l, d, taps, activation, order: order.clone() };
    Ok(autograd::apply(op, &inputs)?)
}

struct TokenConv {
    n: usize,
    l: usize,
    d: usize,
    taps: usize,
    activation: Activation,
    order: ScanOrder,
}

impl TokenConv {
    fn spans(&self) -> usize {
        self.l.div_ceil(SPAN)
    }

    /// Where the token of a turn begins in memory.
    fn start(&self, example: usize, turn: usize) -> usize {
        (example * self.l + self.order.positions()[turn] as usize) * self.d
    }

    /// The weights by tap, `[tap][channel]`.
    fn by_tap(&self, weight: &[f32]) -> Vec<f32> {
        (0..self.taps * self.d).map(|i| weight[i % self.d * self.taps + i / self.d]).collect()
    }

    /// The output of a turn before its activation.
    fn token(&self, level: Level, inputs: &[&[f32]], weight: &[f32], at: (usize, usize), y: &mut [f32]) {
        let (example, turn) = at;
        match inputs.get(2) {
            Some(bias) => y.copy_from_slice(bias),
            None => y.fill(0.0),
        }
        for (j, weight) in weight.chunks_exact(self.d).enumerate() {
            if let Some(from) = (turn + j + 1).checked_sub(self.taps) {
                let x = &inputs[0][self.start(example, from)..][..self.d];
                accumulate(level, weight, x, y);
            }
        }
    }
}

impl Op for TokenConv {
    fn name(&self) -> &'static str {
        "causal_conv_tokens"
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let (level, weight) = (Level::current(), self.by_tap(inputs[1]));
        let mut y = Output::new(inputs[0].len());
        let out = y.shared();
        (0..self.n * self.spans()).into_par_iter().for_each(|task| {
            let (example, first) = (task / self.spans(), task % self.spans() * SPAN);
            for turn in first..self.l.min(first + SPAN) {
                // SAFETY: an order names each token once, so each task writes its own.
                let y = unsafe { out.slice(self.start(example, turn), self.d) };
                self.token(level, inputs, &weight, (example, turn), y);
                self.activation.apply(level, y);
            }
        });
        // SAFETY: the orders cover all tokens.
        Ok((unsafe { y.finish() }, (self.n, self.l, self.d).into()))
    }

    fn backward(&self, inputs: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let (level, weight) = (Level::current(), self.by_tap(inputs[1]));
        let (d, taps) = (self.d, self.taps);
        // The gradient before the activation, in memory's order; and of each task the sums of its weights and bias.
        let (mut dv, mut dx) = (Output::new(dy.len()), Output::new(dy.len()));
        let (out_v, out_x) = (dv.shared(), dx.shared());
        let sums: Vec<Vec<f32>> = (0..self.n * self.spans())
            .into_par_iter()
            .map(|task| {
                let (example, first) = (task / self.spans(), task % self.spans() * SPAN);
                let mut sums = vec![0.0; (taps + 1) * d];
                for turn in first..self.l.min(first + SPAN) {
                    let start = self.start(example, turn);
                    // SAFETY: an order names each token once, so each task writes its own.
                    let dv = unsafe { out_v.slice(start, d) };
                    dv.copy_from_slice(&dy[start..][..d]);
                    if self.activation != Activation::None {
                        with_scratch(d, |v| {
                            self.token(level, inputs, &weight, (example, turn), v);
                            self.activation.pull(level, v, dv);
                        });
                    }
                    let (by_tap, bias) = sums.split_at_mut(taps * d);
                    for (j, sums) in by_tap.chunks_exact_mut(d).enumerate() {
                        if let Some(from) = (turn + j + 1).checked_sub(taps) {
                            accumulate(level, dv, &inputs[0][self.start(example, from)..][..d], sums);
                        }
                    }
                    bias.iter_mut().zip(&*dv).for_each(|(sum, dv)| *sum += dv);
                }
                sums
            })
            .collect();
        // SAFETY: the orders cover all tokens.
        let dv = unsafe { dv.finish() };
        (0..self.n * self.spans()).into_par_iter().for_each(|task| {
            let (example, first) = (task / self.spans(), task % self.spans() * SPAN);
            for turn in first..self.l.min(first + SPAN) {
                // SAFETY: as above.
                let dx = unsafe { out_x.slice(self.start(example, turn), d) };
                dx.fill(0.0);
                for (j, weight) in weight.chunks_exact(d).enumerate() {
                    let to = turn + taps - 1 - j;
                    if to < self.l {
                        accumulate(level, weight, &dv[self.start(example, to)..][..d], dx);
                    }
                }
            }
        });
        let mut total = vec![0.0; (taps + 1) * d];
        for part in sums {
            total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
        }
        let dweight = (0..taps * d).map(|i| total[i % taps * d + i / taps]).collect();
        // SAFETY: the orders cover all tokens.
        let dx = unsafe { dx.finish() };
        let all = [dx, dweight, total.split_off(taps * d)].map(Gradient::Values);
        Ok(all.into_iter().take(inputs.len()).collect())
    }
}

multiversion! {
    fn accumulate(a: &[f32], b: &[f32], y: &mut [f32]) {
        for ((a, b), y) in a.iter().zip(b).zip(y) {
            *y = fma::<FMA>(*a, *b, *y);
        }
    }
}

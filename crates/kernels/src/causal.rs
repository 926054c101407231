//! Depthwise convolution along a sequence that looks only back, with its activation.

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use crate::activation::Activation;
use crate::autograd::{self, Gradient, Op};
use crate::memory::{Output, on_cpu, with_scratch};
use crate::simd::{Level, fma, multiversion};
use crate::{Error, Result, device, reference};

/// Depthwise causal convolution, then an activation $\phi$:
///
/// $$ y_{d t} = \phi\Big( \beta_d + \sum_{j=0}^{k-1} w_{d j} \, x_{d, t - (k - 1) + j} \Big), \qquad x_{d t} = 0
///    \text{ for } t < 0 $$
///
/// `x [n, d, l]`, `weight [d, k]` or `[d, 1, k]`, `bias [d]`; the output is as `x`.
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
/// use halocast_kernels::{Activation, causal_conv1d};
/// let x = Tensor::new(&[[[1.0f32, 2.0, 3.0]]], &Device::Cpu)?;
/// let before_and_now = Tensor::new(&[[10.0f32, 1.0]], &Device::Cpu)?;
/// let y = causal_conv1d(&x, &before_and_now, None, Activation::None)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1.0, 12.0, 23.0]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn causal_conv1d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    const OP: &str = "causal_conv1d";
    let &[n, d, l] = x.dims() else { return Err(Error::shape(OP, "x", "[n, d, l]", x.dims())) };
    let taps = match *weight.dims() {
        [c, k] | [c, 1, k] if c == d && k > 0 => k,
        _ => return Err(Error::shape(OP, "weight", format!("[{d}, k] or [{d}, 1, k]"), weight.dims())),
    };
    if let Some(bias) = bias.filter(|b| b.dims() != [d]) {
        return Err(Error::shape(OP, "bias", format!("[{d}]"), bias.dims()));
    }
    let inputs: Vec<&Tensor> = [x, weight].into_iter().chain(bias).collect();
    if device::takes(&inputs) {
        return Ok(device::causal_conv1d(x, weight, bias, activation)?);
    }
    if !on_cpu(&inputs) || x.elem_count() == 0 {
        return reference::causal_conv1d(x, weight, bias, activation);
    }
    let op = CausalConv { n, d, l, taps, activation };
    Ok(autograd::apply(op, &inputs)?)
}

struct CausalConv {
    n: usize,
    d: usize,
    l: usize,
    taps: usize,
    activation: Activation,
}

impl CausalConv {
    /// Runs `body` for each row with its number and the row after `taps - 1` zeros.
    fn rows<R: Send>(&self, x: &[f32], body: impl Fn(usize, &[f32]) -> R + Sync) -> Vec<R> {
        let before = self.taps - 1;
        (0..self.n * self.d)
            .into_par_iter()
            .with_min_len((16 * 1024 / self.l).max(1))
            .map(|i| {
                with_scratch(before + self.l, |padded| {
                    padded[..before].fill(0.0);
                    padded[before..].copy_from_slice(&x[i * self.l..][..self.l]);
                    body(i, padded)
                })
            })
            .collect()
    }

    fn kernel<'a>(&self, inputs: &[&'a [f32]], row: usize) -> (&'a [f32], f32) {
        let channel = row % self.d;
        let bias = inputs.get(2).map_or(0.0, |bias| bias[channel]);
        (&inputs[1][channel * self.taps..][..self.taps], bias)
    }
}

impl Op for CausalConv {
    fn name(&self) -> &'static str {
        "causal_conv1d"
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let level = Level::current();
        let mut y = Output::new(inputs[0].len());
        let out = y.shared();
        self.rows(inputs[0], |i, x| {
            // SAFETY: each task writes its own row.
            let y = unsafe { out.slice(i * self.l, self.l) };
            let (weight, bias) = self.kernel(inputs, i);
            correlate(level, x, weight, bias, y);
            self.activation.apply(level, y);
        });
        // SAFETY: the rows cover the output.
        Ok((unsafe { y.finish() }, (self.n, self.d, self.l).into()))
    }

    fn backward(&self, inputs: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let level = Level::current();
        let (l, taps) = (self.l, self.taps);
        let mut dx = Output::new(inputs[0].len());
        let out = dx.shared();
        // Of each row: the gradients of its weights, then of its bias.
        let sums = self.rows(inputs[0], |i, x| {
            let (weight, bias) = self.kernel(inputs, i);
            let backwards: Vec<f32> = weight.iter().rev().copied().collect();
            with_scratch(l + taps - 1, |dv| {
                let (now, after) = dv.split_at_mut(l);
                after.fill(0.0);
                now.copy_from_slice(&dy[i * l..][..l]);
                if self.activation != Activation::None {
                    with_scratch(l, |v| {
                        correlate(level, x, weight, bias, v);
                        self.activation.pull(level, v, now);
                    });
                }
                let mut sums: Vec<f32> = (0..taps).map(|j| product(level, &dv[..l], &x[j..])).collect();
                sums.push(total(level, &dv[..l]));
                // SAFETY: each task writes its own row.
                correlate(level, dv, &backwards, 0.0, unsafe { out.slice(i * l, l) });
                sums
            })
        });
        let (mut dweight, mut dbias) = (vec![0.0f32; self.d * taps], vec![0.0f32; self.d]);
        for (i, sums) in sums.iter().enumerate() {
            let channel = i % self.d;
            dweight[channel * taps..][..taps].iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
            dbias[channel] += sums[taps];
        }
        // SAFETY: the rows cover `x`.
        let dx = unsafe { dx.finish() };
        let all = [dx, dweight, dbias].map(Gradient::Values);
        Ok(all.into_iter().take(inputs.len()).collect())
    }
}

multiversion! {
    /// `y_t = bias + sum_j weight_j x_{t + j}`.
    fn correlate(x: &[f32], weight: &[f32], bias: f32, y: &mut [f32]) {
        y.fill(bias);
        for (j, w) in weight.iter().enumerate() {
            for (y, x) in y.iter_mut().zip(&x[j..]) {
                *y = fma::<FMA>(*w, *x, *y);
            }
        }
    }
}

/// Lanes of the sums along a row.
const LANES: usize = 16;

multiversion! {
    fn product(a: &[f32], b: &[f32]) -> f32 {
        let mut lanes = [0.0; LANES];
        let (chunks, rest) = a.as_chunks::<LANES>();
        for (a, b) in chunks.iter().zip(b.as_chunks::<LANES>().0) {
            for i in 0..LANES {
                lanes[i] = fma::<FMA>(a[i], b[i], lanes[i]);
            }
        }
        for (i, (a, b)) in rest.iter().zip(&b[a.len() - rest.len()..]).enumerate() {
            lanes[i] += a * b;
        }
        crate::simd::math::fold(lanes)
    }
}

multiversion! {
    fn total(a: &[f32]) -> f32 {
        let mut lanes = [0.0; LANES];
        let (chunks, rest) = a.as_chunks::<LANES>();
        for a in chunks {
            for i in 0..LANES {
                lanes[i] += a[i];
            }
        }
        for (i, a) in rest.iter().enumerate() {
            lanes[i] += a;
        }
        crate::simd::math::fold(lanes)
    }
}

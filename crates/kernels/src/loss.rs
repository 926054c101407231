//! Mean squared error and Huber's loss: a scalar and its gradient in one pass each.

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use crate::autograd::{self, Gradient, Op};
use crate::memory::on_cpu;
use crate::pointwise::map;
use crate::simd::math::{SUM_LANES, fold};
use crate::simd::{Level, fma, multiversion};
use crate::{Error, Result, reference};

/// Numbers that one task sums.
const CHUNK: usize = 16 * 1024;

/// The mean of $\frac{1}{2} e^2$ where $|e| \le \delta$ and $\delta (|e| - \delta/2)$ beyond, `e = prediction - target`.
///
/// # Source
/// Huber 1964, Ann. Math. Statist. 35, 73. PyTorch's `huber_loss`.
///
/// # Errors
/// Where the shapes differ, `delta` is not positive, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// let (a, b) = (Tensor::new(&[0.5f32, 3.0], &Device::Cpu)?, Tensor::new(&[0.0f32, 0.0], &Device::Cpu)?);
/// assert_eq!(halocast_kernels::huber_loss(&a, &b, 1.0)?.to_scalar::<f32>()?, (0.125 + 2.5) / 2.0);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn huber_loss(prediction: &Tensor, target: &Tensor, delta: f64) -> Result<Tensor> {
    const OP: &str = "huber_loss";
    if !(delta > 0.0 && delta.is_finite()) {
        return Err(Error::argument(OP, "delta", "positive and finite", delta));
    }
    check(OP, prediction, target)?;
    if !on_cpu(&[prediction, target]) {
        return reference::huber_loss(prediction, target, delta);
    }
    // m (e - m / 2) with m = min(|e|, delta); the gradient is e clamped to [-delta, delta].
    apply(prediction, target, Loss { name: OP, bound: delta as f32, factor: 1.0 })
}

/// The mean of $e^2$, `e = prediction - target`.
///
/// # Errors
/// Where the shapes differ, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// let (a, b) = (Tensor::new(&[1.0f32, 3.0], &Device::Cpu)?, Tensor::new(&[0.0f32, 0.0], &Device::Cpu)?);
/// assert_eq!(halocast_kernels::mse_loss(&a, &b)?.to_scalar::<f32>()?, 5.0);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn mse_loss(prediction: &Tensor, target: &Tensor) -> Result<Tensor> {
    const OP: &str = "mse_loss";
    check(OP, prediction, target)?;
    if !on_cpu(&[prediction, target]) {
        return reference::mse_loss(prediction, target);
    }
    apply(prediction, target, Loss { name: OP, bound: f32::INFINITY, factor: 2.0 })
}

fn check(op: &'static str, prediction: &Tensor, target: &Tensor) -> Result<()> {
    if prediction.dims() != target.dims() || prediction.elem_count() == 0 {
        let expected = format!("{:?} and not empty", prediction.dims());
        return Err(Error::shape(op, "target", expected, target.dims()));
    }
    Ok(())
}

fn apply(prediction: &Tensor, target: &Tensor, loss: Loss) -> Result<Tensor> {
    Ok(autograd::apply(loss, &[prediction, target])?)
}

/// `factor` times Huber's loss with this `bound`: squares are twice that with an infinite one.
struct Loss {
    name: &'static str,
    bound: f32,
    factor: f32,
}

impl Op for Loss {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let (p, t) = (inputs[0], inputs[1]);
        let level = Level::current();
        let sums: Vec<f32> = p
            .par_chunks(CHUNK)
            .zip(t.par_chunks(CHUNK))
            .map(|(p, t)| huber_sum(level, p, t, self.bound))
            .collect();
        let mean = sums.iter().map(|&s| f64::from(s)).sum::<f64>() / p.len() as f64;
        Ok((vec![mean as f32 * self.factor], Shape::from(())))
    }

    fn backward(&self, inputs: &[&[f32]], dy: &[f32], wanted: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let (p, t) = (inputs[0], inputs[1]);
        let level = Level::current();
        // Rounded once: a seed proportional to the number of examples gives each example the same bits.
        let scale = (f64::from(dy[0]) * f64::from(self.factor) / p.len() as f64) as f32;
        let gradient = |scale: f32| map(p, t, |p, t, d| huber_gradient(level, p, t, d, self.bound, scale));
        Ok(vec![
            Gradient::when(wanted[0], || gradient(scale)),
            Gradient::when(wanted[1], || gradient(-scale)),
        ])
    }
}

multiversion! {
    fn huber_sum(p: &[f32], t: &[f32], bound: f32) -> f32 {
        let mut lanes = [0.0; SUM_LANES];
        for (p, t) in p.chunks(SUM_LANES).zip(t.chunks(SUM_LANES)) {
            for ((p, t), lane) in p.iter().zip(t).zip(&mut lanes) {
                let e = (p - t).abs();
                let m = if e > bound { bound } else { e };
                *lane = fma::<FMA>(m, e - 0.5 * m, *lane);
            }
        }
        fold(lanes)
    }
}

multiversion! {
    fn huber_gradient(p: &[f32], t: &[f32], d: &mut [f32], bound: f32, scale: f32) {
        let _ = FMA;
        for ((p, t), d) in p.iter().zip(t).zip(d) {
            *d = (p - t).clamp(-bound, bound) * scale;
        }
    }
}

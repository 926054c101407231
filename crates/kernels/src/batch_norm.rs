//! Batch normalisation and the activation that follows it.

use std::sync::{Arc, OnceLock};

use candle_core::{DType, Shape, Tensor};
use rayon::prelude::*;

use crate::activation::Activation;
use crate::autograd::{self, Gradient, Op};
use crate::memory::{Output, on_cpu, with_scratch};
use crate::norm::{self, affine, project, pull_back};
use crate::simd::Level;
use crate::{Error, Result, ranks, reference};

/// What [`batch_norm`] found of each channel of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchMoments {
    /// The mean of each channel.
    pub mean: Vec<f32>,
    /// The biased variance of each channel, over `count`.
    pub variance: Vec<f32>,
    /// The number of values of a channel, over all ranks.
    pub count: usize,
}

/// Batch normalisation, then an activation $\phi$:
///
/// $$ y = \phi\left( \gamma_c \frac{x - \mu_c}{\sqrt{\sigma_c^2 + \epsilon}} + \beta_c \right) $$
///
/// with mean and (biased) variance of each channel over the whole batch and all positions: over the batches of all ranks
/// inside [`sum_over_ranks`](crate::sum_over_ranks). `x [n, c, ..]`, `weight` $\gamma$ and `bias` $\beta$ `[c]`. Also
/// gives the moments, for averages over many batches.
///
/// # Source
/// Ioffe & Szegedy 2015, arXiv:1502.03167, Algorithm 1.
///
/// # Errors
/// Where a shape does not fit, a sum over ranks fails, or Candle does. Ranks share statistics in single precision on the
/// CPU alone.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_kernels::{Activation, batch_norm};
/// let x = Tensor::new(&[[1.0f32, 8.0], [3.0, 4.0]], &Device::Cpu)?;
/// let (weight, bias) = (Tensor::new(&[1.0f32, 2.0], &Device::Cpu)?, Tensor::new(&[0.0f32, 0.0], &Device::Cpu)?);
/// let (y, moments) = batch_norm(&x, &weight, &bias, 0.0, Activation::None)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[-1.0, 2.0], [1.0, -2.0]]);
/// assert_eq!((moments.mean, moments.variance), (vec![2.0, 6.0], vec![1.0, 4.0]));
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn batch_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    activation: Activation,
) -> Result<(Tensor, BatchMoments)> {
    const OP: &str = "batch_norm";
    let dims = x.dims();
    if dims.len() < 2 || x.elem_count() == 0 {
        return Err(Error::shape(OP, "x", "[n, c, ..] and not empty", dims));
    }
    let (n, c) = (dims[0], dims[1]);
    for (name, parameter) in [("weight", weight), ("bias", bias)] {
        if parameter.dims() != [c] {
            return Err(Error::shape(OP, name, format!("[{c}]"), parameter.dims()));
        }
    }
    let plane = x.elem_count() / (n * c);
    if !on_cpu(&[x, weight, bias]) {
        if ranks::shared() {
            let got = format!("{:?} on {:?}", x.dtype(), x.device().location());
            return Err(Error::argument(OP, "shared by ranks", "F32 on the CPU", got));
        }
        let (y, mean, variance) = reference::batch_norm(x, weight, bias, eps, activation)?;
        let values = |t: &Tensor| t.to_dtype(DType::F32)?.to_vec1::<f32>();
        let moments = BatchMoments { mean: values(&mean)?, variance: values(&variance)?, count: n * plane };
        return Ok((y, moments));
    }
    let moments = Arc::new(OnceLock::new());
    let op = BatchNorm { n, c, plane, eps, activation, shape: x.shape().clone(), moments: moments.clone() };
    let y = autograd::apply(op, &[x, weight, bias])?;
    let none = || candle_core::Error::msg("batch_norm: no moments");
    Ok((y, moments.get().cloned().ok_or_else(none)?))
}

struct BatchNorm {
    n: usize,
    c: usize,
    plane: usize,
    eps: f64,
    activation: Activation,
    shape: Shape,
    /// From the forward pass.
    moments: Arc<OnceLock<BatchMoments>>,
}

impl BatchNorm {
    /// The planes of a channel.
    fn planes(&self, channel: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
        let (c, plane) = (self.c, self.plane);
        (0..self.n).map(move |i| (i * c + channel) * plane..(i * c + channel + 1) * plane)
    }

    fn moments(&self, x: &[f32]) -> candle_core::Result<BatchMoments> {
        let level = Level::current();
        // Mean and summed squares about it, of this rank's values.
        let own: Vec<(f64, f64)> = (0..self.c)
            .into_par_iter()
            .map(|channel| {
                let parts: Vec<(f64, f64)> =
                    self.planes(channel).map(|part| norm::moments(level, &x[part])).collect();
                let mean = parts.iter().map(|(mean, _)| mean).sum::<f64>() / self.n as f64;
                let about = parts.iter().map(|(m, v)| v + (m - mean).powi(2)).sum::<f64>();
                (mean, about * self.plane as f64)
            })
            .collect();
        let count = self.n * self.plane;
        if !ranks::shared() {
            let (mean, about): (Vec<_>, Vec<_>) = own.into_iter().unzip();
            return Ok(BatchMoments {
                mean: mean.into_iter().map(|m| m as f32).collect(),
                variance: about.into_iter().map(|q| (q / count as f64) as f32).collect(),
                count,
            });
        }
        // First the common mean, then squares about that: nothing cancels.
        let mut sums: Vec<f32> = own.iter().map(|(mean, _)| (mean * count as f64) as f32).collect();
        sums.push(count as f32);
        ranks::sum(&mut sums)?;
        let total = f64::from(sums.pop().unwrap_or(count as f32));
        let mean: Vec<f64> = sums.iter().map(|&s| f64::from(s) / total).collect();
        let about = |(own, &all): (&(f64, f64), &f64)| own.1 + (own.0 - all).powi(2) * count as f64;
        let mut squares: Vec<f32> = own.iter().zip(&mean).map(about).map(|q| q as f32).collect();
        ranks::sum(&mut squares)?;
        Ok(BatchMoments {
            mean: mean.into_iter().map(|m| m as f32).collect(),
            variance: squares.into_iter().map(|q| (f64::from(q) / total) as f32).collect(),
            count: total as usize,
        })
    }

    fn rstd(&self, variance: f32) -> f32 {
        (1.0 / (f64::from(variance) + self.eps).sqrt()) as f32
    }

    fn normalise(&self, x: &[f32], weight: &[f32], bias: &[f32]) -> candle_core::Result<Vec<f32>> {
        let level = Level::current();
        let silu = self.activation == Activation::Silu;
        let moments = self.moments(x)?;
        let mut y = Output::new(x.len());
        let out = y.shared();
        (0..self.c).into_par_iter().for_each(|channel| {
            let scale = weight[channel] * self.rstd(moments.variance[channel]);
            let offset = bias[channel] - moments.mean[channel] * scale;
            for part in self.planes(channel) {
                // SAFETY: each task writes its own channel.
                let y = unsafe { out.slice(part.start, self.plane) };
                affine(level, &x[part], y, scale, offset, silu);
                if !silu {
                    self.activation.apply(level, y);
                }
            }
        });
        let _ = self.moments.set(moments);
        // SAFETY: the channels cover `x`.
        Ok(unsafe { y.finish() })
    }

    fn pull_back(
        &self,
        x: &[f32],
        weight: &[f32],
        bias: &[f32],
        dy: &[f32],
    ) -> candle_core::Result<[Vec<f32>; 3]> {
        let level = Level::current();
        let silu = self.activation == Activation::Silu;
        let Some(moments) = self.moments.get() else { candle_core::bail!("batch_norm: no forward pass") };
        let mut dx = Output::new(x.len());
        let out = dx.shared();
        // Of each channel: the sums of dv and of dv xhat, v = gamma xhat + beta.
        let (dbias, dweight): (Vec<f32>, Vec<f32>) = (0..self.c)
            .into_par_iter()
            .map(|channel| {
                let (mean, rstd) = (moments.mean[channel], self.rstd(moments.variance[channel]));
                let scale = weight[channel] * rstd;
                let offset = bias[channel] - mean * scale;
                let (mut sum, mut sum_x) = (0.0f64, 0.0f64);
                for part in self.planes(channel) {
                    // SAFETY: each task writes its own channel.
                    let dx = unsafe { out.slice(part.start, self.plane) };
                    let (x, dy) = (&x[part.clone()], &dy[part]);
                    let (s, sx) = if silu || self.activation == Activation::None {
                        pull_back(level, x, dy, dx, scale, offset, mean, silu)
                    } else {
                        with_scratch(self.plane, |dv| {
                            affine(level, x, dx, scale, offset, false);
                            dv.copy_from_slice(dy);
                            self.activation.pull(level, dx, dv);
                            pull_back(level, x, dv, dx, scale, offset, mean, false)
                        })
                    };
                    sum += f64::from(s);
                    sum_x += f64::from(sx);
                }
                (sum as f32, (sum_x * f64::from(rstd)) as f32)
            })
            .unzip();
        // What mean and variance take away belongs to the values of all ranks; the parameters' own gradients are summed
        // with all others.
        let mut all = [dbias.as_slice(), dweight.as_slice()].concat();
        ranks::sum(&mut all)?;
        let count = moments.count as f32;
        (0..self.c).into_par_iter().for_each(|channel| {
            let (mean, rstd) = (moments.mean[channel], self.rstd(moments.variance[channel]));
            let scale = weight[channel] * rstd;
            let (sum, sum_xhat) = (all[channel] / count, all[self.c + channel] / count);
            let slope = -scale * rstd * sum_xhat;
            let constant = scale * (rstd * mean * sum_xhat - sum);
            for part in self.planes(channel) {
                // SAFETY: each task reads and writes its own channel, which the loop before has filled.
                let dx = unsafe { out.slice(part.start, self.plane) };
                project(level, &x[part], dx, scale, slope, constant);
            }
        });
        // SAFETY: the channels cover `x`.
        Ok([unsafe { dx.finish() }, dweight, dbias])
    }
}

impl Op for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let &[x, weight, bias] = inputs else { candle_core::bail!("batch_norm takes three inputs") };
        Ok((self.normalise(x, weight, bias)?, self.shape.clone()))
    }

    fn backward(&self, inputs: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let &[x, weight, bias] = inputs else { candle_core::bail!("batch_norm takes three inputs") };
        Ok(self.pull_back(x, weight, bias, dy)?.map(Gradient::Values).into())
    }
}

//! Group normalisation and the activation that follows it, in one pass forward and one backward.

use std::sync::OnceLock;

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use crate::activation::Activation;
use crate::autograd::{self, Gradient, Op};
use crate::memory::{Output, on_cpu, with_scratch};
use crate::simd::math::{SUM_LANES, fold, sigmoid};
use crate::simd::{Level, fma, multiversion};
use crate::{Error, Result, device, reference};

/// Group normalisation, then an activation $\phi$:
///
/// $$ y = \phi\left( \gamma_c \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta_c \right) $$
///
/// with mean and (biased) variance over the channels of a group and all positions. `x [n, c, ..]`, `weight` $\gamma$
/// and `bias` $\beta$ `[c]`; `groups` divides `c`. One group is layer norm over all but the batch, `c` groups are
/// instance norm.
///
/// # Source
/// Wu & He 2018, arXiv:1803.08494.
///
/// # Errors
/// Where a shape does not fit, `groups` does not divide the channels, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_kernels::{Activation, group_norm};
/// let x = Tensor::new(&[[1.0f32, 3.0]], &Device::Cpu)?;
/// let (weight, bias) = (x.ones_like()?.get(0)?, x.zeros_like()?.get(0)?);
/// let y = group_norm(&x, &weight, &bias, 1, 0.0, Activation::None)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[-1.0, 1.0]]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn group_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    eps: f64,
    activation: Activation,
) -> Result<Tensor> {
    const OP: &str = "group_norm";
    let dims = x.dims();
    if dims.len() < 2 || x.elem_count() == 0 {
        return Err(Error::shape(OP, "x", "[n, c, ..] and not empty", dims));
    }
    let (n, c) = (dims[0], dims[1]);
    if groups == 0 || !c.is_multiple_of(groups) {
        return Err(Error::argument(OP, "groups", format!("a divisor of {c} channels"), groups));
    }
    for (name, parameter) in [("weight", weight), ("bias", bias)] {
        if parameter.dims() != [c] {
            return Err(Error::shape(OP, name, format!("[{c}]"), parameter.dims()));
        }
    }
    if !on_cpu(&[x, weight, bias]) {
        if device::takes(&[x, weight, bias]) {
            return Ok(device::group_norm(x, weight, bias, groups, eps, activation)?);
        }
        return reference::group_norm(x, weight, bias, groups, eps, activation);
    }
    let plane = x.elem_count() / (n * c);
    let shape = x.shape().clone();
    let op = GroupNorm { n, c, plane, groups, eps, activation, shape, moments: OnceLock::new() };
    Ok(autograd::apply(op, &[x, weight, bias])?)
}

/// Instance normalisation, [`group_norm`] with a group for each channel, then an activation; `weight` and `bias` may be
/// left out.
///
/// # Source
/// Ulyanov et al. 2016, arXiv:1607.08022.
///
/// # Errors
/// As [`group_norm`].
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_kernels::{Activation, instance_norm};
/// let x = Tensor::new(&[[[1.0f32, 3.0], [8.0, 4.0]]], &Device::Cpu)?;
/// let y = instance_norm(&x, None, 0.0, Activation::None)?;
/// assert_eq!(y.to_vec3::<f32>()?, [[[-1.0, 1.0], [1.0, -1.0]]]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn instance_norm(
    x: &Tensor,
    parameters: Option<(&Tensor, &Tensor)>,
    eps: f64,
    activation: Activation,
) -> Result<Tensor> {
    let c = x.dims().get(1).copied().unwrap_or(0);
    match parameters {
        Some((weight, bias)) => group_norm(x, weight, bias, c, eps, activation),
        None => {
            let weight = Tensor::ones(c, x.dtype(), x.device())?;
            group_norm(x, &weight, &weight.zeros_like()?, c, eps, activation)
        }
    }
}

struct GroupNorm {
    n: usize,
    c: usize,
    plane: usize,
    groups: usize,
    eps: f64,
    activation: Activation,
    shape: Shape,
    /// Mean and reciprocal deviation of each group of each example, from the forward pass.
    moments: OnceLock<Vec<(f32, f32)>>,
}

impl GroupNorm {
    fn normalise(&self, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
        let level = Level::current();
        let silu = self.activation == Activation::Silu;
        let channels = self.c / self.groups;
        let size = channels * self.plane;
        let mut y = Output::new(x.len());
        let out = y.shared();
        let mut moments = vec![(0.0, 0.0); self.n * self.groups];
        moments.par_iter_mut().enumerate().for_each(|(group, moment)| {
            let x = &x[group * size..][..size];
            let (mean, variance) = mean_variance(level, x);
            let rstd = (1.0 / (variance + self.eps).sqrt()) as f32;
            *moment = (mean, rstd);
            for (k, x) in x.chunks_exact(self.plane).enumerate() {
                let c = (group % self.groups) * channels + k;
                let scale = weight[c] * rstd;
                // SAFETY: each task writes its own group.
                let y = unsafe { out.slice(group * size + k * self.plane, self.plane) };
                affine(level, x, y, scale, bias[c] - mean * scale, silu);
                if !silu {
                    self.activation.apply(level, y);
                }
            }
        });
        let _ = self.moments.set(moments);
        // SAFETY: the groups cover `x`.
        unsafe { y.finish() }
    }

    fn pull_back(&self, x: &[f32], weight: &[f32], bias: &[f32], dy: &[f32]) -> [Vec<f32>; 3] {
        let level = Level::current();
        let silu = self.activation == Activation::Silu;
        let channels = self.c / self.groups;
        let size = channels * self.plane;
        let mut dx = Output::new(x.len());
        let out = dx.shared();
        // Of each channel of each example: the sums of dL/dv and of dL/dv * xhat, v = gamma xhat + beta.
        let mut sums = vec![(0.0f32, 0.0f32); self.n * self.c];
        let moments = self.moments.get();
        sums.par_chunks_mut(channels).enumerate().for_each(|(group, sums)| {
            let x = &x[group * size..][..size];
            let dy = &dy[group * size..][..size];
            let (mean, rstd) = match moments {
                Some(moments) => moments[group],
                None => {
                    let (mean, variance) = mean_variance(level, x);
                    (mean, (1.0 / (variance + self.eps).sqrt()) as f32)
                }
            };
            // SAFETY: each task writes its own group.
            let dx = unsafe { out.slice(group * size, size) };
            let (mut total, mut total_xhat) = (0.0f64, 0.0f64);
            let first = (group % self.groups) * channels;
            for (k, sums) in sums.iter_mut().enumerate() {
                let (weight, bias) = (weight[first + k], bias[first + k]);
                let scale = weight * rstd;
                let part = k * self.plane..(k + 1) * self.plane;
                let (x, dy, dx) = (&x[part.clone()], &dy[part.clone()], &mut dx[part]);
                let offset = bias - mean * scale;
                let (s, sx) = if silu || self.activation == Activation::None {
                    pull_back(level, x, dy, dx, scale, offset, mean, silu)
                } else {
                    // The gradient of what the activation was applied to, then as without one.
                    with_scratch(self.plane, |dv| {
                        affine(level, x, dx, scale, offset, false);
                        dv.copy_from_slice(dy);
                        self.activation.pull(level, dx, dv);
                        pull_back(level, x, dv, dx, scale, offset, mean, false)
                    })
                };
                *sums = (s, sx * rstd);
                total += f64::from(s) * f64::from(weight);
                total_xhat += f64::from(sums.1) * f64::from(weight);
            }
            let (total, total_xhat) = ((total / size as f64) as f32, (total_xhat / size as f64) as f32);
            for k in 0..channels {
                let part = k * self.plane..(k + 1) * self.plane;
                let slope = -rstd * rstd * total_xhat;
                let constant = rstd * (rstd * mean * total_xhat - total);
                project(level, &x[part.clone()], &mut dx[part], weight[first + k] * rstd, slope, constant);
            }
        });
        let (mut dweight, mut dbias) = (vec![0.0; self.c], vec![0.0; self.c]);
        for example in sums.chunks_exact(self.c) {
            for (c, (s, sx)) in example.iter().enumerate() {
                dbias[c] += s;
                dweight[c] += sx;
            }
        }
        // SAFETY: the groups cover `x`.
        [unsafe { dx.finish() }, dweight, dbias]
    }
}

impl Op for GroupNorm {
    fn name(&self) -> &'static str {
        "group_norm"
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let &[x, weight, bias] = inputs else { candle_core::bail!("group_norm takes three inputs") };
        Ok((self.normalise(x, weight, bias), self.shape.clone()))
    }

    fn backward(&self, inputs: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let &[x, weight, bias] = inputs else { candle_core::bail!("group_norm takes three inputs") };
        Ok(self.pull_back(x, weight, bias, dy).map(Gradient::Values).into())
    }
}

/// Mean and variance, of the values shifted by the first: no cancellation for a large offset.
pub(crate) fn mean_variance(level: Level, x: &[f32]) -> (f32, f64) {
    let (mean, variance) = moments(level, x);
    (mean as f32, variance)
}

multiversion! {
    /// As [`mean_variance`], the mean in double precision.
    pub(crate) fn moments(x: &[f32]) -> (f64, f64) {
        let shift = x[0];
        let (mut sums, mut squares) = (0.0f64, 0.0f64);
        // Single precision within a block, double between blocks.
        for block in x.chunks(64 * SUM_LANES) {
            let (mut s, mut q) = ([0.0; SUM_LANES], [0.0; SUM_LANES]);
            let (chunks, rest) = block.as_chunks::<SUM_LANES>();
            for chunk in chunks {
                for lane in 0..SUM_LANES {
                    let v = chunk[lane] - shift;
                    s[lane] += v;
                    q[lane] = fma::<FMA>(v, v, q[lane]);
                }
            }
            for (lane, v) in rest.iter().enumerate() {
                let v = v - shift;
                s[lane] += v;
                q[lane] += v * v;
            }
            sums += f64::from(fold(s));
            squares += f64::from(fold(q));
        }
        let n = x.len() as f64;
        let mean = sums / n;
        (mean + f64::from(shift), (squares / n - mean * mean).max(0.0))
    }
}

multiversion! {
    /// `y = phi(scale x + offset)`.
    pub(crate) fn affine(x: &[f32], y: &mut [f32], scale: f32, offset: f32, silu: bool) {
        if silu {
            for (x, y) in x.iter().zip(y) {
                let v = fma::<FMA>(*x, scale, offset);
                *y = v * sigmoid::<FMA>(v);
            }
        } else {
            for (x, y) in x.iter().zip(y) {
                *y = fma::<FMA>(*x, scale, offset);
            }
        }
    }
}

multiversion! {
    /// `dv = dy phi'(v)` with `v = scale x + offset`; gives the sums of `dv` and of `dv (x - mean)`.
    pub(crate) fn pull_back(
        x: &[f32],
        dy: &[f32],
        dv: &mut [f32],
        scale: f32,
        offset: f32,
        mean: f32,
        silu: bool,
    ) -> (f32, f32) {
        if silu {
            for ((x, dy), dv) in x.iter().zip(dy).zip(dv.iter_mut()) {
                let v = fma::<FMA>(*x, scale, offset);
                let s = sigmoid::<FMA>(v);
                *dv = dy * s * fma::<FMA>(v, 1.0 - s, 1.0);
            }
        } else {
            dv.copy_from_slice(dy);
        }
        let (mut s, mut sx) = ([0.0; SUM_LANES], [0.0; SUM_LANES]);
        let (chunks, rest) = x.as_chunks::<SUM_LANES>();
        let (dv_chunks, dv_rest) = dv.as_chunks::<SUM_LANES>();
        for (x, dv) in chunks.iter().zip(dv_chunks) {
            for lane in 0..SUM_LANES {
                s[lane] += dv[lane];
                sx[lane] = fma::<FMA>(dv[lane], x[lane] - mean, sx[lane]);
            }
        }
        for (lane, (x, dv)) in rest.iter().zip(dv_rest).enumerate() {
            s[lane] += dv;
            sx[lane] += dv * (x - mean);
        }
        (fold(s), fold(sx))
    }
}

multiversion! {
    /// `d = scale d + slope x + constant`: removes from the gradient what mean and variance take away.
    pub(crate) fn project(x: &[f32], d: &mut [f32], scale: f32, slope: f32, constant: f32) {
        for (x, d) in x.iter().zip(d) {
            *d = fma::<FMA>(*d, scale, fma::<FMA>(*x, slope, constant));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_a_far_offset() {
        let x: Vec<f32> = (0..1000).map(|i| 1e4 + (i % 10) as f32).collect();
        for level in [Level::Portable, Level::detect()] {
            let (mean, variance) = mean_variance(level, &x);
            assert!((mean - 10004.5).abs() < 1e-3);
            assert!((variance - 8.25).abs() < 1e-4);
        }
    }
}

//! Normalisation of rows, the last axes of a tensor: layer norm, root-mean-square norm, and layer norm whose scale and
//! shift depend on the example.

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use crate::activation::Activation;
use crate::autograd::{self, Gradient, Op};
use crate::memory::{Output, on_cpu, with_scratch};
use crate::norm::mean_variance;
use crate::simd::math::{SUM_LANES, fold};
use crate::simd::{Level, fma, multiversion};
use crate::{Error, Result, device, reference};

/// Layer normalisation over the axes of `weight`, the last ones of `x`, then an activation $\phi$:
///
/// $$ y = \phi\left( \gamma \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta \right) $$
///
/// with mean and (biased) variance over these axes. `weight` $\gamma$ and `bias` $\beta$ have the shape of those axes.
///
/// # Source
/// Ba et al. 2016, arXiv:1607.06450.
///
/// # Errors
/// Where a shape does not fit, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_kernels::{Activation, layer_norm};
/// let x = Tensor::new(&[[1.0f32, 3.0], [5.0, 5.0]], &Device::Cpu)?;
/// let (weight, bias) = (Tensor::new(&[1.0f32, 2.0], &Device::Cpu)?, Tensor::new(&[0.0f32, 1.0], &Device::Cpu)?);
/// let y = layer_norm(&x, &weight, &bias, 1e-12, Activation::None)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[-1.0, 3.0], [0.0, 1.0]]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn layer_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    activation: Activation,
) -> Result<Tensor> {
    const OP: &str = "layer_norm";
    let op = RowNorm::new(OP, x, weight, eps, activation, true)?;
    if bias.dims() != weight.dims() {
        return Err(Error::shape(OP, "bias", format!("{:?}", weight.dims()), bias.dims()));
    }
    if !on_cpu(&[x, weight, bias]) {
        if device::takes(&[x, weight, bias]) {
            return Ok(device::row_norm(&[x, weight, bias], op.on_device())?);
        }
        return reference::layer_norm(x, weight, bias, eps, activation);
    }
    Ok(autograd::apply(op, &[x, weight, bias])?)
}

/// Normalisation by the root of the mean square over the axes of `weight`, the last ones of `x`, then an activation
/// $\phi$:
///
/// $$ y = \phi\left( \gamma \frac{x}{\sqrt{\langle x^2 \rangle + \epsilon}} \right) $$
///
/// # Source
/// Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4.
///
/// # Errors
/// Where a shape does not fit, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_kernels::{Activation, rms_norm};
/// let x = Tensor::new(&[[1.0f32, 7.0]], &Device::Cpu)?;
/// let y = rms_norm(&x, &Tensor::new(&[1.0f32, 1.0], &Device::Cpu)?, 0.0, Activation::None)?;
/// let y = y.to_vec2::<f32>()?;
/// assert!((y[0][0] - 0.2).abs() < 1e-6 && (y[0][1] - 1.4).abs() < 1e-6);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64, activation: Activation) -> Result<Tensor> {
    let op = RowNorm::new("rms_norm", x, weight, eps, activation, false)?;
    if !on_cpu(&[x, weight]) {
        if device::takes(&[x, weight]) {
            return Ok(device::row_norm(&[x, weight], op.on_device())?);
        }
        return reference::rms_norm(x, weight, eps, activation);
    }
    Ok(autograd::apply(op, &[x, weight])?)
}

/// Layer normalisation over the last axis with scale and shift of each example, as an embedding modulates a network:
///
/// $$ y = (1 + s_{n c}) \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + t_{n c} $$
///
/// `x [n, .., c]`, `scale` $s$ and `shift` $t$ `[n, c]`.
///
/// # Source
/// Peebles & Xie 2023, arXiv:2212.09748, section 3.2 (adaLN).
///
/// # Errors
/// Where a shape does not fit, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[[1.0f32, 3.0]]], &Device::Cpu)?;
/// let scale = Tensor::new(&[[0.0f32, 1.0]], &Device::Cpu)?;
/// let y = halocast_kernels::modulated_norm(&x, &scale, &scale, 0.0)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [-1.0, 3.0]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn modulated_norm(x: &Tensor, scale: &Tensor, shift: &Tensor, eps: f64) -> Result<Tensor> {
    let op = RowNorm::modulated("modulated_norm", x, scale, shift, eps)?;
    if !on_cpu(&[x, scale, shift]) {
        if device::takes(&[x, scale, shift]) {
            return Ok(device::row_norm(&[x, scale, shift], op.on_device())?);
        }
        return reference::modulated_norm(x, scale, shift, eps);
    }
    Ok(autograd::apply(op, &[x, scale, shift])?)
}

/// Normalisation by the root of the mean square over the last axis with scale and shift of each example:
///
/// $$ y = (1 + s_{n c}) \, \gamma_c \frac{x}{\sqrt{\langle x^2 \rangle + \epsilon}} + t_{n c} $$
///
/// `x [n, .., c]`, `weight` $\gamma$ `[c]`, `scale` $s$ and `shift` $t$ `[n, c]`.
///
/// # Source
/// Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4, modulated as in Peebles & Xie 2023, arXiv:2212.09748, section 3.2.
///
/// # Errors
/// Where a shape does not fit, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[[1.0f32, 7.0]]], &Device::Cpu)?;
/// let (weight, ones) = (Tensor::new(&[5.0f32, 5.0], &Device::Cpu)?, Tensor::new(&[[1.0f32, 1.0]], &Device::Cpu)?);
/// let y = halocast_kernels::modulated_rms_norm(&x, &weight, &ones, &ones, 0.0)?.flatten_all()?;
/// assert!((y.to_vec1::<f32>()?[0] - 3.0).abs() < 1e-5);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn modulated_rms_norm(
    x: &Tensor,
    weight: &Tensor,
    scale: &Tensor,
    shift: &Tensor,
    eps: f64,
) -> Result<Tensor> {
    const OP: &str = "modulated_rms_norm";
    let op = RowNorm::modulated(OP, x, scale, shift, eps)?;
    if weight.dims() != [op.width] {
        return Err(Error::shape(OP, "weight", format!("[{}]", op.width), weight.dims()));
    }
    let op = RowNorm { one: 0.0, centred: false, ..op };
    // Both factors are small: their product is taken outside.
    let factor = (scale + 1.0)?.broadcast_mul(weight)?;
    if !on_cpu(&[x, &factor, shift]) {
        if device::takes(&[x, &factor, shift]) {
            return Ok(device::row_norm(&[x, &factor, shift], op.on_device())?);
        }
        return reference::modulated_rms_norm(x, weight, scale, shift, eps);
    }
    Ok(autograd::apply(op, &[x, &factor, shift])?)
}

/// `y = phi((one + weight) (x - mean) / deviation + bias)` of rows; `weight` and `bias` are those of the row's example.
struct RowNorm {
    name: &'static str,
    examples: usize,
    /// Rows of an example.
    rows: usize,
    width: usize,
    one: f32,
    /// Whether the mean is taken away.
    centred: bool,
    eps: f64,
    activation: Activation,
    shape: Shape,
}

impl RowNorm {
    fn new(
        name: &'static str,
        x: &Tensor,
        weight: &Tensor,
        eps: f64,
        activation: Activation,
        centred: bool,
    ) -> Result<Self> {
        if x.rank() == 0 || x.elem_count() == 0 {
            return Err(Error::shape(name, "x", "of at least one axis and not empty", x.dims()));
        }
        if weight.rank() == 0 || !x.dims().ends_with(weight.dims()) {
            return Err(Error::shape(
                name,
                "weight",
                format!("the last axes of {:?}", x.dims()),
                weight.dims(),
            ));
        }
        let width = weight.elem_count();
        let shape = x.shape().clone();
        let rows = x.elem_count() / width;
        Ok(Self { name, examples: 1, rows, width, one: 0.0, centred, eps, activation, shape })
    }

    /// Of rows `[n, .., c]` with scale and shift `[n, c]`.
    fn modulated(op: &'static str, x: &Tensor, scale: &Tensor, shift: &Tensor, eps: f64) -> Result<Self> {
        let dims = x.dims();
        if dims.len() < 2 || x.elem_count() == 0 {
            return Err(Error::shape(op, "x", "[n, .., c] and not empty", dims));
        }
        let (n, c) = (dims[0], dims[dims.len() - 1]);
        for (name, parameter) in [("scale", scale), ("shift", shift)] {
            if parameter.dims() != [n, c] {
                return Err(Error::shape(op, name, format!("[{n}, {c}]"), parameter.dims()));
            }
        }
        Ok(Self {
            name: op,
            examples: n,
            rows: x.elem_count() / (n * c),
            width: c,
            one: 1.0,
            centred: true,
            eps,
            activation: Activation::None,
            shape: x.shape().clone(),
        })
    }

    /// The same for a kernel of a device.
    fn on_device(&self) -> device::RowNormSpec {
        let Self { name, examples, rows, width, one, centred, eps, activation, .. } = *self;
        device::RowNormSpec { name, examples, rows, width, one, centred, eps, activation }
    }

    /// Rows of one task, and tasks of an example: the weights' gradients are sums of this many parts.
    fn blocks(&self) -> (usize, usize) {
        let least = (16 * 1024 / self.width).max(1);
        let rows = least.max(self.rows.div_ceil(64));
        (rows, self.rows.div_ceil(rows))
    }

    /// Runs `body(example, first row of all, rows)` for every block.
    fn each_block(&self, body: impl Fn(usize, usize, usize) + Sync) {
        let (size, blocks) = self.blocks();
        (0..self.examples * blocks).into_par_iter().for_each(|task| {
            let (example, first) = (task / blocks, task % blocks * size);
            body(example, example * self.rows + first, size.min(self.rows - first));
        });
    }

    /// Mean (or zero) and reciprocal deviation of a row.
    fn moments(&self, level: Level, x: &[f32]) -> (f32, f32) {
        let (mean, variance) = match self.centred {
            true if self.width >= SUM_LANES => mean_variance(level, x),
            true => short_mean_variance(level, x),
            false => (0.0, mean_square(level, x)),
        };
        (mean, (1.0 / (variance + self.eps).sqrt()) as f32)
    }

    /// The weight with its one, and the bias, of an example.
    fn parameters(&self, inputs: &[&[f32]], example: usize, weight: &mut [f32], bias: &mut [f32]) {
        let part = example * self.width..(example + 1) * self.width;
        weight.iter_mut().zip(&inputs[1][part.clone()]).for_each(|(w, x)| *w = x + self.one);
        match inputs.get(2) {
            Some(given) => bias.copy_from_slice(&given[part]),
            None => bias.fill(0.0),
        }
    }
}

impl Op for RowNorm {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let (x, level, width) = (inputs[0], Level::current(), self.width);
        let mut y = Output::new(x.len());
        let out = y.shared();
        self.each_block(|example, first, rows| {
            with_scratch(2 * width, |parameters| {
                let (weight, bias) = parameters.split_at_mut(width);
                self.parameters(inputs, example, weight, bias);
                for row in first..first + rows {
                    let x = &x[row * width..][..width];
                    let (mean, rstd) = self.moments(level, x);
                    // SAFETY: each task writes its own rows.
                    let y = unsafe { out.slice(row * width, width) };
                    scale(level, x, y, weight, bias, mean, rstd);
                    self.activation.apply(level, y);
                }
            });
        });
        // SAFETY: the blocks cover the rows.
        Ok((unsafe { y.finish() }, self.shape.clone()))
    }

    fn backward(&self, inputs: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let (x, level, width) = (inputs[0], Level::current(), self.width);
        let (size, blocks) = self.blocks();
        let (mut dx, mut parts) = (Output::new(x.len()), vec![0.0; self.examples * blocks * 2 * width]);
        let (out, sums) = (dx.shared(), crate::memory::Shared::new(&mut parts));
        self.each_block(|example, first, rows| {
            let task = example * blocks + (first - example * self.rows) / size;
            // SAFETY: each task has its own sums.
            let (dweight, dbias) = unsafe { sums.slice(task * 2 * width, 2 * width) }.split_at_mut(width);
            with_scratch(3 * width, |scratch| {
                let (weight, rest) = scratch.split_at_mut(width);
                let (bias, dv) = rest.split_at_mut(width);
                self.parameters(inputs, example, weight, bias);
                for row in first..first + rows {
                    let (x, dy) = (&x[row * width..][..width], &dy[row * width..][..width]);
                    let (mean, rstd) = self.moments(level, x);
                    // SAFETY: each task writes its own rows.
                    let dx = unsafe { out.slice(row * width, width) };
                    dv.copy_from_slice(dy);
                    if self.activation != Activation::None {
                        scale(level, x, dx, weight, bias, mean, rstd);
                        self.activation.pull(level, dx, dv);
                    }
                    pull_back(level, x, dv, dx, weight, dweight, dbias, mean, rstd, self.centred);
                }
            });
        });
        let (mut dweight, mut dbias) = (vec![0.0; self.examples * width], vec![0.0; self.examples * width]);
        let totals = dweight.chunks_exact_mut(width).zip(dbias.chunks_exact_mut(width));
        for ((dweight, dbias), parts) in totals.zip(parts.chunks_exact(blocks * 2 * width)) {
            for part in parts.chunks_exact(2 * width) {
                dweight.iter_mut().zip(part).for_each(|(total, p)| *total += p);
                dbias.iter_mut().zip(&part[width..]).for_each(|(total, p)| *total += p);
            }
        }
        // SAFETY: the blocks cover the rows.
        let dx = unsafe { dx.finish() };
        let all = [dx, dweight, dbias].into_iter().take(inputs.len());
        Ok(all.map(Gradient::Values).collect())
    }
}

/// Lanes of the sums over a row: fewer than [`SUM_LANES`], as rows may be short.
const LANES: usize = 16;

multiversion! {
    /// Mean and variance of a short row, in two passes.
    fn short_mean_variance(x: &[f32]) -> (f32, f64) {
        let n = x.len() as f32;
        let mut lanes = [0.0; LANES];
        let (chunks, rest) = x.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                lanes[lane] += chunk[lane];
            }
        }
        let mean = (fold(lanes) + rest.iter().sum::<f32>()) / n;
        let mut lanes = [0.0; LANES];
        for chunk in chunks {
            for lane in 0..LANES {
                let v = chunk[lane] - mean;
                lanes[lane] = fma::<FMA>(v, v, lanes[lane]);
            }
        }
        let rest: f32 = rest.iter().map(|v| (v - mean) * (v - mean)).sum();
        (mean, f64::from((fold(lanes) + rest) / n))
    }
}

multiversion! {
    fn mean_square(x: &[f32]) -> f64 {
        let mut total = 0.0;
        for block in x.chunks(4096) {
            let mut lanes = [0.0; LANES];
            let (chunks, rest) = block.as_chunks::<LANES>();
            for chunk in chunks {
                for lane in 0..LANES {
                    lanes[lane] = fma::<FMA>(chunk[lane], chunk[lane], lanes[lane]);
                }
            }
            total += f64::from(fold(lanes) + rest.iter().map(|v| v * v).sum::<f32>());
        }
        total / x.len() as f64
    }
}

multiversion! {
    fn scale(x: &[f32], y: &mut [f32], weight: &[f32], bias: &[f32], mean: f32, rstd: f32) {
        for ((x, y), (w, b)) in x.iter().zip(y).zip(weight.iter().zip(bias)) {
            *y = fma::<FMA>((x - mean) * rstd, *w, *b);
        }
    }
}

multiversion! {
    /// The gradient of a row from that of its scaled values; adds to those of weight and bias.
    fn pull_back(
        x: &[f32],
        dv: &[f32],
        dx: &mut [f32],
        weight: &[f32],
        dweight: &mut [f32],
        dbias: &mut [f32],
        mean: f32,
        rstd: f32,
        centred: bool,
    ) {
        let width = x.len();
        let (dv, weight) = (&dv[..width], &weight[..width]);
        let (dweight, dbias) = (&mut dweight[..width], &mut dbias[..width]);
        let (mut sum, mut sum_normal) = ([0.0; LANES], [0.0; LANES]);
        let whole = width - width % LANES;
        for first in (0..whole).step_by(LANES) {
            for lane in 0..LANES {
                let i = first + lane;
                let (normal, d) = ((x[i] - mean) * rstd, dv[i]);
                let g = d * weight[i];
                sum[lane] += g;
                sum_normal[lane] = fma::<FMA>(g, normal, sum_normal[lane]);
                dweight[i] = fma::<FMA>(d, normal, dweight[i]);
                dbias[i] += d;
            }
        }
        for (lane, i) in (whole..width).enumerate() {
            let (normal, d) = ((x[i] - mean) * rstd, dv[i]);
            let g = d * weight[i];
            sum[lane] += g;
            sum_normal[lane] = fma::<FMA>(g, normal, sum_normal[lane]);
            dweight[i] = fma::<FMA>(d, normal, dweight[i]);
            dbias[i] += d;
        }
        let n = width as f32;
        let constant = if centred { fold(sum) / n } else { 0.0 };
        let slope = fold(sum_normal) / n;
        for ((x, dx), (d, w)) in x.iter().zip(dx).zip(dv.iter().zip(weight)) {
            let normal = (x - mean) * rstd;
            *dx = rstd * (fma::<FMA>(-normal, slope, d * w) - constant);
        }
    }
}

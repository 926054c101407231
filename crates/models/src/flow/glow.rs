//! The pieces of Glow: activation normalisation, invertible 1x1 convolution, squeezing, several scales.

use candle_core::{DType, Tensor};
use candle_nn::{Init, VarBuilder};
use halocast_kernels::{ConvSpec, conv2d, index_select, pixel_shuffle, pixel_unshuffle, softplus};

use super::layer::{check_features, constant, no_volume};
use super::{Layer, Permutation};
use crate::sampling::check_config;
use crate::{Bijection, Error, Parameters, Result};

/// Activation normalisation of features or channels:
///
/// $$ y_c = e^{\lambda_c} x_c + t_c, \qquad \ln |\det| = H W \sum_c \lambda_c. $$
///
/// [`Layer::initialise`] sets $\lambda$ and $t$ so that each channel of the first batch has mean 0 and standard deviation
/// 1; before that it is the identity.
///
/// # Source
/// Kingma & Dhariwal 2018, arXiv:1807.03039, section 3.1; names as in nflows.
pub struct ActNorm {
    log_scale: Tensor,
    shift: Tensor,
    name: String,
}

impl ActNorm {
    /// The layer of `features` features or channels.
    ///
    /// # Errors
    /// When the builder has no such parameters.
    pub fn new(features: usize, vb: VarBuilder) -> Result<Self> {
        let zeros = |name| vb.get_with_hints(features, name, Init::Const(0.0));
        Ok(Self { log_scale: zeros("log_scale")?, shift: zeros("shift")?, name: vb.prefix() })
    }

    /// The parameters as something that broadcasts over maps like `x`, and the number of pixels.
    fn maps(&self, x: &Tensor) -> Result<(Tensor, Tensor, f64)> {
        let ones = vec![1; x.rank().saturating_sub(2)];
        let shape = [&[1, self.shift.dims()[0]], &ones[..]].concat();
        check_features(x, self.shift.dims()[0])?;
        let pixels: usize = x.dims()[2..].iter().product();
        Ok((self.log_scale.exp()?.reshape(&shape[..])?, self.shift.reshape(&shape[..])?, pixels as f64))
    }

    fn volume(&self, x: &Tensor, pixels: f64) -> Result<Tensor> {
        Ok(no_volume(x)?.broadcast_add(&(self.log_scale.sum_all()? * pixels)?)?)
    }
}

impl Bijection for ActNorm {
    fn forward(&self, x: &Tensor, _: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        let (scale, shift, pixels) = self.maps(x)?;
        Ok((x.broadcast_mul(&scale)?.broadcast_add(&shift)?, self.volume(x, pixels)?))
    }

    fn inverse(&self, z: &Tensor, _: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        let (scale, shift, pixels) = self.maps(z)?;
        Ok((z.broadcast_sub(&shift)?.broadcast_div(&scale)?, self.volume(z, pixels)?.neg()?))
    }
}

impl Layer for ActNorm {
    fn initialise(&self, x: &Tensor, _: Option<&Tensor>, parameters: &Parameters) -> Result<()> {
        let channels = self.shift.dims()[0];
        check_features(x, channels)?;
        let rows = x.to_dtype(DType::F64)?.transpose(0, 1)?.contiguous()?.reshape((channels, ()))?;
        let (mut scales, mut shifts) = (vec![], vec![]);
        for row in rows.to_vec2::<f64>()? {
            let n = row.len() as f64;
            let mean = row.iter().sum::<f64>() / n;
            let squares: f64 = row.iter().map(|v| (v - mean).powi(2)).sum();
            let std = (squares / (n - 1.0).max(1.0)).sqrt();
            // A channel without spread keeps its scale.
            let scale = if std > 0.0 { 1.0 / std } else { 1.0 };
            scales.push(scale.ln());
            shifts.push(-mean * scale);
        }
        for (name, var) in parameters.named() {
            for (own, values) in [("log_scale", &scales), ("shift", &shifts)] {
                let full = if self.name.is_empty() { own.into() } else { format!("{}.{own}", self.name) };
                if name == full {
                    var.set(&constant(values.clone(), &[channels], var.as_tensor())?)?;
                }
            }
        }
        Ok(())
    }
}

/// How the matrix of an [`InvertibleConv`] is given.
enum Matrix {
    /// As it is.
    Plain(Tensor),
    /// $W = L U$ of a permutation of the channels.
    Lu { lower: Tensor, upper: Tensor, diagonal: Tensor, bias: Tensor, order: Permutation },
}

/// An invertible linear map of the channels of maps, the same at every pixel:
///
/// $$ y_{\cdot yx} = W x_{\cdot yx} \; [+ \, b], \qquad \ln |\det| = H W \ln |\det W|. $$
///
/// # Source
/// Kingma & Dhariwal 2018, arXiv:1807.03039, equations 9 to 11; `OneByOneConvolution` of nflows (LU form).
///
/// # Differences
/// The inverse is computed in double precision and is not differentiable.
pub struct InvertibleConv {
    matrix: Matrix,
    channels: usize,
}

/// Added to the diagonal of U.
const LEAST_DIAGONAL: f64 = 1e-3;

impl InvertibleConv {
    /// The form $W = L U$ of nflows behind a permutation of the channels: L has ones on its diagonal, U the numbers
    /// $\ln(1 + e^d) + 10^{-3}$. It begins as the permutation.
    ///
    /// # Errors
    /// [`Error::Config`] when `order` is no permutation.
    pub fn lu(order: &[usize], vb: VarBuilder) -> Result<Self> {
        let channels = order.len();
        let off = channels * channels.saturating_sub(1) / 2;
        let one = ((1.0 - LEAST_DIAGONAL).exp() - 1.0).ln();
        let get = |name, len: usize, value| vb.get_with_hints(len, name, Init::Const(value));
        let matrix = Matrix::Lu {
            lower: get("lower_entries", off, 0.0)?,
            upper: get("upper_entries", off, 0.0)?,
            diagonal: get("unconstrained_upper_diag", channels, one)?,
            bias: get("bias", channels, 0.0)?,
            order: Permutation::new(order)?,
        };
        Ok(Self { matrix, channels })
    }

    /// The plain form, of a parameter `weight` `[channel, channel]` that begins as a random rotation (the Q of the QR
    /// factors of a matrix of normal numbers), where it is a fresh one.
    ///
    /// # Errors
    /// When the builder has no such parameter.
    pub fn plain(channels: usize, vb: VarBuilder, parameters: &Parameters) -> Result<Self> {
        let init = Init::Randn { mean: 0.0, stdev: 1.0 };
        let weight = vb.get_with_hints((channels, channels), "weight", init)?;
        let prefix = vb.prefix();
        let full = if prefix.is_empty() { "weight".to_owned() } else { format!("{prefix}.weight") };
        if let Some((_, var)) = parameters.named().into_iter().find(|(name, _)| *name == full) {
            let rotation = orthonormal(rows(&weight)?);
            var.set(&constant(rotation.concat(), &[channels, channels], &weight)?)?;
        }
        Ok(Self::of(weight))
    }

    /// The plain form of a given matrix.
    pub fn of(weight: Tensor) -> Self {
        let channels = weight.dims().first().copied().unwrap_or(0);
        Self { matrix: Matrix::Plain(weight), channels }
    }

    /// The matrix W, in the LU form that which follows the permutation.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn weight(&self) -> Result<Tensor> {
        match &self.matrix {
            Matrix::Plain(weight) => Ok(weight.clone()),
            Matrix::Lu { lower, upper, diagonal, .. } => {
                let diagonal = (softplus(diagonal)? + LEAST_DIAGONAL)?;
                let ones = diagonal.ones_like()?;
                Ok(self.triangle(lower, &ones, true)?.matmul(&self.triangle(upper, &diagonal, false)?)?)
            }
        }
    }

    /// A triangular matrix of its entries row by row and its diagonal.
    fn triangle(&self, entries: &Tensor, diagonal: &Tensor, lower: bool) -> Result<Tensor> {
        let (n, count) = (self.channels, entries.dims()[0] as u32);
        let zero = constant(vec![0.0], &[1], entries)?;
        let all = Tensor::cat(&[entries, diagonal, &zero], 0)?;
        let mut next = 0;
        let mut places = Vec::with_capacity(n * n);
        for row in 0..n {
            for column in 0..n {
                places.push(if row == column {
                    count + row as u32
                } else if (column < row) == lower {
                    next += 1;
                    next - 1
                } else {
                    count + n as u32
                });
            }
        }
        let places = Tensor::from_vec(places, n * n, entries.device())?;
        Ok(index_select(&all, &places, 0)?.reshape((n, n))?)
    }

    /// ln |det W|, a scalar.
    ///
    /// # Errors
    /// [`Error::Config`] when W is singular.
    pub fn log_det(&self) -> Result<Tensor> {
        match &self.matrix {
            Matrix::Lu { diagonal, .. } => Ok((softplus(diagonal)? + LEAST_DIAGONAL)?.log()?.sum_all()?),
            Matrix::Plain(weight) => {
                let (inverse, log_det) = invert(rows(weight)?)?;
                // <W, W^-T> is the number of channels, and has the gradient W^-T of the logarithm.
                let n = self.channels;
                let transposed: Vec<f64> = (0..n * n).map(|at| inverse[at % n][at / n]).collect();
                let linear = (weight * constant(transposed, &[n, n], weight)?)?.sum_all()?;
                let value = linear.detach().affine(-1.0, log_det)?;
                Ok((linear + value)?)
            }
        }
    }

    fn apply(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let n = self.channels;
        if x.rank() != 4 || x.dims()[1] != n {
            let (what, expected) = ("maps".to_owned(), format!("[n, {n}, y, x]"));
            return Err(Error::Shape {
                operation: "invertible convolution",
                what,
                expected,
                got: x.dims().to_vec(),
            });
        }
        Ok(conv2d(x, &weight.reshape((n, n, 1, 1))?, bias, ConvSpec::default())?)
    }

    fn volume(&self, x: &Tensor) -> Result<Tensor> {
        let pixels: usize = x.dims()[2..].iter().product();
        Ok(no_volume(x)?.broadcast_add(&(self.log_det()? * pixels as f64)?)?)
    }
}

impl Bijection for InvertibleConv {
    fn forward(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        let y = match &self.matrix {
            Matrix::Plain(weight) => self.apply(x, weight, None)?,
            Matrix::Lu { bias, order, .. } => {
                self.apply(&order.forward(x, cond)?.0, &self.weight()?, Some(bias))?
            }
        };
        Ok((y, self.volume(x)?))
    }

    fn inverse(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        let weight = self.weight()?;
        let (inverse, _) = invert(rows(&weight)?)?;
        let inverse = constant(inverse.concat(), weight.dims(), &weight)?;
        let x = match &self.matrix {
            Matrix::Plain(_) => self.apply(z, &inverse, None)?,
            Matrix::Lu { bias, order, .. } => {
                let z = z.broadcast_sub(&bias.reshape((1, self.channels, 1, 1))?)?;
                order.inverse(&self.apply(&z, &inverse, None)?, cond)?.0
            }
        };
        Ok((x, self.volume(z)?.neg()?))
    }
}

impl Layer for InvertibleConv {}

fn rows(matrix: &Tensor) -> Result<Vec<Vec<f64>>> {
    Ok(matrix.to_dtype(DType::F64)?.to_vec2()?)
}

/// The inverse of a matrix by Gauss-Jordan elimination with pivots, and ln |det|.
fn invert(mut a: Vec<Vec<f64>>) -> Result<(Vec<Vec<f64>>, f64)> {
    let n = a.len();
    for (i, row) in a.iter_mut().enumerate() {
        row.extend((0..n).map(|j| f64::from(u8::from(i == j))));
    }
    let mut log_det = 0.0;
    for i in 0..n {
        let pivot = (i..n).max_by(|&p, &q| a[p][i].abs().total_cmp(&a[q][i].abs())).unwrap_or(i);
        a.swap(i, pivot);
        let lead = a[i][i];
        if !(lead.abs() > 0.0 && lead.is_finite()) {
            return Err(Error::Config {
                model: "invertible convolution",
                field: "weight".into(),
                expected: "an invertible matrix".into(),
                got: format!("pivot {lead}"),
            });
        }
        log_det += lead.abs().ln();
        a[i].iter_mut().for_each(|v| *v /= lead);
        let own = a[i].clone();
        for (j, row) in a.iter_mut().enumerate() {
            if j != i && row[i] != 0.0 {
                let factor = row[i];
                row.iter_mut().zip(&own).for_each(|(v, o)| *v -= factor * o);
            }
        }
    }
    Ok((a.into_iter().map(|row| row[n..].to_vec()).collect(), log_det))
}

/// The rows made orthonormal one after another (Gram & Schmidt).
fn orthonormal(mut a: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    for i in 0..a.len() {
        let (before, rest) = a.split_at_mut(i);
        let Some(row) = rest.first_mut() else { continue };
        // Twice, for the rounding of the first time.
        for other in before.iter().chain(before.iter()) {
            let along: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
            row.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
        }
        let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
        row.iter_mut().for_each(|v| *v /= norm);
    }
    a
}

/// Blocks of 2x2 pixels as channels: `[n, c, y, x]` gives `[n, 4 c, y / 2, x / 2]`, channel by channel.
pub struct Squeeze;

impl Bijection for Squeeze {
    fn forward(&self, x: &Tensor, _: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        Ok((pixel_unshuffle(x, 2)?, no_volume(x)?))
    }

    fn inverse(&self, z: &Tensor, _: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        Ok((pixel_shuffle(z, 2)?, no_volume(z)?))
    }
}

impl Layer for Squeeze {}

/// Several scales: behind each but the last level half of the channels are done, the others go on.
///
/// Data `[n, c, y, x]` become noise `[n, c y x]`: that of the first level, then of the second, ...
///
/// # Source
/// Dinh et al. 2017, arXiv:1605.08803, section 3.6.
pub struct MultiScale {
    levels: Vec<Box<dyn Layer>>,
    /// The shape `[c, y, x]` behind each level.
    shapes: Vec<Vec<usize>>,
}

impl MultiScale {
    /// The levels in a row, with the shape `[c, y, x]` that each gives.
    ///
    /// # Errors
    /// [`Error::Config`] when there are none, or a level whose channels are to be halved has an odd number of them.
    pub fn new(levels: Vec<Box<dyn Layer>>, shapes: Vec<Vec<usize>>) -> Result<Self> {
        let even = shapes.iter().rev().skip(1).all(|shape| shape.first().is_some_and(|c| c % 2 == 0));
        let some = !levels.is_empty() && levels.len() == shapes.len();
        let got = format!("{shapes:?}");
        check_config("multi-scale flow", [("levels", some && even, "even channels", got)])?;
        Ok(Self { levels, shapes })
    }

    /// How many channels of a level are done behind it.
    fn done(&self, level: usize) -> usize {
        let channels = self.shapes[level][0];
        if level + 1 < self.levels.len() { channels / 2 } else { channels }
    }
}

impl Bijection for MultiScale {
    fn forward(&self, x: &Tensor, cond: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        let (mut rest, mut volume) = (x.clone(), no_volume(x)?);
        let mut parts = Vec::new();
        for (i, level) in self.levels.iter().enumerate() {
            let (y, more) = level.forward(&rest, cond)?;
            volume = (volume + more)?;
            let (channels, done) = (y.dims()[1], self.done(i));
            parts.push(y.narrow(1, 0, done)?.contiguous()?.flatten_from(1)?);
            if done < channels {
                rest = y.narrow(1, done, channels - done)?.contiguous()?;
            }
        }
        Ok((Tensor::cat(&parts, 1)?, volume))
    }

    fn inverse(&self, z: &Tensor, cond: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
        let mut volume = no_volume(z)?;
        let mut rest: Option<Tensor> = None;
        let shapes = self.shapes.iter().enumerate();
        let mut end = shapes.map(|(i, s)| self.done(i) * s[1..].iter().product::<usize>()).sum();
        check_features(z, end)?;
        for (i, level) in self.levels.iter().enumerate().rev() {
            let shape = [&[z.dims()[0], self.done(i)], &self.shapes[i][1..]].concat();
            let count: usize = shape[1..].iter().product();
            end -= count;
            let own = z.narrow(1, end, count)?.contiguous()?.reshape(shape)?;
            let y = match &rest {
                Some(rest) => Tensor::cat(&[&own, rest], 1)?,
                None => own,
            };
            let (x, more) = level.inverse(&y, cond)?;
            volume = (volume + more)?;
            rest = Some(x);
        }
        Ok((rest.unwrap_or_else(|| z.clone()), volume))
    }
}

impl Layer for MultiScale {
    fn initialise(&self, x: &Tensor, cond: Option<&Tensor>, parameters: &Parameters) -> Result<()> {
        let mut rest = x.clone();
        for (i, level) in self.levels.iter().enumerate() {
            level.initialise(&rest, cond, parameters)?;
            let y = level.forward(&rest, cond)?.0.detach();
            let (channels, done) = (y.dims()[1], self.done(i));
            rest = y.narrow(1, done.min(channels - 1), (channels - done).max(1))?.contiguous()?;
        }
        Ok(())
    }
}

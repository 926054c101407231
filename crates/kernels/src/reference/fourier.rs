//! Fourier transforms as products with the matrices of their definition, axis by axis.

use candle_core::{D, Tensor};

use crate::{FourierNorm, Result};

/// [`crate::rfft`].
///
/// # Errors
/// As there.
pub fn rfft(x: &Tensor, axes: usize, norm: FourierNorm) -> Result<Tensor> {
    let n = x.dim(D::Minus1)?;
    let complex = Tensor::stack(&[x, &x.zeros_like()?], D::Minus1)?;
    Ok(fft(&complex, axes, false, norm)?.narrow(x.rank() - 1, 0, n / 2 + 1)?.contiguous()?)
}

/// [`crate::irfft`].
///
/// # Errors
/// As there.
pub fn irfft(x: &Tensor, last: usize, axes: usize, norm: FourierNorm) -> Result<Tensor> {
    let rank = x.rank() - 1;
    let half = last / 2 + 1;
    let [mut re, mut im] = parts(x)?;
    let mut points = last;
    for axis in rank - axes..rank - 1 {
        points *= re.dim(axis)?;
        (re, im) = along(&re, &im, axis, true)?;
    }
    // A column other than the first and an even size's last stands for its conjugate too.
    let matrix = |function: fn(f64) -> f64| -> Result<Tensor> {
        let values = (0..half * last).map(|i| {
            let (k, x) = (i / last, i % last);
            let weight = if k == 0 || 2 * k == last { 1.0 } else { 2.0 };
            weight * function(angle(k, x, last))
        });
        Ok(Tensor::from_vec(values.collect::<Vec<_>>(), (half, last), x.device())?.to_dtype(x.dtype())?)
    };
    let y = (rows(&re, &matrix(f64::cos)?)? - rows(&im, &matrix(f64::sin)?)?)?;
    Ok((y * norm.scale(points, true))?)
}

/// [`crate::fft`], or [`crate::ifft`].
///
/// # Errors
/// As there.
pub fn fft(x: &Tensor, axes: usize, inverse: bool, norm: FourierNorm) -> Result<Tensor> {
    let rank = x.rank() - 1;
    let [mut re, mut im] = parts(x)?;
    let mut points = 1;
    for axis in rank - axes..rank {
        points *= re.dim(axis)?;
        (re, im) = along(&re, &im, axis, inverse)?;
    }
    Ok((Tensor::stack(&[re, im], D::Minus1)? * norm.scale(points, inverse))?)
}

fn parts(x: &Tensor) -> Result<[Tensor; 2]> {
    let last = x.rank() - 1;
    Ok([x.narrow(last, 0, 1)?.squeeze(last)?, x.narrow(last, 1, 1)?.squeeze(last)?])
}

/// Real and imaginary part of the transform along one axis, not normalised.
fn along(re: &Tensor, im: &Tensor, axis: usize, inverse: bool) -> Result<(Tensor, Tensor)> {
    let n = re.dim(axis)?;
    let last = re.rank() - 1;
    let sign = if inverse { 1.0 } else { -1.0 };
    let matrix = |function: fn(f64) -> f64| -> Result<Tensor> {
        let values = (0..n * n).map(|i| function(angle(i / n, i % n, n)));
        Ok(Tensor::from_vec(values.collect::<Vec<_>>(), (n, n), re.device())?.to_dtype(re.dtype())?)
    };
    let (re, im) = (re.transpose(axis, last)?, im.transpose(axis, last)?);
    let (cosine, sine) = (matrix(f64::cos)?, (matrix(f64::sin)? * sign)?);
    let y_re = (rows(&re, &cosine)? - rows(&im, &sine)?)?;
    let y_im = (rows(&im, &cosine)? + rows(&re, &sine)?)?;
    Ok((y_re.transpose(axis, last)?, y_im.transpose(axis, last)?))
}

fn angle(k: usize, x: usize, n: usize) -> f64 {
    std::f64::consts::TAU * (k * x % n) as f64 / n as f64
}

/// The product of the rows of `x` with a matrix.
fn rows(x: &Tensor, matrix: &Tensor) -> Result<Tensor> {
    let (from, to) = matrix.dims2()?;
    let mut dims = x.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = to;
    }
    Ok(x.contiguous()?.reshape(((), from))?.matmul(matrix)?.reshape(dims)?)
}

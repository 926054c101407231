//! Monotonic rational-quadratic splines.

use candle_core::{D, Tensor};
use halocast_kernels::{softmax, softplus};

use super::layer::constant;
use crate::Result;
use crate::sampling::check_config;

/// The least width and height of a bin, of the whole, and the least slope at a knot.
const LEAST: f64 = 1e-3;

/// The shape of a spline from $[-B, B]$ to itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SplineShape {
    /// Number of bins, $K$, at least 2.
    pub bins: usize,
    /// $B$; beyond $\pm B$ a spline is the identity.
    pub bound: f64,
}

/// The parameters of splines as a network gives them, each `[.., K]`, `[.., K]` and `[.., K - 1]`.
pub struct Pieces {
    /// Of the widths.
    pub widths: Tensor,
    /// Of the heights.
    pub heights: Tensor,
    /// Of the slopes at the inner knots.
    pub slopes: Tensor,
}

impl SplineShape {
    /// The number of parameters of a spline, $3 K - 1$.
    pub fn parameters(&self) -> usize {
        3 * self.bins - 1
    }

    /// The parameters `[.., 3 K - 1]` in parts, widths and heights divided by `scale`.
    ///
    /// # Errors
    /// When the last axis is of another length.
    pub fn pieces(&self, theta: &Tensor, scale: f64) -> Result<Pieces> {
        let k = self.bins;
        Ok(Pieces {
            widths: (theta.narrow(D::Minus1, 0, k)? / scale)?,
            heights: (theta.narrow(D::Minus1, k, k)? / scale)?,
            slopes: theta.narrow(D::Minus1, 2 * k, k - 1)?,
        })
    }

    /// The knots `[.., K + 1]` of bins whose sizes are the softmax of `[.., K]`.
    fn knots(&self, sizes: &Tensor) -> Result<Tensor> {
        let k = self.bins;
        let sizes = softmax(sizes)?.affine(1.0 - LEAST * k as f64, LEAST)?;
        let mut ends = sizes.dims().to_vec();
        let rows: usize = ends.iter().product::<usize>() / k;
        if let Some(last) = ends.last_mut() {
            *last = 1;
        }
        let end = |at: f64| -> Result<Tensor> { constant(vec![at; rows], &ends, &sizes) };
        let (left, right) = (end(-self.bound)?, end(self.bound)?);
        // Knot j is the sum of the sizes before it.
        let before = (0..k * (k - 1)).map(|at| f64::from(at / (k - 1) <= at % (k - 1))).collect();
        let before = constant(before, &[k, k - 1], &sizes)?;
        let inner = sizes.contiguous()?.reshape((rows, k))?.matmul(&before)?;
        let inner = inner.affine(2.0 * self.bound, -self.bound)?;
        if let Some(last) = ends.last_mut() {
            *last = k - 1;
        }
        Ok(Tensor::cat(&[left, inner.reshape(ends)?, right], D::Minus1)?)
    }
}

/// Each number's own bin: its ends along both axes and the slopes there.
struct Bin {
    x: Tensor,
    width: Tensor,
    y: Tensor,
    height: Tensor,
    slope: Tensor,
    next: Tensor,
}

impl Bin {
    /// The bins in which `at` lies, by the knots along x or, of an inverse, along y.
    fn new(at: &Tensor, pieces: &Pieces, shape: SplineShape, inverse: bool) -> Result<Self> {
        let k = shape.bins;
        check_config("spline", [("bins", k > 1, "at least 2", k.to_string())])?;
        let (x, y) = (shape.knots(&pieces.widths)?, shape.knots(&pieces.heights)?);
        let last = D::Minus1;
        // Beyond the ends the slope is 1, as that of the identity.
        let mut ends = x.dims().to_vec();
        ends.iter_mut().last().into_iter().for_each(|n| *n = 1);
        let one = constant(vec![1.0; ends.iter().product()], &ends, &x)?;
        let inner = (softplus(&pieces.slopes.contiguous()?)? + LEAST)?;
        let slopes = Tensor::cat(&[one.clone(), inner, one], last)?;
        let knots = if inverse { &y } else { &x };
        // One where a knot lies at or below the number, so that the difference to the next marks its bin.
        let above = at.unsqueeze(last)?.broadcast_ge(&knots.narrow(last, 0, k)?)?.to_dtype(at.dtype())?;
        let next = Tensor::cat(
            &[above.narrow(last, 1, k - 1)?, Tensor::zeros(&ends[..], at.dtype(), at.device())?],
            last,
        )?;
        let own = (above - next)?.detach();
        let pick = |of: Tensor| -> Result<Tensor> { Ok((of * &own)?.sum(last)?) };
        let size = |knots: &Tensor| -> Result<Tensor> {
            Ok((knots.narrow(last, 1, k)? - knots.narrow(last, 0, k)?)?)
        };
        Ok(Self {
            width: pick(size(&x)?)?,
            height: pick(size(&y)?)?,
            x: pick(x.narrow(last, 0, k)?)?,
            y: pick(y.narrow(last, 0, k)?)?,
            slope: pick(slopes.narrow(last, 0, k)?)?,
            next: pick(slopes.narrow(last, 1, k)?)?,
        })
    }

    /// The mean slope of the bin, and the sum of the slopes at its ends less twice that.
    fn slopes(&self) -> Result<(Tensor, Tensor)> {
        let mean = (&self.height / &self.width)?;
        let bend = ((&self.slope + &self.next)? - (&mean * 2.0)?)?;
        Ok((mean, bend))
    }

    /// ln dy/dx at the fraction `t` of the bin.
    fn log_slope(&self, t: &Tensor, mean: &Tensor, bend: &Tensor) -> Result<Tensor> {
        let rest = t.affine(-1.0, 1.0)?;
        let both = (t * &rest)?;
        let ends = ((&self.next * t.sqr()?)? + (&self.slope * rest.sqr()?)?)?;
        let top = ((ends + ((mean * &both)? * 2.0)?)? * mean.sqr()?)?;
        let bottom = (mean + (bend * &both)?)?;
        Ok((top.log()? - (bottom.log()? * 2.0)?)?)
    }
}

/// One where a number is between the bounds, zero elsewhere; and the number there, zero elsewhere.
fn inside(x: &Tensor, bound: f64) -> Result<(Tensor, Tensor)> {
    let mask = x.abs()?.le(bound)?.to_dtype(x.dtype())?;
    Ok((mask.clone(), (x * mask)?))
}

/// `of` where `mask` is one, `x` elsewhere.
fn outside(x: &Tensor, of: Tensor, mask: &Tensor) -> Result<Tensor> {
    Ok(((of * mask)? + (x * mask.affine(-1.0, 1.0)?)?)?)
}

/// $y = g(x)$ of each number of `x` `[..]` under splines of parameters `[.., K]`, and $\ln g'(x)$, both `[..]`:
///
/// $$ g(x) = y_k + \frac{h_k \, (s_k t^2 + \delta_k t (1 - t))}{s_k + (\delta_{k+1} + \delta_k - 2 s_k) t (1 - t)},
///    \qquad t = \frac{x - x_k}{w_k}, \quad s_k = h_k / w_k. $$
///
/// Widths $w$ and heights $h$ are $2 B$ times the softmax of their parameters, of which no part is below $10^{-3}$;
/// slopes at inner knots are $\delta = \ln(1 + e^u) + 10^{-3}$. Beyond $\pm B$ it is the identity.
///
/// # Source
/// Durkan et al. 2019, arXiv:1906.04032, equations 4 and 5.
///
/// # Errors
/// When shapes do not fit.
pub fn spline(x: &Tensor, pieces: &Pieces, shape: SplineShape) -> Result<(Tensor, Tensor)> {
    let (mask, within) = inside(x, shape.bound)?;
    let bin = Bin::new(&within, pieces, shape, false)?;
    let t = ((within - &bin.x)? / &bin.width)?;
    let (mean, bend) = bin.slopes()?;
    let both = (&t * t.affine(-1.0, 1.0)?)?;
    let top = (((&mean * t.sqr()?)? + (&bin.slope * &both)?)? * &bin.height)?;
    let bottom = (&mean + (&bend * &both)?)?;
    let y = (&bin.y + (top / bottom)?)?;
    let volume = (bin.log_slope(&t, &mean, &bend)? * &mask)?;
    Ok((outside(x, y, &mask)?, volume))
}

/// The inverse of [`spline`], and the logarithm of its slope.
///
/// # Source
/// Durkan et al. 2019, arXiv:1906.04032, appendix A.3.
///
/// # Errors
/// When shapes do not fit.
pub fn spline_inverse(y: &Tensor, pieces: &Pieces, shape: SplineShape) -> Result<(Tensor, Tensor)> {
    let (mask, within) = inside(y, shape.bound)?;
    let bin = Bin::new(&within, pieces, shape, true)?;
    let (mean, bend) = bin.slopes()?;
    let above = (within - &bin.y)?;
    let bent = (&above * &bend)?;
    // a t^2 + b t + c = 0.
    let a = ((&bin.height * (&mean - &bin.slope)?)? + &bent)?;
    let b = ((&bin.height * &bin.slope)? - bent)?;
    let c = (&mean * above)?.neg()?;
    let root = (b.sqr()? - ((a * &c)? * 4.0)?)?.relu()?.sqrt()?;
    let t = ((c * 2.0)? / (b.neg()? - root)?)?;
    let x = ((&t * &bin.width)? + &bin.x)?;
    let volume = (bin.log_slope(&t, &mean, &bend)? * &mask)?.neg()?;
    Ok((outside(y, x, &mask)?, volume))
}

//! The graph of a cloud: nearest neighbours in a box, displacements, and small functions of them.

use candle_core::{D, DType, Tensor};
use halocast_kernels::{Boundary, gather_points, knn};

use crate::{Error, Result};

/// What the reference adds to every displacement.
const EPS: f64 = 1e-5;

/// Positions in a box, from their standardised values.
#[derive(Clone, Debug, PartialEq)]
pub struct Geometry {
    /// Mean of each coordinate.
    pub mean: Vec<f64>,
    /// Deviation of each coordinate.
    pub std: Vec<f64>,
    /// The side of the periodic box, if it is one.
    pub side: Option<f64>,
}

impl Geometry {
    /// The number of coordinates.
    pub fn axes(&self) -> usize {
        self.mean.len()
    }

    /// The deviations as a row `[1, 1, axes]`.
    pub(super) fn row(&self, values: &[f64], like: &Tensor) -> Result<Tensor> {
        Ok(Tensor::from_slice(values, (1, 1, values.len()), like.device())?.to_dtype(like.dtype())?)
    }

    /// Positions of standardised ones, the first axes of `z [b, n, features]`.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn positions(&self, z: &Tensor) -> Result<Tensor> {
        let scaled = z.narrow(2, 0, self.axes())?.broadcast_mul(&self.row(&self.std, z)?)?;
        Ok(scaled.broadcast_add(&self.row(&self.mean, z)?)?)
    }

    /// Standardised positions brought to the images in the box.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn wrap(&self, z: &Tensor) -> Result<Tensor> {
        let Some(side) = self.side else { return Ok(z.clone()) };
        let cells = (self.positions(z)?.detach() / side)?.floor()?;
        let shift = (cells * side)?.broadcast_div(&self.row(&self.std, z)?)?;
        let at = (z.narrow(2, 0, self.axes())? - shift)?;
        let rest = z.dims()[2] - self.axes();
        if rest == 0 {
            return Ok(at);
        }
        Ok(Tensor::cat(&[at, z.narrow(2, self.axes(), rest)?], 2)?)
    }
}

/// Directed edges from every point to its nearest ones.
pub struct Edges {
    /// The points that receive, `[b, n, k]` of type U32.
    pub receivers: Tensor,
    /// Sender less receiver, the nearest image in a box: `[b, n, k, axes]`.
    pub displacements: Tensor,
    /// One for an edge of a real point and zero for one of padding, `[b, n, k, 1]`; `None` where all are real.
    pub weights: Option<Tensor>,
}

/// The difference of positions `[.., axes]` brought to the nearest image in a box of a side.
///
/// # Errors
/// When a tensor operation fails.
pub fn minimum_image(difference: &Tensor, side: f64) -> Result<Tensor> {
    let cells = (difference.detach() / side)?.round()?;
    Ok((difference - (cells * side)?)?)
}

/// The `k` nearest points of each of `positions [b, n, axes]`, itself among them, of which the first `counts` of each
/// example are real; in a box of `side`, of nearest images. Padding is nobody's neighbour.
///
/// The displacements have a gradient, the choice of neighbours has none. As in the reference $10^{-5}$ is added to every
/// displacement, and a point of padding is a sender to the first `k` points; [`Edges::weights`] is for those who would
/// rather not hear it.
///
/// # Source
/// Cuesta-Lazaro & Mishra-Sharma 2023, arXiv:2311.17141 and its release.
///
/// # Errors
/// [`Error::Shape`] where an example has fewer than `k` real points; others when a tensor operation fails.
pub fn nearest_neighbors(
    positions: &Tensor,
    k: usize,
    counts: Option<&[usize]>,
    side: Option<f64>,
) -> Result<Edges> {
    neighbors(positions, k, counts, side, EPS)
}

/// As [`nearest_neighbors`], with what is added to every displacement.
pub(super) fn neighbors(
    positions: &Tensor,
    k: usize,
    counts: Option<&[usize]>,
    side: Option<f64>,
    offset: f64,
) -> Result<Edges> {
    let (b, n, axes) = positions.dims3()?;
    let boundary = side.map_or(Boundary::Open, Boundary::cube);
    let at = positions.detach();
    let fewest = counts.into_iter().flatten().copied().min().unwrap_or(n);
    if fewest < k || counts.is_some_and(|c| c.len() != b || c.iter().any(|&real| real > n)) {
        return Err(Error::Shape {
            operation: "nearest neighbours",
            what: "real points".into(),
            expected: format!("{k} to {n} in each of {b} examples"),
            got: counts.map_or(vec![n], <[usize]>::to_vec),
        });
    }
    let padded = counts.filter(|_| fewest < n);
    let receivers = match padded {
        None => knn(&at, &at, k, &boundary)?.indices,
        Some(counts) => {
            let first = Tensor::arange(0u32, k as u32, at.device())?.reshape((1, 1, k))?;
            let one = |(i, &real): (usize, &usize)| -> Result<Tensor> {
                let own = at.narrow(0, i, 1)?.narrow(1, 0, real)?.contiguous()?;
                let near = knn(&own, &own, k, &boundary)?.indices;
                if real == n {
                    return Ok(near);
                }
                Ok(Tensor::cat(&[near, first.broadcast_as((1, n - real, k))?.contiguous()?], 1)?)
            };
            Tensor::cat(&counts.iter().enumerate().map(one).collect::<Result<Vec<_>>>()?, 0)?
        }
    };
    let there = gather_points(&positions.contiguous()?, &receivers)?;
    let here = positions.unsqueeze(2)?.broadcast_as((b, n, k, axes))?;
    let mut displacements = ((here - there)? + offset)?;
    if let Some(side) = side {
        displacements = minimum_image(&displacements, side)?;
    }
    let weights = padded.map(|counts| edge_weights(counts, (b, n, k), positions)).transpose()?;
    Ok(Edges { receivers, displacements, weights })
}

fn edge_weights(counts: &[usize], (b, n, k): (usize, usize, usize), like: &Tensor) -> Result<Tensor> {
    let values = counts.iter().flat_map(|&real| (0..n * k).map(move |e| f64::from(u8::from(e / k < real))));
    Ok(Tensor::from_iter(values, like.device())?.reshape((b, n, k, 1))?.to_dtype(like.dtype())?)
}

/// The real points of a batch as ones `[b, n]`, the padding as zeros.
pub(super) fn mask(
    counts: Option<&[usize]>,
    b: usize,
    n: usize,
    like: &Tensor,
    dtype: DType,
) -> Result<Tensor> {
    let values = (0..b).flat_map(|i| {
        let real = counts.and_then(|c| c.get(i).copied()).unwrap_or(n);
        (0..n).map(move |j| f64::from(u8::from(j < real)))
    });
    Ok(Tensor::from_iter(values, like.device())?.reshape((b, n))?.to_dtype(dtype)?)
}

/// $\sin(x / 2^j)$, $\cos(x / 2^j)$ for $j < n$, and x itself, side by side along the last axis, which is of length 1.
///
/// # Errors
/// When a tensor operation fails.
pub fn fourier_features(x: &Tensor, n: usize) -> Result<Tensor> {
    let rates: Vec<f64> = (0..n).map(|j| (-(j as f64)).exp2()).collect();
    let rates = Tensor::from_vec(rates, n, x.device())?.to_dtype(x.dtype())?;
    let angles = x.broadcast_mul(&rates)?;
    Ok(Tensor::cat(&[&angles.sin()?, &angles.cos()?, x], D::Minus1)?)
}

/// $\frac{x_i - \bar x}{|x_i - \bar x|} \sqrt{\langle |x - \bar x| \rangle}$ over the rows of `x [.., rows, channels]`.
///
/// # Source
/// The release of Cuesta-Lazaro & Mishra-Sharma 2023, after Zhao & Akoglu 2020, arXiv:1909.12223, whose factor is another.
///
/// # Errors
/// When a tensor operation fails.
pub fn pair_norm(x: &Tensor) -> Result<Tensor> {
    let rows = x.rank().saturating_sub(2);
    let centred = x.broadcast_sub(&x.mean_keepdim(rows)?)?;
    // The length of a row at the mean is zero, where the root has no gradient.
    let length = (centred.sqr()?.sum_keepdim(D::Minus1)? + 1e-12)?.sqrt()?;
    let factor = length.mean_keepdim(rows)?.sqrt()?;
    Ok(centred.broadcast_div(&length)?.broadcast_mul(&factor)?)
}

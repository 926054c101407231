//! What a completion is held against.

use candle_core::Tensor;
use halocast_kernels::{Boundary, ChamferCfg, ChamferNorm, chamfer_loss, gather_points, knn};

use super::Completion;
use crate::{Error, Result};

/// The parts of the loss of a completion; their sum is what training lowers.
pub struct Parts {
    /// Of the coarse cloud.
    pub coarse: Tensor,
    /// Of the fine cloud.
    pub fine: Tensor,
    /// Of the denoised points, with its factor 1/2; in training.
    pub denoised: Option<Tensor>,
    /// Of the features beside the positions, before its weight.
    pub features: Option<Tensor>,
}

/// The loss of a completion against the true cloud `truth [b, n, 3 + features]`, of which the first `counts` points of
/// each example are real:
///
/// $$ L = C(\text{coarse}) + C(\text{fine}) + \tfrac12 C(\text{denoised}), \qquad
/// C(A) = \frac12 \Big( \frac{1}{|A|} \sum_{a \in A} \min_b |a - b| + \frac{1}{|B|} \sum_{b \in B} \min_a |a - b| \Big), $$
///
/// where the denoised points are held against as many nearest true points of each of their centres as a query has points.
/// Features are compared with those of the nearest point, by squares, in both directions.
///
/// # Source
/// Yu et al. 2023, arXiv:2301.04545, eq. 8 to 10 and the release (`get_loss`), which halves the last term.
///
/// # Differences
/// Padding and features.
///
/// # Errors
/// When shapes do not fit, or an example has fewer real points than a query has.
pub fn completion_loss(completion: &Completion, truth: &Tensor, counts: Option<&[usize]>) -> Result<Parts> {
    let Completion { coarse, fine, denoised } = completion;
    let (b, n, numbers) = truth.dims3()?;
    let positions = |x: &Tensor| -> Result<Tensor> { Ok(x.narrow(2, 0, 3)?.contiguous()?) };
    let at = positions(truth)?;
    let chamfer = |a: &Tensor, to: &Tensor, counts: Option<&[usize]>| -> Result<Tensor> {
        let counts = counts.map(|real| [vec![a.dims()[1]; b], real.to_vec()]);
        Ok(chamfer_loss(a, to, &ChamferCfg { norm: ChamferNorm::L1, counts, ..Default::default() })?)
    };
    let fine_at = positions(fine)?;
    let denoised = denoised
        .as_ref()
        .map(|(centers, points)| -> Result<Tensor> {
            let factor = points.dims()[1] / centers.dims()[1];
            let near = nearest(&at, centers, factor, counts)?;
            let target = gather_points(&at, &near)?.reshape((b, points.dims()[1], 3))?;
            Ok((chamfer(&positions(points)?, &target, None)? * 0.5)?)
        })
        .transpose()?;
    let features = (numbers > 3)
        .then(|| -> Result<Tensor> {
            let beside = |x: &Tensor| x.narrow(2, 3, numbers - 3)?.contiguous();
            let (ours, theirs) = (beside(fine)?, beside(truth)?);
            let here = gather_points(&theirs, &nearest(&at, &fine_at, 1, counts)?.squeeze(2)?)?;
            let mean = (&ours - here)?.sqr()?.mean_all()?;
            let there = gather_points(&ours, &knn(&fine_at, &at, 1, &Boundary::Open)?.indices.squeeze(2)?)?;
            let squares = (there - &theirs)?.sqr()?.mean(2)?;
            let back = (squares * weights(n, counts, truth)?)?.sum_all()?;
            Ok(((mean + back)? * 0.5)?)
        })
        .transpose()?;
    Ok(Parts {
        coarse: chamfer(coarse, &at, counts)?,
        fine: chamfer(&fine_at, &at, counts)?,
        denoised,
        features,
    })
}

/// What each true point counts in a mean over its cloud and then over examples, `[b, n]`.
fn weights(n: usize, counts: Option<&[usize]>, like: &Tensor) -> Result<Tensor> {
    let b = like.dims()[0];
    let of = |example: usize| counts.and_then(|c| c.get(example).copied()).unwrap_or(n).min(n);
    let row = |example: usize| {
        let real = of(example);
        (0..n).map(move |i| if i < real { 1.0 / (real * b) as f64 } else { 0.0 })
    };
    let values: Vec<f64> = (0..b).flat_map(row).collect();
    Ok(Tensor::from_vec(values, (b, n), like.device())?.to_dtype(like.dtype())?)
}

/// The `k` nearest real points to each query, `[b, m, k]`.
fn nearest(points: &Tensor, queries: &Tensor, k: usize, counts: Option<&[usize]>) -> Result<Tensor> {
    let Some(counts) = counts else { return Ok(knn(points, queries, k, &Boundary::Open)?.indices) };
    let example = |(i, &real): (usize, &usize)| -> Result<Tensor> {
        if real < k {
            return Err(Error::Shape {
                operation: "AdaPoinTr loss",
                what: "true cloud".into(),
                expected: format!("at least {k} real points"),
                got: vec![real],
            });
        }
        let of = |x: &Tensor, len: usize| x.narrow(0, i, 1)?.narrow(1, 0, len)?.contiguous();
        Ok(knn(&of(points, real)?, &of(queries, queries.dims()[1])?, k, &Boundary::Open)?.indices)
    };
    Ok(Tensor::cat(&counts.iter().enumerate().map(example).collect::<Result<Vec<_>>>()?, 0)?)
}

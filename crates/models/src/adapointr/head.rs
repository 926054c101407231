//! From a query to points around its centre.

use candle_core::{D, Tensor};
use candle_nn::VarBuilder;
use halocast_kernels::nn::{BatchNorm, Conv1d, Linear};
use halocast_kernels::{ConvSpec, EdgeLayout, gelu, max_over_neighbors, relu};

use crate::{Error, Result};

/// The largest of each channel over the points, `[b, n, c] -> [b, 1, c]`.
pub(super) fn largest(x: &Tensor) -> Result<Tensor> {
    Ok(max_over_neighbors(&x.unsqueeze(1)?, EdgeLayout::PointsFirst)?)
}

/// The fully connected head: a perceptron on $[\max_j q_j, q_i]$ gives the points of query i, relative to its centre.
///
/// # Source
/// Yu et al. 2023 (AdaPoinTr), arXiv:2301.04545; the names are of the release (`SimpleRebuildFCLayer`).
///
/// # Differences
/// A point may have features beside its position.
pub struct FcHead {
    fc1: Linear,
    fc2: Linear,
    each: usize,
}

impl FcHead {
    /// A head for queries of `dim` channels that gives `step` points of `each` numbers.
    ///
    /// # Errors
    /// When the builder has no such parameters.
    pub fn new(dim: usize, step: usize, each: usize, hidden: usize, vb: VarBuilder) -> Result<Self> {
        let vb = vb.pp("layer");
        let fc1 = Linear::new(2 * dim, hidden, vb.pp("fc1"))?;
        Ok(Self { fc1, fc2: Linear::new(hidden, step * each, vb.pp("fc2"))?, each })
    }

    /// `[b, m, dim] -> [b, m, step, each]`.
    ///
    /// # Errors
    /// When the shape does not fit.
    pub fn forward(&self, queries: &Tensor) -> Result<Tensor> {
        let all = largest(queries)?.broadcast_as(queries.shape())?.contiguous()?;
        let h = gelu(&self.fc1.forward(&Tensor::cat(&[&all, queries], D::Minus1)?)?)?;
        let out = self.fc2.forward(&h)?;
        let (b, m, numbers) = out.dims3()?;
        Ok(out.reshape((b, m, numbers / self.each, self.each))?)
    }
}

/// The folding head: a grid of `step` x `step` points over $[-1, 1]^2$, with the query's feature beside every point, goes
/// through a perceptron of points to 3-D, and that, again with the feature, through another.
///
/// # Source
/// Yang et al. 2018 (FoldingNet), arXiv:1712.07262; the names are of PoinTr's release (`Fold`).
///
/// # Differences
/// A point may have features beside its position.
pub struct FoldHead {
    folds: [Fold; 2],
    step: usize,
}

impl FoldHead {
    /// A head for queries of `dim` channels that gives `step`^2 points of `each` numbers.
    ///
    /// # Errors
    /// When the builder has no such parameters, or `step` is below 2.
    pub fn new(dim: usize, step: usize, each: usize, hidden: usize, vb: VarBuilder) -> Result<Self> {
        if step < 2 || hidden < 2 {
            return Err(Error::Config {
                model: "AdaPoinTr",
                field: "step and hidden width of the fold".into(),
                expected: "at least 2".into(),
                got: format!("{step} and {hidden}"),
            });
        }
        let first = Fold::new([dim + 2, hidden, hidden / 2, 3], vb.pp("folding1"))?;
        let second = Fold::new([dim + 3, hidden, hidden / 2, each], vb.pp("folding2"))?;
        Ok(Self { folds: [first, second], step })
    }

    /// The grid, `[2, step^2]`: the first row runs fastest.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn grid(&self, like: &Tensor) -> Result<Tensor> {
        let along = |i: usize| -1.0 + 2.0 * i as f64 / (self.step - 1) as f64;
        let points = self.step * self.step;
        let fast = (0..points).map(|i| along(i % self.step));
        let values: Vec<f64> = fast.chain((0..points).map(|i| along(i / self.step))).collect();
        Ok(Tensor::from_vec(values, (2, points), like.device())?.to_dtype(like.dtype())?)
    }

    /// `[rows, dim] -> [rows, each, step^2]`.
    ///
    /// # Errors
    /// When the shape does not fit.
    pub fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let (rows, dim) = x.dims2()?;
        let grid = self.grid(x)?;
        let points = grid.dims()[1];
        let grid = grid.unsqueeze(0)?.broadcast_as((rows, 2, points))?.contiguous()?;
        let feature = x.unsqueeze(2)?.broadcast_as((rows, dim, points))?.contiguous()?;
        let once = self.folds[0].forward(&Tensor::cat(&[&grid, &feature], 1)?, train)?;
        self.folds[1].forward(&Tensor::cat(&[&once, &feature], 1)?, train)
    }
}

struct Fold {
    layers: [Conv1d; 3],
    norms: [BatchNorm; 2],
}

impl Fold {
    fn new(widths: [usize; 4], vb: VarBuilder) -> Result<Self> {
        let layer = |i: usize| Conv1d::new(widths[i], widths[i + 1], 1, ConvSpec::default(), vb.pp(3 * i));
        let norm = |i: usize| BatchNorm::new(widths[i + 1], 1e-5, 0.1, vb.pp(3 * i + 1));
        Ok(Self { layers: [layer(0)?, layer(1)?, layer(2)?], norms: [norm(0)?, norm(1)?] })
    }

    fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let [first, second, last] = &self.layers;
        let x = relu(&self.norms[0].forward(&first.forward(x)?, train)?)?;
        let x = relu(&self.norms[1].forward(&second.forward(&x)?, train)?)?;
        Ok(last.forward(&x)?)
    }
}

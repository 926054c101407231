//! The network itself: points one by one, then the largest of each channel.

use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;
use halocast_kernels::nn::{BatchNorm, Conv1d, Linear};
use halocast_kernels::{Activation, ConvSpec, EdgeLayout, max_over_neighbors};

use super::PointNetConfig;
use crate::network::Context;
use crate::{Error, Result};

/// A layer of each point by itself, and its normalisation.
struct PointLayer {
    conv: Conv1d,
    norm: BatchNorm,
}

impl PointLayer {
    fn new(from: usize, to: usize, i: usize, activation: Activation, vb: &VarBuilder) -> Result<Self> {
        Ok(Self {
            conv: Conv1d::new(from, to, 1, ConvSpec::default(), vb.pp(format!("conv{i}")))?,
            norm: batch_norm(to, i, activation, vb)?,
        })
    }

    fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        Ok(self.norm.forward(&self.conv.forward(x)?, train)?)
    }
}

fn batch_norm(channels: usize, i: usize, activation: Activation, vb: &VarBuilder) -> Result<BatchNorm> {
    Ok(BatchNorm::new(channels, 1e-5, 0.1, vb.pp(format!("bn{i}")))?.with_activation(activation))
}

/// The largest of each channel over the points, `[b, c, n] -> [b, c]`.
fn largest(x: &Tensor) -> Result<Tensor> {
    Ok(max_over_neighbors(&x.unsqueeze(2)?, EdgeLayout::ChannelsFirst)?.squeeze(2)?)
}

/// A small network that finds a matrix by which a cloud, or its features, are to be turned: the identity and a correction.
///
/// # Source
/// Qi et al. 2017, arXiv:1612.00593, section 4.2 (T-Net).
pub struct Transform {
    points: [PointLayer; 3],
    fc: [Linear; 3],
    norms: [BatchNorm; 2],
    size: usize,
}

impl Transform {
    fn new(size: usize, config: &PointNetConfig, vb: VarBuilder) -> Result<Self> {
        let ([a, b, c], [d, e]) = (config.widths, config.head);
        let point = |from, to, i| PointLayer::new(from, to, i, Activation::Relu, &vb);
        let linear = |from, to, i: usize| Linear::new(from, to, vb.pp(format!("fc{i}")));
        Ok(Self {
            points: [point(size, a, 1)?, point(a, b, 2)?, point(b, c, 3)?],
            fc: [linear(c, d, 1)?, linear(d, e, 2)?, linear(e, size * size, 3)?],
            norms: [batch_norm(d, 4, Activation::Relu, &vb)?, batch_norm(e, 5, Activation::Relu, &vb)?],
            size,
        })
    }

    /// The matrices `[b, size, size]` for clouds `[b, size, n]`.
    ///
    /// # Errors
    /// When the shape does not fit.
    pub fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let mut h = x.clone();
        for layer in &self.points {
            h = layer.forward(&h, train)?;
        }
        h = largest(&h)?;
        for (linear, norm) in self.fc.iter().zip(&self.norms) {
            h = norm.forward(&linear.forward(&h)?, train)?;
        }
        let h = self.fc[2].forward(&h)?;
        let identity = Tensor::eye(self.size, DType::F32, x.device())?.to_dtype(x.dtype())?;
        let matrices = h.reshape((x.dims()[0], self.size, self.size))?;
        Ok(matrices.broadcast_add(&identity)?)
    }
}

/// What a cloud is as a whole: the largest, over its points, of each of many functions of a point.
///
/// # Source
/// Qi et al. 2017, arXiv:1612.00593, equation 1 and figure 2, with the names of `fxia22/pointnet.pytorch`.
///
/// # Differences
/// Numbers of a point beyond the three coordinates pass by the first transform.
pub struct PointFeatures {
    turn: Transform,
    first: PointLayer,
    feature_turn: Option<Transform>,
    second: PointLayer,
    third: PointLayer,
}

impl PointFeatures {
    pub(super) fn new(config: &PointNetConfig, vb: VarBuilder) -> Result<Self> {
        let [a, b, c] = config.widths;
        let point = |from, to, i, activation| PointLayer::new(from, to, i, activation, &vb);
        let feature_turn = || Transform::new(a, config, vb.pp("fstn"));
        Ok(Self {
            turn: Transform::new(3, config, vb.pp("stn"))?,
            first: point(config.features, a, 1, Activation::Relu)?,
            feature_turn: config.feature_transform.then(feature_turn).transpose()?,
            second: point(a, b, 2, Activation::Relu)?,
            third: point(b, c, 3, Activation::None)?,
        })
    }

    /// Of clouds `[b, features, n]`: the features of the whole `[b, c]`, the matrices by which coordinates were turned
    /// `[b, 3, 3]`, and those of the features, if there are any.
    ///
    /// # Errors
    /// When the shape does not fit.
    pub fn forward(&self, x: &Tensor, train: bool) -> Result<(Tensor, Tensor, Option<Tensor>)> {
        let features = x.dims().get(1).copied().unwrap_or(0);
        if x.rank() != 3 || features < 3 || x.elem_count() == 0 {
            return Err(Error::Shape {
                operation: "PointNet",
                what: "clouds".into(),
                expected: "[batch, at least 3, points]".into(),
                got: x.dims().to_vec(),
            });
        }
        let coordinates = x.narrow(1, 0, 3)?.contiguous()?;
        let turn = self.turn.forward(&coordinates, train)?;
        let mut h = turned(&coordinates, &turn)?;
        if features > 3 {
            h = Tensor::cat(&[&h, &x.narrow(1, 3, features - 3)?], 1)?;
        }
        h = self.first.forward(&h, train)?;
        let feature_turn = self.feature_turn.as_ref().map(|t| t.forward(&h, train)).transpose()?;
        if let Some(matrix) = &feature_turn {
            h = turned(&h, matrix)?;
        }
        let h = self.third.forward(&self.second.forward(&h, train)?, train)?;
        Ok((largest(&h)?, turn, feature_turn))
    }
}

/// The rows x of each point as x A: `[b, c, n]` and `[b, c, c]`.
fn turned(x: &Tensor, matrix: &Tensor) -> Result<Tensor> {
    Ok(matrix.transpose(1, 2)?.contiguous()?.matmul(&x.contiguous()?)?)
}

/// From the features of a cloud to the numbers asked for.
pub struct Head {
    fc: [Linear; 3],
    norms: [BatchNorm; 2],
    dropout: f64,
}

impl Head {
    pub(super) fn new(config: &PointNetConfig, vb: VarBuilder) -> Result<Self> {
        let (c, [d, e]) = (config.widths[2], config.head);
        let linear = |from, to, i: usize| Linear::new(from, to, vb.pp(format!("fc{i}")));
        Ok(Self {
            fc: [linear(c, d, 1)?, linear(d, e, 2)?, linear(e, config.outputs, 3)?],
            norms: [batch_norm(d, 1, Activation::Relu, &vb)?, batch_norm(e, 2, Activation::Relu, &vb)?],
            dropout: config.dropout,
        })
    }

    /// `[b, c] -> [b, outputs]`; the context holds the masks of dropout.
    ///
    /// # Errors
    /// When the shape does not fit.
    pub fn forward(&self, x: &Tensor, train: bool, context: &Context<'_>) -> Result<Tensor> {
        let h = self.norms[0].forward(&self.fc[0].forward(x)?, train)?;
        let h = context.drop(&self.fc[1].forward(&h)?, self.dropout)?;
        Ok(self.fc[2].forward(&self.norms[1].forward(&h, train)?)?)
    }
}

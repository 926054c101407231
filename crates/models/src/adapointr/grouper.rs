//! From a cloud to tokens: the dynamic graph network, and the small PointNet on neighbourhoods.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use halocast_kernels::nn::{BatchNorm, Conv1d, Conv2d, GroupNorm};
use halocast_kernels::{
    Activation, Boundary, ConvSpec, EdgeLayout, SampleCfg, edge_features, farthest_points, gather_points,
    knn, max_over_neighbors, relu,
};

use super::EncoderKind;
use crate::Result;

/// Neighbours in the PointNet of [`EncoderKind::Pn`].
const GROUP: usize = 32;

/// The grouper of PoinTr: centres of a cloud with a feature each.
///
/// [`EncoderKind::Graph`]: edge convolutions $\max_j \mathrm{LeakyReLU}_{0.2}(\mathrm{GN}_4(W [f_j - f_i, f_i]))$ over the
/// `k` nearest points, on all points, to a sample of them, on the sample, to a sample of that. [`EncoderKind::Pn`]: a
/// PointNet on the 32 nearest points of each centre, relative to it.
///
/// # Source
/// Yu et al. 2021 (PoinTr), arXiv:2108.08839; Wang et al. 2019 (DGCNN), arXiv:1801.07829; the names are of the release.
///
/// # Differences
/// A point may have features beside its position; all enter the first layer.
pub struct Grouper {
    net: Net,
    sampling: SampleCfg,
    features: usize,
}

enum Net {
    Graph { input: Conv1d, layers: Box<[(Conv2d, GroupNorm); 4]>, k: usize },
    Pn(Box<Embedding>),
}

struct Embedding {
    first: (Conv1d, BatchNorm, Conv1d),
    second: (Conv1d, BatchNorm, Conv1d),
}

impl Grouper {
    /// Channels of a token of either kind.
    pub fn channels(kind: EncoderKind) -> usize {
        match kind {
            EncoderKind::Graph => 128,
            EncoderKind::Pn => 512,
        }
    }

    /// A grouper of points of `features` numbers beside the position; `k` neighbours, 16 in the paper. Sampling passes
    /// over points within `skip_within` (squared) of the origin.
    ///
    /// # Errors
    /// When the builder has no such parameters.
    pub fn new(
        kind: EncoderKind,
        features: usize,
        k: usize,
        skip_within: Option<f64>,
        vb: VarBuilder,
    ) -> Result<Self> {
        let sampling = SampleCfg { skip_within, ..Default::default() };
        let spec = ConvSpec::default();
        let net = match kind {
            EncoderKind::Graph => {
                let layer = |name: &str, inputs: usize, outputs: usize| -> Result<(Conv2d, GroupNorm)> {
                    let vb = vb.pp(name);
                    let norm = GroupNorm::new(4, outputs, 1e-5, vb.pp(1))?;
                    let conv = Conv2d::new_no_bias(inputs, outputs, 1, spec, vb.pp(0))?;
                    Ok((conv, norm.with_activation(Activation::LeakyRelu(0.2))))
                };
                Net::Graph {
                    input: Conv1d::new(3 + features, 8, 1, spec, vb.pp("input_trans"))?,
                    layers: Box::new([
                        layer("layer1", 16, 32)?,
                        layer("layer2", 64, 64)?,
                        layer("layer3", 128, 64)?,
                        layer("layer4", 128, 128)?,
                    ]),
                    k,
                }
            }
            EncoderKind::Pn => {
                let part = |name: &str, inputs: usize, hidden: usize, outputs: usize| -> Result<_> {
                    let vb = vb.pp("embedding").pp(name);
                    Ok((
                        Conv1d::new(inputs, hidden, 1, spec, vb.pp(0))?,
                        BatchNorm::new(hidden, 1e-5, 0.1, vb.pp(1))?,
                        Conv1d::new(hidden, outputs, 1, spec, vb.pp(3))?,
                    ))
                };
                let first = part("first_conv", 3 + features, 128, 256)?;
                let second = part("second_conv", 512, 512, Self::channels(kind))?;
                Net::Pn(Box::new(Embedding { first, second }))
            }
        };
        Ok(Self { net, sampling, features })
    }

    /// The centres `[b, centers[1], 3]` and features `[b, centers[1], channels]` of `cloud [b, n, 3 + features]`.
    ///
    /// # Errors
    /// When the cloud has another number of features or too few points.
    pub fn forward(&self, cloud: &Tensor, centers: [usize; 2], train: bool) -> Result<(Tensor, Tensor)> {
        let at = cloud.narrow(2, 0, 3)?.contiguous()?;
        let (net, k) = match &self.net {
            Net::Pn(embedding) => {
                let centre = gather_points(&at, &farthest_points(&at, centers[1], &self.sampling)?)?;
                let near = knn(&at, &centre, GROUP, &Boundary::Open)?.indices;
                let origin = match self.features {
                    0 => centre.clone(),
                    n => centre.pad_with_zeros(2, 0, n)?,
                };
                let groups = gather_points(cloud, &near)?.broadcast_sub(&origin.unsqueeze(2)?)?;
                return Ok((centre, embedding.forward(&groups, train)?));
            }
            Net::Graph { input, layers, k } => ((input, layers.as_ref()), *k),
        };
        let (input, [first, second, third, fourth]) = net;
        let edge = |from: &Tensor, f: &Tensor, to: &Tensor, g: &Tensor, layer: &(Conv2d, GroupNorm)| {
            let near = knn(from, to, k, &Boundary::Open)?.indices;
            let edges = edge_features(g, f, &near, EdgeLayout::ChannelsFirst)?;
            let y = layer.1.forward(&layer.0.forward(&edges)?)?;
            Ok::<_, crate::Error>(
                max_over_neighbors(&y, EdgeLayout::ChannelsFirst)?.transpose(1, 2)?.contiguous()?,
            )
        };
        let sample = |at: &Tensor, f: &Tensor, m: usize| -> Result<(Tensor, Tensor)> {
            let chosen = farthest_points(at, m, &self.sampling)?;
            Ok((gather_points(at, &chosen)?, gather_points(f, &chosen)?))
        };
        let f = input.forward(&cloud.transpose(1, 2)?.contiguous()?)?.transpose(1, 2)?.contiguous()?;
        let f = edge(&at, &f, &at, &f, first)?;
        let (to, g) = sample(&at, &f, centers[0])?;
        let f = edge(&at, &f, &to, &g, second)?;
        let at = to;
        let f = edge(&at, &f, &at, &f, third)?;
        let (to, g) = sample(&at, &f, centers[1])?;
        let f = edge(&at, &f, &to, &g, fourth)?;
        Ok((to, f))
    }
}

impl Embedding {
    /// `[b, groups, points, c]` -> `[b, groups, channels]`.
    fn forward(&self, groups: &Tensor, train: bool) -> Result<Tensor> {
        let (b, g, n, c) = groups.dims4()?;
        let part = |(a, norm, z): &(Conv1d, BatchNorm, Conv1d), x: &Tensor| -> Result<Tensor> {
            Ok(z.forward(&relu(&norm.forward(&a.forward(x)?, train)?)?)?)
        };
        let most = |x: &Tensor| -> Result<Tensor> {
            let (rows, channels, n) = x.dims3()?;
            let flat = x.reshape((rows, channels, 1, n))?;
            Ok(max_over_neighbors(&flat, EdgeLayout::ChannelsFirst)?)
        };
        let x = groups.reshape((b * g, n, c))?.transpose(1, 2)?.contiguous()?;
        let f = part(&self.first, &x)?;
        let all = most(&f)?.broadcast_as(f.shape())?.contiguous()?;
        let f = part(&self.second, &Tensor::cat(&[all, f], 1)?)?;
        let most = most(&f)?;
        let channels = most.dims()[1];
        Ok(most.reshape((b, g, channels))?)
    }
}

//! The network: grouper, encoder, query generator, decoder, head.

use candle_core::{D, Tensor};
use candle_nn::VarBuilder;
use halocast_kernels::nn::{BatchNorm, Conv1d, Linear};
use halocast_kernels::{ConvSpec, SampleCfg, add, farthest_points, gather_points, leaky_relu, sigmoid};

use super::blocks::{Decoder, Encoder};
use super::head::largest;
use super::layers::{Perceptron, dense};
use super::{AdaPoinTrConfig, FcHead, FoldHead, Grouper, HeadKind};
use crate::{Error, Result};

/// Points on a side of the grid of the folding head, and its hidden width.
const FOLD: (usize, usize) = (8, 256);
/// Neighbours in the grouper.
const NEIGHBORS: usize = 16;

/// What the encoder makes of a cloud.
pub struct Encoded {
    /// The centres of the tokens, `[b, m, 3]`.
    pub centers: Tensor,
    /// Their features out of the grouper, `[b, m, channels]`.
    pub grouped: Tensor,
    /// The tokens, `[b, m, dim]`.
    pub tokens: Tensor,
    /// The feature of the whole cloud, `[b, global]`.
    pub global: Tensor,
}

/// What the query generator makes of it.
pub struct Queries {
    /// The candidates: the coarse cloud and a sample of the input, `[b, num_query + num_query / 2, 3]`.
    pub candidates: Tensor,
    /// Their scores, `[b, num_query + num_query / 2, 1]`.
    pub ranking: Tensor,
    /// The centres of the queries, by falling score, then of those to denoise: `[b, n, 3]`.
    pub centers: Tensor,
    /// The queries, `[b, n, dim]`.
    pub features: Tensor,
    /// How many at the end are to be denoised.
    pub denoise: usize,
}

/// The clouds out.
pub struct Completion {
    /// The centres of the queries, `[b, num_query, 3]`.
    pub coarse: Tensor,
    /// The points around them, `[b, num_points, 3 + features]`.
    pub fine: Tensor,
    /// The same of the queries to denoise, in training.
    pub denoised: Option<(Tensor, Tensor)>,
}

enum Head {
    Fc(FcHead),
    Fold(Box<FoldHead>),
}

/// The network of AdaPoinTr.
///
/// A [`Grouper`] turns a cloud into tokens at centres; a transformer whose blocks also see the geometry encodes them; the
/// maximum of the tokens gives a coarse cloud. Of that and of a sample of the input the points of highest score become
/// queries, a second transformer decodes them against the tokens, and a head turns each into points around its centre.
///
/// # Source
/// Yu et al. 2023 (AdaPoinTr), arXiv:2301.04545, section 3; the names of the parameters are of the release.
///
/// # Differences
/// Features beside the positions; a ranking with a gradient ([`AdaPoinTrConfig::ranking_gradient`]): the features of a
/// query are multiplied with its score, as in the pooling of Gao & Ji 2019, arXiv:1905.05178, eq. 2.
pub struct Network {
    config: AdaPoinTrConfig,
    grouper: Grouper,
    pos_embed: Perceptron,
    input_proj: Perceptron,
    encoder: Encoder,
    increase_dim: Perceptron,
    coarse_pred: Perceptron,
    mlp_query: Perceptron,
    mem_link: Option<Linear>,
    decoder: Decoder,
    query_ranking: Perceptron,
    of_all: (Conv1d, BatchNorm, Conv1d),
    reduce_map: Linear,
    head: Head,
}

impl Network {
    /// A network of a configuration.
    ///
    /// # Errors
    /// [`Error::Config`] when it is not usable; others when the builder has no such parameters.
    pub fn new(config: &AdaPoinTrConfig, vb: VarBuilder) -> Result<Self> {
        config.validate()?;
        let base = vb.pp("base_model");
        let (encoder, decoder) = (&config.encoder_config, &config.decoder_config);
        let (hidden, global, dim) = (config.hidden_dim, config.global_feature_dim, decoder.embed_dim);
        let (kind, each) = (config.encoder_type, 3 + config.features_out);
        let (spec, std) = (ConvSpec::default(), config.init_std);
        let perceptron = |name: &str, widths: &[usize]| Perceptron::new(widths, std, base.pp(name));
        let grouper = base.pp("grouper");
        let head = match config.decoder_type {
            HeadKind::Fc => Head::Fc(FcHead::new(dim, config.factor(), each, 512, vb.pp("decode_head"))?),
            HeadKind::Fold => {
                Head::Fold(Box::new(FoldHead::new(dim, FOLD.0, each, FOLD.1, vb.pp("decode_head"))?))
            }
        };
        Ok(Self {
            config: config.clone(),
            grouper: Grouper::new(kind, config.features_in, NEIGHBORS, config.skip_within, grouper)?,
            pos_embed: perceptron("pos_embed", &[3, 128, encoder.embed_dim])?,
            input_proj: perceptron("input_proj", &[Grouper::channels(kind), 512, encoder.embed_dim])?,
            encoder: Encoder::new(encoder, std, base.pp("encoder"))?,
            increase_dim: perceptron("increase_dim", &[encoder.embed_dim, hidden, global])?,
            coarse_pred: perceptron("coarse_pred", &[global, hidden, 3 * config.num_query])?,
            mlp_query: perceptron("mlp_query", &[global + 3, hidden, hidden, dim])?,
            mem_link: (encoder.embed_dim != dim)
                .then(|| dense(encoder.embed_dim, dim, true, std, base.pp("mem_link")))
                .transpose()?,
            decoder: Decoder::new(decoder, std, base.pp("decoder"))?,
            query_ranking: perceptron("query_ranking", &[3, 256, 256, 1])?,
            of_all: (
                Conv1d::new(dim, hidden, 1, spec, vb.pp("increase_dim.0"))?,
                BatchNorm::new(hidden, 1e-5, 0.1, vb.pp("increase_dim.1"))?,
                Conv1d::new(hidden, hidden, 1, spec, vb.pp("increase_dim.3"))?,
            ),
            // As a linear layer of PyTorch begins: this one is not of the base model.
            reduce_map: Linear::new(dim + hidden + 3, dim, vb.pp("reduce_map"))?,
            head,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &AdaPoinTrConfig {
        &self.config
    }

    /// Tokens of `cloud [b, n, 3 + features_in]`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the cloud has another number of features or too few points.
    pub fn encode(&self, cloud: &Tensor, train: bool) -> Result<Encoded> {
        let features = 3 + self.config.features_in;
        if cloud.rank() != 3 || cloud.dims()[2] != features || cloud.elem_count() == 0 {
            return Err(Error::Shape {
                operation: "AdaPoinTr",
                what: "cloud".into(),
                expected: format!("[batch, points, {features}]"),
                got: cloud.dims().to_vec(),
            });
        }
        let (centers, grouped) = self.grouper.forward(cloud, self.config.center_num, train)?;
        let x = add(&self.input_proj.forward(&grouped)?, &self.pos_embed.forward(&centers)?)?;
        let tokens = self.encoder.forward(&x, &centers)?;
        let global = largest(&self.increase_dim.forward(&tokens)?)?.squeeze(1)?;
        Ok(Encoded { centers, grouped, tokens, global })
    }

    /// The queries of an encoded cloud; in training, behind them those to denoise, whose centres are a sample of the cloud
    /// moved by `jitter [b, denoise, 3]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn queries(&self, encoded: &Encoded, cloud: &Tensor, jitter: Option<&Tensor>) -> Result<Queries> {
        let at = cloud.narrow(2, 0, 3)?.contiguous()?;
        let b = at.dims()[0];
        let n = self.config.num_query;
        let cfg = SampleCfg { skip_within: self.config.skip_within, ..Default::default() };
        let sample =
            |m: usize| -> Result<Tensor> { Ok(gather_points(&at, &farthest_points(&at, m, &cfg)?)?) };
        let coarse = self.coarse_pred.forward(&encoded.global)?.reshape((b, n, 3))?;
        let candidates = Tensor::cat(&[coarse, sample(n / 2)?], 1)?;
        let ranking = sigmoid(&self.query_ranking.forward(&candidates)?)?;
        let best = best(&ranking, n)?;
        let mut centers = gather_points(&candidates, &best)?;
        let denoise = jitter.map_or(0, |jitter| jitter.dims().get(1).copied().unwrap_or(0));
        if let Some(jitter) = jitter {
            centers = Tensor::cat(&[centers, add(&sample(denoise)?, jitter)?], 1)?;
        }
        let total = n + denoise;
        let width = encoded.global.dims()[1];
        let global = encoded.global.unsqueeze(1)?.broadcast_as((b, total, width))?.contiguous()?;
        let mut features = self.mlp_query.forward(&Tensor::cat(&[&global, &centers], 2)?)?;
        if self.config.ranking_gradient {
            let mut scores = gather_points(&ranking, &best)?;
            if denoise > 0 {
                let ones = Tensor::ones((b, denoise, 1), scores.dtype(), scores.device())?;
                scores = Tensor::cat(&[scores, ones], 1)?;
            }
            features = features.broadcast_mul(&scores)?;
        }
        Ok(Queries { candidates, ranking, centers, features, denoise })
    }

    /// The queries after the decoder, `[b, n, dim]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn decode(&self, encoded: &Encoded, queries: &Queries) -> Result<Tensor> {
        let memory = match &self.mem_link {
            Some(link) => link.forward(&encoded.tokens)?,
            None => encoded.tokens.clone(),
        };
        let Queries { features, centers, denoise, .. } = queries;
        self.decoder.forward(features, centers, &memory, &encoded.centers, *denoise)
    }

    /// The clouds of decoded queries.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn rebuild(&self, queries: &Queries, decoded: &Tensor, train: bool) -> Result<Completion> {
        let (b, m, dim) = decoded.dims3()?;
        let (first, norm, second) = &self.of_all;
        let channels_first = decoded.transpose(1, 2)?.contiguous()?;
        let h = leaky_relu(&norm.forward(&first.forward(&channels_first)?, train)?, 0.2)?;
        let all = largest(&second.forward(&h)?.transpose(1, 2)?.contiguous()?)?;
        let width = all.dims()[2];
        let all = all.broadcast_as((b, m, width))?.contiguous()?;
        let feature =
            self.reduce_map.forward(&Tensor::cat(&[&all, decoded, &queries.centers], D::Minus1)?)?;
        let points = match &self.head {
            Head::Fc(head) => head.forward(&feature)?,
            Head::Fold(head) => {
                let out = head.forward(&feature.reshape((b * m, dim))?, train)?;
                let (_, each, step) = out.dims3()?;
                out.transpose(1, 2)?.contiguous()?.reshape((b, m, step, each))?
            }
        };
        let origin = match self.config.features_out {
            0 => queries.centers.clone(),
            n => queries.centers.pad_with_zeros(2, 0, n)?,
        };
        let points = points.broadcast_add(&origin.unsqueeze(2)?)?;
        let (_, _, step, each) = points.dims4()?;
        let part = |from: usize, len: usize| -> Result<(Tensor, Tensor)> {
            let fine = points.narrow(1, from, len)?.contiguous()?.reshape((b, len * step, each))?;
            Ok((queries.centers.narrow(1, from, len)?.contiguous()?, fine))
        };
        let n = m - queries.denoise;
        let (coarse, fine) = part(0, n)?;
        let denoised = (queries.denoise > 0).then(|| part(n, queries.denoise)).transpose()?;
        Ok(Completion { coarse, fine, denoised })
    }

    /// The completion of `cloud [b, n, 3 + features_in]`: by statistics of the batch and with queries to denoise where
    /// their `jitter [b, denoise, 3]` is given, else by the running statistics and without.
    ///
    /// # Errors
    /// As [`Network::encode`].
    pub fn forward(&self, cloud: &Tensor, jitter: Option<&Tensor>) -> Result<Completion> {
        let train = jitter.is_some();
        let encoded = self.encode(cloud, train)?;
        let queries = self.queries(&encoded, cloud, jitter)?;
        self.rebuild(&queries, &self.decode(&encoded, &queries)?, train)
    }
}

/// The indices of the `n` highest scores `[b, m, 1]` of each example, by falling score.
fn best(ranking: &Tensor, n: usize) -> Result<Tensor> {
    let scores = ranking.squeeze(2)?.to_dtype(candle_core::DType::F64)?.to_vec2::<f64>()?;
    let mut chosen: Vec<u32> = Vec::with_capacity(scores.len() * n);
    for row in &scores {
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
        chosen.extend(order.into_iter().take(n).map(|i| i as u32));
    }
    Ok(Tensor::from_vec(chosen, (scores.len(), n), ranking.device())?)
}

//! The shape of an AdaPoinTr.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

const MODEL: &str = "AdaPoinTr";

/// What a transformer block mixes points with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Block {
    /// Attention over all points.
    #[default]
    Attn,
    /// An edge convolution over the nearest points.
    Graph,
    /// Both.
    #[serde(alias = "graph-attn")]
    AttnGraph,
}

/// How a block of both kinds joins them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Combine {
    /// Side by side, joined by a linear layer.
    #[default]
    Concat,
    /// One after the other, each with its own normalisation and residual.
    OneByOne,
}

/// How the cloud is turned into tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EncoderKind {
    /// A dynamic graph network (DGCNN) with two steps of farthest-point sampling.
    #[default]
    Graph,
    /// A small PointNet on the neighbours of sampled centres.
    Pn,
}

/// How a query becomes points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadKind {
    /// A perceptron on the query and the maximum of all.
    #[default]
    Fc,
    /// Two folds of an 8x8 grid (FoldingNet).
    Fold,
}

/// The encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EncoderConfig {
    /// Channels of a token.
    pub embed_dim: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// Neighbours of the edge convolutions.
    pub k: usize,
    /// Width of the perceptrons relative to the tokens.
    pub mlp_ratio: f64,
    /// Whether queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// First value of a learned factor on every residual; none in the paper.
    pub init_values: Option<f64>,
    /// The blocks, one entry each.
    pub block_style_list: Vec<Block>,
    /// How a block of both kinds joins them.
    pub combine_style: Combine,
}

impl Default for EncoderConfig {
    fn default() -> Self {
        Self {
            embed_dim: 384,
            num_heads: 6,
            k: 8,
            mlp_ratio: 2.0,
            qkv_bias: true,
            init_values: None,
            block_style_list: first_with_graph(6),
            combine_style: Combine::Concat,
        }
    }
}

/// The decoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecoderConfig {
    /// Channels of a query.
    pub embed_dim: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// Neighbours of the edge convolutions.
    pub k: usize,
    /// Width of the perceptrons relative to the queries.
    pub mlp_ratio: f64,
    /// Whether queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// First value of a learned factor on every residual; none in the paper.
    pub init_values: Option<f64>,
    /// How each block mixes the queries.
    pub self_attn_block_style_list: Vec<Block>,
    /// How a block of both kinds joins them.
    pub self_attn_combine_style: Combine,
    /// How each block sees the tokens.
    pub cross_attn_block_style_list: Vec<Block>,
    /// How a block of both kinds joins them.
    pub cross_attn_combine_style: Combine,
}

impl Default for DecoderConfig {
    fn default() -> Self {
        Self {
            embed_dim: 384,
            num_heads: 6,
            k: 8,
            mlp_ratio: 2.0,
            qkv_bias: true,
            init_values: None,
            self_attn_block_style_list: first_with_graph(8),
            self_attn_combine_style: Combine::Concat,
            cross_attn_block_style_list: first_with_graph(8),
            cross_attn_combine_style: Combine::Concat,
        }
    }
}

fn first_with_graph(depth: usize) -> Vec<Block> {
    (0..depth).map(|i| if i == 0 { Block::AttnGraph } else { Block::Attn }).collect()
}

/// An AdaPoinTr; the default is that of the paper for the PCN data: 2,048 points in, 16,384 out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdaPoinTrConfig {
    /// Points of a cloud in. Training takes this many; a larger cloud to sample from is thinned at random.
    pub input_points: usize,
    /// Points out: a multiple of `num_query`. `fold` heads give 64 for each query.
    pub num_points: usize,
    /// Queries, each the centre of `num_points / num_query` points.
    pub num_query: usize,
    /// Points left after the first and second sampling of the grouper.
    pub center_num: [usize; 2],
    /// Channels of the feature of the whole cloud.
    pub global_feature_dim: usize,
    /// Width of the perceptrons around it and of the head, 1024 in the paper.
    pub hidden_dim: usize,
    /// How the cloud is turned into tokens.
    pub encoder_type: EncoderKind,
    /// How a query becomes points.
    pub decoder_type: HeadKind,
    /// The encoder.
    pub encoder_config: EncoderConfig,
    /// The decoder.
    pub decoder_config: DecoderConfig,
    /// Deviation of the first weights of the transformer and its perceptrons; 0.02 in the paper.
    pub init_std: f64,
    /// Queries that training adds around points of the cloud, to learn their denoising; 64 in the paper.
    pub denoise: usize,
    /// Sampling passes over points whose squared distance from the origin is no larger than this, 0.001 in the release,
    /// where it keeps clouds padded with zeros from being sampled in the padding. `null` for galaxies, whose centre is
    /// at the origin.
    pub skip_within: Option<f64>,
    /// Whether the scores of the ranked queries also scale their features, and so are learned. In the release they enter
    /// by their order alone and have no gradient.
    pub ranking_gradient: bool,
    /// Features of a point in beside its position.
    pub features_in: usize,
    /// Features of a point out beside its position.
    pub features_out: usize,
    /// Weight of the loss of those features.
    pub feature_weight: f64,
}

impl Default for AdaPoinTrConfig {
    fn default() -> Self {
        Self {
            input_points: 2048,
            num_points: 16384,
            num_query: 512,
            center_num: [512, 256],
            global_feature_dim: 1024,
            hidden_dim: 1024,
            encoder_type: EncoderKind::Graph,
            decoder_type: HeadKind::Fc,
            encoder_config: EncoderConfig::default(),
            decoder_config: DecoderConfig::default(),
            init_std: 0.02,
            denoise: 64,
            skip_within: Some(1e-3),
            ranking_gradient: false,
            features_in: 0,
            features_out: 0,
            feature_weight: 1.0,
        }
    }
}

impl AdaPoinTrConfig {
    /// Points that each query becomes.
    pub fn factor(&self) -> usize {
        self.num_points / self.num_query.max(1)
    }

    /// Checks that the network can be built.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first field that is not usable.
    pub fn validate(&self) -> Result<()> {
        let (encoder, decoder) = (&self.encoder_config, &self.decoder_config);
        let [first, second] = self.center_num;
        let graph = self.encoder_type == EncoderKind::Graph;
        let widths_fit = |dim: usize, heads: usize, ratio: f64| {
            heads > 0
                && dim > 0
                && dim.is_multiple_of(heads)
                && ratio * dim as f64 >= 1.0
                && ratio.is_finite()
        };
        let of_head = match self.decoder_type {
            HeadKind::Fc => self.factor() >= 1 && self.num_points.is_multiple_of(self.num_query.max(1)),
            HeadKind::Fold => self.num_points == 64 * self.num_query,
        };
        let fewest = if graph { 16.max(first) } else { 32.max(second) };
        let in_order = if graph { first >= second && first >= 16 } else { true };
        let weight_fits = self.feature_weight >= 0.0 && self.feature_weight.is_finite();
        let skip_fits = self.skip_within.is_none_or(|r| r >= 0.0 && r.is_finite());
        let checks: [(&str, bool, String, String); 14] = [
            ("num_query", self.num_query >= 2, "at least 2".into(), self.num_query.to_string()),
            (
                "num_points",
                of_head,
                match self.decoder_type {
                    HeadKind::Fc => format!("a multiple of num_query {}", self.num_query),
                    HeadKind::Fold => format!("64 for each of {} queries", self.num_query),
                },
                self.num_points.to_string(),
            ),
            (
                "center_num",
                second >= 1 && in_order,
                "descending, the first at least 16".into(),
                format!("{:?}", self.center_num),
            ),
            (
                "input_points",
                self.input_points >= fewest.max(self.num_query / 2).max(self.denoise),
                format!("at least {}", fewest.max(self.num_query / 2).max(self.denoise)),
                self.input_points.to_string(),
            ),
            (
                "global_feature_dim and hidden_dim",
                self.global_feature_dim > 0 && self.hidden_dim > 0,
                "at least 1".into(),
                format!("{} and {}", self.global_feature_dim, self.hidden_dim),
            ),
            (
                "encoder_config.embed_dim",
                widths_fit(encoder.embed_dim, encoder.num_heads, encoder.mlp_ratio),
                format!("a multiple of {} heads, and a perceptron of a width", encoder.num_heads),
                format!("{} with mlp_ratio {}", encoder.embed_dim, encoder.mlp_ratio),
            ),
            (
                "decoder_config.embed_dim",
                widths_fit(decoder.embed_dim, decoder.num_heads, decoder.mlp_ratio),
                format!("a multiple of {} heads, and a perceptron of a width", decoder.num_heads),
                format!("{} with mlp_ratio {}", decoder.embed_dim, decoder.mlp_ratio),
            ),
            (
                "decoder_config.cross_attn_block_style_list",
                decoder.cross_attn_block_style_list.len() == decoder.self_attn_block_style_list.len(),
                format!("{} blocks", decoder.self_attn_block_style_list.len()),
                decoder.cross_attn_block_style_list.len().to_string(),
            ),
            (
                "encoder_config.k",
                (1..=second).contains(&encoder.k),
                format!("1 to center_num {second}"),
                encoder.k.to_string(),
            ),
            (
                "decoder_config.k",
                (1..=second.min(self.num_query)).contains(&decoder.k),
                format!("1 to {}", second.min(self.num_query)),
                decoder.k.to_string(),
            ),
            (
                "init_std",
                self.init_std >= 0.0 && self.init_std.is_finite(),
                "finite, not negative".into(),
                self.init_std.to_string(),
            ),
            ("denoise", self.denoise >= 1, "at least 1".into(), self.denoise.to_string()),
            ("feature_weight", weight_fits, "finite, not negative".into(), self.feature_weight.to_string()),
            ("skip_within", skip_fits, "finite, not negative".into(), format!("{:?}", self.skip_within)),
        ];
        match checks.into_iter().find(|(_, ok, ..)| !ok) {
            Some((field, _, expected, got)) => {
                Err(Error::Config { model: MODEL, field: field.into(), expected, got })
            }
            None => Ok(()),
        }
    }
}

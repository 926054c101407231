//! The shape of a point-cloud diffusion model.

use serde::{Deserialize, Serialize};

use super::{Geometry, ScheduleKind};
use crate::{Error, Result};

/// The normalisation behind a step of the graph network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GraphNorm {
    /// Over the channels of a node or an edge.
    #[default]
    Layer,
    /// Over all nodes, or edges, of a cloud.
    Pair,
    /// None.
    None,
}

/// A graph score network; the default is that of the paper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GraphConfig {
    /// Neighbours of a point, itself among them.
    pub k: usize,
    /// Hidden layers of a perceptron.
    pub num_mlp_layers: usize,
    /// Channels of a node and an edge.
    pub latent_size: usize,
    /// Width of the hidden layers.
    pub hidden_size: usize,
    /// Steps of message passing.
    pub message_passing_steps: usize,
    /// Whether a node keeps what it was and adds what is new.
    pub skip_connections: bool,
    /// The same for edges.
    pub edge_skip_connections: bool,
    /// Whether messages are weighted by attention.
    pub attention: bool,
    /// Whether edges begin with their displacement.
    pub use_edges: bool,
    /// Whether the box is periodic.
    pub use_pbc: bool,
    /// Whether a displacement enters by the sum of its components alone.
    pub use_absolute_distances: bool,
    /// Whether that sum enters by its sinusoids.
    pub use_fourier_features: bool,
    /// The number of sinusoids.
    pub n_fourier_features: usize,
    /// Whether an edge sees the difference of its nodes in place of both.
    pub relative_updates: bool,
    /// The normalisation behind a step.
    pub norm: GraphNorm,
    /// Whether, as in the release, one number of the condition reaches a node, another an edge (that of its sender's place
    /// in the cloud), and points of padding send messages: for its weights alone, as permuting the points changes the
    /// result. Else the whole condition reaches all, and padding does nothing.
    pub as_released: bool,
}

impl Default for GraphConfig {
    fn default() -> Self {
        Self {
            k: 20,
            num_mlp_layers: 4,
            latent_size: 16,
            hidden_size: 128,
            message_passing_steps: 4,
            skip_connections: true,
            edge_skip_connections: false,
            attention: true,
            use_edges: true,
            use_pbc: true,
            use_absolute_distances: false,
            use_fourier_features: false,
            n_fourier_features: 16,
            relative_updates: true,
            norm: GraphNorm::Layer,
            as_released: false,
        }
    }
}

/// A transformer score network; the default is that of the paper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TransformerConfig {
    /// Channels of a point.
    pub d_model: usize,
    /// Width of the perceptrons.
    pub d_mlp: usize,
    /// Layers.
    pub n_layers: usize,
    /// Attention heads.
    pub n_heads: usize,
    /// Points that mediate the attention, whose cost is then linear in the points of a cloud; 0 for attention of all to all.
    pub n_inducing_points: usize,
    /// Channels of the condition; those of a point where it is added and not joined.
    pub d_conditioning: usize,
    /// Whether the condition is joined to the points once, in place of added in every layer.
    pub concat_conditioning: bool,
    /// Whether it scales and shifts the normalisations instead; then it is neither added nor joined.
    pub adanorm: bool,
}

impl Default for TransformerConfig {
    fn default() -> Self {
        Self {
            d_model: 256,
            d_mlp: 1024,
            n_layers: 6,
            n_heads: 4,
            n_inducing_points: 0,
            d_conditioning: 256,
            concat_conditioning: false,
            adanorm: false,
        }
    }
}

/// An equivariant graph network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EgnnConfig {
    /// Neighbours of a point, itself among them.
    pub k: usize,
    /// Channels.
    pub hidden_size: usize,
    /// Steps of message passing.
    pub message_passing_steps: usize,
    /// How many vectors, such as a velocity, follow the position among the features.
    pub vectors: usize,
}

impl Default for EgnnConfig {
    fn default() -> Self {
        Self { k: 20, hidden_size: 64, message_passing_steps: 4, vectors: 1 }
    }
}

/// The network that predicts the noise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ScoreConfig {
    /// A graph network.
    Graph(GraphConfig),
    /// A transformer of a set.
    Transformer(TransformerConfig),
    /// A graph network whose result turns with the cloud.
    Egnn(EgnnConfig),
}

/// A point-cloud diffusion model; the default is that of the paper for haloes of Quijote: position, velocity and
/// logarithmic mass of the 5,000 heaviest, standardised, in a box of 1000 Mpc/h, given Omega_m and sigma_8.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PointVdmConfig {
    /// Points of a cloud.
    pub points: usize,
    /// Features of a point; positions come first.
    pub features: usize,
    /// Mean of each coordinate before it was standardised.
    pub mean: Vec<f64>,
    /// Its deviation.
    pub std: Vec<f64>,
    /// The side of the box before positions were standardised; `null` for none.
    pub box_size: Option<f64>,
    /// Number T of steps of the bound in discrete time; 0 for continuous time.
    pub timesteps: usize,
    /// The lowest log-SNR, that of t = 1.
    pub gamma_min: f64,
    /// The highest log-SNR, that of t = 0.
    pub gamma_max: f64,
    /// The schedule between.
    pub noise_schedule: ScheduleKind,
    /// Whether the times of a batch are one random number and equal steps from there.
    pub antithetic_time_sampling: bool,
    /// Deviation of the data about the least noisy state.
    pub noise_scale: f64,
    /// Channels of the time.
    pub d_t_embedding: usize,
    /// Number of conditioning parameters; 0 for none.
    pub context: usize,
    /// Channels they are taken to by a linear layer; 0 to take them as they are.
    pub d_context_embedding: usize,
    /// Probability that a training example's condition is dropped, so that sampling can be guided.
    pub dropout: f64,
    /// Strength w of guidance, $(1 + w) \hat\epsilon(z, c) - w \hat\epsilon(z, 0)$.
    pub guidance: f64,
    /// What the diffusion and prior terms are divided by in training.
    pub beta: f64,
    /// Steps of the sampler where the caller does not say.
    pub steps: usize,
    /// Whether positions live on the torus: noise is wrapped into the box, and the network sees positions by their
    /// nearest images alone.
    pub torus: bool,
    /// The network.
    pub score: ScoreConfig,
}

impl Default for PointVdmConfig {
    fn default() -> Self {
        Self {
            points: 5000,
            features: 7,
            mean: vec![500.0; 3],
            std: vec![1000.0 / 12f64.sqrt(); 3],
            box_size: Some(1000.0),
            timesteps: 0,
            gamma_min: -8.0,
            gamma_max: 14.0,
            noise_schedule: ScheduleKind::LearnedLinear,
            antithetic_time_sampling: true,
            noise_scale: 1e-3,
            d_t_embedding: 16,
            context: 2,
            d_context_embedding: 16,
            dropout: 0.0,
            guidance: 0.0,
            beta: 1.0,
            steps: 500,
            torus: false,
            score: ScoreConfig::Graph(GraphConfig::default()),
        }
    }
}

impl PointVdmConfig {
    /// Where the points are.
    pub fn geometry(&self) -> Geometry {
        Geometry { mean: self.mean.clone(), std: self.std.clone(), side: self.box_size }
    }

    /// Checks that the model can be built.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first field that is not usable.
    pub fn validate(&self) -> Result<()> {
        let axes = self.mean.len();
        let positive = |v: f64| v > 0.0 && v.is_finite();
        let isotropic = self.std.iter().all(|s| Some(s) == self.std.first());
        let (k, network) = match &self.score {
            ScoreConfig::Graph(c) => (
                c.k,
                c.latent_size * c.hidden_size * c.message_passing_steps > 0
                    && (c.use_absolute_distances || !c.use_fourier_features)
                    && !(c.as_released && self.torus)
                    && (!c.use_pbc || self.box_size.is_some()),
            ),
            ScoreConfig::Transformer(c) => (
                1,
                c.n_heads > 0
                    && c.d_model * c.d_mlp > 0
                    && c.d_model.is_multiple_of(c.n_heads)
                    && c.d_conditioning > 0
                    && (c.concat_conditioning || c.adanorm || c.d_conditioning == c.d_model)
                    && !(c.adanorm && (c.concat_conditioning || c.n_inducing_points > 0)),
            ),
            ScoreConfig::Egnn(c) => (
                c.k,
                c.hidden_size * c.message_passing_steps > 0
                    && axes * (1 + c.vectors) <= self.features
                    && isotropic
                    && axes > 0,
            ),
        };
        let checks: [(&str, bool, &str, String); 13] = [
            (
                "mean and std",
                axes <= 3 && axes == self.std.len() && self.std.iter().all(|&s| positive(s)),
                "of the same length, at most 3, and positive deviations",
                format!("{:?} and {:?}", self.mean, self.std),
            ),
            (
                "features",
                self.features >= axes.max(1),
                "at least one, and the positions",
                self.features.to_string(),
            ),
            (
                "points",
                self.points >= k && k > 0,
                "at least k neighbours, k at least 1",
                format!("{} and {k}", self.points),
            ),
            ("box_size", self.box_size.is_none_or(positive), "positive", format!("{:?}", self.box_size)),
            ("gamma_min", self.gamma_min < self.gamma_max, "below gamma_max", self.gamma_min.to_string()),
            ("noise_scale", positive(self.noise_scale), "positive", self.noise_scale.to_string()),
            ("d_t_embedding", self.d_t_embedding >= 4, "at least 4", self.d_t_embedding.to_string()),
            ("dropout", (0.0..=1.0).contains(&self.dropout), "0 to 1", self.dropout.to_string()),
            ("guidance", self.guidance.is_finite(), "finite", self.guidance.to_string()),
            ("beta", positive(self.beta), "positive", self.beta.to_string()),
            ("steps", self.steps > 0, "at least 1", self.steps.to_string()),
            (
                "torus",
                !self.torus || (self.box_size.is_some() && axes > 0),
                "false where there is no box",
                self.torus.to_string(),
            ),
            (
                "score",
                network,
                "sizes of at least 1 that divide; sinusoids of absolute distances alone; a box where it is periodic and \
                 no torus as released; the condition as wide as the points where it is added; features for the vectors, \
                 and one deviation for all coordinates of an equivariant network",
                format!("{:?}", self.score),
            ),
        ];
        match checks.into_iter().find(|(_, ok, ..)| !ok) {
            Some((field, _, expected, got)) => Err(Error::Config {
                model: "point-cloud diffusion",
                field: field.into(),
                expected: expected.into(),
                got,
            }),
            None => Ok(()),
        }
    }
}

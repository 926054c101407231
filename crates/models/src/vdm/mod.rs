//! Variational diffusion of clouds of points, with score networks that are graphs or transformers of sets.

mod bound;
mod config;
mod egnn;
mod flax;
mod graph;
mod graph_net;
mod model;
mod schedule;
mod score;
mod transformer;

pub use bound::{Draws, Terms};
pub use config::{EgnnConfig, GraphConfig, GraphNorm, PointVdmConfig, ScoreConfig, TransformerConfig};
pub use graph::{Edges, Geometry, fourier_features, minimum_image, nearest_neighbors, pair_norm};
pub use model::PointVdm;
pub use schedule::{NoiseSchedule, ScheduleKind, time_embedding, variance_preserving};

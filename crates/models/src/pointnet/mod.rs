//! PointNet: what a cloud of points says, whatever their order.

mod config;
mod model;
mod network;

pub use config::PointNetConfig;
pub use model::PointNet;
pub use network::{Head, PointFeatures, Transform};

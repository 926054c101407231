//! Operations on clouds of points: neighbours, samples, distances between clouds, features at neighbours.
//!
//! A batch of clouds is a tensor `[batch, points, axes]`. Neighbours are found in one, two and three dimensions by a k-d
//! tree with vectorised leaves, in any other number of dimensions by comparing all pairs.
//!
//! # What is exact
//!
//! The squared distance of two points is the sum over the axes, in their order, of the squared differences, each step
//! rounded to single precision and never fused. Every search returns what comparing all pairs by that number does, and
//! equal distances go by the smaller index: a tree, another set of vector instructions or another number of threads
//! change no bit. Trees may prune because rounding is monotone: the distance to a box, computed by the same steps, is
//! never above the computed distance to a point inside.

mod chamfer;
mod cloud;
mod edge;
mod features;
mod gather;
mod interpolate;
mod knn;
pub mod reference;
mod sample;
mod search;
mod space;
mod transport;
mod tree;

pub use chamfer::{ChamferCfg, ChamferNorm, chamfer_directions, chamfer_loss, nearest_distance};
pub use edge::{EdgeLayout, edge_features, edge_max, max_over_neighbors};
pub use gather::gather_points;
pub use interpolate::interpolate_points;
pub use knn::{Ball, Neighbors, ball_query, knn};
pub use sample::{SampleCfg, farthest_points};
pub use space::Boundary;
pub use transport::{Ground, SinkhornCfg, earth_movers_distance, sinkhorn_distance};

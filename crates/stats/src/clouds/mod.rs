//! Clouds: distances of two, and statistics by nearest neighbours.

mod distance;
mod neighbours;
mod transport;
mod voids;

pub use distance::{CloudDistance, cloud_distance};
pub use transport::{earth_movers, sinkhorn};
pub use voids::{KnnCdf, VoidProbability, knn_cdf, void_probability};

//! AdaPoinTr: a transformer that completes a cloud of points, or translates one species of particles into another.

mod blocks;
mod config;
mod grouper;
mod head;
mod layers;
mod loss;
mod mixer;
mod model;
mod network;

pub use config::{AdaPoinTrConfig, Block, Combine, DecoderConfig, EncoderConfig, EncoderKind, HeadKind};
pub use grouper::Grouper;
pub use head::{FcHead, FoldHead};
pub use loss::{Parts, completion_loss};
pub use model::AdaPoinTr;
pub use network::{Completion, Encoded, Network, Queries};

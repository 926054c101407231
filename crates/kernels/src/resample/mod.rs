//! Resampling: finer and coarser grids, by factors that are whole numbers.

mod axis;
mod max_pool;
mod nearest2x;
mod shuffle;

pub use axis::{average_pool, upsample_linear, upsample_nearest};
pub use max_pool::max_pool2d;
pub use nearest2x::upsample_nearest2x;
pub use shuffle::{pixel_shuffle, pixel_unshuffle};

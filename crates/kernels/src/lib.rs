//! Candle custom operations with gradients, and the network layers made of them.

mod adam;
mod attention;
mod channels;
mod conv;
mod error;
mod gemm;
mod linear;
mod loss;
mod memory;
pub mod nn;
mod norm;
mod pointwise;
pub mod reference;
mod simd;

pub use adam::{AdamCfg, AdamState, adam_step};
pub use attention::{attention, linear_attention};
pub use channels::{add_channel, concat_channels, upsample_nearest2x};
pub use conv::{Conv2dSpec, PadMode, conv_transpose2d, conv2d};
pub use error::{Error, Result};
pub use linear::linear;
pub use loss::{huber_loss, mse_loss};
pub use norm::{Activation, group_norm};
pub use pointwise::{gelu, silu};
pub use simd::{Level, with_level};

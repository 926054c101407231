//! Networks as objectives see them: a function of a field, of a time and of a condition, that knows nothing of diffusion.

mod axes;
mod config;
mod context;
mod embedding;

pub(crate) use axes::{Conv, space_to_depth};
pub use config::{NetworkConfig, NetworkShape};
pub use context::{Context, Dropout};
pub(crate) use embedding::{sinusoids, times};

use candle_core::Tensor;

use crate::Result;

/// A network F(x, t; condition).
pub trait Network: Send + Sync {
    /// The network's output `[batch, outputs, ..]` for `x` `[batch, inputs, ..]`, at the time (or transformed noise level)
    /// `t` of each example.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] or [`crate::Error::Condition`] when something does not fit, others when a tensor operation
    /// fails.
    fn forward(&self, x: &Tensor, t: &[f64], context: &Context<'_>) -> Result<Tensor>;

    /// Whether training moves the parameter of this name: a fixed table of frequencies is none.
    fn trains(&self, parameter: &str) -> bool {
        let _ = parameter;
        true
    }
}

//! Normalizing flows: densities that are exact, by a chain of invertible layers.
//!
//! $$ \ln p(x | c) = \ln N(f(x; c); 0, I) + \ln |\det \partial f / \partial x| $$
//!
//! [`FlowConfig::kind`] says which layers: affine couplings (RealNVP), masked autoregressive ones (MAF), neural splines,
//! or Glow for maps. Each layer is a [`crate::Bijection`], and so is the whole.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use halocast_core::Rng;
//! use halocast_models::flow::{Flow, FlowConfig, FlowKind};
//! use halocast_models::{Configured, Generative, LogProb, SampleOptions};
//!
//! let config = FlowConfig { event: vec![3], kind: FlowKind::Spline, layers: 2, ..Default::default() };
//! let flow = Flow::new(&config, 1, &Device::Cpu)?;
//! let events = flow.sample(5, None, &SampleOptions::default(), &mut Rng::new(2))?;
//! let log_prob = flow.log_prob(&events, None, &mut Rng::new(3))?;
//! assert_eq!((events.dims(), log_prob.dims()), (&[5, 3][..], &[5][..]));
//! # Ok::<(), halocast_models::Error>(())
//! ```

mod autoregressive;
mod config;
mod coupling;
mod glow;
mod layer;
mod made;
mod model;
mod residual;
mod spline;

pub use autoregressive::MaskedAffine;
pub use config::{FlowConfig, FlowKind, Order};
pub use coupling::{Coupler, Coupling};
pub use glow::{ActNorm, InvertibleConv, MultiScale, Squeeze};
pub use layer::{Composite, Layer, Permutation};
pub use made::{Made, MaskedMlp};
pub use model::Flow;
pub use residual::{ResidualNet, ResidualShape};
pub use spline::{Pieces, SplineShape, spline, spline_inverse};

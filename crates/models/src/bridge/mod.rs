//! From one field to another: bridges between pairs, flows, and the plain regression that they are measured against.
//!
//! All of them train the same U-Net on pairs of a field x and the field y it is to be made from, so that a comparison
//! isolates the objective: [`Indi`] walks from y to x by restoring a little at a time, [`Bbdm`] along a Brownian bridge,
//! [`RectifiedFlow`] along straight lines, [`Regression`] in one step to the mean or median. [`FlowMatching`] starts from
//! noise instead, and has a density.

mod bbdm;
mod flow;
mod indi;
mod pair;
mod rectified;
mod regression;

pub use bbdm::{Bbdm, BbdmConfig, BrownianBridge};
pub use flow::{FlowMatching, FlowMatchingConfig, FlowSolver};
pub use indi::{Indi, IndiConfig, IndiNoise, restore};
pub use rectified::{RectifiedFlow, RectifiedFlowConfig};
pub use regression::{Regression, RegressionConfig};

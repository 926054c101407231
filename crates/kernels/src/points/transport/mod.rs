//! Earth mover's distance: the least work that carries one cloud into the other.
//!
//! [`earth_movers_distance`] is exact and for small clouds, [`sinkhorn_distance`] is smoothed by an entropy and for
//! large ones. Both give the gradient by the envelope theorem: at the optimum the plan (or the potentials) may be held
//! fixed, so that only the costs are differentiated.

mod assignment;
mod exact;
mod sinkhorn;

pub(super) use assignment::assign;
pub use exact::earth_movers_distance;
pub use sinkhorn::{SinkhornCfg, sinkhorn_distance};

/// The cost of carrying a unit of mass from one point to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ground {
    /// Its length: the Wasserstein-1 distance. The gradient of a pair that coincides is zero.
    #[default]
    Distance,
    /// The squared length: the square of the Wasserstein-2 distance.
    Squared,
}

impl Ground {
    #[inline(always)]
    fn cost(self, squared: f32) -> f32 {
        match self {
            Self::Distance => squared.sqrt(),
            Self::Squared => squared,
        }
    }

    /// What multiplies the difference of two points in the gradient of the cost.
    #[inline(always)]
    fn slope(self, squared: f32) -> f32 {
        match self {
            Self::Squared => 2.0,
            Self::Distance if squared > 0.0 => 1.0 / squared.sqrt(),
            Self::Distance => 0.0,
        }
    }
}

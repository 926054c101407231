//! The knobs of the baryons.

use serde::{Deserialize, Serialize};

use crate::error::{Result, require};

/// The four strengths of feedback of CAMELS, 1 for the fiducial model; CAMELS varies the two energies from 0.25 to 4 and
/// the two speeds from 0.5 to 2.
///
/// # Source
/// Villaescusa-Navarro et al. 2021, ApJ 915, 71, section 3.3 (IllustrisTNG suite).
///
/// # Differences
/// There they multiply the sub-grid model of a hydrodynamical code. Here each multiplies the like number of a recipe that
/// is painted on haloes ([`Recipes`](super::Recipes)): trends have the right sign, their size is not that of CAMELS.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Feedback {
    /// Energy of galactic winds per star formation.
    pub a_sn1: f64,
    /// Energy of black holes' kinetic feedback per accretion.
    pub a_agn1: f64,
    /// Speed of galactic winds.
    pub a_sn2: f64,
    /// Speed at which black holes throw gas out.
    pub a_agn2: f64,
}

impl Default for Feedback {
    fn default() -> Self {
        Self { a_sn1: 1.0, a_agn1: 1.0, a_sn2: 1.0, a_agn2: 1.0 }
    }
}

/// How baryons are painted on a universe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BaryonConfig {
    /// Strengths of feedback.
    pub feedback: Feedback,
    /// Factor on the logarithmic scatter of every halo about its mean relation.
    pub scatter: Scatter,
    /// Seed of what differs from halo to halo.
    pub seed: u64,
}

/// A factor on scatter: 1 as published, 0 for haloes that all follow the mean.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scatter(pub f64);

impl Default for Scatter {
    fn default() -> Self {
        Self(1.0)
    }
}

impl BaryonConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`crate::Error::Config`] naming the first field outside its domain.
    pub fn validate(&self) -> Result<()> {
        let operation = "baryons";
        let Feedback { a_sn1, a_agn1, a_sn2, a_agn2 } = self.feedback;
        for (name, value) in [("a_sn1", a_sn1), ("a_agn1", a_agn1), ("a_sn2", a_sn2), ("a_agn2", a_agn2)] {
            require((0.01..=100.0).contains(&value), operation, name, "0.01 to 100", value)?;
        }
        let scatter = self.scatter.0;
        require((0.0..=3.0).contains(&scatter), operation, "scatter", "0 to 3", scatter)
    }
}

//! The shape of a PointNet.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A PointNet that infers parameters from clouds; the widths are those of the paper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PointNetConfig {
    /// Points of a cloud; clouds with fewer are padded.
    pub points: usize,
    /// Numbers of a point: three coordinates, then whatever else it carries.
    pub features: usize,
    /// The number of parameters inferred.
    pub outputs: usize,
    /// Channels of the three layers that each point goes through by itself.
    pub widths: [usize; 3],
    /// Channels of the two layers behind the maximum.
    pub head: [usize; 2],
    /// Whether the features of the first layer are transformed, too.
    pub feature_transform: bool,
    /// The fraction of the head's numbers that training drops.
    pub dropout: f64,
    /// Weight of the distance of the feature transform from an orthogonal one.
    pub regularizer: f64,
}

impl Default for PointNetConfig {
    fn default() -> Self {
        Self {
            points: 1024,
            features: 3,
            outputs: 2,
            widths: [64, 128, 1024],
            head: [512, 256],
            feature_transform: false,
            dropout: 0.3,
            regularizer: 1e-3,
        }
    }
}

impl PointNetConfig {
    /// Checks that the network can be built.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first field that is not usable.
    pub fn validate(&self) -> Result<()> {
        let [a, b, c] = self.widths;
        let [d, e] = self.head;
        let whole = |field, value: usize, least: usize| {
            (field, value >= least, format!("at least {least}"), value.to_string())
        };
        let checks = [
            whole("points", self.points, 1),
            whole("features", self.features, 3),
            whole("outputs", self.outputs, 1),
            whole("widths", a.min(b).min(c), 1),
            whole("head", d.min(e), 1),
            ("dropout", (0.0..1.0).contains(&self.dropout), "in [0, 1)".to_owned(), self.dropout.to_string()),
            (
                "regularizer",
                self.regularizer.is_finite() && self.regularizer >= 0.0,
                "finite, at least 0".to_owned(),
                self.regularizer.to_string(),
            ),
        ];
        for (field, ok, expected, got) in checks {
            if !ok {
                return Err(Error::Config { model: "PointNet", field: field.into(), expected, got });
            }
        }
        Ok(())
    }
}

//! The steps of a transform whose constants are found from pixels.

use halocast_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::Transform;

/// A step of a transform whose constants are to be found from maps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// [`Transform::Log10`] with the smallest positive pixel as the floor.
    Log10,
    /// [`Transform::Log10`] with this floor.
    Log10Above(f64),
    /// [`Transform::Log10`] of maps that are positive everywhere: any other pixel is an error.
    Log10Strict,
    /// [`Transform::Log10Plus`] with this offset.
    Log10Plus(f64),
    /// [`Transform::Asinh`] with this scale.
    Asinh(f64),
    /// [`Transform::Clip`] to these bounds.
    Clip(f64, f64),
    /// [`Transform::Standardise`].
    Standardise,
    /// [`Transform::MinMax`].
    MinMax,
}

/// What the constants of a transform are made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) count: u64,
    pub(crate) sum: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    least_positive: f64,
    /// A pixel that is not finite.
    bad: Option<f64>,
}

impl Range {
    /// That of no pixel.
    pub(crate) fn none() -> Self {
        Self {
            count: 0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            least_positive: f64::INFINITY,
            bad: None,
        }
    }

    /// That of pixels, added up in their order.
    pub(crate) fn of(pixels: impl Iterator<Item = f64>) -> Self {
        let mut range = Self::none();
        for x in pixels {
            if !x.is_finite() {
                range.bad = Some(x);
                return range;
            }
            range.count += 1;
            range.sum += x;
            (range.min, range.max) = (range.min.min(x), range.max.max(x));
            if x > 0.0 {
                range.least_positive = range.least_positive.min(x);
            }
        }
        range
    }

    /// That of both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            sum: self.sum + other.sum,
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            least_positive: self.least_positive.min(other.least_positive),
            bad: self.bad.or(other.bad),
        }
    }
}

impl Step {
    /// Whether its constants are given, whatever the pixels are.
    pub(crate) fn is_given(&self) -> bool {
        matches!(self, Self::Log10Above(_) | Self::Asinh(_) | Self::Clip(..))
    }

    /// The transform of pixels with this range; `squares` gives the sum of their squared distances from a mean.
    ///
    /// # Errors
    /// As [`Transform::fit`].
    pub(crate) fn fit<E: From<Error>>(
        &self,
        range: Range,
        squares: impl FnOnce(f64) -> std::result::Result<f64, E>,
    ) -> std::result::Result<Transform, E> {
        if let Self::Standardise = self
            && range.bad.is_none()
            && range.count > 0
        {
            let mean = range.sum / range.count as f64;
            let std = (squares(mean)? / range.count as f64).sqrt();
            if std > 0.0 && range.min < range.max {
                return Ok(Transform::Standardise { mean, std });
            }
        }
        Ok(self.fit_range(range)?)
    }

    /// The transform of pixels with this range, where that tells it; [`Step::Standardise`] it does not.
    fn fit_range(&self, range: Range) -> Result<Transform> {
        let fault = |what: &str, expected: &str, got: String| Error::Value {
            operation: "fit of a transform",
            what: what.into(),
            expected: expected.into(),
            got,
        };
        let Range { count, min, max, least_positive, bad, .. } = range;
        if let Some(x) = bad {
            return Err(fault("a pixel", "finite", x.to_string()));
        }
        if count == 0 {
            return Err(fault("the number of pixels", "at least 1", "0".into()));
        }
        let constant = || fault("the range of the pixels", "wider than 0", format!("{min} everywhere"));
        Ok(match self {
            Step::Log10 if least_positive.is_finite() => Transform::Log10 { floor: least_positive },
            Step::Log10 => {
                return Err(fault("the largest pixel", "positive, for a logarithm", max.to_string()));
            }
            Step::Log10Above(floor) if *floor > 0.0 && floor.is_finite() => {
                Transform::Log10 { floor: *floor }
            }
            Step::Log10Above(floor) => {
                return Err(fault("the floor of a logarithm", "positive and finite", floor.to_string()));
            }
            Step::Log10Strict if min > 0.0 => Transform::Log10 { floor: min },
            Step::Log10Strict => return Err(fault("the smallest pixel", "positive", min.to_string())),
            Step::Log10Plus(offset) if *offset > 0.0 && offset.is_finite() && min > -offset => {
                Transform::Log10Plus { offset: *offset }
            }
            Step::Log10Plus(offset) => {
                let got = format!("offset {offset} and {min}");
                return Err(fault(
                    "the offset and the smallest pixel",
                    "positive in sum, and the offset",
                    got,
                ));
            }
            Step::Asinh(scale) if *scale > 0.0 && scale.is_finite() => Transform::Asinh { scale: *scale },
            Step::Asinh(scale) => return Err(fault("the scale", "positive and finite", scale.to_string())),
            Step::Clip(low, high) if low < high && low.is_finite() && high.is_finite() => {
                Transform::Clip { min: *low, max: *high }
            }
            Step::Clip(low, high) => {
                return Err(fault(
                    "the bounds",
                    "finite, the first below the second",
                    format!("{low}, {high}"),
                ));
            }
            Step::MinMax if max > min => Transform::MinMax { min, max },
            Step::MinMax | Step::Standardise => return Err(constant()),
        })
    }
}

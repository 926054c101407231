//! Invertible transforms of pixel values, with the constants they were fitted with.

use halocast_core::{Error, Map, Result, Unit};
use serde::{Deserialize, Serialize};

/// A transform of a value x to the value y that a model sees.
///
/// ```
/// use halocast_core::Map;
/// use halocast_data::{Step, Transform};
/// use ndarray::array;
/// # fn main() -> halocast_core::Result<()> {
/// let map = Map::square("Mcdm", array![[0.0, 1e9], [1e10, 1e12]], 25.0);
/// let transform = Transform::fit(&[Step::Log10, Step::MinMax], [&map])?;
/// let scaled = transform.forward_map(&map);
/// // Zero has no logarithm: it was raised to the smallest positive value, 1e9.
/// assert_eq!(scaled.values, array![[-1.0, -1.0], [-1.0 / 3.0, 1.0]]);
/// assert!((transform.inverse(1.0) / 1e12 - 1.0).abs() < 1e-6);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Transform {
    /// y = x.
    #[default]
    Identity,
    /// y = log10(max(x, floor)). What is below the floor, zero and negative values too, comes back as the floor.
    Log10 {
        /// The smallest value that is kept; positive.
        floor: f64,
    },
    /// y = (x - mean) / std.
    Standardise {
        /// Mean of x.
        mean: f64,
        /// Standard deviation of x.
        std: f64,
    },
    /// y = 2 (x - min) / (max - min) - 1: min to -1, max to 1. Values outside are not clipped.
    MinMax {
        /// The value that becomes -1.
        min: f64,
        /// The value that becomes 1.
        max: f64,
    },
    /// One after the other.
    Chain {
        /// The transforms, the first first.
        steps: Vec<Transform>,
    },
}

/// A step of a transform whose constants are to be found from maps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// [`Transform::Log10`] with the smallest positive pixel as the floor.
    Log10,
    /// [`Transform::Log10`] with this floor.
    Log10Above(f64),
    /// [`Transform::Standardise`].
    Standardise,
    /// [`Transform::MinMax`].
    MinMax,
}

impl Transform {
    /// Finds the constants of `steps` from maps; each step sees what the one before it gives.
    ///
    /// Fit on the training split alone.
    ///
    /// # Errors
    /// [`Error::Value`] when there is no pixel, a pixel is not finite, a logarithm finds no positive pixel, or all pixels
    /// are equal.
    pub fn fit<'a>(steps: &[Step], maps: impl IntoIterator<Item = &'a Map> + Clone) -> Result<Self> {
        let mut fitted = Vec::with_capacity(steps.len());
        for step in steps {
            let so_far = Transform::Chain { steps: fitted.clone() };
            let pixels = || {
                maps.clone()
                    .into_iter()
                    .flat_map(|m| m.values.iter())
                    .map(|&v| so_far.forward_f64(f64::from(v)))
            };
            fitted.push(step.fit(pixels)?);
        }
        Ok(match fitted.len() {
            0 => Transform::Identity,
            1 => fitted.swap_remove(0),
            _ => Transform::Chain { steps: fitted },
        })
    }

    /// y of x.
    pub fn forward(&self, x: f32) -> f32 {
        self.forward_f64(f64::from(x)) as f32
    }

    /// x of y.
    pub fn inverse(&self, y: f32) -> f32 {
        self.inverse_f64(f64::from(y)) as f32
    }

    /// A map of y; its values are pure numbers.
    pub fn forward_map(&self, map: &Map) -> Map {
        let transformed = map.map_values(|x| self.forward(x));
        if *self == Transform::Identity { transformed } else { transformed.with_unit(Unit::dimensionless()) }
    }

    /// A map of x in `unit`.
    pub fn inverse_map(&self, map: &Map, unit: Unit) -> Map {
        map.map_values(|y| self.inverse(y)).with_unit(unit)
    }

    fn forward_f64(&self, x: f64) -> f64 {
        match self {
            Self::Identity => x,
            // A NaN stays one: `max` would hide it.
            Self::Log10 { floor } => if x < *floor { *floor } else { x }.log10(),
            Self::Standardise { mean, std } => (x - mean) / std,
            Self::MinMax { min, max } => 2.0 * (x - min) / (max - min) - 1.0,
            Self::Chain { steps } => steps.iter().fold(x, |x, step| step.forward_f64(x)),
        }
    }

    fn inverse_f64(&self, y: f64) -> f64 {
        match self {
            Self::Identity => y,
            Self::Log10 { .. } => 10f64.powf(y),
            Self::Standardise { mean, std } => mean + std * y,
            Self::MinMax { min, max } => min + 0.5 * (y + 1.0) * (max - min),
            Self::Chain { steps } => steps.iter().rev().fold(y, |y, step| step.inverse_f64(y)),
        }
    }
}

impl Step {
    fn fit<I: Iterator<Item = f64>>(&self, pixels: impl Fn() -> I) -> Result<Transform> {
        let fault = |what: &str, expected: &str, got: String| Error::Value {
            operation: "fit of a transform",
            what: what.into(),
            expected: expected.into(),
            got,
        };
        let (mut count, mut sum, mut min, mut max) = (0u64, 0.0, f64::INFINITY, f64::NEG_INFINITY);
        let mut least_positive = f64::INFINITY;
        for x in pixels() {
            if !x.is_finite() {
                return Err(fault("a pixel", "finite", x.to_string()));
            }
            count += 1;
            sum += x;
            (min, max) = (min.min(x), max.max(x));
            if x > 0.0 {
                least_positive = least_positive.min(x);
            }
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
            Step::Standardise => {
                let mean = sum / count as f64;
                let std = (pixels().map(|x| (x - mean).powi(2)).sum::<f64>() / count as f64).sqrt();
                if std <= 0.0 || min == max {
                    return Err(constant());
                }
                Transform::Standardise { mean, std }
            }
            Step::MinMax if max > min => Transform::MinMax { min, max },
            Step::MinMax => return Err(constant()),
        })
    }
}

#[cfg(test)]
mod tests {
    use halocast_core::Rng;
    use ndarray::Array2;

    use super::*;

    fn map() -> Map {
        let mut rng = Rng::new(2);
        Map::square(
            "Mcdm",
            Array2::from_shape_fn((16, 16), |_| (9.0 + 2.0 * rng.normal()).exp() as f32),
            25.0,
        )
    }

    #[test]
    fn every_transform_is_undone() {
        let map = map();
        for steps in [
            &[][..],
            &[Step::Log10],
            &[Step::Standardise],
            &[Step::MinMax],
            &[Step::Log10, Step::Standardise],
            &[Step::Log10Above(1e-3), Step::MinMax],
        ] {
            let transform = Transform::fit(steps, [&map]).unwrap();
            let back = transform.inverse_map(&transform.forward_map(&map), map.unit.clone());
            for (a, b) in map.values.iter().zip(&back.values) {
                assert!(
                    (a - b).abs() <= 2e-6 * map.values.fold(0f32, |m, v| m.max(v.abs())).min(1e3 * a.abs()),
                    "{steps:?}: {a} {b}"
                );
            }
            let json = serde_json::to_string(&transform).unwrap();
            assert_eq!(serde_json::from_str::<Transform>(&json).unwrap(), transform, "{json}");
        }
    }

    #[test]
    fn the_fit_has_its_moments() {
        let map = map();
        let y = Transform::fit(&[Step::Log10, Step::Standardise], [&map]).unwrap().forward_map(&map).values;
        assert!(y.mean().unwrap().abs() < 1e-5 && (y.std(0.0) - 1.0).abs() < 1e-5);
        let y = Transform::fit(&[Step::Log10, Step::MinMax], [&map]).unwrap().forward_map(&map).values;
        assert_eq!((y.fold(9f32, |a, &b| a.min(b)), y.fold(-9f32, |a, &b| a.max(b))), (-1.0, 1.0));
    }

    #[test]
    fn what_cannot_be_fitted_is_an_error() {
        let with = |v: f32| Map::square("x", Array2::from_elem((2, 2), v), 1.0);
        for (steps, value, part) in [
            (&[Step::Log10][..], -1.0, "positive"),
            (&[Step::Standardise], 3.0, "3 everywhere"),
            (&[Step::MinMax], 3.0, "3 everywhere"),
            (&[Step::MinMax], f32::NAN, "NaN"),
            (&[Step::Log10Above(0.0)], 1.0, "floor"),
        ] {
            let message = Transform::fit(steps, [&with(value)]).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
        assert!(Transform::fit(&[Step::MinMax], []).is_err());
    }
}

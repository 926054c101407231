//! Invertible transforms of pixel values, with the constants they were fitted with.

use halocast_core::{Error, Map, Result, Unit};
use serde::{Deserialize, Serialize};

use crate::logarithm::log10;

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
    /// y = log10(x + offset): keeps zeros apart, such as pixels without stars; x must be above -offset.
    Log10Plus {
        /// What is added; positive.
        offset: f64,
    },
    /// y = asinh(x / scale): linear near 0, logarithmic far from it, for values of both signs.
    Asinh {
        /// Where the two meet; positive.
        scale: f64,
    },
    /// y = x between two bounds, else the nearer bound, as which it comes back.
    Clip {
        /// The lower bound.
        min: f64,
        /// The upper bound.
        max: f64,
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

    /// Turns values x into y where they lie: the same bits as [`Transform::forward`], many at a time.
    pub fn forward_slice(&self, values: &mut [f32]) {
        let mut block = [0f64; BLOCK];
        for part in values.chunks_mut(BLOCK) {
            let block = &mut block[..part.len()];
            block.iter_mut().zip(&*part).for_each(|(wide, x)| *wide = f64::from(*x));
            self.forward_block(block);
            part.iter_mut().zip(&*block).for_each(|(y, wide)| *y = *wide as f32);
        }
    }

    fn forward_block(&self, block: &mut [f64]) {
        match self {
            // Each step is a loop without branches, so that it becomes vector instructions.
            Self::Log10 { floor } => {
                block.iter_mut().for_each(|x| *x = log10(if *x < *floor { *floor } else { *x }));
            }
            Self::Chain { steps } => steps.iter().for_each(|step| step.forward_block(block)),
            Self::Identity => {}
            step => block.iter_mut().for_each(|x| *x = step.forward_f64(*x)),
        }
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
            Self::Log10 { floor } => log10(if x < *floor { *floor } else { x }),
            Self::Log10Plus { offset } => log10(x + offset),
            Self::Asinh { scale } => (x / scale).asinh(),
            // As above, and unlike `clamp`, which panics for bounds in the wrong order.
            Self::Clip { min, max } => {
                if x < *min {
                    *min
                } else if x > *max {
                    *max
                } else {
                    x
                }
            }
            Self::Standardise { mean, std } => (x - mean) / std,
            Self::MinMax { min, max } => 2.0 * (x - min) / (max - min) - 1.0,
            Self::Chain { steps } => steps.iter().fold(x, |x, step| step.forward_f64(x)),
        }
    }

    fn inverse_f64(&self, y: f64) -> f64 {
        match self {
            Self::Identity => y,
            Self::Log10 { .. } => 10f64.powf(y),
            Self::Log10Plus { offset } => 10f64.powf(y) - offset,
            Self::Asinh { scale } => scale * y.sinh(),
            Self::Clip { .. } => y,
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

/// Values that are transformed at a time.
const BLOCK: usize = 512;

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
            &[Step::Log10Strict, Step::Clip(-5.0, 20.0)],
            &[Step::Log10Plus(1e-3), Step::Standardise],
            &[Step::Asinh(100.0), Step::MinMax],
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
    fn slices_are_transformed_as_single_values_are() {
        let mut values: Vec<f32> = map().values.iter().copied().chain([0.0, -1.0, f32::MAX, 1e-40]).collect();
        values.push(f32::NAN);
        for transform in [
            Transform::Identity,
            Transform::Chain {
                steps: vec![Transform::Log10 { floor: 1e-3 }, Transform::MinMax { min: -3.0, max: 9.0 }],
            },
            Transform::Asinh { scale: 3.0 },
            Transform::Clip { min: 0.0, max: 100.0 },
        ] {
            let mut together = values.clone();
            transform.forward_slice(&mut together);
            for (x, y) in values.iter().zip(&together) {
                let alone = transform.forward(*x);
                assert!(alone.to_bits() == y.to_bits() || (alone.is_nan() && y.is_nan()), "{x}: {alone} {y}");
            }
        }
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
            (&[Step::Log10Strict], 0.0, "smallest"),
            (&[Step::Log10Plus(1.0)], -1.0, "offset"),
            (&[Step::Asinh(0.0)], 1.0, "scale"),
            (&[Step::Clip(2.0, 1.0)], 1.0, "bounds"),
        ] {
            let message = Transform::fit(steps, [&with(value)]).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
        assert!(Transform::fit(&[Step::MinMax], []).is_err());
    }
}

//! Invertible transforms of pixel values, with the constants they were fitted with.

use halocast_core::{Error, Map, Result, Unit};
use serde::{Deserialize, Serialize};

use crate::logarithm::{log10, log10_single};
use crate::step::{Range, Step};

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
            let squares = |mean: f64| Ok::<f64, Error>(pixels().map(|x| (x - mean).powi(2)).sum());
            fitted.push(step.fit(Range::of(pixels()), squares)?);
        }
        Ok(Self::chain(fitted))
    }

    /// Transforms one after the other.
    pub(crate) fn chain(mut steps: Vec<Self>) -> Self {
        match steps.len() {
            0 => Transform::Identity,
            1 => steps.swap_remove(0),
            _ => Transform::Chain { steps },
        }
    }

    /// y of x.
    pub fn forward(&self, x: f32) -> f32 {
        match self.as_pixels() {
            Some(pixels) => pixels.of(x),
            None => self.forward_f64(f64::from(x)) as f32,
        }
    }

    /// x of y.
    pub fn inverse(&self, y: f32) -> f32 {
        self.inverse_f64(f64::from(y)) as f32
    }

    /// Turns values x into y where they lie: the same bits as [`Transform::forward`], many at a time.
    pub fn forward_slice(&self, values: &mut [f32]) {
        if *self == Self::Identity {
            return;
        }
        if let Some(pixels) = self.as_pixels() {
            pulp::Arch::new().dispatch(Transformed { values, pixels });
            return;
        }
        let mut block = [0f64; BLOCK];
        for part in values.chunks_mut(BLOCK) {
            let block = &mut block[..part.len()];
            block.iter_mut().zip(&*part).for_each(|(wide, x)| *wide = f64::from(*x));
            self.forward_block(block);
            part.iter_mut().zip(&*block).for_each(|(y, wide)| *y = *wide as f32);
        }
    }

    pub(crate) fn forward_block(&self, block: &mut [f64]) {
        match self {
            Self::Log10 { floor } => {
                pulp::Arch::new().dispatch(Logarithms { values: block, floor: *floor });
            }
            Self::Chain { steps } => steps.iter().for_each(|step| step.forward_block(block)),
            Self::Identity => {}
            step => block.iter_mut().for_each(|x| *x = step.forward_f64(*x)),
        }
    }

    /// This transform in one loop, where it is a logarithm and perhaps a scale: that of nearly all maps.
    fn as_pixels(&self) -> Option<Pixels> {
        let (first, scale) = match self {
            Self::Chain { steps } => match &steps[..] {
                [first] => (first, Affine::NONE),
                [first, scale] => (first, scale.as_affine()?),
                _ => return None,
            },
            first => (first, Affine::NONE),
        };
        match first {
            Self::Log10 { floor } if is_single(*floor) => Some(Pixels { floor: *floor as f32, scale }),
            _ => None,
        }
    }

    fn as_affine(&self) -> Option<Affine> {
        match self {
            Self::Standardise { mean, std } => Some(Affine { from: *mean, times: 1.0 / std, plus: 0.0 }),
            Self::MinMax { min, max } => Some(Affine { from: *min, times: 2.0 / (max - min), plus: -1.0 }),
            _ => None,
        }
    }

    /// A map of y; its values are pure numbers.
    pub fn forward_map(&self, map: &Map) -> Map {
        let mut transformed = map.clone();
        match transformed.values.as_slice_memory_order_mut() {
            Some(values) => self.forward_slice(values),
            None => transformed.values.mapv_inplace(|x| self.forward(x)),
        }
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
            Self::Log10 { floor } => log10_above(x, *floor),
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
            Self::Standardise { .. } | Self::MinMax { .. } => self.as_affine().map_or(x, |scale| scale.of(x)),
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

/// y = (x - from) times + plus.
#[derive(Clone, Copy)]
struct Affine {
    from: f64,
    times: f64,
    plus: f64,
}

impl Affine {
    const NONE: Self = Self { from: 0.0, times: 1.0, plus: 0.0 };

    #[inline(always)]
    fn of(self, x: f64) -> f64 {
        (x - self.from) * self.times + self.plus
    }
}

/// Pixels transformed where they lie, without branches and all of it inlined, so that the loop becomes the widest vector
/// instructions that the machine has: a closure given to `dispatch` need not.
struct Transformed<'a> {
    values: &'a mut [f32],
    pixels: Pixels,
}

impl pulp::WithSimd for Transformed<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        for x in self.values {
            *x = self.pixels.of(*x);
        }
    }
}

/// The same of logarithms in double precision.
struct Logarithms<'a> {
    values: &'a mut [f64],
    floor: f64,
}

impl pulp::WithSimd for Logarithms<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        for x in self.values {
            *x = log10_above(*x, self.floor);
        }
    }
}

/// A logarithm of what is at least a floor, and a scale.
#[derive(Clone, Copy)]
struct Pixels {
    floor: f32,
    scale: Affine,
}

impl Pixels {
    #[inline(always)]
    fn of(self, x: f32) -> f32 {
        // A NaN stays one: `max` would hide it.
        self.scale.of(log10_single(if x < self.floor { self.floor } else { x })) as f32
    }
}

/// Whether a floor is a normal number of single precision: then logarithms are taken in it.
fn is_single(floor: f64) -> bool {
    (f64::from(f32::MIN_POSITIVE)..=f64::from(f32::MAX)).contains(&floor)
}

/// The logarithm of x where that is at least the floor, else that of the floor.
#[inline(always)]
fn log10_above(x: f64, floor: f64) -> f64 {
    if is_single(floor) && !(x > f64::from(f32::MAX) && x < f64::INFINITY) {
        let (single, floor) = (x as f32, floor as f32);
        log10_single(if single < floor { floor } else { single })
    } else {
        log10(if x < floor { floor } else { x })
    }
}

/// Values that are transformed at a time.
pub(crate) const BLOCK: usize = 512;

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

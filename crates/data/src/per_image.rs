//! A range of its own for every image.

use halocast_core::{Error, Map, Result};
use serde::{Deserialize, Serialize};

use crate::{Step, Transform};

/// Scaling each image by its own smallest and largest value, to -1 and 1, with the constants that undo it.
///
/// Amplitudes are lost to the model: they are only in the constants. Where they matter, scale all by one
/// [`Transform::MinMax`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PerImageMinMax {
    /// Smallest and largest value of each image.
    pub ranges: Vec<[f64; 2]>,
}

impl PerImageMinMax {
    /// The constants of maps, in their order.
    ///
    /// # Errors
    /// [`Error::Value`] naming the first map that has one value everywhere, or a pixel that is not finite.
    pub fn fit<'a>(maps: impl IntoIterator<Item = &'a Map>) -> Result<Self> {
        let mut ranges = Vec::new();
        for (i, map) in maps.into_iter().enumerate() {
            match Transform::fit(&[Step::MinMax], [map]) {
                Ok(Transform::MinMax { min, max }) => ranges.push([min, max]),
                Ok(_) => {}
                Err(Error::Value { operation, what, expected, got }) => {
                    let what = format!("{what} of map {i}");
                    return Err(Error::Value { operation, what, expected, got });
                }
                Err(other) => return Err(other),
            }
        }
        Ok(Self { ranges })
    }

    /// The transform of image `i`.
    ///
    /// # Errors
    /// [`Error::Value`] when there is no such image.
    pub fn of(&self, i: usize) -> Result<Transform> {
        let range = self.ranges.get(i).ok_or_else(|| Error::Value {
            operation: "transform of an image",
            what: "its number".into(),
            expected: format!("below {}", self.ranges.len()),
            got: i.to_string(),
        })?;
        Ok(Transform::MinMax { min: range[0], max: range[1] })
    }
}

#[cfg(test)]
mod tests {
    use halocast_core::Rng;
    use ndarray::Array2;

    use super::*;

    fn map() -> Map {
        let mut rng = Rng::new(2);
        Map::square("Mcdm", Array2::from_shape_fn((16, 16), |_| rng.normal().exp() as f32), 25.0)
    }

    #[test]
    fn each_image_has_its_own_range() {
        let maps = [map(), map().map_values(|v| 5.0 * v)];
        let scaling = PerImageMinMax::fit(&maps).unwrap();
        let json = serde_json::to_string(&scaling).unwrap();
        assert_eq!(serde_json::from_str::<PerImageMinMax>(&json).unwrap(), scaling);
        for (i, map) in maps.iter().enumerate() {
            let scaled = scaling.of(i).unwrap().forward_map(map);
            let extreme = |f: fn(f32, f32) -> f32| scaled.values.iter().copied().fold(0.0, f);
            assert_eq!((extreme(f32::min), extreme(f32::max)), (-1.0, 1.0));
            let back = scaling.of(i).unwrap().inverse_map(&scaled, map.unit.clone());
            let largest = map.values.fold(0f32, |m, v| m.max(*v));
            assert!(back.values.iter().zip(&map.values).all(|(a, b)| (a - b).abs() < 1e-6 * largest));
        }
        assert!(scaling.of(2).is_err());
        let flat = Map::square("x", Array2::ones((2, 2)), 1.0);
        assert!(PerImageMinMax::fit([&maps[0], &flat]).unwrap_err().to_string().contains("map 1"));
    }
}

//! What is done to maps before training: random changes, and the enlarged sets of a paper by name.

use halocast_core::{Map, Rng, Unit};
use ndarray::{Array2, s};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Dihedral, Error, Result, shift};

/// Random changes of a map, made in the order of the fields; what is off changes nothing and draws nothing.
///
/// ```
/// use halocast_core::{Map, Rng};
/// use halocast_maps::Augmentation;
/// use ndarray::Array2;
/// let map = Map::square("m", Array2::from_shape_fn((8, 8), |(y, x)| (8 * y + x) as f32), 1.0);
/// let augmentation = Augmentation { dihedral: true, shift: true, ..Default::default() };
/// let changed = augmentation.apply(&map, &mut Rng::new(3))?;
/// assert_eq!(changed.values.sum(), map.values.sum()); // pixels only change places
/// assert_eq!(changed, augmentation.apply(&map, &mut Rng::new(3))?);
/// # Ok::<(), halocast_maps::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// One of the eight symmetries of the square.
    pub dihedral: bool,
    /// A shift by whole pixels; only periodic maps may be shifted.
    pub shift: bool,
    /// A part of this shape `[y, x]` at a random place.
    pub crop: Option<[usize; 2]>,
    /// A factor drawn evenly in its logarithm from this range.
    pub scale: Option<[f32; 2]>,
    /// The standard deviation of Gaussian noise added to every pixel.
    pub noise: Option<f32>,
}

impl Augmentation {
    /// One changed map.
    ///
    /// # Errors
    /// [`Error::Value`] for a shift of an open map, a crop larger than the map, or a range or deviation that is not positive.
    pub fn apply(&self, map: &Map, rng: &mut Rng) -> Result<Map> {
        let mut changed = match self.dihedral {
            true => Dihedral::random(rng).apply(map),
            false => map.clone(),
        };
        if self.shift {
            if !map.periodic {
                return Err(refuse(
                    "a shift of field",
                    "periodic",
                    format!("{:?}, which is open", map.field),
                ));
            }
            let by = changed.shape().map(|n| rng.below(n) as i64);
            changed = shift(&changed, by);
        }
        if let Some([ny, nx]) = self.crop {
            let [my, mx] = changed.shape();
            if ny == 0 || nx == 0 || ny > my || nx > mx {
                let expected = "at least a pixel and at most the map";
                return Err(refuse(
                    "the shape of the crop",
                    expected,
                    format!("[{ny}, {nx}] of [{my}, {mx}]"),
                ));
            }
            changed = crop(&changed, [rng.below(my - ny + 1), rng.below(mx - nx + 1)], [ny, nx])?;
        }
        if let Some([low, high]) = self.scale {
            if !(low > 0.0 && low <= high && high.is_finite()) {
                return Err(refuse(
                    "the range of the factor",
                    "positive, the lower first",
                    format!("{low}..{high}"),
                ));
            }
            let factor = (f64::from(low) * f64::from(high / low).powf(rng.uniform())) as f32;
            changed.values *= factor;
        }
        if let Some(sigma) = self.noise {
            if !(sigma >= 0.0 && sigma.is_finite()) {
                return Err(refuse("the noise", "finite and not negative", sigma.to_string()));
            }
            let normals = rng.normals(changed.values.len());
            changed.values.iter_mut().zip(normals).for_each(|(v, n)| *v += sigma * n);
        }
        Ok(changed)
    }

    /// Many maps, in parallel; the change of map i depends on the generator's key and i alone.
    ///
    /// # Errors
    /// As [`Augmentation::apply`].
    pub fn apply_all(&self, maps: &[Map], rng: &Rng) -> Result<Vec<Map>> {
        maps.par_iter().enumerate().map(|(i, map)| self.apply(map, &mut rng.split(i as u64))).collect()
    }
}

/// Fixed sets of changed copies.
///
/// # Source
/// Mudur & Finkbeiner 2022 (arXiv:2211.12444): 9000 maps times 6 "with rotations and flips", 10,500 times 24 with
/// "rotations, flips and translational shifts", 8506 times 8.
///
/// # Differences
/// The paper does not list the elements. Here six are the four rotations and the two mirror images along the axes, and
/// twenty-four are those at four places: unshifted, and at three random shifts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recipe {
    /// The rotations and mirror images of the 64 x 64 maps: 54,000 of 9000.
    Mudur6,
    /// The same with shifts, of the 128 x 128 maps: 252,000 of 10,500.
    Mudur24,
    /// All eight symmetries of the square, as of the dust maps: 68,048 of 8506.
    Dihedral8,
}

impl Recipe {
    /// How many maps one becomes.
    pub fn count(self) -> usize {
        match self {
            Self::Mudur6 => 6,
            Self::Mudur24 => 24,
            Self::Dihedral8 => 8,
        }
    }

    /// The copies of a map, itself first.
    ///
    /// # Errors
    /// [`Error::Value`] for shifts of an open map.
    pub fn apply(self, map: &Map, rng: &mut Rng) -> Result<Vec<Map>> {
        if self == Self::Mudur24 && !map.periodic {
            let got = format!("{:?}, which is open", map.field);
            return Err(refuse("a shift of field", "periodic", got));
        }
        let copies = self.elements(map.shape(), rng).into_iter();
        Ok(copies.map(|(by, element)| element.apply(&shift(map, by))).collect())
    }

    /// The shift and the symmetry of each copy of a map of this shape.
    pub(crate) fn elements(self, [ny, nx]: [usize; 2], rng: &mut Rng) -> Vec<([i64; 2], Dihedral)> {
        // The four rotations and two reflections: all but the two reflections in the diagonals.
        let six = || Dihedral::all().into_iter().filter(|d| !d.transpose || d.flip_y != d.flip_x);
        match self {
            Self::Dihedral8 => Dihedral::all().map(|d| ([0, 0], d)).to_vec(),
            Self::Mudur6 => six().map(|d| ([0, 0], d)).collect(),
            Self::Mudur24 => {
                let mut shifts = vec![[0, 0]];
                shifts.extend((0..3).map(|_| [rng.below(ny) as i64, rng.below(nx) as i64]));
                shifts.iter().flat_map(|by| six().map(|d| (*by, d))).collect()
            }
        }
    }
}

/// The part of a map from the pixel `corner` on; it is open unless it is the whole.
///
/// # Errors
/// [`Error::Value`] when it does not lie in the map.
pub fn crop(map: &Map, corner: [usize; 2], shape: [usize; 2]) -> Result<Map> {
    let whole = map.shape();
    let inside =
        |a: usize| shape[a] > 0 && corner[a].checked_add(shape[a]).is_some_and(|end| end <= whole[a]);
    if !(inside(0) && inside(1)) {
        return Err(refuse("the crop", "a part of the map", format!("{shape:?} at {corner:?} of {whole:?}")));
    }
    let part = map.values.slice(s![corner[0]..corner[0] + shape[0], corner[1]..corner[1] + shape[1]]);
    Ok(Map {
        values: part.to_owned(),
        extent: std::array::from_fn(|a| map.extent[a] * shape[a] as f64 / whole[a] as f64),
        length_unit: map.length_unit.clone(),
        unit: map.unit.clone(),
        field: map.field.clone(),
        periodic: map.periodic && shape == whole,
    })
}

/// A map turned about its centre by any angle in degrees, from its x axis to its y axis, with bilinear interpolation. Pixels must be
/// square. A periodic map is continued by its own images, though the turned map no longer fits itself; an open one by zero.
///
/// # Errors
/// [`Error::Value`] for an angle that is not finite.
pub fn rotate(map: &Map, degrees: f64) -> Result<Map> {
    if !degrees.is_finite() {
        return Err(refuse("the angle", "finite", degrees.to_string()));
    }
    let [ny, nx] = map.shape();
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (cy, cx) = (0.5 * ny as f64 - 0.5, 0.5 * nx as f64 - 0.5);
    let pixel = |y: i64, x: i64| -> f64 {
        if (0..ny as i64).contains(&y) && (0..nx as i64).contains(&x) {
            return f64::from(map.values[[y as usize, x as usize]]);
        }
        if !map.periodic {
            return 0.0;
        }
        f64::from(map.values[[y.rem_euclid(ny as i64) as usize, x.rem_euclid(nx as i64) as usize]])
    };
    let mut values = Array2::zeros((ny, nx));
    for ((y, x), value) in values.indexed_iter_mut() {
        let (dy, dx) = (y as f64 - cy, x as f64 - cx);
        let (sy, sx) = (cy - sin * dx + cos * dy, cx + cos * dx + sin * dy);
        let (fy, fx) = (sy.floor(), sx.floor());
        let (v, u) = (sy - fy, sx - fx);
        let (iy, ix) = (fy as i64, fx as i64);
        let low = (1.0 - u) * pixel(iy, ix) + u * pixel(iy, ix + 1);
        let high = (1.0 - u) * pixel(iy + 1, ix) + u * pixel(iy + 1, ix + 1);
        *value = ((1.0 - v) * low + v * high) as f32;
    }
    let Map { extent, length_unit, unit, field, .. } = map;
    let (length_unit, unit, field): (Unit, Unit, String) = (length_unit.clone(), unit.clone(), field.clone());
    Ok(Map { values, extent: *extent, length_unit, unit, field, periodic: false })
}

fn refuse(what: &str, expected: &'static str, got: String) -> Error {
    Error::Value { operation: "augmentation", what: what.to_owned(), expected, got }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn numbered(n: usize) -> Map {
        Map::square("n", Array2::from_shape_fn((n, n), |(y, x)| (y * n + x) as f32), 2.0)
    }

    #[test]
    fn recipes_have_their_counts_and_no_copy_twice() {
        let map = numbered(16);
        for recipe in [Recipe::Mudur6, Recipe::Mudur24, Recipe::Dihedral8] {
            let copies = recipe.apply(&map, &mut Rng::new(1)).unwrap();
            assert_eq!(copies.len(), recipe.count());
            assert_eq!(copies[0], map);
            let distinct: BTreeSet<Vec<u32>> =
                copies.iter().map(|m| m.values.iter().map(|v| v.to_bits()).collect()).collect();
            assert_eq!(distinct.len(), recipe.count(), "{recipe:?}");
        }
        let open = Map { periodic: false, ..map };
        assert!(Recipe::Mudur24.apply(&open, &mut Rng::new(1)).unwrap_err().to_string().contains("periodic"));
    }

    #[test]
    fn the_six_are_rotations_and_mirror_images() {
        // Four turns of a quarter, and the mirror images that keep columns or rows.
        let map = numbered(5);
        let quarter = Dihedral { transpose: true, flip_y: false, flip_x: true };
        let mut expected = vec![map.clone()];
        (0..3).for_each(|i| expected.push(quarter.apply(&expected[i])));
        expected.push(Dihedral { flip_x: true, ..Dihedral::IDENTITY }.apply(&map));
        expected.push(Dihedral { flip_y: true, ..Dihedral::IDENTITY }.apply(&map));
        let found = Recipe::Mudur6.apply(&map, &mut Rng::new(1)).unwrap();
        assert!(expected.iter().all(|m| found.contains(m)));
    }

    #[test]
    fn changes_are_the_same_at_any_number_of_threads() {
        let maps: Vec<Map> = (4..20).map(|_| numbered(12)).collect();
        let augmentation = Augmentation {
            dihedral: true,
            shift: true,
            crop: Some([5, 7]),
            scale: Some([0.5, 2.0]),
            noise: Some(0.1),
        };
        let run = || augmentation.apply_all(&maps, &Rng::new(9)).unwrap();
        let all = run();
        let single = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(all, single.install(run));
        assert!(all.iter().all(|m| m.shape() == [5, 7] && !m.periodic));
        assert!((all[0].pixel_area() - maps[0].pixel_area()).abs() < 1e-12);
        assert_ne!(all[0].values, all[1].values);
    }

    #[test]
    fn scale_and_noise_are_what_they_say() {
        let flat = Map::square("m", Array2::ones((64, 64)), 1.0);
        let noisy =
            Augmentation { noise: Some(0.5), ..Default::default() }.apply(&flat, &mut Rng::new(1)).unwrap();
        let n = 4096.0f32;
        let mean = noisy.values.sum() / n;
        let sigma = (noisy.values.mapv(|v| (v - mean).powi(2)).sum() / n).sqrt();
        assert!((mean - 1.0).abs() < 5.0 * 0.5 / n.sqrt() && (sigma - 0.5).abs() < 0.03);
        for seed in 0..50 {
            let scaled = Augmentation { scale: Some([0.5, 2.0]), ..Default::default() };
            let value = scaled.apply(&flat, &mut Rng::new(seed)).unwrap().values[[0, 0]];
            assert!((0.5..=2.0).contains(&value));
        }
    }

    #[test]
    fn right_angles_are_exact_and_others_turn_a_blob() {
        let map = numbered(9);
        let quarter = rotate(&map, 90.0).unwrap();
        for ((y, x), v) in quarter.values.indexed_iter() {
            // (x, y) goes to (-y, x).
            assert!((v - map.values[[8 - x, y]]).abs() < 1e-3, "{y} {x}");
        }
        let blob = Array2::from_shape_fn((41, 41), |(y, x)| {
            (-((y as f32 - 20.0).powi(2) + (x as f32 - 30.0).powi(2)) / 8.0).exp()
        });
        let turned = rotate(&Map::square("b", blob, 1.0), 30.0).unwrap();
        let (peak, _) = turned.values.indexed_iter().max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
        // Ten pixels along x become 10 cos 30 along x and 10 sin 30 along y.
        assert!((peak.1 as f32 - 28.66).abs() < 1.0 && (peak.0 as f32 - 25.0).abs() < 1.0, "{peak:?}");
    }

    #[test]
    fn bad_input_is_named() {
        let map = numbered(4);
        let run = |a: Augmentation| a.apply(&map, &mut Rng::new(1)).unwrap_err().to_string();
        assert!(run(Augmentation { crop: Some([5, 1]), ..Default::default() }).contains("crop"));
        assert!(run(Augmentation { scale: Some([0.0, 1.0]), ..Default::default() }).contains("factor"));
        assert!(run(Augmentation { noise: Some(-1.0), ..Default::default() }).contains("noise"));
        assert!(crop(&map, [3, 0], [2, 2]).is_err());
        assert!(crop(&map, [usize::MAX, 0], [2, 2]).is_err());
        assert!(rotate(&map, f64::NAN).is_err());
    }
}

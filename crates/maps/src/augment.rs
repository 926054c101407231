//! Exact symmetries of maps: rotations and reflections of the square, periodic shifts.

use halocast_core::{Map, Rng};
use ndarray::{Array2, Axis};
use serde::{Deserialize, Serialize};

/// An element of the symmetry group of the square: the image is transposed if `transpose`, then its y axis is reversed if
/// `flip_y`, then its x axis if `flip_x`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Dihedral {
    /// Exchange x and y first.
    pub transpose: bool,
    /// Reverse the y axis.
    pub flip_y: bool,
    /// Reverse the x axis.
    pub flip_x: bool,
}

impl Dihedral {
    /// The identity.
    pub const IDENTITY: Self = Self { transpose: false, flip_y: false, flip_x: false };

    /// All eight, the identity first; the first four keep the shape of any rectangle.
    pub fn all() -> [Self; 8] {
        std::array::from_fn(|i| Self { transpose: i & 4 != 0, flip_y: i & 2 != 0, flip_x: i & 1 != 0 })
    }

    /// One at random.
    pub fn random(rng: &mut Rng) -> Self {
        Self::all()[rng.below(8)]
    }

    /// The element that undoes this one.
    ///
    /// ```
    /// use halocast_maps::Dihedral;
    /// for element in Dihedral::all() {
    ///     assert_eq!(element.then(element.inverse()), Dihedral::IDENTITY);
    /// }
    /// ```
    pub fn inverse(self) -> Self {
        // Undoing flips after a transposition is to exchange them before it.
        if self.transpose { Self { flip_y: self.flip_x, flip_x: self.flip_y, ..self } } else { self }
    }

    /// This element followed by `next`, as one element.
    pub fn then(self, next: Self) -> Self {
        let (y, x) = if next.transpose { (self.flip_x, self.flip_y) } else { (self.flip_y, self.flip_x) };
        Self {
            transpose: self.transpose != next.transpose,
            flip_y: y != next.flip_y,
            flip_x: x != next.flip_x,
        }
    }

    /// The turned map. Exact: pixels only change places. Sides change with their axes.
    pub fn apply(self, map: &Map) -> Map {
        let mut view = map.values.view();
        let mut extent = map.extent;
        if self.transpose {
            view = view.reversed_axes();
            extent.reverse();
        }
        if self.flip_y {
            view.invert_axis(Axis(0));
        }
        if self.flip_x {
            view.invert_axis(Axis(1));
        }
        Map { values: view.as_standard_layout().into_owned(), extent, ..without_pixels(map) }
    }
}

/// The map moved by whole pixels `[y, x]`, with what leaves one side entering at the other. Exact; the inverse is the
/// opposite shift. For periodic maps this is a symmetry; on others it makes a seam.
///
/// ```
/// use halocast_core::Map;
/// use halocast_maps::shift;
/// use ndarray::array;
/// let map = Map::square("a", array![[1.0, 2.0], [3.0, 4.0]], 1.0);
/// assert_eq!(shift(&map, [1, 0]).values, array![[3.0, 4.0], [1.0, 2.0]]);
/// assert_eq!(shift(&shift(&map, [1, 5]), [-1, -5]), map);
/// ```
pub fn shift(map: &Map, by: [i64; 2]) -> Map {
    let [ny, nx] = map.shape();
    let source = |i: usize, by: i64, n: usize| (i as i64 - by % n as i64).rem_euclid(n as i64) as usize;
    let values =
        Array2::from_shape_fn((ny, nx), |(y, x)| map.values[[source(y, by[0], ny), source(x, by[1], nx)]]);
    Map { values, ..without_pixels(map) }
}

fn without_pixels(map: &Map) -> Map {
    Map {
        values: Array2::zeros((0, 0)),
        extent: map.extent,
        length_unit: map.length_unit.clone(),
        unit: map.unit.clone(),
        field: map.field.clone(),
        periodic: map.periodic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(ny: usize, nx: usize) -> Map {
        let values = Array2::from_shape_fn((ny, nx), |(y, x)| (y * nx + x) as f32);
        Map { extent: [ny as f64, nx as f64], ..Map::square("n", values, 1.0) }
    }

    #[test]
    fn composition_is_that_of_the_maps() {
        let map = numbered(3, 5);
        for a in Dihedral::all() {
            for b in Dihedral::all() {
                assert_eq!(b.apply(&a.apply(&map)), a.then(b).apply(&map), "{a:?} {b:?}");
            }
            assert_eq!(a.inverse().apply(&a.apply(&map)), map);
        }
    }

    #[test]
    fn the_eight_are_a_group_of_different_elements() {
        let map = numbered(3, 3);
        let mut seen: Vec<Vec<u32>> = Dihedral::all()
            .iter()
            .map(|e| e.apply(&map).values.iter().map(|v| v.to_bits()).collect())
            .collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 8);
        for a in Dihedral::all() {
            for b in Dihedral::all() {
                for c in Dihedral::all() {
                    assert_eq!(a.then(b).then(c), a.then(b.then(c)));
                }
            }
        }
        // A quarter turn: transpose, then reverse one axis; four of them are nothing.
        let quarter = Dihedral { transpose: true, flip_y: false, flip_x: true };
        let half = quarter.then(quarter);
        assert_eq!(half, Dihedral { transpose: false, flip_y: true, flip_x: true });
        assert_eq!(half.then(half), Dihedral::IDENTITY);
    }

    #[test]
    fn shifts_add() {
        let map = numbered(4, 7);
        assert_eq!(shift(&shift(&map, [3, -2]), [6, 11]), shift(&map, [9, 9]));
        assert_eq!(shift(&map, [i64::MIN, i64::MAX]).values.sum(), map.values.sum());
        assert_eq!(shift(&map, [4, -7]), map);
    }
}

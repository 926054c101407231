//! The 48 symmetries of the cube, for cubes and clouds.

use halocast_core::{Cube, Rng};
use ndarray::{Array3, Axis};
use serde::{Deserialize, Serialize};

use crate::Rotation;

/// An element of the symmetry group of the cube: axis a of the result is axis `axes[a]` of what was, reversed if `flip[a]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Octahedral {
    /// A permutation of 0, 1, 2.
    axes: [usize; 3],
    flip: [bool; 3],
}

impl Octahedral {
    /// The identity.
    pub const IDENTITY: Self = Self { axes: [0, 1, 2], flip: [false; 3] };

    /// All 48, the identity first.
    ///
    /// ```
    /// use halocast_maps::Octahedral;
    /// assert_eq!(Octahedral::all().iter().filter(|e| e.is_rotation()).count(), 24);
    /// ```
    pub fn all() -> [Self; 48] {
        const PERMUTATIONS: [[usize; 3]; 6] =
            [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 2, 1], [2, 1, 0], [1, 0, 2]];
        std::array::from_fn(|i| Self {
            axes: PERMUTATIONS[i / 8],
            flip: [i & 1 != 0, i & 2 != 0, i & 4 != 0],
        })
    }

    /// One at random.
    pub fn random(rng: &mut Rng) -> Self {
        Self::all()[rng.below(48)]
    }

    /// Whether it keeps left and right: 24 do.
    pub fn is_rotation(self) -> bool {
        let odd = (0..3).filter(|&a| self.axes[a] == a).count() == 1;
        let mirrored = self.flip.iter().filter(|f| **f).count() % 2 == 1;
        odd == mirrored
    }

    /// This element followed by `next`, as one element.
    pub fn then(self, next: Self) -> Self {
        Self {
            axes: next.axes.map(|a| self.axes[a]),
            flip: std::array::from_fn(|a| next.flip[a] != self.flip[next.axes[a]]),
        }
    }

    /// The element that undoes this one.
    pub fn inverse(self) -> Self {
        let mut inverse = Self::IDENTITY;
        for a in 0..3 {
            inverse.axes[self.axes[a]] = a;
            inverse.flip[self.axes[a]] = self.flip[a];
        }
        inverse
    }

    /// The axes that become the first, second and third, and which are reversed.
    #[cfg(feature = "candle")]
    pub(crate) fn parts(self) -> ([usize; 3], [bool; 3]) {
        (self.axes, self.flip)
    }

    /// What it does to vectors, as a matrix; of determinant -1 for reflections.
    pub fn matrix(self) -> Rotation {
        let sign = |a: usize| if self.flip[a] { -1.0 } else { 1.0 };
        let entry = |a: usize, b: usize| if self.axes[a] == b { sign(a) } else { 0.0 };
        Rotation { rows: std::array::from_fn(|a| std::array::from_fn(|b| entry(a, b))) }
    }

    /// The turned cube. Exact: cells only change places. Sides change with their axes.
    pub fn apply(self, cube: &Cube) -> Cube {
        let mut view = cube.values.view().permuted_axes(self.axes);
        for a in (0..3).filter(|&a| self.flip[a]) {
            view.invert_axis(Axis(a));
        }
        let values = view.as_standard_layout().into_owned();
        Cube { values, extent: self.axes.map(|a| cube.extent[a]), ..without_cells(cube) }
    }
}

/// The cube moved by whole cells `[x, y, z]`, with what leaves one face entering at the other; as [`shift`](crate::shift).
pub fn shift_cube(cube: &Cube, by: [i64; 3]) -> Cube {
    let shape = cube.values.dim();
    let source = |i: usize, by: i64, n: usize| (i as i64 - by % n as i64).rem_euclid(n as i64) as usize;
    let values = Array3::from_shape_fn(shape, |(x, y, z)| {
        cube.values[[source(x, by[0], shape.0), source(y, by[1], shape.1), source(z, by[2], shape.2)]]
    });
    Cube { values, ..without_cells(cube) }
}

fn without_cells(cube: &Cube) -> Cube {
    Cube {
        values: Array3::zeros((0, 0, 0)),
        extent: cube.extent,
        length_unit: cube.length_unit.clone(),
        unit: cube.unit.clone(),
        field: cube.field.clone(),
        periodic: cube.periodic,
    }
}

#[cfg(test)]
mod tests {
    use halocast_core::Unit;

    use super::*;

    fn numbered(shape: [usize; 3]) -> Cube {
        let [a, b, c] = shape;
        Cube {
            values: Array3::from_shape_fn((a, b, c), |(x, y, z)| ((x * b + y) * c + z) as f32),
            extent: shape.map(|n| n as f64),
            length_unit: Unit::mpc_h(),
            unit: Unit::dimensionless(),
            field: "n".into(),
            periodic: true,
        }
    }

    #[test]
    fn composition_is_that_of_the_cubes() {
        let cube = numbered([2, 3, 4]);
        for a in Octahedral::all() {
            for b in Octahedral::all() {
                assert_eq!(b.apply(&a.apply(&cube)), a.then(b).apply(&cube), "{a:?} {b:?}");
            }
            assert_eq!(a.inverse().apply(&a.apply(&cube)), cube);
            assert_eq!(a.then(a.inverse()), Octahedral::IDENTITY);
        }
    }

    #[test]
    fn there_are_forty_eight_and_half_are_rotations() {
        let cube = numbered([3, 3, 3]);
        let mut seen: Vec<Vec<u32>> = Octahedral::all()
            .iter()
            .map(|e| e.apply(&cube).values.iter().map(|v| v.to_bits()).collect())
            .collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 48);
        for element in Octahedral::all() {
            let [a, b, c] = element.matrix().rows;
            let determinant = a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0])
                + a[2] * (b[0] * c[1] - b[1] * c[0]);
            assert_eq!(determinant > 0.0, element.is_rotation(), "{element:?}");
        }
    }

    #[test]
    fn the_matrix_moves_points_as_cells_move() {
        let cube = numbered([5, 5, 5]);
        for element in Octahedral::all() {
            let turned = element.apply(&cube);
            for cell in [[0, 1, 4], [3, 2, 2]] {
                let centred = cell.map(|c| c as f64 - 2.0);
                let [x, y, z] = element.matrix().apply(centred).map(|c| (c + 2.0) as usize);
                assert_eq!(turned.values[[x, y, z]], cube.values[cell], "{element:?}");
            }
        }
    }

    #[test]
    fn shifts_add() {
        let cube = numbered([3, 4, 5]);
        assert_eq!(shift_cube(&shift_cube(&cube, [1, -2, 7]), [-1, 2, -7]), cube);
        assert_eq!(shift_cube(&cube, [1, 0, 0]).values[[1, 2, 3]], cube.values[[0, 2, 3]]);
    }
}

//! What models see: maps, cubes and clouds.

use ndarray::{Array2, Array3};

use crate::{Error, Result, Unit};

/// A two-dimensional field, `[y, x]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    /// Pixel values, `[y, x]`.
    pub values: Array2<f32>,
    /// Side lengths along `[y, x]`, in `length_unit`.
    pub extent: [f64; 2],
    /// Unit of the side lengths.
    pub length_unit: Unit,
    /// Unit of the values.
    pub unit: Unit,
    /// What the map shows, for example `Mcdm`.
    pub field: String,
    /// Whether opposite sides meet.
    pub periodic: bool,
}

impl Map {
    /// A periodic square map of side `side` Mpc/h, its values a pure number.
    pub fn square(field: impl Into<String>, values: Array2<f32>, side: f64) -> Self {
        let length_unit = Unit::mpc_h();
        Self {
            values,
            extent: [side; 2],
            length_unit,
            unit: Unit::dimensionless(),
            field: field.into(),
            periodic: true,
        }
    }

    /// The same map with another unit of its values.
    pub fn with_unit(mut self, unit: Unit) -> Self {
        self.unit = unit;
        self
    }

    /// The number of pixels `[y, x]`.
    pub fn shape(&self) -> [usize; 2] {
        [self.values.nrows(), self.values.ncols()]
    }

    /// The area of a pixel in `length_unit` squared.
    pub fn pixel_area(&self) -> f64 {
        let [ny, nx] = self.shape();
        self.extent[0] * self.extent[1] / (ny * nx) as f64
    }

    /// The same map with every value transformed.
    pub fn map_values(&self, f: impl Fn(f32) -> f32) -> Self {
        Self { values: self.values.mapv(f), ..self.clone() }
    }

    /// Checks that every pixel is finite.
    ///
    /// # Errors
    /// [`Error::Value`] naming the first pixel that is not.
    pub fn require_finite(&self) -> Result<()> {
        if self.values.as_slice_memory_order().is_some_and(all_finite) {
            return Ok(());
        }
        match self.values.indexed_iter().find(|(_, v)| !v.is_finite()) {
            None => Ok(()),
            Some(((y, x), v)) => Err(Error::Value {
                operation: "map",
                what: format!("pixel [y = {y}, x = {x}] of field {:?}", self.field),
                expected: "finite".into(),
                got: v.to_string(),
            }),
        }
    }
}

/// Whether every number is finite: without a branch in the loop, so that many are looked at together.
pub fn all_finite(values: &[f32]) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    let good = |part: &[f32]| {
        part.iter().fold(0u32, |bad, v| bad | u32::from(v.to_bits() & EXPONENT == EXPONENT)) == 0
    };
    values.chunks(4096).all(good)
}

/// A three-dimensional field, `[x, y, z]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Cube {
    /// Cell values, `[x, y, z]`.
    pub values: Array3<f32>,
    /// Side lengths along `[x, y, z]`, in `length_unit`.
    pub extent: [f64; 3],
    /// Unit of the side lengths.
    pub length_unit: Unit,
    /// Unit of the values.
    pub unit: Unit,
    /// What the cube shows.
    pub field: String,
    /// Whether opposite faces meet.
    pub periodic: bool,
}

/// A set of points with features.
#[derive(Clone, Debug, PartialEq)]
pub struct Cloud {
    /// Positions, `[point, 3]`, in `length_unit`.
    pub positions: Array2<f32>,
    /// Features, `[point, feature]`; may have no columns.
    pub features: Array2<f32>,
    /// The names of the features, one a column.
    pub feature_names: Vec<String>,
    /// Unit of the positions.
    pub length_unit: Unit,
    /// The side of the periodic box, when there is one.
    pub box_side: Option<f64>,
}

impl Cloud {
    /// A cloud without features.
    ///
    /// # Errors
    /// [`Error::Shape`] when `positions` is not `[point, 3]`.
    pub fn new(positions: Array2<f32>, length_unit: Unit, box_side: Option<f64>) -> Result<Self> {
        if positions.ncols() != 3 {
            return Err(Error::Shape {
                operation: "cloud",
                what: "positions".into(),
                expected: "[point, 3]".into(),
                got: positions.shape().to_vec(),
            });
        }
        let features = Array2::zeros((positions.nrows(), 0));
        Ok(Self { positions, features, feature_names: Vec::new(), length_unit, box_side })
    }

    /// The number of points.
    pub fn len(&self) -> usize {
        self.positions.nrows()
    }

    /// Whether there is no point.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An image `[y, x]` of a plane `[x, y]`: the one place where the axis order changes.
pub fn image_from_xy(plane: Array2<f32>) -> Array2<f32> {
    plane.reversed_axes().as_standard_layout().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_x_along_its_rows() {
        let plane = Array2::from_shape_fn((3, 2), |(x, y)| (10 * x + y) as f32);
        let image = image_from_xy(plane);
        assert_eq!(image.shape(), [2, 3]);
        assert_eq!(image[[1, 2]], 21.0);
        assert!(image.is_standard_layout());
    }

    #[test]
    fn a_nan_is_named_by_its_place() {
        let mut values = Array2::zeros((4, 4));
        values[[2, 1]] = f32::NAN;
        let message = Map::square("Mcdm", values, 25.0).require_finite().unwrap_err().to_string();
        assert!(message.contains("y = 2, x = 1") && message.contains("Mcdm"), "{message}");
    }
}

//! Maps as a data set for training: transformed once, augmented at random.

use std::sync::Arc;

use halocast_core::{Batch, Dataset, Error, Map, Result, Rng};
use ndarray::{Array2, ArrayD, ArrayViewD, Axis, Ix4, IxDyn};

use crate::Transform;

/// Maps of one shape, in one or more channels, with parameters or without.
///
/// The maps are transformed when they are given; [`MapDataset::restore`] turns what a model makes back into maps.
/// Augmentation, off at first, draws one of the symmetries of the square (of the rectangle, when the maps are not
/// square) and, when every channel is periodic, a shift; all channels of an example get the same.
///
/// ```
/// use halocast_core::{Dataset, Map, Rng};
/// use halocast_data::{MapDataset, Step, Transform};
/// use ndarray::Array2;
/// # fn main() -> halocast_core::Result<()> {
/// let maps: Vec<Map> = (1..5)
///     .map(|i| Map::square("Mcdm", Array2::from_shape_fn((8, 8), |(y, x)| (i * (8 * y + x + 1)) as f32), 25.0))
///     .collect();
/// let transform = Transform::fit(&[Step::Log10, Step::Standardise], &maps)?;
/// let dataset = MapDataset::new(&maps, transform)?.with_augmentation(true);
/// let batch = dataset.batch(&[0, 3], &mut Rng::new(1))?;
/// assert_eq!(batch.fields.shape(), [2, 1, 8, 8]);
///
/// let plain = dataset.with_augmentation(false).batch(&[2], &mut Rng::new(1))?;
/// let back = MapDataset::new(&maps, Transform::Identity)?.restore(&plain.fields, 0)?;
/// assert_eq!(back[0].shape(), [8, 8]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct MapDataset {
    channels: Vec<Channel>,
    /// The examples, as rows of the channels.
    indices: Vec<usize>,
    parameters: Option<Arc<Array2<f32>>>,
    augment: bool,
}

#[derive(Clone, Debug)]
struct Channel {
    values: Arc<Vec<Array2<f32>>>,
    transform: Transform,
    /// A map whose labels, sides and units stand for all.
    like: Map,
}

impl MapDataset {
    /// A data set of one channel.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is no map or shapes differ; [`Error::Value`] when a pixel is not finite.
    pub fn new(maps: &[Map], transform: Transform) -> Result<Self> {
        let channel = Channel::new(maps, transform)?;
        Ok(Self {
            channels: vec![channel],
            indices: (0..maps.len()).collect(),
            parameters: None,
            augment: false,
        })
    }

    /// Adds a channel: another field of the same examples, in the same order.
    ///
    /// # Errors
    /// [`Error::Shape`] when number or shape differ; [`Error::Value`] when a pixel is not finite.
    pub fn with_channel(mut self, maps: &[Map], transform: Transform) -> Result<Self> {
        let channel = Channel::new(maps, transform)?;
        let first = &self.channels[0];
        if channel.values.len() != first.values.len() || channel.like.shape() != first.like.shape() {
            let [ny, nx] = channel.like.shape();
            return Err(Error::Shape {
                operation: "data set",
                what: format!("channel {:?}", channel.like.field),
                expected: format!("{} maps of {:?}", first.values.len(), first.like.shape()),
                got: vec![channel.values.len(), ny, nx],
            });
        }
        self.channels.push(channel);
        Ok(self)
    }

    /// The same data set with parameters `[map, parameter]`, one row for each map.
    ///
    /// # Errors
    /// [`Error::Shape`] when the number of rows is another; [`Error::Value`] when a parameter is not finite.
    pub fn with_parameters(mut self, parameters: Array2<f32>) -> Result<Self> {
        let maps = self.channels[0].values.len();
        if parameters.nrows() != maps {
            return Err(Error::Shape {
                operation: "data set",
                what: "parameters".into(),
                expected: format!("[{maps}, parameter]"),
                got: parameters.shape().to_vec(),
            });
        }
        if let Some(((row, column), value)) = parameters.indexed_iter().find(|(_, v)| !v.is_finite()) {
            return Err(Error::Value {
                operation: "data set",
                what: format!("parameter {column} of map {row}"),
                expected: "finite".into(),
                got: value.to_string(),
            });
        }
        self.parameters = Some(Arc::new(parameters));
        Ok(self)
    }

    /// The same data set with augmentation on or off.
    pub fn with_augmentation(mut self, augment: bool) -> Self {
        self.augment = augment;
        self
    }

    /// The examples at `indices`, such as one set of a split; the maps are shared, not copied.
    ///
    /// # Errors
    /// [`Error::Value`] when an index is out of range.
    pub fn subset(&self, indices: &[usize]) -> Result<Self> {
        let indices = indices.iter().map(|&i| self.row(i)).collect::<Result<_>>()?;
        Ok(Self { indices, ..self.clone() })
    }

    /// The transform of a channel.
    pub fn transform(&self, channel: usize) -> Option<&Transform> {
        self.channels.get(channel).map(|c| &c.transform)
    }

    /// Example `i` of a channel as the map it was, up to the rounding of the transform.
    ///
    /// # Errors
    /// [`Error::Value`] when there is no such example or channel.
    pub fn map(&self, i: usize, channel: usize) -> Result<Map> {
        let row = self.row(i)?;
        let channel = self.channel(channel)?;
        Ok(channel.restore(channel.values[row].clone()))
    }

    /// The maps that transformed fields `[batch, channel, y, x]` stand for, of one channel, with the labels and units of
    /// the data set.
    ///
    /// # Errors
    /// [`Error::Shape`] when the fields are not of this form; [`Error::Value`] when there is no such channel.
    pub fn restore(&self, fields: &ArrayD<f32>, channel: usize) -> Result<Vec<Map>> {
        let view: ArrayViewD<'_, f32> = fields.view();
        let shape = fields.shape().to_vec();
        let like = self.channel(channel)?;
        match view.into_dimensionality::<Ix4>() {
            Ok(fields) if shape[1] > channel => {
                let fields = fields.index_axis_move(Axis(1), channel);
                Ok(fields.outer_iter().map(|field| like.restore(field.to_owned())).collect())
            }
            _ => Err(Error::Shape {
                operation: "data set",
                what: "fields".into(),
                expected: format!("[batch, more than {channel} channels, y, x]"),
                got: shape,
            }),
        }
    }

    fn channel(&self, channel: usize) -> Result<&Channel> {
        self.channels.get(channel).ok_or_else(|| out_of_range("channel", channel, self.channels.len()))
    }

    fn row(&self, i: usize) -> Result<usize> {
        self.indices.get(i).copied().ok_or_else(|| out_of_range("index", i, self.indices.len()))
    }
}

impl Dataset for MapDataset {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn event_shape(&self) -> Vec<usize> {
        let [ny, nx] = self.channels[0].like.shape();
        vec![self.channels.len(), ny, nx]
    }

    fn batch(&self, indices: &[usize], rng: &mut Rng) -> Result<Batch> {
        let [ny, nx] = self.channels[0].like.shape();
        let periodic = self.channels.iter().all(|c| c.like.periodic);
        let mut fields = Vec::with_capacity(indices.len() * self.channels.len() * ny * nx);
        let mut rows = Vec::with_capacity(indices.len());
        for &i in indices {
            let row = self.row(i)?;
            rows.push(row);
            let symmetry =
                if self.augment { Symmetry::draw(ny, nx, periodic, rng) } else { Symmetry::default() };
            for channel in &self.channels {
                symmetry.apply(&channel.values[row], &mut fields);
            }
        }
        let shape = [indices.len(), self.channels.len(), ny, nx];
        let fields = ArrayD::from_shape_vec(IxDyn(&shape), fields).map_err(|_| Error::Shape {
            operation: "data set",
            what: "batch".into(),
            expected: "one that fits into memory".into(),
            got: shape.to_vec(),
        })?;
        let parameters = self.parameters.as_ref().map(|p| p.select(Axis(0), &rows));
        Ok(Batch::new(fields, parameters))
    }
}

impl Channel {
    fn new(maps: &[Map], transform: Transform) -> Result<Self> {
        let Some(first) = maps.first() else {
            let expected = "at least one".into();
            return Err(Error::Shape { operation: "data set", what: "maps".into(), expected, got: vec![0] });
        };
        let mut values = Vec::with_capacity(maps.len());
        for (i, map) in maps.iter().enumerate() {
            if map.shape() != first.shape() || map.periodic != first.periodic {
                return Err(Error::Shape {
                    operation: "data set",
                    what: format!("map {i} ({:?})", map.field),
                    expected: format!("{:?}, periodic: {}, as the first map", first.shape(), first.periodic),
                    got: map.shape().to_vec(),
                });
            }
            map.require_finite()?;
            values.push(map.values.mapv(|x| transform.forward(x)).as_standard_layout().into_owned());
        }
        let like = Map { values: Array2::zeros(first.values.dim()), ..first.clone() };
        Ok(Self { values: Arc::new(values), transform, like })
    }

    fn restore(&self, values: Array2<f32>) -> Map {
        Map { values: values.mapv(|y| self.transform.inverse(y)), ..self.like.clone() }
    }
}

fn out_of_range(what: &str, got: usize, len: usize) -> Error {
    Error::Value {
        operation: "data set",
        what: what.into(),
        expected: format!("below {len}"),
        got: got.to_string(),
    }
}

/// An element of the dihedral group of the square, then a shift.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Symmetry {
    transpose: bool,
    flip_y: bool,
    flip_x: bool,
    shift: [usize; 2],
}

impl Symmetry {
    fn draw(ny: usize, nx: usize, periodic: bool, rng: &mut Rng) -> Self {
        let bits = rng.below(8);
        // The draws do not depend on the shape, so that other draws of the generator do not either.
        let shift = [rng.below(ny), rng.below(nx)];
        Self {
            transpose: bits & 1 != 0 && ny == nx,
            flip_y: bits & 2 != 0,
            flip_x: bits & 4 != 0,
            shift: if periodic { shift } else { [0, 0] },
        }
    }

    /// Appends the transformed map to `out`, row by row.
    fn apply(&self, map: &Array2<f32>, out: &mut Vec<f32>) {
        let (ny, nx) = map.dim();
        for y in 0..ny {
            let v = (y + self.shift[0]) % ny;
            let v = if self.flip_y { ny - 1 - v } else { v };
            for x in 0..nx {
                let u = (x + self.shift[1]) % nx;
                let u = if self.flip_x { nx - 1 - u } else { u };
                out.push(if self.transpose { map[[u, v]] } else { map[[v, u]] });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn maps(n: usize, ny: usize, nx: usize, periodic: bool) -> Vec<Map> {
        (0..n)
            .map(|i| {
                let values = Array2::from_shape_fn((ny, nx), |(y, x)| (i * ny * nx + y * nx + x) as f32);
                Map { periodic, ..Map::square("Mcdm", values, 25.0) }
            })
            .collect()
    }

    #[test]
    fn all_eight_symmetries_are_drawn_and_no_more() {
        let dataset =
            MapDataset::new(&maps(1, 3, 3, false), Transform::Identity).unwrap().with_augmentation(true);
        let mut rng = Rng::new(1);
        let mut seen = BTreeSet::new();
        for _ in 0..400 {
            let fields = dataset.batch(&[0], &mut rng).unwrap().fields;
            seen.insert(fields.iter().map(|&v| v as u32).collect::<Vec<_>>());
        }
        assert_eq!(seen.len(), 8);
        // Corners stay corners.
        assert!(seen.iter().all(|m| [m[0], m[2], m[6], m[8]].iter().all(|v| [0, 2, 6, 8].contains(v))));
    }

    #[test]
    fn a_periodic_map_is_shifted_and_keeps_its_neighbours() {
        let dataset =
            MapDataset::new(&maps(1, 4, 6, true), Transform::Identity).unwrap().with_augmentation(true);
        let mut rng = Rng::new(1);
        let mut first = BTreeSet::new();
        for _ in 0..400 {
            let fields = dataset.batch(&[0], &mut rng).unwrap().fields;
            let mut sorted: Vec<u32> = fields.iter().map(|&v| v as u32).collect();
            first.insert(sorted[0]);
            let step = (6 + sorted[1] % 6 - sorted[0] % 6) % 6;
            assert!(step == 1 || step == 5);
            sorted.sort_unstable();
            assert_eq!(sorted, (0..24).collect::<Vec<_>>());
        }
        assert_eq!(first.len(), 24, "every pixel comes to the corner");
    }

    #[test]
    fn the_same_generator_gives_the_same_batch() {
        let dataset =
            MapDataset::new(&maps(5, 4, 4, true), Transform::Identity).unwrap().with_augmentation(true);
        let batch = |seed| dataset.batch(&[4, 1, 1], &mut Rng::new(seed)).unwrap().fields;
        assert_eq!(batch(3), batch(3));
        assert_ne!(batch(3), batch(4));
    }

    #[test]
    fn channels_move_together_and_subsets_keep_their_parameters() {
        let all = maps(4, 4, 4, true);
        let parameters = Array2::from_shape_fn((4, 2), |(i, j)| (10 * i + j) as f32);
        let double: Vec<Map> = all.iter().map(|m| m.map_values(|v| 2.0 * v)).collect();
        let dataset = MapDataset::new(&all, Transform::Identity)
            .unwrap()
            .with_channel(&double, Transform::Identity)
            .unwrap()
            .with_parameters(parameters)
            .unwrap()
            .with_augmentation(true)
            .subset(&[3, 1])
            .unwrap();
        assert_eq!((dataset.len(), dataset.event_shape()), (2, vec![2, 4, 4]));
        let batch = dataset.batch(&[1, 0], &mut Rng::new(8)).unwrap();
        assert_eq!(batch.parameters.unwrap(), ndarray::array![[10.0, 11.0], [30.0, 31.0]]);
        let (one, two) = (batch.fields.index_axis(Axis(1), 0), batch.fields.index_axis(Axis(1), 1));
        assert_eq!(two, one.mapv(|v| 2.0 * v));
        assert_eq!(dataset.map(0, 1).unwrap().values, double[3].values);
        assert!(dataset.batch(&[2], &mut Rng::new(1)).is_err());
        assert!(
            MapDataset::new(&all, Transform::Identity)
                .unwrap()
                .with_parameters(Array2::zeros((3, 2)))
                .is_err()
        );
        assert!(MapDataset::new(&[], Transform::Identity).is_err());
    }

    #[test]
    fn fields_are_restored_as_maps() {
        let all = maps(3, 4, 4, true);
        let transform = Transform::MinMax { min: 0.0, max: 50.0 };
        let dataset = MapDataset::new(&all, transform).unwrap();
        let batch = dataset.batch(&[0, 2], &mut Rng::new(0)).unwrap();
        let back = dataset.restore(&batch.fields, 0).unwrap();
        assert_eq!(back.len(), 2);
        assert!(back[1].values.iter().zip(&all[2].values).all(|(a, b)| (a - b).abs() < 1e-4));
        assert_eq!((back[1].extent, &back[1].field), (all[2].extent, &all[2].field));
        assert!(dataset.restore(&batch.fields, 1).is_err());
    }
}

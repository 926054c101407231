//! Batches of the Multifield Dataset straight from its file, for sets that no memory holds.

use std::sync::Arc;

use halocast_core::{Batch, Dataset, Error, Result as CoreResult, Rng};
use ndarray::{Array2, Array3, ArrayD, IxDyn};
use rayon::prelude::*;

use super::maps::CmdMaps;
use crate::step::Range;
use crate::transform::BLOCK;
use crate::{Result, Step, Transform};

impl CmdMaps {
    /// Transformed maps `[map, y, x]` in the order of `indices`, read and transformed in parallel.
    ///
    /// ```
    /// use halocast_core::Map;
    /// use halocast_data::{CmdMaps, Transform, write_cmd_maps};
    /// use ndarray::Array2;
    /// # fn main() -> halocast_data::Result<()> {
    /// let maps: Vec<Map> =
    ///     (1..31).map(|i| Map::square("Mcdm", Array2::from_elem((8, 8), i as f32), 25.0)).collect();
    /// let dir = tempfile::tempdir().unwrap();
    /// let path = write_cmd_maps(dir.path(), "Mcdm", "Mock", "LH", 0.0, &maps)?;
    /// let batch = CmdMaps::open(&path)?.batch(&[9, 0], &Transform::Log10 { floor: 1e-3 })?;
    /// assert_eq!((batch.shape(), batch[[0, 3, 3]], batch[[1, 0, 0]]), (&[2, 8, 8][..], 1.0, 0.0));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`CmdMaps::map`].
    pub fn batch(&self, indices: &[usize], transform: &Transform) -> Result<Array3<f32>> {
        let [ny, nx] = self.shape();
        let mut values = vec![0f32; indices.len() * ny * nx];
        values.par_chunks_mut(ny * nx).zip(indices).try_for_each(|(out, &i)| {
            self.read_into(i, out)?;
            transform.forward_slice(out);
            Ok::<(), crate::Error>(())
        })?;
        Array3::from_shape_vec((indices.len(), ny, nx), values).map_err(|e| {
            crate::Error::invalid(self.path(), "batch", "one that fits into memory", e.to_string())
        })
    }

    /// Finds the constants of `steps` from the maps at `indices`, as [`Transform::fit`] does from maps in memory: the file
    /// is read once for each step that is to be fitted, in parallel, with a map a thread in memory.
    ///
    /// Sums are of each map, then of the maps in their order: the same at any number of threads.
    ///
    /// # Errors
    /// As [`CmdMaps::map`] and [`Transform::fit`].
    pub fn fit(&self, steps: &[Step], indices: &[usize]) -> Result<Transform> {
        let mut fitted = Vec::with_capacity(steps.len());
        for step in steps {
            if step.is_given() && !indices.is_empty() {
                fitted.push(step.fit(Range::of([0.0].into_iter()), |_| Ok::<f64, crate::Error>(0.0))?);
                continue;
            }
            let so_far = Transform::chain(fitted.clone());
            let parts = self.ranges(indices, &so_far)?;
            let range = parts.iter().fold(Range::none(), |all, (part, _)| all.and(*part));
            let squares = |mean: f64| {
                let square = |(part, about): &(Range, f64)| {
                    about + part.count as f64 * (part.sum / part.count as f64 - mean).powi(2)
                };
                Ok::<f64, crate::Error>(parts.iter().map(square).sum())
            };
            fitted.push(step.fit(range, squares)?);
        }
        Ok(Transform::chain(fitted))
    }

    /// The range of each transformed map, in the order of `indices`, and the sum of squares about its mean.
    fn ranges(&self, indices: &[usize], transform: &Transform) -> Result<Vec<(Range, f64)>> {
        let [ny, nx] = self.shape();
        let room = || (vec![0f32; ny * nx], vec![0f64; ny * nx]);
        let one = |(stored, wide): &mut (Vec<f32>, Vec<f64>), &i: &usize| {
            self.read_into(i, stored)?;
            for (wide, stored) in wide.chunks_mut(BLOCK).zip(stored.chunks(BLOCK)) {
                wide.iter_mut().zip(stored).for_each(|(wide, x)| *wide = f64::from(*x));
                transform.forward_block(wide);
            }
            let range = Range::of(wide.iter().copied());
            let mean = range.sum / range.count as f64;
            Ok((range, wide.iter().map(|x| (x - mean).powi(2)).sum()))
        };
        indices.par_iter().map_init(room, one).collect()
    }
}

/// A file of maps as a data set of one channel: nothing is kept in memory, every batch is read.
///
/// Augmentation is left to [`MapDataset`](crate::MapDataset), which holds its maps.
#[derive(Clone, Debug)]
pub struct CmdDataset {
    maps: Arc<CmdMaps>,
    transform: Transform,
    parameters: Option<Arc<Array2<f32>>>,
}

impl CmdDataset {
    /// The maps of a file, transformed as they are read.
    pub fn new(maps: CmdMaps, transform: Transform) -> Self {
        Self { maps: Arc::new(maps), transform, parameters: None }
    }

    /// The same with the parameters of each map's simulation.
    ///
    /// # Errors
    /// As [`CmdMaps::with_params`].
    pub fn with_params(mut self, params: &super::CmdParams) -> Result<Self> {
        let rows = self.maps.len() / params.len().max(1);
        if params.is_empty() || !self.maps.len().is_multiple_of(params.len()) {
            let expected = format!("a multiple of the {} rows of {}", params.len(), params.path.display());
            let got = self.maps.len().to_string();
            return Err(crate::Error::invalid(self.maps.path(), "number of maps", expected, got));
        }
        let value = |(i, j): (usize, usize)| params.values[[i / rows, j]] as f32;
        self.parameters =
            Some(Arc::new(Array2::from_shape_fn((self.maps.len(), params.values.ncols()), value)));
        Ok(self)
    }
}

impl Dataset for CmdDataset {
    fn len(&self) -> usize {
        self.maps.len()
    }

    fn event_shape(&self) -> Vec<usize> {
        let [ny, nx] = self.maps.shape();
        vec![1, ny, nx]
    }

    fn batch(&self, indices: &[usize], _: &mut Rng) -> CoreResult<Batch> {
        let values = self.maps.batch(indices, &self.transform).map_err(|error| Error::Value {
            operation: "batch of maps",
            what: "the file".into(),
            expected: "finite maps that can be read".into(),
            got: error.to_string(),
        })?;
        let [ny, nx] = self.maps.shape();
        let shape = [indices.len(), 1, ny, nx];
        let fields = values.into_shape_with_order(IxDyn(&shape)).map_err(|_| Error::Shape {
            operation: "batch of maps",
            what: "fields".into(),
            expected: format!("{shape:?}"),
            got: vec![indices.len(), ny, nx],
        })?;
        let fields: ArrayD<f32> = fields;
        let parameters = self.parameters.as_ref().map(|p| p.select(ndarray::Axis(0), indices));
        Ok(Batch::new(fields, parameters))
    }
}

#[cfg(test)]
mod tests {
    use halocast_core::Map;

    use super::*;
    use crate::{CmdParams, write_cmd_maps};

    #[test]
    fn batches_are_the_maps_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut rng = Rng::new(3);
        let maps: Vec<Map> = (0..30)
            .map(|_| {
                Map::square("Mcdm", Array2::from_shape_fn((16, 16), |_| rng.normal().exp() as f32), 25.0)
            })
            .collect();
        let path = write_cmd_maps(dir.path(), "Mcdm", "Mock", "LH", 0.0, &maps).unwrap();
        let file = CmdMaps::open(&path).unwrap();
        let transform = Transform::Chain {
            steps: vec![Transform::Log10 { floor: 1e-3 }, Transform::MinMax { min: -2.0, max: 2.0 }],
        };
        let batch = file.batch(&[17, 3, 3], &transform).unwrap();
        for (n, i) in [17, 3, 3].into_iter().enumerate() {
            let expected = transform.forward_map(&file.map(i).unwrap()).values;
            assert_eq!(batch.index_axis(ndarray::Axis(0), n), expected);
        }
        // Of any side; a pixel that is not finite is told by its place.
        for (side, bad) in [(16, false), (17, false), (32, true), (9, true)] {
            let path = dir.path().join(format!("{side}.npy"));
            let mut values = Array3::from_shape_fn((4, side, side), |(i, y, x)| (1 + i * y + x) as f32);
            if bad {
                values[[2, 5, 8]] = f32::NAN;
            }
            crate::write_npy(&path, &values).unwrap();
            let file = CmdMaps::open(&path).unwrap();
            match file.batch(&[3, 2], &transform) {
                Ok(batch) => {
                    let expected = transform.forward(values[[3, 7, 2]]);
                    assert_eq!((batch[[0, 7, 2]], batch.shape()), (expected, &[2, side, side][..]));
                    assert!(!bad);
                }
                Err(error) => {
                    let message = error.to_string();
                    assert!(bad && message.contains("map 2, pixel [y = 5, x = 8]"), "{message}");
                    assert!(file.batch(&[3, 0], &transform).is_ok());
                }
            }
        }
        assert!(file.batch(&[30], &transform).unwrap_err().to_string().contains("below 30"));
        for steps in [&[Step::Log10, Step::Standardise][..], &[Step::Log10Above(1e-2), Step::MinMax], &[]] {
            let chosen = [4, 17, 2, 9];
            let few = file.maps(chosen).unwrap();
            let (streamed, held) = (file.fit(steps, &chosen).unwrap(), Transform::fit(steps, &few).unwrap());
            for x in [0.1f32, 1.0, 7.0] {
                assert!((streamed.forward(x) - held.forward(x)).abs() < 1e-6, "{streamed:?} {held:?}");
            }
        }
        assert!(file.fit(&[Step::MinMax], &[]).unwrap_err().to_string().contains("number of pixels"));
        assert!(file.fit(&[Step::MinMax], &[30]).unwrap_err().to_string().contains("below 30"));
        let params = CmdParams {
            path: "p.txt".into(),
            values: Array2::from_shape_fn((2, 6), |(i, j)| (10 * i + j) as f64),
        };
        let dataset = CmdDataset::new(file, transform).with_params(&params).unwrap();
        let batch = dataset.batch(&[14, 15], &mut Rng::new(0)).unwrap();
        assert_eq!(batch.fields.shape(), [2, 1, 16, 16]);
        assert_eq!(batch.parameters.unwrap().column(1).to_vec(), [1.0, 11.0]);
        let params = CmdParams { path: "p.txt".into(), values: Array2::ones((7, 6)) };
        assert!(dataset.with_params(&params).unwrap_err().to_string().contains("7 rows"));
    }
}

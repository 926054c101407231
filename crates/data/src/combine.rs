//! Data sets made of data sets: mapped, zipped, chosen from, shuffled.

use std::sync::Arc;

use halocast_core::{Batch, Dataset, Error, Result, Rng};
use ndarray::{Axis, concatenate};

use crate::loader::{Loader, LoaderOptions};

/// What every data set can be made into.
///
/// ```
/// use halocast_core::{Batch, Dataset, Map, Rng};
/// use halocast_data::{DatasetExt, LoaderOptions, MapDataset, Transform};
/// use ndarray::Array2;
/// # fn main() -> halocast_core::Result<()> {
/// let maps = |factor: f32| -> Vec<Map> {
///     (0..6).map(|i| Map::square("m", Array2::from_elem((4, 4), factor * i as f32), 25.0)).collect()
/// };
/// let gas = MapDataset::new(&maps(1.0), Transform::Identity)?.with_augmentation(true);
/// let dm = MapDataset::new(&maps(5.0), Transform::Identity)?.with_augmentation(true);
/// // Gas from dark matter: pairs of the same galaxies, augmented alike.
/// let pairs = gas.given(dm)?.map(|batch| Ok(Batch { fields: batch.fields + 1.0, ..batch }));
/// let train = pairs.select(vec![0, 2, 3])?.shuffle(7);
/// let mut loader = train.load(LoaderOptions { batch: 2, workers: 2, ..LoaderOptions::default() })?;
/// let batch = loader.next().unwrap()?;
/// assert_eq!(batch.fields.shape(), [2, 1, 4, 4]);
/// assert_eq!(batch.condition.unwrap().shape(), [2, 1, 4, 4]);
/// assert_eq!(loader.next().unwrap()?.fields.shape(), [1, 1, 4, 4]);
/// assert!(loader.next().is_none());
/// # Ok(()) }
/// ```
pub trait DatasetExt: Dataset + Sized + 'static {
    /// Every batch through `f`, which keeps its number of examples.
    fn map<F>(self, f: F) -> Mapped<Self, F>
    where
        F: Fn(Batch) -> Result<Batch> + Send + Sync,
    {
        Mapped { inner: self, f }
    }

    /// Example i of both: the channels of this, then those of the other; parameters likewise.
    ///
    /// Both draw from the same generator, so that augmentation moves them alike.
    ///
    /// # Errors
    /// [`Error::Shape`] when numbers of examples or shapes behind the channel differ.
    fn zip<D: Dataset + 'static>(self, other: D) -> Result<Zipped<Self, D>> {
        let (a, b) = (self.event_shape(), other.event_shape());
        if self.len() != other.len() || a.get(1..) != b.get(1..) {
            return Err(Error::Shape {
                operation: "zip of data sets",
                what: "the second".into(),
                expected: format!("{} examples of [channel, {:?}]", self.len(), a.get(1..).unwrap_or(&[])),
                got: std::iter::once(other.len()).chain(b).collect(),
            });
        }
        Ok(Zipped { first: self, second: other })
    }

    /// Example i of this, to be made from the fields of example i of the other, which become its
    /// [`Batch::condition`]; shuffle one of them first for unpaired translation.
    ///
    /// Both draw from the same generator, so that augmentation moves them alike.
    ///
    /// # Errors
    /// [`Error::Shape`] when the numbers of examples differ.
    fn given<D: Dataset + 'static>(self, condition: D) -> Result<Given<Self, D>> {
        if self.len() != condition.len() {
            return Err(Error::Shape {
                operation: "pairing of data sets",
                what: "the condition".into(),
                expected: format!("{} examples", self.len()),
                got: std::iter::once(condition.len()).chain(condition.event_shape()).collect(),
            });
        }
        Ok(Given { target: self, condition })
    }

    /// The examples at `indices`, such as one set of a split.
    ///
    /// # Errors
    /// [`Error::Value`] when an index is out of range.
    fn select(self, indices: Vec<usize>) -> Result<Selected<Self>> {
        let len = self.len();
        if let Some(bad) = indices.iter().find(|i| **i >= len) {
            return Err(Error::Value {
                operation: "selection of examples",
                what: "index".into(),
                expected: format!("below {len}"),
                got: bad.to_string(),
            });
        }
        Ok(Selected { inner: self, indices })
    }

    /// All examples in an order that the seed draws.
    fn shuffle(self, seed: u64) -> Selected<Self> {
        let mut indices: Vec<usize> = (0..self.len()).collect();
        Rng::new(seed).split_named("order").shuffle(&mut indices);
        Selected { inner: self, indices }
    }

    /// Batches of it, made by threads ahead of their use.
    ///
    /// # Errors
    /// As [`Loader::new`].
    fn load(self, options: LoaderOptions) -> Result<Loader> {
        Loader::new(Arc::new(self), options)
    }
}

impl<D: Dataset + Sized + 'static> DatasetExt for D {}

/// See [`DatasetExt::map`].
#[derive(Clone, Debug)]
pub struct Mapped<D, F> {
    inner: D,
    f: F,
}

impl<D: Dataset, F: Fn(Batch) -> Result<Batch> + Send + Sync> Dataset for Mapped<D, F> {
    fn len(&self) -> usize {
        self.inner.len()
    }

    /// The shape of what is mapped; a map that changes it is asked for one example.
    fn event_shape(&self) -> Vec<usize> {
        let one = || (self.f)(self.inner.batch(&[0], &mut Rng::new(0))?);
        match if self.inner.is_empty() { None } else { one().ok() } {
            Some(batch) => batch.fields.shape().get(1..).unwrap_or(&[]).to_vec(),
            None => self.inner.event_shape(),
        }
    }

    fn batch(&self, indices: &[usize], rng: &mut Rng) -> Result<Batch> {
        let batch = (self.f)(self.inner.batch(indices, rng)?)?;
        let count = batch.fields.shape().first().copied().unwrap_or(0);
        if count != indices.len() {
            return Err(Error::Shape {
                operation: "map of a data set",
                what: "a batch".into(),
                expected: format!("{} examples", indices.len()),
                got: batch.fields.shape().to_vec(),
            });
        }
        Ok(batch)
    }
}

/// See [`DatasetExt::zip`].
#[derive(Clone, Debug)]
pub struct Zipped<A, B> {
    first: A,
    second: B,
}

impl<A: Dataset, B: Dataset> Dataset for Zipped<A, B> {
    fn len(&self) -> usize {
        self.first.len()
    }

    fn event_shape(&self) -> Vec<usize> {
        let mut shape = self.first.event_shape();
        if let (Some(channels), Some(more)) = (shape.first_mut(), self.second.event_shape().first()) {
            *channels += more;
        }
        shape
    }

    fn batch(&self, indices: &[usize], rng: &mut Rng) -> Result<Batch> {
        let mut alike = rng.clone();
        let (a, b) = (self.first.batch(indices, rng)?, self.second.batch(indices, &mut alike)?);
        let misfit = |what: &str, got: &[usize]| Error::Shape {
            operation: "zip of data sets",
            what: what.into(),
            expected: format!("like {:?} but for the channel", a.fields.shape()),
            got: got.to_vec(),
        };
        let fields = concatenate(Axis(1), &[a.fields.view(), b.fields.view()])
            .map_err(|_| misfit("fields", b.fields.shape()))?;
        let parameters = match (a.parameters.as_ref(), b.parameters.as_ref()) {
            (Some(p), Some(q)) => Some(
                concatenate(Axis(1), &[p.view(), q.view()]).map_err(|_| misfit("parameters", q.shape()))?,
            ),
            (one, None) | (None, one) => one.cloned(),
        };
        Ok(Batch::new(fields, parameters))
    }
}

/// See [`DatasetExt::given`].
#[derive(Clone, Debug)]
pub struct Given<A, B> {
    target: A,
    condition: B,
}

impl<A: Dataset, B: Dataset> Dataset for Given<A, B> {
    fn len(&self) -> usize {
        self.target.len()
    }

    fn event_shape(&self) -> Vec<usize> {
        self.target.event_shape()
    }

    fn batch(&self, indices: &[usize], rng: &mut Rng) -> Result<Batch> {
        let mut alike = rng.clone();
        let target = self.target.batch(indices, rng)?;
        Ok(target.with_condition(self.condition.batch(indices, &mut alike)?.fields))
    }
}

/// See [`DatasetExt::select`] and [`DatasetExt::shuffle`].
#[derive(Clone, Debug)]
pub struct Selected<D> {
    inner: D,
    indices: Vec<usize>,
}

impl<D: Dataset> Dataset for Selected<D> {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn event_shape(&self) -> Vec<usize> {
        self.inner.event_shape()
    }

    fn batch(&self, indices: &[usize], rng: &mut Rng) -> Result<Batch> {
        let mut rows = Vec::with_capacity(indices.len());
        for &i in indices {
            rows.push(*self.indices.get(i).ok_or_else(|| Error::Value {
                operation: "selection of examples",
                what: "index".into(),
                expected: format!("below {}", self.indices.len()),
                got: i.to_string(),
            })?);
        }
        self.inner.batch(&rows, rng)
    }
}

#[cfg(test)]
mod tests {
    use halocast_core::Map;
    use ndarray::{Array2, s};

    use super::*;
    use crate::{MapDataset, Transform};

    fn maps(factor: f32) -> MapDataset {
        let map = |i: usize| {
            let values = Array2::from_shape_fn((4, 4), |(y, x)| factor * (100 * i + 4 * y + x) as f32);
            Map::square("m", values, 25.0)
        };
        let maps: Vec<Map> = (0..5).map(map).collect();
        MapDataset::new(&maps, Transform::Identity).unwrap().with_augmentation(true)
    }

    #[test]
    fn a_pair_moves_together() {
        let pairs = maps(1.0).zip(maps(2.0)).unwrap();
        assert_eq!((pairs.len(), pairs.event_shape()), (5, vec![2, 4, 4]));
        let batch = pairs.batch(&[4, 0, 2], &mut Rng::new(3)).unwrap();
        let (one, two) = (batch.fields.slice(s![.., 0, .., ..]), batch.fields.slice(s![.., 1, .., ..]));
        assert_eq!(two, one.mapv(|v| 2.0 * v));
        let short = maps(1.0).select(vec![0]).unwrap();
        assert!(maps(1.0).zip(short).unwrap_err().to_string().contains("5 examples"));
    }

    #[test]
    fn a_condition_moves_with_its_target() {
        let pairs = maps(1.0).given(maps(2.0)).unwrap();
        assert_eq!((pairs.len(), pairs.event_shape()), (5, vec![1, 4, 4]));
        let batch = pairs.batch(&[4, 0, 2], &mut Rng::new(3)).unwrap();
        assert_eq!(batch.condition.unwrap(), batch.fields.mapv(|v| 2.0 * v));
        let short = maps(1.0).select(vec![0]).unwrap();
        assert!(maps(1.0).given(short).unwrap_err().to_string().contains("5 examples"));
    }

    #[test]
    fn selection_and_order_are_of_the_examples() {
        let plain = || maps(1.0).with_augmentation(false);
        let chosen = plain().select(vec![3, 1]).unwrap();
        let first = |d: &dyn Dataset, i: usize| d.batch(&[i], &mut Rng::new(0)).unwrap().fields[[0, 0, 0, 0]];
        assert_eq!((first(&chosen, 0), first(&chosen, 1)), (300.0, 100.0));
        assert!(chosen.batch(&[2], &mut Rng::new(0)).is_err());
        assert!(plain().select(vec![5]).is_err());
        let order = |seed| -> Vec<u32> {
            let shuffled = plain().shuffle(seed);
            (0..5).map(|i| first(&shuffled, i) as u32 / 100).collect()
        };
        let mut sorted = order(1);
        assert_eq!(sorted, order(1));
        assert!((0..5).any(|seed| order(seed) != sorted));
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_map_keeps_the_number_of_examples() {
        let halves = maps(1.0)
            .map(|b| Ok(Batch::new(b.fields.slice(s![.., .., ..2, ..]).to_owned().into_dyn(), None)));
        assert_eq!(halves.event_shape(), [1, 2, 4]);
        let wrong = maps(1.0)
            .map(|b| Ok(Batch::new(b.fields.slice(s![..1, .., .., ..]).to_owned().into_dyn(), None)));
        assert!(wrong.batch(&[0, 1], &mut Rng::new(0)).is_err());
    }
}

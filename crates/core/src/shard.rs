//! The part of a step's batch that one rank works on, and random draws that do not depend on how it was cut.

use std::ops::Range;

use ndarray::ArrayD;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Batch, Dataset, Error, Result, Rng};

/// Which examples of the whole batch of a step a [`Batch`] holds: a contiguous run of them.
///
/// Every draw for an example is keyed by its position in the whole batch, so the examples of a step and their noise are
/// the same numbers in one batch of 8, in two of 4 and in four of 2.
///
/// ```
/// use halocast_core::{Rng, Shard};
/// let whole = Shard::whole(5).normals(&mut Rng::new(1), 3);
/// let (a, b) = (Shard::of_rank(0, 2, 5), Shard::of_rank(1, 2, 5));
/// assert_eq!((a.range(), b.range()), (0..3, 3..5));
/// let parts = [a.normals(&mut Rng::new(1), 3), b.normals(&mut Rng::new(1), 3)].concat();
/// assert_eq!(parts, whole);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// The position of its first example in the whole batch.
    pub first: usize,
    /// The number of its examples.
    pub len: usize,
    /// The number of examples of the whole batch.
    pub total: usize,
}

impl Shard {
    /// All of a batch of `total` examples.
    pub fn whole(total: usize) -> Self {
        Self { first: 0, len: total, total }
    }

    /// The part of rank `rank` of `ranks`: the first `total % ranks` ranks hold one example more than the others, and
    /// ranks beyond the batch hold none.
    pub fn of_rank(rank: usize, ranks: usize, total: usize) -> Self {
        let ranks = ranks.max(1);
        let (each, more) = (total / ranks, total % ranks);
        let first = (rank * each + rank.min(more)).min(total);
        let len = if rank < ranks { each + usize::from(rank < more) } else { 0 };
        Self { first, len, total }
    }

    /// The positions of its examples in the whole batch.
    pub fn range(&self) -> Range<usize> {
        self.first..self.first + self.len
    }

    /// Its weight in a mean over the whole batch: `len / total`, 0 for an empty batch.
    pub fn weight(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.len as f64 / self.total as f64 }
    }

    /// A generator for each of its examples.
    ///
    /// `rng` must stand where it stands on every other rank; it moves on by the same amount on all of them, so it can
    /// go on to serve draws for the whole batch.
    pub fn generators(&self, rng: &mut Rng) -> Vec<Rng> {
        let root = Rng::new(rng.next_u64());
        self.range().map(|position| root.split(position as u64)).collect()
    }

    /// Standard normal numbers, `each` for every example, keyed by its position: `[len, each]` in row order.
    pub fn normals(&self, rng: &mut Rng, each: usize) -> Vec<f32> {
        let mut generators = self.generators(rng);
        let mut out = vec![0.0; self.len * each];
        if each > 0 {
            let rows = out.par_chunks_mut(each).zip(generators.par_iter_mut());
            rows.for_each(|(row, generator)| generator.fill_normal(row));
        }
        out
    }

    /// Its examples of `dataset`, where `indices` are those of the whole batch; each is augmented by a generator of its
    /// own.
    ///
    /// # Errors
    /// [`Error::Shape`] when there are not `total` indices, or the data set's examples do not fit together; errors of
    /// the data set.
    pub fn batch(&self, dataset: &dyn Dataset, indices: &[usize], rng: &mut Rng) -> Result<Batch> {
        let misfit = |what: &str, expected: String, got: Vec<usize>| Error::Shape {
            operation: "shard of a batch",
            what: what.into(),
            expected,
            got,
        };
        let Some(own) = indices.get(self.range()).filter(|_| indices.len() == self.total) else {
            return Err(misfit("indices", format!("[{}]", self.total), vec![indices.len()]));
        };
        let mut generators = self.generators(rng);
        let one = |(&index, generator): (&usize, &mut Rng)| dataset.batch(&[index], generator);
        let examples = own.iter().zip(&mut generators).map(one).collect::<Result<Vec<Batch>>>()?;
        if examples.is_empty() {
            let shape: Vec<usize> = std::iter::once(0).chain(dataset.event_shape()).collect();
            return Ok(Batch { shard: *self, ..Batch::new(ArrayD::zeros(shape), None) });
        }
        let whole = Batch::concatenate(&examples)?;
        let counts = [
            Some(whole.fields.shape()[0]),
            whole.parameters.as_ref().map(|p| p.nrows()),
            whole.condition.as_ref().map(|c| c.shape()[0]),
            whole.counts.as_ref().map(Vec::len),
        ];
        if counts.into_iter().flatten().any(|n| n != self.len) {
            let expected = format!("one example for each of {} indices", self.len);
            return Err(misfit("batch", expected, vec![whole.fields.shape()[0]]));
        }
        Ok(Batch { shard: *self, ..whole })
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    /// Examples of their own number, with noise.
    struct Noisy;

    impl Dataset for Noisy {
        fn len(&self) -> usize {
            100
        }

        fn event_shape(&self) -> Vec<usize> {
            vec![1, 2]
        }

        fn batch(&self, indices: &[usize], rng: &mut Rng) -> Result<Batch> {
            let values = indices.iter().flat_map(|&i| [i as f32, rng.normal() as f32]).collect();
            let fields = ArrayD::from_shape_vec(vec![indices.len(), 1, 2], values).unwrap();
            let parameters = Array2::from_shape_fn((indices.len(), 1), |(i, _)| indices[i] as f32);
            Ok(Batch::new(fields, Some(parameters)))
        }
    }

    #[test]
    fn ranks_share_a_batch_without_gap_or_overlap() {
        for total in 0..12 {
            for ranks in 1..8 {
                let shards: Vec<Shard> = (0..ranks).map(|r| Shard::of_rank(r, ranks, total)).collect();
                let positions: Vec<usize> = shards.iter().flat_map(Shard::range).collect();
                assert_eq!(positions, (0..total).collect::<Vec<_>>(), "{total} on {ranks}");
                let lens: Vec<usize> = shards.iter().map(|s| s.len).collect();
                assert!(lens.iter().max().unwrap() - lens.iter().min().unwrap() <= 1);
                let weight: f64 = shards.iter().map(Shard::weight).sum();
                assert!(total == 0 || (weight - 1.0).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn examples_and_noise_do_not_depend_on_the_cut() {
        let indices = [7, 3, 3, 90, 1, 0, 55, 12];
        let cut = |ranks: usize| {
            let (mut values, mut noise, mut parameters, mut after) = (vec![], vec![], vec![], vec![]);
            for rank in 0..ranks {
                let mut rng = Rng::new(5).split(2);
                let shard = Shard::of_rank(rank, ranks, indices.len());
                let batch = shard.batch(&Noisy, &indices, &mut rng).unwrap();
                assert_eq!(batch.shard, shard);
                values.extend(batch.fields.iter().copied());
                parameters.extend(batch.parameters.iter().flatten().copied());
                noise.extend(shard.normals(&mut rng, 5));
                after.push(rng.next_u64());
            }
            assert!(after.iter().all(|a| *a == after[0]), "the ranks' generators stay together");
            (values, noise, parameters, after[0])
        };
        let whole = cut(1);
        assert_eq!(whole.2, indices.map(|i| i as f32));
        for ranks in [2, 3, 4, 8, 11] {
            assert_eq!(cut(ranks), whole, "{ranks} ranks");
        }
        // The same example twice in a batch is augmented twice.
        assert_ne!(whole.0[3], whole.0[5]);
        assert!(Shard::whole(7).batch(&Noisy, &indices, &mut Rng::new(1)).is_err());
    }
}

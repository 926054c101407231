//! Where training meets data: a data set gives batches.

use std::sync::Arc;

use ndarray::{Array2, ArrayD, Axis, concatenate};

use crate::{Error, Result, Rng, Shard};

/// A batch of training examples.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The fields, `[batch, channel, ...]`; maps are `[batch, channel, y, x]`, clouds `[batch, point, feature]`.
    pub fields: ArrayD<f32>,
    /// Parameters of each example, `[batch, parameter]`, when the data set has them.
    pub parameters: Option<Array2<f32>>,
    /// What the fields are to be made from, when the data set has it: the maps of another field, or the points of
    /// another species, `[batch, ...]`. In an unpaired data set they belong to other objects than the fields.
    pub condition: Option<ArrayD<f32>>,
    /// How many points of each cloud are real, when that differs: the rest, behind them, is padding.
    pub counts: Option<Vec<usize>>,
    /// Where these examples stand in the whole batch of a step, when several ranks share it. A loss takes the draws for
    /// an example from [`Shard::generators`], those for the whole batch from the generator itself.
    pub shard: Shard,
}

impl Batch {
    /// A whole batch.
    pub fn new(fields: ArrayD<f32>, parameters: Option<Array2<f32>>) -> Self {
        let shard = Shard::whole(fields.shape().first().copied().unwrap_or(0));
        Self { fields, parameters, condition: None, counts: None, shard }
    }

    /// With what the fields are to be made from.
    pub fn with_condition(self, condition: ArrayD<f32>) -> Self {
        Self { condition: Some(condition), ..self }
    }

    /// With the number of real points of each cloud.
    pub fn with_counts(self, counts: Vec<usize>) -> Self {
        Self { counts: Some(counts), ..self }
    }

    /// All examples of several batches, in order, as a whole batch.
    ///
    /// # Errors
    /// [`Error::Shape`] when there are none, or their shapes differ, or one has what another lacks.
    pub fn concatenate(parts: &[Self]) -> Result<Self> {
        let misfit = |what: &str| Error::Shape {
            operation: "concatenation of batches",
            what: what.into(),
            expected: format!("examples of one shape in all of {} batches", parts.len()),
            got: parts.iter().map(|part| part.fields.shape().first().copied().unwrap_or(0)).collect(),
        };
        let stack = |what: &str, of: &dyn Fn(&Self) -> Option<ArrayD<f32>>| -> Result<Option<ArrayD<f32>>> {
            let some: Vec<ArrayD<f32>> = parts.iter().filter_map(of).collect();
            if some.is_empty() {
                return Ok(None);
            }
            if some.len() < parts.len() {
                return Err(misfit(what));
            }
            let views: Vec<_> = some.iter().map(|array| array.view()).collect();
            concatenate(Axis(0), &views).map(Some).map_err(|_| misfit(what))
        };
        let fields = stack("fields", &|part| Some(part.fields.clone()))?.ok_or_else(|| misfit("batches"))?;
        let parameters = stack("parameters", &|part| part.parameters.clone().map(Array2::into_dyn))?
            .map(|rows| rows.into_dimensionality().map_err(|_| misfit("parameters")))
            .transpose()?;
        let condition = stack("condition", &|part| part.condition.clone())?;
        let some: Vec<&Vec<usize>> = parts.iter().filter_map(|part| part.counts.as_ref()).collect();
        let counts = match some.len() {
            0 => None,
            n if n == parts.len() => Some(some.into_iter().flatten().copied().collect()),
            _ => return Err(misfit("counts")),
        };
        Ok(Self { condition, counts, ..Self::new(fields, parameters) })
    }
}

/// A collection of examples of one shape.
///
/// `batch` may augment at random; all its randomness comes from `rng`, so the same indices and the same `rng` give the
/// same batch. Training draws its batches by [`Shard::batch`], which gives every example a generator of its own.
pub trait Dataset: Send + Sync {
    /// The number of examples.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape of one example, `[channel, ...]`.
    fn event_shape(&self) -> Vec<usize>;

    /// The examples at `indices`.
    ///
    /// # Errors
    /// When an index is out of range or an example cannot be read.
    fn batch(&self, indices: &[usize], rng: &mut Rng) -> Result<Batch>;
}

impl<D: Dataset + ?Sized> Dataset for Arc<D> {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn event_shape(&self) -> Vec<usize> {
        (**self).event_shape()
    }

    fn batch(&self, indices: &[usize], rng: &mut Rng) -> Result<Batch> {
        (**self).batch(indices, rng)
    }
}

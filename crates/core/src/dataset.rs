//! Where training meets data: a data set gives batches.

use ndarray::{Array2, ArrayD};

use crate::{Result, Rng, Shard};

/// A batch of training examples.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The fields, `[batch, channel, ...]`; maps are `[batch, channel, y, x]`.
    pub fields: ArrayD<f32>,
    /// Parameters of each example, `[batch, parameter]`, when the data set has them.
    pub parameters: Option<Array2<f32>>,
    /// Where these examples stand in the whole batch of a step, when several ranks share it. A loss takes the draws for
    /// an example from [`Shard::generators`], those for the whole batch from the generator itself.
    pub shard: Shard,
}

impl Batch {
    /// A whole batch.
    pub fn new(fields: ArrayD<f32>, parameters: Option<Array2<f32>>) -> Self {
        let shard = Shard::whole(fields.shape().first().copied().unwrap_or(0));
        Self { fields, parameters, shard }
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

//! Where training meets data: a data set gives batches.

use ndarray::{Array2, ArrayD};

use crate::{Result, Rng};

/// A batch of training examples.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The fields, `[batch, channel, ...]`; maps are `[batch, channel, y, x]`.
    pub fields: ArrayD<f32>,
    /// Parameters of each example, `[batch, parameter]`, when the data set has them.
    pub parameters: Option<Array2<f32>>,
}

/// A collection of examples of one shape.
///
/// `batch` may augment at random; all its randomness comes from `rng`, so the same indices and the same `rng` give the
/// same batch.
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

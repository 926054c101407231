//! What a network is given beside its input and the time.

use std::cell::RefCell;

use candle_core::Tensor;
use halocast_core::Rng;

use crate::Result;

/// What a network is given beside its input and the time.
#[derive(Clone, Copy, Default)]
pub struct Context<'a> {
    /// Parameters, `[batch, parameter]`.
    pub vector: Option<&'a Tensor>,
    /// An estimate of the clean field, `[batch, channel, ..]`, for a network that is conditioned on its own (Chen et al.
    /// 2022, arXiv:2208.04202); zeros where absent.
    pub previous: Option<&'a Tensor>,
    /// What draws the masks of dropout, while training.
    pub dropout: Option<&'a Dropout>,
}

impl<'a> Context<'a> {
    /// A context of parameters alone.
    pub fn of(vector: Option<&'a Tensor>) -> Self {
        Self { vector, ..Default::default() }
    }

    /// `x` with a fraction `rate` of its numbers dropped, while training.
    pub(crate) fn drop(&self, x: &Tensor, rate: f64) -> Result<Tensor> {
        match self.dropout {
            Some(dropout) if rate > 0.0 => dropout.apply(x, rate),
            _ => Ok(x.clone()),
        }
    }
}

/// The masks of dropout, drawn from a generator of each example, so that they do not depend on how a batch is cut.
pub struct Dropout {
    generators: RefCell<Vec<Rng>>,
}

impl Dropout {
    /// Masks from one generator for each example.
    pub fn new(generators: Vec<Rng>) -> Self {
        Self { generators: RefCell::new(generators) }
    }

    /// Sets a fraction `rate` of the numbers of `x` `[batch, ..]` to zero and divides the others by `1 - rate`.
    ///
    /// # Errors
    /// When there is no generator for each example.
    pub fn apply(&self, x: &Tensor, rate: f64) -> Result<Tensor> {
        let mut generators = self.generators.borrow_mut();
        let each = x.elem_count() / generators.len().max(1);
        let mut mask = vec![0.0f32; x.elem_count()];
        let kept = (1.0 / (1.0 - rate)) as f32;
        for (part, rng) in mask.chunks_mut(each.max(1)).zip(generators.iter_mut()) {
            rng.fill_uniform(part);
            part.iter_mut().for_each(|u| *u = if f64::from(*u) < rate { 0.0 } else { kept });
        }
        let mask = Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(x.dtype())?;
        Ok((x * mask)?)
    }
}

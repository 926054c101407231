//! Which keys a query may attend to.

use candle_core::{DType, Tensor};

use super::block::WIDTH;
use crate::{Error, Result};

/// Keys that are left out for all queries of an example, and the causal mask.
pub(super) struct Mask {
    /// Of each example and key, whether it takes part; `None`: all do.
    keys: Option<Vec<bool>>,
    causal: bool,
    /// Heads of one example, and keys.
    heads: usize,
    m: usize,
}

impl Mask {
    pub(super) fn new(
        op: &'static str,
        mask: Option<&Tensor>,
        causal: bool,
        (batch, heads, m): (usize, usize, usize),
    ) -> Result<Self> {
        let keys = match mask {
            Some(mask) if mask.dims() != [batch, m] => {
                return Err(Error::shape(op, "mask", format!("[{batch}, {m}]"), mask.dims()));
            }
            Some(mask) => {
                let numbers = mask.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
                Some(numbers.iter().map(|&v| v != 0.0).collect())
            }
            None => None,
        };
        Ok(Self { keys, causal, heads, m })
    }

    /// The keys from `key` on of the example that a head belongs to.
    fn keys(&self, head: usize, key: usize) -> Option<&[bool]> {
        self.keys.as_ref().map(|keys| &keys[head / self.heads * self.m + key..])
    }

    /// Whether any of `count` keys takes part for a query before `end`.
    pub(super) fn any(&self, head: usize, key: usize, count: usize, end: usize) -> bool {
        let visible = !self.causal || key < end;
        visible && self.keys(head, key).is_none_or(|keys| keys[..count].iter().any(|&k| k))
    }

    /// Makes minus infinity of the scores `[keys, WIDTH]` that do not count, from key `key` and query `query` on.
    pub(super) fn apply(&self, scores: &mut [f32], head: usize, key: usize, query: usize) {
        if let Some(keys) = self.keys(head, key) {
            for (scores, _) in scores.chunks_exact_mut(WIDTH).zip(keys).filter(|(_, key)| !**key) {
                scores.fill(f32::NEG_INFINITY);
            }
        }
        if self.causal {
            for (i, scores) in scores.chunks_exact_mut(WIDTH).enumerate() {
                let hidden = (key + i).saturating_sub(query).min(WIDTH);
                scores[..hidden].fill(f32::NEG_INFINITY);
            }
        }
    }
}

//! An order of the tokens of a sequence.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use crate::{Error, Result};

/// An order in which the tokens of a sequence are read: a permutation of their places.
///
/// ```
/// use halocast_kernels::ScanOrder;
/// let backwards = ScanOrder::new(vec![2, 1, 0])?;
/// assert_eq!(backwards.positions(), [2, 1, 0]);
/// assert!(ScanOrder::new(vec![0, 2, 2]).is_err());
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanOrder {
    positions: Arc<[u32]>,
    /// When each token is read: the inverse.
    turns: Arc<[u32]>,
}

impl ScanOrder {
    /// The order that reads the token at `positions[0]` first.
    ///
    /// # Errors
    /// Where `positions` is not each number below its length once.
    pub fn new(positions: Vec<u32>) -> Result<Self> {
        let mut turns = vec![u32::MAX; positions.len()];
        for (turn, &position) in positions.iter().enumerate() {
            match turns.get_mut(position as usize) {
                Some(place) if *place == u32::MAX => *place = turn as u32,
                _ => {
                    let expected = format!("each number below {} once", positions.len());
                    return Err(Error::argument("ScanOrder", "positions", expected, position));
                }
            }
        }
        Ok(Self { positions: positions.into(), turns: turns.into() })
    }

    /// The order of memory, of `len` tokens.
    pub fn forwards(len: usize) -> Self {
        let positions: Arc<[u32]> = (0..len as u32).collect();
        Self { turns: positions.clone(), positions }
    }

    /// Where the tokens lie, in the order they are read.
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// The number of tokens.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// The indices that bring tokens from memory's order into this one, and back.
    pub(crate) fn indices(&self, device: &Device) -> Result<[Tensor; 2]> {
        let tensor = |values: &[u32]| Tensor::new(values, device);
        Ok([tensor(&self.positions)?, tensor(&self.turns)?])
    }

    /// Checks that it orders `len` tokens.
    pub(crate) fn check(&self, op: &'static str, len: usize) -> Result<()> {
        if self.len() == len {
            return Ok(());
        }
        Err(Error::argument(op, "order", format!("of {len} tokens"), format!("of {}", self.len())))
    }
}

//! One rank: nobody to talk to.

use super::{Collective, require_root};
use crate::Result;

/// The only rank.
///
/// ```
/// use halocast_train::{Collective, Local};
/// let mut values = [1.5];
/// Local.all_reduce_sum(&mut values)?;
/// assert_eq!((values, Local.rank(), Local.size()), ([1.5], 0, 1));
/// # Ok::<(), halocast_train::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Local;

impl Collective for Local {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn all_reduce_sum(&self, _: &mut [f32]) -> Result<()> {
        Ok(())
    }

    fn broadcast(&self, _: &mut Vec<u8>, root: usize) -> Result<()> {
        require_root(self, root)
    }

    fn barrier(&self) -> Result<()> {
        Ok(())
    }
}

//! Several ranks that train one model together: what they say to one another.

mod local;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(feature = "nccl")]
mod nccl;
mod threads;

pub use local::Local;
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
#[cfg(feature = "nccl")]
pub use nccl::Nccl;
pub use threads::Threads;

use crate::{Error, Result};

/// A group of ranks that call the same operations in the same order.
///
/// Every rank gets the same bits from every operation. An operation that not all ranks reach ends in an error or with
/// the process, as each implementation says; it never gives a wrong number.
pub trait Collective {
    /// The number of this rank, from 0.
    fn rank(&self) -> usize;

    /// The number of ranks.
    fn size(&self) -> usize;

    /// Replaces `values` by their sum over the ranks, element by element:
    /// $$ v_i \leftarrow \sum_{r=0}^{R-1} v_i^{(r)}. $$
    ///
    /// # Errors
    /// [`Error::Collective`] when a rank is lost, or the ranks give slices of different lengths.
    fn all_reduce_sum(&self, values: &mut [f32]) -> Result<()>;

    /// Replaces `bytes` by those of rank `root`, of whatever length.
    ///
    /// # Errors
    /// [`Error::Collective`] when a rank is lost, or there is no rank `root`.
    fn broadcast(&self, bytes: &mut Vec<u8>, root: usize) -> Result<()>;

    /// Waits until every rank is here.
    ///
    /// # Errors
    /// [`Error::Collective`] when a rank is lost.
    fn barrier(&self) -> Result<()>;
}

/// Whether some rank says yes; all get the same answer.
///
/// # Errors
/// Those of [`Collective::all_reduce_sum`].
pub(crate) fn any(collective: &dyn Collective, yes: bool) -> Result<bool> {
    let mut count = [f32::from(u8::from(yes))];
    collective.all_reduce_sum(&mut count)?;
    Ok(count[0] > 0.0)
}

/// Ends every rank when some have failed: those that have, with their own error, the others with that of the lowest.
///
/// # Errors
/// What `result` holds, or [`Error::Collective`] with the words of the lowest rank that failed.
pub(crate) fn together<T>(
    collective: &dyn Collective,
    operation: &'static str,
    result: Result<T>,
) -> Result<T> {
    if collective.size() == 1 {
        return result;
    }
    let mut failed = vec![0.0; collective.size()];
    failed[collective.rank()] = f32::from(u8::from(result.is_err()));
    collective.all_reduce_sum(&mut failed)?;
    let Some(first) = failed.iter().position(|&f| f > 0.0) else { return result };
    let mut words = result.as_ref().err().map(|e| e.to_string().into_bytes()).unwrap_or_default();
    collective.broadcast(&mut words, first)?;
    result.and_then(|_| {
        let reason = format!("rank {first} failed: {}", String::from_utf8_lossy(&words));
        Err(error(collective, operation, reason))
    })
}

pub(crate) fn error(collective: &dyn Collective, operation: &'static str, reason: String) -> Error {
    Error::Collective { operation, rank: collective.rank(), size: collective.size(), reason }
}

fn require_root(collective: &dyn Collective, root: usize) -> Result<()> {
    if root < collective.size() {
        return Ok(());
    }
    Err(error(collective, "broadcast", format!("there is no rank {root}")))
}

/// The sum of slices, added in f64 in the order given and rounded once: where the parts come in the order of the ranks,
/// the result is a function of what they hold, not of who was first.
fn sum_in_order<'a>(parts: impl Iterator<Item = &'a [f32]> + Clone, out: &mut [f32]) {
    for (i, out) in out.iter_mut().enumerate() {
        *out = parts.clone().map(|part| f64::from(part[i])).sum::<f64>() as f32;
    }
}

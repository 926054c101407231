//! Sums over all the ranks that share a batch, for operations whose result depends on the whole of it.

use std::cell::Cell;

/// Replaces numbers by their sums over the ranks.
type Sum<'a> = &'a dyn Fn(&mut [f32]) -> Result<(), String>;

thread_local! {
    static SUM: Cell<Option<Sum<'static>>> = const { Cell::new(None) };
}

/// Runs `body`, in which statistics of a batch ([`batch_norm`](crate::batch_norm)) are those of the batches of all ranks
/// together: `sum` replaces numbers by their sums over the ranks, each of which calls it as often, with as many numbers.
/// The gradient of what `body` computes needs the sums of all ranks, too: it must be found inside `body`, or inside
/// another such call.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_kernels::{Activation, batch_norm, sum_over_ranks};
/// let x = Tensor::new(&[[1.0f32], [3.0]], &Device::Cpu)?;
/// let one = Tensor::new(&[1.0f32], &Device::Cpu)?;
/// // Two ranks with the same numbers have the mean and variance of one.
/// let twice = |values: &mut [f32]| Ok(values.iter_mut().for_each(|v| *v *= 2.0));
/// let (y, moments) = sum_over_ranks(&twice, || batch_norm(&x, &one, &one, 0.0, Activation::None))?;
/// assert_eq!((y.to_vec2::<f32>()?, moments.count), (vec![vec![0.0], vec![2.0]], 4));
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn sum_over_ranks<R>(sum: &dyn Fn(&mut [f32]) -> Result<(), String>, body: impl FnOnce() -> R) -> R {
    /// Puts the outer sum back, even if `body` panics.
    struct Restore(Option<Sum<'static>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            SUM.set(self.0);
        }
    }
    // SAFETY: only the lifetime changes. The reference is in reach of this thread alone and only until `_restore` drops,
    // which is before `sum` does: this call borrows it throughout.
    let lasting = unsafe { std::mem::transmute::<Sum<'_>, Sum<'static>>(sum) };
    let _restore = Restore(SUM.replace(Some(lasting)));
    body()
}

/// Whether a batch is shared with other ranks.
pub(crate) fn shared() -> bool {
    SUM.get().is_some()
}

/// Sums over the ranks; of one alone, the numbers stay as they are.
pub(crate) fn sum(values: &mut [f32]) -> candle_core::Result<()> {
    match SUM.get() {
        Some(sum) => sum(values).map_err(candle_core::Error::Msg),
        None => Ok(()),
    }
}

//! How a long operation tells its caller how far it is.

/// A callback of `(done, total)` steps; libraries call it, programs draw a bar with it.
///
/// ```
/// use halocast_core::Progress;
/// fn work(progress: &Progress<'_>) {
///     for i in 0..3 {
///         progress(i + 1, 3);
///     }
/// }
/// work(&|_, _| {});
/// ```
pub type Progress<'a> = dyn Fn(u64, u64) + Sync + 'a;

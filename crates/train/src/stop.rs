//! A wish to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that ends a run after the step it is at; clones are the same flag.
///
/// The library installs no signal handler: a program sets the flag in its own, or from any thread.
///
/// ```
/// use halocast_train::Stop;
/// let stop = Stop::default();
/// let same = stop.clone();
/// same.set();
/// assert!(stop.is_set());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks the run to stop.
    pub fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether that was asked.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// The flag as a signal handler takes it.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }
}

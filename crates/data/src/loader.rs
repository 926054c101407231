//! Batches in order, made by threads ahead of their use.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use halocast_core::{Batch, Dataset, Error, Result, Rng};

/// How batches are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Examples in a batch.
    pub batch: usize,
    /// Draws the order of every pass, and what augmentation draws.
    pub seed: u64,
    /// Whether every pass has an order of its own; else it is that of the data set.
    pub shuffle: bool,
    /// Whether what does not fill a batch at the end of a pass is left out.
    pub drop_last: bool,
    /// Passes over the data set.
    pub passes: usize,
    /// Threads that make batches; with 0 the caller's makes each when it is asked for.
    pub workers: usize,
    /// Batches that are made ahead.
    pub ahead: usize,
}

impl Default for LoaderOptions {
    fn default() -> Self {
        Self { batch: 32, seed: 0, shuffle: false, drop_last: false, passes: 1, workers: 2, ahead: 4 }
    }
}

/// An iterator over the batches of a data set.
///
/// Batch k is a function of the data set, the options and k alone: the same at any number of threads. After an error
/// there are no more batches.
pub struct Loader {
    plan: Arc<Plan>,
    next: usize,
    failed: bool,
    threads: Option<Threads>,
}

struct Plan {
    dataset: Arc<dyn Dataset>,
    options: LoaderOptions,
    per_pass: usize,
}

struct Threads {
    shared: Arc<Shared>,
    handles: Vec<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    /// There is room for more, or the work is over.
    room: Condvar,
    /// A batch is ready.
    ready: Condvar,
}

#[derive(Default)]
struct State {
    /// The next batch that a thread takes on.
    next: usize,
    /// The next batch that is given out.
    given: usize,
    done: BTreeMap<usize, Result<Batch>>,
    stop: bool,
}

impl Loader {
    /// Begins to make batches.
    ///
    /// # Errors
    /// [`Error::Value`] when there are no examples, or a batch, the passes or the batches ahead are none.
    pub fn new(dataset: Arc<dyn Dataset>, options: LoaderOptions) -> Result<Self> {
        let LoaderOptions { batch, passes, ahead, workers, drop_last, .. } = options;
        let len = dataset.len();
        for (what, value) in [("examples", len), ("batch", batch), ("passes", passes), ("ahead", ahead)] {
            if value == 0 {
                return Err(Error::Value {
                    operation: "loader",
                    what: what.into(),
                    expected: "at least 1".into(),
                    got: "0".into(),
                });
            }
        }
        let per_pass = if drop_last { len / batch } else { len.div_ceil(batch) };
        let plan = Arc::new(Plan { dataset, options, per_pass });
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            room: Condvar::new(),
            ready: Condvar::new(),
        });
        let spawn = |_| {
            let (plan, shared) = (plan.clone(), shared.clone());
            std::thread::spawn(move || work(&plan, &shared))
        };
        let handles: Vec<JoinHandle<()>> = (0..workers).map(spawn).collect();
        let threads = if workers > 0 { Some(Threads { shared, handles }) } else { None };
        Ok(Self { plan, next: 0, failed: false, threads })
    }

    /// The number of batches in all.
    pub fn total(&self) -> usize {
        self.plan.total()
    }
}

impl Plan {
    fn total(&self) -> usize {
        self.per_pass.saturating_mul(self.options.passes)
    }

    /// Batch k: its indices depend on the seed and the pass, its draws on the seed and k.
    fn make(&self, k: usize) -> Result<Batch> {
        let (pass, at) = (k / self.per_pass, k % self.per_pass);
        let root = Rng::new(self.options.seed);
        let mut order: Vec<usize> = (0..self.dataset.len()).collect();
        if self.options.shuffle {
            root.split_named("order").split(pass as u64).shuffle(&mut order);
        }
        let end = ((at + 1) * self.options.batch).min(order.len());
        let indices = &order[at * self.options.batch..end];
        self.dataset.batch(indices, &mut root.split_named("batch").split(k as u64))
    }
}

/// What a thread does: takes the next batch as long as there is room for it.
fn work(plan: &Plan, shared: &Shared) {
    loop {
        let k = {
            let Ok(mut state) = shared.state.lock() else { return };
            while !state.stop && state.next < plan.total() && state.next >= state.given + plan.options.ahead {
                state = match shared.room.wait(state) {
                    Ok(state) => state,
                    Err(_) => return,
                };
            }
            if state.stop || state.next >= plan.total() {
                return;
            }
            state.next += 1;
            state.next - 1
        };
        // A data set that panics must not leave its reader waiting.
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| plan.make(k)));
        let batch = made.unwrap_or_else(|_| {
            Err(Error::Value {
                operation: "loader",
                what: format!("batch {k}"),
                expected: "a batch or an error".into(),
                got: "a panic of the data set".into(),
            })
        });
        let Ok(mut state) = shared.state.lock() else { return };
        state.done.insert(k, batch);
        shared.ready.notify_all();
    }
}

impl Iterator for Loader {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.next >= self.plan.total() {
            return None;
        }
        let k = self.next;
        self.next += 1;
        let batch = match &self.threads {
            None => self.plan.make(k),
            Some(Threads { shared, .. }) => {
                let mut state = shared.state.lock().ok()?;
                loop {
                    if let Some(batch) = state.done.remove(&k) {
                        state.given = k + 1;
                        shared.room.notify_all();
                        break batch;
                    }
                    state = shared.ready.wait(state).ok()?;
                }
            }
        };
        self.failed = batch.is_err();
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = if self.failed { 0 } else { self.plan.total() - self.next };
        (0, Some(left))
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        let Some(Threads { shared, handles }) = self.threads.take() else { return };
        if let Ok(mut state) = shared.state.lock() {
            state.stop = true;
        }
        shared.room.notify_all();
        for handle in handles {
            // It ends by itself; a panic in it was caught.
            let _ = handle.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::ArrayD;

    use super::*;

    /// Examples of their own number and of noise; some fail.
    struct Noisy {
        len: usize,
        bad: Option<usize>,
    }

    impl Dataset for Noisy {
        fn len(&self) -> usize {
            self.len
        }

        fn event_shape(&self) -> Vec<usize> {
            vec![2]
        }

        fn batch(&self, indices: &[usize], rng: &mut Rng) -> Result<Batch> {
            if let Some(bad) = self.bad.filter(|b| indices.contains(b)) {
                let what = format!("example {bad}");
                return Err(Error::Value {
                    operation: "test",
                    what,
                    expected: "good".into(),
                    got: "bad".into(),
                });
            }
            let values = indices.iter().flat_map(|&i| [i as f32, rng.normal() as f32]).collect();
            Ok(Batch::new(ArrayD::from_shape_vec(vec![indices.len(), 2], values).unwrap(), None))
        }
    }

    fn all(options: LoaderOptions, len: usize) -> Vec<ArrayD<f32>> {
        let loader = Loader::new(Arc::new(Noisy { len, bad: None }), options).unwrap();
        loader.map(|b| b.unwrap().fields).collect()
    }

    #[test]
    fn threads_change_nothing() {
        for shuffle in [false, true] {
            for drop_last in [false, true] {
                let options =
                    LoaderOptions { batch: 7, seed: 3, shuffle, drop_last, passes: 3, workers: 0, ahead: 2 };
                let alone = all(options, 40);
                assert_eq!(alone.len(), if drop_last { 15 } else { 18 });
                for (workers, ahead) in [(1, 1), (2, 3), (5, 2), (8, 100)] {
                    assert_eq!(
                        all(LoaderOptions { workers, ahead, ..options }, 40),
                        alone,
                        "{workers} {ahead}"
                    );
                }
                // Every pass has every example, in an order of its own.
                let pass = |p: usize| -> Vec<u32> {
                    let per = alone.len() / 3;
                    alone[p * per..(p + 1) * per]
                        .iter()
                        .flat_map(|b| b.outer_iter().map(|r| r[0] as u32).collect::<Vec<_>>())
                        .collect()
                };
                assert_eq!(pass(0) == pass(1), !shuffle);
                let mut sorted = pass(2);
                sorted.sort_unstable();
                sorted.dedup();
                assert_eq!(sorted.len(), if drop_last { 35 } else { 40 });
            }
        }
    }

    #[test]
    fn an_error_ends_the_batches_and_a_dropped_loader_its_threads() {
        for workers in [0, 3] {
            let options = LoaderOptions { batch: 4, workers, ..LoaderOptions::default() };
            let mut loader = Loader::new(Arc::new(Noisy { len: 40, bad: Some(9) }), options).unwrap();
            assert!(loader.next().unwrap().is_ok() && loader.next().unwrap().is_ok());
            assert!(loader.next().unwrap().unwrap_err().to_string().contains("example 9"));
            assert!(loader.next().is_none());
            let mut loader = Loader::new(Arc::new(Noisy { len: 4000, bad: None }), options).unwrap();
            assert!(loader.next().unwrap().is_ok());
            drop(loader);
        }
        let none = LoaderOptions { batch: 0, ..LoaderOptions::default() };
        assert!(Loader::new(Arc::new(Noisy { len: 4, bad: None }), none).is_err());
        assert!(Loader::new(Arc::new(Noisy { len: 0, bad: None }), LoaderOptions::default()).is_err());
    }
}

//! Ranks as threads of one process: the algorithm without a cluster.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::{Collective, error, require_root, sum_in_order};
use crate::Result;

/// One of several ranks that are threads of this process.
///
/// They share the cores, so nothing gets faster: this is for tests, and to check a program before it goes to a cluster.
/// When a rank is dropped, because its thread has ended or panicked, the others get an error from the next operation in
/// which they need it.
///
/// ```
/// use halocast_train::{Collective, Threads};
/// let sums = std::thread::scope(|scope| {
///     let rank = |threads: Threads| move || {
///         let mut values = [threads.rank() as f32, 1.0];
///         threads.all_reduce_sum(&mut values).map(|()| values)
///     };
///     let ranks: Vec<_> = Threads::group(3).into_iter().map(|t| scope.spawn(rank(t))).collect();
///     ranks.into_iter().filter_map(|r| r.join().ok()).collect::<Result<Vec<_>, _>>()
/// })?;
/// assert_eq!(sums, [[3.0, 3.0]; 3]);
/// # Ok::<(), halocast_train::Error>(())
/// ```
pub struct Threads {
    rank: usize,
    size: usize,
    numbers: Arc<Board<f32>>,
    bytes: Arc<Board<u8>>,
}

impl Threads {
    /// A group of `size` ranks, in their order.
    pub fn group(size: usize) -> Vec<Self> {
        let (numbers, bytes) = (Arc::new(Board::new(size)), Arc::new(Board::new(size)));
        let rank = |rank| Self { rank, size, numbers: numbers.clone(), bytes: bytes.clone() };
        (0..size).map(rank).collect()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.numbers.leave(self.rank);
        self.bytes.leave(self.rank);
    }
}

impl Collective for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn all_reduce_sum(&self, values: &mut [f32]) -> Result<()> {
        let fail = |reason| error(self, "sum over ranks", reason);
        let all = self.numbers.exchange(self.rank, values.to_vec()).map_err(fail)?;
        if let Some(other) = all.iter().position(|part| part.len() != values.len()) {
            let (theirs, own) = (all[other].len(), values.len());
            return Err(fail(format!("rank {other} gives {theirs} numbers, this rank {own}")));
        }
        sum_in_order(all.iter().map(Vec::as_slice), values);
        Ok(())
    }

    fn broadcast(&self, bytes: &mut Vec<u8>, root: usize) -> Result<()> {
        require_root(self, root)?;
        let own = if self.rank == root { std::mem::take(bytes) } else { Vec::new() };
        let all = self.bytes.exchange(self.rank, own).map_err(|reason| error(self, "broadcast", reason))?;
        bytes.clone_from(&all[root]);
        Ok(())
    }

    fn barrier(&self) -> Result<()> {
        self.bytes.exchange(self.rank, Vec::new()).map_err(|reason| error(self, "barrier", reason))?;
        Ok(())
    }
}

/// Where every rank leaves something and takes what all have left.
struct Board<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    slots: Vec<Option<Vec<T>>>,
    /// How many rounds are over, and what was left in the last. It stays until all have taken it, because the next
    /// round ends only when all have come to it.
    rounds: u64,
    last: Arc<Vec<Vec<T>>>,
    gone: Option<usize>,
}

impl<T> Board<T> {
    fn new(size: usize) -> Self {
        let slots = (0..size).map(|_| None).collect();
        let state = State { slots, rounds: 0, last: Arc::new(Vec::new()), gone: None };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// What every rank has left, in the order of ranks.
    fn exchange(&self, rank: usize, own: Vec<T>) -> std::result::Result<Arc<Vec<Vec<T>>>, String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let round = state.rounds;
        state.slots[rank] = Some(own);
        if state.slots.iter().all(Option::is_some) {
            state.last = Arc::new(state.slots.iter_mut().filter_map(Option::take).collect());
            state.rounds += 1;
            self.changed.notify_all();
        }
        while state.rounds == round {
            if let Some(gone) = state.gone {
                return Err(format!("rank {gone} is gone"));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(state.last.clone())
    }

    fn leave(&self, rank: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.gone.get_or_insert(rank);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `body` on every rank and returns what they give, in order.
    fn on_ranks<T: Send>(size: usize, body: impl Fn(Threads) -> T + Sync) -> Vec<T> {
        std::thread::scope(|scope| {
            let body = &body;
            let ranks: Vec<_> =
                Threads::group(size).into_iter().map(|t| scope.spawn(move || body(t))).collect();
            ranks.into_iter().map(|r| r.join().unwrap()).collect()
        })
    }

    #[test]
    fn sums_are_in_the_order_of_ranks_whoever_comes_first() {
        let given = |rank: usize, i: usize| (1.0 + i as f32) * [1e8, 1.0, -1e8, 3e-9][rank];
        let sums = on_ranks(4, |threads| {
            let mut last = vec![];
            for round in 0..20 {
                if (round + threads.rank()) % 3 == 0 {
                    std::thread::yield_now();
                }
                last = (0..7).map(|i| given(threads.rank(), i)).collect::<Vec<f32>>();
                threads.all_reduce_sum(&mut last).unwrap();
            }
            last
        });
        let expected: Vec<f32> =
            (0..7).map(|i| (0..4).map(|r| f64::from(given(r, i))).sum::<f64>() as f32).collect();
        assert!(sums.iter().all(|s| *s == expected), "{sums:?}");
    }

    #[test]
    fn bytes_come_from_the_root_and_a_root_that_is_not_there_is_named() {
        let got = on_ranks(3, |threads| {
            let mut bytes = vec![threads.rank() as u8; 2 + threads.rank()];
            threads.broadcast(&mut bytes, 2).unwrap();
            threads.barrier().unwrap();
            let error = threads.broadcast(&mut vec![], 3).unwrap_err();
            assert!(error.to_string().contains("there is no rank 3"), "{error}");
            bytes
        });
        assert_eq!(got, vec![vec![2; 4]; 3]);
    }

    #[test]
    fn a_lost_rank_and_slices_that_differ_end_the_others() {
        let results = on_ranks(3, |threads| match threads.rank() {
            1 => Ok(()),
            _ => threads.all_reduce_sum(&mut [0.0]),
        });
        assert!(results[0].as_ref().unwrap_err().to_string().contains("rank 1 is gone"));
        assert!(results[1].is_ok() && results[2].is_err());
        let results = on_ranks(2, |threads| threads.all_reduce_sum(&mut vec![0.0; 1 + threads.rank()]));
        assert!(results.iter().all(Result::is_err), "{results:?}");
    }
}

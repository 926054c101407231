//! Ranks as processes under MPI, as `mpirun` and Slurm launch them.

use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Root};

use super::{Collective, error, require_root, sum_in_order};
use crate::{Error, Result};

/// Numbers that are summed at once: it bounds the scratch memory, and MPI counts in `int`.
const CHUNK: usize = 4 << 20;

/// One rank of `MPI_COMM_WORLD`.
///
/// MPI is used to move numbers and never to add them: each rank receives one piece of the slice from all ranks
/// (`MPI_Alltoall`), adds in the order of ranks, and gives the sum to all (`MPI_Allgather`). This moves as much as a ring
/// does, $2 (R - 1) / R$ of the slice, and its bits do not depend on the algorithm that the library picks, which the
/// standard leaves open for `MPI_Allreduce`.
///
/// # When a rank is lost
/// MPI has no error to return for a process that was killed: its launcher sees it and ends all others (`mpirun` by
/// itself, `srun` with `--kill-on-bad-exit`), and MPI's own default for a failed operation is to abort the job. This type
/// leaves that default in place. A rank that panics aborts the job, too: it would else wait in `MPI_Finalize` for ranks
/// that wait for it. A rank that ends with an error of its own calls [`Mpi::abort`]. What was written before stands:
/// files are written whole or not at all.
pub struct Mpi {
    // Dropped in this order: the communicator before MPI ends.
    world: SimpleCommunicator,
    _universe: Universe,
}

impl Mpi {
    /// Starts MPI. Call it once, first, on the main thread, from which all operations must come.
    ///
    /// # Errors
    /// [`Error::Collective`] when MPI was started before in this process, or cannot bear the threads of the kernels.
    pub fn new() -> Result<Self> {
        let fail = |reason: &str| Error::Collective {
            operation: "start of MPI",
            rank: 0,
            size: 1,
            reason: reason.to_owned(),
        };
        let (universe, threading) = mpi::initialize_with_threading(mpi::Threading::Funneled)
            .ok_or_else(|| fail("it was started before"))?;
        let world = universe.world();
        if threading < mpi::Threading::Funneled {
            return Err(fail("the library allows no other threads in the process"));
        }
        Ok(Self { world, _universe: universe })
    }

    /// Ends all ranks at once; `code` is what the launcher ends with. Say why before: nothing is said here.
    pub fn abort(&self, code: i32) -> ! {
        self.world.abort(code)
    }

    /// Piece by piece, each summed by the rank of its number.
    fn sum_chunk(&self, values: &mut [f32]) {
        let size = self.size();
        let piece = values.len().div_ceil(size);
        let mut sent = values.to_vec();
        sent.resize(piece * size, 0.0);
        let mut received = vec![0.0f32; piece * size];
        self.world.all_to_all_into(&sent[..], &mut received[..]);
        let mut sum = vec![0.0f32; piece];
        sum_in_order(received.chunks(piece), &mut sum);
        self.world.all_gather_into(&sum[..], &mut sent[..]);
        values.copy_from_slice(&sent[..values.len()]);
    }
}

impl Drop for Mpi {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.abort(101);
        }
    }
}

impl Collective for Mpi {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn size(&self) -> usize {
        self.world.size() as usize
    }

    fn all_reduce_sum(&self, values: &mut [f32]) -> Result<()> {
        if self.size() == 1 {
            return Ok(());
        }
        // Pieces of different lengths would be undefined in MPI.
        let mut lengths = vec![0u64; self.size()];
        self.world.all_gather_into(&(values.len() as u64), &mut lengths[..]);
        if let Some(other) = lengths.iter().position(|&n| n != values.len() as u64) {
            let reason = format!("rank {other} gives {} numbers, this rank {}", lengths[other], values.len());
            return Err(error(self, "sum over ranks", reason));
        }
        values.chunks_mut(CHUNK).for_each(|chunk| self.sum_chunk(chunk));
        Ok(())
    }

    fn broadcast(&self, bytes: &mut Vec<u8>, root: usize) -> Result<()> {
        require_root(self, root)?;
        let process = self.world.process_at_rank(root as i32);
        let mut length = bytes.len() as u64;
        process.broadcast_into(&mut length);
        bytes.resize(length as usize, 0);
        bytes.chunks_mut(4 * CHUNK).for_each(|chunk| process.broadcast_into(chunk));
        Ok(())
    }

    fn barrier(&self) -> Result<()> {
        self.world.barrier();
        Ok(())
    }
}

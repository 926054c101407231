//! Ranks as processes with one CUDA device each: sums by NCCL.

use std::sync::Arc;

use candle_core::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::{CudaStream, DriverError};
use candle_core::cuda_backend::cudarc::nccl::result::NcclError;
use candle_core::cuda_backend::cudarc::nccl::{Comm, Id, ReduceOp};

use super::{Collective, error};
use crate::{Error, Result};

/// One rank of an NCCL communicator; everything but sums goes through another [`Collective`], which also brings the
/// communicator's identity to all ranks.
///
/// It has passed the type-check and was never run.
///
/// NCCL adds in the order of its rings or trees. It gives every rank the same bits, and the same bits again on the same
/// machines with the same settings (`NCCL_ALGO`, `NCCL_PROTO`); on other machines they differ by rounding. A rank that is
/// lost leaves the others waiting in NCCL until the launcher ends them.
///
/// A sum copies its slice to the device and back.
pub struct Nccl<'a> {
    comm: Comm,
    stream: Arc<CudaStream>,
    control: &'a dyn Collective,
}

impl<'a> Nccl<'a> {
    /// A communicator of the ranks of `control`, this one on `device`; every rank must call this, each with a device of
    /// its own.
    ///
    /// # Errors
    /// [`Error::Collective`] when NCCL or `control` fails.
    pub fn new(device: &CudaDevice, control: &'a dyn Collective) -> Result<Self> {
        let operation = "start of NCCL";
        let mut bytes = Vec::new();
        if control.rank() == 0 {
            let id = Id::new().map_err(|e| nccl_error(control, operation, e))?;
            bytes = id.internal().iter().map(|&c| c as u8).collect();
        }
        control.broadcast(&mut bytes, 0)?;
        let mut internal = [0; 128];
        if bytes.len() != internal.len() {
            let reason = format!("an identity of {} bytes, expected {}", bytes.len(), internal.len());
            return Err(error(control, operation, reason));
        }
        internal.iter_mut().zip(&bytes).for_each(|(to, &from)| *to = from as _);
        let stream = device.cuda_stream();
        let comm = Comm::from_rank(stream.clone(), control.rank(), control.size(), Id::uninit(internal))
            .map_err(|e| nccl_error(control, operation, e))?;
        Ok(Self { comm, stream, control })
    }
}

fn nccl_error(control: &dyn Collective, operation: &'static str, source: NcclError) -> Error {
    error(control, operation, format!("NCCL: {:?}", source.0))
}

impl Collective for Nccl<'_> {
    fn rank(&self) -> usize {
        self.control.rank()
    }

    fn size(&self) -> usize {
        self.control.size()
    }

    fn all_reduce_sum(&self, values: &mut [f32]) -> Result<()> {
        let operation = "sum over ranks";
        let cuda = |e: DriverError| error(self, operation, e.to_string());
        let mut slice = self.stream.clone_htod(&*values).map_err(cuda)?;
        self.comm
            .all_reduce_in_place(&mut slice, &ReduceOp::Sum)
            .map_err(|e| nccl_error(self, operation, e))?;
        self.stream.memcpy_dtoh(&slice, values).map_err(cuda)?;
        self.stream.synchronize().map_err(cuda)
    }

    fn broadcast(&self, bytes: &mut Vec<u8>, root: usize) -> Result<()> {
        self.control.broadcast(bytes, root)
    }

    fn barrier(&self) -> Result<()> {
        self.control.barrier()
    }
}

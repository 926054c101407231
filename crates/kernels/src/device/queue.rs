//! Launching kernels on whichever device holds the tensors.

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, CudaStorage, DType, Device, MetalStorage, Result, Shape, Storage, Tensor};

use super::source::Kernel;

/// Numbers that a tensor must stay below: kernels count in 32 bits, and the last block may run past the end.
pub(super) const MOST: usize = 1 << 31;

/// One argument of a kernel.
#[cfg_attr(
    not(any(test, feature = "cuda", feature = "metal")),
    allow(dead_code, reason = "no device reads them")
)]
pub(super) enum Arg<'a> {
    /// A contiguous tensor that the kernel reads.
    In(&'a Tensor),
    /// `len` numbers from `start` on that it writes, or updates.
    Out { memory: Memory<'a>, start: usize, len: usize },
    /// An unsigned integer of 32 bits.
    Int(usize),
    /// A number in single precision.
    Real(f32),
}

/// Memory of a device, open for writing.
pub(super) enum Memory<'a> {
    #[cfg_attr(not(test), allow(dead_code, reason = "the emulation alone reads it"))]
    Cpu(&'a mut CpuStorage),
    #[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "without a device to write to"))]
    Cuda(&'a mut CudaStorage),
    #[cfg_attr(not(feature = "metal"), allow(dead_code, reason = "without a device to write to"))]
    Metal(&'a mut MetalStorage),
}

/// An output of a kernel: uninitialised memory of a device.
pub(super) struct Block {
    storage: Storage,
    len: usize,
}

impl Block {
    /// Room for `len` numbers of type F32 or U32.
    pub(super) fn new(device: &Device, len: usize, dtype: DType) -> Result<Self> {
        let shape = Shape::from(len);
        // SAFETY: kernels write all of an output before anything reads it, as the emulation checks.
        let storage = unsafe {
            match device {
                Device::Cpu => Storage::Cpu(on_host(len, dtype)?),
                Device::Cuda(device) => Storage::Cuda(device.alloc_uninit(&shape, dtype)?),
                Device::Metal(device) => Storage::Metal(device.alloc_uninit(&shape, dtype)?),
            }
        };
        Ok(Self { storage, len })
    }

    /// Room for single-precision numbers.
    pub(super) fn floats(device: &Device, len: usize) -> Result<Self> {
        Self::new(device, len, DType::F32)
    }

    /// A copy of single-precision numbers of the host.
    pub(super) fn of(values: &[f32], device: &Device) -> Result<Self> {
        let storage = match device {
            Device::Cpu => Storage::Cpu(CpuStorage::F32(values.to_vec())),
            Device::Cuda(device) => Storage::Cuda(device.storage_from_slice(values)?),
            Device::Metal(device) => Storage::Metal(device.storage_from_slice(values)?),
        };
        Ok(Self { storage, len: values.len() })
    }

    /// A copy of the numbers on the host.
    pub(super) fn numbers(&self) -> Result<Vec<f32>> {
        let storage = match &self.storage {
            Storage::Cpu(storage) => storage.clone(),
            Storage::Cuda(storage) => storage.to_cpu_storage()?,
            Storage::Metal(storage) => storage.to_cpu_storage()?,
        };
        match storage {
            CpuStorage::F32(mut values) => {
                values.truncate(self.len);
                Ok(values)
            }
            _ => candle_core::bail!("an output of another type than F32"),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// This memory as an argument.
    pub(super) fn out(&mut self) -> Arg<'_> {
        let memory = match &mut self.storage {
            Storage::Cpu(storage) => Memory::Cpu(storage),
            Storage::Cuda(storage) => Memory::Cuda(storage),
            Storage::Metal(storage) => Memory::Metal(storage),
        };
        Arg::Out { memory, start: 0, len: self.len }
    }

    /// The memory as a tensor outside any graph.
    pub(super) fn tensor(self, shape: impl Into<Shape>) -> Tensor {
        Tensor::from_storage(self.storage, shape, BackpropOp::none(), false)
    }

    pub(super) fn into_storage(self) -> Storage {
        self.storage
    }
}

/// Host memory for the emulation, filled with what a reader would notice.
#[cfg(test)]
fn on_host(len: usize, dtype: DType) -> Result<CpuStorage> {
    Ok(match dtype {
        DType::U32 => CpuStorage::U32(vec![u32::MAX; len]),
        _ => CpuStorage::F32(vec![f32::NAN; len]),
    })
}

#[cfg(not(test))]
fn on_host(_: usize, _: DType) -> Result<CpuStorage> {
    candle_core::bail!("a kernel of a device was asked for on the CPU")
}

/// Runs `blocks` blocks of a kernel. Kernels of one device run in the order of their launches.
pub(super) fn launch(device: &Device, kernel: Kernel, blocks: usize, args: &mut [Arg]) -> Result<()> {
    let name = kernel.name;
    let blocks =
        i32::try_from(blocks).map_err(|_| candle_core::Error::msg(format!("{name}: too many blocks")))?;
    for arg in args.iter() {
        let fits = match arg {
            Arg::In(x) => x.is_contiguous() && x.device().same_device(device) && x.elem_count() < MOST,
            Arg::Out { len, .. } => *len < MOST,
            Arg::Int(n) => u32::try_from(*n).is_ok(),
            Arg::Real(_) => true,
        };
        if !fits {
            candle_core::bail!("{name}: an argument is too large, not contiguous or on another device");
        }
    }
    if blocks == 0 {
        return Ok(());
    }
    match device {
        #[cfg(test)]
        Device::Cpu => super::emulation::launch(kernel, blocks as u32, args),
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => super::cuda::launch(device, kernel, blocks as u32, args),
        #[cfg(feature = "metal")]
        Device::Metal(device) => super::metal::launch(device, kernel, blocks as u32, args),
        _ => candle_core::bail!("{name}: no kernels for this device are compiled in"),
    }
}

/// Runs a kernel of one thread an element.
pub(super) fn launch_each(device: &Device, kernel: Kernel, count: usize, args: &mut [Arg]) -> Result<()> {
    launch(device, kernel, count.div_ceil(kernel.threads), args)
}

//! Kernels on a CUDA device: compiled by NVRTC at their first use, for the device at hand.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaView, CudaViewMut, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use candle_core::{CudaDevice, DType, Error, Layout, Result, Storage, StorageRef};

use super::queue::{Arg, Memory};
use super::source::{COMMON, Kernel, Program};

const PRELUDE: &str = include_str!("kernels/cuda.h");

/// An argument as the driver takes it.
enum Held<'a> {
    Floats(CudaView<'a, f32>),
    Words(CudaView<'a, u32>),
    FloatsOut(CudaViewMut<'a, f32>),
    WordsOut(CudaViewMut<'a, u32>),
    Int(u32),
    Real(f32),
}

pub(super) fn launch(device: &CudaDevice, kernel: Kernel, blocks: u32, args: &mut [Arg]) -> Result<()> {
    let function = function(device, kernel)?;
    let read: Vec<Option<(StorageRef, &Layout)>> = args
        .iter()
        .map(|arg| if let Arg::In(tensor) = arg { Some(tensor.storage_and_layout()) } else { None })
        .collect();
    let mut held = Vec::with_capacity(args.len());
    for (arg, read) in args.iter_mut().zip(&read) {
        held.push(match (arg, read) {
            (Arg::In(_), Some((storage, layout))) => input(storage, layout)?,
            (Arg::Out { memory: Memory::Cuda(storage), start, len }, _) => {
                let range = *start..*start + *len;
                if storage.dtype() == DType::U32 {
                    Held::WordsOut(storage.as_cuda_slice_mut::<u32>()?.slice_mut(range))
                } else {
                    Held::FloatsOut(storage.as_cuda_slice_mut::<f32>()?.slice_mut(range))
                }
            }
            (Arg::Int(n), _) => Held::Int(*n as u32),
            (Arg::Real(x), _) => Held::Real(*x),
            _ => candle_core::bail!("{}: an argument is not on the CUDA device", kernel.name),
        });
    }
    let stream = device.cuda_stream();
    let mut launch = stream.launch_builder(&function);
    for held in &mut held {
        match held {
            Held::Floats(x) => launch.arg(&*x),
            Held::Words(x) => launch.arg(&*x),
            Held::FloatsOut(x) => launch.arg(x),
            Held::WordsOut(x) => launch.arg(x),
            Held::Int(n) => launch.arg(&*n),
            Held::Real(x) => launch.arg(&*x),
        };
    }
    let config = LaunchConfig {
        grid_dim: (blocks, 1, 1),
        block_dim: (kernel.threads as u32, 1, 1),
        shared_mem_bytes: 0,
    };
    // SAFETY: the arguments are those of the kernel, in number, type and length, as the emulation checks for every kernel.
    unsafe { launch.launch(config) }.w()?;
    Ok(())
}

fn input<'a>(storage: &'a Storage, layout: &Layout) -> Result<Held<'a>> {
    let (Storage::Cuda(storage), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
        candle_core::bail!("a kernel was given a tensor that is not contiguous on the CUDA device")
    };
    Ok(match storage.dtype() {
        DType::U32 => Held::Words(storage.as_cuda_slice::<u32>()?.slice(start..end)),
        _ => Held::Floats(storage.as_cuda_slice::<f32>()?.slice(start..end)),
    })
}

/// The kernel on this device. Modules are kept by the device, their PTX by the program.
fn function(device: &CudaDevice, kernel: Kernel) -> Result<CudaFunction> {
    type Compiled = HashMap<(&'static str, (i32, i32)), Arc<str>>;
    static COMPILED: Mutex<Option<Compiled>> = Mutex::new(None);
    let capability = device.cuda_stream().context().compute_capability().w()?;
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let compiled = compiled.get_or_insert_default();
    let key = (kernel.program.name, capability);
    let ptx = match compiled.get(&key) {
        Some(ptx) => ptx.clone(),
        None => {
            let ptx: Arc<str> = compile(kernel.program, capability)?.into();
            compiled.insert(key, ptx.clone());
            ptx
        }
    };
    let module = format!("halocast_{}", kernel.program.name);
    Ok(device.get_or_load_custom_func(kernel.name, &module, &ptx)?.into_cuda_function())
}

/// The PTX of a program for a compute capability.
fn compile(program: &Program, (major, minor): (i32, i32)) -> Result<String> {
    let source = [PRELUDE, COMMON, program.source].join("\n");
    let options = CompileOptions {
        options: vec![format!("--gpu-architecture=compute_{major}{minor}"), "--std=c++17".to_owned()],
        name: Some(format!("{}.cu", program.name)),
        ..Default::default()
    };
    let failed = |error| Error::msg(format!("NVRTC does not compile {}: {error:?}", program.name));
    Ok(compile_ptx_with_opts(source, options).map_err(failed)?.to_src())
}

#[cfg(test)]
mod tests {
    use super::super::source::PROGRAMS;
    use super::*;

    /// Compiling takes no device, but the libraries of CUDA.
    #[test]
    fn nvrtc_compiles_all_programs() {
        for program in PROGRAMS {
            let ptx = compile(program, (9, 0)).unwrap();
            assert!(ptx.contains(".target sm_90"), "{}", program.name);
        }
    }
}

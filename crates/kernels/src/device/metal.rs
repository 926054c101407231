//! Kernels on a Metal device: compiled by the system at their first use.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Error, MetalDevice, Result, Storage};
use candle_metal_kernels::metal::{ComputeCommandEncoder, ComputePipeline};
use objc2_metal::{MTLCompileOptions, MTLSize};

use super::queue::{Arg, Memory};
use super::source::{COMMON, Kernel};

const PRELUDE: &str = include_str!("kernels/metal.h");

pub(super) fn launch(device: &MetalDevice, kernel: Kernel, blocks: u32, args: &mut [Arg]) -> Result<()> {
    let pipeline = pipeline(device, kernel)?;
    let commands = device.command_encoder()?;
    let encoder: &ComputeCommandEncoder = commands.as_ref();
    encoder.set_compute_pipeline_state(&pipeline);
    for (i, arg) in args.iter().enumerate() {
        match arg {
            Arg::In(tensor) => {
                let (storage, layout) = tensor.storage_and_layout();
                let Storage::Metal(storage) = &*storage else {
                    candle_core::bail!("{}: an argument is not on the Metal device", kernel.name)
                };
                let offset = layout.start_offset() * tensor.dtype().size_in_bytes();
                encoder.set_input_buffer(i, Some(storage.buffer()), offset);
            }
            Arg::Out { memory: Memory::Metal(storage), start, .. } => {
                let offset = start * DType::F32.size_in_bytes();
                encoder.set_output_buffer(i, Some(storage.buffer()), offset);
            }
            Arg::Int(n) => encoder.set_bytes(i, &(*n as u32)),
            Arg::Real(x) => encoder.set_bytes(i, x),
            Arg::Out { .. } => candle_core::bail!("{}: an output is not on the Metal device", kernel.name),
        }
    }
    let line = |width: usize| MTLSize { width, height: 1, depth: 1 };
    encoder.dispatch_thread_groups(line(blocks as usize), line(kernel.threads));
    Ok(())
}

/// The kernel on this device, kept by the program.
fn pipeline(device: &MetalDevice, kernel: Kernel) -> Result<ComputePipeline> {
    type Compiled = HashMap<(u64, &'static str), ComputePipeline>;
    static COMPILED: Mutex<Option<Compiled>> = Mutex::new(None);
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let compiled = compiled.get_or_insert_default();
    let key = (device.metal_device().registry_id(), kernel.name);
    if let Some(pipeline) = compiled.get(&key) {
        return Ok(pipeline.clone());
    }
    let source = [PRELUDE, COMMON, kernel.program.source].join("\n");
    let options = MTLCompileOptions::new();
    // Distances and random numbers are sums and products that are rounded one by one.
    #[allow(deprecated, reason = "its successor is absent before macOS 15")]
    options.setFastMathEnabled(false);
    let failed = |error| Error::msg(format!("Metal does not compile {}: {error}", kernel.name));
    let metal = device.metal_device();
    let library = metal.new_library_with_source(&source, Some(&options)).map_err(failed)?;
    let function = library.get_function(kernel.name, None).map_err(failed)?;
    let pipeline = metal.new_compute_pipeline_state_with_function(&function).map_err(failed)?;
    compiled.insert(key, pipeline.clone());
    Ok(pipeline)
}

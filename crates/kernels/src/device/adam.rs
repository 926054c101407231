//! Adam whose moments and average stay on the device of the variable.

use std::sync::Mutex;

use candle_core::{CpuStorage, CudaStorage, DType, Device, InplaceOp2, Layout, MetalStorage, Tensor, Var};

use super::queue::{Arg, Block, Memory, launch_each};
use super::source;
use crate::{AdamCfg, AdamState, Error, Result};

/// The moments of one variable and, if kept, the moving average of its values, on a CUDA or Metal device: a step is one
/// kernel, in place, and nothing passes through host memory.
///
/// For variables of the CPU, and for saving, there is [`AdamState`].
///
/// # Example
/// ```
/// use candle_core::{Device, Var};
/// use halocast_kernels::{AdamState, DeviceAdam};
/// let var = Var::new(&[1.0f32, 2.0], &Device::Cpu)?;
/// // On the CPU there is none: the state of the host serves.
/// assert!(DeviceAdam::new(&var, &AdamState::new(2)).is_err());
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub struct DeviceAdam {
    m: Block,
    v: Block,
    /// One number where no average is kept.
    ema: Block,
    averaged: bool,
}

impl std::fmt::Debug for DeviceAdam {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceAdam").field("averaged", &self.averaged).finish_non_exhaustive()
    }
}

impl DeviceAdam {
    /// A copy of `state` on the device of `var`.
    ///
    /// # Errors
    /// Where the device has no kernels (see [`DeviceAdam::serves`]), the sizes differ, or Candle fails.
    pub fn new(var: &Var, state: &AdamState) -> Result<Self> {
        const OP: &str = "adam";
        if !Self::serves(var) {
            let got = format!("{:?} on {:?}", var.dtype(), var.device());
            return Err(Error::argument(OP, "variable", "contiguous F32 on a device with kernels", got));
        }
        let len = var.elem_count();
        let lens = [state.m.len(), state.v.len(), state.ema.as_ref().map_or(len, Vec::len)];
        if let Some(got) = lens.into_iter().find(|&got| got != len) {
            return Err(Error::argument(OP, "state", format!("of {len} parameters"), got));
        }
        let device = var.device();
        Ok(Self {
            m: upload(&state.m, device)?,
            v: upload(&state.v, device)?,
            ema: upload(state.ema.as_deref().unwrap_or(&[0.0]), device)?,
            averaged: state.ema.is_some(),
        })
    }

    /// Whether a variable can have its moments beside it: contiguous `f32` on a CUDA or Metal device of this build.
    pub fn serves(var: &Var) -> bool {
        super::takes(&[var.as_tensor()]) && var.is_contiguous()
    }

    /// A copy on the host.
    ///
    /// # Errors
    /// Where Candle fails.
    pub fn state(&self) -> Result<AdamState> {
        let ema = if self.averaged { Some(self.ema.numbers()?) } else { None };
        Ok(AdamState { m: self.m.numbers()?, v: self.v.numbers()?, ema })
    }

    /// Updates `var` in place by its gradient, as [`AdamState::step`] does.
    ///
    /// # Errors
    /// Where the sizes differ, `cfg.step` is zero, or a tensor is of another type or device.
    pub fn step(&mut self, var: &Var, gradient: &Tensor, cfg: &AdamCfg) -> Result<()> {
        const OP: &str = "adam";
        if gradient.dims() != var.dims() || var.elem_count() != self.m.len() {
            let expected = format!("{:?} of {} parameters", var.dims(), self.m.len());
            return Err(Error::shape(OP, "gradient", expected, gradient.dims()));
        }
        if cfg.step == 0 {
            return Err(Error::argument(OP, "step", "at least 1", 0));
        }
        if gradient.dtype() != DType::F32 {
            return Err(Error::argument(OP, "gradient", "of type F32", format!("{:?}", gradient.dtype())));
        }
        let gradient = gradient.detach().contiguous()?;
        let op = Step(Mutex::new(self), *cfg, var.device().clone(), gradient.clone());
        Ok(var.inplace_op2(&gradient, &op)?)
    }
}

fn upload(values: &[f32], device: &Device) -> Result<Block> {
    Ok(Block::of(values, device)?)
}

/// The variable's storage comes as the first of an operation in place; the gradient is passed again, as a tensor.
struct Step<'a>(Mutex<&'a mut DeviceAdam>, AdamCfg, Device, Tensor);

impl Step<'_> {
    fn run(&self, memory: Memory, layout: &Layout) -> candle_core::Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("adam: the parameters are not contiguous")
        };
        let len = end - start;
        let Self(state, cfg, device, gradient) = self;
        let mut state = state.lock().map_err(|_| candle_core::Error::msg("adam: poisoned state"))?;
        let state = &mut **state;
        let t = cfg.step as f64;
        let args = &mut [
            Arg::Out { memory, start, len },
            Arg::In(gradient),
            state.m.out(),
            state.v.out(),
            state.ema.out(),
            Arg::Int(len),
            Arg::Int(state.averaged.into()),
            Arg::Real(cfg.beta1 as f32),
            Arg::Real((1.0 - cfg.beta1) as f32),
            Arg::Real(cfg.beta2 as f32),
            Arg::Real((1.0 - cfg.beta2) as f32),
            Arg::Real((1.0 - cfg.lr * cfg.weight_decay) as f32),
            Arg::Real((cfg.lr / (1.0 - cfg.beta1.powf(t))) as f32),
            Arg::Real((1.0 / (1.0 - cfg.beta2.powf(t)).sqrt()) as f32),
            Arg::Real(cfg.eps as f32),
            Arg::Real((1.0 - cfg.ema_decay) as f32),
        ];
        launch_each(device, source::ADAM_STEP, len, args)
    }
}

impl InplaceOp2 for Step<'_> {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn cpu_fwd(
        &self,
        p: &mut CpuStorage,
        layout: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<()> {
        self.run(Memory::Cpu(p), layout)
    }

    fn cuda_fwd(
        &self,
        p: &mut CudaStorage,
        layout: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> candle_core::Result<()> {
        self.run(Memory::Cuda(p), layout)
    }

    fn metal_fwd(
        &self,
        p: &mut MetalStorage,
        layout: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> candle_core::Result<()> {
        self.run(Memory::Metal(p), layout)
    }
}

//! Stochastic gradient descent with momentum, in place.

use std::sync::Mutex;

use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor, Var};
use rayon::prelude::*;

use crate::{Result, SgdConfig};

/// Parameters that one task updates.
const CHUNK: usize = 32 * 1024;

/// One step of one parameter; see [`SgdConfig`] for its formula.
pub(super) fn step(
    var: &Var,
    gradient: &Tensor,
    velocity: &mut [f32],
    config: &SgdConfig,
    rate: f64,
) -> Result<()> {
    let gradient = gradient.contiguous()?;
    if var.device().is_cpu() && var.is_contiguous() {
        let op = InPlace(Mutex::new(velocity), *config, rate);
        return Ok(var.inplace_op2(&gradient, &op)?);
    }
    let mut values = var.as_tensor().flatten_all()?.to_vec1::<f32>()?;
    update(&mut values, &gradient.flatten_all()?.to_vec1::<f32>()?, velocity, config, rate);
    Ok(var.set(&Tensor::from_vec(values, var.shape(), var.device())?)?)
}

fn update(values: &mut [f32], gradient: &[f32], velocity: &mut [f32], config: &SgdConfig, rate: f64) {
    let (momentum, decay, rate) = (config.momentum as f32, config.weight_decay as f32, rate as f32);
    let chunks =
        values.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK)).zip(velocity.par_chunks_mut(CHUNK));
    chunks.for_each(|((values, gradient), velocity)| {
        for ((p, g), b) in values.iter_mut().zip(gradient).zip(velocity) {
            let g = g + decay * *p;
            *b = momentum * *b + g;
            *p -= rate * if config.nesterov { g + momentum * *b } else { *b };
        }
    });
}

struct InPlace<'a>(Mutex<&'a mut [f32]>, SgdConfig, f64);

impl InplaceOp2 for InPlace<'_> {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn cpu_fwd(
        &self,
        values: &mut CpuStorage,
        values_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (CpuStorage::F32(values), Some((start, end))) = (values, values_layout.contiguous_offsets())
        else {
            candle_core::bail!("sgd: parameters must be contiguous f32")
        };
        let (CpuStorage::F32(gradient), Some((from, to))) = (gradient, gradient_layout.contiguous_offsets())
        else {
            candle_core::bail!("sgd: gradients must be f32")
        };
        let mut velocity = self.0.lock().map_err(|_| candle_core::Error::msg("sgd: poisoned state"))?;
        update(&mut values[start..end], &gradient[from..to], &mut velocity, &self.1, self.2);
        Ok(())
    }
}

//! Adam with decoupled weight decay and an exponential moving average, in one pass over the parameters.

use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor, Var};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::memory::numbers;
use crate::simd::{Level, fma, multiversion};
use crate::{Error, Result};

/// Parameters that one task updates.
const CHUNK: usize = 32 * 1024;

/// The hyper-parameters of one step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AdamCfg {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay: a step first shrinks a parameter by `lr * weight_decay`.
    pub weight_decay: f64,
    /// Which step this is, from 1.
    pub step: u64,
    /// Decay of the moving average of the parameters, where one is kept.
    pub ema_decay: f64,
}

impl Default for AdamCfg {
    /// PyTorch's Adam, and an average over some thousand steps.
    fn default() -> Self {
        Self { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, step: 1, ema_decay: 0.999 }
    }
}

/// The moments of one parameter tensor and, if kept, the moving average of its values.
#[derive(Clone, Debug, PartialEq)]
pub struct AdamState {
    /// First moment.
    pub m: Vec<f32>,
    /// Second moment.
    pub v: Vec<f32>,
    /// Moving average of the parameter.
    pub ema: Option<Vec<f32>>,
}

impl AdamState {
    /// Zero moments for `len` parameters, without an average.
    pub fn new(len: usize) -> Self {
        Self { m: vec![0.0; len], v: vec![0.0; len], ema: None }
    }

    /// Zero moments for a variable, and an average that starts at its value.
    ///
    /// # Errors
    /// Where the variable is not `f32`.
    pub fn with_ema(var: &Var) -> Result<Self> {
        let ema = var.as_tensor().flatten_all()?.to_vec1::<f32>()?;
        Ok(Self { ema: Some(ema), ..Self::new(var.elem_count()) })
    }

    /// Updates `var` in place by its gradient.
    ///
    /// On the CPU nothing is copied; elsewhere the variable goes through host memory.
    ///
    /// # Errors
    /// Where the sizes differ, `cfg.step` is zero, or the tensors are not `f32`.
    ///
    /// # Example
    /// ```
    /// use candle_core::{Device, Tensor, Var};
    /// use halocast_kernels::{AdamCfg, AdamState};
    /// let var = Var::from_tensor(&Tensor::new(&[1.0f32, 2.0], &Device::Cpu)?)?;
    /// let gradient = Tensor::new(&[0.3f32, -5.0], &Device::Cpu)?;
    /// let mut state = AdamState::new(2);
    /// state.step(&var, &gradient, &AdamCfg { lr: 0.1, ..Default::default() })?;
    /// // The first step is lr times the sign of the gradient.
    /// assert_eq!(var.to_vec1::<f32>()?, [0.9, 2.1]);
    /// # Ok::<(), halocast_kernels::Error>(())
    /// ```
    pub fn step(&mut self, var: &Var, gradient: &Tensor, cfg: &AdamCfg) -> Result<()> {
        const OP: &str = "adam";
        if gradient.dims() != var.dims() {
            return Err(Error::shape(OP, "gradient", format!("{:?}", var.dims()), gradient.dims()));
        }
        let len = var.elem_count();
        if self.m.len() != len || self.v.len() != len || self.ema.as_ref().is_some_and(|e| e.len() != len) {
            return Err(Error::argument(OP, "state", format!("of {len} parameters"), self.m.len()));
        }
        if cfg.step == 0 {
            return Err(Error::argument(OP, "step", "at least 1", 0));
        }
        let gradient = gradient.detach().contiguous()?;
        if var.device().is_cpu() && var.is_contiguous() {
            let op = InPlace(std::sync::Mutex::new((self, *cfg)));
            return Ok(var.inplace_op2(&gradient, &op)?);
        }
        let mut values = var.as_tensor().flatten_all()?.to_vec1::<f32>()?;
        let gradient = gradient.flatten_all()?.to_vec1::<f32>()?;
        adam_step(&mut values, &gradient, &mut self.m, &mut self.v, self.ema.as_deref_mut(), cfg);
        Ok(var.set(&Tensor::from_vec(values, var.shape(), var.device())?)?)
    }
}

struct InPlace<'a>(std::sync::Mutex<(&'a mut AdamState, AdamCfg)>);

impl InplaceOp2 for InPlace<'_> {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn cpu_fwd(
        &self,
        p: &mut CpuStorage,
        pl: &Layout,
        g: &CpuStorage,
        gl: &Layout,
    ) -> candle_core::Result<()> {
        let (CpuStorage::F32(p), Some((start, end))) = (p, pl.contiguous_offsets()) else {
            candle_core::bail!("adam: parameters must be contiguous f32")
        };
        let mut guard = self.0.lock().map_err(|_| candle_core::Error::msg("adam: poisoned state"))?;
        let (state, cfg) = &mut *guard;
        let (m, v) = (&mut state.m, &mut state.v);
        adam_step(&mut p[start..end], numbers(g, gl)?, m, v, state.ema.as_deref_mut(), cfg);
        Ok(())
    }
}

/// One step of Adam on plain slices of one length (the shortest counts):
///
/// $$ m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
///    \theta \leftarrow (1 - \eta \lambda) \theta
///    - \frac{\eta}{1 - \beta_1^t} \frac{m}{\sqrt{v / (1 - \beta_2^t)} + \epsilon} $$
///
/// and, where kept, $\bar\theta \leftarrow d \bar\theta + (1 - d) \theta$ with the new $\theta$.
///
/// # Source
/// Kingma & Ba 2015, arXiv:1412.6980, Algorithm 1; the decay as in Loshchilov & Hutter 2019, arXiv:1711.05101,
/// Algorithm 2 with unit schedule.
///
/// # Example
/// ```
/// use halocast_kernels::{AdamCfg, adam_step};
/// let (mut p, mut m, mut v) = ([1.0], [0.0], [0.0]);
/// adam_step(&mut p, &[7.0], &mut m, &mut v, None, &AdamCfg { lr: 0.5, ..Default::default() });
/// assert_eq!(p, [0.5]);
/// ```
pub fn adam_step(
    param: &mut [f32],
    grad: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    ema: Option<&mut [f32]>,
    cfg: &AdamCfg,
) {
    let t = cfg.step.max(1) as f64;
    let coefficients = Coefficients {
        beta1: cfg.beta1 as f32,
        rest1: (1.0 - cfg.beta1) as f32,
        beta2: cfg.beta2 as f32,
        rest2: (1.0 - cfg.beta2) as f32,
        keep: (1.0 - cfg.lr * cfg.weight_decay) as f32,
        rate: (cfg.lr / (1.0 - cfg.beta1.powf(t))) as f32,
        root: (1.0 / (1.0 - cfg.beta2.powf(t)).sqrt()) as f32,
        eps: cfg.eps as f32,
        rest_ema: (1.0 - cfg.ema_decay) as f32,
    };
    let level = Level::current();
    let chunks = param
        .par_chunks_mut(CHUNK)
        .zip(grad.par_chunks(CHUNK))
        .zip(m.par_chunks_mut(CHUNK))
        .zip(v.par_chunks_mut(CHUNK));
    match ema {
        None => chunks.for_each(|(((p, g), m), v)| update(level, p, g, m, v, &coefficients)),
        Some(ema) => chunks.zip(ema.par_chunks_mut(CHUNK)).for_each(|((((p, g), m), v), ema)| {
            update(level, p, g, m, v, &coefficients);
            average(level, p, ema, coefficients.rest_ema);
        }),
    }
}

struct Coefficients {
    beta1: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    keep: f32,
    rate: f32,
    root: f32,
    eps: f32,
    rest_ema: f32,
}

multiversion! {
    fn update(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], c: &Coefficients) {
        for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            *m = fma::<FMA>(c.beta1, *m, c.rest1 * g);
            *v = fma::<FMA>(c.beta2, *v, c.rest2 * g * g);
            let step = *m / fma::<FMA>(v.sqrt(), c.root, c.eps);
            *p = fma::<FMA>(-c.rate, step, c.keep * *p);
        }
    }
}

multiversion! {
    fn average(p: &[f32], ema: &mut [f32], rest: f32) {
        for (p, ema) in p.iter().zip(ema) {
            *ema = fma::<FMA>(rest, p - *ema, *ema);
        }
    }
}

//! The Mamba block: a selective state space between two linear maps.

use candle_core::{Shape, Tensor};
use candle_nn::{Init, VarBuilder};
use halocast_kernels::nn::Linear;
use halocast_kernels::{
    Activation, ScanOrder, TokenScan, causal_conv_tokens, linear, selective_scan_tokens, silu, softplus,
};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The shape of a Mamba block; the default is that of Gu & Dao 2023 at the width of their smallest model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MambaConfig {
    /// Width D of a token.
    pub dim: usize,
    /// States N of a channel.
    pub states: usize,
    /// Taps of the causal convolution.
    pub conv: usize,
    /// Inner width E in units of `dim`.
    pub expand: usize,
}

impl Default for MambaConfig {
    fn default() -> Self {
        Self { dim: 768, states: 16, conv: 4, expand: 2 }
    }
}

impl MambaConfig {
    /// The inner width E.
    pub fn inner(&self) -> usize {
        self.expand * self.dim
    }

    /// The rank of the map to step sizes, D / 16 rounded up.
    pub fn rank(&self) -> usize {
        self.dim.div_ceil(16)
    }
}

/// A Mamba block on sequences `[batch, token, D]`, in any order of the tokens:
///
/// $$ (x, z) = W_\mathrm{in} s, \quad x' = \mathrm{SiLU}(\mathrm{conv}(x)), \quad (\delta, B, C) = W_x x', \quad
///    \Delta = \mathrm{softplus}(W_\Delta \delta + b_\Delta), $$
/// $$ h_t = e^{\Delta_t A} h_{t-1} + \Delta_t B_t x'_t, \quad y_t = C_t h_t + D x'_t, \quad
///    \mathrm{out} = W_\mathrm{out} (y \, \mathrm{SiLU}(z)) $$
///
/// with $A = -e^{A_\mathrm{log}}$. Time is linear in the tokens.
///
/// # Source
/// Gu & Dao 2023, arXiv:2312.00752, section 3.4, with the parameter names of the authors' program and its initial values:
/// $A = -(1, \dots, N)$, $D = 1$, step sizes between 0.001 and 0.1.
///
/// # Differences
/// The tokens stay where they are: an order says which follows which. Initial step sizes are uniform in the inverse of the
/// softplus, which is their logarithm to 5 % at 0.1 and to less below.
#[derive(Clone, Debug)]
pub struct Mamba {
    config: MambaConfig,
    in_proj: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor,
    x_proj: Linear,
    dt_weight: Tensor,
    dt_bias: Tensor,
    a_log: Tensor,
    skip: Tensor,
    out_proj: Linear,
}

/// What a Mamba block remembers of the tokens before, to read them one by one.
#[derive(Clone, Debug)]
pub struct MambaState {
    /// The last inputs of the convolution, the newest last: `[batch, E, taps]`.
    pub conv: Tensor,
    /// The states h: `[batch, E, N]`.
    pub states: Tensor,
}

impl Mamba {
    /// Builds the block on the parameters of `vb`.
    ///
    /// # Errors
    /// [`Error::Config`] when a size is zero; Candle's when a parameter does not fit.
    pub fn new(config: &MambaConfig, vb: VarBuilder) -> Result<Self> {
        let &MambaConfig { dim, states, conv, expand } = config;
        if [dim, states, conv, expand].contains(&0) {
            let expected = "dim, states, conv and expand of at least 1".into();
            return Err(Error::Config {
                model: "Mamba",
                field: "a size".into(),
                expected,
                got: format!("{config:?}"),
            });
        }
        let (inner, rank) = (config.inner(), config.rank());
        let uniform = |fan_in: usize| {
            let bound = 1.0 / (fan_in as f64).sqrt();
            Init::Uniform { lo: -bound, up: bound }
        };
        let inverse_softplus = |step: f64| step.exp_m1().ln();
        let steps = Init::Uniform { lo: inverse_softplus(0.001), up: inverse_softplus(0.1) };
        let decays: Vec<f32> = (1..=states).map(|s| (s as f32).ln()).collect();
        Ok(Self {
            config: *config,
            in_proj: vb.get_with_hints((2 * inner, dim), "in_proj.weight", uniform(dim))?,
            conv_weight: vb.get_with_hints((inner, 1, conv), "conv1d.weight", uniform(conv))?,
            conv_bias: vb.get_with_hints(inner, "conv1d.bias", uniform(conv))?,
            x_proj: Linear::new_no_bias(inner, rank + 2 * states, vb.pp("x_proj"))?,
            dt_weight: vb.get_with_hints((inner, rank), "dt_proj.weight", uniform(rank))?,
            dt_bias: vb.get_with_hints(inner, "dt_proj.bias", steps)?,
            a_log: beginning_as(&vb, "A_log", (inner, states), &decays.repeat(inner))?,
            skip: vb.get_with_hints(inner, "D", Init::Const(1.0))?,
            out_proj: Linear::new_no_bias(inner, dim, vb.pp("out_proj"))?,
        })
    }

    /// The block of `x` `[batch, token, D]`, whose tokens follow one another as `order` says.
    ///
    /// # Errors
    /// When the shapes do not fit or a tensor operation fails.
    pub fn forward(&self, x: &Tensor, order: &ScanOrder) -> Result<Tensor> {
        let (u, z) = self.enter(x)?;
        let u = causal_conv_tokens(&u, &self.conv_weight, Some(&self.conv_bias), Activation::Silu, order)?;
        let scan = TokenScan {
            u: &u,
            coefficients: &self.x_proj.forward(&u)?,
            step_weight: &self.dt_weight,
            step_bias: &self.dt_bias,
            a: &self.a_log.exp()?.neg()?,
            skip: &self.skip,
            gate: &z,
        };
        Ok(self.out_proj.forward(&selective_scan_tokens(&scan, order)?)?)
    }

    /// The two halves of the first map: what is scanned, and its gate.
    fn enter(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let inner = self.config.inner();
        let half = |start| Ok::<_, Error>(linear(x, &self.in_proj.narrow(0, start, inner)?, None)?);
        Ok((half(0)?, half(inner)?))
    }

    /// What the block remembers before the first of `batch` sequences.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn start(&self, batch: usize) -> Result<MambaState> {
        let inner = self.config.inner();
        let zeros = |last: usize| Tensor::zeros((batch, inner, last), self.skip.dtype(), self.skip.device());
        Ok(MambaState { conv: zeros(self.config.conv)?, states: zeros(self.config.states)? })
    }

    /// The block of the next token `x` `[batch, D]`: what [`Mamba::forward`] gives there, in time that does not depend on
    /// how many came before.
    ///
    /// # Errors
    /// When the shapes do not fit or a tensor operation fails.
    pub fn step(&self, x: &Tensor, state: &mut MambaState) -> Result<Tensor> {
        let MambaConfig { states, conv, .. } = self.config;
        let (inner, rank) = (self.config.inner(), self.config.rank());
        let (u, z) = self.enter(x)?;
        state.conv = Tensor::cat(&[state.conv.narrow(2, 1, conv - 1)?, u.unsqueeze(2)?], 2)?;
        let weight = self.conv_weight.reshape((1, inner, conv))?;
        let u = silu(&state.conv.broadcast_mul(&weight)?.sum(2)?.broadcast_add(&self.conv_bias)?)?;
        let coefficients = self.x_proj.forward(&u)?;
        let part = |start, len| coefficients.narrow(1, start, len)?.contiguous();
        let dt = softplus(&linear(&part(0, rank)?, &self.dt_weight, Some(&self.dt_bias))?)?;
        let (b, c) = (part(rank, states)?.unsqueeze(1)?, part(rank + states, states)?.unsqueeze(1)?);
        let decay = dt.unsqueeze(2)?.broadcast_mul(&self.a_log.exp()?.neg()?.unsqueeze(0)?)?.exp()?;
        let new = (&dt * &u)?.unsqueeze(2)?.broadcast_mul(&b)?;
        state.states = ((decay * &state.states)? + new)?;
        let y = (state.states.broadcast_mul(&c)?.sum(2)? + u.broadcast_mul(&self.skip)?)?;
        Ok(self.out_proj.forward(&(y * silu(&z)?)?)?)
    }
}

/// A parameter that begins with given values, unless the builder holds it already.
fn beginning_as(vb: &VarBuilder, name: &str, shape: impl Into<Shape>, values: &[f32]) -> Result<Tensor> {
    let fresh = !vb.contains_tensor(name);
    let tensor = vb.get_with_hints(shape, name, Init::Const(0.0))?;
    if fresh {
        let values = Tensor::from_slice(values, tensor.shape(), tensor.device())?;
        tensor.slice_set(&values.to_dtype(tensor.dtype())?, 0, 0)?;
    }
    Ok(tensor)
}

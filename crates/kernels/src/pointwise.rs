//! Activations: SiLU and the exact GELU.

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use crate::autograd::{self, Gradient, Op};
use crate::memory::{Output, on_cpu};
use crate::simd::math::{exp, sigmoid};
use crate::simd::{Level, fma, multiversion};
use crate::{Result, reference};

/// Numbers that one task handles.
const CHUNK: usize = 16 * 1024;

/// $x / (1 + e^{-x})$, of any shape.
///
/// # Errors
/// Where Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// let y = halocast_kernels::silu(&Tensor::new(&[0.0f32, 50.0], &Device::Cpu)?)?;
/// assert_eq!(y.to_vec1::<f32>()?, [0.0, 50.0]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn silu(x: &Tensor) -> Result<Tensor> {
    if !on_cpu(&[x]) {
        return reference::silu(x);
    }
    Function::Silu.of(x)
}

/// $x \, \Phi(x) = \frac{x}{2} (1 + \mathrm{erf}(x / \sqrt 2))$, of any shape.
///
/// # Source
/// Hendrycks & Gimpel 2016, arXiv:1606.08415; the complementary error function to 1.2e-7 relative by the Chebyshev fit of
/// Press et al., Numerical Recipes, section 6.2.
///
/// # Errors
/// Where Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// let y = halocast_kernels::gelu(&Tensor::new(&[1.0f32], &Device::Cpu)?)?;
/// assert!((y.to_vec1::<f32>()?[0] - 0.841_344_7).abs() < 1e-6);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    if !on_cpu(&[x]) {
        return reference::gelu(x);
    }
    Function::Gelu.of(x)
}

#[derive(Clone, Copy)]
enum Function {
    Silu,
    Gelu,
}

impl Function {
    fn of(self, x: &Tensor) -> Result<Tensor> {
        Ok(autograd::apply(Pointwise { function: self, shape: x.shape().clone() }, &[x])?)
    }
}

struct Pointwise {
    function: Function,
    shape: Shape,
}

impl Op for Pointwise {
    fn name(&self) -> &'static str {
        match self.function {
            Function::Silu => "silu",
            Function::Gelu => "gelu",
        }
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let (x, level) = (inputs[0], Level::current());
        let y = map(x, x, |x, _, y| match self.function {
            Function::Silu => silu_forward(level, x, y),
            Function::Gelu => gelu_forward(level, x, y),
        });
        Ok((y, self.shape.clone()))
    }

    fn backward(&self, inputs: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let level = Level::current();
        let dx = map(inputs[0], dy, |x, dy, dx| match self.function {
            Function::Silu => silu_backward(level, x, dy, dx),
            Function::Gelu => gelu_backward(level, x, dy, dx),
        });
        Ok(vec![Gradient::Values(dx)])
    }
}

/// Applies `f` to chunks of two inputs and one output of the same length, in parallel.
pub(crate) fn map(a: &[f32], b: &[f32], f: impl Fn(&[f32], &[f32], &mut [f32]) + Sync) -> Vec<f32> {
    let mut y = Output::new(a.len());
    let out = y.shared();
    a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK)).enumerate().for_each(|(i, (a, b))| {
        // SAFETY: each task writes its own chunk.
        f(a, b, unsafe { out.slice(i * CHUNK, a.len()) });
    });
    // SAFETY: the chunks cover the input, and `f` writes the whole of its output.
    unsafe { y.finish() }
}

multiversion! {
    fn silu_forward(x: &[f32], y: &mut [f32]) {
        for (x, y) in x.iter().zip(y) {
            *y = x * sigmoid::<FMA>(*x);
        }
    }
}

multiversion! {
    fn silu_backward(x: &[f32], dy: &[f32], dx: &mut [f32]) {
        for ((x, dy), dx) in x.iter().zip(dy).zip(dx) {
            let s = sigmoid::<FMA>(*x);
            *dx = dy * s * fma::<FMA>(*x, 1.0 - s, 1.0);
        }
    }
}

/// The normal distribution function and density.
#[inline(always)]
fn normal<const FMA: bool>(x: f32) -> (f32, f32) {
    // Phi(-|x|) = e^{-x^2/2} erfcx(|x| / sqrt 2) / 2; erfcx by its expansion in t = 2 / (2 + z) (Numerical
    // Recipes' `erfccheb`, relative error below 1.2e-7).
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 2.0 / (2.0 + z);
    let density = exp::<FMA>(-0.5 * x * x);
    let mut p = 0.170_872_77;
    for c in [
        -0.822_152_23,
        1.488_515_9,
        -1.135_204,
        0.278_868_07,
        -0.186_288_06,
        0.096_784_18,
        0.374_091_96,
        1.000_023_7,
        -1.265_512_2,
    ] {
        p = fma::<FMA>(p, t, c);
    }
    let tail = 0.5 * t * density * exp::<FMA>(p);
    let below = if x > 0.0 { 1.0 - tail } else { tail };
    (below, density * 0.398_942_3)
}

multiversion! {
    fn gelu_forward(x: &[f32], y: &mut [f32]) {
        for (x, y) in x.iter().zip(y) {
            *y = x * normal::<FMA>(*x).0;
        }
    }
}

multiversion! {
    fn gelu_backward(x: &[f32], dy: &[f32], dx: &mut [f32]) {
        for ((x, dy), dx) in x.iter().zip(dy).zip(dx) {
            let (below, density) = normal::<FMA>(*x);
            *dx = dy * fma::<FMA>(*x, density, below);
        }
    }
}

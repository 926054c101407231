//! Functions of each number alone, and sums of two tensors.

use candle_core::{Shape, Tensor};
use rayon::prelude::*;

use crate::activation::Activation;
use crate::autograd::{self, Gradient, Op};
use crate::memory::{Output, on_cpu};
use crate::simd::{Level, multiversion};
use crate::{Error, Result, reference};

/// Numbers that one task handles.
const CHUNK: usize = 16 * 1024;
/// Numbers that are copied and then changed in place, while they are in the nearest cache.
const STRIP: usize = 2048;

/// An [`Activation`] of every number, of any shape.
///
/// # Errors
/// Where Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_kernels::{Activation, activate};
/// let y = activate(&Tensor::new(&[-1.0f32, 2.0], &Device::Cpu)?, Activation::LeakyRelu(0.5))?;
/// assert_eq!(y.to_vec1::<f32>()?, [-0.5, 2.0]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    if activation == Activation::None {
        return Ok(x.clone());
    }
    if !on_cpu(&[x]) {
        return reference::activate(x, activation);
    }
    Ok(autograd::apply(Pointwise { function: activation, shape: x.shape().clone() }, &[x])?)
}

macro_rules! pointwise {
    ($(#[$meta:meta])* $name:ident, $activation:ident, $x:literal, $y:literal) => {
        $(#[$meta])*
        ///
        /// # Errors
        /// Where Candle fails.
        ///
        /// # Example
        /// ```
        /// use candle_core::{Device, Tensor};
        #[doc = concat!("let y = halocast_kernels::", stringify!($name), "(&Tensor::new(&[", $x, "f32], &Device::Cpu)?)?;")]
        #[doc = concat!("assert!((y.to_vec1::<f32>()?[0] - ", $y, ").abs() < 1e-6);")]
        /// # Ok::<(), halocast_kernels::Error>(())
        /// ```
        pub fn $name(x: &Tensor) -> Result<Tensor> {
            activate(x, Activation::$activation)
        }
    };
}

pointwise! {
    /// $x / (1 + e^{-x})$, of any shape.
    silu, Silu, "50.0", "50.0"
}
pointwise! {
    /// $x \, \Phi(x) = \frac{x}{2} (1 + \mathrm{erf}(x / \sqrt 2))$, of any shape.
    ///
    /// # Source
    /// Hendrycks & Gimpel 2016, arXiv:1606.08415; the complementary error function to 1.2e-7 relative by the Chebyshev fit of
    /// Press et al., Numerical Recipes, section 6.2.
    gelu, Gelu, "1.0", "0.841_344_7"
}
pointwise! {
    /// $\max(x, 0)$, of any shape.
    relu, Relu, "-2.0", "0.0"
}
pointwise! {
    /// $\tanh x$, of any shape.
    tanh, Tanh, "0.5", "0.462_117_16"
}
pointwise! {
    /// $1 / (1 + e^{-x})$, of any shape.
    sigmoid, Sigmoid, "0.0", "0.5"
}
pointwise! {
    /// $\ln(1 + e^x)$, of any shape.
    softplus, Softplus, "0.0", "0.693_147_2"
}
pointwise! {
    /// $e^x$, of any shape.
    exp, Exp, "1.0", "2.718_281_7"
}

/// $x$ where it is positive and `slope` times $x$ elsewhere, of any shape.
///
/// # Errors
/// Where Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// let y = halocast_kernels::leaky_relu(&Tensor::new(&[-1.0f32, 2.0], &Device::Cpu)?, 0.2)?;
/// assert_eq!(y.to_vec1::<f32>()?, [-0.2, 2.0]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn leaky_relu(x: &Tensor, slope: f64) -> Result<Tensor> {
    activate(x, Activation::LeakyRelu(slope as f32))
}

struct Pointwise {
    function: Activation,
    shape: Shape,
}

impl Op for Pointwise {
    fn name(&self) -> &'static str {
        self.function.name()
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let (x, level) = (inputs[0], Level::current());
        let y = map(x, x, |x, _, y| {
            for (x, y) in x.chunks(STRIP).zip(y.chunks_mut(STRIP)) {
                y.copy_from_slice(x);
                self.function.apply(level, y);
            }
        });
        Ok((y, self.shape.clone()))
    }

    fn backward(&self, inputs: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        let level = Level::current();
        let dx = map(inputs[0], dy, |x, dy, dx| {
            for ((x, dy), dx) in x.chunks(STRIP).zip(dy.chunks(STRIP)).zip(dx.chunks_mut(STRIP)) {
                dx.copy_from_slice(dy);
                self.function.pull(level, x, dx);
            }
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

/// $a + b$ of one shape, as in a residual connection: keeps nothing for the gradient, which is that of the output.
///
/// # Errors
/// Where the shapes differ, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// let a = Tensor::new(&[1.0f32, 2.0], &Device::Cpu)?;
/// assert_eq!(halocast_kernels::add(&a, &a)?.to_vec1::<f32>()?, [2.0, 4.0]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.dims() != b.dims() {
        return Err(Error::shape("add", "b", format!("{:?}", a.dims()), b.dims()));
    }
    if !on_cpu(&[a, b]) {
        return reference::add(a, b);
    }
    Ok(autograd::apply(Add { shape: a.shape().clone() }, &[a, b])?)
}

struct Add {
    shape: Shape,
}

impl Op for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let level = Level::current();
        let y = map(inputs[0], inputs[1], |a, b, y| sums(level, a, b, y));
        Ok((y, self.shape.clone()))
    }

    fn backward(&self, _: &[&[f32]], _: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        Ok(vec![Gradient::Output, Gradient::Output])
    }

    fn keeps(&self, _: usize) -> bool {
        false
    }
}

multiversion! {
    fn sums(a: &[f32], b: &[f32], y: &mut [f32]) {
        let _ = FMA;
        for ((a, b), y) in a.iter().zip(b).zip(y) {
            *y = a + b;
        }
    }
}

//! Activation functions and their derivatives, in place on slices.

use serde::{Deserialize, Serialize};

use crate::simd::math::{exp, log1p_exp, sigmoid};
use crate::simd::{Level, fma, multiversion};

/// What follows a normalisation, or stands alone ([`activate`](crate::activate)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// $x / (1 + e^{-x})$.
    Silu,
    /// $x \, \Phi(x)$ with the normal distribution function $\Phi$ (exact, no approximation by tanh).
    Gelu,
    /// $\max(x, 0)$; the gradient at zero is zero.
    Relu,
    /// $x$ where it is positive, else the given slope times $x$.
    LeakyRelu(f32),
    /// $\tanh x$.
    Tanh,
    /// $1 / (1 + e^{-x})$.
    Sigmoid,
    /// $\ln(1 + e^x)$.
    Softplus,
    /// $e^x$.
    Exp,
}

impl Activation {
    /// As errors name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "identity",
            Self::Silu => "silu",
            Self::Gelu => "gelu",
            Self::Relu => "relu",
            Self::LeakyRelu(_) => "leaky_relu",
            Self::Tanh => "tanh",
            Self::Sigmoid => "sigmoid",
            Self::Softplus => "softplus",
            Self::Exp => "exp",
        }
    }

    /// `y = f(y)`.
    pub(crate) fn apply(self, level: Level, y: &mut [f32]) {
        if self != Self::None {
            apply(level, self, y);
        }
    }

    /// `d = d f'(x)`.
    pub(crate) fn pull(self, level: Level, x: &[f32], d: &mut [f32]) {
        if self != Self::None {
            pull(level, self, x, d);
        }
    }
}

/// One loop for each function, so that each vectorises.
macro_rules! each {
    ($function:expr, $f:ident => $body:block) => {
        match $function {
            Activation::None => {}
            Activation::Silu => {
                let $f = Activation::Silu;
                $body
            }
            Activation::Gelu => {
                let $f = Activation::Gelu;
                $body
            }
            Activation::Relu => {
                let $f = Activation::Relu;
                $body
            }
            Activation::LeakyRelu(slope) => {
                let $f = Activation::LeakyRelu(slope);
                $body
            }
            Activation::Tanh => {
                let $f = Activation::Tanh;
                $body
            }
            Activation::Sigmoid => {
                let $f = Activation::Sigmoid;
                $body
            }
            Activation::Softplus => {
                let $f = Activation::Softplus;
                $body
            }
            Activation::Exp => {
                let $f = Activation::Exp;
                $body
            }
        }
    };
}

multiversion! {
    fn apply(function: Activation, y: &mut [f32]) {
        each!(function, f => {
            for y in y.iter_mut() {
                *y = value::<FMA>(f, *y);
            }
        });
    }
}

multiversion! {
    fn pull(function: Activation, x: &[f32], d: &mut [f32]) {
        each!(function, f => {
            for (x, d) in x.iter().zip(d.iter_mut()) {
                *d *= slope::<FMA>(f, *x);
            }
        });
    }
}

#[inline(always)]
fn value<const FMA: bool>(function: Activation, x: f32) -> f32 {
    match function {
        Activation::None => x,
        Activation::Silu => x * sigmoid::<FMA>(x),
        Activation::Gelu => x * normal::<FMA>(x).0,
        // Written so that a number that is none stays one.
        Activation::Relu => {
            if x < 0.0 {
                0.0
            } else {
                x
            }
        }
        Activation::LeakyRelu(slope) => {
            if x < 0.0 {
                slope * x
            } else {
                x
            }
        }
        Activation::Tanh => tanh::<FMA>(x),
        Activation::Sigmoid => sigmoid::<FMA>(x),
        Activation::Softplus => log1p_exp::<FMA>(x),
        Activation::Exp => exp_unbounded::<FMA>(x),
    }
}

#[inline(always)]
fn slope<const FMA: bool>(function: Activation, x: f32) -> f32 {
    match function {
        Activation::None => 1.0,
        Activation::Silu => {
            let s = sigmoid::<FMA>(x);
            s * fma::<FMA>(x, 1.0 - s, 1.0)
        }
        Activation::Gelu => {
            let (below, density) = normal::<FMA>(x);
            fma::<FMA>(x, density, below)
        }
        Activation::Relu => {
            if x > 0.0 {
                1.0
            } else {
                0.0
            }
        }
        Activation::LeakyRelu(slope) => {
            if x > 0.0 {
                1.0
            } else {
                slope
            }
        }
        Activation::Tanh => {
            let y = tanh::<FMA>(x);
            fma::<FMA>(-y, y, 1.0)
        }
        Activation::Sigmoid => {
            let s = sigmoid::<FMA>(x);
            s * (1.0 - s)
        }
        Activation::Softplus => sigmoid::<FMA>(x),
        Activation::Exp => exp_unbounded::<FMA>(x),
    }
}

/// The exponential with its limits, zero and infinity.
#[inline(always)]
fn exp_unbounded<const FMA: bool>(x: f32) -> f32 {
    let y = exp::<FMA>(x);
    let y = if x < -87.0 { 0.0 } else { y };
    // ln of the largest number.
    if x > 88.722_83 {
        f32::INFINITY
    } else if x > 88.0 {
        exp::<FMA>(x - 1.0) * std::f32::consts::E
    } else {
        y
    }
}

/// Cephes' `tanhf`: a polynomial near zero, where the quotient of exponentials loses digits.
#[inline(always)]
fn tanh<const FMA: bool>(x: f32) -> f32 {
    let z = x * x;
    let mut p = -5.704_988_7e-3;
    for c in [2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1] {
        p = fma::<FMA>(p, z, c);
    }
    let near = fma::<FMA>(p * z, x, x);
    let size = x.abs();
    let far = 1.0 - 2.0 / (exp::<FMA>(2.0 * size.min(20.0)) + 1.0);
    if size < 0.625 {
        near
    } else if size >= 0.625 {
        far.copysign(x)
    } else {
        x
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative to the value, over twelve decades of both signs.
    #[test]
    fn functions_near_zero_and_far_from_it() {
        type Case = (Activation, fn(f64) -> f64);
        let cases: [Case; 4] = [
            (Activation::Tanh, f64::tanh),
            (Activation::Softplus, |x| x.exp().ln_1p()),
            (Activation::Exp, f64::exp),
            (Activation::Sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
        ];
        for level in [Level::Portable, Level::detect()] {
            for (function, exact) in cases {
                for i in -240i32..240 {
                    let x = (10f32).powf(i.abs() as f32 / 20.0 - 10.0) * (i as f32).signum();
                    let mut y = [x];
                    function.apply(level, &mut y);
                    let exact = exact(f64::from(x));
                    // Beyond what the exponential's argument is clamped to.
                    if x.abs() < 80.0 {
                        let error = (f64::from(y[0]) - exact).abs() / exact.abs();
                        assert!(error < 5e-7, "{function:?} of {x}: {} for {exact}", y[0]);
                    } else {
                        assert!(
                            (f64::from(y[0]) - exact).abs() <= 1e-6 * exact.abs() + 1e-30 || exact > 3e38
                        );
                    }
                }
                let mut y = [f32::NAN];
                function.apply(level, &mut y);
                assert!(y[0].is_nan(), "{function:?}");
            }
        }
    }
}

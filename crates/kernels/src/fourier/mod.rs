//! Fourier transforms over the last one to three axes, real and complex, whose gradients are the adjoint transforms.
//!
//! A complex tensor is a real one with a last axis of two: real part, imaginary part.

mod transform;

use candle_core::{Shape, Tensor};
use serde::{Deserialize, Serialize};

use crate::autograd::{self, Gradient, Op};
use crate::device::{self, Spectrum};
use crate::memory::on_cpu;
use crate::{Error, Result, reference};
use transform::{Columns, Transform};

/// Which factor goes with which direction; $N$ is the number of points. The names are NumPy's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FourierNorm {
    /// 1 forward, $1/N$ inverse.
    #[default]
    Backward,
    /// $1/\sqrt N$ both ways: the transform is unitary.
    Ortho,
    /// $1/N$ forward, 1 inverse.
    Forward,
}

impl FourierNorm {
    pub(crate) fn scale(self, points: usize, inverse: bool) -> f64 {
        match (self, inverse) {
            (Self::Ortho, _) => (points as f64).sqrt().recip(),
            (Self::Backward, false) | (Self::Forward, true) => 1.0,
            (Self::Backward, true) | (Self::Forward, false) => (points as f64).recip(),
        }
    }
}

/// The Fourier transform of a real tensor over its last `axes` axes (1 to 3), half of the spectrum:
///
/// $$ F_k = \sum_x f_x \, e^{-2 \pi i \sum_a k_a x_a / n_a} $$
///
/// `[.., n]` to `[.., n/2 + 1, 2]`, real and imaginary part last: $F_{-k} = F_k^*$ is not stored. Time $O(N \log N)$ for
/// all sizes.
///
/// # Source
/// Conventions of NumPy's `rfftn`. On CUDA and Metal devices sides that are powers of two up to
/// 2048 have a kernel; other sides there, and other types, are products of matrices in time $O(N n)$.
///
/// # Errors
/// Where `axes` is not 1, 2 or 3, the tensor has fewer or an empty one, or Candle fails.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_kernels::{FourierNorm, rfft};
/// let x = Tensor::new(&[1.0f32, 2.0, 3.0, 6.0], &Device::Cpu)?;
/// let f = rfft(&x, 1, FourierNorm::Backward)?;
/// assert_eq!(f.to_vec2::<f32>()?, [[12.0, 0.0], [-2.0, 4.0], [-4.0, 0.0]]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn rfft(x: &Tensor, axes: usize, norm: FourierNorm) -> Result<Tensor> {
    let plan = Plan::new("rfft", x.dims(), axes, Kind::Real, norm)?;
    if !on_cpu(&[x]) {
        if let Some(plan) = plan.on_device(x) {
            return Ok(plan.apply(x)?);
        }
        return reference::rfft(x, axes, norm);
    }
    Ok(autograd::apply(plan, &[x])?)
}

/// The inverse of [`rfft`]: `[.., last/2 + 1, 2]` to `[.., last]`.
///
/// $$ f_x = \frac{1}{N} \sum_k F_k \, e^{2 \pi i \sum_a k_a x_a / n_a} $$
///
/// over all $k$, the half that is not stored being the conjugate. Imaginary parts that a real field cannot have are ignored.
///
/// # Errors
/// Where the shapes do not fit `last`, or as [`rfft`].
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_kernels::{FourierNorm, irfft, rfft};
/// let x = Tensor::new(&[1.0f32, 2.0, 4.0], &Device::Cpu)?;
/// let back = irfft(&rfft(&x, 1, FourierNorm::Ortho)?, 3, 1, FourierNorm::Ortho)?;
/// assert!((back - x)?.abs()?.sum_all()?.to_scalar::<f32>()? < 1e-5);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn irfft(x: &Tensor, last: usize, axes: usize, norm: FourierNorm) -> Result<Tensor> {
    const OP: &str = "irfft";
    let [front @ .., half, 2] = x.dims() else {
        return Err(Error::shape(OP, "x", "[.., last/2 + 1, 2]", x.dims()));
    };
    if last == 0 || *half != last / 2 + 1 {
        return Err(Error::shape(OP, "x", format!("[.., {}, 2] for {last} points", last / 2 + 1), x.dims()));
    }
    let real: Vec<usize> = front.iter().copied().chain([last]).collect();
    let plan = Plan::new(OP, &real, axes, Kind::RealInverse, norm)?;
    if !on_cpu(&[x]) {
        if let Some(plan) = plan.on_device(x) {
            return Ok(plan.apply(x)?);
        }
        return reference::irfft(x, last, axes, norm);
    }
    Ok(autograd::apply(plan, &[x])?)
}

/// The Fourier transform of a complex tensor `[.., 2]` over the last `axes` axes (1 to 3) before that of real and imaginary
/// part; the formula is that of [`rfft`].
///
/// # Errors
/// As [`rfft`], or where the last axis is not 2.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_kernels::{FourierNorm, fft};
/// let i = Tensor::new(&[[0.0f32, 1.0], [0.0, 1.0]], &Device::Cpu)?;
/// assert_eq!(fft(&i, 1, FourierNorm::Backward)?.to_vec2::<f32>()?, [[0.0, 2.0], [0.0, 0.0]]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn fft(x: &Tensor, axes: usize, norm: FourierNorm) -> Result<Tensor> {
    complex("fft", x, axes, false, norm)
}

/// The inverse of [`fft`].
///
/// # Errors
/// As there.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use halocast_kernels::{FourierNorm, ifft};
/// let flat = Tensor::new(&[[2.0f32, 0.0], [2.0, 0.0]], &Device::Cpu)?;
/// assert_eq!(ifft(&flat, 1, FourierNorm::Backward)?.to_vec2::<f32>()?, [[2.0, 0.0], [0.0, 0.0]]);
/// # Ok::<(), halocast_kernels::Error>(())
/// ```
pub fn ifft(x: &Tensor, axes: usize, norm: FourierNorm) -> Result<Tensor> {
    complex("ifft", x, axes, true, norm)
}

fn complex(op: &'static str, x: &Tensor, axes: usize, inverse: bool, norm: FourierNorm) -> Result<Tensor> {
    let [points @ .., 2] = x.dims() else { return Err(Error::shape(op, "x", "[.., 2]", x.dims())) };
    let plan = Plan::new(op, points, axes, Kind::Complex { inverse }, norm)?;
    if !on_cpu(&[x]) {
        if let Some(plan) = plan.on_device(x) {
            return Ok(plan.apply(x)?);
        }
        return reference::fft(x, axes, inverse, norm);
    }
    Ok(autograd::apply(plan, &[x])?)
}

#[derive(Clone, Copy)]
enum Kind {
    Real,
    RealInverse,
    Complex { inverse: bool },
}

struct Plan {
    name: &'static str,
    transform: Transform,
    kind: Kind,
    scale: f32,
    output: Shape,
}

impl Plan {
    /// For points `[.., n0, n1, n2]`, of which the last `axes` are transformed.
    fn new(name: &'static str, points: &[usize], axes: usize, kind: Kind, norm: FourierNorm) -> Result<Self> {
        if !(1..=3).contains(&axes) || axes > points.len() {
            let most = points.len().min(3);
            return Err(Error::argument(name, "axes", format!("1 to {most} for this tensor"), axes));
        }
        let (front, sides) = points.split_at(points.len() - axes);
        if sides.contains(&0) {
            return Err(Error::shape(name, "x", "without an empty axis to transform", points));
        }
        let mut shape = [1; 3];
        shape[3 - axes..].copy_from_slice(sides);
        let mut output = points.to_vec();
        match kind {
            Kind::Real => {
                output[points.len() - 1] = shape[2] / 2 + 1;
                output.push(2);
            }
            Kind::RealInverse => {}
            Kind::Complex { .. } => output.push(2),
        }
        let inverse = matches!(kind, Kind::RealInverse | Kind::Complex { inverse: true });
        Ok(Self {
            name,
            transform: Transform::new(shape, front.iter().product()),
            kind,
            scale: norm.scale(sides.iter().product(), inverse) as f32,
            output: output.into(),
        })
    }
}

impl Plan {
    /// The same for kernels of a device, where these have its sizes.
    fn on_device(&self, x: &Tensor) -> Option<device::Fourier> {
        let (shape, batch) = self.transform.sizes();
        let spectrum = match self.kind {
            Kind::Real => Spectrum::Real,
            Kind::RealInverse => Spectrum::RealInverse,
            Kind::Complex { inverse } => Spectrum::Complex { inverse },
        };
        let (name, scale, output) = (self.name, self.scale, self.output.clone());
        let plan = device::Fourier { name, shape, batch, spectrum, scale, output };
        (plan.fits() && device::takes(&[x])).then_some(plan)
    }
}

impl Op for Plan {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, inputs: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let y = match self.kind {
            Kind::Real => self.transform.real(inputs[0], self.scale, Columns::AsTheyAre),
            Kind::RealInverse => self.transform.real_inverse(inputs[0], self.scale, Columns::AsTheyAre),
            Kind::Complex { inverse } => self.transform.complex(inputs[0], inverse, self.scale),
        };
        Ok((y, self.output.clone()))
    }

    fn backward(&self, _: &[&[f32]], dy: &[f32], _: &[bool]) -> candle_core::Result<Vec<Gradient>> {
        // The inverse counts the columns twice that stand for their conjugates too. The adjoint of the half spectrum
        // counts each stored number once; the adjoint of the inverse counts them as the inverse does.
        let dx = match self.kind {
            Kind::Real => self.transform.real_inverse(dy, self.scale, Columns::Halved),
            Kind::RealInverse => self.transform.real(dy, self.scale, Columns::Doubled),
            Kind::Complex { inverse } => self.transform.complex(dy, !inverse, self.scale),
        };
        Ok(vec![Gradient::Values(dx)])
    }

    fn keeps(&self, _: usize) -> bool {
        false
    }
}

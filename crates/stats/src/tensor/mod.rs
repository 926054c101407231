//! Statistics of batches of tensors, on the device where they are, and differentiable.
//!
//! A model in training has its samples as a tensor, perhaps on a GPU. Here the power spectrum, the distribution of pixels,
//! radial profiles and Minkowski functionals of such a batch are taken where it lies, equal to those of
//! [`power_spectra`](crate::power_spectra), [`pixel_pdf`](crate::pixel_pdf), [`Rings`](crate::Rings) and
//! [`minkowski_functionals`](crate::minkowski_functionals) to the rounding of the tensor's type.
//!
//! * [`PowerPlan`]: P(k) of maps and cubes; differentiable.
//! * [`RingPlan`]: mean radial profiles; differentiable.
//! * [`pdf()`] counts pixels; [`soft_pdf`] is its differentiable kin, each pixel spread by a logistic kernel.
//! * [`minkowski()`] is exact; [`soft_minkowski`] lets pixels near the threshold belong in part, and is differentiable.
//! * [`chamfer_loss`] of `halocast-kernels`, for clouds: [`ChamferNorm::L2`] is
//!   [`CloudDistance::chamfer_squared`](crate::CloudDistance), [`ChamferNorm::L1`] half of its `chamfer`.
//!
//! Tensors are `f32` or `f64`, their last axes `[y, x]` (cubes `[x, y, z]`), all axes before these one batch; results keep
//! the axes of the batch. Gradients come by Candle's `backward` or by `halocast_kernels::record`. A value that is not finite
//! makes the results of its map NaN: nothing is read back from the device to refuse it.
//!
//! ```
//! use candle_core::{DType, Device, Tensor, Var};
//! use halocast_stats::PowerConvention;
//! use halocast_stats::tensor::PowerPlan;
//!
//! // Maps that learn the spectrum of the truth: the loss has gradients.
//! let device = Device::Cpu;
//! let plan = PowerPlan::new(&[16, 16], &[25.0, 25.0], PowerConvention::pylians(), DType::F32, &device)?;
//! let truth = Tensor::randn(0f32, 2.0, (8, 1, 16, 16), &device)?;
//! let samples = Var::randn(0f32, 1.0, (8, 1, 16, 16), &device)?;
//! let loss = plan.log_distance(&samples, &truth)?;
//! assert!(loss.backward()?.get(&samples).is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod minkowski;
mod pdf;
mod power;
mod profile;
mod sums;

use candle_core::{DType, Device, Tensor};
pub use halocast_kernels::{Boundary, ChamferCfg, ChamferNorm, chamfer_loss};

use crate::{Error, Result};
pub use minkowski::{minkowski, soft_minkowski};
pub use pdf::{pdf, soft_pdf};
pub use power::PowerPlan;
pub use profile::RingPlan;

/// A batch with its leading axes as one.
struct Batch {
    lead: Vec<usize>,
    flat: Tensor,
}

impl Batch {
    /// `[.., grid]` as `[batch, grid]`; `grid` gives the last axes, zero for any length.
    fn new(operation: &'static str, x: &Tensor, grid: &[usize]) -> Result<Self> {
        let dims = x.dims();
        let at = dims.len().saturating_sub(grid.len());
        let fits = dims.len() >= grid.len()
            && dims[at..].iter().zip(grid).all(|(have, want)| *have > 0 && (*want == 0 || have == want));
        if !fits || dims[..at].contains(&0) {
            let axes: Vec<String> =
                grid.iter().map(|n| if *n == 0 { "n".into() } else { n.to_string() }).collect();
            let (expected, got) = (format!("[.., {}], not empty", axes.join(", ")), format!("{dims:?}"));
            return Err(Error::Mismatch { operation, what: "the tensor's shape".into(), expected, got });
        }
        if !matches!(x.dtype(), DType::F32 | DType::F64) {
            let (expected, got) = ("f32 or f64".into(), x.dtype().as_str().into());
            return Err(Error::Value { operation, what: "the tensor's type".into(), expected, got });
        }
        let lead = dims[..at].to_vec();
        let flat: Vec<usize> = [lead.iter().product()].iter().chain(&dims[at..]).copied().collect();
        let flat = x.reshape(flat).map_err(tensor_error(operation))?;
        Ok(Self { lead, flat })
    }

    /// `[batch, n]` with the axes of the batch again.
    fn unflatten(&self, y: &Tensor) -> candle_core::Result<Tensor> {
        let n = y.dim(1)?;
        y.reshape(self.lead.iter().copied().chain([n]).collect::<Vec<usize>>())
    }
}

/// What to make of an error of Candle.
fn tensor_error(operation: &'static str) -> impl Fn(candle_core::Error) -> Error {
    move |source| Error::Tensor { operation, source: Box::new(source) }
}

/// Numbers of float64 on a device, in its type.
fn constants(
    values: Vec<f64>,
    shape: &[usize],
    dtype: DType,
    device: &Device,
) -> candle_core::Result<Tensor> {
    Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
}

/// Zero for each map of `[batch, ..]`, `[batch, 1]`; NaN where a value is not finite.
fn faults(x: &Tensor) -> candle_core::Result<Tensor> {
    (x.detach().flatten_from(1)? * 0.0)?.sum_keepdim(1)
}

/// The least number of the type that is not below `edge`: comparisons with it are those with `edge` itself.
fn rounded_up(edge: f64, dtype: DType) -> f64 {
    let narrow = edge as f32;
    match dtype {
        DType::F32 if f64::from(narrow) < edge => f64::from(narrow.next_up()),
        DType::F32 => f64::from(narrow),
        _ => edge,
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;
    use halocast_core::{PeriodicBox, Rng};

    use super::*;
    use crate::cloud_distance;

    /// Normal numbers of float64.
    pub(super) fn noise(shape: &[usize], seed: u64) -> Tensor {
        let mut rng = Rng::new(seed);
        let values: Vec<f64> = (0..shape.iter().product()).map(|_| rng.normal()).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    /// The gradient of a scalar against central differences in float64, along every axis of the input.
    pub(super) fn check_gradient(x: &Tensor, step: f64, loss: impl Fn(&Tensor) -> Tensor) {
        let var = Var::from_tensor(x).unwrap();
        let gradients = loss(&var).backward().unwrap();
        let found: Vec<f64> = gradients.get(&var).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let values: Vec<f64> = x.flatten_all().unwrap().to_vec1().unwrap();
        let largest = found.iter().fold(0.0f64, |m, g| m.max(g.abs()));
        assert!(largest > 0.0, "a gradient that vanishes");
        for i in 0..values.len() {
            let at = |by: f64| {
                let mut moved = values.clone();
                moved[i] += by;
                let moved = Tensor::from_vec(moved, x.shape(), &Device::Cpu).unwrap();
                loss(&moved).to_scalar::<f64>().unwrap()
            };
            let expected = (at(step) - at(-step)) / (2.0 * step);
            assert!(
                (found[i] - expected).abs() < 1e-5 * (largest + expected.abs()),
                "number {i}: {} {expected}",
                found[i]
            );
        }
    }

    #[test]
    fn chamfer_is_that_of_clouds_and_has_its_gradient() {
        let (a, b) = (noise(&[1, 9, 3], 1), noise(&[1, 12, 3], 2));
        let points = |t: &Tensor| -> Vec<[f64; 3]> {
            t.squeeze(0).unwrap().to_vec2::<f64>().unwrap().iter().map(|p| [p[0], p[1], p[2]]).collect()
        };
        let side = 3.0;
        let wrapped =
            |t: &Tensor| ((t / side).unwrap() - (t / side).unwrap().floor().unwrap()).unwrap() * side;
        for periodic in [false, true] {
            let (a, b) = match periodic {
                true => (wrapped(&a).unwrap(), wrapped(&b).unwrap()),
                false => (a.clone(), b.clone()),
            };
            let boundary = if periodic { Boundary::Periodic([side; 3]) } else { Boundary::default() };
            let space = periodic.then(|| PeriodicBox::new(side).unwrap());
            let expected = cloud_distance(&points(&a), &points(&b), space).unwrap();
            for (norm, expected) in
                [(ChamferNorm::L1, 0.5 * expected.chamfer), (ChamferNorm::L2, expected.chamfer_squared)]
            {
                let cfg = ChamferCfg { norm, boundary, ..ChamferCfg::default() };
                let loss = |x: &Tensor| chamfer_loss(x, &b, &cfg).unwrap();
                let found = loss(&a).to_scalar::<f64>().unwrap();
                assert!((found / expected - 1.0).abs() < 1e-6, "{norm:?}: {found} {expected}");
                check_gradient(&a, 1e-6, loss);
            }
        }
    }

    #[test]
    fn other_shapes_and_types_are_refused() {
        let x = noise(&[4, 6], 1);
        let told = |x: &Tensor, grid: &[usize]| Batch::new("test", x, grid).err().map(|e| e.to_string());
        assert!(told(&x, &[4, 5]).unwrap().contains("[.., 4, 5]"));
        assert!(told(&x, &[0, 0, 0]).unwrap().contains("[4, 6]"));
        assert!(told(&x.to_dtype(DType::BF16).unwrap(), &[4, 6]).unwrap().contains("f32"));
        assert!(told(&x, &[4, 6]).is_none() && told(&x, &[0]).is_none());
    }

    #[test]
    fn edges_round_so_that_comparisons_stay() {
        for edge in [0.1, 0.3, 1.0, -0.7, 1e-3] {
            let up = rounded_up(edge, DType::F32);
            assert!(up >= edge && f64::from((up as f32).next_down()) < edge && up == f64::from(up as f32));
        }
    }
}

//! Projection and augmentation on the device of a model.
//!
//! Positions, radii and masses are tensors; so is the image. On a processor and on CUDA the arithmetic is in float64, elsewhere in
//! float32; the sums are `halocast_kernels`' [`scatter_add`](halocast_kernels::scatter_add), in the order of the particles. Images
//! are those of the functions on the processor to 1e-5 of the largest pixel, and gradients flow to masses and, through the weights,
//! to positions.

mod change;
mod kernel;
mod mesh;

pub use change::{rotate_points, rotate_tensor, shift_tensor, symmetry_tensor};
pub use kernel::project_tensor;
pub use mesh::assign_tensor;

use candle_core::{DType, Device, Tensor};

use crate::Result;

/// The float type that a device computes with here.
fn precise(device: &Device) -> DType {
    if device.is_metal() { DType::F32 } else { DType::F64 }
}

/// Adds `weights` to `cells` zeros at `indices`, both `[n, k]`.
fn scatter(cells: usize, indices: &Tensor, weights: &Tensor) -> Result<Tensor> {
    let weights = weights.flatten_all()?.to_dtype(DType::F32)?;
    let zeros = Tensor::zeros(cells, DType::F32, weights.device())?;
    let indices = indices.flatten_all()?.to_dtype(DType::U32)?;
    Ok(halocast_kernels::scatter_add(&zeros, &indices, &weights, 0)?)
}

/// Whole numbers modulo n, not negative.
fn wrapped(cells: &Tensor, n: usize) -> Result<Tensor> {
    let n = n as f64;
    let turns = (cells / n)?.floor()?;
    Ok((cells - (turns * n)?)?)
}

/// 1 where a cell lies in 0..n, else 0.
fn inside(cells: &Tensor, n: usize) -> Result<Tensor> {
    let low = cells.ge(0.0)?.to_dtype(cells.dtype())?;
    let high = cells.lt(n as f64)?.to_dtype(cells.dtype())?;
    Ok((low * high)?)
}

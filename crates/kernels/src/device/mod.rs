//! Kernels of CUDA and Metal devices, for the operations that have no fast form among Candle's own.
//!
//! # One source
//!
//! A kernel is written once (`kernels/*.cc`), in what CUDA C++ and the Metal Shading Language have in common. Three
//! preludes give it its words: `cuda.h` (compiled by NVRTC at first use), `metal.h` (compiled by the system at first use),
//! and `host.h`, in which the host's C++ compiler makes coroutines of the threads of a block. Building the crate needs none
//! of the three. The Rust side, that allocates and launches, is one for all of them too ([`queue`]).
//!
//! # What is checked
//!
//! **Checked in an emulation of the device's threads, never run on a GPU.** The tests compile the kernels for the host and
//! compare every one, launched by the code that launches it on a device, with this crate's CPU operation: values,
//! gradients, indices bit for bit. Accesses outside an array, barriers that not all threads reach and memory that is read
//! before it is written are errors there, and results must not depend on the order in which threads run. What that cannot
//! show: that a driver accepts the kernels, that Metal's compiler does, and how fast they are.
//!
//! # What runs where
//!
//! [`takes`] says whether tensors go this way: all `f32`, on one CUDA or Metal device, with fewer than 2^31 numbers.
//! Everything else takes the path composed of Candle's operations ([`crate::reference`]).
//!
//! Sums are in a fixed order: the same device gives the same bits on every run.

mod adam;
mod attention;
mod chamfer;
mod fourier;
mod gather;
mod graph;
mod norm;
mod points;
mod queue;
mod random;
mod scan;
mod source;

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod emulation;
#[cfg(feature = "metal")]
mod metal;
#[cfg(test)]
mod tests;

use candle_core::{DType, Device, Tensor};

pub use adam::DeviceAdam;
pub(crate) use attention::{MOST_COMPONENTS, attention, linear_attention, of_map};
pub(crate) use chamfer::{Pairs, chamfer, nearest_distance};
pub(crate) use fourier::{Fourier, Spectrum};
pub(crate) use gather::{Rows, gather, gather_weighted, scatter_add};
pub(crate) use norm::{RowNormSpec, group_norm, row_norm, softmax};
pub(crate) use points::{
    Cloud, MOST_NEIGHBORS, Sides, ball_query, counts, farthest_points, inverse_weights, knn,
};
pub(crate) use random::{Draw, makes_random, random};
pub(crate) use scan::{MOST_STATES, causal_conv1d, selective_scan};

use crate::activation::Activation;

/// Whether an operation has a kernel on the device of all `tensors`.
pub(crate) fn takes(tensors: &[&Tensor]) -> bool {
    let Some(first) = tensors.first() else { return false };
    let device = first.device();
    let fits = |x: &&Tensor| {
        x.dtype() == DType::F32
            && x.device().same_device(device)
            && (1..queue::MOST).contains(&x.elem_count())
    };
    serves(device) && tensors.iter().all(fits)
}

/// Whether this build has kernels for a device.
fn serves(device: &Device) -> bool {
    match device {
        Device::Cpu => played_by_host(),
        Device::Cuda(_) => cfg!(feature = "cuda"),
        Device::Metal(_) => cfg!(feature = "metal"),
    }
}

/// Whether tensors of the CPU count as those of a device: in tests, where the emulation plays one.
#[cfg(not(test))]
pub(crate) fn played_by_host() -> bool {
    false
}

#[cfg(test)]
pub(crate) use emulation::played_by_host;

/// The number and the slope of an activation, as the kernels take them.
fn code(activation: Activation) -> (usize, f32) {
    match activation {
        Activation::None => (0, 0.0),
        Activation::Silu => (1, 0.0),
        Activation::Gelu => (2, 0.0),
        Activation::Relu => (3, 0.0),
        Activation::LeakyRelu(slope) => (4, slope),
        Activation::Tanh => (5, 0.0),
        Activation::Sigmoid => (6, 0.0),
        Activation::Softplus => (7, 0.0),
        Activation::Exp => (8, 0.0),
    }
}

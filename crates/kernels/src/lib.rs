//! The operations that networks on maps are made of, fast on a CPU and with explicit gradients, as custom operations
//! of [Candle](candle_core); and the layers made of them.
//!
//! # Why
//!
//! A model of cosmological maps spends its time in a handful of operations: 3x3 convolution, group normalisation with
//! an activation, attention, strided convolution, the optimiser's step. Candle's own versions of these on a CPU are
//! several times slower than those of the large frameworks, some of their gradients are missing or wrong, and a map
//! that is a slice of a periodic box needs padding that wraps around. Here each is one operation with one explicit
//! gradient, so that models need not know any of that: a faster kernel changes no model.
//!
//! # What
//!
//! * [`conv1d`], [`conv2d`], [`conv3d`] and their transposes: zero-padded, periodic or reflected ([`PadMode`]), in
//!   groups; 3x3, and strided or transposed 4x4, by Winograd's algorithm
//! * [`group_norm`], [`instance_norm`], [`batch_norm`] (over all ranks in [`sum_over_ranks`]), [`layer_norm`],
//!   [`rms_norm`] with a fused [`Activation`]; [`modulated_norm`]
//! * [`attention`], [`attention_masked`], [`attention_map`], [`linear_attention`], [`linear_attention_map`]; [`linear`]
//! * [`add`], [`add_channel`], [`scale_shift_channel`], [`concat_channels`], [`softmax`], and functions of each number
//!   ([`activate`])
//! * [`upsample_nearest`], [`upsample_linear`], [`average_pool`], [`max_pool2d`], [`pixel_shuffle`]
//! * [`selective_scan`], [`causal_conv1d`]: the sequence operations of Mamba
//! * [`rfft`], [`irfft`], [`fft`], [`ifft`] over one to three axes; [`random_normal`], [`random_uniform`]
//! * [`index_select`], [`gather_rows`], [`scatter_add`]
//! * clouds of points: [`knn`], [`ball_query`], [`farthest_points`], [`interpolate_points`], [`chamfer_loss`],
//!   [`earth_movers_distance`], [`sinkhorn_distance`], [`edge_features`]
//! * [`huber_loss`], [`mse_loss`]
//! * [`AdamState`], [`adam_step`], [`DeviceAdam`]: the optimiser with a moving average, in place
//! * [`nn`]: layers with PyTorch's parameter names, shapes and initial values
//! * [`reference`](mod@reference): every operation again, composed of Candle's, as oracle and as the path of other devices
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use candle_nn::{VarBuilder, VarMap};
//! use halocast_kernels::{Activation, Conv2dSpec, PadMode, mse_loss, nn};
//!
//! let vars = VarMap::new();
//! let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
//! let spec = Conv2dSpec { padding: 1, pad_mode: PadMode::Circular, ..Default::default() };
//! let first = nn::Conv2d::new(1, 16, 3, spec, vb.pp("first"))?;
//! let norm = nn::GroupNorm::new(4, 16, 1e-5, vb.pp("norm"))?.with_activation(Activation::Silu);
//! let last = nn::Conv2d::new(16, 1, 3, spec, vb.pp("last"))?;
//!
//! let x = Tensor::ones((2, 1, 32, 32), DType::F32, &Device::Cpu)?;
//! let y = last.forward(&norm.forward(&first.forward(&x)?)?)?;
//! let gradients = mse_loss(&y, &x)?.backward()?;
//! assert!(vars.all_vars().iter().all(|var| gradients.get(var).is_some()));
//! # Ok::<(), halocast_kernels::Error>(())
//! ```
//!
//! # What holds of every operation
//!
//! * **Reproducible.** The same inputs give the same bits, at any number of threads and whether or not gradients are
//!   tracked: work is divided by shapes alone, and partial sums are added in a fixed order.
//! * **Dispatched at run time** to AVX-512, AVX2 with FMA, or portable code ([`Level`]).
//! * **Fast for contiguous `f32` on the CPU.** Other layouts are made contiguous; tensors of another type take the
//!   [`reference`](mod@reference) path.
//! * **On CUDA and Metal** what Candle has no fast form of has kernels, for `f32`: norms, softmax, attention, the scan,
//!   Adam ([`DeviceAdam`]), random numbers, points, rows, Fourier transforms; the rest is composed of Candle's operations.
//!   The kernels are checked in an emulation of the device's threads, never run on a GPU; what is composed has not been
//!   run on one either.
//! * **Two ways to gradients.** Candle's `backward` works as on any tensor. Inside [`record`] the operations go on a
//!   [`Tape`] instead: the same gradients, with less work and memory ([`checkpoint`] saves more). [`no_grad`] remembers
//!   nothing.
//! * **Differentiable once.** Gradients are computed outside the graph: second derivatives are not available.
//! * Wrong shapes are an [`enum@Error`] that says what was expected.
//!
//! # Memory
//!
//! Outputs come from the program's allocator. Where that maps and unmaps large blocks on every call (glibc's default
//! above 128 KiB), a program gains by raising its thresholds in `main`; the benchmark of this crate does so with
//! `MALLOC=1`.
//!
//! # Features
//!
//! `cuda`, `cudnn`, `metal`, `accelerate`, `mkl` are passed to Candle. `cuda` and `metal` add this crate's kernels, which
//! are compiled where they run.

mod activation;
mod adam;
mod attention;
mod autograd;
mod batch_norm;
mod causal;
mod channels;
mod conv;
mod device;
mod error;
mod fourier;
mod gather;
mod gemm;
mod linear;
mod loss;
mod memory;
pub mod nn;
mod norm;
mod points;
mod pointwise;
mod random;
mod ranks;
pub mod reference;
mod resample;
mod row_norm;
mod scan;
mod simd;
mod softmax;

pub use activation::Activation;
pub use adam::{AdamCfg, AdamState, adam_step};
pub use attention::{
    AttentionSpec, attention, attention_map, attention_masked, linear_attention, linear_attention_map,
};
pub use autograd::{Tape, checkpoint, no_grad, record};
pub use batch_norm::{BatchMoments, batch_norm};
pub use causal::causal_conv1d;
pub use channels::{add_channel, concat_channels, scale_shift_channel};
pub use conv::{
    Conv2dSpec, ConvSpec, PadMode, conv_transpose1d, conv_transpose2d, conv_transpose3d, conv1d, conv2d,
    conv3d,
};
pub use device::DeviceAdam;
pub use error::{Error, Result};
pub use fourier::{FourierNorm, fft, ifft, irfft, rfft};
pub use gather::{gather_rows, index_select, scatter_add};
pub use linear::linear;
pub use loss::{huber_loss, mse_loss};
pub use norm::{group_norm, instance_norm};
pub use points::{
    Ball, Boundary, ChamferCfg, ChamferNorm, EdgeLayout, Ground, Neighbors, SampleCfg, SinkhornCfg,
    ball_query, chamfer_directions, chamfer_loss, earth_movers_distance, edge_features, edge_max,
    farthest_points, gather_points, interpolate_points, knn, max_over_neighbors, nearest_distance,
    sinkhorn_distance,
};
pub use pointwise::{activate, add, exp, gelu, leaky_relu, relu, sigmoid, silu, softplus, tanh};
pub use random::{random_normal, random_uniform};
pub use ranks::sum_over_ranks;
pub use resample::{
    average_pool, max_pool2d, pixel_shuffle, pixel_unshuffle, upsample_linear, upsample_nearest,
    upsample_nearest2x,
};
pub use row_norm::{layer_norm, modulated_norm, rms_norm};
pub use scan::{ScanOptions, selective_scan};
pub use simd::{Level, with_level};
pub use softmax::softmax;

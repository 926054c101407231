//! Simulation and survey files (IllustrisTNG, CAMELS, npy, FITS) as halocast core types

#![forbid(unsafe_code)]

mod error;
mod npy;

pub use error::{Error, Incomplete, Result};
pub use npy::{NpyElement, NpyFile, NpyType, read_npy, read_npy_f32, read_npy_f64, write_npy};

//! Simulation and survey files (IllustrisTNG, CAMELS, npy, FITS) as halocast core types

#![deny(unsafe_code)]

mod error;
mod hdf5;
mod npy;
mod tng;

pub use error::{Error, Incomplete, Result};
pub use hdf5::{
    Attribute, Backend, DatasetInfo, Hdf5Read, Hdf5Type, Hdf5Write, Storage, create_hdf5, create_hdf5_with,
    open_hdf5, open_hdf5_with,
};
pub use npy::{NpyElement, NpyFile, NpyType, read_npy, read_npy_f32, read_npy_f64, write_npy};
pub use tng::{
    FieldDescription, ReadOptions, SnapshotDescription, SpeciesDescription, WriteOptions, describe_snapshot,
    read_snapshot, write_snapshot,
};
